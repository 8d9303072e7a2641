"""What Laplace's approximation leaves out of a fitted population: posteriors by importance sampling.

Draws of everybody's parameters are made once (`proposals`). Under another population they only get other weights, so EM
can go on without evaluating the likelihood again (Monte Carlo maximum likelihood: Geyer & Thompson 1992, JRSS B 54:
657-699). Spreads of parameters of which choices tell little, and the intervals that follow from them, are far too
small without it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spice.equations.caching import njit
from spice.inference.fitting.em.anderson import Extrapolation
from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.m_step import m_step
from spice.inference.fitting.em.modes import Laplace, Points
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.em.proposals import Proposal
from spice.inference.fitting.transforms import Scale

TRUSTED = 15.0  # effective draws from which on they are better than Laplace's approximation
HALVINGS = 30
ROWS = 2**16  # evaluated at once
ITERATIONS = 1000
FINER = 0.01  # times the tolerance of EM: its plain steps are short where choices tell little
SLACK = 1e-9  # nats, of rounding


@njit
def _weigh(log_weights, largest, power, weights):
    """Weights to a power, in units of the largest, in place; their sum, and how many draws share them."""
    total, squares = 0.0, 0.0
    for k in range(len(log_weights)):
        weights[k] = np.exp(power * (log_weights[k] - largest))
        total += weights[k]
        squares += weights[k] * weights[k]
    return total, total * total / squares


@njit
def _temper(log_weights, largest, least, weights):
    """The same with the largest power, by bisection, with which ``least`` draws share the weights; their sum."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        power = 0.5 * (low + high)
        if _weigh(log_weights, largest, power, weights)[1] < least:
            high = power
        else:
            low = power
    return _weigh(log_weights, largest, 0.5 * (low + high), weights)[0]


@njit
def _moments(theta, base, centre, unroot, least, means, covariances, sums, effective):
    """Posterior moments of everybody's draws, in place; ``unroot``: inverse of the population's root.

    Weights that fewer than ``least`` effective draws share are tempered.
    """
    n_people, n_draws, n = theta.shape
    log_weights, weights, away = np.empty(n_draws), np.empty(n_draws), np.empty(n)
    for i in range(n_people):
        for k in range(n_draws):
            energy = 0.0
            for a in range(n):
                z = 0.0
                for b in range(a + 1):
                    z += unroot[a, b] * (theta[i, k, b] - centre[i, b])
                energy += z * z / 2
            log_weights[k] = base[i, k] - energy
        largest = log_weights.max()
        total, effective[i] = _weigh(log_weights, largest, 1.0, weights)
        sums[i] = largest + np.log(total / n_draws)
        if effective[i] < least:
            total = _temper(log_weights, largest, least, weights)
        means[i], covariances[i] = 0.0, 0.0
        for k in range(n_draws):
            weights[k] /= total
            for a in range(n):
                means[i, a] += weights[k] * theta[i, k, a]
        for k in range(n_draws):
            for a in range(n):
                away[a] = theta[i, k, a] - means[i, a]
                for b in range(a + 1):
                    covariances[i, a, b] += weights[k] * away[a] * away[b]
        for a in range(n):
            for b in range(a):
                covariances[i, b, a] = covariances[i, a, b]


@dataclass(frozen=True)
class Posterior:
    """What is known of everybody, given the population; on the unconstrained scale.

    Attributes
    ----------
    theta : np.ndarray, shape (n_people, n_parameters)
        Posterior means; modes of people, or of fits, that Laplace's approximation has to do for.
    covariance : np.ndarray, shape (n_people, n_parameters, n_parameters)
        Posterior covariances.
    log_evidence : np.ndarray, shape (n_people,)
        Log of the likelihood integrated over the population.
    rough : np.ndarray of bool, shape (n_people,)
        Of whom all this is Laplace's approximation, or of tempered draws.
    """

    theta: np.ndarray
    covariance: np.ndarray
    log_evidence: np.ndarray
    rough: np.ndarray

    @classmethod
    def of_laplace(cls, points: Points, found: Laplace) -> "Posterior":
        """Normal around the modes."""
        return cls(points.theta.copy(), found.covariances(), found.log_evidence(), np.ones(len(points), bool))


class Draws:
    """Parameters of everybody, drawn at random, and the likelihood there.

    Parameters
    ----------
    likelihood : Likelihood
        On the natural scale.
    scale : Scale
        Of its parameters.
    group : np.ndarray of int, shape (n_people,)
        Who everybody is, by place in the likelihood.
    proposal : Proposal
        Where draws come from.
    tempered : bool
        Whether for people with too few effective draws these do, unless too few are possible, with weights that are
        taken to a power below 1, so that enough share them: wider than the posterior, but where it is (Koblents &
        Míguez 2015, Statistics and Computing 25: 407-425).
    seed : int
        Of the draws.
    """

    def __init__(
        self,
        likelihood: Any,
        scale: Scale,
        group: np.ndarray,
        proposal: Proposal,
        tempered: bool,
        seed: int,
    ):
        self._tempered = tempered
        self.theta, log_density = proposal.draw(seed)
        rows, group = self.theta.reshape(-1, self.theta.shape[2]), np.repeat(group, proposal.size)
        parts = [slice(i, i + ROWS) for i in range(0, len(rows), ROWS)]
        with np.errstate(all="ignore"):  # what overflows is impossible
            nll = np.concatenate([likelihood.gradient(scale.natural(rows[part]), group[part])[0] for part in parts])
        self._base = np.where(np.isfinite(nll), -nll, -np.inf).reshape(log_density.shape) - log_density
        self._may_be_lost = ~(tempered & (np.isfinite(self._base).sum(1) >= TRUSTED))

    def posterior(self, guess: Guess, matrix: np.ndarray, rough: Posterior, few: Any = False) -> Posterior:
        """Everybody's posterior given a population; the ``rough`` one of those with too few effective draws.

        And of others who are said to have too ``few``.
        """
        n_people, _, n = self.theta.shape
        unroot = np.linalg.inv(guess.root)
        means, covariances = np.empty((n_people, n)), np.empty((n_people, n, n))
        sums, effective = np.empty(n_people), np.empty(n_people)
        centre = matrix @ guess.coefficients
        least = TRUSTED if self._tempered else 0.0
        _moments(self.theta, self._base, centre, unroot, least, means, covariances, sums, effective)
        few = few | ~(effective >= TRUSTED)  # nan where all draws are impossible
        found = Posterior(means, covariances, sums - np.log(np.diag(guess.root)).sum(), few)
        lost = few & self._may_be_lost
        for name in ("theta", "covariance", "log_evidence"):
            getattr(found, name)[lost] = getattr(rough, name)[lost]
        return found


def refined(
    draws: Draws,
    rough: Posterior,
    guess: Guess,
    matrix: np.ndarray,
    prior: PopulationPrior,
    diagonal: bool,
    units: np.ndarray,
    tolerance: float,
) -> tuple[Guess, bool]:
    """The population at which EM ends with posteriors by importance sampling, and whether it has ended.

    Parameters
    ----------
    draws : Draws
        Of everybody.
    rough : Posterior
        What has to do for those with too few effective ones.
    guess : Guess
        Where to begin.
    matrix : np.ndarray, shape (n_people, n_columns)
        Regressors.
    prior : PopulationPrior
        Of the population.
    diagonal : bool
        Whether the covariance stays diagonal.
    units : np.ndarray, shape (n_parameters,)
        Of changes.
    tolerance : float
        Of changes: below it EM has ended; a hundredth of it is the change at which to stop.
    """
    ahead, plain, before, change, few = Extrapolation(), None, -np.inf, np.inf, np.zeros(len(matrix), bool)
    for _ in range(ITERATIONS):
        found = draws.posterior(guess, matrix, rough, few)
        few = found.rough  # for good: back and forth there would be no end
        value = found.log_evidence.sum() + prior.log_density(guess)
        if plain is not None and value < before - SLACK:  # extrapolated too far
            guess, plain = plain, None
            ahead.forget()
            continue
        new = m_step(found.theta, found.covariance, guess, matrix, prior, diagonal)
        change = guess.distances(new, matrix, units).max()
        if change < FINER * tolerance:
            return new, True
        plain, before = new if ahead.knows else None, value
        here = guess.vector(units)
        guess = new.with_vector(here + ahead(here, new.vector(units) - here), units)
    return guess, bool(change < tolerance)

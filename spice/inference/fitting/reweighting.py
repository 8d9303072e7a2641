"""What Laplace's approximation leaves out of a fitted population: posteriors by importance sampling.

Draws of everybody's parameters are made once, around the modes. Under another population they only get other weights,
so EM can go on without evaluating the likelihood again (Monte Carlo maximum likelihood: Geyer & Thompson 1992, JRSS B
54: 657-699). Spreads of parameters of which choices tell little, and the intervals that follow from them, are far too
small without it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from spice.equations.caching import njit
from spice.inference.fitting.anderson import Extrapolation
from spice.inference.fitting.modes import Laplace, Points
from spice.inference.fitting.scoring import Guess
from spice.inference.fitting.transforms import Scale

ALL_DRAWS, FEWEST, MOST = 2**16, 64, 256  # of everybody; of one person
WIDE, WIDE_SHARE = 2.0, 0.25  # times Laplace's standard deviations: a quarter of the draws
TRUSTED = 15.0  # effective draws from which on they are better than Laplace's approximation
ROWS = 2**16  # evaluated at once
ITERATIONS = 1000
FINER = 0.01  # times the tolerance of EM: its plain steps are short where choices tell little
SLACK = 1e-9  # nats, of rounding


@njit(nogil=True, cache=True, error_model="numpy")
def _moments(theta, base, centre, unroot, means, covariances, sums, effective):
    """Posterior moments of everybody's draws, in place; ``unroot``: inverse of the population's root."""
    n_people, n_draws, n = theta.shape
    log_weights, away = np.empty(n_draws), np.empty(n)
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
        total, squares = 0.0, 0.0
        means[i], covariances[i] = 0.0, 0.0
        for k in range(n_draws):
            weight = np.exp(log_weights[k] - largest)
            total += weight
            squares += weight * weight
            for a in range(n):
                means[i, a] += weight * theta[i, k, a]
        means[i] /= total
        for k in range(n_draws):
            weight = np.exp(log_weights[k] - largest) / total
            for a in range(n):
                away[a] = theta[i, k, a] - means[i, a]
                for b in range(a + 1):
                    covariances[i, a, b] += weight * away[a] * away[b]
        for a in range(n):
            for b in range(a):
                covariances[i, b, a] = covariances[i, a, b]
        sums[i] = largest + np.log(total / n_draws)
        effective[i] = total * total / squares


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
        Of whom all this is Laplace's approximation.
    """

    theta: np.ndarray
    covariance: np.ndarray
    log_evidence: np.ndarray
    rough: np.ndarray

    @classmethod
    def of_laplace(cls, points: Points, found: Laplace) -> "Posterior":
        """Normal around the modes."""
        return cls(points.theta, found.covariances(), found.log_evidence(), np.ones(len(points), bool))


class Draws:
    """Parameters of everybody, drawn around the modes, and the likelihood there.

    Parameters
    ----------
    likelihood : Likelihood
        On the natural scale.
    scale : Scale
        Of its parameters.
    points : Points
        Modes.
    found : Laplace
        Posteriors there.
    seed : int
        Of the draws.
    """

    def __init__(self, likelihood: Any, scale: Scale, points: Points, found: Laplace, seed: int):
        self.laplace = Posterior.of_laplace(points, found)
        n_people, n = points.theta.shape
        size = int(2 ** np.floor(np.log2(np.clip(ALL_DRAWS / n_people, FEWEST, MOST))))
        z = _even(n_people, size, n, seed)
        size_of = np.where(np.arange(size) < WIDE_SHARE * size, WIDE, 1.0)  # the first points are as even as all
        root = np.linalg.cholesky(self.laplace.covariance)
        away = z * size_of[:, None]
        self.theta = points.theta[:, None] + np.einsum("pij,pkj->pki", root, away)
        half = (away**2).sum(2) / 2
        narrow, wide = np.log1p(-WIDE_SHARE) - half, np.log(WIDE_SHARE) - half / WIDE**2 - n * np.log(WIDE)
        log_density = np.logaddexp(narrow, wide) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)[:, None]
        rows, group = self.theta.reshape(-1, n), np.repeat(points.group, size)
        parts = [slice(i, i + ROWS) for i in range(0, len(rows), ROWS)]
        with np.errstate(all="ignore"):  # what overflows is impossible
            nll = np.concatenate([likelihood.gradient(scale.natural(rows[part]), group[part])[0] for part in parts])
        self._base = np.where(np.isfinite(nll), -nll, -np.inf).reshape(n_people, size) - log_density

    def posterior(self, guess: Guess, matrix: np.ndarray) -> Posterior:
        """Everybody's posterior given a population; Laplace's of those with too few effective draws."""
        n_people, _, n = self.theta.shape
        unroot = np.linalg.inv(guess.root)
        means, covariances = np.empty((n_people, n)), np.empty((n_people, n, n))
        sums, effective = np.empty(n_people), np.empty(n_people)
        centre = matrix @ guess.coefficients
        _moments(self.theta, self._base, centre, unroot, means, covariances, sums, effective)
        few = ~(effective >= TRUSTED)  # nan where all draws are impossible
        found = Posterior(means, covariances, sums - np.log(np.diag(guess.root)).sum(), few)
        for name in ("theta", "covariance", "log_evidence"):
            getattr(found, name)[few] = getattr(self.laplace, name)[few]
        return found


def refined(
    draws: Draws,
    guess: Guess,
    matrix: np.ndarray,
    wide: np.ndarray,
    diagonal: bool,
    units: np.ndarray,
    tolerance: float,
) -> tuple[Guess, bool]:
    """The population at which EM ends with posteriors by importance sampling, and whether it has ended.

    Parameters
    ----------
    draws : Draws
        Of everybody.
    guess : Guess
        Where to begin.
    matrix : np.ndarray, shape (n_people, n_columns)
        Regressors.
    wide : np.ndarray, shape (n_parameters,)
        Variances of `Guess.log_prior`.
    diagonal : bool
        Whether the covariance stays diagonal.
    units : np.ndarray, shape (n_parameters,)
        Of changes.
    tolerance : float
        A hundredth of which is the change at which to stop.
    """
    ahead, plain, before = Extrapolation(), None, -np.inf
    for _ in range(ITERATIONS):
        found = draws.posterior(guess, matrix)
        value = found.log_evidence.sum() + guess.log_prior(wide)
        if plain is not None and value < before - SLACK:  # extrapolated too far
            guess, plain = plain, None
            ahead.forget()
            continue
        new = _step(found, guess, matrix, wide, diagonal)
        if guess.distances(new, matrix, units).max() < FINER * tolerance:
            return new, True
        plain, before = new if ahead.knows else None, value
        here = guess.vector(units)
        guess = new.with_vector(here + ahead(here, new.vector(units) - here), units)
    return guess, False


def _step(found: Posterior, guess: Guess, matrix: np.ndarray, wide: np.ndarray, diagonal: bool) -> Guess:
    """A step of EM: the regression of posterior means on the regressors, and the covariance of what is left."""
    coefficients = np.linalg.lstsq(matrix, found.theta, rcond=None)[0]
    rest = found.theta - matrix @ coefficients
    covariance = rest.T @ rest / len(rest) + found.covariance.mean(0)
    covariance += guess.root @ guess.pull(wide) @ guess.root.T / len(rest)
    return Guess(coefficients, np.linalg.cholesky(np.diag(np.diag(covariance)) if diagonal else covariance))


def _even(n_people: int, size: int, n: int, seed: int) -> np.ndarray:
    """Standard normal draws that are spread evenly for each person, shape (n_people, size, n)."""
    from scipy.stats import qmc

    rng = np.random.default_rng([seed, 1])
    points = qmc.Sobol(n, rng=rng).random(size)
    shifted = (points + rng.random((n_people, 1, n))) % 1
    return ndtri(np.clip(shifted, 1e-9, 1 - 1e-9))

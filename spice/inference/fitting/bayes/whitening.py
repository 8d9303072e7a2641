"""Normal approximations of people's likelihoods and where the population is: what a sampler is started and scaled by.

Only its speed rests on them: densities are exact whatever they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spice.equations.priors import Prior
from spice.inference.fitting.defaults import person_prior, theta_prior
from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.m_step import m_step
from spice.inference.fitting.em.modes import Laplace, Points, climb, climb_from, everybody_at, likeliest
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

N_STARTS = 4
ENOUGH, MOST = 1e-6, 100  # nats that a step must promise; steps
ITERATIONS = 30  # of EM
WIDER = 2.0  # times the population's standard deviations, from where other modes are sought
SEARCHES = 8  # of other modes, for each person
SAME = 1e-2  # nats within which searches count as ended in the same mode
MANY = 0.1  # share of people with several modes, from which on another start is tried
SETTLED = 0.01  # change of means and log standard deviations, in standard deviations
LEAST_SD = 0.1  # of the prior's: a population that seems to have no spread at all starts with a little
N_QUANTILES = 1000
NEARBY = 1e-4  # on the unconstrained scale, over which differences are taken

Evaluate = Callable[[np.ndarray, np.ndarray], Exact]


@dataclass(frozen=True)
class Sites:
    """Quadratic expansions of people's log-likelihoods on the unconstrained scale.

    Attributes
    ----------
    theta : np.ndarray, shape (n_people, n_parameters)
        Where: the modes of approximate posteriors.
    pull : np.ndarray, shape (n_people, n_parameters)
        The log-likelihoods' slopes there.
    curvature : np.ndarray, shape (n_people, n_parameters, n_parameters)
        The negative log-likelihoods' second derivatives there, projected to positive semidefinite.
    covariance : np.ndarray, shape (n_people, n_parameters, n_parameters)
        Of the approximate posteriors.
    mean, sd : np.ndarray, each (n_parameters,)
        Of the population, or of the prior.
    """

    theta: np.ndarray
    pull: np.ndarray
    curvature: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    def without(self, people: np.ndarray) -> "Sites":
        """The same, but for some of whom nothing is known: they are non-centred in a hierarchy."""
        known = np.where(people, 0.0, 1.0)
        return replace(self, pull=self.pull * known[:, None], curvature=self.curvature * known[:, None, None])

    @classmethod
    def none(cls, n_people: int, n: int) -> "Sites":
        """Nothing known of anybody: with these, a hierarchy is non-centred."""
        flat, square = np.zeros((n_people, n)), np.zeros((n_people, n, n))
        return cls(flat, flat, square, square, np.zeros(n), np.ones(n))


def own_moments(parameters: "Mapping[str, Parameter]", scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, on the unconstrained scale, of what people are thought to be like alone."""
    found = []
    for k, parameter in enumerate(parameters.values()):
        own = person_prior(parameter)
        if own is None:
            found.append(theta_prior(parameter).arguments[:2])
        else:
            found.append(_moments(own, scale, k))
    return np.array([entry[0] for entry in found]), np.array([entry[1] for entry in found])


def _moments(prior: Prior, scale: Scale, k: int) -> tuple[float, float]:
    """Of a prior on the natural scale, by draws: middle and spread of the central two thirds."""
    draws = np.broadcast_to(prior.sample(np.random.default_rng(0), (N_QUANTILES, 1)), (N_QUANTILES, len(scale.names)))
    low, middle, high = np.quantile(scale.unconstrained(draws)[:, k], [0.16, 0.5, 0.84])
    return float(middle), float(max((high - low) / 2, 1e-3))


def find_sites(likelihood: Any, scale: Scale, mean: np.ndarray, sd: np.ndarray, together: bool = False) -> Sites:
    """Approximate posteriors of single people, or of all as one, given a normal prior.

    Parameters
    ----------
    likelihood : Likelihood
        On the natural scale.
    scale : Scale
        Of its parameters.
    mean, sd : np.ndarray, each (n_parameters,)
        Of the prior, on the unconstrained scale.
    together : bool, default False
        Whether all people share their parameters: one site.
    """
    evaluate = partial(_by_differences, likelihood, scale, together)
    points = _begin(evaluate, 1 if together else len(likelihood.participants), mean, sd)
    found = climb(evaluate, points, np.tile(mean, (len(points), 1)), np.diag(sd), ENOUGH, MOST)
    return _sites(points, found, mean, sd)


def find_population(
    likelihood: Any,
    scale: Scale,
    starts: Sequence[tuple[np.ndarray, np.ndarray]],
    regressors: np.ndarray,
    prior: PopulationPrior,
) -> tuple[Sites, np.ndarray]:
    """Approximate posteriors of people given a population that is estimated along with them, by a few steps of EM.

    Who has several modes has no site: a normal approximation of a rugged likelihood makes steps tiny.

    Parameters
    ----------
    likelihood, scale
        As in `find_sites`.
    starts : sequence of (np.ndarray, np.ndarray), each (n_parameters,)
        Means and standard deviations of the population, to begin from. Later ones are tried only if many people have
        several modes where the ones before lead; the best is kept.
    regressors : np.ndarray, shape (n_people, n_regressors)
        Centred.
    prior : PopulationPrior
        Of the population.

    Returns
    -------
    sites : Sites
        With the population's mean and standard deviation.
    effects : np.ndarray, shape (n_regressors, n_parameters)
        Of the regressors.
    """
    evaluate = partial(_exact, likelihood, scale)
    matrix = np.column_stack([np.ones(len(regressors)), regressors])
    best: _Ended | None = None
    for mean, sd in starts:
        ended = _go(evaluate, mean, sd, matrix, prior)
        best = ended if best is None or ended.value > best.value else best
        if best.several.mean() < MANY:
            break
    assert best is not None
    coefficients, sd = best.guess.coefficients, np.diag(best.guess.root)
    return _sites(best.points, best.found, coefficients[0], sd).without(best.several), coefficients[1:]


class _Ended(NamedTuple):
    """Where EM has led: people, the population, its log posterior density, and who has several modes."""

    points: Points
    found: Laplace
    guess: Guess
    value: float
    several: np.ndarray


def _go(evaluate: Evaluate, mean: np.ndarray, sd: np.ndarray, matrix: np.ndarray, prior: PopulationPrior) -> _Ended:
    group, coefficients = np.arange(len(matrix)), np.zeros((matrix.shape[1], len(mean)))
    coefficients[0] = mean
    points, guess = _begin(evaluate, len(matrix), mean, sd), prior.begin(Guess(coefficients, np.diag(sd)))
    found, value = climb(evaluate, points, matrix @ guess.coefficients, guess.root, ENOUGH, MOST), -np.inf
    for _ in range(ITERATIONS):
        value = found.log_evidence().sum() + prior.log_density(guess)
        new = m_step(points.theta, found.covariances(), guess, matrix, prior, diagonal=True)
        new = prior.inside(Guess(new.coefficients, np.diag(np.maximum(np.diag(new.root), LEAST_SD * sd))))
        old_sd, new_sd = np.diag(guess.root), np.diag(new.root)
        moved = np.abs((new.coefficients[0] - guess.coefficients[0]) / old_sd).max()
        change, guess = max(moved, np.abs(np.log(new_sd / old_sd)).max()), new
        found = climb(evaluate, points, matrix @ guess.coefficients, guess.root, ENOUGH, 5)
        if change < SETTLED:
            break
    z = WIDER * np.random.default_rng(1).normal(size=(SEARCHES, len(mean)))
    energy = climb_from(evaluate, z, group, matrix @ guess.coefficients, guess.root, ENOUGH, MOST)[1]
    elsewhere = (energy > found.energy + SAME) | (energy < found.energy - SAME)
    return _Ended(points, found, guess, float(value), np.any(elsewhere, axis=0))


def _sites(points: Points, found: Laplace, mean: np.ndarray, sd: np.ndarray) -> Sites:
    values, vectors = np.linalg.eigh(points.hessian)
    curvature = (vectors * np.maximum(values, 0.0)[:, None]) @ vectors.swapaxes(1, 2)
    # of who is not at the mode yet the slope at one: else slopes may be huge, and lead far away
    pull = np.where(found.converged[:, None], -points.gradient, found.z / np.diag(found.root))
    return Sites(points.theta, pull, curvature, found.covariances(), mean, sd)


def _exact(likelihood: Any, scale: Scale, theta: np.ndarray, group: np.ndarray) -> Exact:
    """Likelihood of rows by theta."""
    with np.errstate(over="ignore"):
        natural = scale.natural(theta)
    return scale.chain(likelihood(natural, group), theta)


def _by_differences(likelihood: Any, scale: Scale, together: bool, theta: np.ndarray, group: np.ndarray) -> Exact:
    """The same, of all people in each row where they are taken together; second derivatives by differences.

    Samplers need the gradient alone, and to compile second derivatives takes longer than to draw from a small model.
    """
    n_rows, n = theta.shape
    steps = np.concatenate([np.zeros((1, n)), np.eye(n), -np.eye(n)]) * NEARBY
    shifted, groups = (theta[:, None] + steps).reshape(-1, n), np.repeat(group, 2 * n + 1)
    with np.errstate(over="ignore"):
        x, slope, _ = scale.derivatives(shifted)
    n_people = len(likelihood.participants)
    if together:
        groups, x = np.tile(np.arange(n_people), len(x)), np.repeat(x, n_people, axis=0)
    nll, gradient = likelihood.gradient(x, groups)
    if together:
        nll, gradient = nll.reshape(-1, n_people).sum(1), gradient.reshape(-1, n_people, n).sum(1)
    nll, gradient = nll.reshape(n_rows, -1), (gradient * slope).reshape(n_rows, -1, n)
    hessian = (gradient[:, 1 : n + 1] - gradient[:, n + 1 :]) / (2 * NEARBY)
    return Exact(nll[:, 0], gradient[:, 0], (hessian + hessian.swapaxes(1, 2)) / 2)


def _begin(evaluate: Evaluate, n_units: int, mean: np.ndarray, sd: np.ndarray) -> Points:
    """Everybody at the likeliest of a few points of the prior."""
    z = np.random.default_rng(0).normal(size=(N_STARTS, len(mean)))
    z[0] = 0.0
    return likeliest(*everybody_at(evaluate, z, np.arange(n_units), np.tile(mean, (n_units, 1)), np.diag(sd)))

"""Normal approximations of people's likelihoods and where the population is: what a sampler is started and scaled by.

Only its speed rests on them: densities are exact whatever they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.equations.priors import Prior
from spice.inference.fitting.defaults import person_prior, theta_prior
from spice.inference.fitting.modes import Laplace, Points, climb
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

N_STARTS = 4
ENOUGH, MOST = 1e-6, 100  # nats that a step must promise; steps
ITERATIONS = 30  # of EM
SETTLED = 0.01  # change of means and log standard deviations, in standard deviations
LEAST_SD = 0.1  # of the prior's: a population that seems to have no spread at all starts with a little
N_QUANTILES = 1000


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

    @classmethod
    def none(cls, n_people: int, n: int) -> "Sites":
        """Nothing known of anybody: with these, a hierarchy is non-centred."""
        flat, square = np.zeros((n_people, n)), np.zeros((n_people, n, n))
        return cls(flat, flat, square, square, np.zeros(n), np.ones(n))


def theta_moments(parameters: "Mapping[str, Parameter]", scale: Scale) -> tuple[np.ndarray, np.ndarray]:
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
    search = _Search(likelihood, scale, together)
    points = search.begin(mean, sd)
    found = climb(search.evaluate, points, np.tile(mean, (len(points), 1)), np.diag(sd), ENOUGH, MOST)
    return _sites(points, found, mean, sd)


def find_population(
    likelihood: Any, scale: Scale, mean: np.ndarray, sd: np.ndarray, regressors: np.ndarray
) -> tuple[Sites, np.ndarray]:
    """Approximate posteriors of people given a population that is estimated along with them, by a few steps of EM.

    Parameters
    ----------
    likelihood, scale
        As in `find_sites`.
    mean, sd : np.ndarray, each (n_parameters,)
        Of the population, to begin from.
    regressors : np.ndarray, shape (n_people, n_regressors)
        Centred.

    Returns
    -------
    sites : Sites
        With the population's mean and standard deviation.
    effects : np.ndarray, shape (n_regressors, n_parameters)
        Of the regressors.
    """
    search = _Search(likelihood, scale, False)
    points, start_sd = search.begin(mean, sd), sd
    effects = np.zeros((regressors.shape[1], len(mean)))
    found = None
    for iteration in range(ITERATIONS):
        around = mean + regressors @ effects
        found = climb(search.evaluate, points, around, np.diag(sd), ENOUGH, MOST if iteration == 0 else 5)
        new_mean = points.theta.mean(0)
        if regressors.shape[1]:
            effects = np.linalg.lstsq(regressors, points.theta - new_mean, rcond=None)[0]
        rest = points.theta - new_mean - regressors @ effects
        variance = (rest**2).mean(0) + np.diagonal(found.covariances(), axis1=1, axis2=2).mean(0)
        new_sd = np.maximum(np.sqrt(variance), LEAST_SD * start_sd)
        change = max(float(np.abs((new_mean - mean) / sd).max()), float(np.abs(np.log(new_sd / sd)).max()))
        mean, sd = new_mean, new_sd
        if change < SETTLED:
            break
    assert found is not None
    return _sites(points, found, mean, sd), effects


def _sites(points: Points, found: Laplace, mean: np.ndarray, sd: np.ndarray) -> Sites:
    values, vectors = np.linalg.eigh(points.hessian)
    curvature = (vectors * np.maximum(values, 0.0)[:, None]) @ vectors.swapaxes(1, 2)
    # of who is not at the mode yet the slope at one: else slopes may be huge, and lead far away
    pull = np.where(found.converged[:, None], -points.gradient, found.z / np.diag(found.root))
    return Sites(points.theta, pull, curvature, found.covariances(), mean, sd)


class _Search:
    """The likelihood by theta, and where to begin."""

    def __init__(self, likelihood: Any, scale: Scale, together: bool):
        self._likelihood, self._scale, self._together = likelihood, scale, together
        self._n_people = len(likelihood.participants)

    def evaluate(self, theta: np.ndarray, group: np.ndarray) -> Exact:
        """Of rows; of all people in each row where they are taken together."""
        with np.errstate(over="ignore"):
            natural = self._scale.natural(theta)
        if not self._together:
            return self._scale.chain(self._likelihood(natural, group), theta)
        n_rows, n_people = len(theta), self._n_people
        found = self._likelihood(np.repeat(natural, n_people, axis=0), np.tile(np.arange(n_people), n_rows))
        summed = (part.reshape(n_rows, n_people, *part.shape[1:]).sum(1) for part in found)
        return self._scale.chain(Exact(*summed), theta)

    def begin(self, mean: np.ndarray, sd: np.ndarray) -> Points:
        """Everybody at the likeliest of a few points of the prior."""
        z = np.random.default_rng(0).normal(size=(N_STARTS, len(mean)))
        z[0] = 0.0
        n_units = 1 if self._together else self._n_people
        theta, group = np.repeat(mean + sd * z, n_units, axis=0), np.tile(np.arange(n_units), N_STARTS)
        points = Points.at(self.evaluate, theta, group)
        energy = (points.nll.reshape(N_STARTS, n_units) + (z**2).sum(1)[:, None] / 2).argmin(0)
        return points[energy * n_units + np.arange(n_units)]

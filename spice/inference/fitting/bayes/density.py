"""Log posterior densities with gradients on vectors without bounds: what a sampler reads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spice.equations.priors import Prior
from spice.inference.fitting.bayes import density_kernels
from spice.inference.fitting.bayes.whitening import Sites
from spice.inference.fitting.defaults import mean_prior, person_prior, sd_prior, theta_prior
from spice.inference.fitting.transforms import ABOVE, BELOW, Scale, unconstrained_of

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

KERNELS: Any = density_kernels  # compiled: their arguments have no types
JITTER = 0.5  # of the population's numbers at the start, on the unconstrained scale
INSIDE = 0.02  # share of a bounded range that a start keeps from the bounds


class Density(Protocol):
    """A log posterior density.

    Attributes
    ----------
    ndim : int
        Length of the vectors.
    names : tuple of str
        The model's parameters.
    group : np.ndarray of int, shape (n_people,)
        Participants, by place in the likelihood.
    """

    ndim: int
    names: tuple[str, ...]
    group: np.ndarray

    def __call__(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """The logarithm, nats, and its gradient, (ndim,); minus infinity and 0 where it is no number."""

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """A point to begin from, (ndim,), scattered around where the posterior seems to be."""

    def natural(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """What vectors (n_draws, ndim) stand for, by name, on the natural scale."""

    def people(self, u: np.ndarray) -> np.ndarray:
        """Everybody's parameters on the natural scale, (n_people, n_parameters)."""

    def copy(self) -> "Density":
        """The same with memory of its own, for another thread."""


class AloneDensity:
    """Posterior of one set of parameters, of one person or of all together.

    Vectors are theta (the unconstrained scale) up to a constant affine map: ``theta = root @ u + centre``. The density
    is that of theta: a prior on the natural scale comes with the transform's Jacobian, the default one is normal on the
    unconstrained scale.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters.
    likelihood : Likelihood
        Its ``gradient(values, group)`` is evaluated.
    group : sequence of int
        Participants, by place.
    centre, root : np.ndarray, shapes (n,) and (n, n), optional
        The affine map; default none.
    """

    def __init__(
        self,
        parameters: "Mapping[str, Parameter]",
        likelihood: Any,
        group: Sequence[int],
        centre: np.ndarray | None = None,
        root: np.ndarray | None = None,
    ):
        scale, n = Scale(parameters), len(parameters)
        self.names, self.ndim = scale.names, n
        self._likelihood, self.group = likelihood, np.asarray(group, dtype=np.int64)
        own = [person_prior(parameter) for parameter in parameters.values()]
        priors = [prior or theta_prior(p) for prior, p in zip(own, parameters.values(), strict=True)]
        self._rows = _rows(scale.kinds, scale.low, scale.high, priors, [prior is not None for prior in own])
        root, centre = np.eye(n) if root is None else root, np.zeros(n) if centre is None else centre
        self._affine = np.column_stack([root, centre]).astype(float)
        self._values = np.empty((len(self.group), n))

    def __call__(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """The log density of theta, nats, and its gradient by ``u``."""
        self._place(u)
        nll, gradient = self._likelihood.gradient(self._values, self.group)
        out = np.empty(self.ndim)
        return KERNELS.density_alone(u, self._affine, self._rows, nll, gradient, out), out

    def _place(self, u: np.ndarray) -> None:
        KERNELS.place_alone(u[None], self._affine, self._rows, self._values[:1])
        if len(self.group) > 1:  # the same for everybody
            self._values[1:] = self._values[0]

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Twice as scattered as the approximate posterior."""
        return rng.uniform(-2.0, 2.0, self.ndim)

    def natural(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """By parameter, each (n_draws,)."""
        values = np.empty((len(draws), self.ndim))
        KERNELS.place_alone(np.ascontiguousarray(draws), self._affine, self._rows, values)
        return dict(zip(self.names, values.T, strict=True))

    def people(self, u: np.ndarray) -> np.ndarray:
        """The parameters on the natural scale, in a row for each person, (n_people, n_parameters)."""
        self._place(u)
        return self._values.copy()

    def copy(self) -> "AloneDensity":
        """The same with memory of its own, for another thread."""
        other = object.__new__(AloneDensity)
        other.__dict__.update(self.__dict__, _values=np.empty_like(self._values))
        return other


class PeopleDensity:
    """Posterior of a population and its people.

    Vectors are the population's means and standard deviations, each on the unconstrained scale of its own prior's
    support, effects of regressors (standardised), then people's z: standardised deviations from the population
    (non-centred), or from the Laplace approximation of each person's posterior given the population (whitened). People
    are normal on the unconstrained scale, or on the natural scale, truncated to the bounds, if the parameter says so.
    The density is that of the vector.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters.
    likelihood : Likelihood
        Its ``gradient(values, group)`` is evaluated.
    regressors : np.ndarray, shape (n_people, n_regressors), optional
        Effects on the population's means are those of their deviations from the people's average.
    sites : Sites, optional
        Normal approximations of people's likelihoods, and where the population seems to be.
    whitened : bool, default True
        Whether z is whitened by the sites, if there are any.
    """

    def __init__(
        self,
        parameters: "Mapping[str, Parameter]",
        likelihood: Any,
        regressors: np.ndarray | None = None,
        sites: Sites | None = None,
        whitened: bool = True,
    ):
        scale, n, n_people = Scale(parameters), len(parameters), len(likelihood.participants)
        regressors = np.zeros((n_people, 0)) if regressors is None else np.asarray(regressors, dtype=float)
        spread = regressors.std(0)
        self.names, self._likelihood, self.group = scale.names, likelihood, np.arange(n_people)
        self._spread, self._regressors = spread, (regressors - regressors.mean(0)) / spread
        self._n_first = (2 + regressors.shape[1]) * n
        self.ndim = self._n_first + n_people * n
        self._scale, self._own = scale, [parameter.scale == "natural" for parameter in parameters.values()]
        hyper = [mean_prior(p) for p in parameters.values()] + [sd_prior(p) for p in parameters.values()]
        hyper += [Prior("normal", (0.0, effect_sd(p), 0.0, 0.0)) for p in parameters.values()] * regressors.shape[1]
        low, high = np.array([prior.support for prior in hyper]).T
        kinds = np.isfinite(low).astype(np.int64) * ABOVE + np.isfinite(high) * BELOW
        self._hyper = _rows(kinds, low, high, hyper, [False] * len(hyper))
        none = Prior("normal", (0.0, 1.0, 0.0, 0.0))
        self._rows = _rows(scale.kinds, scale.low, scale.high, [none] * n, self._own)
        unknown = Sites.none(n_people, n)
        self._start = self._hyper_start(unknown if sites is None else sites)
        self._sites = sites if sites is not None and whitened else unknown
        s = self._sites
        self._constants: Any = (self._rows, self._hyper, self._regressors, s.theta, s.pull, s.curvature)
        self._make_memory()

    def _make_memory(self) -> None:
        n_people, n = self._sites.theta.shape
        self._values = np.empty((n_people, n))
        parts, factors = np.empty((n_people, n, density_kernels.N_PARTS)), np.empty((n_people, n, n))
        self._memory: Any = (np.empty(self._n_first), parts, factors)

    def __call__(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """The log density, nats, and its gradient."""
        self._place(u)
        nll, gradient = self._likelihood.gradient(self._values, self.group)
        out = np.empty(self.ndim)
        constants: Any = (self._rows, self._hyper, self._regressors, self._sites.curvature)
        return KERNELS.density_people(u, *constants, *self._memory, nll, gradient, out), out

    def _place(self, u: np.ndarray) -> None:
        KERNELS.place_people(u, *self._constants, *self._memory, self._values)

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Around where the population seems to be, and people's z as they should be distributed."""
        first = self._start + JITTER * rng.uniform(-1.0, 1.0, self._n_first)
        return np.concatenate([first, rng.normal(size=self.ndim - self._n_first)])

    def _hyper_start(self, sites: Sites) -> np.ndarray:
        """The population's numbers, unconstrained: those of the sites on the scale where people are normal."""
        x, first, _ = self._scale.derivatives(sites.mean)
        mean = np.where(self._own, x, sites.mean)
        sd = np.where(self._own, np.abs(first) * sites.sd, sites.sd)
        found = np.zeros(self._n_first)
        for h, value in enumerate(np.concatenate([mean, sd])):
            kind, low, high = int(self._hyper[h, 0]), self._hyper[h, 1], self._hyper[h, 2]
            room = INSIDE * (high - low if np.isfinite(high - low) else 1.0)
            value = min(max(value, low + room if np.isfinite(low) else value), high - room)
            found[h] = unconstrained_of(kind, low, high, value)
        return found

    def natural(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """People's parameters (n_draws, n_people); ``_mean``, ``_sd`` (n_draws,), ``_effect`` (n_draws, n_regressors).

        Means are those of people with average regressors.
        """
        n, n_people = len(self.names), len(self.group)
        values, hypers = np.empty((len(draws), n_people, n)), np.empty((len(draws), self._n_first))
        KERNELS.natural_people(np.ascontiguousarray(draws), *self._constants, *self._memory, hypers, values)
        found = {name: np.ascontiguousarray(values[:, :, k]) for k, name in enumerate(self.names)}
        found |= {f"{name}_mean": hypers[:, k] for k, name in enumerate(self.names)}
        found |= {f"{name}_sd": hypers[:, n + k] for k, name in enumerate(self.names)}
        if len(self._spread):
            effects = hypers[:, 2 * n :].reshape(len(draws), -1, n) / self._spread[:, None]
            found |= {f"{name}_effect": effects[:, :, k] for k, name in enumerate(self.names)}
        return found

    def people(self, u: np.ndarray) -> np.ndarray:
        """Everybody's parameters on the natural scale, (n_people, n_parameters)."""
        self._place(u)
        return self._values.copy()

    def copy(self) -> "PeopleDensity":
        """The same with memory of its own, for another thread."""
        other = object.__new__(PeopleDensity)
        other.__dict__.update(self.__dict__)
        other._make_memory()
        return other


def effect_sd(parameter: "Parameter") -> float:
    """Standard deviation of the normal prior of a regressor's effect, per standard deviation of the regressor.

    On the scale on which people are normal: 1 on the unconstrained one, 2 without bounds; on the natural one a quarter
    of the range between two bounds, else 2: as large as the default prior makes differences between people.
    """
    low = -np.inf if parameter.low is None else parameter.low
    high = np.inf if parameter.high is None else parameter.high
    if parameter.scale == "natural":
        return 0.25 * (high - low) if np.isfinite(high - low) else 2.0
    return 1.0 if np.isfinite(low) or np.isfinite(high) else 2.0


def _rows(kinds: Any, low: Any, high: Any, priors: Sequence[Prior], flags: Sequence[bool]) -> np.ndarray:
    """What compiled code reads of transforms and priors, (n, 12)."""
    forms = np.array([prior.form for prior in priors])
    return np.column_stack([kinds, low, high, forms, np.array(flags, dtype=float)])

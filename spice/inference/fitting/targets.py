"""What is minimised: the negative log-likelihood on the unconstrained scale, and what priors add to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spice.equations.caching import njit
from spice.equations.densities import log_prior
from spice.equations.priors import Prior
from spice.inference.fitting.defaults import person_prior, theta_prior
from spice.inference.fitting.likelihoods import Likelihood
from spice.inference.fitting.transforms import Scale, log_jacobian_of
from spice.inference.general.generated import Exact

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

NOTHING, ON_NATURAL, ON_UNCONSTRAINED, AS_DENSITY = 0, 1, 2, 3  # what a prior adds, by parameter


class Rows(NamedTuple):
    """What is known of rows.

    Attributes
    ----------
    value : np.ndarray, shape (n_rows,)
        What is minimised, nats; infinite where states overflow or a prior has no mass.
    gradient : np.ndarray, shape (n_rows, n_parameters)
        Its gradient on the unconstrained scale.
    hessian : np.ndarray, shape (n_rows, n_parameters, n_parameters)
        Its second derivatives there.
    natural : np.ndarray, shape (n_rows, n_parameters)
        Its gradient on the natural scale, also at bounds.
    nll : np.ndarray, shape (n_rows,)
        The negative log-likelihood alone.
    """

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    natural: np.ndarray
    nll: np.ndarray


@njit
def _add_priors(kinds, low, high, adds, densities, theta, x, first, second, value, gradient, hessian, natural):
    """From derivatives by natural values those by ``theta``, and priors, in place.

    A parameter at its bound (``theta`` infinite) moves nothing; a prior whose density is infinite there is left out.
    """
    n_rows, n = theta.shape
    for i in range(n_rows):
        for k in range(n):
            natural[i, k] = gradient[i, k]
            for j in range(n):
                hessian[i, j, k] *= first[i, j] * first[i, k]
        for k in range(n):
            held = math.isinf(theta[i, k])
            if adds[k] == ON_NATURAL or adds[k] == AS_DENSITY:
                v, slope, curve = log_prior(densities[k], x[i, k])
                if v != math.inf:
                    value[i] -= v
                natural[i, k] -= slope
                if not held:
                    hessian[i, k, k] -= curve * first[i, k] ** 2
            gradient[i, k] = 0.0 if held else natural[i, k] * first[i, k]
            if held:
                for j in range(n):
                    hessian[i, j, k] = 0.0
                    hessian[i, k, j] = 0.0
            else:
                hessian[i, k, k] += natural[i, k] * second[i, k]
            if adds[k] == AS_DENSITY:
                v, slope, curve = log_jacobian_of(kinds[k], low[k], high[k], theta[i, k])
                value[i] -= v
                if not held:
                    gradient[i, k] -= slope
                    hessian[i, k, k] -= curve
            elif adds[k] == ON_UNCONSTRAINED:
                v, slope, curve = log_prior(densities[k], theta[i, k])
                value[i] -= v
                if not held:
                    gradient[i, k] -= slope
                    hessian[i, k, k] -= curve
        if not value[i] > -math.inf:  # NaN too
            value[i] = math.inf


@dataclass(frozen=True)
class Normal:
    """A normal distribution on the unconstrained scale, with full covariance.

    Attributes
    ----------
    mean : np.ndarray, shape (n_parameters,)
        Its mean.
    precision : np.ndarray, shape (n_parameters, n_parameters)
        Inverse of its covariance.
    log_scale : float
        Logarithm of the density at the mean.
    """

    mean: np.ndarray
    precision: np.ndarray
    log_scale: float

    @staticmethod
    def of(mean: np.ndarray, covariance: np.ndarray) -> "Normal":
        """From mean and covariance.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the covariance is not positive definite.
        """
        root = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(root)
        log_scale = -float(np.log(np.diag(root)).sum()) - len(mean) / 2 * math.log(2 * math.pi)
        return Normal(mean, inverse.T @ inverse, log_scale)


class Target:
    """A function of rows on the unconstrained scale: the negative log-likelihood, minus log priors.

    Parameters
    ----------
    likelihood : Likelihood
        Of the choices.
    parameters : mapping of str to Parameter
        Bounds and priors.
    priors : {"none", "mode", "density"}, default "none"
        Nothing but the likelihood; priors for a mode in the coordinates in which each is written (a user's on the
        natural scale, the default ones on the unconstrained scale); or for a density on the unconstrained scale, with
        the Jacobians of the user's.
    normal : Normal, optional
        A further prior, of all parameters on the unconstrained scale.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        parameters: "Mapping[str, Parameter]",
        priors: str = "none",
        normal: Normal | None = None,
    ):
        self.likelihood, self.parameters, self.normal = likelihood, parameters, normal
        self.scale = Scale(parameters)
        found: list[tuple[int, Prior]] = []
        for parameter in parameters.values():
            own, default = person_prior(parameter), theta_prior(parameter)
            if priors == "none" or own is None:
                found.append((NOTHING if priors == "none" else ON_UNCONSTRAINED, default))
            else:
                found.append((AS_DENSITY if priors == "density" else ON_NATURAL, own))
        self.adds = np.array([what for what, _ in found], dtype=np.int64)
        self._densities = np.array([prior.form for _, prior in found], dtype=float).reshape(-1, 8)

    def __call__(self, theta: Any, group: np.ndarray | None = None) -> Rows:
        """Evaluate rows.

        Parameters
        ----------
        theta : array_like, shape (n_rows, n_parameters)
            On the unconstrained scale; infinite: at the bound.
        group : np.ndarray of int, shape (n_rows,), optional
            Participant of each row, by place in the likelihood's; default one row for each.
        """
        theta = np.ascontiguousarray(theta, dtype=float)
        return self._with_priors(theta, self.likelihood(self.scale.natural(theta), group))

    def first_order(self, theta: Any, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of rows, cheaper than with second derivatives."""
        theta = np.ascontiguousarray(theta, dtype=float)
        nll, gradient = self.likelihood.gradient(self.scale.natural(theta), group)
        n = len(self.scale.names)
        found = self._with_priors(theta, Exact(nll, gradient, np.zeros((len(theta), n, n))))
        return found.value, found.gradient

    def _with_priors(self, theta: np.ndarray, exact: Exact) -> Rows:
        """Of natural values' derivatives those by ``theta``, and what priors add; gradient and Hessian in place."""
        x, first, second = self.scale.derivatives(theta)
        nll, gradient, hessian = exact
        value, natural = nll.copy(), np.empty_like(gradient)
        scale = self.scale
        with np.errstate(all="ignore"):
            prior = (self.adds, self._densities)
            rows = (theta, x, first, second, value, gradient, hessian, natural)
            _add_priors(scale.kinds, scale.low, scale.high, *prior, *rows)
            if self.normal is not None:
                distance = theta - self.normal.mean
                pull = distance @ self.normal.precision
                value += (distance * pull).sum(1) / 2 - self.normal.log_scale
                gradient += pull
                hessian += self.normal.precision
        return Rows(value, gradient, hessian, natural, nll)

"""Between the natural scale of parameters, with bounds, and the unconstrained scale, where they are optimised.

Elementwise: the value itself without bounds; ``log(x - low)`` with a lower bound only; ``-log(high - x)`` with an upper
one only; ``logit((x - low) / (high - low))`` between two.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.equations.caching import njit
from spice.inference.general.generated import Exact

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

FREE, ABOVE, BELOW, BETWEEN = 0, 1, 2, 3  # kinds: no bound, a lower one, an upper one, two


@njit
def natural_of(kind, low, high, theta):
    """A value on the natural scale and its first two derivatives by ``theta``.

    Parameters
    ----------
    kind : int
        `FREE`, `ABOVE`, `BELOW` or `BETWEEN`.
    low, high : float
        Bounds; read where there are any.
    theta : float
        On the unconstrained scale.
    """
    if kind == FREE:
        return theta, 1.0, 0.0
    if kind == ABOVE:
        e = math.exp(theta)
        return low + e, e, e
    if kind == BELOW:
        e = math.exp(-theta)
        return high - e, e, -e
    e = math.exp(-abs(theta))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)  # distances from the nearer and the farther bound
    size = high - low
    slope = size * small * large
    if theta >= 0.0:
        return high - size * small, slope, slope * (small - large)
    return low + size * small, slope, slope * (large - small)


def unconstrained_of(kind: int, low: float, high: float, x: Any) -> Any:
    """Values of one parameter on the unconstrained scale: infinite at a bound, NaN beyond."""
    if kind == FREE:
        return x
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == ABOVE:
            return np.log(x - low)
        if kind == BELOW:
            return -np.log(high - x)
        return np.log(x - low) - np.log(high - x)


@njit
def log_jacobian_of(kind, low, high, theta):
    """``log |dx / dtheta|`` and its first two derivatives by ``theta``."""
    if kind == FREE:
        return 0.0, 0.0, 0.0
    if kind == ABOVE:
        return theta, 1.0, 0.0
    if kind == BELOW:
        return -theta, -1.0, 0.0
    e = math.exp(-abs(theta))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    slope = small - large if theta >= 0.0 else large - small
    return math.log(high - low) - abs(theta) - 2.0 * math.log1p(e), slope, -2.0 * small * large


@njit
def _natural_rows(kinds, low, high, theta, x, first, second):
    for i in range(theta.shape[0]):
        for k in range(theta.shape[1]):
            x[i, k], first[i, k], second[i, k] = natural_of(kinds[k], low[k], high[k], theta[i, k])


@njit
def _log_jacobian_rows(kinds, low, high, theta, value, slope, curve):
    for i in range(theta.shape[0]):
        for k in range(theta.shape[1]):
            found = log_jacobian_of(kinds[k], low[k], high[k], theta[i, k])
            value[i, k], slope[i, k], curve[i, k] = found


@njit
def _chain_rows(gradient, hessian, first, second, new_gradient, new_hessian):
    n_rows, n = gradient.shape
    for i in range(n_rows):
        for k in range(n):
            new_gradient[i, k] = gradient[i, k] * first[i, k]
            for j in range(n):
                new_hessian[i, j, k] = hessian[i, j, k] * first[i, j] * first[i, k]
            new_hessian[i, k, k] += gradient[i, k] * second[i, k]


class Scale:
    """The two scales of a model's parameters.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters with their bounds; their order is that of the last axis of all arrays.

    Attributes
    ----------
    names : tuple of str
        Parameters.
    low, high : np.ndarray, shape (n_parameters,)
        Bounds, infinite where there are none.
    kinds : np.ndarray of int64, shape (n_parameters,)
        `FREE`, `ABOVE`, `BELOW` or `BETWEEN`.
    """

    def __init__(self, parameters: "Mapping[str, Parameter]"):
        self.names = tuple(parameters)
        self.low = np.array([-np.inf if p.low is None else p.low for p in parameters.values()], dtype=float)
        self.high = np.array([np.inf if p.high is None else p.high for p in parameters.values()], dtype=float)
        self.kinds = np.isfinite(self.low).astype(np.int64) * ABOVE + np.isfinite(self.high) * BELOW

    def natural(self, theta: Any) -> np.ndarray:
        """Values on the natural scale, of the shape of ``theta``, (..., n_parameters)."""
        return self.derivatives(theta)[0]

    def unconstrained(self, x: Any) -> np.ndarray:
        """Values on the unconstrained scale, of the shape of ``x``: infinite at a bound, NaN beyond."""
        rows, shape = self._rows(x)
        found = np.empty_like(rows)
        for k, bounds in enumerate(zip(self.kinds, self.low, self.high, strict=True)):
            found[:, k] = unconstrained_of(*bounds, rows[:, k])
        return found.reshape(shape)

    def derivatives(self, theta: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Natural values and their first two derivatives by ``theta``, each of its shape."""
        return self._three(_natural_rows, theta)

    def log_jacobian(self, theta: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``log |dx / dtheta|`` of each parameter and its first two derivatives, each of the shape of ``theta``."""
        return self._three(_log_jacobian_rows, theta)

    def chain(self, exact: Exact, theta: Any) -> Exact:
        """Derivatives by ``theta`` of what is known by natural values.

        Parameters
        ----------
        exact : Exact
            Of the rows ``natural(theta)``.
        theta : array_like, shape (n_rows, n_parameters)
            On the unconstrained scale.
        """
        _, first, second = self.derivatives(theta)
        gradient, hessian = np.empty_like(exact.gradient), np.empty_like(exact.hessian)
        _chain_rows(exact.gradient, exact.hessian, first, second, gradient, hessian)
        return Exact(exact.nll, gradient, hessian)

    def _three(self, function: Any, theta: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, shape = self._rows(theta)
        found = np.empty((3, *rows.shape))
        function(self.kinds, self.low, self.high, rows, *found)
        one, two, three = found.reshape(3, *shape)
        return one, two, three

    def _rows(self, values: Any) -> tuple[np.ndarray, tuple[int, ...]]:
        values = np.ascontiguousarray(values, dtype=float)
        if values.ndim == 0 or values.shape[-1] != len(self.names):
            raise ValueError(f"the last axis must have length {len(self.names)}, but the shape is {values.shape}.")
        n_rows = int(np.prod(values.shape[:-1], dtype=int))
        return values.reshape(n_rows, len(self.names)), values.shape

"""What the curvature at an optimum says: standard errors, what is not identified, and Laplace's evidence."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from spice.inference.fitting.transforms import BETWEEN, FREE, Scale
from spice.inference.uncertainty import PART, UNKNOWN, VAGUE

FAR = 10.0  # on the unconstrained scale: from there on an estimate is as good as at its bound
Z = float(ndtri(0.975))


@dataclass(frozen=True)
class Curvature:
    """Of each row on the unconstrained scale; what a bound holds counts as known.

    Attributes
    ----------
    covariance : np.ndarray, shape (n_rows, n_parameters, n_parameters)
        Inverse of the second derivatives, 0 in directions that are not identified and for what is held.
    lost : np.ndarray of bool, shape (n_rows, n_parameters)
        Parameters that have a part in a direction in which the function is flat.
    saddle : np.ndarray of bool, shape (n_rows,)
        Whether the function bends down in a direction: it is no minimum.
    log_determinant : np.ndarray, shape (n_rows,)
        Of the second derivatives; NaN where they are not positive definite.
    """

    covariance: np.ndarray
    lost: np.ndarray
    saddle: np.ndarray
    log_determinant: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Standard errors on the unconstrained scale, (n_rows, n_parameters); NaN for what is not identified."""
        return np.where(self.lost, np.nan, np.sqrt(np.einsum("rkk->rk", self.covariance)))


def curvature_of(scale: Scale, theta: np.ndarray, hessian: np.ndarray, held: np.ndarray) -> Curvature:
    """Read second derivatives.

    Information is measured in steps that make a difference: near one of two bounds they are as large on the natural
    scale as in the middle, and without bounds as large as the number itself.

    Parameters
    ----------
    scale : Scale
        The scales.
    theta : np.ndarray, shape (n_rows, n_parameters)
        Where, on the unconstrained scale.
    hessian : np.ndarray, shape (n_rows, n_parameters, n_parameters)
        Second derivatives there.
    held : np.ndarray of bool, shape (n_rows, n_parameters)
        What a bound holds.
    """
    unit = np.where((scale.kinds == FREE) & ~held, 1 / np.maximum(np.abs(theta), 1.0), 1.0)
    near = (scale.kinds == BETWEEN) & (np.abs(theta) < FAR) & ~held
    unit[near] = (4 * scale.derivatives(theta)[1] / (scale.high - scale.low))[near]
    free = np.logical_not(held)
    pairs = free[:, :, None] & free[:, None, :]
    matrix = np.where(pairs, hessian, 0.0) / (unit[:, :, None] * unit[:, None, :])
    usable = np.all(np.isfinite(matrix), axis=(1, 2))
    matrix = np.where(usable[:, None, None], matrix, 0.0) + held[:, :, None] * np.eye(hessian.shape[1])
    values, vectors = np.linalg.eigh(matrix)
    known: np.ndarray = values > UNKNOWN
    inverse = np.where(known, 1 / np.where(known, values, 1.0), 0.0)
    covariance = np.einsum("rik,rk,rjk->rij", vectors, inverse, vectors) * pairs
    covariance /= unit[:, :, None] * unit[:, None, :]
    lost = np.any((np.abs(vectors) > PART) & ~known[:, None, :], axis=2) & free
    with np.errstate(invalid="ignore", divide="ignore"):
        determinant = np.log(values).sum(1) + 2 * np.log(unit).sum(1)
    determinant = np.where(usable & (values.min(1, initial=np.inf) > 0), determinant, np.nan)
    return Curvature(covariance, lost | ~usable[:, None], np.any(values < -UNKNOWN, axis=1), determinant)


def standard_errors(scale: Scale, theta: np.ndarray, found: Curvature) -> np.ndarray:
    """Standard errors on the natural scale.

    Parameters
    ----------
    scale : Scale
        The scales.
    theta : np.ndarray, shape (n_rows, n_parameters)
        Estimates on the unconstrained scale, infinite at a bound.
    found : Curvature
        Of the same rows.

    Returns
    -------
    np.ndarray, shape (n_rows, n_parameters)
        NaN for what is held or not identified.
    """
    return scale.derivatives(theta)[1] * np.where(np.isinf(theta), np.nan, found.errors)


def normal_intervals(scale: Scale, theta: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals formed on the unconstrained scale.

    So near one of two bounds that the logit says nothing they are formed on the natural scale, and end at the bound.

    Parameters
    ----------
    scale : Scale
        The scales.
    theta, errors : np.ndarray, each (n_rows, n_parameters)
        Finite estimates and standard errors on the unconstrained scale.

    Returns
    -------
    low, high : np.ndarray, each (n_rows, n_parameters)
        Natural scale.
    """
    width = Z * errors
    x, slope, _ = scale.derivatives(theta)
    low, high = scale.natural(theta - width), scale.natural(theta + width)
    vague = (scale.kinds == BETWEEN) & (width > VAGUE)
    low[vague] = np.maximum(x - slope * width, scale.low)[vague]
    high[vague] = np.minimum(x + slope * width, scale.high)[vague]
    return low, high


def laplace(value: np.ndarray, found: Curvature) -> np.ndarray:
    """Logarithm of the integral of exp(-value) over the unconstrained scale, by a quadratic at its mode.

    MacKay (2003), Information theory, inference, and learning algorithms, equation 27.6.

    Parameters
    ----------
    value : np.ndarray, shape (n_rows,)
        Negative logarithm of likelihood times prior density at the mode.
    found : Curvature
        There, nothing held.
    """
    n = found.covariance.shape[1]
    return -value + n / 2 * math.log(2 * math.pi) - found.log_determinant / 2

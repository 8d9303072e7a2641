"""Sparse regression of one module's next value on its library, by pysindy's optimizers."""

import warnings
from collections.abc import Callable

import numpy as np
import pysindy
from pysindy.optimizers import BaseOptimizer
from sklearn import config_context
from sklearn.base import clone

from spice.errors import ConfigError, did_you_mean

RIDGE = 1e-10  # only against numerical singularity: dependent columns are dropped before

# the last step, least squares on the terms that are left, is done here for all of them: pysindy's takes longer
OPTIMIZERS: dict[str, Callable[[float], BaseOptimizer]] = {
    "STLSQ": lambda threshold: pysindy.STLSQ(threshold=threshold, alpha=RIDGE, unbias=False),
    "SR3": lambda threshold: pysindy.SR3(
        reg_weight_lam=pysindy.SR3.calculate_l0_weight(threshold, 1.0), relax_coeff_nu=1.0, max_iter=1000, unbias=False
    ),
    "SSR": lambda threshold: pysindy.SSR(alpha=RIDGE, max_iter=100),
    "FROLS": lambda threshold: pysindy.FROLS(alpha=RIDGE, max_iter=100),
}


def make_optimizer(optimizer: str | BaseOptimizer, threshold: float) -> BaseOptimizer:
    """A pysindy optimizer by name, or a copy of the one that was given.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ConfigError(
                f"sindy_optimizer={optimizer!r} is unknown{did_you_mean(optimizer, list(OPTIMIZERS))}; choose one of "
                f"{', '.join(OPTIMIZERS)}, or give a pysindy optimizer."
            )
        return OPTIMIZERS[optimizer](threshold)
    if not isinstance(optimizer, BaseOptimizer):
        raise ConfigError(f"sindy_optimizer must be a name or a pysindy optimizer, not {type(optimizer).__name__}.")
    return clone(optimizer)


def sparse_regression(
    library: np.ndarray, target: np.ndarray, optimizer: str | BaseOptimizer, threshold: float
) -> np.ndarray:
    """Sparse coefficients of the library's columns.

    A column's scale is its root mean square, so that the threshold speaks of contributions to the target and
    does not depend on the units of rewards or states.

    Parameters
    ----------
    library : np.ndarray, shape (n_samples, n_terms)
        Independent candidate terms.
    target : np.ndarray, shape (n_samples,)
        Next values.
    optimizer : str or pysindy optimizer
        How to sparsify; an optimizer object is used as it is, on all samples and unscaled terms.
    threshold : float
        Terms with a smaller root-mean-square contribution are dropped (by named optimizers).

    Returns
    -------
    np.ndarray, shape (n_terms,)
        Coefficients, 0 for dropped terms.
    """
    if not isinstance(optimizer, str):  # the user's own: its thresholds and constraints speak of the terms as they are
        return make_optimizer(optimizer, threshold).fit(library, target[:, None]).coef_[0]
    if not target.any() or not library.shape[1]:  # SSR and FROLS cannot do without a target
        return np.zeros(library.shape[1])
    scale = np.sqrt(np.mean(library**2, axis=0))
    matrix, vector = library / (scale * np.sqrt(len(target))), target / np.sqrt(len(target))
    full = _least_squares(matrix, vector)
    if matrix.shape[1] == 1:  # nothing to select among
        return np.where(np.abs(full) >= threshold, full, 0.0) / scale
    if optimizer == "STLSQ" and (np.abs(full) >= threshold).all():  # nothing to drop: least squares is its answer
        return full / scale
    method = make_optimizer(optimizer, threshold)
    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        # a module may well be left without terms
        warnings.filterwarnings("ignore", message="Sparsity parameter is too big", category=UserWarning)
        method.fit(matrix, vector[:, None])
    if isinstance(method, (pysindy.SSR, pysindy.FROLS)):
        return _sparsest_within(method.history_, full, matrix, vector, threshold) / scale
    return _least_squares(matrix, vector, method.coef_[0] != 0) / scale


def _least_squares(matrix: np.ndarray, vector: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Least-squares coefficients of the present columns (default all), 0 for the others."""
    present = np.ones(matrix.shape[1], dtype=bool) if present is None else present
    coefficients = np.zeros(matrix.shape[1])
    if present.any():
        coefficients[present] = np.linalg.lstsq(matrix[:, present], vector, rcond=None)[0]
    return coefficients


def _sparsest_within(
    history: list, full: np.ndarray, matrix: np.ndarray, vector: np.ndarray, threshold: float
) -> np.ndarray:
    """The sparsest of the visited models whose error exceeds the best one's by less than the threshold.

    SSR and FROLS visit models of every size; at their defaults they stop too early or prune true terms even
    without noise.
    """
    # pysindy's histories have neither the full model nor the empty one
    visited = [np.zeros_like(full), full, *(np.asarray(coef).reshape(-1) for coef in history)]
    models = sorted(visited, key=np.count_nonzero)
    errors = [np.sum((vector - matrix @ coef) ** 2) for coef in models]
    limit = min(errors) + threshold**2
    return next(coef for coef, error in zip(models, errors, strict=True) if error <= limit)

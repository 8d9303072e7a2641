"""Sparse regression of one module's next value on its library, by pysindy's optimizers."""

import warnings
from collections.abc import Callable

import numpy as np
import pysindy
from pysindy.optimizers import BaseOptimizer
from sklearn.base import clone

from spice.errors import ConfigError, did_you_mean

RIDGE = 1e-10  # only against numerical singularity: dependent columns are dropped before
DEPENDENT = 1e-3  # a column whose part outside the span of the others is below this share of it

OPTIMIZERS: dict[str, Callable[[float], BaseOptimizer]] = {
    "STLSQ": lambda threshold: pysindy.STLSQ(threshold=threshold, alpha=RIDGE),
    "SR3": lambda threshold: pysindy.SR3(
        reg_weight_lam=pysindy.SR3.calculate_l0_weight(threshold, 1.0), relax_coeff_nu=1.0, max_iter=1000, unbias=True
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


def independent_columns(library: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Columns that are not linear combinations of those before them.

    Parameters
    ----------
    library : np.ndarray, shape (n_samples, n_terms)
        Candidate terms.
    order : np.ndarray of int, shape (n_terms,)
        Which column to consider first.

    Returns
    -------
    kept : np.ndarray of int
        Kept columns, ascending.
    dependent : dict of int to list of int
        For each dropped column those kept columns that it is a combination of.
    """
    norms = np.linalg.norm(library, axis=0)
    kept: list[int] = []
    dependent: dict[int, list[int]] = {}
    for column in order:
        target = library[:, column]
        if norms[column] == 0:
            dependent[int(column)] = []
            continue
        if kept:
            base = library[:, kept] / norms[kept]
            weights = np.linalg.lstsq(base, target / norms[column], rcond=None)[0]
            if np.linalg.norm(target / norms[column] - base @ weights) < DEPENDENT:
                dependent[int(column)] = [k for k, w in zip(kept, weights, strict=True) if abs(w) > DEPENDENT]
                continue
        kept.append(int(column))
    return np.array(sorted(kept), dtype=int), dependent


def sparse_regression(
    library: np.ndarray, target: np.ndarray, optimizer: str | BaseOptimizer, threshold: float
) -> np.ndarray:
    """Sparse coefficients of the library's columns.

    A column's scale is its root mean square, so that the threshold speaks of contributions to the target and
    does not depend on the units of rewards or states. The samples are compressed to the triangular factor of
    a QR decomposition: every least-squares problem on them is the same as on all samples.

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
    scale = np.sqrt(np.mean(library**2, axis=0))
    compressed = np.linalg.qr(np.column_stack([library / scale, target]), mode="r") / np.sqrt(len(target))
    matrix, vector = compressed[:, :-1], compressed[:, -1]
    if not target.any():  # SSR and FROLS cannot do without a target
        return np.zeros(matrix.shape[1])
    if matrix.shape[1] == 1:  # nothing to select among
        least_squares = np.linalg.lstsq(matrix, vector, rcond=None)[0]
        return np.where(np.abs(least_squares) >= threshold, least_squares, 0.0) / scale
    method = make_optimizer(optimizer, threshold)
    with warnings.catch_warnings():
        # a module may well be left without terms
        warnings.filterwarnings("ignore", message="Sparsity parameter is too big", category=UserWarning)
        method.fit(matrix, vector[:, None])
    if isinstance(method, (pysindy.SSR, pysindy.FROLS)):
        return _sparsest_within(method.history_, matrix, vector, threshold) / scale
    return method.coef_[0] / scale


def _sparsest_within(history: list, matrix: np.ndarray, vector: np.ndarray, threshold: float) -> np.ndarray:
    """The sparsest of the visited models whose error exceeds the best one's by less than the threshold.

    SSR and FROLS visit models of every size; at their defaults they stop too early or prune true terms even
    without noise.
    """
    full = np.linalg.lstsq(matrix, vector, rcond=None)[0]  # pysindy's histories have neither this nor the empty one
    visited = [np.zeros_like(full), full, *(np.asarray(coef).reshape(-1) for coef in history)]
    models = sorted(visited, key=np.count_nonzero)
    errors = [np.sum((vector - matrix @ coef) ** 2) for coef in models]
    limit = min(errors) + threshold**2
    return next(coef for coef, error in zip(models, errors, strict=True) if error <= limit)

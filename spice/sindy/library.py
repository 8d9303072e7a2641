"""The candidate terms of a module: evaluated for everyone, compressed, and rid of those that the data cannot tell."""

from collections.abc import Sequence

import numpy as np

DEPENDENT = 1e-3  # a column whose part outside the span of the others is below this share of it


def compress(library: np.ndarray, target: np.ndarray, parts: Sequence[slice]) -> list[np.ndarray]:
    """A few rows per participant that stand for all of their samples.

    They are the triangular factor of a QR decomposition, scaled: every mean square, and so every least-squares
    problem, is that of the samples.

    Parameters
    ----------
    library : np.ndarray, shape (n_samples, n_terms)
        Values of the terms.
    target : np.ndarray, shape (n_samples,)
        Next values.
    parts : sequence of slice
        Where each participant's samples are.

    Returns
    -------
    list of np.ndarray, each (n_rows, n_terms + 1)
        Terms and target; the samples themselves where there are no more than ``n_terms + 1``.
    """
    table = np.column_stack([library, target])
    n_columns = table.shape[1]
    rows = [table[part] for part in parts]
    counts = np.array([len(own) for own in rows])
    for count in np.unique(counts[counts > n_columns]):  # participants with as many samples go through one call
        alike = np.flatnonzero(counts == count).tolist()
        triangles = np.linalg.qr(np.stack([rows[index] for index in alike]), mode="r") * np.sqrt(n_columns / count)
        for index, triangle in zip(alike, triangles, strict=True):
            rows[index] = triangle
    return rows


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
    if len(library) >= len(order) and norms.all():
        outside = np.abs(np.diag(np.linalg.qr(library[:, order] / norms[order], mode="r")))
        if (outside >= DEPENDENT).all():
            return np.arange(len(order)), {}
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

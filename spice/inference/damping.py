"""How far damped Newton steps are trusted: as far as they foretold the gain."""

import numpy as np

DAMPING = (1e-8, 1e-3, 1e8)  # least, first, largest: relative to the curvature's diagonal


def foretold_gain(gradient: np.ndarray, curvature: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Decrease that quadratics promise.

    Parameters
    ----------
    gradient, steps : np.ndarray, each (n_rows, n_numbers)
        Slopes, and steps.
    curvature : np.ndarray, shape (n_rows, n_numbers, n_numbers)
        Curvatures.

    Returns
    -------
    np.ndarray, shape (n_rows,)
    """
    return -(gradient * steps).sum(1) - np.einsum("ri,rij,rj->r", steps, curvature, steps) / 2


def next_damping(damping: np.ndarray, gain: np.ndarray, foretold: np.ndarray, better: np.ndarray) -> np.ndarray:
    """Damping after steps: less where they kept what they promised, more where not; too small, full steps overshoot.

    Parameters
    ----------
    damping : np.ndarray, shape (n_rows,)
        That of the steps.
    gain, foretold : np.ndarray, each (n_rows,)
        Decrease, and `foretold_gain`.
    better : np.ndarray of bool, shape (n_rows,)
        Whether the step was taken.

    Returns
    -------
    np.ndarray, shape (n_rows,)
        At least the least of `DAMPING`; from the largest on there is no use going on.
    """
    good, poor = better & (gain > 0.75 * foretold), ~better | (gain < 0.25 * foretold)
    return np.maximum(damping * np.where(good, 0.1, np.where(poor, 10.0, 1.0)), DAMPING[0])

"""Stable equations only: a state's multiplier stays within [-1, 1] for every input that was met (DESIGN section 4)."""

import warnings

import numpy as np
from scipy.optimize import minimize

from spice.errors import StabilityWarning

GROWTH = 10.0  # a state that would grow by more than this factor over a session is reported
TOLERANCE = 1e-9
RIDGE = 1e-8
MOST_INPUTS = 200  # inputs at which the multiplier is held; more are thinned out


def multiplier_rows(features: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """How the multiplier of a state follows from the coefficients.

    Parameters
    ----------
    features : np.ndarray, shape (n_samples, 1 + n_signals)
        Values of the state, then of the signals.
    exponents : np.ndarray of int, shape (n_terms, 1 + n_signals)
        Powers of each term.

    Returns
    -------
    np.ndarray, shape (n_inputs, n_terms)
        ``rows @ coefficients`` is the multiplier at each different input: the sum of the terms linear in the state.
    """
    linear = exponents[:, 0] == 1
    if not exponents[linear, 1:].any():  # no input has a part in it
        return linear[None].astype(float)
    met = np.unique(features[:, 1:], axis=0)
    products = np.prod(met[:, None, :] ** exponents[None, :, 1:], axis=-1)
    # thinned out, but never without the extremes of a term, where a multiplier is largest
    some = np.linspace(0, len(met) - 1, MOST_INPUTS).astype(int)
    kept = np.unique(np.concatenate([some, products.argmin(0), products.argmax(0)]))
    return np.where(linear, products[kept], 0.0)


def hold_stable(
    library: np.ndarray, target: np.ndarray, coefficients: np.ndarray, rows: np.ndarray, limit: float = 1.0
) -> np.ndarray:
    """Least-squares coefficients of the present terms with every multiplier in [-1, 1].

    Parameters
    ----------
    library : np.ndarray, shape (n_samples, n_terms)
        Values of the terms.
    target : np.ndarray, shape (n_samples,)
        Next values.
    coefficients : np.ndarray, shape (n_terms,)
        Coefficients found without the limits; terms with 0 stay out.
    rows : np.ndarray, shape (n_inputs, n_terms)
        From `multiplier_rows`.
    limit : float, default 1
        Largest size of a multiplier.

    Returns
    -------
    np.ndarray, shape (n_terms,)
        The same coefficients where they keep the limits, else the closest fit that does.
    """
    if np.abs(rows @ coefficients).max(initial=0.0) <= limit + TOLERANCE:
        return coefficients
    present = coefficients != 0
    scale = np.sqrt(np.mean(library[:, present] ** 2, axis=0))
    n_terms = int(present.sum())
    samples = np.column_stack([library[:, present] / scale, target])
    # a faint ridge keeps the triangle square and regular with fewer samples than terms
    samples = np.vstack([samples, RIDGE * np.eye(n_terms, n_terms + 1)])
    triangle = np.linalg.qr(samples, mode="r") / np.sqrt(len(target))
    matrix, vector = triangle[:n_terms, :n_terms], triangle[:n_terms, -1]
    # in the coordinates matrix @ w the fit is a distance, so collinear terms do no harm
    limits = np.linalg.solve(matrix.T, (rows[:, present] / scale).T).T
    start = np.zeros(len(vector))  # all coefficients 0: a multiplier of 0 is allowed
    result = minimize(
        lambda z: np.sum((z - vector) ** 2),
        start,
        jac=lambda z: 2 * (z - vector),
        method="SLSQP",
        constraints={
            "type": "ineq",
            "fun": lambda z: np.concatenate([limit - limits @ z, limit + limits @ z]),
            "jac": lambda z: np.concatenate([-limits, limits]),
        },
        options={"maxiter": 500, "ftol": 1e-12},
    )
    held = coefficients.copy()
    held[present] = np.linalg.solve(matrix, result.x) / scale
    return held


def warn_if_unstable(found: list[tuple[object, str, float, int]]) -> None:
    """Name the equations that would have grown without bound over a session.

    Parameters
    ----------
    found : list of tuple
        Participant's label, module, multiplier without the limits, and the length of the longest session.
    """
    grown = [
        f"participant {label!r}, module {module!r}, multiplier {worst:.2f}"
        for label, module, worst, n_trials in found
        if n_trials * np.log(max(abs(worst), 1.0)) > np.log(GROWTH)
    ]
    if grown:
        shown = "; ".join(grown[:5]) + (f"; and {len(grown) - 5} more" if len(grown) > 5 else "")
        warnings.warn(
            f"equations that grow without bound over a session: {shown}. They were refitted with the multiplier "
            "held within "
            "[-1, 1]; compare their predictions with the network's, and fit more data or a smaller hidden_size "
            "if they differ.",
            StabilityWarning,
            stacklevel=6,
        )

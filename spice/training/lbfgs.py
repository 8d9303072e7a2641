"""L-BFGS with a strong-Wolfe line search, as a dialogue: it asks for evaluations and is told their results.

So that restarts can be evaluated as rows of one batch, and a fit can be stopped at any evaluation and gone on with.
Nocedal & Wright (2006), Numerical Optimization: algorithms 7.4 (two-loop recursion), 3.5 and 3.6 (line search).
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MEMORY = 100  # pairs of steps and gradient changes; with 20 a model with embeddings needs a third more evaluations
WINDOW = 50  # iterations over which slow progress is judged
SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
MAX_SEARCH = 25  # evaluations of one line search
SHRINK = 0.1  # of a step that went to infinity
LONGER = 10.0  # largest growth of a step in one evaluation

NOT_FINITE = "the loss or its gradient is not finite"
NO_STEP = "the line search finds no smaller loss"

Answer = tuple[float, np.ndarray]  # loss and gradient
Dialogue = Generator[np.ndarray, Answer, str]  # asks for parameter vectors, returns why it ended


@dataclass
class LBFGSState:
    """All that the next iteration depends on.

    Attributes
    ----------
    parameters : np.ndarray, shape (n_parameters,)
        Best parameters so far.
    loss : float
        Their loss; infinite before the first evaluation.
    gradient : np.ndarray or None, shape (n_parameters,)
        Their gradient.
    steps, changes : list of np.ndarray
        The last steps, and the changes of the gradient along them.
    losses : list of float
        Losses of the last iterations.
    iterations : int
        Iterations so far; -1 before the first evaluation.
    """

    parameters: np.ndarray
    loss: float = float("inf")
    gradient: np.ndarray | None = None
    steps: list[np.ndarray] = field(default_factory=list)
    changes: list[np.ndarray] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    iterations: int = -1


def lbfgs(state: LBFGSState, first_step: float, tolerance: float, slow: float = 0.0) -> Dialogue:
    """Minimise a function; `state` holds the result and is changed in place, once an iteration.

    Parameters
    ----------
    state : LBFGSState
        Where to begin; a state of an earlier run goes on exactly as that run would have.
    first_step : float
        Length of the first step tried, which knows nothing of the curvature.
    tolerance : float
        Decrease of the loss in an iteration below which it has converged.
    slow : float, default 0
        Decrease of the loss in 50 iterations below which going on is not worth while.

    Yields
    ------
    np.ndarray, shape (n_parameters,)
        Parameters to evaluate; the answer is their loss (may be infinite) and gradient.

    Returns
    -------
    str
        Why it ended.
    """
    if state.gradient is None:
        state.loss, state.gradient = yield state.parameters
        state.iterations = 0
    if not (np.isfinite(state.loss) and np.isfinite(state.gradient).all()):
        return NOT_FINITE
    while not np.abs(state.gradient).max(initial=0.0) <= 1e-10:
        direction = -_times_inverse_hessian(state, state.gradient)
        if direction @ state.gradient >= 0:  # rounding spoilt the curvature: begin anew
            state.steps, state.changes = [], []
            direction = -state.gradient
        length = 1.0 if state.steps else min(1.0, 1.0 / np.abs(state.gradient).sum()) * first_step
        found = yield from _line_search(state, direction, length)
        if found is None:  # at the rounding of the loss, or a gradient that does not belong to it
            promised = -float(direction @ state.gradient)
            return "the loss no longer changes" if promised <= tolerance else NO_STEP
        step, decrease = found.length * direction, state.loss - found.loss
        state.losses = [*state.losses, state.loss][-WINDOW:]
        _remember(state, step, found.gradient - state.gradient)
        state.parameters, state.loss, state.gradient = state.parameters + step, found.loss, found.gradient
        state.iterations += 1
        if decrease <= tolerance:
            return "the loss no longer changes"
        if len(state.losses) == WINDOW and state.losses[0] - state.loss <= slow:
            return "the loss hardly changes"
    return "the gradient is zero"


def _times_inverse_hessian(state: LBFGSState, vector: np.ndarray) -> np.ndarray:
    vector, weights = vector.copy(), []
    pairs = list(zip(state.steps, state.changes, strict=True))
    for step, change in reversed(pairs):
        weights.append((step @ vector) / (step @ change))
        vector -= weights[-1] * change
    if pairs:
        step, change = pairs[-1]
        vector *= (step @ change) / (change @ change)
    for (step, change), weight in zip(pairs, reversed(weights), strict=True):
        vector += (weight - (change @ vector) / (step @ change)) * step
    return vector


def _remember(state: LBFGSState, step: np.ndarray, change: np.ndarray) -> None:
    if step @ change > 1e-10 * np.sqrt((step @ step) * (change @ change)):
        state.steps = [*state.steps, step][-MEMORY:]
        state.changes = [*state.changes, change][-MEMORY:]


class _Point(NamedTuple):
    """A point of a line search."""

    length: float
    loss: float
    slope: float
    gradient: np.ndarray


Search = Generator[np.ndarray, Answer, _Point | None]


def _line_search(state: LBFGSState, direction: np.ndarray, length: float) -> Search:
    """Find a step with the strong Wolfe conditions, else the best one met; None if none is better than no step."""
    assert state.gradient is not None
    start = _Point(0.0, state.loss, float(direction @ state.gradient), state.gradient)
    low, beyond = start, np.inf  # the best so far; a length at which the loss is infinite
    for _ in range(MAX_SEARCH):
        here = yield from _evaluate(state, direction, length)
        if not np.isfinite(here.loss + here.slope):
            beyond, length = length, low.length + SHRINK * (length - low.length)
        elif here.loss > _armijo(start, length) or (here.loss >= low.loss and low is not start):
            return (yield from _zoom(state, direction, start, low, here))
        elif abs(here.slope) <= -CURVATURE * start.slope:
            return here
        elif here.slope >= 0:
            return (yield from _zoom(state, direction, start, here, low))
        else:
            longer = _cubic_minimum(low, here)
            longer = longer if longer > length else LONGER * length  # steeper and steeper: no minimum in sight
            longer = min(max(longer, 1.1 * length), LONGER * length)
            low, length = here, min(longer, (length + beyond) / 2)
    return None if low is start else low


def _zoom(state: LBFGSState, direction: np.ndarray, start: _Point, low: _Point, high: _Point) -> Search:
    """Narrow an interval that holds a step with the strong Wolfe conditions; `low` is its better end."""
    for _ in range(MAX_SEARCH):
        width = high.length - low.length
        if abs(width) * np.abs(direction).max() < 1e-9:
            break
        inside = sorted((low.length + 0.1 * width, high.length - 0.1 * width))
        middle = low.length + width / 2
        between = _cubic_minimum(low, high) if np.isfinite(high.loss + high.slope) else middle
        between = min(max(between, inside[0]), inside[1]) if np.isfinite(between) else middle
        here = yield from _evaluate(state, direction, between)
        finite = np.isfinite(here.loss + here.slope)
        if not finite or here.loss > _armijo(start, here.length) or here.loss >= low.loss:
            high = here
            continue
        if abs(here.slope) <= -CURVATURE * start.slope:
            return here
        if here.slope * width >= 0:
            high = low
        low = here
    return None if low is start else low


def _evaluate(state: LBFGSState, direction: np.ndarray, length: float) -> Generator[np.ndarray, Answer, _Point]:
    loss, gradient = yield state.parameters + length * direction
    return _Point(length, float(loss), float(gradient @ direction), gradient)


def _armijo(start: _Point, length: float) -> float:
    """Loss that counts as a sufficient decrease."""
    return start.loss + SUFFICIENT_DECREASE * length * start.slope


def _cubic_minimum(a: _Point, b: _Point) -> float:
    """Minimum of the cubic through two points and slopes (Nocedal & Wright 2006, equation 3.59); NaN if it has none."""
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.length - b.length)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return np.nan
    d2 = np.copysign(np.sqrt(square), b.length - a.length)
    denominator = b.slope - a.slope + 2 * d2
    return float(b.length - (b.length - a.length) * (b.slope + d2 - d1) / denominator) if denominator else np.nan

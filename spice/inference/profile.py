"""Profile-likelihood intervals: right where the likelihood is skewed or ends at a bound, and normal intervals are not.

The interval of a quantity holds the values at which twice the loss, all numbers re-estimated, exceeds its minimum by no
more than the 95 % point of chi-squared with one degree of freedom (Venzon & Moolgavkar 1988). A penalty pulls the
quantity towards a target; wherever the fit then ends, it is the best one with that value of the quantity. So the ends
are found by moving targets, one for each end, all of them rows of the same fits.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from spice.inference.canonical import RATES
from spice.inference.refit import Fits, Pull, Refit
from spice.inference.uncertainty import STEP, Estimate, delta_method

Name = TypeVar("Name", bound=Hashable)
Reading = Callable[[np.ndarray], Mapping[Name, float]]

RISE = float(norm.isf(0.025))  # root of twice the loss's rise at an end
STIFFNESS = 100.0  # of the penalty, relative to the quantity's own precision
EXACT = 1e-3  # difference from that root at which an end is found
ROUNDS = 40
GROWTH = (1.05, 2.0, 3.0)  # of a distance that fell short of the end: at least, at least after some rounds, at most
SOME = 4
LARGEST_STEP = 2.0  # the first one, in logits
FURTHEST = 12.0  # logits: a rate that may go there may go to 0 or 1
UNBOUNDED = 100.0  # first steps: a quantity that may go there may go anywhere
STALLED = 1e-6  # first steps: a quantity that moved less is at its bound


def profile_intervals(refit: Refit, fits: Fits, functions: Sequence[Reading[Name]]) -> list[dict[Name, Estimate]]:
    """Estimates, with profile-likelihood 95 % intervals, of quantities that follow from fits' numbers.

    Rates between 0 and 1 stay there. Where no end is found on a side, the interval goes to the bound, or to infinity.

    Parameters
    ----------
    refit : Refit
        Fits rows; its loss is the one profiled (with priors, where it has any).
    fits : Fits
        Fitted rows: participants.
    functions : sequence of callable
        Of each row: numbers, shape (n_numbers,), to quantities by name.

    Returns
    -------
    list of dict of object to Estimate
        Standard errors are those of the information matrix; a quantity that no free number changes has no interval
        but its value.
    """
    normal = [delta_method(function, fits[[row]])[0] for row, function in enumerate(functions)]
    limits = [{name: (entry.value, entry.value) for name, entry in found.items()} for found in normal]
    ends = []
    for row, (function, found) in enumerate(zip(functions, normal, strict=True)):
        free = np.flatnonzero(fits.rows.free[row])
        for name, entry in found.items():
            if _Quantity(row, name, function, free, False).slope(fits.numbers[row]).any():
                is_logit = name in RATES and 0 < entry.value < 1
                ends += [_End.start(_Quantity(row, name, function, free, is_logit), entry, side) for side in (-1, 1)]
    _find(refit, fits, ends)
    for low, high in zip(ends[::2], ends[1::2], strict=True):
        limits[low.quantity.row][low.quantity.name] = low.value, high.value
    return [
        {name: replace(entry, low=at[name][0], high=at[name][1]) for name, entry in found.items()}
        for found, at in zip(normal, limits, strict=True)
    ]


@dataclass(frozen=True)
class _Quantity(Generic[Name]):
    """A quantity of one of the fits, on the scale that it is moved on: its own, or logits."""

    row: int
    name: Name
    function: Reading[Name]
    free: np.ndarray
    is_logit: bool

    def read(self, numbers: np.ndarray) -> float:
        """Where numbers are on it; NaN where they do not give the quantity."""
        value = self.function(numbers).get(self.name, np.nan)
        if not self.is_logit:
            return value
        return float(logit(value)) if 0 < value < 1 else np.nan

    def slope(self, numbers: np.ndarray) -> np.ndarray:
        """Derivatives by the free numbers, shape (n_numbers,); one-sided at the limits of what can be read."""
        here, found = self.read(numbers), np.zeros(len(numbers))
        for k in self.free:
            step = np.zeros(len(numbers))
            step[k] = STEP * (1 + abs(numbers[k]))
            ahead, back = self.read(numbers + step), self.read(numbers - step)
            sides = [(ahead - back) / 2, ahead - here, here - back]
            found[k] = next((side for side in sides if np.isfinite(side)), 0.0) / step[k]
        return found


class _End(Generic[Name]):
    """One end of an interval, and the search for it."""

    def __init__(self, quantity: _Quantity[Name], here: float, step: float):
        self.quantity, self._here, self._step = quantity, here, step
        self._inside = here, -RISE  # a target, and how far the loss is from the rise there
        self._outside: tuple[float, float] | None = None
        self._last, self._rounds = here, 0
        self.target = self._kept(here + step)
        self.found: float | None = None

    @staticmethod
    def start(quantity: _Quantity[Name], normal: Estimate, side: int) -> "_End[Name]":
        """Begin at the end of the normal interval, or where that is no guide somewhere near."""
        value, is_logit = normal.value, quantity.is_logit
        step = RISE * normal.se / (value * (1 - value) if is_logit else 1.0)
        if not (np.isfinite(step) and step > 0):
            step = 1.0 if is_logit else 0.1 * max(1.0, abs(value))
        if is_logit:
            step = min(step, LARGEST_STEP)
        return _End(quantity, float(logit(value)) if is_logit else value, side * step)

    def _kept(self, target: float) -> float:
        limit = max(FURTHEST, abs(self._here)) if self.quantity.is_logit else np.inf
        return float(np.clip(target, -limit, limit))

    @property
    def _nowhere(self) -> float:
        return float(np.copysign(np.inf, self._step))

    @property
    def weight(self) -> float:
        """Of the penalty on the squared distance from the target."""
        return STIFFNESS * (RISE / self._step) ** 2

    @property
    def value(self) -> float:
        """The end, in the quantity's own units."""
        end = self._nowhere if self.found is None else self.found
        return float(expit(end)) if self.quantity.is_logit else end

    def advance(self, reached: float, excess: float) -> None:
        """Choose the next target, having reached this place, where the loss is so far from the rise."""
        moved, self._last = abs(reached - self._last), reached
        self._rounds += 1
        if abs(excess) < EXACT:
            self.found = reached
        elif excess > 0:
            self._outside = self.target, excess
        else:
            self._inside = self.target, excess
            if self._outside is None:
                self._go_on(reached, excess, moved)
        if self.found is None and self._outside is not None:
            (a, below), (b, above) = self._inside, self._outside
            if abs(b - a) < STALLED * abs(self._step):  # the loss jumps: fits do not reach the end
                self.found = self._nowhere
            share = 0.5 if self._rounds % 3 == 0 else float(np.clip(below / (below - above), 0.02, 0.98))
            self.target = a + share * (b - a)

    def _go_on(self, reached: float, excess: float, moved: float) -> None:
        """The end is further out, or there is none."""
        distance, step = abs(self.target - self._here), abs(self._step)
        if self.quantity.is_logit and abs(self.target) >= FURTHEST and self.target * self._step > 0:
            self.found = self._nowhere
        elif self._rounds > 1 and moved < STALLED * step:
            self.found = reached
        elif distance > UNBOUNDED * step:
            self.found = self._nowhere
        else:
            growth = 1.05 * RISE / max(RISE + excess, 1e-3)
            growth = float(np.clip(growth, GROWTH[self._rounds > SOME], GROWTH[2]))
            self.target = self._kept(self._here + growth * (self.target - self._here))


def _find(refit: Refit, fits: Fits, ends: Sequence[_End[Name]]) -> None:
    """Search for all ends at once: each round one fit, a row per end."""
    rows = np.array([end.quantity.row for end in ends], int)
    numbers = fits.numbers[rows]
    for _ in range(ROUNDS):
        at = np.array([i for i, end in enumerate(ends) if end.found is None], int)
        if not len(at):
            return
        looked_for = [ends[i] for i in at]
        found = refit(fits.rows[rows[at]], fits.group[rows[at]], numbers[at], pull=_pull(looked_for))
        for i, end, reached_numbers, loss in zip(at, looked_for, found.numbers, found.loss, strict=True):
            reached = end.quantity.read(reached_numbers)
            rise = loss - end.weight * (reached - end.target) ** 2 / 2 - fits.loss[rows[i]]
            excess = float(np.sqrt(2 * max(rise, 0.0))) - RISE
            if excess < 0:  # the next round starts on this side of the end
                numbers[i] = reached_numbers
            end.advance(reached, excess)


def _pull(ends: Sequence[_End[Name]]) -> Pull:
    """The penalties of all ends: squared distances from their targets."""

    def pull(rows: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        loss, slope = np.full(len(rows), np.inf), np.zeros(numbers.shape)
        curvature = np.zeros((*numbers.shape, numbers.shape[1]))
        for row, number in enumerate(rows):
            end = ends[number]
            here = end.quantity.read(numbers[row])
            if np.isfinite(here):
                direction = end.quantity.slope(numbers[row])
                loss[row] = end.weight * (here - end.target) ** 2 / 2
                slope[row] = end.weight * (here - end.target) * direction
                curvature[row] = end.weight * np.outer(direction, direction)
        return loss, slope, curvature

    return pull

"""Minima of many rows at once by damped Newton steps on the exact Hessian, within limits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from spice.inference.damping import DAMPING, foretold_gain, next_damping
from spice.inference.refit import ENOUGH, ITERATIONS

ON = 1e-9  # from a limit, within which a row stands on it
NOTHING = 1e-11  # rounding errors of a step along a limit

Evaluate = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Region:
    """What numbers must keep: ``abs(combinations @ numbers) <= most``.

    Attributes
    ----------
    combinations : np.ndarray, shape (n_limits, n_numbers)
        Combinations that are limited.
    most : np.ndarray, shape (n_rows, n_limits)
        Their largest sizes.
    """

    combinations: np.ndarray
    most: np.ndarray

    def share(self, row: int, numbers: np.ndarray, step: np.ndarray) -> float:
        """How much of a step stays inside, at most 1."""
        here, along = self.combinations @ numbers, self.combinations @ step
        moving = np.abs(along) > NOTHING
        room = (self.most[row] - np.sign(along) * here)[moving] / np.abs(along[moving])
        return float(np.clip(room.min(initial=1.0), 0.0, 1.0))

    def keeps(self, row: int, numbers: np.ndarray) -> bool:
        """Whether numbers are inside."""
        return bool((np.abs(self.combinations @ numbers) <= self.most[row] + ON).all())

    def walls(self, row: int, numbers: np.ndarray) -> np.ndarray:
        """Combinations that may only fall: of the limits that the numbers stand on, (n, n_numbers)."""
        here = self.combinations @ numbers
        on = np.abs(here) >= self.most[row] - ON
        return np.sign(here[on])[:, None] * self.combinations[on]


@dataclass
class Minima:
    """Rows at their minima.

    Attributes
    ----------
    numbers : np.ndarray, shape (n_rows, n_numbers)
        Estimates.
    nll : np.ndarray, shape (n_rows,)
        Negative log-likelihood, nats.
    hessian : np.ndarray, shape (n_rows, n_numbers, n_numbers)
        Its second derivatives there.
    converged : np.ndarray of bool, shape (n_rows,)
        Whether no step promises more.
    """

    numbers: np.ndarray
    nll: np.ndarray
    hessian: np.ndarray
    converged: np.ndarray

    def put(self, at: np.ndarray, other: "Minima") -> None:
        """Take over some rows of another's."""
        for name in ("numbers", "nll", "hessian", "converged"):
            getattr(self, name)[at] = getattr(other, name)


def newton(evaluate: Evaluate, numbers: np.ndarray, free: np.ndarray, region: Region, rows: np.ndarray) -> Minima:
    """Minimise rows.

    Parameters
    ----------
    evaluate : callable
        Numbers (n, n_numbers) and which rows they are of (n,) to value, gradient and Hessian of each.
    numbers : np.ndarray, shape (n_rows, n_numbers)
        Where to begin; inside the region.
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        What may move.
    region : Region
        Limits.
    rows : np.ndarray of int, shape (n_rows,)
        Which rows of ``evaluate`` and of the region these are.
    """
    numbers = numbers.copy()
    nll, gradient, hessian = evaluate(numbers, rows)
    damping, converged = np.full(len(rows), DAMPING[1]), np.zeros(len(rows), bool)
    going = _usable(nll, gradient, hessian)
    for _ in range(ITERATIONS):
        at = np.flatnonzero(going)
        if not len(at):
            break
        steps = np.stack([_step(gradient[i], hessian[i], free[i], damping[i], region, rows[i], numbers[i]) for i in at])
        promised = -(gradient[at] * steps).sum(1) / 2
        done = at[promised < ENOUGH]
        converged[done], going[done] = True, False
        at, steps = at[promised >= ENOUGH], steps[promised >= ENOUGH]
        if not len(at):
            break
        steps *= np.array([region.share(rows[i], numbers[i], s) for i, s in zip(at, steps, strict=True)])[:, None]
        foretold = foretold_gain(gradient[at], hessian[at], steps)
        answer = evaluate(numbers[at] + steps, rows[at])
        gain = np.where(_usable(*answer), nll[at] - answer[0], -np.inf)
        better = gain > 0
        won = at[better]
        numbers[won] += steps[better]
        nll[won], gradient[won], hessian[won] = (part[better] for part in answer)
        damping[at] = next_damping(damping[at], gain, foretold, better)
        going[at] = damping[at] < DAMPING[2]
    return Minima(numbers, nll, hessian, converged)


def _usable(nll: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    return np.isfinite(nll) & np.isfinite(gradient).all(1) & np.isfinite(hessian).all((1, 2))


def _step(gradient, hessian, free, damping, region: Region, row: int, numbers) -> np.ndarray:
    """A damped Newton step that goes beyond no limit that the numbers stand on.

    Directions in which the function bends down are taken as if it bent up. The limits' multipliers are those of the
    dual problem, a least-squares fit with coefficients of at least 0.
    """
    places = np.flatnonzero(free)
    slope, curve = gradient[places], hessian[np.ix_(places, places)]
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(curve)), 1e-12))
    values, vectors = np.linalg.eigh(curve * np.outer(scale, scale))
    # half @ half.T is the inverse of the curvature
    half = scale[:, None] * vectors / np.sqrt(np.maximum(np.abs(values), 1e-10) + damping)
    walls = region.walls(row, numbers)[:, places]
    walls = walls[(walls != 0).any(1)]
    if len(walls):
        slope = slope + walls.T @ nnls(half.T @ walls.T, -half.T @ slope)[0]
    step = np.zeros(len(gradient))
    step[places] = -half @ (half.T @ slope)
    return step

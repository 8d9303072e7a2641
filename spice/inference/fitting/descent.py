"""Minima of many people from several starts each, by Newton steps of limited length, all rows at once."""

import math

import numpy as np

from spice.equations.caching import njit
from spice.inference.damping import foretold_gain
from spice.inference.fitting.defaults import LOG_2
from spice.inference.fitting.targets import Rows, Target
from spice.inference.fitting.transforms import ABOVE, BELOW, BETWEEN, FREE

ITERATIONS = 100
ENOUGH = 1e-8  # nats: a step that promises less is the last one
ROUNDING = 1e-13  # of a value: smaller gains are rounding errors
LONGEST = 1.0  # of a step along an axis, on the unconstrained scale; without bounds twice that, or to twice the number
SHORTER, LEAST = 0.25, 1e-6  # the share of a step that is tried after it failed; of a longest one that is of any use
NEAR = {ABOVE: LOG_2 - 3.75, BETWEEN: 4.5}  # from a bound on, within which it is tried: about a hundredth
NEARLY = 5.0  # nats: rows whose steps promise less aim at their minima
CLOSE = 0.3  # nats within which such rows aim at the same one
FAR = 15.0  # on the unconstrained scale, towards bounds and infinity: only flatness lies beyond
FAR_UNBOUNDED = 1e5  # the same where there is no bound
LITTLE = 0.01  # nats that steps may still promise there
RELEASES = 2  # times that a parameter may leave its bound again


@njit
def _eigen(matrix, vectors):
    """Eigenvalues onto the diagonal of a symmetric matrix and eigenvectors as columns, in place, by Jacobi's method."""
    n = len(matrix)
    for j in range(n):
        for k in range(n):
            vectors[j, k] = 1.0 if j == k else 0.0
    for _ in range(30):
        size, rest = 0.0, 0.0
        for j in range(n):
            size += matrix[j, j] ** 2
            for k in range(j):
                rest += matrix[j, k] ** 2
        if rest <= 1e-30 * size or rest == 0.0:
            return
        for p in range(n - 1):
            for q in range(p + 1, n):
                if matrix[p, q] == 0.0:
                    continue
                ratio = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
                t = math.copysign(1.0, ratio) / (abs(ratio) + math.sqrt(ratio * ratio + 1.0))
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(n):
                    a, b = matrix[k, p], matrix[k, q]
                    matrix[k, p], matrix[k, q] = c * a - s * b, s * a + c * b
                for k in range(n):
                    a, b = matrix[p, k], matrix[q, k]
                    matrix[p, k], matrix[q, k] = c * a - s * b, s * a + c * b
                for k in range(n):
                    a, b = vectors[k, p], vectors[k, q]
                    vectors[k, p], vectors[k, q] = c * a - s * b, s * a + c * b


@njit
def newton_steps(gradient, hessian, free, longest):
    """Newton steps, along each principal axis no longer than allowed.

    Directions in which the function bends down are taken as if it bent up (Dauphin et al. 2014).

    Parameters
    ----------
    gradient : np.ndarray, shape (n_rows, n)
        Slopes.
    hessian : np.ndarray, shape (n_rows, n, n)
        Curvatures, finite.
    free : np.ndarray of bool, shape (n_rows, n)
        What may move.
    longest : np.ndarray, shape (n_rows, n)
        Largest change of each number along an axis.

    Returns
    -------
    steps : np.ndarray, shape (n_rows, n)
        The steps.
    promised : np.ndarray, shape (n_rows,)
        Decrease that steps without limit promise.
    """
    n_rows, n = gradient.shape
    steps, promised = np.zeros((n_rows, n)), np.zeros(n_rows)
    matrix, vectors = np.empty((n, n)), np.empty((n, n))
    for i in range(n_rows):
        for j in range(n):
            for k in range(n):
                matrix[j, k] = hessian[i, j, k] if free[i, j] and free[i, k] else 0.0
        _eigen(matrix, vectors)
        for k in range(n):
            slope = 0.0
            for j in range(n):
                if free[i, j]:
                    slope += vectors[j, k] * gradient[i, j]
            if slope == 0.0:
                continue
            curve = abs(matrix[k, k]) + 1e-12
            promised[i] += 0.5 * slope * slope / curve
            length = -slope / curve
            for j in range(n):
                if abs(length * vectors[j, k]) > longest[i, j]:
                    length *= longest[i, j] / abs(length * vectors[j, k])
            for j in range(n):
                if free[i, j]:
                    steps[i, j] += length * vectors[j, k]
    return steps, promised


class Descent:
    """Rows on their way to minima: for each person one row per start.

    Rows of one person that come close to the same minimum are continued as one. A parameter that runs towards a bound
    is put onto it if the function falls all the way and would fall beyond; it stays there as long as that is so.

    Parameters
    ----------
    target : Target
        What is minimised.
    theta : np.ndarray, shape (n_people, n_starts, n_parameters)
        Where to begin, on the unconstrained scale.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.

    Attributes
    ----------
    theta : np.ndarray, shape (n_people * n_starts, n_parameters)
        Where the rows are; infinite at a bound.
    rows : Rows
        What is known of them there.
    converged : np.ndarray of bool, shape (n_people * n_starts,)
        Whether no step promises more.
    """

    def __init__(self, target: Target, theta: np.ndarray, people: np.ndarray):
        self._target, self.n_starts = target, theta.shape[1]
        self.theta = theta.reshape(-1, theta.shape[2]).copy()
        self._group = np.repeat(people, self.n_starts)
        self.rows = target(self.theta, self._group)
        n_rows = len(self.theta)
        kinds = target.scale.kinds
        self._unbounded = kinds == FREE
        self._far = np.where(kinds == FREE, FAR_UNBOUNDED, FAR)
        self._low_edge = np.select([kinds == ABOVE, kinds == BETWEEN], [NEAR[ABOVE], -NEAR[BETWEEN]], -np.inf)
        self._high_edge = np.select([kinds == BELOW, kinds == BETWEEN], [-NEAR[ABOVE], NEAR[BETWEEN]], np.inf)
        self._reach = np.ones(n_rows)  # of steps, relative to the longest
        self._promised, self._steps = np.full(n_rows, np.inf), np.zeros(self.theta.shape)
        self._tried = np.zeros(self.theta.shape)  # how far out a parameter was when its bound was tried in vain
        self._releases = np.zeros(n_rows, int)
        self._going = _usable(self.rows)
        self._joined = np.arange(n_rows)
        self.converged = np.zeros(n_rows, bool)

    def run(self, most: int = ITERATIONS) -> None:
        """Step until no row promises more, at most so many times."""
        for _ in range(most):
            if not self._going.any():
                return
            self._step()

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The best row of each person, and the share of its starts that ended there, each (n_people,)."""
        end = self._joined
        for _ in range(self.n_starts):
            end = self._joined[end]
        value = self.rows.value[end].reshape(-1, self.n_starts)
        first = np.arange(len(value))
        least = value.argmin(1)
        best = value[first, least]
        with np.errstate(invalid="ignore"):
            share = (value - best[:, None] <= 1e-3 + 1e-9 * np.abs(best[:, None])).mean(1)
        return end.reshape(-1, self.n_starts)[first, least], share

    def _step(self) -> None:
        at = np.flatnonzero(self._going)
        free = np.isfinite(self.theta[at])
        gradient, hessian = self.rows.gradient[at], self.rows.hessian[at]
        longest = np.where(self._unbounded & free, np.maximum(np.abs(self.theta[at]), 2 * LONGEST), LONGEST)
        steps, promised = newton_steps(gradient, hessian, free, self._reach[at, None] * longest)
        self._promised[at], self._steps[at] = promised, steps
        done = promised < np.maximum(ENOUGH, ROUNDING * np.abs(self.rows.value[at]))
        self._finish(at[done], steps[done])
        self._join()
        moving = self._going[at] & ~done
        at, steps, longest = at[moving], steps[moving], longest[moving]
        gradient, hessian = gradient[moving], hessian[moving]
        if not len(at):
            return
        pinned = self._pins(at, steps)
        proposed = np.where(pinned != 0, np.copysign(np.inf, pinned), self.theta[at] + steps)
        answer = self._target(proposed, self._group[at])
        with np.errstate(invalid="ignore"):
            gain = np.where(_usable(answer), self.rows.value[at] - answer.value, -np.inf)
            outward = ((pinned == 0) | (answer.natural * pinned <= 0)).all(1)
        tries = (pinned != 0).any(1)
        endless = (np.isinf(answer.natural) & (pinned != 0)).any(1)  # a prior that is infinite there, and left out
        better = np.where(tries, outward & ((gain >= -ENOUGH) | endless), gain > 0)
        self._take(at[better], proposed[better], Rows(*(part[better] for part in answer)))
        foretold = foretold_gain(gradient, hessian, steps)
        share = (np.abs(steps) / longest).max(1)
        reach = np.where(gain > 0.75 * foretold, 4 * share, np.where(gain < 0.25 * foretold, SHORTER * share, share))
        self._reach[at] = np.where(tries, self._reach[at], np.clip(reach, 0.0, 1.0))
        failed = at[tries & ~better]
        self._tried[failed] = np.where(pinned[tries & ~better] != 0, np.abs(self.theta[failed]), self._tried[failed])
        self._going[at] = better | tries | (self._reach[at] > LEAST)
        far = at[(np.isfinite(self.theta[at]) & (np.abs(self.theta[at]) > self._far)).any(1)]
        self._going[far] = False
        self.converged[far] = self._promised[far] < LITTLE

    def _pins(self, at: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The one parameter of each row, if any, whose bound is tried: 1 at the upper one, -1 at the lower one."""
        here = self.theta[at]
        with np.errstate(invalid="ignore"):
            aim = here + steps
            out = (aim > self._high_edge).astype(int) - (aim < self._low_edge)
            out *= np.isfinite(here) & (steps * out > 0) & (self.rows.natural[at] * out <= 0)
            out *= (np.abs(here) > self._tried[at] + 1.0) & (self._releases[at] < RELEASES)[:, None]
        farthest = np.abs(np.where(out != 0, aim, 0.0)).argmax(1)
        return np.where(np.arange(here.shape[1]) == farthest[:, None], out, 0)

    def _finish(self, at: np.ndarray, steps: np.ndarray) -> None:
        """Take rows' last steps, and let parameters go that want to leave their bounds."""
        if not len(at):
            return
        held = np.isinf(self.theta[at])
        leaving = held & (self.rows.natural[at] * np.sign(self.theta[at]) > 0)
        back = leaving.any(1) & (self._releases[at] < RELEASES)
        self._going[at[~back]] = False
        self.converged[at[~back]] = True
        self.theta[at[~back]] += steps[~back]
        if back.any():
            rows = at[back]
            self._releases[rows] += 1
            edge = np.where(self.theta[rows] > 0, self._high_edge, self._low_edge)
            theta = np.where(leaving[back], edge, self.theta[rows])
            self._take(rows, theta, self._target(theta, self._group[rows]))
            self._reach[rows] = 1.0

    def _join(self) -> None:
        """Stop rows of a person whose steps lead to the same minimum as those of a row that is lower already."""
        if self.n_starts == 1:
            return
        shape = (-1, self.n_starts)
        least = self.rows.value.reshape(shape).argmin(1) + self.n_starts * np.arange(len(self.theta) // self.n_starts)
        other = np.repeat(least, self.n_starts)
        small = self._promised < NEARLY
        rows = np.flatnonzero(self._going & small & small[other] & (other != np.arange(len(other))))
        held = np.isinf(self.theta[rows])
        rows, held = rows[(there := (held == np.isinf(self.theta[other[rows]])).all(1))], held[there]
        there = other[rows]
        aim, its = (np.where(held, 0.0, self.theta[at] + self._steps[at]) for at in (rows, there))
        apart = foretold_gain(np.zeros_like(aim), self.rows.hessian[there], aim - its)
        end, its_end = (self.rows.value[at] - self._promised[at] for at in (rows, there))
        joins = (np.abs(apart) < CLOSE) & (np.abs(end - its_end) < CLOSE) & (np.abs(aim - its) < LONGEST).all(1)
        self._joined[rows[joins]] = there[joins]
        self._going[rows[joins]] = False

    def _take(self, at: np.ndarray, theta: np.ndarray, answer: Rows) -> None:
        self.theta[at] = theta
        for own, new in zip(self.rows, answer, strict=True):
            own[at] = new


def _usable(rows: Rows) -> np.ndarray:
    return np.isfinite(rows.value) & np.isfinite(rows.gradient).all(1) & np.isfinite(rows.hessian).all((1, 2))

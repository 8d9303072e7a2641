"""Intervals by the likelihood ratio: right where choices hardly identify a parameter, and normal intervals are not.

The interval of a parameter holds the values at which twice the function that was minimised (negative log-likelihood, or
negative log posterior), all other parameters minimised anew, exceeds its minimum by no more than the 95 % point of
chi-squared with one degree of freedom (Venzon & Moolgavkar 1988, Applied Statistics 37: 87-94). Where it never does on
a side, the interval ends at the bound, or at infinity. All ends of all people are found together, each a row.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from spice.inference.fitting.curvature import Z, curvature_of
from spice.inference.fitting.descent import Descent, newton_steps
from spice.inference.fitting.likelihoods import Likelihood
from spice.inference.fitting.starts import maximum_starts
from spice.inference.fitting.targets import Rows, Target
from spice.inference.fitting.transforms import FREE

MOST_ROWS = 50_000  # ends that are looked for at once
EXACT = 1e-3  # of the root of twice the rise, at an end
ROUNDS = 40
FURTHEST = 12.0  # on the unconstrained scale, towards a bound: from there on as good as at it
UNBOUNDED = 100.0  # first steps: a parameter without bounds that may go there may go anywhere
FIRST = 0.02, 2.0  # shortest and longest first step of a parameter with bounds
GROWTH = 1.02, 3.0  # of a distance that fell short of the end: at least, at most
ALONG = 2.0  # others' change per unit of the parameter, at most, before they are minimised
INSIDE = 0.02  # of a bracket: as near to one of its ends as a new place may be
DIFFERENT = 0.05  # of two minima, on the unconstrained scale
NARROW = 1e-7  # of the first step: a bracket in which the function jumps

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter


def interval_ends(
    likelihood: Likelihood, parameters: "Mapping[str, Parameter]", method: str, optimum: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of 95 % intervals of a fit by maximum likelihood or maximum a posteriori, on the natural scale.

    Parameters
    ----------
    likelihood : Likelihood
        By participant, or of all together.
    parameters : mapping of str to Parameter
        Bounds and priors.
    method : {"mle", "map"}
        How it was fitted.
    optimum : np.ndarray, shape (n_participants, n_parameters)
        Where, on the unconstrained scale; NaN for people without estimates.

    Returns
    -------
    low, high : np.ndarray, each (n_participants, n_parameters)
        NaN for what is at a bound, and of people without estimates.
    """
    target = Target(likelihood, parameters, "none" if method == "mle" else "mode")
    people = np.flatnonzero(~np.isnan(optimum).any(1))
    starts = np.repeat(maximum_starts(parameters, method)[None], len(people), 0)
    ends = np.full((2, *optimum.shape), np.nan)
    found = likelihood_ratio_ends(target, np.concatenate([optimum[people, None], starts], axis=1), people)
    for end, theta in zip(ends, found, strict=True):
        end[people] = target.scale.natural(theta)
    return ends[0], ends[1]


def likelihood_ratio_ends(target: Target, theta: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of 95 % intervals, on the unconstrained scale.

    Where there are several minima of which none is much better than the others, an interval reaches over all of them.

    Parameters
    ----------
    target : Target
        What was minimised.
    theta : np.ndarray, shape (n_people, n_starts, n_parameters)
        Minima, the best one first, and other places from where to look for some; infinite at a bound.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.

    Returns
    -------
    low, high : np.ndarray, each (n_people, n_parameters)
        Infinite where there is no end; NaN for what is at a bound in the best minimum, and where none was found.
    """
    low, high = np.full(theta[:, 0].shape, np.nan), np.full(theta[:, 0].shape, np.nan)
    size = max(MOST_ROWS // (theta.shape[1] * theta.shape[2]), 1)
    for i in range(0, len(people), size):
        _ends(target, theta[i : i + size], people[i : i + size], low[i : i + size], high[i : i + size])
    return low, high


def _ends(target: Target, theta: np.ndarray, people: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Ends of some people, in place."""
    value = target(theta[:, 0], people).value
    row, mode = _modes(target, theta, value, people)
    hessian = target(mode, people[row]).hessian
    found = curvature_of(target.scale, mode, hessian, np.isinf(mode))
    errors = np.where(found.lost, np.nan, np.sqrt(np.einsum("rkk->rk", found.covariance)))
    place, which = np.nonzero(np.isfinite(theta[row, 0]))  # of all parameters of all modes
    person, at, error = row[place], mode[place, which], errors[place, which]
    inner = np.isfinite(at)
    for side, ends, widest in ((-1, low, np.fmin), (1, high, np.fmax)):
        end = np.where(at * side > 0, at, np.nan)  # a minimum at a bound: the interval reaches it
        of = person[inner]
        search = _Search(target, mode[place[inner]], value[of], error[inner], people[of], which[inner], side)
        end[inner] = search.run()
        widest.at(ends, (person, which), end)


def _modes(target: Target, theta: np.ndarray, value: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different minima within the rise that ends an interval, and whose they are: (n_modes,), (n_modes, n_parameters).

    The first of each person is where ``theta`` begins.
    """
    descent = Descent(target, theta[:, 1:], people)
    descent.run()
    others = descent.theta.reshape(len(people), -1, theta.shape[2])
    low = (descent.rows.value.reshape(len(people), -1) < value[:, None] + Z**2 / 2) & np.isfinite(value)[:, None]
    low &= descent.converged.reshape(len(people), -1)
    found, good = np.concatenate([theta[:, :1], others], axis=1), np.insert(low, 0, np.isfinite(value), axis=1)
    for k in range(1, found.shape[1]):
        with np.errstate(invalid="ignore"):
            apart = np.where(found[:, :k] == found[:, k, None], 0.0, np.abs(found[:, :k] - found[:, k, None])).max(2)
        good[:, k] &= (np.where(good[:, :k], apart, np.inf) > DIFFERENT).all(1)
    return np.nonzero(good)[0], found[good]


class _Held:
    """A target with one parameter of each row held: what is minimised over the others."""

    def __init__(self, target: Target, people: np.ndarray, which: np.ndarray):
        self.scale, self._target, self._people, self._which = target.scale, target, people, which

    def __call__(self, theta: np.ndarray, rows: np.ndarray) -> Rows:
        """Evaluate ``rows``, with no slope along what is held."""
        found = self._target(theta, self._people[rows])
        at, held = np.arange(len(rows)), self._which[rows]
        for part in (found.gradient, found.natural, found.hessian):
            part[at, held] = 0.0
        found.hessian[at, :, held] = 0.0
        return found


class _Search:
    """The search for ends of intervals on one side, each a row.

    By Newton's method on the root of twice the rise, which is nearly linear in the parameter, within a bracket.

    Parameters
    ----------
    target : Target
        What was minimised.
    theta : np.ndarray, shape (n_rows, n_parameters)
        Minima.
    value : np.ndarray, shape (n_rows,)
        The function there.
    errors : np.ndarray, shape (n_rows,)
        Standard errors of the parameters, NaN where they are not known.
    people, which : np.ndarray of int, each (n_rows,)
        Whose, and of which parameter.
    side : int
        -1 for lower ends, 1 for upper ones.
    """

    def __init__(
        self,
        target: Target,
        theta: np.ndarray,
        value: np.ndarray,
        errors: np.ndarray,
        people: np.ndarray,
        which: np.ndarray,
        side: int,
    ):
        self._target, self._value, self._people, self._which, self._side = target, value, people, which, side
        n_rows = len(theta)
        self._best = theta[np.arange(n_rows), which]
        free = target.scale.kinds[which] == FREE
        first = np.where(free, Z * errors, np.clip(Z * errors, *FIRST))
        unknown = np.where(free, np.maximum(np.abs(self._best), 1.0), FIRST[1] / 2)
        self._first = np.where(np.isfinite(first) & (first > 0), first, unknown)
        room = np.maximum(FURTHEST - side * self._best, 0.0)
        self._farthest = np.where(free, UNBOUNDED * self._first, room)
        self._next = np.minimum(self._first, self._farthest)  # distances from the minimum
        self._inside, self._root = np.zeros(n_rows), np.zeros(n_rows)  # the farthest known to be inside; root there
        self._outside, self._root_outside = np.full(n_rows, np.inf), np.full(n_rows, np.inf)
        self._theta = theta.copy()  # the others' minima there
        self._ahead = np.zeros(theta.shape)
        self._look_ahead(np.arange(n_rows), target(theta, people))
        self._end = np.where(self._farthest > 0, np.nan, side * np.inf)

    def run(self) -> np.ndarray:
        """The ends, shape (n_rows,), infinite where there are none; NaN where none was found in time."""
        for turn in range(ROUNDS):
            at = np.flatnonzero(np.isnan(self._end))
            if not len(at):
                break
            self._step(at, turn)
        return self._end

    def _step(self, at: np.ndarray, turn: int) -> None:
        people, which, distance, side = self._people[at], self._which[at], self._next[at], self._side
        here = np.arange(len(at))
        start = self._theta[at] + self._ahead[at] * (side * (distance - self._inside[at]))[:, None]
        start[here, which] = self._best[at] + side * distance
        descent = Descent(_Held(self._target, people, which), start[:, None], here)  # type: ignore[arg-type]
        descent.run()
        rows = self._target(descent.theta, people)
        with np.errstate(invalid="ignore"):
            root = np.sqrt(2 * np.maximum(rows.value - self._value[at], 0.0))
            slope = side * rows.gradient[here, which] / np.maximum(root, EXACT)
        root[np.isnan(root)] = np.inf
        inside = root < Z
        self._end[at[inside & (distance >= self._farthest[at])]] = side * np.inf
        with np.errstate(invalid="ignore", divide="ignore"):
            newton = np.where(slope > 0, distance + (Z - root) / slope, np.nan)
        exact = np.abs(root - Z) < EXACT
        self._end[at[exact]] = (self._best[at] + side * np.where(np.isnan(newton), distance, newton))[exact]
        into, out = at[inside], at[~inside]
        self._theta[into], self._inside[into], self._root[into] = descent.theta[inside], distance[inside], root[inside]
        self._look_ahead(into, Rows(*(part[inside] for part in rows)))
        self._outside[out], self._root_outside[out] = distance[~inside], root[~inside]
        jumps = at[self._outside[at] - self._inside[at] < NARROW * self._first[at]]
        self._end[jumps] = (self._best + side * self._inside)[jumps]
        self._next[at] = np.minimum(self._place(at, newton, turn), self._farthest[at])

    def _place(self, at: np.ndarray, newton: np.ndarray, turn: int) -> np.ndarray:
        """Where to look next: where Newton's method says, if that is within the bracket, or not too far out."""
        low, high, distance = self._inside[at], self._outside[at], self._next[at]
        with np.errstate(invalid="ignore"):
            share = (Z - self._root[at]) / (self._root_outside[at] - self._root[at])
            share = np.where((turn % 3 == 2) | ~(share > 0), 0.5, np.clip(share, INSIDE, 1 - INSIDE))
            margin = INSIDE * (high - low)
            usable = (newton > low + margin) & (newton < high - margin) & (turn % 3 != 2)
            within = np.where(usable, newton, low + share * (high - low))
        beyond = np.clip(np.where(np.isnan(newton), np.inf, newton), GROWTH[0] * distance, GROWTH[1] * distance)
        return np.where(np.isfinite(high), within, beyond)

    def _look_ahead(self, at: np.ndarray, rows: Rows) -> None:
        """Slopes of the others' minima by the parameter."""
        here, which = np.arange(len(at)), self._which[at]
        others = np.isfinite(self._theta[at])
        others[here, which] = False
        hessian = np.where(np.isfinite(rows.hessian), rows.hessian, 0.0)
        longest = np.full(others.shape, ALONG)
        self._ahead[at] = newton_steps(hessian[here, which], hessian, others, longest)[0]

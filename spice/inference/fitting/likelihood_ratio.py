"""Intervals by the likelihood ratio: right where choices hardly identify a parameter, and normal intervals are not.

The interval of a parameter holds the values at which twice the function that was minimised (negative log-likelihood, or
negative log posterior), all other parameters minimised anew, exceeds its minimum by no more than the 95 % point of
chi-squared with one degree of freedom (Venzon & Moolgavkar 1988, Applied Statistics 37: 87-94). Where it never does on
a side, the interval ends at the bound, or at infinity. All ends of all people are found together, each a row.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from spice.inference.fitting.curvature import curvature_of
from spice.inference.fitting.descent import Descent
from spice.inference.fitting.likelihoods import Likelihood
from spice.inference.fitting.optima import optima
from spice.inference.fitting.profile_search import FURTHEST, RISE, STEPS, Held, Known, Search
from spice.inference.fitting.starts import maximum_starts
from spice.inference.fitting.targets import Target
from spice.inference.fitting.transforms import BETWEEN, FREE

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

MOST_ROWS = 50_000  # ends that are looked for at once
DIFFERENT = 0.05  # of two minima, on the unconstrained scale
MOST_MINIMA = 4  # of a person, from which ends are looked for; rugged functions have no end of them
BETTER = 0.01  # nats: a minimum that is so much lower is another one
TIMES = 2  # that intervals are found anew around a better minimum, or from the farthest place that is known
SAME = 1e-3  # relative, of ends
SIDES = np.array([-1.0, 1.0])[:, None, None]


def interval_ends(
    likelihood: Likelihood, parameters: "Mapping[str, Parameter]", method: str, optimum: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends of 95 % intervals of a fit by maximum likelihood or maximum a posteriori, on the natural scale.

    Where there are several minima, of which none is much better than the others, an interval reaches over all of them.

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
        Infinite, or the bound, where there is no end; NaN where none was found, for what is at a bound, and of people
        without estimates.
    better : np.ndarray, shape (n_participants,)
        By how many nats the minimum that the intervals are about is better than the optimum.
    """
    target = Target(likelihood, parameters, "none" if method == "mle" else "mode")
    people = np.flatnonzero(~np.isnan(optimum).any(1))
    starts = np.repeat(maximum_starts(parameters, method)[None], len(people), 0)
    theta = np.concatenate([optimum[people, None], starts], axis=1)
    ends, better = np.full((2, *optimum.shape), np.nan), np.zeros(len(optimum))
    size = max(MOST_ROWS // (theta.shape[1] * theta.shape[2]), 1)
    for i in range(0, len(people), size):
        part = people[i : i + size]
        found, better[part] = _around_the_best(target, theta[i : i + size], part)
        ends[:, part] = target.scale.natural(found)
    return ends[0], ends[1], better


def _around_the_best(target: Target, theta: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (2, n_people, n_parameters), around a better minimum where a search has come upon one; and how much better.

    ``theta``: (n_people, n_starts, n_parameters), the optimum first.
    """
    first, theta = target(theta[:, 0], people).value, theta.copy()
    value, again, best = first.copy(), np.arange(len(people)), theta[:, 0]
    ends = np.full((2, len(people), theta.shape[2]), np.nan)
    for turn in range(TIMES):
        if turn:
            found = optima(target, best[:, None], people[again])
            theta[again, 0], value[again] = found.theta, found.rows.value
        intervals = _Intervals(target, theta[again], value[again], people[again])
        ends[:, again] = intervals.find()
        lower = intervals.known.lowest < value[again] - BETTER
        again, best = again[lower], intervals.known.best[lower]
        if not len(again):
            break
    with np.errstate(invalid="ignore"):
        return ends, np.nan_to_num(first - value)


class _Intervals:
    """Intervals of some people around given minima.

    Parameters
    ----------
    target : Target
        What was minimised.
    theta : np.ndarray, shape (n_people, n_starts, n_parameters)
        The minima, and places from where to look for other ones.
    value : np.ndarray, shape (n_people,)
        The function at the minima.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.
    """

    def __init__(self, target: Target, theta: np.ndarray, value: np.ndarray, people: np.ndarray):
        self._target, self._people, self._value = target, people, value
        self._estimate, self._starts = theta[:, 0], theta[:, 1:]
        self.known = Known(value, theta.shape[2])
        self._reach = np.full((2, *self._estimate.shape), -np.inf)  # ends, lower ones with their signs turned

    def find(self) -> np.ndarray:
        """Lower and upper ends on the unconstrained scale, (2, n_people, n_parameters); NaN where none was found."""
        self._from_minima()
        new = np.isfinite(self._reach)
        for turn in range(TIMES + 1):
            self._look_aside(new)
            new = self._short()
            if not new.any():
                break
            if turn == TIMES:
                self._reach[new] = np.nan
            else:
                self._search(new)
        self._reach[self._reach == -np.inf] = np.nan
        return self._reach * SIDES

    def _from_minima(self) -> None:
        """Search from all minima."""
        row, minimum = self._minima()
        hessian = self._target(minimum, self._people[row]).hessian
        found = curvature_of(self._target.scale, minimum, hessian, np.isinf(minimum))
        place, which = np.nonzero(np.isfinite(self._estimate[row]) & np.isfinite(minimum))
        for way in (0, 1):
            self._extend(way, row[place], which, minimum[place], found.errors[place, which])

    def _minima(self) -> tuple[np.ndarray, np.ndarray]:
        """Different minima in the interval, and whose they are: (n_minima,), (n_minima, n_parameters).

        Of each person the given one, and the lowest of the others.
        """
        n_people, n_starts, _ = self._starts.shape
        descent = Descent(self._target, self._starts, self._people)
        descent.run()
        self.known.add(np.repeat(np.arange(n_people), n_starts), descent.theta, descent.rows.value)
        height = descent.rows.value.reshape(n_people, n_starts)
        height[~descent.converged.reshape(height.shape) | ~(height < self._value[:, None] + RISE)] = np.inf
        order = np.argsort(height, axis=1)
        others = np.take_along_axis(descent.theta.reshape(self._starts.shape), order[..., None], axis=1)
        found = np.concatenate([self._estimate[:, None], others], axis=1)
        good = np.isfinite(np.insert(np.take_along_axis(height, order, axis=1), 0, self._value, axis=1))
        for k in range(1, found.shape[1]):
            with np.errstate(invalid="ignore"):
                apart = np.abs(found[:, :k] - found[:, k, None])
            apart = np.where(found[:, :k] == found[:, k, None], 0.0, apart).max(2)  # infinite ones too
            good[:, k] &= (np.where(good[:, :k], apart, np.inf) > DIFFERENT).all(1)
        good &= good.cumsum(1) <= MOST_MINIMA
        return np.nonzero(good)[0], found[good]

    def _look_aside(self, new: np.ndarray) -> None:
        """A little beyond ends, minimise the others from all starts: another branch of the profile may be lower."""
        for way, side in enumerate((-1, 1)):
            person, which = np.nonzero(new[way] & np.isfinite(self._reach[way]))
            reach = self._reach[way, person, which]
            theta = self._starts[person]
            theta[np.arange(len(person)), :, which] = (side * (reach + 2 * _slack(reach)))[:, None]
            held = Held(self._target, self._people[person], which)
            descent = Descent(held, theta, np.arange(len(person)))  # type: ignore[arg-type]
            descent.run(STEPS)
            self.known.add(np.repeat(person, theta.shape[1]), descent.theta, descent.rows.value)

    def _short(self) -> np.ndarray:
        """Which ends fall short of places that are known to be inside; those that are as good as at a bound are."""
        kinds, farthest = self._target.scale.kinds, self.known.farthest
        with np.errstate(invalid="ignore"):
            room = np.where(kinds == BETWEEN, 0.0, SIDES * self._estimate) + FURTHEST
            farthest[(farthest >= room) & (kinds != FREE)] = np.inf
            self._reach[farthest == np.inf] = np.inf
            short = farthest > self._reach + _slack(self._reach)
        short |= (self._reach == -np.inf) & np.isfinite(farthest)
        return short & np.isfinite(self._estimate)

    def _search(self, short: np.ndarray) -> None:
        """Search on from the farthest places that are known."""
        for way in (0, 1):
            person, which = np.nonzero(short[way])
            if len(person):
                start = self.known.theta[way, person, which]
                self._extend(way, person, which, start, np.full(len(person), np.nan))

    def _extend(self, way: int, person: np.ndarray, which: np.ndarray, theta: np.ndarray, errors: np.ndarray) -> None:
        """Search on one side; the farther ends stay."""
        side = (-1, 1)[way]
        search = Search(self._target, self._people, self.known, person, which, side)
        end = search.run(theta, self._value[person], self._estimate[person, which], errors)
        np.fmax.at(self._reach[way], (person, which), side * end)


def _slack(reach: np.ndarray) -> np.ndarray:
    """By how much ends may differ that are the same."""
    return SAME * np.maximum(np.abs(reach), 1.0)

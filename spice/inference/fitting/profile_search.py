"""Where a profile has risen by what ends an interval: Newton's method on one side of many minima at once."""

import numpy as np

from spice.inference.fitting.curvature import Z
from spice.inference.fitting.descent import Descent, newton_steps
from spice.inference.fitting.targets import Rows, Target
from spice.inference.fitting.transforms import BETWEEN, FREE

RISE = Z**2 / 2  # nats, at an end
EXACT = 1e-3  # of the root of twice the rise, at an end
ROUNDS, STEPS = 40, 30  # places on the way to an end; steps to the others' minimum at each
FURTHEST = 12.0  # on the unconstrained scale: as good as at a bound; from one bound alone, from the estimate on
UNBOUNDED = 100.0  # first steps: a parameter without bounds that may go there may go anywhere
FIRST = 0.02, 2.0  # shortest and longest first step of a parameter with bounds
GROWTH = 1.02, 3.0  # of a distance that fell short of the end: at least, at most
ALONG = 2.0  # others' change per unit of the parameter, at most, before they are minimised
INSIDE = 0.02  # of a bracket: as near to one of its ends as a new place may be
NARROW = 1e-7  # of the first step: a bracket in which the function jumps
SHORTEST = 1e-3  # of the first step: a shorter one after which the others' minimum is not found is as good as outside


class Known:
    """The farthest places that are known to be in people's intervals, and the lowest values, from all searches.

    A profile may have several branches, of which a search follows one; others come across its points.

    Parameters
    ----------
    value : np.ndarray, shape (n_people,)
        The minima that intervals are about.
    n : int
        Parameters.

    Attributes
    ----------
    farthest : np.ndarray, shape (2, n_people, n)
        Of each parameter, downwards (negative values) and upwards: minus infinity where nothing is known.
    theta : np.ndarray, shape (2, n_people, n, n)
        The places.
    best : np.ndarray, shape (n_people, n)
        Where the lowest value was seen; NaN where that is not below the minimum.
    """

    def __init__(self, value: np.ndarray, n: int):
        self._limit, self._depth = value + RISE, -value
        self.farthest = np.full((2, len(value), n), -np.inf)
        self.theta = np.full((2, len(value), n, n), np.nan)
        self.best = np.full((len(value), n), np.nan)

    @property
    def lowest(self) -> np.ndarray:
        """The lowest value seen of each person, (n_people,)."""
        return -self._depth

    def add(self, person: np.ndarray, theta: np.ndarray, value: np.ndarray) -> None:
        """Take note of rows: whose, where, and the function there."""
        inside = value < self._limit[person]
        person, theta, value = person[inside], theta[inside], value[inside]
        self._note(self._depth, self.best, person, theta, -value)
        for way, side in enumerate((-1.0, 1.0)):
            for k in range(theta.shape[1]):
                self._note(self.farthest[way, :, k], self.theta[way, :, k], person, theta, side * theta[:, k])

    @staticmethod
    def _note(record: np.ndarray, place: np.ndarray, person: np.ndarray, theta: np.ndarray, score: np.ndarray) -> None:
        """Keep the highest score of each person, and where it is."""
        order = np.argsort(score)
        row = np.full(len(record), -1)
        row[person[order]] = order  # the last one stays
        who = np.flatnonzero(row >= 0)
        who = who[score[row[who]] > record[who]]
        record[who], place[who] = score[row[who]], theta[row[who]]


class Held:
    """A target with one parameter of each row held: what is minimised over the others.

    Parameters
    ----------
    target : Target
        What was minimised.
    people : np.ndarray of int, shape (n_rows,)
        Participant of each row, by place in the target's likelihood.
    which : np.ndarray of int, shape (n_rows,)
        The parameter that is held in each row.
    """

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


class Search:
    """The search for ends of intervals on one side, each a row.

    By Newton's method on the root of twice the rise, which is nearly linear in the parameter, within a bracket.

    Parameters
    ----------
    target : Target
        What was minimised.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.
    known : Known
        Takes note of all places.
    person, which : np.ndarray of int, each (n_rows,)
        Whose end (place in ``people``), and of which parameter.
    side : int
        -1 for lower ends, 1 for upper ones.
    """

    def __init__(
        self, target: Target, people: np.ndarray, known: Known, person: np.ndarray, which: np.ndarray, side: int
    ):
        self._target, self._known, self._person, self._which, self._side = target, known, person, which, side
        self._people = people[person]

    def run(self, theta: np.ndarray, value: np.ndarray, estimate: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Search.

        Parameters
        ----------
        theta : np.ndarray, shape (n_rows, n_parameters)
            Where to begin: inside the interval.
        value : np.ndarray, shape (n_rows,)
            The function at the minimum that the interval is about.
        estimate, errors : np.ndarray, each (n_rows,)
            The parameter there; its standard error where the search begins, NaN where that is not known.

        Returns
        -------
        np.ndarray, shape (n_rows,)
            The ends, infinite where there are none; NaN where none was found in time.
        """
        self._begin(theta, value, estimate, errors)
        for turn in range(ROUNDS):
            at = np.flatnonzero(np.isnan(self._end))
            if not len(at):
                break
            self._step(at, turn)
        return self._end

    def _begin(self, theta: np.ndarray, value: np.ndarray, estimate: np.ndarray, errors: np.ndarray) -> None:
        everywhere, side, kinds = np.arange(len(theta)), self._side, self._target.scale.kinds[self._which]
        self._value, self._best = value, theta[everywhere, self._which]
        free = kinds == FREE
        first = np.where(free, Z * errors, np.clip(Z * errors, *FIRST))
        unknown = np.where(free, np.maximum(np.abs(self._best), 1.0), FIRST[1] / 2)
        self._first = np.where(np.isfinite(first) & (first > 0), first, unknown)
        room = np.where(kinds == BETWEEN, 0.0, side * estimate) + FURTHEST - side * self._best
        self._farthest = np.where(free, UNBOUNDED * self._first, np.maximum(room, 0.0))
        self._next = np.minimum(self._first, self._farthest)  # distances from where it begins
        rows = self._target(theta, self._people)
        self._known.add(self._person, theta, rows.value)
        self._inside, self._root = (
            np.zeros(len(theta)),
            self._roots(everywhere, rows),
        )  # the farthest inside; root there
        self._outside, self._root_outside = np.full(len(theta), np.inf), np.full(len(theta), np.inf)
        self._theta, self._ahead = theta.copy(), np.zeros(theta.shape)  # the others' minima there, and their slopes
        self._look_ahead(everywhere, rows)
        self._end = np.where(self._farthest > 0, np.nan, side * np.inf)

    def _roots(self, at: np.ndarray, rows: Rows) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            root = np.sqrt(2 * np.maximum(rows.value - self._value[at], 0.0))
        return np.where(np.isnan(root), np.inf, root)

    def _step(self, at: np.ndarray, turn: int) -> None:
        people, which, distance, side = self._people[at], self._which[at], self._next[at], self._side
        here = np.arange(len(at))
        start = self._theta[at] + self._ahead[at] * (side * (distance - self._inside[at]))[:, None]
        start[here, which] = self._best[at] + side * distance
        descent = Descent(Held(self._target, people, which), start[:, None], here)  # type: ignore[arg-type]
        descent.run(STEPS)
        rows = self._target(descent.theta, people)
        self._known.add(self._person[at], descent.theta, rows.value)
        root = self._roots(at, rows)
        with np.errstate(all="ignore"):
            slope = side * rows.gradient[here, which] / np.maximum(root, EXACT)
            newton = np.where(slope > 0, distance + (Z - root) / slope, np.nan)
        inside = root < Z
        self._end[at[inside & (distance >= self._farthest[at])]] = side * np.inf
        exact = (np.abs(root - Z) < EXACT) & descent.converged
        last = np.where(np.abs(newton - distance) < distance / 2, newton, distance)  # a last step of Newton's
        self._end[at[exact]] = (self._best[at] + side * last)[exact]
        into = at[inside]
        self._theta[into], self._inside[into], self._root[into] = descent.theta[inside], distance[inside], root[inside]
        self._look_ahead(into, Rows(*(part[inside] for part in rows)))
        lost = ~inside & ~descent.converged & (distance > self._inside[at] + SHORTEST * self._first[at])
        out = at[~inside & ~lost]
        self._outside[out], self._root_outside[out] = distance[~inside & ~lost], root[~inside & ~lost]
        jumps = at[self._outside[at] - self._inside[at] < NARROW * self._first[at]]
        self._end[jumps] = (self._best + side * self._inside)[jumps]
        place = np.where(lost, self._inside[at] + (distance - self._inside[at]) / 4, self._place(at, newton, turn))
        self._next[at] = np.minimum(place, self._farthest[at])

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

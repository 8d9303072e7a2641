"""Search for the structure that the choices of one participant support.

From every structure that is fitted, the likelihood of all neighbours is predicted at once: a quadratic with the
gradient and Fisher information of the whole library, which is the score test of a term to add and the Wald test of one
to drop, and serves swaps, pairs and ties alike. Only the most promising ones are refitted.

A search is a dialogue (`spice.inference.together`): it asks for fits, so that those of all participants are one batch.
"""

from dataclasses import dataclass, field

import numpy as np

from spice.inference.criteria import Criterion
from spice.inference.likelihood import Answer
from spice.inference.moves import Moves
from spice.inference.refit import Fits, newton_steps
from spice.inference.structure import Layout, Structures
from spice.inference.together import Dialogue, ToEvaluate, ToFit

TRIED = 6  # neighbours refitted at a time
BETTER = 1.0  # units of the criterion by which a prediction must beat a fit for this to be tried again
WORSE = 1e-3  # nats by which a structure may be fitted worse than a part of it
REPAIRS = 5  # rounds of such fits
PATIENCE = 2  # such batches without a better one before a structure is taken as the best around


@dataclass
class Visited:
    """All fitted structures of a participant.

    Attributes
    ----------
    fits : list of Fits
        One row each.
    scores : list of float
        Criterion, smaller is better.
    places : dict of bytes to int
        Where each structure is.
    """

    fits: list[Fits] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def best(self) -> int:
        """The best one's place."""
        return int(np.argmin(self.scores))

    def add(self, key: bytes, fit: Fits, score: float) -> None:
        """Keep one more."""
        self.places[key] = len(self.fits)
        self.fits.append(fit)
        self.scores.append(score)


class Search:
    """Search by moves for one participant.

    Parameters
    ----------
    layout : Layout
        Where numbers stand.
    moves : Moves
        Neighbours.
    group : int
        The participant.
    criterion : Criterion
        What structures cost.
    known : Visited, optional
        Structures that were fitted before: their fits are taken from there.
    """

    def __init__(
        self,
        layout: Layout,
        moves: Moves,
        group: int,
        criterion: Criterion,
        known: Visited | None = None,
    ):
        self._layout, self._moves, self._group, self._criterion = layout, moves, group, criterion
        self._known = known or Visited()
        self.visited = Visited()

    def run(self, starts: Structures, numbers: np.ndarray) -> Dialogue[Visited]:
        """Search from several structures.

        Parameters
        ----------
        starts : Structures
            Where to begin.
        numbers : np.ndarray, shape (n_starts, n_numbers)
            First estimates there.
        """
        places = []
        for i in range(len(starts)):  # one by one: the same structure may begin from several numbers
            places += yield from self._visit(starts[[i]], numbers[[i]], np.full(1, -np.inf))
        for place in dict.fromkeys(places):
            yield from self._climb(place)
        yield from self._repair()
        return self.visited

    def _climb(self, place: int) -> Dialogue[None]:
        """Go to better neighbours until there is none."""
        scores = self.visited.scores
        while True:
            current = self.visited.fits[place]
            neighbours = self._moves.neighbours(current.rows)
            if not len(neighbours):
                return
            predicted, numbers = yield from self._predict(current, neighbours)
            order = np.argsort(predicted)
            one_more = self._criterion.one_more(current.rows)[0]
            better = None
            for batch in range(PATIENCE):
                at = order[batch * TRIED : (batch + 1) * TRIED]
                at = at[predicted[at] < scores[place] + one_more]
                if not len(at):
                    break
                tried = yield from self._visit(neighbours[at], numbers[at], predicted[at])
                best = min(tried, key=scores.__getitem__)
                if scores[best] < scores[place] - 1e-6:
                    better = best
                    break
            if better is None:
                return
            place = better

    def _visit(self, rows: Structures, numbers: np.ndarray, predicted: np.ndarray) -> Dialogue[list[int]]:
        """Fit those that are new, or that promise to be better than they were found; places of all."""
        visited, keys = self.visited, rows.keys()
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        for key in first:
            if key not in visited.places and key in self._known.places:
                fit = self._known.fits[self._known.places[key]]
                visited.add(key, fit, float(self.score(fit)[0]))
        wanted = [
            i
            for key, i in first.items()
            if key not in visited.places or predicted[i] < visited.scores[visited.places[key]] - BETTER
        ]
        if wanted:
            fits = yield ToFit(self._group, rows[wanted], numbers[wanted])
            for n, i in enumerate(wanted):
                self.keep(keys[i], fits[[n]])
        return [visited.places[key] for key in keys]

    def keep(self, key: bytes, fit: Fits) -> None:
        """A fit of a structure, unless a better one is there."""
        visited, score = self.visited, float(self.score(fit)[0])
        if key not in visited.places:
            visited.add(key, fit, score)
        elif score < visited.scores[visited.places[key]]:
            visited.fits[visited.places[key]], visited.scores[visited.places[key]] = fit, score

    def _repair(self) -> Dialogue[None]:
        """Fit again whatever fits worse than a part of it: from there it cannot end worse."""
        layout, visited = self._layout, self.visited
        keys = list(visited.places)
        for _ in range(REPAIRS):
            fits = Fits.concatenate(visited.fits)
            free, tied, driven = fits.rows.free, fits.rows.tied, layout.driven(layout.present(fits.rows))
            part = (free[:, None] <= free).all(2) & (tied[:, None] == tied).all(2) & (driven[:, None] == driven).all(2)
            loss = np.where(part, fits.loss[:, None], np.inf)
            wrong = np.flatnonzero(loss.min(0) < fits.loss - WORSE)
            if not len(wrong):
                return
            again = yield ToFit(self._group, fits.rows[wrong], fits.numbers[loss[:, wrong].argmin(0)])
            for n, place in enumerate(wrong.tolist()):
                self.keep(keys[place], again[[n]])

    def score(self, fits: Fits) -> np.ndarray:
        """The criterion of fits, shape (n_rows,)."""
        return 2 * fits.loss + self._criterion.cost(fits.rows)

    def _predict(self, current: Fits, rows: Structures) -> Dialogue[tuple[np.ndarray, np.ndarray]]:
        """Predicted criterion of other structures, and first estimates for them."""
        layout = self._layout
        rows = layout.with_starts(rows)
        here, _ = layout.coefficients(current.numbers, current.rows)
        answer: Answer = yield ToEvaluate(self._group, here)
        begin = self._first_guess(current, rows)
        there, jacobian = layout.coefficients(begin, rows)
        change = there - here
        gradient, fisher = answer.gradient[0], answer.fisher[0]
        pull = gradient + change @ fisher
        slope = np.einsum("rci,rc->ri", jacobian, pull)
        curvature = jacobian.transpose(0, 2, 1) @ fisher @ jacobian
        step = newton_steps(slope, curvature, np.full(len(rows), 1e-6), rows.free)
        nll = answer.nll[0] + change @ gradient + np.einsum("rc,cd,rd->r", change, fisher, change) / 2
        nll = nll + (slope * step).sum(1) / 2
        step = np.clip(step, -1.0, 1.0)
        return 2 * nll + self._criterion.cost(rows), np.where(rows.free, begin + step, 0.0)

    def _first_guess(self, current: Fits, rows: Structures) -> np.ndarray:
        """The present numbers; what becomes free begins where it was fixed."""
        library, layout = self._layout.library, self._layout
        begin = np.tile(current.numbers[0], (len(rows), 1))
        here, _ = layout.coefficients(current.numbers, current.rows)
        for own in library.own:
            if own >= 0:
                begin[:, own] = here[0, own]
        return np.where(rows.free, begin, 0.0)

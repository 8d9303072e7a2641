"""Search for the structure that the choices support, one participant at a time.

From every structure that is fitted, the likelihood of all neighbours is predicted at once: a quadratic with the
gradient and Fisher information of the whole library, which is the score test of a term to add and the Wald test of one
to drop, and serves swaps, pairs and ties alike. Only the most promising ones are refitted.
"""

from dataclasses import dataclass, field

import numpy as np

from spice.inference.likelihood import Likelihood
from spice.inference.moves import Moves
from spice.inference.refit import ROUGHLY, Fits, Refit, newton_steps
from spice.inference.structure import Layout, Structures

TRIED = 6  # neighbours refitted at a time
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


class Search:
    """Search by moves for one participant.

    Parameters
    ----------
    likelihood, layout, refit
        Of the problem.
    moves : Moves
        Neighbours.
    group : int
        The participant.
    price : float
        What each number costs, in units of twice the log-likelihood.
    """

    def __init__(self, likelihood: Likelihood, layout: Layout, refit: Refit, moves: Moves, group: int, price: float):
        self._likelihood, self._layout, self._refit, self._moves = likelihood, layout, refit, moves
        self._group, self._price = group, price
        self.visited = Visited()

    def run(self, starts: Structures, numbers: np.ndarray) -> Visited:
        """Search from several structures.

        Parameters
        ----------
        starts : Structures
            Where to begin.
        numbers : np.ndarray, shape (n_starts, n_numbers)
            First estimates there.
        """
        for place in self._visit(starts, numbers):
            self._climb(place)
        return self.visited

    def _climb(self, place: int) -> None:
        """Go to better neighbours until there is none."""
        while True:
            current = self.visited.fits[place]
            neighbours = self._moves.neighbours(current.rows)
            if not len(neighbours):
                return
            predicted, numbers = self._predict(current, neighbours)
            order = np.argsort(predicted)
            better = None
            for batch in range(PATIENCE):
                at = order[batch * TRIED : (batch + 1) * TRIED]
                at = at[predicted[at] < self.visited.scores[place] + self._price]
                if not len(at):
                    break
                tried = self._visit(neighbours[at], numbers[at])
                best = min(tried, key=self.visited.scores.__getitem__)
                if self.visited.scores[best] < self.visited.scores[place] - 1e-6:
                    better = best
                    break
            if better is None:
                return
            place = better

    def _visit(self, rows: Structures, numbers: np.ndarray) -> list[int]:
        """Fit those that are new; places of all."""
        keys = rows.keys()
        new = [i for i, key in enumerate(keys) if key not in self.visited.places]
        new = [i for n, i in enumerate(new) if keys[i] not in [keys[j] for j in new[:n]]]
        if new:
            fits = self._refit(rows[new], np.full(len(new), self._group), numbers[new], ROUGHLY)
            scores = 2 * fits.nll + self._price * self._moves.sizes(fits.rows)
            for n, i in enumerate(new):
                self.visited.places[keys[i]] = len(self.visited.fits)
                self.visited.fits.append(fits[[n]])
                self.visited.scores.append(float(scores[n]))
        return [self.visited.places[key] for key in keys]

    def _predict(self, current: Fits, rows: Structures) -> tuple[np.ndarray, np.ndarray]:
        """Predicted criterion of other structures, and first estimates for them."""
        layout = self._layout
        rows = layout.with_starts(rows)
        here, _ = layout.coefficients(current.numbers, current.rows)
        answer = self._likelihood(here, np.ones(here.shape, bool), current.group)
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
        return 2 * nll + self._price * self._moves.sizes(rows), np.where(rows.free, begin + step, 0.0)

    def _first_guess(self, current: Fits, rows: Structures) -> np.ndarray:
        """The present numbers; what becomes free begins where it was fixed."""
        library, layout = self._likelihood.library, self._layout
        begin = np.tile(current.numbers[0], (len(rows), 1))
        here, _ = layout.coefficients(current.numbers, current.rows)
        for own in library.own:
            if own >= 0:
                begin[:, own] = here[0, own]
        return np.where(rows.free, begin, 0.0)

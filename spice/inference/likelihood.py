"""Likelihood of rows: coefficients of some structure on the trials of some participant."""

from typing import NamedTuple

import numpy as np

from spice.inference.data import Trials
from spice.inference.library import Library
from spice.inference.threads import Threads


class Answer(NamedTuple):
    """What is known of rows; by all coefficients, 0 where they are not free.

    Attributes
    ----------
    nll : np.ndarray, shape (n_rows,)
        Negative log-likelihood, nats; infinite where states overflow.
    gradient : np.ndarray, shape (n_rows, n_coefficients)
        Its gradient.
    fisher : np.ndarray, shape (n_rows, n_coefficients, n_coefficients)
        Expected information of the choices, given what came before each.
    """

    nll: np.ndarray
    gradient: np.ndarray
    fisher: np.ndarray


class Likelihood:
    """Likelihood of a polynomial model's choices.

    Parameters
    ----------
    library : Library
        Candidate terms.
    trials : Trials
        The trials.
    n_threads : int, optional
        Threads over which rows are spread; default those that torch may use.
    """

    def __init__(self, library: Library, trials: Trials, n_threads: int | None = None):
        from spice.inference.kernel import evaluate_rows  # the compiler takes a second to import

        self.library, self.trials, self._kernel = library, trials, evaluate_rows
        lengths = np.maximum(np.diff(trials.sessions), 0)  # resampled sessions have empty ones between them
        self._threads = Threads(np.add.reduceat(lengths, trials.groups[:-1]), n_threads)

    @property
    def n_coefficients(self) -> int:
        """Terms and biases."""
        return self.library.n_terms + self.library.n_actions

    def __call__(self, coefficients: np.ndarray, free: np.ndarray, group: np.ndarray) -> Answer:
        """Evaluate rows.

        Parameters
        ----------
        coefficients : np.ndarray, shape (n_rows, n_coefficients)
            Coefficients of all terms, then the bias of each option.
        free : np.ndarray of bool, shape (n_rows, n_coefficients)
            Which to differentiate by.
        group : np.ndarray of int, shape (n_rows,)
            Participant of each row.
        """
        n_rows, n_all = coefficients.shape
        group = np.ascontiguousarray(group, dtype=np.int64)
        most = int(free.sum(1).max(initial=0))
        order = np.argsort(~free, axis=1, kind="stable")[:, :most]
        numbers = np.where(np.take_along_axis(free, order, 1), order, -1)
        nll, gradient = np.zeros(n_rows), np.zeros((n_rows, most))
        fisher = np.zeros((n_rows, most, most))
        # one layout of each array: the kernel is compiled once for every kind that it meets
        arguments = (np.ascontiguousarray(coefficients), numbers, group, nll, gradient, fisher)
        with np.errstate(all="ignore"):
            self._threads.run(lambda part: self._evaluate(*(a[part] for a in arguments)), group)
        nll = np.where(np.isfinite(nll), nll, np.inf)
        rows = np.arange(n_rows)[:, None]
        places = np.where(numbers >= 0, numbers, n_all)  # what is not free falls off the end
        wide, square = np.zeros((n_rows, n_all + 1)), np.zeros((n_rows, n_all + 1, n_all + 1))
        wide[rows, places] = gradient
        square[rows[:, :, None], places[:, :, None], places[:, None, :]] = fisher
        return Answer(nll, wide[:, :n_all], square[:, :n_all, :n_all])

    def _evaluate(self, coefficients, numbers, group, nll, gradient, fisher) -> None:
        library, trials = self.library, self.trials
        self._kernel(
            coefficients,
            numbers,
            group,
            trials.modules,
            trials.factors,
            trials.choices,
            trials.sessions,
            trials.groups,
            library.first,
            library.powers,
            library.factor,
            library.state,
            nll,
            gradient,
            fisher,
        )

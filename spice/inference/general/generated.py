"""Likelihood of any symbolic model with exact gradient and Hessian, by code that is generated for it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from spice.equations.symbolic import SymbolicModel
from spice.inference.general.flat_trials import FlatTrials, flatten
from spice.inference.threads import Threads
from spice.resources.dataset import DatasetRNN

MOST_PLACES = 2_000_000  # trials of all rows whose probabilities are held at once


class Exact(NamedTuple):
    """What is known of rows.

    Attributes
    ----------
    nll : np.ndarray, shape (n_rows,)
        Negative log-likelihood, nats; infinite where states overflow.
    gradient : np.ndarray, shape (n_rows, n_parameters)
        Its gradient.
    hessian : np.ndarray, shape (n_rows, n_parameters, n_parameters)
        Its second derivatives.
    """

    nll: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


class GeneratedLikelihood:
    """Likelihood of a symbolic model's choices.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        The data.
    n_threads : int, optional
        Threads over which rows are spread; default those that torch may use.

    Attributes
    ----------
    names : tuple of str
        Parameters, in the order of the columns of rows.
    participants : list of int
        Participant number of each group.
    trials : FlatTrials
        The trials.
    """

    def __init__(self, model: SymbolicModel, dataset: DatasetRNN, n_threads: int | None = None):
        from spice.equations.normalised import check_normalised

        check_normalised(model, dataset)
        self.names = tuple(model.parameters)
        self._model, self._dataset = model, dataset
        self.trials, self.participants = flatten(model, dataset)
        self._arrays = self.trials.arrays()
        self._kernels: dict[int, Callable] = {}
        self._threads = Threads(np.diff(self.trials.ends), n_threads)

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled code, which is found again when it is needed."""
        return self.__dict__ | {"_kernels": {}}

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""
        return self.trials.n_scored()

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Evaluate rows.

        Parameters
        ----------
        values : np.ndarray, shape (n_rows, n_parameters)
            Parameters.
        group : np.ndarray of int, shape (n_rows,), optional
            Participant of each row, by place in `participants`; default one row for each.
        """
        values, group, n = *self._rows(values, group), len(self.names)
        nll, gradient, hessian = np.zeros(len(values)), np.zeros((len(values), n)), np.zeros((len(values), n, n))
        kernel = self._kernel(2)

        def evaluate(part: slice) -> None:
            kernel(values[part], group[part], *self._arrays, nll[part], gradient[part], hessian[part])

        self._threads.run(evaluate, group)
        return Exact(np.where(np.isfinite(nll), nll, np.inf), gradient, hessian)

    def gradient(self, values: np.ndarray, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Negative log-likelihood and gradient alone, which is cheaper; arguments as for a call.

        Returns
        -------
        nll : np.ndarray, shape (n_rows,)
            Nats; infinite where states overflow.
        gradient : np.ndarray, shape (n_rows, n_parameters)
            Its gradient.
        """
        values, group = self._rows(values, group)
        nll, gradient = np.zeros(len(values)), np.zeros((len(values), len(self.names)))
        kernel = self._kernel(1)

        def evaluate(part: slice) -> None:
            kernel(values[part], group[part], *self._arrays, nll[part], gradient[part])

        self._threads.run(evaluate, group)
        return np.where(np.isfinite(nll), nll, np.inf), gradient

    def log_probabilities(self, values: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Logarithm of the probability of each scored choice.

        Returns
        -------
        np.ndarray, shape (n_rows, n_most)
            By row, in the order of sessions and trials; NaN after the last one. ``n_most`` is the largest number of
            scored choices of a participant.
        """
        values, group = self._rows(values, group)
        ends, n_scored = self.trials.ends, self.n_scored()
        found = np.full((len(values), n_scored.max(initial=0)), np.nan)
        rows_at_once = max(1, MOST_PLACES // max(int(np.diff(ends).max(initial=1)), 1))
        for first in range(0, len(values), rows_at_once):
            part = slice(first, first + rows_at_once)
            place, every = self._all_options(values[part], group[part], self.trials)
            for row, person in enumerate(group[part]):
                target = self.trials.target[ends[person] : ends[person + 1]]
                own = every[place[row] : place[row + 1]]
                found[first + row, : n_scored[person]] = own[np.arange(len(target)), target][target >= 0]
        return found

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Probabilities of all options after each trial, scored or not.

        Parameters
        ----------
        values : np.ndarray, shape (n_participants, n_parameters)
            Parameters of each of `participants`.

        Returns
        -------
        np.ndarray, shape (n_sessions, n_trials, n_actions)
            By session of the dataset; NaN where the model makes no prediction: in the padding after a session's end,
            and where what is shown before the next choice is not known.
        """
        trials = self._whole
        order = self._dataset.participants.argsort(stable=True).numpy()
        _, every = self._all_options(*self._rows(values, None), trials)
        found = np.empty((*self._dataset.shape[:2], self._dataset.n_actions))
        found[order] = np.exp(every).reshape(found.shape)
        found[self._not_predicted] = np.nan
        return found

    @cached_property
    def _whole(self) -> FlatTrials:
        """All trials, those of padding too."""
        return flatten(self._model, self._dataset, whole=True)[0]

    @cached_property
    def _not_predicted(self) -> np.ndarray:
        """Trials after which there is nothing to predict, bool, shape (n_sessions, n_trials)."""
        from spice.equations.reading import next_is_known

        used = self._dataset.scored if self._model.shown else self._dataset.scored | self._dataset.observed
        beyond = ~used.flip(1).cumsum(1).flip(1).bool().numpy()
        return beyond | ~next_is_known(self._model.shown, self._dataset)

    def _rows(self, values: np.ndarray, group: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        values = np.ascontiguousarray(values, dtype=float)
        return values, np.arange(len(values)) if group is None else np.ascontiguousarray(group, dtype=np.int64)

    def _all_options(self, values: np.ndarray, group: np.ndarray, trials: FlatTrials) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of all options' probabilities, (n_places, n_actions), and where each row's begin."""
        place = np.concatenate([[0], np.cumsum(np.diff(trials.ends)[group])]).astype(np.int64)
        out = np.empty((place[-1], self._dataset.n_actions))
        kernel, arrays = self._kernel(0), trials.arrays()
        self._threads.run(lambda part: kernel(values[part], group[part], *arrays, place[:-1][part], out), group)
        return place, out

    def _kernel(self, order: int) -> Callable:
        """Compiled when first asked for."""
        if order not in self._kernels:
            from spice.equations.codegen import kernel_source  # sympy and the compiler take a while to import
            from spice.equations.compiled import load_function
            from spice.equations.reading import has_offers

            offers = has_offers(self._dataset)
            source = kernel_source(self._model, self._dataset.n_actions, order, offers)
            self._kernels[order] = load_function(source, "evaluate")
        return self._kernels[order]

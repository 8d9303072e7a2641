"""Likelihood of any symbolic model with exact gradient and Hessian, by code that is generated for it."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from spice.equations.symbolic import SymbolicModel
from spice.inference.build import trials_in_use
from spice.inference.threads import Threads
from spice.resources.dataset import DatasetRNN


@dataclass(frozen=True)
class FlatTrials:
    """All trials, session after session, the sessions of a participant in a row.

    Attributes
    ----------
    choice : np.ndarray of int16, shape (n_trials,)
        The choice; -1 where there was none.
    reward : np.ndarray, shape (n_trials,)
        What it brought; NaN where that is unknown.
    outcome : np.ndarray, shape (n_trials, n_actions)
        What each option brought; NaN where it was not shown.
    inputs : np.ndarray, shape (n_trials, n_inputs)
        Further columns that the model reads.
    lagged : np.ndarray, shape (n_trials, n_actions, n_lagged)
        Signals of earlier trials that the model reads.
    target : np.ndarray of int16, shape (n_trials,)
        The choice that follows; -1 where none is scored.
    sessions : np.ndarray of int64, shape (n_sessions + 1,)
        First trial of each session; at the end the number of trials.
    groups : np.ndarray of int64, shape (n_groups + 1,)
        First session of each participant; at the end the number of sessions.
    """

    choice: np.ndarray
    reward: np.ndarray
    outcome: np.ndarray
    inputs: np.ndarray
    lagged: np.ndarray
    target: np.ndarray
    sessions: np.ndarray
    groups: np.ndarray


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
        from spice.equations.codegen import kernel_source  # sympy and the compiler take a while to import
        from spice.equations.compiled import load_function

        self.names = tuple(model.parameters)
        self.trials, self.participants = _flatten(model, dataset)
        self._kernel = load_function(kernel_source(model, dataset.n_actions), "evaluate")
        self._threads = Threads(np.diff(self.trials.sessions[self.trials.groups]), n_threads)

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""
        scored = np.concatenate([[0], np.cumsum(self.trials.target >= 0)])
        return np.diff(scored[self.trials.sessions[self.trials.groups]])

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Evaluate rows.

        Parameters
        ----------
        values : np.ndarray, shape (n_rows, n_parameters)
            Parameters.
        group : np.ndarray of int, shape (n_rows,), optional
            Participant of each row, by place in `participants`; default one row for each.
        """
        values = np.ascontiguousarray(values, dtype=float)
        n_rows, n = len(values), len(self.names)
        group = np.arange(n_rows) if group is None else np.ascontiguousarray(group, dtype=np.int64)
        nll, gradient, hessian = np.zeros(n_rows), np.zeros((n_rows, n)), np.zeros((n_rows, n, n))
        trials = [getattr(self.trials, entry.name) for entry in fields(FlatTrials)]

        def evaluate(part: slice) -> None:
            self._kernel(values[part], group[part], *trials, nll[part], gradient[part], hessian[part])

        self._threads.run(evaluate, group)
        return Exact(np.where(np.isfinite(nll), nll, np.inf), gradient, hessian)


def _flatten(model: SymbolicModel, dataset: DatasetRNN) -> tuple[FlatTrials, list[int]]:
    """The trials up to the last one that matters of each session, and whose they are."""
    from spice.equations.evaluate import read_trials

    dataset = dataset[dataset.participants.argsort(stable=True)]
    trials = read_trials(model, dataset)
    sessions, kept, target = trials_in_use(dataset)
    participants, counts = dataset.participants.unique_consecutive(return_counts=True)
    mask = kept.numpy()
    flat = FlatTrials(
        choice=trials.choice[mask].astype(np.int16),
        reward=np.ascontiguousarray(trials.reward[mask]),
        outcome=np.ascontiguousarray(trials.outcome[mask]),
        inputs=np.ascontiguousarray(trials.inputs[mask]),
        lagged=np.ascontiguousarray(trials.lagged[mask]),
        target=target,
        sessions=sessions,
        groups=np.concatenate([[0], np.cumsum(counts.numpy())]).astype(np.int64),
    )
    return flat, participants.tolist()

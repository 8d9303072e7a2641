"""Trials of all participants in a row, as compiled likelihoods take them."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from spice.equations.symbolic import SymbolicModel
from spice.inference.used import trials_in_use
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
    inputs : np.ndarray, shape (n_trials, n_columns)
        Further columns that the model reads.
    lagged : np.ndarray, shape (n_trials, n_actions, n_lagged)
        Signals of earlier trials that the model reads.
    cells, next_cells : np.ndarray of int64, shape (n_trials, n_groupings)
        Cells that were shown, and those shown before the coming choice.
    rules : np.ndarray of bool, shape (n_trials, n_conditions)
        Which conditions of updates hold.
    kind : np.ndarray of int16, shape (n_trials,)
        Which logits the coming choice follows; -1 where none.
    offered : np.ndarray of bool, shape (n_trials, n_actions)
        Which options are on offer at the coming choice.
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
    cells: np.ndarray
    next_cells: np.ndarray
    rules: np.ndarray
    kind: np.ndarray
    offered: np.ndarray
    target: np.ndarray
    sessions: np.ndarray
    groups: np.ndarray

    def arrays(self) -> list[Any]:
        """All fields, in the order in which kernels take them."""
        return [getattr(self, entry.name) for entry in fields(self)]

    @property
    def ends(self) -> np.ndarray:
        """First trial of each participant, at the end the number of trials; shape (n_groups + 1,)."""
        return self.sessions[self.groups]

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""
        scored = np.concatenate([[0], np.cumsum(self.target >= 0)])
        return np.diff(scored[self.ends])


def flatten(model: SymbolicModel, dataset: DatasetRNN, whole: bool = False) -> tuple[FlatTrials, list[int]]:
    """The trials of a dataset, and whose they are.

    Parameters
    ----------
    model : SymbolicModel
        What reads them.
    dataset : DatasetRNN
        The data.
    whole : bool, default False
        All trials, those of padding too; else each session's up to the last one that matters.
    """
    from spice.equations.reading import read_trials

    trials = read_trials(model, dataset)
    order = dataset.participants.argsort(stable=True)
    dataset = dataset[order]
    sessions, kept, target = trials_in_use(dataset)
    mask = kept.numpy()
    if whole:
        mask = np.ones(mask.shape, bool)
        sessions = np.arange(len(dataset) + 1, dtype=np.int64) * dataset.shape[1]
        target = np.where(dataset.scored, dataset.ys.nan_to_num().argmax(-1), -1)[mask]
    participants, counts = dataset.participants.unique_consecutive(return_counts=True)

    as_it_is = bool(mask.all()) and bool((order[1:] > order[:-1]).all())

    def flat(array: np.ndarray, kind: type = float) -> np.ndarray:
        if as_it_is:
            return np.ascontiguousarray(array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]), dtype=kind)
        return np.ascontiguousarray(array[order.numpy()][mask], dtype=kind)

    kind = flat(trials.kind, np.int16)
    found = FlatTrials(
        choice=flat(trials.choice, np.int16),
        reward=flat(trials.reward),
        outcome=flat(trials.outcome),
        inputs=flat(trials.inputs),
        lagged=flat(trials.lagged),
        cells=flat(trials.cells, np.int64),
        next_cells=flat(trials.next_cells, np.int64),
        rules=flat(trials.rules, bool),
        kind=kind,
        offered=flat(trials.offered, bool),
        target=np.where(kind >= 0, target, -1).astype(np.int16),
        sessions=sessions,
        groups=np.concatenate([[0], np.cumsum(counts.numpy())]).astype(np.int64),
    )
    return found, participants.tolist()

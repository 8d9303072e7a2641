"""Choice data: sessions of trials with named columns, missing trials and labels (DESIGN section 5)."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from spice.errors import ConfigError, DataError, join_problems
from spice.resources.arguments import in_words
from spice.resources.columns import Columns

READ_TABLES = (
    "files and tables are read by spice.utils.convert_dataset.convert_dataset, which is told the names of their "
    "columns."
)


class DatasetRNN:
    """Sessions of trials: who chose what, and what came of it.

    ``xs[:, t]`` is trial t (its choice, its outcome), ``ys[:, t]`` the choice of trial t + 1. A missing or
    padded trial has NaN in its choice columns, and in ``ys`` where it is the target; an unobserved reward
    is NaN. Both arrays are stored as writable float32 tensors: ``dataset.xs[..., -1] = 0`` changes the data.

    Parameters
    ----------
    xs : array_like, shape (n_sessions, n_trials, n_features)
        One-hot choice, reward per action, further inputs, then block, experiment, participant; with exactly
        ``2 * n_actions + 1`` columns the last one is the participant.
    ys : array_like, shape (n_sessions, n_trials, n_actions)
        One-hot choice of the following trial.
    columns : sequence of str, optional
        Names of the columns of ``xs`` (all, or those after choices and rewards).
    labels : mapping, optional
        For coded columns (``"participant"``, ``"choice"``, ``"block"``, an input) the user's label of
        each code, in order.
    table_columns : mapping, optional
        Names that the columns had in the table they came from; ``to_table`` uses them.

    Raises
    ------
    DataError
        If the shapes do not fit together or there are no data.
    ConfigError
        If the columns cannot be named.
    """

    def __init__(
        self,
        xs: Any,
        ys: Any,
        columns: Sequence[str] | None = None,
        labels: Mapping[str, Sequence[Any]] | None = None,
        table_columns: Mapping[str, Any] | None = None,
    ):
        self.xs = _as_tensor(xs, "xs")
        self.ys = _as_tensor(ys, "ys")
        _check_shapes(self.xs, self.ys)
        self.columns = Columns.make(self.ys.shape[2], self.xs.shape[2], columns)
        self.labels = _read_labels(labels, self.columns)
        self.table_columns = dict(table_columns or {})

    @classmethod
    def of(cls, xs: Any, ys: Any = None, n_actions: int | None = None, columns: Columns | None = None) -> "DatasetRNN":
        """Take whatever the user gave as a dataset.

        Parameters
        ----------
        xs : DatasetRNN or array_like
            The data; a ``DatasetRNN`` is returned as it is, or with other targets if ``ys`` is given too.
        ys : array_like, optional
            Targets; without them nothing is scored.
        n_actions : int, optional
            Needed only when ``ys`` is left out.
        columns : Columns, optional
            Columns of arrays of this width, if they are known already.
        """
        if isinstance(xs, DatasetRNN):
            return xs if ys is None else xs.replace(xs.xs, ys)
        if _is_table(xs):
            raise DataError(READ_TABLES)
        if isinstance(xs, (tuple, list)) and any(map(_is_dataset_or_array_of_all, xs)):
            raise DataError(
                f"one DatasetRNN is needed, or xs and ys as two arguments, not a {type(xs).__name__} of {len(xs)}; "
                "create_dataset returns dataset, experiments, parameters."
            )
        xs = _as_tensor(xs, "xs")
        if ys is None:
            if n_actions is None and xs.ndim == 3:
                raise DataError("ys is missing: give the one-hot choice of the following trial, or a DatasetRNN.")
            ys = torch.full((*xs.shape[:2], n_actions or 2), torch.nan)  # what is wrong with xs comes first
        known = columns is not None and xs.ndim == 3 and xs.shape[2] == len(columns.names)
        return cls(xs, ys, columns.names if known and columns is not None else None)

    @property
    def n_actions(self) -> int:
        """Number of options."""
        return self.columns.n_actions

    @property
    def shape(self) -> torch.Size:
        """Shape of ``xs``: (n_sessions, n_trials, n_features)."""
        return self.xs.shape

    def __len__(self) -> int:
        return self.xs.shape[0]

    def __getitem__(self, index: Any) -> "DatasetRNN":
        if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis:
            index = index[0]  # scikit-learn asks for data[rows, ...]
        if index is None or isinstance(index, (tuple, str)):
            raise IndexError(f"a dataset is indexed by session, not by {index!r}; for trials index its xs and ys.")
        index = index.numpy() if isinstance(index, torch.Tensor) else index
        sessions = np.atleast_1d(np.arange(len(self))[index]).copy()  # torch takes no negative steps
        return self.replace(self.xs[sessions], self.ys[sessions])

    def replace(self, xs: Any, ys: Any) -> "DatasetRNN":
        """Other data with the same columns and labels."""
        return DatasetRNN(xs, ys, self.columns.names, self.labels, self.table_columns)

    def column(self, name: str) -> torch.Tensor:
        """One column of ``xs`` by name, shape (n_sessions, n_trials)."""
        return self.xs[..., self.columns.index(name)]

    @property
    def participants(self) -> torch.Tensor:
        """Participant number of each session, int64, shape (n_sessions,)."""
        return self.xs[:, 0, self.columns.participant].long()

    @property
    def observed(self) -> torch.Tensor:
        """Where a choice was made, bool, shape (n_sessions, n_trials)."""
        return in_all(~self.xs[..., self.columns.choice].isnan())

    @property
    def scored(self) -> torch.Tensor:
        """Where ``ys`` holds a choice to predict, bool, shape (n_sessions, n_trials)."""
        return in_all(~self.ys.isnan())

    @property
    def n_scored(self) -> int:
        """Number of choices that are predicted."""
        return int(self.scored.sum())

    def place(self, session: int, trial: int) -> str:
        """Where a trial is, in words: counted from 0, and as the user's table calls it, where that is known."""
        own = {}
        for name in ("block", "trial"):
            if self.columns.has(name) and trial < self.shape[1] and self.column(name)[session, trial].isfinite():
                code = float(self.column(name)[session, trial])
                own[name] = self.label(name, int(code)) if code.is_integer() else code
        if "block" not in self.labels:
            own = {name: number for name, number in own.items() if name == "trial" and number != trial}
        told = ", ".join(f"{name} {value!r}" for name, value in own.items())
        return f"session {session}, trial {trial}" + (f" ({told})" if told else "")

    def label(self, column: str, code: int) -> Any:
        """The user's label of a code: the code itself where no labels were given."""
        labels = self.labels.get(column)
        return labels[code] if labels is not None and 0 <= code < len(labels) else code

    def code(self, column: str, label: Any) -> int:
        """The code of a label.

        Raises
        ------
        ConfigError
            If there is no such label.
        """
        labels = self.labels.get(column)
        if labels is None and isinstance(label, (int, np.integer)):
            return int(label)
        if labels is None:
            raise ConfigError(f"there is no {column} {label!r}: the data have no labels, so give its number.")
        if label not in labels:
            known = ", ".join(repr(name) for name in labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise ConfigError(f"there is no {column} {label!r}; there are {known}.")
        return labels.index(label)

    def __repr__(self) -> str:
        return (
            f"DatasetRNN({len(self)} sessions x {self.shape[1]} trials, {self.n_actions} actions, "
            f"{len(self.participants.unique())} participants, {self.n_scored} scored choices)"
        )


def _is_table(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike)) or (hasattr(given, "columns") and not isinstance(given, DatasetRNN))


def check_is_dataset(dataset: Any, user: str) -> None:
    """Check that something is a dataset, for a function that takes nothing else.

    Raises
    ------
    DataError
        If it is not.
    """
    if _is_table(dataset):
        raise DataError(f"{user} needs a DatasetRNN: {READ_TABLES}")
    if not isinstance(dataset, DatasetRNN):
        raise DataError(f"{user} needs a DatasetRNN, e.g. DatasetRNN(xs, ys), not {in_words(dataset)}.")


def _is_dataset_or_array_of_all(part: Any) -> bool:
    """Not one session's array, (n_trials, n_features): a tuple or list of these is data."""
    return isinstance(part, DatasetRNN) or getattr(part, "ndim", 0) == 3


def _read_labels(labels: Any, columns: Columns) -> dict[str, tuple]:
    if not isinstance(labels, (Mapping, type(None))):
        raise DataError(
            f"labels must be given by column, e.g. {{'participant': ['anna', 'ben']}}, not {in_words(labels)}."
        )
    found, problems = {}, []
    for name, values in (labels or {}).items():  # also of columns that the data no longer have
        if isinstance(values, str) or not isinstance(values, Iterable):
            problems.append(f"those of {name!r} must be a list, one label per code, not {in_words(values)}.")
        else:
            found[name] = tuple(values)
            problems += [
                f"{label!r} stands for {n} codes of {name!r}; give each code a label of its own."
                for label, n in Counter(found[name]).items()
                if n > 1
            ][:5]
            if name == "choice" and len(found[name]) != columns.n_actions:
                problems.append(f"there are {len(found[name])} of 'choice' for {columns.n_actions} actions.")
    if problems:
        raise DataError(join_problems("labels do not fit the data", problems))
    return found


def _as_tensor(values: Any, name: str) -> torch.Tensor:
    try:
        tensor = torch.as_tensor(values if isinstance(values, torch.Tensor) else np.array(values, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array of numbers: {error}") from None
    return tensor.detach().to(device="cpu", dtype=torch.float32, copy=True)


def _check_shapes(xs: torch.Tensor, ys: torch.Tensor) -> None:
    for name, tensor, last in (("xs", xs, "n_features"), ("ys", ys, "n_actions")):
        if tensor.ndim != 3:
            raise DataError(
                f"{name} must have three dimensions (n_sessions, n_trials, {last}), "
                f"but has shape {tuple(tensor.shape)}."
            )
    if xs.shape[:2] != ys.shape[:2]:
        raise DataError(
            f"xs has {xs.shape[0]} sessions of {xs.shape[1]} trials, ys has {ys.shape[0]} of {ys.shape[1]}: "
            "row t of ys is the choice that follows row t of xs, so both need the same shape."
        )
    if xs.shape[0] == 0 or xs.shape[1] == 0:
        raise DataError(f"the data are empty: {xs.shape[0]} sessions of {xs.shape[1]} trials.")
    if ys.shape[2] < 2:
        raise DataError(f"ys has {ys.shape[2]} action column(s); a choice needs at least two (one-hot).")


def in_all(found: torch.Tensor) -> torch.Tensor:
    """Whether it is so in all columns; for a few of them much faster than ``all(-1)``."""
    return reduce(torch.logical_and, found.unbind(-1))

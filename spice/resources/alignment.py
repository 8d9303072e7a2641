"""New data for a fitted model: its columns, options and participants, ordered and numbered as they were in the fit."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from spice.errors import DataError, join_problems
from spice.resources.columns import Columns
from spice.resources.dataset import DatasetRNN


def align(
    dataset: DatasetRNN, columns: Columns, participants: tuple[Any, ...], labels: Mapping[str, tuple]
) -> DatasetRNN:
    """Order columns by name, and number participants by their labels where both have labels.

    Parameters
    ----------
    dataset : DatasetRNN
        The new data, already checked; it is left as it is.
    columns : Columns
        Columns that the model was fitted to.
    participants : tuple
        Label of each participant number of the model.
    labels : mapping of str to tuple
        Labels of the coded columns that the model was fitted to.

    Returns
    -------
    DatasetRNN

    Raises
    ------
    DataError
        If inputs, options or participants are not those of the model.
    """
    check_codes(dataset, columns.n_actions, labels, ("choice", *columns.all_inputs))
    given, needed = dataset.columns.all_inputs, columns.all_inputs
    if set(given) != set(needed):
        raise DataError(
            f"the data's inputs are {', '.join(given) or 'none'}, the model was fitted to "
            f"{', '.join(needed) or 'none'}."
        )
    return _with_participants(_with_columns(dataset, columns), participants, labels)


def check_codes(dataset: DatasetRNN, n_actions: int, labels: Mapping[str, tuple], names: Iterable[str]) -> None:
    """Check that codes of new data mean what they meant in the data that a model was fitted to.

    Parameters
    ----------
    dataset : DatasetRNN
        The new data.
    n_actions : int
        Options of the model.
    labels : mapping of str to tuple
        Labels of the coded columns that the model was fitted to.
    names : iterable of str
        Columns that the model reads; ``"choice"`` among them. Those without labels on either side are not checked.

    Raises
    ------
    DataError
        Listing all columns whose labels differ; or if there are other options.
    """
    problems = []
    if dataset.n_actions != n_actions:
        problems.append(f"the data have {dataset.n_actions} actions, the model has {n_actions}.")
    for name in names:
        new, known = dataset.labels.get(name), labels.get(name)
        if new is not None and known is not None and new != known:
            fix = f"choices={list(known)}" if name == "choice" else "the whole table once, then take the sessions apart"
            problems.append(
                f"the labels of {name!r} are {list(new)}, the model was fitted to {list(known)} (convert with {fix})."
            )
    if problems:
        raise DataError(join_problems("The model does not fit these data", problems))


def _with_columns(dataset: DatasetRNN, columns: Columns) -> DatasetRNN:
    if dataset.columns.names == columns.names:
        return dataset
    absent = torch.zeros(dataset.shape[:2])  # only block, experiment or trial, which no model reads
    xs = [dataset.column(name) if dataset.columns.has(name) else absent for name in columns.names]
    return DatasetRNN(torch.stack(xs, dim=-1), dataset.ys, columns.names, dataset.labels)


def _with_participants(dataset: DatasetRNN, participants: tuple, labels: Mapping[str, tuple]) -> DatasetRNN:
    own = dataset.labels.get("participant")
    if own is None or "participant" not in labels or own == participants:
        return dataset
    unknown = [label for label in own if label not in participants]
    if unknown:
        raise DataError(f"the model was not fitted to participant(s) {', '.join(map(repr, unknown[:10]))}.")
    numbers = torch.tensor([participants.index(label) for label in own], dtype=torch.float32)
    xs = dataset.xs.clone()
    xs[..., dataset.columns.participant] = numbers[dataset.participants].unsqueeze(-1)
    return DatasetRNN(xs, dataset.ys, dataset.columns.names, dataset.labels | {"participant": participants})

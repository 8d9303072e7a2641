"""New data for a fitted model: the same options and participants, numbered as they were in the fit."""

from collections.abc import Mapping
from typing import Any

import torch

from spice.errors import DataError
from spice.resources.dataset import DatasetRNN


def align(
    dataset: DatasetRNN, n_actions: int, participants: tuple[Any, ...], labels: Mapping[str, tuple]
) -> DatasetRNN:
    """Number participants as a model does, by their labels where both have labels.

    Parameters
    ----------
    dataset : DatasetRNN
        The new data; it is left as it is.
    n_actions : int
        Number of options that the model knows.
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
        If options or participants are not those of the model.
    """
    if dataset.n_actions != n_actions:
        raise DataError(f"the data have {dataset.n_actions} actions, the model has {n_actions}.")
    for name in (name for name in dataset.labels if name not in ("participant", "block")):
        new, known = dataset.labels[name], labels.get(name)
        if known is not None and new != known:
            fix = f" (convert with choices={list(known)})" if name == "choice" else ""
            raise DataError(f"the labels of {name!r} are {list(new)}, the model was fitted to {list(known)}{fix}.")
    own = dataset.labels.get("participant")
    if own is None or "participant" not in labels or own == participants:
        return dataset
    unknown = [label for label in own if label not in participants]
    if unknown:
        raise DataError(f"the model was not fitted to participant(s) {', '.join(map(repr, unknown[:10]))}.")
    numbers = torch.tensor([participants.index(label) for label in own], dtype=torch.float32)
    xs = dataset.xs.clone()
    xs[..., dataset.columns.participant] = numbers[dataset.column("participant").long()]
    return DatasetRNN(xs, dataset.ys, dataset.columns.names, dataset.labels | {"participant": participants})

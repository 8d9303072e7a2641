"""Training and test sets: by block, by trial fraction, by participant."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from spice.errors import ConfigError, DataError, SpiceWarning
from spice.resources.arguments import in_words, is_number, plain_scalar
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN, check_is_dataset


def split_by_block(dataset: DatasetRNN, test_blocks: Any) -> tuple[DatasetRNN, DatasetRNN]:
    """Hold out whole blocks of every participant.

    Parameters
    ----------
    dataset : DatasetRNN
        With a column ``block`` that is constant within a session.
    test_blocks : label or iterable of labels
        Blocks to hold out, by the user's labels (codes where there are none).

    Returns
    -------
    train, test : DatasetRNN
        The sessions of the other blocks, and those of the test blocks.

    Raises
    ------
    ConfigError
        If there is no column ``block``, no such block, or one part would be empty.
    DataError
        If a session runs over several blocks.

    Warns
    -----
    SpiceWarning
        If a participant has test blocks only, so that nothing of theirs is left to fit.
    """
    check_is_dataset(dataset, "split_by_block")
    if not dataset.columns.has("block"):
        raise ConfigError("the data have no column 'block'; name it with convert_dataset(..., block=...).")
    blocks = dataset.column("block")
    mixed = ((blocks != blocks[:, :1]) & dataset.observed).any(1)
    if mixed.any():
        raise DataError(
            f"session {int(mixed.int().argmax())} runs over several blocks; a session is one block, so cut it there."
        )
    train, test = _split_by_label(dataset, "block", blocks[:, 0].long(), test_blocks)
    unfitted = sorted(set(test.participants.tolist()) - set(train.participants.tolist()))
    if unfitted:
        names = ", ".join(repr(dataset.label("participant", code)) for code in unfitted)
        warnings.warn(f"participant(s) {names} have test blocks only: nothing to fit.", SpiceWarning, stacklevel=2)
    return train, test


def split_by_participant(dataset: DatasetRNN, test_participants: Any) -> tuple[DatasetRNN, DatasetRNN]:
    """Hold out all sessions of some participants.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    test_participants : label or iterable of labels
        Participants to hold out, by the user's labels (codes where there are none).

    Returns
    -------
    train, test : DatasetRNN
        The sessions of the other participants, and those of the test participants.

    Raises
    ------
    ConfigError
        If there is no such participant, or one part would be empty.
    """
    check_is_dataset(dataset, "split_by_participant")
    return _split_by_label(dataset, "participant", dataset.participants, test_participants)


def split_by_trial_fraction(dataset: DatasetRNN, fraction: float) -> tuple[DatasetRNN, DatasetRNN]:
    """Train on the first part of every session, test on the rest of it.

    The test set holds whole sessions, so that states run through the past, but only choices after the
    training part are scored. No choice is scored in both sets.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    fraction : float
        Share of each session's trials (from its first to its last choice) in the training part, between
        0 and 1; at least one trial.

    Returns
    -------
    train, test : DatasetRNN
        Sessions cut after the training part, shape (n_sessions, longest training part, n_features), shorter
        ones padded; and whole sessions, with NaN in ``ys`` where the target belongs to the training part.

    Raises
    ------
    ConfigError
        If ``fraction`` is not between 0 and 1, or one part would have no choice to score.
    """
    check_is_dataset(dataset, "split_by_trial_fraction")
    if not is_number(fraction) or not 0 < fraction < 1:
        raise ConfigError(f"fraction must lie between 0 and 1, not {in_words(fraction)}; 0.7 trains on the first 70 %.")
    fraction = float(fraction)
    columns = dataset.columns
    row = torch.arange(dataset.shape[1])
    length = ((row + 1) * dataset.observed).amax(1)
    cut = torch.clamp((fraction * length).round().long(), min=1)[:, None]

    xs, ys = dataset.xs[:, : int(cut.max())].clone(), dataset.ys[:, : int(cut.max())].clone()
    row = row[: xs.shape[1]]
    later = row >= cut
    for name in (*columns.inputs, *columns.shown):
        xs[..., columns.index(name)][later] = 0
    for name in columns.shown:  # the last row's coming trial lies beyond the cut
        xs[..., columns.index(NEXT + name)][row >= cut - 1] = 0
    if columns.has("trial"):
        xs[..., columns.index("trial")][later] = torch.nan
    xs[..., : 2 * dataset.n_actions][later] = torch.nan
    ys[row >= cut - 1] = torch.nan

    unscored = torch.arange(dataset.shape[1]) < cut - 1
    train = dataset.replace(xs, ys)
    test = dataset.replace(dataset.xs, torch.where(unscored[..., None], torch.nan, dataset.ys))
    for part, name in ((train, "training"), (test, "test")):
        if part.n_scored == 0:
            raise ConfigError(f"fraction={fraction!r} leaves no choice to score in the {name} part; choose another.")
    return train, test


def _split_by_label(
    dataset: DatasetRNN, column: str, codes: torch.Tensor, test_labels: Any
) -> tuple[DatasetRNN, DatasetRNN]:
    test_labels = plain_scalar(test_labels)
    if isinstance(test_labels, str) or not isinstance(test_labels, Iterable):
        test_labels = [test_labels]
    present = {dataset.label(column, code): code for code in codes.unique().tolist()}
    test_labels = [label.item() if isinstance(label, (np.generic, torch.Tensor)) else label for label in test_labels]
    unknown = [label for label in test_labels if label not in list(present)]
    if unknown:
        known = ", ".join(map(repr, list(present)[:12])) + (", ..." if len(present) > 12 else "")
        raise ConfigError(f"there is no {column} {', '.join(map(repr, unknown))}; there are {known}.")
    held_out = torch.isin(codes, torch.tensor([present[label] for label in test_labels], dtype=codes.dtype))
    for part, empty in (("test", not held_out.any()), ("training", bool(held_out.all()))):
        if empty:
            raise ConfigError(
                f"the {part} part would be empty: {len(test_labels)} of {len(present)} {column}s are held out."
            )
    return dataset[~held_out], dataset[held_out]

"""Shown inputs against what a model declares: levels within their range, choices among the options on offer."""

from collections.abc import Collection, Mapping

import torch

from spice.errors import DataError, did_you_mean, join_problems
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.offers import AVAILABLE, is_offer, offer_names


def check_levels(dataset: DatasetRNN, levels: Mapping[str, int]) -> None:
    """Check that shown inputs hold codes from 0 to below the number of levels that a model declares.

    Only what matters is checked: this trial's value where a choice was made, the coming trial's where its choice is
    scored.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    levels : mapping of str to int
        Number of levels of each shown input, e.g. ``{"season": 3, "alien": 4}``.

    Raises
    ------
    DataError
        If inputs are not shown in these data, or codes lie outside; all problems are listed, each with column,
        participant, session and trial.
    """
    problems = []
    for name, n_levels in levels.items():
        if name not in dataset.columns.shown:
            problems.append(_not_shown(dataset, name))
            continue
        for column, rows in ((name, dataset.observed), (NEXT + name, dataset.scored)):
            values = dataset.column(column)
            wrong = rows & ~((values >= 0) & (values < n_levels) & (values == values.round()))
            if wrong.any():
                fix = _fix(dataset, name, n_levels)
                problems.append(f"the column {column!r} is {_value(values, wrong)} {_place(dataset, wrong)}; {fix}")
                break  # the coming trial's value is the next row's, so it would be named twice
    if problems:
        raise DataError(join_problems("What the data show does not fit the model", problems))


def check_offers(dataset: DatasetRNN, read: Collection[str] = ()) -> None:
    """Check the columns that say which options are on offer, if there are any: 0 or 1, and every choice among them.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    read : collection of str
        Columns that the model reads as inputs of its own, whatever they are called.

    Raises
    ------
    DataError
        If they cannot be used; all problems are listed, each with column, participant, session and trial.
    """
    names = offer_names(dataset.n_actions)
    by_label = {f"{AVAILABLE}{label}" for label in dataset.labels.get("choice", ())}
    strange = [
        f"the column {name!r} is of no option: name each by its code, {', '.join(names)}."
        for name in dataset.columns.all_inputs
        if not name.startswith(NEXT) and name not in (*names, *read) and (is_offer(name) or name in by_label)
    ]
    if strange:
        raise DataError(join_problems("What is on offer cannot be read", strange))
    if not any(map(is_offer, dataset.columns.all_inputs)):
        return
    lacking = [_not_shown(dataset, name) for name in names if name not in dataset.columns.shown]
    if lacking:
        raise DataError(join_problems("What is on offer cannot be read", lacking))
    problems = []
    choices = dataset.xs[..., dataset.columns.choice]
    for prefix, rows, chosen in (("", dataset.observed, choices), (NEXT, dataset.scored, dataset.ys)):
        for option, name in enumerate(names):
            values = dataset.column(prefix + name)
            wrong = rows & (values != 0) & (values != 1)
            if wrong.any():
                where = f"{_value(values, wrong)} {_place(dataset, wrong)}"
                problems.append(f"the column {prefix + name!r} is {where}; it must be 1 (on offer) or 0.")
            wrong = rows & (chosen[..., option] == 1) & (values == 0)
            if wrong.any():
                following = "the following choice" if prefix else "the choice"
                label = dataset.label("choice", option)
                problems.append(
                    f"the column {prefix + name!r} is 0, but {following} is option {label!r} {_place(dataset, wrong)}; "
                    "correct it, or mark the trial as missing (NaN in its choice columns)."
                )
        if problems:
            break  # the coming trial's values are the next row's, so they would be named twice
    if problems:
        raise DataError(join_problems("What is on offer does not fit the choices", problems))


def _not_shown(dataset: DatasetRNN, name: str) -> str:
    columns = dataset.columns
    if columns.has(name):
        return (
            f"the column {name!r} has no partner {NEXT + name!r} (what the coming trial shows); name it in shown= "
            "where the data are converted."
        )
    known = ", ".join(columns.shown) or "none"
    return f"the data have no shown input {name!r}{did_you_mean(name, columns.shown)}; they have {known}."


def _fix(dataset: DatasetRNN, name: str, n_levels: int) -> str:
    labels = dataset.labels.get(name)
    if labels is not None:
        return f"the model has {n_levels} levels, the data {len(labels)}: {', '.join(map(repr, labels))}."
    return f"the model has {n_levels} levels, so codes must be whole numbers from 0 to {n_levels - 1}."


def _value(values: torch.Tensor, wrong: torch.Tensor) -> str:
    return f"{values[wrong][0].item():g}"


def _place(dataset: DatasetRNN, wrong: torch.Tensor) -> str:
    """Participant, session and trial of the first wrong row, and how many more there are."""
    session, trial = wrong.nonzero()[0].tolist()
    person = dataset.label("participant", int(dataset.participants[session]))
    more = int(wrong.sum()) - 1
    return f"for participant {person!r}, {dataset.place(session, trial)}" + (f" (and {more} more)" if more else "")

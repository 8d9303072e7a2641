"""Tidy tables in and out: one row per trial becomes a ``DatasetRNN``, and back (DESIGN section 5)."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from spice.errors import ConfigError, DataError, SpiceWarning, join_problems
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.offers import is_offer
from spice.utils.cells import code_of, numbers_of, plain
from spice.utils.tables import as_list, check_arguments, check_names, names_needed, read_table
from spice.utils.tidy_rows import Rows, sort_rows
from spice.utils.to_table import to_table

__all__ = ["convert_dataset", "to_table"]

MISSING_CODES = ("-1", "-9", "-99", "-999", "99", "999")  # of choices, among other labels
RARELY = 0.001  # share of all choices up to which an option is named as hardly ever chosen
MAX_CHOICES = 100  # more labels than this without choices=[...] means that another column was named


def convert_dataset(
    table: Any,
    *,
    participant: str | None = None,
    choice: str | None = None,
    reward: str | Sequence[str] | None = None,
    block: str | None = None,
    trial: str | None = None,
    inputs: str | Sequence[str] = (),
    shown: str | Sequence[str] = (),
    choices: Sequence[Any] | None = None,
    missing_reward: str = "error",
) -> DatasetRNN:
    """Turn a tidy table, one row per trial, into sessions of trials.

    A session is one participant's block. Labels of choices, participants, blocks and categorical inputs
    (text or True/False) become codes 0, 1, ... in sorted order and are kept in ``labels`` of the result.
    Sessions are ordered by participant and block; shorter ones are padded at the end. Columns that are
    not named here are not kept.

    Parameters
    ----------
    table : str, path or pandas.DataFrame
        The table, or the name of a CSV file (also compressed), in which empty cells, ``NA`` and ``NaN``
        are missing.
    participant : str
        Name of the column that says whose trial it is; needed for one person, too.
    choice : str
        Column of the choice, any labels. A trial without a choice is a missing trial: it is not scored
        and updates nothing, and its reward is not kept.
    reward : str or sequence of str
        Column of the reward received, or one column per option, in the order of the choice labels, where
        the outcomes of the other options were shown too (empty where an outcome was not shown).
    block : str, optional
        Column of the block; without it a participant is one session.
    trial : str, optional
        Column of the trial's whole number: restores the order, and numbers left out within a session
        become missing trials. Without it rows are taken in the order given, and a warning says so.
    inputs : str or sequence of str, optional
        Columns seen together with the outcome.
    shown : str or sequence of str, optional
        Columns shown before the choice. Each becomes two columns of ``xs``: ``name`` (this trial's, for
        the update) and ``next_name`` (the coming trial's, for the prediction of its choice; 0 where no
        trial of the table follows directly: that prediction is never scored). ``available_0``,
        ``available_1``, ... (1 or 0; one per option, by its code) say which options a trial offers.
    choices : sequence, optional
        All choice labels in the order wanted: for options nobody chose, and to say which reward column
        belongs to which option.
    missing_reward : {"error", "skip"}
        ``"skip"`` accepts a chosen option without a reward: the choice is scored, its outcome updates
        nothing.

    Returns
    -------
    DatasetRNN
        ``xs`` (n_sessions, n_trials, n_features) with the columns one-hot choice, reward per option (NaN
        where not observed), inputs, shown pairs, ``trial`` (as given, or counted from 0), ``block`` (if
        given), ``participant``; ``ys`` (n_sessions, n_trials, n_actions) with the next choice, so NaN in
        the last row of a session. Missing trials and padding have NaN in choice and reward; inputs are 0
        in padding and gaps, and where a missing trial's input is missing too; ``trial`` is NaN in padding
        and gaps.

    Raises
    ------
    ConfigError
        If columns are not in the table or named twice, or an argument has no such value.
    DataError
        If the table cannot be used; every problem is named with its column, participant, block and trial.

    Warns
    -----
    SpiceWarning
        If the order of rows or of reward columns had to be taken for granted.
    """
    rewards, inputs, shown = as_list(reward), as_list(inputs), as_list(shown)
    named = {"participant": participant, "block": block, "trial": trial, "choice": choice}
    if participant is None or choice is None or any(name is None for name in rewards or [None]):
        raise ConfigError(names_needed(table, participant, choice, rewards))
    roles = {role: name for role, name in named.items() if name is not None}
    roles |= {"reward": rewards[0]} if len(rewards) == 1 else {f"reward_{a}": r for a, r in enumerate(rewards)}
    further = [*inputs, *shown]
    check_arguments(roles, further, choices, missing_reward)
    roles |= {str(name): name for name in further}
    table = read_table(table, [participant] if block is None else [participant, block])
    check_names(table, roles, further)

    rows = sort_rows(table, roles)
    problems = _code_choices(rows, choice, choices) or _read_rewards(rows, rewards, missing_reward)
    problems += [problem for name in further for problem in _read_input(rows, name)]
    if problems:
        raise DataError(join_problems("the table cannot be used", problems))
    for notice in _taken_for_granted(rows, rewards, trial, choices):
        warnings.warn(notice, SpiceWarning, stacklevel=2)
    dataset = _assemble(rows, inputs, shown, roles)
    # one trial of everybody may be meant, to predict the next; where people have more, their sessions were cut apart
    if not dataset.n_scored and np.bincount(rows.participant).max() > 1:
        raise DataError(
            "the table cannot be used: no choice follows another one, since every session (a participant's block) has "
            "one at most; name the column of whole blocks, or leave block out."
        )
    return dataset


def _code_choices(rows: Rows, name: str, choices: Sequence[Any] | None) -> list[str]:
    rows.choice, labels = code_of(rows.table[name])
    if choices is not None:
        given = tuple(plain(label) for label in choices)
        unknown = [label for label in labels if label not in given]
        if unknown or len(set(given)) < len(given):
            what = f"column {name!r} holds {unknown}" if unknown else "a label is repeated"
            return [f"{what}, but choices={list(given)}; choices must name every label once."]
        # code -1 (missing) picks the last entry
        rows.choice = np.array([*(given.index(label) for label in labels), -1])[rows.choice]
        labels = given
    elif len(labels) > MAX_CHOICES:
        return [f"column {name!r} (choice) holds {len(labels)} different values; if so many are meant, name choices=."]
    if len(labels) < 2:
        return [f"column {name!r} (choice) holds only {list(labels)}; name all options with choices=[...]."]
    rows.labels["choice"] = labels
    return []


def _read_rewards(rows: Rows, names: list[str], missing_reward: str) -> list[str]:
    """Fill ``rows.rewards`` (n_rows, n_actions), NaN where unobserved; return the problems."""
    n_actions = len(rows.labels["choice"])
    if len(names) not in (1, n_actions):
        return [
            f"there are {len(names)} reward columns but {n_actions} choices {list(rows.labels['choice'])}; give one "
            "column per choice, in that order (choices=[...] names options nobody chose)."
        ]
    made = rows.choice >= 0
    chosen = made[:, None] & (rows.choice[:, None] == np.arange(n_actions))
    rows.rewards = np.full(chosen.shape, np.nan)
    problems = []
    for a, name in enumerate(names):
        numbers, text = numbers_of(rows.table[name])
        bad = made & (text | np.isinf(numbers))
        if bad.any():
            problems.append(
                f"column {name!r} (reward) holds {rows.table[name].iloc[bad.argmax()]!r} at {rows.where(bad)}; "
                "rewards must be finite numbers, for example 1 and 0."
            )
        here = chosen if len(names) == 1 else made[:, None] & (np.arange(n_actions) == a)
        rows.rewards = np.where(here, numbers[:, None], rows.rewards)
        lacking = (chosen & here & np.isnan(rows.rewards)).any(1) & ~bad
        if lacking.any() and missing_reward == "error":
            problems.append(
                f"column {name!r} (reward) is empty for the chosen option at {rows.where(lacking)}; fill it in, or "
                'use missing_reward="skip": the choice is scored, its outcome updates nothing.'
            )
    others = rows.rewards[made[:, None] & ~chosen]
    others = others[~np.isnan(others)]
    if others.size and (others == -1).all() and not (rows.rewards[chosen] == -1).any():
        problems.append(
            f"columns {', '.join(map(repr, names))} (reward) hold -1 for every option not chosen and for no chosen "
            "one, which looks like a code for 'not observed'; leave these cells empty (NaN), or name the one column "
            "of the reward received."
        )
    return problems


def _read_input(rows: Rows, name: str) -> list[str]:
    """Fill ``rows.further[name]``, 0 where a missing trial lacks it; return the problems."""
    column, key, made = rows.table[name], str(name), rows.choice >= 0
    if is_offer(key) and column.dtype.kind == "b":  # as 1 and 0: codes of labels would depend on which of them occur
        column = column.astype("Int8")
    values, text = numbers_of(column)
    if is_offer(key) and (wrong := made & (text | ~np.isin(values, (0, 1)) & ~np.isnan(values))).any():
        return [
            f"column {name!r} (on offer) holds {plain(column.iloc[wrong.argmax()])!r} at {rows.where(wrong)}; it must "
            "be 1 where the option is on offer, and 0 where not."
        ]
    if (text & made).any() or column.dtype.kind in "bmM":
        mixed = made & ~np.isnan(values) & (column.dtype.kind not in "bmM")
        if mixed.any():
            return [
                f"column {name!r} (input) holds {column.iloc[(text & made).argmax()]!r} at {rows.where(text & made)} "
                "among numbers; use numbers throughout (empty where missing) or labels that are no numbers."
            ]
        codes, rows.labels[key] = code_of(column)
        values = np.where(codes < 0, np.nan, codes)
    unusable = ~(np.abs(values) <= np.finfo(np.float32).max)
    rows.further[key] = np.where(unusable, 0.0, values)
    bad = unusable & made
    if not bad.any():
        return []
    what = "is empty" if np.isnan(values[bad][0]) else "is infinite"
    return [f"column {name!r} (input) {what} at {rows.where(bad)}; fill it in, or leave these trials' choice empty."]


def _taken_for_granted(rows: Rows, rewards: list, trial: str | None, choices: Sequence[Any] | None) -> list[str]:
    notices = [] if choices is not None else _odd_choices(rows)
    if trial is None:
        notices.append(
            "no trial column was named: the rows of a session are taken in the order given. "
            "If the table numbers its trials, name that column with trial=..."
        )
    if len(rewards) > 1 and choices is None and any(isinstance(label, str) for label in rows.labels["choice"]):
        pairs = ", ".join(f"{c!r}: {r!r}" for c, r in zip(rows.labels["choice"], rewards, strict=True))
        notices.append(
            f"reward columns are taken in the sorted order of the choices ({pairs}). "
            "State the order with choices=[...]."
        )
    return notices


def _odd_choices(rows: Rows) -> list[str]:
    """Labels that may be no options: equal but for case or spaces, codes of missing choices, chosen next to never."""
    labels = rows.labels["choice"]
    plain_text = [" ".join(label.split()).casefold() if isinstance(label, str) else label for label in labels]
    alike = [label for label, text in zip(labels, plain_text, strict=True) if plain_text.count(text) > 1]
    counts = np.bincount(rows.choice[rows.choice >= 0], minlength=len(labels))
    rare = [label for label, count in zip(labels, counts, strict=True) if count <= RARELY * counts.sum()]
    kinds = {
        "look like codes of missing choices (leave such cells empty)": _codes_of_missing(labels),
        "differ in case or spaces only": alike,
    }
    kinds = kinds if any(kinds.values()) else {"are hardly ever chosen": rare}
    return [
        f"the choices {odd} {what}: each label counts as an option. State those that are meant with choices=[...]."
        for what, odd in kinds.items()
        if odd
    ]


def _codes_of_missing(labels: Sequence[Any]) -> list[Any]:
    """Labels such as -1 or 99 among others, if they do not go on with whole numbers that are labels, too."""
    codes = {str(label).removesuffix(".0"): label for label in labels}
    found = [name for name in MISSING_CODES if name in codes and len(labels) > 2]
    return [codes[name] for name in found if int(name) < 0 or str(int(name) - 1) not in codes]


def _assemble(rows: Rows, inputs: list, shown: list, roles: dict[str, str]) -> DatasetRNN:
    starts = np.searchsorted(rows.session, rows.session)
    at = (rows.session, rows.trial - rows.trial[starts])
    shape = (rows.session[-1] + 1, int(at[1].max()) + 1)
    made = rows.choice >= 0
    one_hot = np.where(made[:, None], rows.choice[:, None] == np.arange(rows.rewards.shape[1]), np.nan)
    head = np.full((*shape, 2 * one_hot.shape[1]), np.nan)
    head[at] = np.hstack([one_hot, rows.rewards])
    tail = {}
    for name in map(str, [*inputs, *shown]):
        tail[name] = np.zeros(shape)
        tail[name][at] = rows.further[name]
        if name in map(str, shown):
            tail[NEXT + name] = np.zeros(shape)
            tail[NEXT + name][:, :-1] = tail[name][:, 1:]
    tail["trial"] = np.full(shape, np.nan)
    tail["trial"][at] = rows.trial
    for name, codes in (("block", rows.block), ("participant", rows.participant)):
        if codes is not None:
            tail[name] = np.repeat(codes[np.unique(starts)][:, None], shape[1], axis=1)
    xs = np.dstack([head, *tail.values()])
    ys = np.full((*shape, one_hot.shape[1]), np.nan)
    ys[:, :-1] = xs[:, 1:, : one_hot.shape[1]]
    place = {name: i for i, name in enumerate(rows.table.columns)}
    roles = dict(sorted(roles.items(), key=lambda item: place[item[1]]))
    return DatasetRNN(xs, ys, list(tail), rows.labels, roles)

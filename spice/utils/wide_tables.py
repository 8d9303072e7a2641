"""Wide tables, trials x people with one file per variable: melted to a tidy table, then read as such."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spice.errors import ConfigError, DataError, join_problems
from spice.resources.arguments import in_words
from spice.resources.columns import META_COLUMNS
from spice.resources.dataset import DatasetRNN
from spice.resources.offers import is_offer
from spice.utils.cells import numbers_of, plain
from spice.utils.convert_dataset import convert_dataset
from spice.utils.tables import read_csv

TAKEN = {*META_COLUMNS, "choice", "reward"}


def from_wide_tables(
    *,
    actions: Any,
    rewards: Any,
    shown: Mapping[str, Any] | None = None,
    blocks: Any = None,
    participants: Sequence[Any] | None = None,
    choices: Sequence[Any] | None = None,
    header: bool | None = None,
    missing_reward: str = "error",
) -> DatasetRNN:
    """Turn tables of trials x people, one for each variable, into sessions of trials.

    Each table has one row per trial and one column per person. Empty cells, ``NA`` and ``NaN`` are missing; rows that
    are empty for a person at the end are no trials of theirs. Everything else is as in `convert_dataset`.

    Parameters
    ----------
    actions, rewards : str, path, pandas.DataFrame or array_like, shape (n_trials, n_people)
        Choices (any labels) and rewards received: names of CSV files, or tables. A column of row numbers without a
        name, as pandas writes one, is left out.
    shown : mapping of str to such a table, optional
        What each trial showed before its choice, by name: ``{"season": "seasons.csv", "alien": "aliens.csv"}``. Levels
        are whole numbers or text; they become codes 0, 1, ... in sorted order, and ``labels`` of the result keeps them
        (1, 2, 3 become 0, 1, 2). ``"available_0"``, ``"available_1"``, ... (1 or 0) say which options are on offer.
    blocks : such a table, optional
        Block of each trial; without it a person is one session.
    participants : sequence, optional
        Label of each person, in the order of columns. By default the first rows of the files, or the columns of
        tables; without any, 0, 1, 2, ...
    choices : sequence, optional
        All choice labels in the order wanted, also of options nobody chose.
    header : bool, optional
        Whether the first row of every file names the people. By default this is seen from the files where it can be:
        text above numbers, or the same different numbers in all of them.
    missing_reward : {"error", "skip"}
        As in `convert_dataset`.

    Returns
    -------
    DatasetRNN
        As of `convert_dataset`, with each shown input as a pair ``name`` and ``next_name``; ``trial`` is the number of
        the table's row, counted from 0 below the header.

    Raises
    ------
    ConfigError
        If an argument is no table, or the files do not show whether they have a header.
    DataError
        If tables differ in shape or people, or cells cannot be used; problems are named with file, person and trial.
    """
    sources = {"choice": actions, "reward": rewards, **_check_shown(shown)}
    if blocks is not None:
        sources["block"] = blocks
    names = {name: _describe(name, source) for name, source in sources.items()}
    tables = {name: _read(source, names[name]) for name, source in sources.items()}
    files = {name for name, source in sources.items() if isinstance(source, (str, os.PathLike))}
    _take_headers(tables, files, names, header)
    people = _align(tables, names, participants)
    table = _melt(tables, people)
    labels, problems = _code_levels(table, list(shown or ()), names)
    problems += _negative_actions(table, names) if choices is None else []
    if problems:
        raise DataError(join_problems("the tables cannot be used", problems))
    roles = {"participant": "participant", "choice": "choice", "reward": "reward", "trial": "trial"}
    roles |= {"block": "block"} if blocks is not None else {}
    try:
        data = convert_dataset(table, **roles, shown=list(shown or ()), choices=choices, missing_reward=missing_reward)
    except DataError as error:
        meant = ", ".join(f"{name!r} is {names[name]}" for name in names if repr(name) in str(error))
        raise DataError(f"{error} ({meant})" if meant else str(error)) from None
    return DatasetRNN(data.xs, data.ys, data.columns.names, data.labels | labels, data.table_columns)


def _check_shown(shown: Any) -> dict[str, Any]:
    if shown is None:
        return {}
    if not isinstance(shown, Mapping):
        raise ConfigError(f"shown must be tables by name, e.g. {{'season': 'seasons.csv'}}, not {in_words(shown)}.")
    wrong = [name for name in shown if not isinstance(name, str) or name in TAKEN]
    if wrong:
        raise ConfigError(
            f"{', '.join(map(repr, wrong))} cannot name a shown input: names are text, and {', '.join(sorted(TAKEN))} "
            "have columns already."
        )
    return dict(shown)


def _describe(name: str, source: Any) -> str:
    """What errors call a table: the file, or the argument."""
    if isinstance(source, (str, os.PathLike)):
        return os.path.basename(os.fspath(source))
    return {"choice": "actions", "reward": "rewards", "block": "blocks"}.get(name, f"shown[{name!r}]")


def _read(source: Any, name: str) -> pd.DataFrame:
    """A table as it is; a file as text, its first row included."""
    if isinstance(source, (str, os.PathLike)):
        table = read_csv(source, header=None, dtype=str)
        if table.shape[1] == 1:  # an empty line is a missing cell of the only person
            table = read_csv(source, header=None, dtype=str, skip_blank_lines=False)
        return table
    if isinstance(source, pd.DataFrame) and source.size:
        return source
    try:
        values = np.asarray(source)
    except ValueError:
        values = np.empty(0)
    if values.ndim != 2 or not values.size:
        raise ConfigError(
            f"{name} must be the name of a CSV file, a DataFrame, or an array of trials x people, not "
            f"{f'an array of shape {values.shape}' if hasattr(source, 'ndim') else in_words(source)}."
        )
    return pd.DataFrame(values)


# ---------------------------------------------------------------- who the columns are


def _take_headers(tables: dict[str, pd.DataFrame], files: set[str], names: dict[str, str], header: bool | None) -> None:
    """Make the first row of every file the names of its columns, if it is one; drop columns of row numbers."""
    if header is None:
        header = _has_header({name: tables[name] for name in tables if name in files})
    for name in files if header else ():
        first, table = tables[name].iloc[0], tables[name].iloc[1:].reset_index(drop=True)
        if not len(table):
            raise DataError(f"{names[name]} has no rows below its header.")
        table.columns = pd.Index([_person(label) for label in first], dtype=object)
        tables[name] = table
    for name, table in tables.items():
        if table.columns[0] is None or re.fullmatch(r"Unnamed: 0(_level_0)?", str(table.columns[0])):
            numbers, _ = numbers_of(table.iloc[:, 0])
            counted = np.arange(len(table))
            if (numbers == counted).all() or (numbers == counted + 1).all():
                tables[name] = table.iloc[:, 1:]


def _has_header(tables: Mapping[str, pd.DataFrame]) -> bool:
    """Whether the first rows of files name people; asks for ``header`` where they may or may not."""
    cut = [table.iloc[:, int(pd.isna(table.iloc[0, 0])) :] for table in tables.values()]  # without row numbers
    firsts = [tuple(table.iloc[0]) for table in cut]
    same = len(firsts) > 1 and len(set(firsts)) == 1
    for table in cut:
        _, text = numbers_of(table.iloc[0])
        below = [numbers_of(table.iloc[1:, column])[1].any() for column in np.flatnonzero(text)]
        if below and not any(below) and (same or text.all()):
            return True
    if not same or len(set(firsts[0])) < len(firsts[0]) or any(pd.isna(label) for label in firsts[0]):
        return False
    if all(set(firsts[0]) <= set(map(str, table.iloc[1:].to_numpy().ravel())) for table in cut):
        raise ConfigError(
            f"the first row of all files is {', '.join(firsts[0])}, which may be names of people or the first trial; "
            "say which: header=True or header=False."
        )
    return True


def _person(label: Any) -> Any:
    """A name in a header; digits are a number, unless they start with 0."""
    if pd.isna(label) or not str(label).strip():
        return None
    text = str(label).strip()
    return int(text) if re.fullmatch(r"0|[1-9]\d{0,14}", text) else text


def _align(tables: dict[str, pd.DataFrame], names: dict[str, str], participants: Any) -> list[Any]:
    """Bring the columns of all tables into one order; returns the label of each."""
    shapes = [f"{names[name]} has {len(table)} x {table.shape[1]}" for name, table in tables.items()]
    if len({table.shape for table in tables.values()}) > 1:
        raise DataError(
            f"the tables differ in their number of trials x people: {', '.join(shapes)}; each needs one row per trial "
            "and one column per person (is there a header in some only? then say header=True or header=False)."
        )
    labels = {name: list(map(plain, table.columns)) for name, table in tables.items() if _names_people(table)}
    problems = [
        f"{names[name]} {'names ' + repr(label) + ' twice' if label is not None else 'has a column without a name'}."
        for name, found in labels.items()
        for label in dict.fromkeys(found)
        if found.count(label) > 1 or label is None
    ]
    known = next(iter(labels.values()), list(range(next(iter(tables.values())).shape[1])))
    for name, found in labels.items():
        if set(found) != set(known):
            lacking = [repr(label) for label in known if label not in found]
            problems.append(f"{names[name]} lacks {', '.join(lacking[:5])}, whom {names[next(iter(labels))]} has.")
    if problems:
        raise DataError(join_problems("the people of the tables do not fit together", problems))
    for name, found in labels.items():
        tables[name] = tables[name].iloc[:, [found.index(label) for label in known]]
    if participants is None:
        return known
    if isinstance(participants, (str, Mapping)) or not isinstance(participants, Iterable):
        raise ConfigError(f"participants must be a list of labels, not {in_words(participants)}.")
    given = [plain(label) for label in participants]
    if len(given) != len(known) or len(set(given)) < len(given):
        raise ConfigError(f"participants must be {len(known)} different labels, one per column, not {given}.")
    return given


def _names_people(table: pd.DataFrame) -> bool:
    return not isinstance(table.columns, pd.RangeIndex) and table.columns.dtype.kind in "OUiuT"


# ---------------------------------------------------------------- what the cells hold


def _melt(tables: Mapping[str, pd.DataFrame], people: list[Any]) -> pd.DataFrame:
    """One row per person and trial, without those after a person's last one; a person without any keeps one row."""
    n_trials, n_people = next(iter(tables.values())).shape
    tidy = pd.DataFrame({"participant": np.repeat(np.array(people, dtype=object), n_trials)})
    tidy["trial"] = np.tile(np.arange(n_trials), n_people)
    known = np.zeros(len(tidy), dtype=bool)
    for name, table in tables.items():
        column = pd.Series(table.to_numpy(dtype=object).T.ravel(), name=name)
        numbers, text = numbers_of(column)
        tidy[name] = column if text.any() else numbers
        known |= text | ~np.isnan(numbers)
    last = np.where(known, tidy["trial"], 0).reshape(n_people, n_trials).max(axis=1)
    return tidy[tidy["trial"] <= np.repeat(last, n_trials)].reset_index(drop=True)


def _code_levels(
    table: pd.DataFrame, shown: Sequence[str], names: Mapping[str, str]
) -> tuple[dict[str, tuple], list[str]]:
    """Replace whole numbers in the columns of shown inputs by codes; returns their labels, and the problems."""
    labels, problems = {}, []
    for name in shown:
        numbers, text = numbers_of(table[name])
        if is_offer(name) or text.any():  # read and coded as in any tidy table
            continue
        wrong = ~np.isnan(numbers) & (numbers != np.round(numbers))
        if wrong.any():
            problems.append(
                f"{names[name]} ({name!r}) holds {numbers[wrong][0]:g} {_place(table, wrong)}; levels of what is shown "
                "must be whole numbers or text."
            )
            continue
        levels, codes = np.unique(numbers, return_inverse=True)  # NaN, if any, is the last
        table[name] = np.where(np.isnan(numbers), np.nan, codes)
        labels[name] = tuple(int(level) for level in levels if not np.isnan(level))
    return labels, problems


def _negative_actions(table: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    numbers, _ = numbers_of(table["choice"])
    if not (numbers < 0).any() or not (numbers >= 0).any():
        return []
    return [
        f"{names['choice']} holds {numbers[numbers < 0][0]:g} {_place(table, numbers < 0)}, which looks like a code "
        "for a missing choice; leave such cells empty, or state the options that are meant with choices=[...]."
    ]


def _place(table: pd.DataFrame, wrong: np.ndarray) -> str:
    first = table.iloc[int(wrong.argmax())]
    more = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
    return f"for participant {first['participant']!r} at trial {first['trial']}{more}"

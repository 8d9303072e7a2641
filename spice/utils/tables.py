"""Reading a table, and what can be wrong with it as a whole."""

import difflib
import os
import re
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from spice.errors import ConfigError, DataError, join_problems
from spice.resources.arguments import in_words, plain_scalar
from spice.resources.columns import META_COLUMNS, NEXT

MISSING_TEXT = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")

ONE_PERSON = "If all trials are one person's, add such a column: table['participant'] = 1."


def as_list(names: Any) -> list:
    """Names of columns, given as one or several."""
    if names is None:
        return []
    is_one = isinstance(names, (str, bytes, Mapping, set, frozenset)) or not isinstance(names, Iterable)
    if is_one or getattr(names, "ndim", 1) == 0:
        return [plain_scalar(names)]
    return [plain_scalar(name) for name in names]


def names_needed(table: Any, participant: Any, choice: Any, rewards: Sequence[Any]) -> str:
    """Which columns that every table must have were not named, and what columns there are."""
    named = {"participant": participant is not None, "choice": choice is not None}
    named["reward"] = bool(rewards) and all(name is not None for name in rewards)
    lacking = [f"{role}=..." for role, there in named.items() if not there]
    columns = ", ".join(repr(str(name)) for name in read_table(table, []).columns)
    text = f"the columns of participants, choices and rewards must be named: give {' and '.join(lacking)}; the columns "
    return f"{text}are {columns}." + ("" if named["participant"] else f" {ONE_PERSON}")


def check_arguments(roles: Mapping[str, Any], further: Sequence[Any], choices: Any, missing_reward: Any) -> None:
    """Check what `convert_dataset` was given beside the table.

    Parameters
    ----------
    roles : mapping of str to object
        Names of columns by role.
    further : sequence
        Names of the columns of inputs.
    choices, missing_reward
        As they were given.

    Raises
    ------
    ConfigError
        If something cannot be used; all problems are listed.
    """
    problems = [
        f"{role} must be the name of a column, not {in_words(name)}."
        for role, name in [*roles.items(), *(("an input", name) for name in further)]
        if not _is_name(name)
    ]
    if choices is not None and (isinstance(choices, (str, Mapping)) or not isinstance(choices, Iterable)):
        problems.append(f"choices must be a list of labels, e.g. ['left', 'right'], not {in_words(choices)}.")
    if problems:
        raise ConfigError(join_problems("the arguments do not fit", problems))
    every = [*roles.values(), *further]
    if missing_reward not in ("error", "skip"):
        problems.append(f"missing_reward must be 'error' or 'skip', not {missing_reward!r}.")
    problems += [
        f"column {name!r} is named more than once; each column has one role."
        for name in dict.fromkeys(every)
        if every.count(name) > 1
    ]
    reserved = {*META_COLUMNS, "choice", "reward"}
    problems += [
        f"{name!r} cannot be the name of an input, because xs uses it itself; rename the column."
        for name in map(str, further)
        if name in reserved or (name.startswith(NEXT) and name.removeprefix(NEXT) in map(str, further))
    ]
    if problems:
        raise ConfigError(join_problems("the arguments do not fit", problems))


def _is_name(name: Any) -> bool:
    return isinstance(name, Hashable) and not isinstance(name, frozenset)


def read_table(table: Any, label_columns: list[str]) -> pd.DataFrame:
    """Take a DataFrame or read a CSV file; identifiers such as ``007`` stay text.

    Raises
    ------
    ConfigError
        If it is neither.
    FileNotFoundError
        If there is no such file.
    DataError
        If the file holds no table.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, (str, os.PathLike)):
        raise ConfigError(f"table must be a DataFrame or the path of a CSV file, not {type(table).__name__}.")
    table = read_csv(table, dtype=dict.fromkeys(label_columns, str))
    for column in table.columns.intersection(label_columns):
        if not table[column].str.match(r"0\d|.{16,}").any():  # numbers, as far as no digit is lost by that
            numbers = pd.to_numeric(table[column], errors="coerce")
            table[column] = numbers if numbers.notna().equals(table[column].notna()) else table[column]
    return table


def read_csv(path: Any, **options: Any) -> pd.DataFrame:
    """Read a CSV file, ``options`` as pandas takes them; what is wrong with the file as errors of this package.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If the file holds no table.
    """
    name = os.fspath(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            missing = {"keep_default_na": False, "na_values": list(MISSING_TEXT)}
            table = pd.read_csv(path, index_col=False, **missing, **options)  # else the first column may be names
    except pd.errors.ParserWarning:
        header = pd.read_csv(path, index_col=False, nrows=0)
        _check_separator(name, list(map(str, header.columns)))
        raise DataError(
            f"the rows of {name!r} have more fields than its header: is there a decimal comma? Correct the file, or "
            "give a DataFrame, e.g. pandas.read_csv(..., index_col=0) where the first field is a row's name."
        ) from None
    except pd.errors.EmptyDataError:
        raise DataError(f"the file {name!r} is empty.") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {name!r}; the folder is {os.getcwd()!r}.") from None
    except IsADirectoryError:
        raise DataError(f"{name!r} is a folder; give the CSV file in it.") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"the file {name!r} cannot be read as a table ({reason}); save it as comma-separated text in UTF-8, or "
            "give a DataFrame, e.g. pandas.read_excel(...)."
        ) from None
    _check_separator(name, list(map(str, table.columns if options.get("header", 0) == 0 else table.iloc[0])))
    return table


def _check_separator(name: str, header: list[str]) -> None:
    if len(header) == 1 and len(parts := re.split(r"[;\t]", header[0])) > 1:
        raise DataError(
            f"the file {name!r} does not separate its columns by commas; give a DataFrame, e.g. "
            f"pandas.read_csv({name!r}, sep={header[0][len(parts[0])]!r})."
        )


def check_names(table: pd.DataFrame, roles: Mapping[str, str], further: Sequence[Any]) -> None:
    """Check that the table has every column that was named, and rows.

    Raises
    ------
    ConfigError, DataError
        If it has not.
    """
    problems = []
    names = list(map(str, table.columns))
    for role, name in roles.items():
        count = list(table.columns).count(name)
        if count == 0:
            close = difflib.get_close_matches(str(name), names, n=3)
            lowered = [other for other in names if other.lower() == str(name).lower()]
            hint = " or ".join(map(repr, lowered or close))
            hint = f"did you mean {hint}?" if hint else f"the columns are {', '.join(map(repr, names))}."
            what = "input" if name in further else role
            alone = f" {ONE_PERSON}" if role == "participant" and not (lowered or close) else ""
            problems.append(f"there is no column {name!r} ({what}); {hint}{alone}")
        elif count > 1:
            problems.append(f"there are {count} columns {name!r}; give each its own name.")
    if problems:
        raise ConfigError(join_problems("the table lacks columns", problems))
    if len(table) == 0:
        raise DataError("the table has no rows.")

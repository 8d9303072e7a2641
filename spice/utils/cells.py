"""Cells of a table as numbers and as codes with labels."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spice.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def numbers_of(column: "pd.Series") -> tuple[np.ndarray, np.ndarray]:
    """Read a column as numbers.

    Parameters
    ----------
    column : pandas.Series
        Any column.

    Returns
    -------
    numbers : ndarray of float, shape (n_rows,)
        NaN where the cell is empty or no number.
    text : ndarray of bool, shape (n_rows,)
        Where the cell holds something that is no number.
    """
    import pandas as pd

    if column.dtype.kind in "mMc":  # dates, durations and complex numbers
        return np.full(len(column), np.nan), ~_missing(column)
    column = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return numbers, np.isnan(numbers) & ~_missing(column)


def code_of(column: "pd.Series") -> tuple[np.ndarray, tuple]:
    """Replace the labels of a column by codes.

    Parameters
    ----------
    column : pandas.Series
        Any labels; whole numbers count as integers even where pandas made them floats.

    Returns
    -------
    codes : ndarray of int, shape (n_rows,)
        -1 where the cell is empty.
    labels : tuple
        Label of each code in sorted order; numbers sort as numbers.

    Raises
    ------
    DataError
        If cells hold what is no label, e.g. lists.
    """
    import pandas as pd

    values = column.astype(object).to_numpy(copy=True)
    values[_missing(column)] = None
    try:
        codes, found = pd.factorize(values)
    except TypeError:
        raise DataError(f"column {column.name!r} holds lists or the like; labels must be text or numbers.") from None
    found = [plain(label) for label in found]
    try:
        labels = sorted(found)
    except TypeError:  # numbers beside text
        labels = sorted(found, key=str)
    rank = {label: code for code, label in enumerate(labels)}
    return np.array([*(rank[label] for label in found), -1])[codes], tuple(labels)


def plain(label: Any) -> Any:
    """Python's own value of a label; a whole number is an integer."""
    label = label.item() if isinstance(label, np.generic) else label
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _missing(column: "pd.Series") -> np.ndarray:
    missing = column.isna().to_numpy()
    if column.dtype.kind == "O":
        missing = missing | (column.astype(object).map(str).str.strip() == "").to_numpy()
    return missing

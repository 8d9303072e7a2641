"""What arguments may be, and how errors show what was given instead."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from spice.errors import DataError


def plain_scalar(value: Any) -> Any:
    """What a scalar of NumPy or torch holds (also an array without axes), as Python's own; all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def is_whole(value: Any, least: int | None = None) -> bool:
    """Whether a value is a whole number (2.0 too; True and False are none), from ``least`` on: take its ``int``."""
    value = plain_scalar(value)
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and (least is None or value >= least)


def is_number(value: Any, least: float = -np.inf, most: float = np.inf) -> bool:
    """Whether a value is one finite number (not True or False), from ``least`` to ``most``: take its ``float``."""
    value = plain_scalar(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return bool(np.isfinite(float(value)) and least <= float(value) <= most)


def is_flag(value: Any) -> bool:
    """Whether a value is True or False, be it Python's, NumPy's, or written as 1 or 0: take its ``bool``."""
    value = plain_scalar(value)
    return isinstance(value, Real) and value in (0, 1)


def in_words(value: Any) -> str:
    """A value as errors show it: what is no short text by its kind."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    is_short = len(text) <= 60 and " at 0x" not in text and "\n" not in text
    return text if is_short else f"an object of {type(value).__name__}"


def as_numbers(value: Any, name: str) -> np.ndarray:
    """A value as an array of float64.

    Raises
    ------
    DataError
        If it holds anything but numbers.
    """
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers in a regular array, not {in_words(value)}.") from None

"""What arguments may be, and how errors show what was given instead."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from spice.errors import DataError


def is_whole(value: Any, least: int | None = None) -> bool:
    """Whether a value is a whole number (True and False are none), from ``least`` on."""
    is_int = isinstance(value, Integral) and not isinstance(value, bool)
    return is_int and (least is None or value >= least)


def is_number(value: Any, least: float = -np.inf, most: float = np.inf) -> bool:
    """Whether a value is one finite number (True and False are none), from ``least`` to ``most``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return bool(np.isfinite(float(value)) and least <= float(value) <= most)


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

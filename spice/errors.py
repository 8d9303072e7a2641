"""Exceptions and warnings of the package: every problem a user can cause has one of these names."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class SpiceError(Exception):
    """Base of all errors raised by the package itself."""


class DataError(SpiceError, ValueError):
    """The choice data cannot be used as given."""


class ConfigError(SpiceError, ValueError):
    """A model, a configuration or a constructor argument does not fit."""


class NoSuchNameError(ConfigError, KeyError):
    """There is no entry of this name; what looks names up may catch it as a KeyError."""

    __str__ = Exception.__str__  # that of KeyError shows a message in quotes


class FileError(SpiceError, ValueError):
    """A saved file is damaged, hostile, or belongs to another model."""


class ModuleOutputError(SpiceError, FloatingPointError):
    """A module returned NaN or infinite values."""


class ModelFormError(SpiceError, ValueError):
    """A model cannot be written as polynomials of its states: stage 3 falls back or stays out."""


class SpiceWarning(UserWarning):
    """Base of all warnings issued by the package."""


class ConvergenceWarning(SpiceWarning):
    """A fit ended before its convergence criterion was met."""


class StabilityWarning(SpiceWarning):
    """A discovered equation grows without bound over a session."""


class IdentificationWarning(SpiceWarning):
    """The data say nothing about some number of a model."""


class FidelityWarning(SpiceWarning):
    """Equations predict the data worse than the network they were distilled from."""


class LibraryWarning(SpiceWarning):
    """Candidate terms that the data cannot tell apart were merged or dropped."""


def join_problems(title: str, problems: Iterable[str]) -> str:
    """Format several problems as one message: the only one on one line, several as a list.

    Parameters
    ----------
    title : str
        What is wrong, e.g. ``"The data cannot be used"``.
    problems : iterable of str
        One sentence per problem, each naming place and usual fix.

    Returns
    -------
    str
        The message.
    """
    problems = list(problems)
    if len(problems) == 1:
        return f"{title}: {problems[0]}"
    return "\n".join([f"{title}:", *(f"  - {problem}" for problem in problems)])


def first_of(entries: Sequence[Any], most: int = 5) -> str:
    """The first few entries as text, and how many more there are."""
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(map(str, entries[:most])) + more


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A suggestion for a misspelt name, or nothing."""
    close = difflib.get_close_matches(str(name), [str(entry) for entry in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

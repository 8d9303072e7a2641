"""What agents of models are given: parameters of participants, and levels of what is shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spice.equations.model_parts import Parameter
from spice.errors import ConfigError

ROUNDING = 1e-6  # of values that were kept as 4-byte numbers


def read_values(parameters: Mapping[str, Parameter], values: Any) -> np.ndarray:
    """Parameters of participants, shape (n_participants, n_parameters).

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Those of the model.
    values : mapping of str to float or array_like of shape (n_participants,), or pandas.DataFrame
        Theirs, the same for everybody or one for each participant.

    Raises
    ------
    ConfigError
        If there are not exactly the parameters, or they are no finite numbers of one length, within their bounds.
    """
    names = list(parameters)
    lacking = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if lacking or unknown:
        parts = [f"{what} {', '.join(map(repr, n))}" for what, n in (("lack", lacking), ("have", unknown)) if n]
        raise ConfigError(f"values {' and '.join(parts)}; the parameters of the model are {', '.join(names)}.")
    try:
        columns = np.broadcast_arrays(*(np.asarray(values[name], float) for name in names))
        table = np.stack([np.atleast_1d(column) for column in columns], axis=-1) if columns else np.zeros((1, 0))
    except ValueError:
        raise ConfigError("values must be numbers, one for all participants or one for each.") from None
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ConfigError("values must be finite numbers, one for all participants or one for each.")
    if not len(table):
        raise ConfigError("values are of no participant.")
    for name, parameter, column in zip(names, parameters.values(), table.T, strict=True):
        low = -np.inf if parameter.low is None else parameter.low
        high = np.inf if parameter.high is None else parameter.high
        outside = (column < low - ROUNDING) | (column > high + ROUNDING)
        if outside.any():
            raise ConfigError(f"{name} is {column[outside][0]:.4g}, but must lie between {low:g} and {high:g}.")
    return np.ascontiguousarray(table)


def check_level(name: str, value: np.ndarray, n_levels: int, used: np.ndarray) -> None:
    """Check that what is shown is one of the levels, where it is used.

    Raises
    ------
    ConfigError
        If it is not.
    """
    wrong = used & ~np.isin(value, np.arange(n_levels))
    if wrong.any():
        raise ConfigError(f"{name!r} must be a level from 0 to {n_levels - 1}, not {value[wrong][0]:g}.")

"""Which options are on offer: the shown columns ``available_0`` ... ``available_{n_actions - 1}``, 1 where one is."""

import re
from collections.abc import Mapping

import numpy as np

from spice.errors import DataError
from spice.resources.columns import NEXT

AVAILABLE = "available_"


def offer_names(n_actions: int) -> tuple[str, ...]:
    """Names of the columns that say which options are on offer."""
    return tuple(f"{AVAILABLE}{option}" for option in range(n_actions))


def is_offer(name: str) -> bool:
    """Whether a column says if an option is on offer, in this trial or in the coming one."""
    return re.fullmatch(rf"({NEXT})?{AVAILABLE}\d+", name) is not None


def coming_offer(inputs: Mapping[str, np.ndarray], n_actions: int) -> np.ndarray | None:
    """Options on offer in the coming trial.

    Parameters
    ----------
    inputs : mapping of str to numpy.ndarray, each (n_sessions,)
        Inputs of a trial, ``next_available_0`` ... among them.
    n_actions : int
        Number of options.

    Returns
    -------
    numpy.ndarray of bool, shape (n_sessions, n_actions), or None
        None where the inputs do not say: every option is. All of them are, too, where none is: after the last trial
        of a session, where columns hold 0.

    Raises
    ------
    DataError
        If the inputs speak of some options, but not of all.
    """
    names = [NEXT + name for name in offer_names(n_actions)]
    lacking = [name for name in names if name not in inputs]
    if len(lacking) == n_actions:
        return None
    if lacking:
        raise DataError(
            f"there is no {', '.join(map(repr, lacking))}: what is on offer needs one column for each of the "
            f"{n_actions} options, 1 where it is on offer and 0 where not."
        )
    offered = np.stack([inputs[name] for name in names], axis=1) > 0
    return offered | ~offered.any(axis=1, keepdims=True)

"""The units in which the search measures inputs, so that its numbers are in logit units whatever was paid out.

Outcomes are measured from the worst one in units of their range: between 0 and 1, and where there are two, 0 and 1. The
start of a value that learns is estimated and moves along, so that no model changes but the one that adds up outcomes
and forgets nothing: it adds up what they are better than the worst.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from spice.inference.library import Library

Value = TypeVar("Value", float, np.ndarray)


@dataclass(frozen=True)
class Unit:
    """An input s is measured as (s - offset) / size.

    Attributes
    ----------
    offset, size : float
        In the input's own units.
    """

    offset: float = 0.0
    size: float = 1.0

    def undo(self, measured: Value) -> Value:
        """The input, or several of them, in its own units."""
        return self.offset + self.size * measured


def find_units(library: Library, modules: np.ndarray, signals: Mapping[str, np.ndarray]) -> dict[str, Unit]:
    """Units of all signals for one participant: what others met changes nobody's numbers.

    Parameters
    ----------
    library : Library
        Candidate terms.
    modules : np.ndarray of int, shape (n_trials, n_states, n_actions)
        Which module updates what in the participant's trials; -1 for none.
    signals : mapping of str to np.ndarray, shape (n_trials, n_actions)
        By signal, its values wherever a module reads it, else NaN.

    Returns
    -------
    dict of str to Unit
        Outcomes of chosen and of other options that change the same state have the same; other signals are divided by
        their largest size.
    """
    units = {name: Unit(size=_largest(values)) for name, values in signals.items()}
    measured: dict[str, Unit] = {}
    for state in range(len(library.states)):
        of_state = [m for m, module in enumerate(library.modules) if module.state == state and library.outcome[m] >= 0]
        names = [library.outcome_signal(m) for m in of_state]
        met = {name: signals[name][modules[:, state] == m] for m, name in zip(of_state, names, strict=True)}
        shown = [name for name, values in met.items() if np.abs(values).max(initial=0.0) > 0]  # others are 0 if never
        if shown:
            linked = {names[0], *shown}
            known = (measured[name] for name in linked if name in measured)
            unit = next(known, None) or _range(np.concatenate([met[name] for name in linked]))
            measured |= dict.fromkeys(linked, unit)
    return units | measured


def _range(values: np.ndarray) -> Unit:
    if not len(values) or np.ptp(values) == 0:  # nothing to measure from
        return Unit(size=_largest(values))
    return Unit(float(values.min()), float(np.ptp(values)))


def _largest(values: np.ndarray) -> float:
    """Largest size; 1 for what is always 0."""
    return float(np.nanmax(np.abs(values), initial=0.0)) or 1.0

"""Session bootstrap: whole sessions drawn with replacement, a structure's numbers estimated anew from each draw."""

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

from spice.inference.data import Trials
from spice.inference.refit import ROUGHLY, Fits, Refit
from spice.inference.uncertainty import Estimate

Name = TypeVar("Name", bound=Hashable)

DRAWS = 500
ENDS = (2.5, 97.5)  # percentiles
LOST = 0.05  # share of draws that do not have a quantity (a value that stays has no learning rate): more, no interval


def resampled(
    trials: Trials, group: int, n_draws: int, generator: np.random.Generator
) -> tuple[Trials, np.ndarray, np.ndarray]:
    """Draws of one participant's sessions, as groups over the same trials: none is copied.

    Parameters
    ----------
    trials : Trials
        The trials of all participants.
    group : int
        The participant; of one with a single session all draws are alike.
    n_draws : int
        Number of draws.
    generator : np.random.Generator
        Where draws come from.

    Returns
    -------
    trials : Trials
        The same trials, with other sessions and groups.
    groups : np.ndarray of int, shape (n_draws,)
        The group of each draw; those between them mean nothing.
    drawn : np.ndarray of int, shape (n_draws, n_sessions)
        The sessions of each draw, from the last to the first.
    """
    first, last = trials.groups[group], trials.groups[group + 1]
    drawn = np.sort(generator.integers(first, last, (n_draws, int(last - first))), axis=1)[:, ::-1]
    return *trials.regrouped(list(drawn)), drawn


def bootstrap_intervals(
    refit: Refit,
    trials: Trials,
    fit: Fits,
    function: Callable[[np.ndarray], Mapping[Name, float]],
    generator: np.random.Generator,
    n_draws: int = DRAWS,
) -> dict[Name, Estimate]:
    """Estimates, with bootstrap standard errors and 95 % percentile intervals, of what follows from a fit's numbers.

    The structure stays as it is; all draws are fitted at once, from the estimates on.

    Parameters
    ----------
    refit : Refit
        Fits rows.
    trials : Trials
        The trials that it fits.
    fit : Fits
        One row, fitted.
    function : callable
        Numbers, shape (n_numbers,), to quantities by name.
    generator : np.random.Generator
        Where draws come from.
    n_draws : int
        Number of draws.

    Returns
    -------
    dict of object to Estimate
        NaN for what more than one draw in twenty does not have.
    """
    participant = int(fit.group[0])
    redrawn, groups, _ = resampled(trials, participant, n_draws, generator)
    again = refit.on(redrawn, np.full(redrawn.n_groups, participant))
    fits = again(fit.rows[[0] * n_draws], groups, np.tile(fit.numbers, (n_draws, 1)), ROUGHLY)
    readings = [function(numbers) for numbers in fits.numbers]
    found = {}
    for name, value in function(fit.numbers[0]).items():
        values = np.array([reading[name] for reading in readings if name in reading])
        if len(values) < (1 - LOST) * n_draws:
            found[name] = Estimate(float(value), np.nan, np.nan, np.nan)
        else:
            low, high = np.percentile(values, ENDS)
            found[name] = Estimate(float(value), float(values.std(ddof=1)), float(low), float(high))
    return found

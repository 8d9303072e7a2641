"""Whether a model's probabilities are probabilities."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from spice.equations.evaluate import run_symbolic
from spice.equations.model_parts import Parameter
from spice.equations.reading import ModelTrials, read_trials
from spice.equations.symbolic import SymbolicModel
from spice.errors import ConfigError
from spice.resources.dataset import DatasetRNN

SESSIONS = 3  # that are tried in any case
LEVELS = 20  # of a column, at most: numbers of all sizes are tried in the first sessions alone
TOLERANCE = 1e-5  # data are of single precision
PLACES = (0.2, 0.5, 0.8)  # of parameters within their bounds


def check_normalised(model: SymbolicModel, dataset: DatasetRNN) -> None:
    """Check that probabilities of options on offer lie in [0, 1] and add up to 1, for some parameters.

    Tried are some sessions, and those in which something is first seen that probabilities may depend on: conditions,
    levels of inputs, and what is on offer.

    Raises
    ------
    ConfigError
        If they do not; it names the trial and the parameters.
    """
    if model.probabilities is None:
        return
    trials = read_trials(model, dataset)
    sessions = _telling_sessions(trials)
    some, offered = dataset[sessions], trials.offered[sessions]
    scored = some.scored.numpy()
    for shift in range(len(PLACES)):
        places = [PLACES[(shift + k) % len(PLACES)] for k in range(len(model.parameters))]
        values = {n: _inside(p, place) for (n, p), place in zip(model.parameters.items(), places, strict=True)}
        found = run_symbolic(model, some, values)
        known = scored & ~np.isnan(found).all(-1)  # where there is no value at all, the likelihood says so
        found = np.where(offered, found, 0.0)
        wrong = known & unlike_probabilities(found)
        if wrong.any():
            session, trial = np.argwhere(wrong)[0]
            when = f"after {dataset.place(sessions[session], int(trial))}"
            raise ConfigError(told(found[session, trial], when, values))


def unlike_probabilities(found: np.ndarray) -> np.ndarray:
    """Where numbers, (..., n_actions), are no probabilities."""
    with np.errstate(invalid="ignore"):  # of infinite ones
        inside, total = (found >= -TOLERANCE) & (found <= 1 + TOLERANCE), found.sum(-1)
        return ~inside.all(-1) | (np.abs(total - 1) > TOLERANCE)


def told(found: np.ndarray, when: str, values: Mapping[str, float]) -> str:
    """What is wrong with probabilities of shape (n_actions,) at values of the parameters, and what to do."""
    given = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
    return (
        f"the probabilities {when} are {', '.join(f'{p:.4g}' for p in found)}, which add up to {found.sum():.4g} (with "
        f"{given}): they must lie between 0 and 1 and add up to 1. softmax(...) makes such probabilities of logits; a "
        "lapse rate needs its bounds, Parameter(low=0, high=1)."
    )


def _telling_sessions(trials: ModelTrials) -> list[int]:
    """The first ones, and those in which conditions, levels or offers differ from all trials before."""
    n_sessions, n_trials = trials.kind.shape
    columns = [trials.kind, *np.moveaxis(trials.offered, -1, 0), *np.moveaxis(trials.inputs, -1, 0)]
    varying = [column.ravel() for column in columns if (column != column.ravel()[:1]).any()]
    table = pd.DataFrame(dict(enumerate(varying)), index=range(trials.kind.size))
    levels = [k for k in table if table[k].nunique() <= LEVELS]
    new = ~table[levels].duplicated().to_numpy() if levels else np.zeros(len(table), bool)
    telling = np.flatnonzero(new.reshape(n_sessions, n_trials).any(1))
    return sorted({*range(min(SESSIONS, n_sessions)), *telling.tolist()})


def _inside(parameter: Parameter, place: float) -> float:
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    if math.isfinite(low) and math.isfinite(high):
        return low + place * (high - low)
    if math.isfinite(low):
        return low + 3 * place
    return high - 3 * place if math.isfinite(high) else 4 * place - 2

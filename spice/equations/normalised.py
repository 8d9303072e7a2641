"""Whether a model's probabilities are probabilities."""

import math

import numpy as np

from spice.equations.evaluate import run_symbolic
from spice.equations.model_parts import Parameter
from spice.equations.reading import read_trials
from spice.equations.symbolic import SymbolicModel
from spice.errors import ConfigError
from spice.resources.dataset import DatasetRNN

SESSIONS, TRIALS = 3, 50  # of the data that are tried
TOLERANCE = 1e-8
PLACES = (0.2, 0.5, 0.8)  # of parameters within their bounds


def check_normalised(model: SymbolicModel, dataset: DatasetRNN) -> None:
    """Check that probabilities of options on offer lie in [0, 1] and add up to 1, on some trials, for some parameters.

    Raises
    ------
    ConfigError
        If they do not; it names the trial and the parameters.
    """
    if model.probabilities is None:
        return
    some = dataset[:SESSIONS]
    some = some.replace(some.xs[:, :TRIALS], some.ys[:, :TRIALS])
    offered = read_trials(model, some).offered
    for shift in range(len(PLACES)):
        places = [PLACES[(shift + k) % len(PLACES)] for k in range(len(model.parameters))]
        values = {n: _inside(p, place) for (n, p), place in zip(model.parameters.items(), places, strict=True)}
        found = run_symbolic(model, some, values)
        found = np.where(offered | np.isnan(found).all(-1, keepdims=True), found, 0.0)
        total = found.sum(-1)
        wrong = ~np.isnan(found).all(-1) & ~((found >= -TOLERANCE) & (found <= 1 + TOLERANCE)).all(-1)
        wrong |= ~np.isnan(total) & (np.abs(total - 1) > TOLERANCE)
        if wrong.any():
            session, trial = np.argwhere(wrong)[0]
            raise ConfigError(
                f"the probabilities after session {session}, trial {trial} are "
                f"{', '.join(f'{p:.4g}' for p in found[session, trial])}, which add up to "
                f"{total[session, trial]:.4g} (with {', '.join(f'{n}={v:g}' for n, v in values.items())}): they must "
                "lie between 0 and 1 and add up to 1. softmax(...) makes such probabilities of logits; a lapse rate "
                "needs its bounds, Parameter(low=0, high=1)."
            )


def _inside(parameter: Parameter, place: float) -> float:
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    if math.isfinite(low) and math.isfinite(high):
        return low + place * (high - low)
    if math.isfinite(low):
        return low + 3 * place
    return high - 3 * place if math.isfinite(high) else 4 * place - 2

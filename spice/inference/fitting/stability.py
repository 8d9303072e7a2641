"""Whether estimates let states grow from trial to trial: they suit short sessions and explode in longer ones."""

import itertools
import warnings
from typing import TYPE_CHECKING

import numpy as np
import sympy

from spice.equations.model_parts import Branch
from spice.equations.parsing import InCell, OverActions, symbol
from spice.equations.parts import without_kinks
from spice.equations.symbolic import SymbolicModel
from spice.errors import StabilityWarning, first_of
from spice.resources.dataset import DatasetRNN

if TYPE_CHECKING:
    from spice.inference.fitting.result import FitResult

BEYOND = 1e-6  # above 1, from which a state grows
LISTED = 5


def warn_unstable(result: "FitResult", stacklevel: int = 3) -> None:
    """Warn of participants whose estimates multiply a state by more than 1 in some trial.

    Parameters
    ----------
    result : FitResult
        A fit; models with a compiled step of their own are not looked at.
    stacklevel : int
        Of the warning.

    Warns
    -----
    StabilityWarning
        Naming participants, states and multipliers.
    """
    if not isinstance(result.model, SymbolicModel):
        return
    values = {name: result.parameters[name].to_numpy(float) for name in result.parameters.columns}
    labels, found = result.parameters.index.tolist(), []
    for state, growth in multipliers(result.model, result.dataset, values).items():
        found += [f"{labels[row]} ({state} by {growth[row]:.3g})" for row in np.flatnonzero(growth > 1 + BEYOND)]
    if found:
        warnings.warn(
            f"the estimates of {first_of(found, LISTED)} let a state grow in every trial of some kind: longer "
            "sessions would be predicted by numbers that explode. Give the parameters bounds that keep what a state is "
            "multiplied by within [-1, 1], or priors.",
            StabilityWarning,
            stacklevel=stacklevel,
        )


def multipliers(model: SymbolicModel, dataset: DatasetRNN, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By how much a trial multiplies each state at most.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        Trials: the largest and smallest reward and inputs in them are tried.
    values : dict of str to np.ndarray of shape (n_rows,)
        Parameters.

    Returns
    -------
    dict of str to np.ndarray of shape (n_rows,)
        States of which this can be told: their updates are linear in them, with factors made of parameters, rewards
        and inputs.
    """
    signals = _signals(model, dataset)
    found: dict[str, np.ndarray] = {}
    for state in model.states:
        kinds = [_growth(model, state, kind, signals, values) for kind in ("chosen", "unchosen")]
        told = [kind for kind in kinds if kind is not None]
        if len(told) == len(kinds):
            found[state] = np.max(told, axis=0)
    return found


def _signals(model: SymbolicModel, dataset: DatasetRNN) -> list[dict[str, float]]:
    """Extremes of what expressions read of trials, in every combination."""
    xs = dataset.xs.double().numpy()
    columns = {"reward": xs[..., dataset.columns.reward]}
    columns |= {name: xs[..., dataset.columns.index(name)] for name in model.columns}
    ends = {
        name: tuple(float(np.nan_to_num(extreme.reduce(part, axis=None))) for extreme in (np.fmin, np.fmax))
        for name, part in columns.items()
    }
    read = {entry.name for expression in model.expressions() for entry in expression.free_symbols}
    used = {name: end for name, end in ends.items() if name in read or name == "reward"}
    return [
        dict(zip(used, values, strict=True)) | {"outcome": values[0], "known": 1.0, "option": 0.0}
        for values in itertools.product(*used.values())
    ]


def _growth(
    model: SymbolicModel, state: str, kind: str, signals: list[dict[str, float]], values: dict[str, np.ndarray]
) -> np.ndarray | None:
    """Of the chosen or another option: the product of what its lines multiply it by; None if that cannot be told."""
    n_rows = max((len(own) for own in values.values()), default=1)
    total = np.ones((len(signals), n_rows))
    for line in model.lines():
        branch: Branch | None = line.everywhere or getattr(line, kind)
        if line.state != state or branch is None:
            continue
        factor = without_kinks(model.with_let(branch.expression)).diff(symbol(state))
        names = {entry.name for entry in factor.free_symbols}
        known = {*values, *signals[0], "chosen"}
        if factor.has(OverActions, InCell, sympy.Derivative) or not names <= known:
            return None
        function = sympy.lambdify(sorted(factor.free_symbols, key=str), factor, "numpy")
        for k, signal in enumerate(signals):
            given = signal | {"chosen": float(kind == "chosen")} | values
            with np.errstate(all="ignore"):  # where it is no number, such as 1 / reward, it is not known
                size = np.abs(np.broadcast_to(function(*(np.asarray(given[n], float) for n in sorted(names))), n_rows))
            size = np.where(np.isfinite(size), size, 0.0)
            total[k] *= np.maximum(size, 1.0) if line.rule is not None else size
    return total.max(0)

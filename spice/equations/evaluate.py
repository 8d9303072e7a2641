"""A symbolic model on data: what it reads of the trials, and its logits in plain NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from spice.equations.latex import PREVIOUS
from spice.equations.symbolic import SymbolicModel
from spice.errors import DataError
from spice.resources.dataset import DatasetRNN


@dataclass(frozen=True)
class ModelTrials:
    """Trials as a symbolic model reads them.

    Attributes
    ----------
    choice : np.ndarray of int, shape (n_sessions, n_trials)
        The choice; -1 where there was none.
    reward : np.ndarray, shape (n_sessions, n_trials)
        What the chosen option brought; NaN where it is unknown.
    outcome : np.ndarray, shape (n_sessions, n_trials, n_actions)
        What each option brought; NaN where it was not shown.
    inputs : np.ndarray, shape (n_sessions, n_trials, n_inputs)
        The further columns that the model reads, 0 where missing.
    lagged : np.ndarray, shape (n_sessions, n_trials, n_actions, n_lagged)
        The signals of earlier trials that the model reads.
    """

    choice: np.ndarray
    reward: np.ndarray
    outcome: np.ndarray
    inputs: np.ndarray
    lagged: np.ndarray


def read_trials(model: SymbolicModel, dataset: DatasetRNN) -> ModelTrials:
    """Read the data.

    Raises
    ------
    DataError
        If a column that the model reads is not there.
    """
    lacking = [name for name in model.inputs if not dataset.columns.has(name)]
    if lacking:
        raise DataError(
            f"the data have no column {', '.join(map(repr, lacking))}, which the model reads; their columns are "
            f"{', '.join(dataset.columns.names)}."
        )
    xs = dataset.xs.double().numpy()
    observed = dataset.observed.numpy()
    choice = np.where(observed, np.nan_to_num(xs[..., dataset.columns.choice]).argmax(-1), -1)
    outcome = xs[..., dataset.columns.reward]
    reward = np.take_along_axis(outcome, np.maximum(choice, 0)[..., None], -1)[..., 0]
    places = [dataset.columns.index(name) for name in model.inputs]
    inputs = np.nan_to_num(xs[..., places])
    chosen = choice[..., None] == np.arange(dataset.n_actions)
    signals = {"reward": reward[..., None], "outcome": outcome, "chosen": chosen}
    signals |= {name: inputs[..., k, None] for k, name in enumerate(model.inputs)}
    lagged = np.zeros((*outcome.shape, len(model.lagged)))
    for k, (name, n) in enumerate(model.lagged):
        lagged[:, n:, :, k] = np.where(observed[..., None], np.nan_to_num(signals[name]), 0.0)[:, :-n]
    return ModelTrials(choice, reward, outcome, inputs, lagged)


def run_symbolic(model: SymbolicModel, dataset: DatasetRNN, values: Mapping[str, Any]) -> np.ndarray:
    """Logits of the choice that follows each trial.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        The data.
    values : mapping of str to float or np.ndarray of shape (n_sessions,)
        Parameters.

    Returns
    -------
    np.ndarray, shape (n_sessions, n_trials, n_actions)
    """
    trials, n_actions = read_trials(model, dataset), dataset.n_actions
    shape = (len(dataset), n_actions)
    known = {name: np.broadcast_to(np.reshape(values[name], (-1, 1)), shape) for name in model.parameters}
    known |= {name: np.broadcast_to(_function(start)(known), shape) for name, start in model.initial.items()}
    updates = [
        (u.state, _function(u.chosen), _function(u.unchosen), (u.chosen_needs, u.unchosen_needs))
        for u in model.branches()
    ]
    logits = [_function(entry) for entry in model.logits_of_options(n_actions)]
    found = np.empty((*trials.choice.shape, n_actions))
    for t in range(trials.choice.shape[1]):
        chosen = trials.choice[:, t, None] == np.arange(n_actions)
        there, unknown = trials.choice[:, t, None] >= 0, np.isnan(trials.reward[:, t, None])
        hidden = np.isnan(trials.outcome[:, t])
        signals = {"reward": np.nan_to_num(trials.reward[:, t, None]), "outcome": np.nan_to_num(trials.outcome[:, t])}
        signals = {
            name: np.where(there, value, 0.0)
            for name, value in (signals | {"chosen": chosen, "known": ~unknown}).items()
        }
        signals |= {name: trials.inputs[:, t, k, None] for k, name in enumerate(model.inputs)}
        signals |= {f"{name}_lag{n}": trials.lagged[:, t, :, k] for k, (name, n) in enumerate(model.lagged)}
        known |= {name: np.broadcast_to(value, shape) for name, value in signals.items()}
        known |= {PREVIOUS + name: known[name] for name in model.states}
        for state, own, other, (own_needs, other_needs) in updates:
            value = known[state]
            if own is not None:
                value = np.where(chosen & there & ~(hidden & own_needs), own(known), value)
            if other is not None:
                value = np.where(~chosen & there & ~(hidden & other_needs), other(known), value)
            known[state] = value
        found[:, t] = np.stack([np.broadcast_to(f(known), shape)[:, k] for k, f in enumerate(logits)], axis=1)
    return found


def without_kinks(expression: sympy.Expr) -> sympy.Expr:
    """The same with min, max and abs as cases, whose derivatives are those of each case."""
    real = {entry: sympy.Symbol(entry.name, real=True) for entry in expression.free_symbols}
    found = expression.xreplace(real).rewrite((sympy.Min, sympy.Max, sympy.Abs), sympy.Piecewise)
    return found.xreplace({entry: plain for plain, entry in real.items()})


def _function(expression: sympy.Expr | None) -> Any:
    """An expression as a function of values by name; None of None."""
    if expression is None:
        return None
    arguments = sorted(expression.free_symbols, key=lambda entry: entry.name)
    function = sympy.lambdify(arguments, without_kinks(expression), "numpy")

    def evaluate(values: Mapping[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            return function(*(values[entry.name] for entry in arguments))

    return evaluate

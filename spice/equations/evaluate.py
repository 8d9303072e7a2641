"""Symbolic models in plain NumPy, trial by trial: slow, and independent of the compiled likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy

from spice.equations.latex import PREVIOUS
from spice.equations.model_parts import Branch, Line
from spice.equations.parsing import MaxActions, Softmax, SumActions
from spice.equations.parts import cell_name, cells_as_symbols, numpy_function, over_actions_inside_out, without_kinks
from spice.equations.reading import cell_number, holds, kind_of_choice, read_trials
from spice.equations.symbolic import SymbolicModel
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN

Values = dict[str, np.ndarray]
OFFERED = "on offer"  # among values by name; no name that a model could use


class Stepper:
    """A model that goes through trials, many sessions at once.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    n_actions : int
        Number of options.
    values : mapping of str to float or np.ndarray of shape (n_sessions,)
        Parameters.
    n_sessions : int
        Number of sessions.

    Attributes
    ----------
    states : dict of str to np.ndarray, shape (n_sessions, n_cells, n_actions)
        States after the last trial.
    """

    def __init__(self, model: SymbolicModel, n_actions: int, values: Mapping[str, Any], n_sessions: int):
        self._model, self._n_actions, self._n_sessions = model, n_actions, n_sessions
        shape = (n_sessions, n_actions)
        self._known: Values = {
            name: np.broadcast_to(np.reshape(np.asarray(values[name], float), (-1, 1)), shape)
            for name in model.parameters
        }
        self._known["option"] = np.broadcast_to(np.arange(n_actions), shape)
        self._known["n_actions"] = np.broadcast_to(n_actions, shape)
        self._let = [(name, _Expression(value)) for name, value in model.let.items()]
        self._lines = [(line, _functions(line)) for line in model.lines()]
        self._choices = [(c.when, [_Expression(e) for e in c.expressions]) for c in model.choices(n_actions)]
        self.states = {
            name: np.repeat(self._wide(_Expression(start)(self._known))[:, None], model.n_cells(name), 1)
            for name, start in model.initial.items()
        }
        self._previous = dict(self.states)
        nothing = np.zeros(shape)
        self._signals: Values = dict.fromkeys(("reward", "outcome", "chosen", "known"), nothing)
        self._past: list[Values] = []

    def learn(self, choice: np.ndarray, outcome: np.ndarray, columns: Values) -> None:
        """Go through one trial.

        Parameters
        ----------
        choice : np.ndarray of int, shape (n_sessions,)
            The choice; -1 where there was none.
        outcome : np.ndarray, shape (n_sessions, n_actions)
            What each option brought; NaN where it was not shown.
        columns : dict of str to np.ndarray of shape (n_sessions,)
            The further columns that the model reads (`SymbolicModel.columns`).
        """
        there = choice[:, None] >= 0
        chosen = choice[:, None] == np.arange(self._n_actions)
        shown = ~np.isnan(outcome) & there
        received = np.where(chosen & shown, np.nan_to_num(outcome), 0.0).sum(1, keepdims=True)
        known = (chosen & shown).any(1, keepdims=True)
        current = {"reward": received, "outcome": np.where(shown, outcome, 0.0), "chosen": chosen, "known": known}
        self._signals = {name: self._wide(np.where(there, value, 0.0)) for name, value in current.items()}
        read = {name: self._wide(columns[name][:, None]) for name in self._model.columns}
        self._past.append(self._signals | {name: np.where(there, value, 0.0) for name, value in read.items()})
        cells = self._cells(columns, "")
        self._previous = dict(self.states)
        context = self._context(read, cells)
        for name, value in self._let:
            context[name] = self._wide(value(context))
        rules = [holds(c, columns | {"reward": received[:, 0]}) for c in self._model.conditions]
        masks = {"chosen": chosen & there, "unchosen": ~chosen & there}
        masks |= {"shown": shown, "known": known, "both": shown & known}
        for line, functions in self._lines:
            used = there if line.rule is None else there & np.reshape(rules[line.rule], (-1, 1))
            if line.everywhere is not None:
                self._update_everywhere(line, functions, context, masks, used, cells)
            else:
                self._update_cell(line, functions, context, masks, used, cells)
            context |= self._values_of(line.state, cells[line.state])

    def choice_values(self, columns: Values, offered: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Logits or probabilities of the coming choice, and the number of their kind.

        Parameters
        ----------
        columns : dict of str to np.ndarray of shape (n_sessions,)
            As in `learn`; read are those of the coming trial.
        offered : np.ndarray of bool, shape (n_sessions, n_actions), optional
            Options on offer; by default all.

        Returns
        -------
        values : np.ndarray, shape (n_sessions, n_actions)
            NaN where no choice is modelled.
        kind : np.ndarray of int, shape (n_sessions,)
            -1 there.
        """
        read = {name: self._wide(columns[name][:, None]) for name in self._model.columns}
        offered = np.ones((self._n_sessions, self._n_actions), bool) if offered is None else offered
        context = self._context(read, self._cells(columns, NEXT)) | {OFFERED: offered}
        context["n_actions"] = self._wide(offered.sum(1, keepdims=True))
        kind = kind_of_choice([when for when, _ in self._choices], columns, (self._n_sessions,))
        found = np.full((self._n_sessions, self._n_actions), np.nan)
        for k, (_, expressions) in enumerate(self._choices):
            values = np.stack([self._wide(e(context))[:, option] for option, e in enumerate(expressions)], 1)
            found = np.where(kind[:, None] == k, values, found)
        return found, kind

    def in_coming_cell(self, state: str, columns: Values) -> np.ndarray:
        """A state in the cell that is shown before the coming choice, shape (n_sessions, n_actions)."""
        return self._in_cell(self.states[state], self._cells(columns, NEXT)[state])

    # ------------------------------------------------------------------ inside

    def _wide(self, value: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), (self._n_sessions, self._n_actions))

    def _cells(self, columns: Values, prefix: str) -> dict[str, np.ndarray]:
        cells = {}
        for name, state in self._model.states.items():
            levels = [columns[prefix + entry] for entry in state.by]
            cells[name] = cell_number(self._model, state.by, levels) if levels else np.zeros(self._n_sessions, int)
        return cells

    def _in_cell(self, values: np.ndarray, cell: np.ndarray) -> np.ndarray:
        return values[np.arange(self._n_sessions), cell]

    def _context(self, read: Values, cells: dict[str, np.ndarray]) -> Values:
        """Values by name, of options in the cell that is shown."""
        context = self._known | self._signals | read
        for name, n in self._model.lagged:
            past = self._past[-1 - n] if len(self._past) > n else {}
            context[f"{name}_lag{n}"] = past.get(name, self._wide(0.0))
        for name, values in self._previous.items():
            context[PREVIOUS + name] = self._in_cell(values, cells[name])
            context |= self._values_of(name, cells[name])
        return context

    def _values_of(self, state: str, cell: np.ndarray) -> Values:
        """A state in the cell that is shown, and in each cell by its name."""
        values = self.states[state]
        sizes = [int(self._model.shown[name] or 1) for name in self._model.states[state].by]
        named = {cell_name(state, levels): values[:, k] for k, levels in enumerate(np.ndindex(*sizes)) if sizes}
        return {state: self._in_cell(values, cell), **named}

    def _update_cell(self, line: Line, functions, context: Values, masks, used, cells) -> None:
        value = context[line.state]
        for kind, branch in (("chosen", line.chosen), ("unchosen", line.unchosen)):
            if branch is not None:
                where = masks[kind] & used & (masks[branch.needs] if branch.needs else True)
                value = np.where(where, functions[kind](context), value)
        after = self.states[line.state].copy()
        after[np.arange(self._n_sessions), cells[line.state]] = value
        self.states[line.state] = after

    def _update_everywhere(self, line: Line, functions, context: Values, masks, used, cells) -> None:
        """All cells at once: arrays get an axis of cells."""
        by = self._model.states[line.state].by
        n_cells = self.states[line.state].shape[1]
        here = cells[line.state][:, None] == np.arange(n_cells)
        wide = {name: np.repeat(value[:, None], n_cells, 1) for name, value in context.items()}
        for name in ("chosen", "outcome"):
            wide[name] = np.where(here[..., None], wide[name], 0.0)
        for name, state in self._model.states.items():
            if state.by == by:
                wide[name], wide[PREVIOUS + name] = self.states[name], self._previous[name]
        needs = line.everywhere.needs if line.everywhere else None
        where = used & masks[needs] if needs else used
        value = functions["everywhere"](wide, context)
        self.states[line.state] = np.where(where[:, None], value, self.states[line.state])


def run_symbolic(model: SymbolicModel, dataset: DatasetRNN, values: Mapping[str, Any]) -> np.ndarray:
    """Logits of the choice that follows each trial; probabilities, if that is what the model gives.

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
    trials = read_trials(model, dataset)
    stepper = Stepper(model, dataset.n_actions, values, len(dataset))
    found = np.empty((*trials.choice.shape, dataset.n_actions))
    for t in range(trials.choice.shape[1]):
        columns = {name: trials.inputs[:, t, k] for k, name in enumerate(model.columns)}
        stepper.learn(trials.choice[:, t], trials.outcome[:, t], columns)
        found[:, t] = stepper.choice_values(columns, trials.offered[:, t])[0]
    return found


class _Expression:
    """An expression as a function of values by name."""

    def __init__(self, expression: sympy.Expr):
        nodes, rest = over_actions_inside_out(cells_as_symbols(expression))
        self._over = [(own.name, type(node), _Function(node.args[0])) for own, node in nodes]
        self._rest = _Function(rest)

    def __call__(self, values: Values, shown: Values | None = None) -> Any:
        """Evaluate; functions of all options are those of ``shown``, the cell that was shown."""
        here = dict(values if shown is None else shown)
        for name, kind, function in self._over:
            inner = np.broadcast_to(function(here), here["option"].shape)
            here[name] = np.broadcast_to(_OVER[kind](inner, here.get(OFFERED)), inner.shape)
        over = {name: here[name] if shown is None else here[name][:, None] for name, *_ in self._over}
        return self._rest({**values, **over})


def _softmax(values: np.ndarray, offered: np.ndarray | None = None) -> np.ndarray:
    values = values if offered is None else np.where(offered, values, -np.inf)
    with np.errstate(all="ignore"):
        weights = np.exp(values - values.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)


_OVER: dict[type, Callable] = {
    SumActions: lambda values, offered: values.sum(1, keepdims=True),
    MaxActions: lambda values, offered: values.max(1, keepdims=True),
    Softmax: _softmax,
}


def _functions(line: Line) -> dict[str, _Expression]:
    parts: dict[str, Branch | None] = {
        "chosen": line.chosen,
        "unchosen": line.unchosen,
        "everywhere": line.everywhere,
    }
    return {kind: _Expression(branch.expression) for kind, branch in parts.items() if branch is not None}


class _Function:
    """An expression that reads no other options or cells; pickled as such, since its code is generated."""

    def __init__(self, expression: sympy.Expr):
        self._expression = expression
        self._names, self._function = numpy_function(without_kinks(expression))

    def __call__(self, values: Values) -> Any:
        with np.errstate(all="ignore"):
            return self._function(*(values[name] for name in self._names))

    def __reduce__(self) -> tuple[type["_Function"], tuple[sympy.Expr]]:
        return _Function, (self._expression,)

"""From one trial of all options to updates of one: what is the same for every option, and in which order it is done."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import sympy

from spice.equations.latex import PREVIOUS
from spice.equations.parsing import symbol
from spice.equations.stand_ins import EMBEDDING, Named
from spice.equations.symbol_array import UNKNOWN
from spice.equations.symbolic import Parameter, State, SymbolicModel, Update
from spice.errors import ModelFormError
from spice.resources.columns import Columns

MOST_ORDERED = 5  # states whose orders are all tried


@dataclass(frozen=True)
class Run:
    """One trial of symbols: ``state@k`` is option k's value after the trial, ``state@before@k`` that before it.

    Attributes
    ----------
    states : dict of str to list of sympy.Expr, each n_actions long
        States after the trial.
    logits : list of sympy.Expr, n_actions long
        Logits.
    numbers : dict of str to int
        Numbers of the arrays that became the states.
    n_given : int
        Number of arrays that were there before.
    """

    states: dict[str, list[sympy.Expr]]
    logits: list[sympy.Expr]
    numbers: dict[str, int]
    n_given: int


Branch = dict[str, sympy.Expr]


def new(name: str) -> sympy.Symbol:
    """An option's own state after the trial."""
    return sympy.Symbol(f"{name}@new")


def old(name: str) -> sympy.Symbol:
    """An option's own state before the trial."""
    return sympy.Symbol(f"{name}@old")


def per_option_model(
    runs: Mapping[tuple[int, str], Run],
    starts: Mapping[str, float],
    columns: Columns,
    named: Named,
    labels: Sequence[Hashable],
) -> SymbolicModel:
    """Make the model of what was traced.

    Parameters
    ----------
    runs : mapping of (chosen option, what is unknown) to Run
        One for every choice with nothing ("") unknown; of the first also with unknown "reward" and, where the model
        tells these from 0, hidden "outcome" of the others.
    starts : mapping of str to float
        States and their start values.
    columns : Columns
        Of the data.
    named : Named
        Parameters.
    labels : sequence
        Participants.

    Raises
    ------
    ModelFormError
        If options differ in their updates, or read each other's values.
    """
    n_actions = len(runs[0, ""].logits)
    branches = {
        where: {name: _common(name, runs, where, n_actions, starts) for name in starts}
        for where in ("chosen", "unchosen")
    }
    fixed = {name for name in starts if all(branch[name] == old(name) for branch in branches.values())}
    constant = {entry(name): sympy.Float(starts[name]) for name in fixed for entry in (new, old)}
    branches = {where: {s: e.subs(constant) for s, e in b.items() if s not in fixed} for where, b in branches.items()}
    skips: dict[tuple[str, str], bool] = {}
    for where, signal, option in (("chosen", "reward", 0), ("unchosen", "outcome", 1)):
        for name, expression in branches[where].items():
            if (0, signal) in runs:
                unknown = _of_option(runs[0, signal].states[name][option], option, 0, starts).subs(constant)
                branches[where][name], skips[name, where] = _where_known(name, expression, unknown, signal)
    updates = _ordered(list(branches["chosen"]), branches, skips)
    logits = [
        _logit([(c, runs[c, ""].logits[option]) for c in range(n_actions)], option, branches, starts, constant)
        for option in range(n_actions)
    ]
    one = all(_same(entry, logits[0]) for entry in logits)
    used = {s.name for e in [*(update.expression for update in updates), *logits] for s in e.free_symbols}
    read = used | {name.rpartition("_lag")[0] for name in used}
    return SymbolicModel(
        states={name: State(start) for name, start in starts.items() if name not in fixed},
        updates=updates,
        logits=logits[0] if one else logits,
        parameters={name: _parameter(named, name, labels) for name in named.values if name in used},
        inputs=[name for name in (*columns.all_inputs, "block") if name in read],
    )


def _parameter(named: Named, name: str, labels: Sequence[Hashable]) -> Parameter:
    values = named.values[name]
    same = len(np.unique(values)) == 1
    value = float(values[0]) if same else dict(zip(labels, values.tolist(), strict=True))
    return Parameter(value=value, source=named.sources[name])


def _same(one: sympy.Expr, other: sympy.Expr) -> bool:
    return one == other or sympy.expand(one - other) == 0


def _of_option(expression: sympy.Expr, option: int, chosen: int, states: Mapping[str, float]) -> sympy.Expr:
    """An expression by the option's own values.

    Raises
    ------
    ModelFormError
        If it reads those of others.
    """
    own = {sympy.Symbol(f"reward@{option}"): symbol("outcome")}
    own[sympy.Symbol(f"reward@{chosen}")] = symbol("reward")
    own |= {s: symbol(s.name.partition("@")[0]) for s in expression.free_symbols if s.name.endswith(f"@lag@{option}")}
    for name in states:
        own[sympy.Symbol(f"{name}@{option}")] = new(name)
        own[sympy.Symbol(f"{name}@before@{option}")] = old(name)
    found = expression.xreplace(own)
    foreign = {s.name for s in found.free_symbols if "@" in s.name} - {e(n).name for n in states for e in (new, old)}
    if any(name.startswith(EMBEDDING) for name in foreign):
        raise ModelFormError("it reads the participant embedding outside its modules, betas and bias.")
    if foreign:
        what = ", ".join(sorted({name.partition("@")[0] for name in foreign}))
        raise ModelFormError(f"one option's update or logit reads another option's values ({what}).")
    return found


def _common(name: str, runs: Mapping[tuple[int, str], Run], where: str, n_actions: int, states) -> sympy.Expr:
    """The update of a state that all options share."""
    found = [
        _of_option(run.states[name][option], option, chosen, states)
        for (chosen, unknown), run in runs.items()
        for option in range(n_actions)
        if not unknown and (option == chosen) == (where == "chosen")
    ]
    if not all(_same(entry, found[0]) for entry in found):
        raise ModelFormError(f"options differ in how their state {name!r} is updated.")
    return found[0]


def _where_known(name: str, known: sympy.Expr, unknown: sympy.Expr, signal: str) -> tuple[sympy.Expr, bool]:
    """An update, and whether it is left out where the own outcome is unknown; else that reads 0."""
    if unknown == old(name) or UNKNOWN in unknown.free_symbols:
        return known, True
    if _same(unknown, known.subs(symbol(signal), 0)):
        return known, False
    if signal == "outcome":
        raise ModelFormError(f"a hidden outcome neither leaves the state {name!r} as it is nor counts as 0.")
    return sympy.Piecewise((known, sympy.Ne(symbol("known"), 0)), (unknown, True)), False


def _ordered(names: list[str], branches: Mapping[str, Branch], skips: Mapping[tuple[str, str], bool]) -> list[Update]:
    """Updates in an order that reads each state after its update or, where possible, before it."""
    orders = permutations(names) if len(names) <= MOST_ORDERED else [tuple(_by_dependence(names, branches))]
    possible = [order for order in orders if _is_possible(order, branches)]
    found = [_updates(order, branches, skips) for order in possible]
    return min(found, key=lambda updates: sum(_reads_previous(update.expression) for update in updates))


def _reads_previous(expression: sympy.Expr) -> int:
    return sum(entry.name.startswith(PREVIOUS) for entry in expression.free_symbols)


def _is_possible(order: Sequence[str], branches: Mapping[str, Branch]) -> bool:
    """Whether no update reads what comes later."""
    return not any(
        new(later) in branch[name].free_symbols
        for place, name in enumerate(order)
        for later in order[place:]
        for branch in branches.values()
    )


def _by_dependence(names: list[str], branches: Mapping[str, Branch]) -> list[str]:
    order: list[str] = []
    while len(order) < len(names):
        rest = [name for name in names if name not in order]
        order.append(
            next(n for n in rest if not any(new(r) in b[n].free_symbols for r in rest for b in branches.values()))
        )
    return order


def _updates(
    order: Sequence[str], branches: Mapping[str, Branch], skips: Mapping[tuple[str, str], bool]
) -> list[Update]:
    found = []
    for place, name in enumerate(order):
        lines = {}
        for where, branch in branches.items():
            if branch[name] == old(name):
                continue
            names = {new(s): symbol(s) for s in order} | {old(s): symbol(s) for s in order}
            names |= {old(s): symbol(PREVIOUS + s) for s in order[:place] if branch[s] != old(s)}
            lines[where] = branch[name].xreplace(names)
        needs = [skips.get((name, where), False) for where in ("chosen", "unchosen")]
        if len(lines) == 2 and lines["chosen"] == lines["unchosen"] and needs[0] == needs[1]:
            lines = {"everywhere": lines["chosen"]}
        found += [Update(name, where, e, None, needs[where == "unchosen"]) for where, e in lines.items()]
    return found


def _logit(entries, option: int, branches: Mapping[str, Branch], states, constant) -> sympy.Expr:
    """An option's logit, be it chosen or not."""
    own = [
        ("chosen" if c == option else "unchosen", _of_option(e, option, c, states).subs(constant)) for c, e in entries
    ]
    readings = []
    for as_before in (False, True):  # a state that stays has the same value before and after
        plain = [(where, _read_logit(entry, branches[where], as_before)) for where, entry in own]
        found = {where: [entry for w, entry in plain if w == where] for where in ("chosen", "unchosen")}
        if not all(_same(entry, several[0]) for several in found.values() for entry in several):
            raise ModelFormError("the logit of an option depends on which of the others was chosen.")
        chosen, unchosen = found["chosen"][0], found["unchosen"][0]
        if _same(chosen, unchosen):
            return chosen
        readings.append(unchosen + symbol("chosen") * sympy.expand(chosen - unchosen))
    return min(readings, key=sympy.count_ops)


def _read_logit(entry: sympy.Expr, branch: Branch, as_before: bool) -> sympy.Expr:
    for name, definition in branch.items():
        if definition != old(name) and not definition.is_Atom and old(name) in entry.free_symbols:
            entry = entry.subs(definition, new(name))
    names = {new(s): symbol(s) for s in branch}
    names |= {old(s): symbol(PREVIOUS + s if as_before or e != old(s) else s) for s, e in branch.items()}
    return entry.xreplace(names)

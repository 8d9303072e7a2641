"""Which derivatives of a model's states can differ from 0, and how each update carries them on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import sympy

from spice.equations.evaluate import without_kinks
from spice.equations.latex import PREVIOUS
from spice.equations.parsing import symbol
from spice.equations.symbolic import Branches, SymbolicModel

Pair = tuple[int, int]


@dataclass(frozen=True)
class Derivatives:
    """A quantity and its derivatives by the parameters, those that are not always 0.

    Attributes
    ----------
    value : sympy.Expr
        The quantity.
    first : dict of int to sympy.Expr
        First derivatives by number of the parameter.
    second : dict of (int, int) to sympy.Expr
        Second derivatives, the smaller number first.
    """

    value: sympy.Expr
    first: dict[int, sympy.Expr]
    second: dict[Pair, sympy.Expr]

    def __iter__(self) -> Iterator[sympy.Expr]:
        yield from (self.value, *self.first.values(), *self.second.values())


class Sensitivities:
    """Derivatives of states by parameters, carried from trial to trial.

    Parameters
    ----------
    model : SymbolicModel
        The model.

    Attributes
    ----------
    lines : list of Branches
        Its updates; first, for values before the trial that are read, copies of the states.
    states : dict of str to Derivatives
        Symbols of each state's value and derivatives.
    """

    def __init__(self, model: SymbolicModel):
        self.parameters: Sequence[sympy.Symbol] = [symbol(name) for name in model.parameters]
        previous = {PREVIOUS + name: name for name in model.uses_previous()}
        copies = [Branches(before, symbol(name), symbol(name)) for before, name in previous.items()]
        self.lines = copies + [_smooth(line) for line in model.branches()]
        starts = {name: without_kinks(start) for name, start in model.initial.items()}
        self._starts = starts | {before: starts[name] for before, name in previous.items()}
        self.states = {name: Derivatives(symbol(name), {}, {}) for name in self._starts}
        self._find()

    def _find(self) -> None:
        """Add derivatives until no update makes another one."""
        expressions = list(self._starts.items())
        expressions += [(u.state, e) for u in self.lines for e in (u.chosen, u.unchosen) if e is not None]
        growing = True
        while growing:
            growing = False
            for name, expression in expressions:
                own, found = self.states[name], self.of(expression)
                for k in found.first.keys() - own.first.keys():
                    own.first[k] = symbol(f"{name}@{k}")
                    growing = True
                for j, k in found.second.keys() - own.second.keys():
                    own.second[j, k] = symbol(f"{name}@{j}@{k}")
                    growing = True
        self.states = {
            name: Derivatives(own.value, dict(sorted(own.first.items())), dict(sorted(own.second.items())))
            for name, own in self.states.items()
        }

    def start(self, state: str) -> Derivatives:
        """A state's start value and its derivatives: those of `states`, 0 included."""
        return self._filled(state, self.of(self._starts[state]))

    def next(self, state: str, expression: sympy.Expr) -> Derivatives:
        """A state's value after an update, and its derivatives: those of `states`, 0 included."""
        return self._filled(state, self.of(without_kinks(expression)))

    def _filled(self, state: str, found: Derivatives) -> Derivatives:
        own, zero = self.states[state], sympy.Integer(0)
        first = {k: found.first.get(k, zero) for k in own.first}
        return Derivatives(found.value, first, {pair: found.second.get(pair, zero) for pair in own.second})

    def of(self, expression: sympy.Expr) -> Derivatives:
        """An expression's total derivatives, by the chain rule through the states it reads."""
        read = [entry for name, entry in self.states.items() if symbol(name) in expression.free_symbols]
        by_state = [(entry, expression.diff(entry.value)) for entry in read]
        by_parameter = [expression.diff(parameter) for parameter in self.parameters]
        numbers = range(len(self.parameters))
        first = {k: by_parameter[k] + sum(slope * s.first[k] for s, slope in by_state if k in s.first) for k in numbers}
        second = {}
        for j, k in combinations_with_replacement(numbers, 2):
            total = by_parameter[j].diff(self.parameters[k])
            for state, slope in by_state:
                if k in state.first:
                    total += by_parameter[j].diff(state.value) * state.first[k]
                if j in state.first:
                    total += by_parameter[k].diff(state.value) * state.first[j]
                if (j, k) in state.second:
                    total += slope * state.second[j, k]
                if j in state.first:
                    for other, _ in by_state:
                        if k in other.first:
                            total += slope.diff(other.value) * state.first[j] * other.first[k]
            second[j, k] = total
        return Derivatives(
            expression, {k: e for k, e in first.items() if e != 0}, {pair: e for pair, e in second.items() if e != 0}
        )


def _smooth(line: Branches) -> Branches:
    chosen, unchosen = (None if e is None else without_kinks(e) for e in (line.chosen, line.unchosen))
    return line._replace(chosen=chosen, unchosen=unchosen)

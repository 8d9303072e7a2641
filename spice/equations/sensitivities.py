"""Which derivatives of a model's quantities can differ from 0, and how each expression carries them on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import sympy

from spice.equations.model_parts import Branch, Line
from spice.equations.parsing import OverActions, Softmax, symbol
from spice.equations.parts import cells_as_symbols, over_actions_inside_out, without_kinks

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


@dataclass(frozen=True)
class Over:
    """A function of all options.

    Attributes
    ----------
    name : str
        Of its result.
    kind : type
        SumActions, MaxActions or Softmax.
    inner : sympy.Expr
        What it is of: one value per option, the quantity ``name.in``.
    """

    name: str
    kind: type[OverActions]
    inner: sympy.Expr


@dataclass(frozen=True)
class Parted:
    """Expressions whose functions of all options are quantities of their own.

    Attributes
    ----------
    overs : list of Over
        These functions, in the order in which they can be computed.
    rest : list of sympy.Expr
        The expressions, which read their results.
    """

    overs: list[Over]
    rest: list[sympy.Expr]


def part(expressions: Iterable[sympy.Expr], name: str) -> Parted:
    """Take expressions apart; what several of them share is computed once.

    Parameters
    ----------
    expressions : iterable of sympy.Expr
        The expressions.
    name : str
        Begins the names of the functions' results.
    """
    whole = sympy.Tuple(*(cells_as_symbols(entry) for entry in expressions))
    nodes, rest = over_actions_inside_out(whole, name)
    overs = [Over(own.name, type(node), without_kinks(node.args[0])) for own, node in nodes]
    return Parted(overs, [without_kinks(entry) for entry in rest])


class Sensitivities:
    """Derivatives of quantities by parameters.

    Parameters
    ----------
    parameters : sequence of str
        Names of the parameters.
    order : {0, 1, 2}
        Highest derivatives.

    Attributes
    ----------
    quantities : dict of str to Derivatives
        Symbols of each quantity's value and derivatives.
    """

    def __init__(self, parameters: Sequence[str], order: int):
        self.parameters, self.order = [symbol(name) for name in parameters], order
        self.quantities: dict[str, Derivatives] = {}
        self._sources: list[tuple[str, sympy.Expr | str]] = []
        self._partial = lru_cache(maxsize=None)(_partial)

    def add(self, name: str, *sources: sympy.Expr | str) -> None:
        """Add a quantity, or ways in which it is set: by expressions, or by taking over others, by their names."""
        self.quantities.setdefault(name, Derivatives(symbol(name), {}, {}))
        self._sources += [(name, source) for source in sources]

    def add_over(self, over: Over) -> None:
        """Add a function of all options, and what it is of."""
        self.add(over.name + ".in", over.inner)
        self.add(over.name, ("softmax:" if over.kind is Softmax else "") + over.name + ".in")

    def find(self) -> None:
        """Add derivatives until no way of setting a quantity makes another one."""
        growing = True
        while growing:
            growing = False
            for name, source in self._sources:
                own, found = self.quantities[name], self._pattern(source)
                new = [k for k in found.first if k not in own.first]
                own.first.update({k: symbol(f"{name}@{k}") for k in new})
                pairs = [pair for pair in found.second if pair not in own.second]
                own.second.update({(j, k): symbol(f"{name}@{j}@{k}") for j, k in pairs})
                growing = growing or bool(new or pairs)
        self.quantities = {
            name: Derivatives(own.value, dict(sorted(own.first.items())), dict(sorted(own.second.items())))
            for name, own in self.quantities.items()
        }

    def _pattern(self, source: sympy.Expr | str) -> Derivatives:
        if not isinstance(source, str):
            return self.of(source)
        found = self.quantities[source.removeprefix("softmax:")]
        if not source.startswith("softmax:") or self.order < 2:
            return found
        pairs = dict.fromkeys(combinations_with_replacement(sorted(found.first), 2), found.value)
        return Derivatives(found.value, found.first, pairs)  # those of what it is of are among them

    def filled(self, name: str, expression: sympy.Expr) -> Derivatives:
        """An expression's derivatives as those of a quantity: 0 included."""
        own, found, zero = self.quantities[name], self.of(expression), sympy.Integer(0)
        first = {k: found.first.get(k, zero) for k in own.first}
        return Derivatives(found.value, first, {pair: found.second.get(pair, zero) for pair in own.second})

    def of(self, expression: sympy.Expr) -> Derivatives:
        """An expression's total derivatives, by the chain rule through the quantities it reads."""
        if self.order == 0:
            return Derivatives(expression, {}, {})
        read = [self.quantities[s.name] for s in _sorted(expression.free_symbols) if s.name in self.quantities]
        by_state = [(entry, self._partial(expression, entry.value)) for entry in read]
        by_parameter = [self._partial(expression, parameter) for parameter in self.parameters]
        numbers = range(len(self.parameters))
        first = {k: by_parameter[k] + sum(slope * s.first[k] for s, slope in by_state if k in s.first) for k in numbers}
        second = {}
        for j, k in combinations_with_replacement(numbers, 2) if self.order > 1 else ():
            total = self._partial(by_parameter[j], self.parameters[k])
            for state, slope in by_state:
                if k in state.first:
                    total += self._partial(by_parameter[j], state.value) * state.first[k]
                if j in state.first:
                    total += self._partial(by_parameter[k], state.value) * state.first[j]
                if (j, k) in state.second:
                    total += slope * state.second[j, k]
                if j in state.first:
                    for other, _ in by_state:
                        if k in other.first:
                            total += self._partial(slope, other.value) * state.first[j] * other.first[k]
            second[j, k] = total
        return Derivatives(
            expression, {k: e for k, e in first.items() if e != 0}, {pair: e for pair, e in second.items() if e != 0}
        )


def parted_line(line: Line, name: str) -> tuple[Line, list[Over]]:
    """A line whose functions of all options are quantities of their own."""
    kinds = [kind for kind in ("chosen", "unchosen", "everywhere") if getattr(line, kind) is not None]
    branches: list[Branch] = [getattr(line, kind) for kind in kinds]
    parted = part([branch.expression for branch in branches], name)
    changes: dict[str, Any] = {
        kind: branch._replace(expression=e) for kind, branch, e in zip(kinds, branches, parted.rest, strict=True)
    }
    return line._replace(**changes), parted.overs


def _partial(expression: sympy.Expr, by: sympy.Symbol) -> sympy.Expr:
    return expression.diff(by) if by in expression.free_symbols else sympy.Integer(0)


def _sorted(symbols: Iterable[sympy.Symbol]) -> list[sympy.Symbol]:
    return sorted(symbols, key=lambda entry: entry.name)

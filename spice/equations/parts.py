"""Expressions taken apart: cases in place of kinks, symbols in place of what reads all options or other cells."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy

from spice.equations.parsing import InCell, OverActions, symbol


def without_kinks(expression: sympy.Expr) -> sympy.Expr:
    """The same with min, max, abs and sign as cases, whose derivatives are those of each case, and powers of 0 as 0.

    A power's slope at 0 is infinite or not known (``0**rho`` by rho is 0 times log 0), but where a base is 0, it mostly
    is so whatever the parameters are: no reward, a value that has not been learned yet.
    """
    real = {entry: sympy.Symbol(entry.name, real=True) for entry in expression.free_symbols}
    found = expression.xreplace(real).rewrite((sympy.Min, sympy.Max, sympy.Abs, sympy.sign), sympy.Piecewise)
    # a condition that is itself one of two, which arrays would make numbers
    found = found.replace(sympy.ITE, lambda c, yes, no: sympy.Or(sympy.And(c, yes), sympy.And(sympy.Not(c), no)))
    found = found.replace(sympy.Pow, _power)
    return found.xreplace({entry: plain for plain, entry in real.items()})


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    power = base**exponent
    if exponent.is_integer or exponent.is_nonpositive or base.is_nonzero:
        return power
    return sympy.Piecewise((0, sympy.And(sympy.Eq(base, 0), exponent > 0)), (power, True))


def over_actions_inside_out(
    expression: sympy.Expr, name: str = "over"
) -> tuple[list[tuple[sympy.Symbol, OverActions]], sympy.Expr]:
    """Functions of all options, each with a symbol in its place; those that others read come first."""
    found: list[tuple[sympy.Symbol, OverActions]] = []
    while nodes := [n for n in expression.atoms(OverActions) if not n.args[0].has(OverActions)]:
        node = min(nodes, key=str)
        own = sympy.Symbol(f"{name}.{len(found)}")
        found.append((own, node))
        expression = expression.xreplace({node: own})
    return found, expression


def of_own_option(expression: sympy.Expr, known: Mapping[str, sympy.Expr]) -> sympy.Expr:
    """An expression with what is known of the option whose it is; functions of all options stay as they are."""
    nodes = {node: sympy.Dummy() for node in expression.atoms(OverActions)}
    found = expression.xreplace(nodes).subs({symbol(name): value for name, value in known.items()})
    return found.xreplace({dummy: node for node, dummy in nodes.items()})


def cells_as_symbols(expression: sympy.Expr) -> sympy.Expr:
    """A state's values in other cells as symbols of that name: ``q[1]``."""
    cells = expression.atoms(InCell)
    return expression.xreplace({e: sympy.Symbol(cell_name(str(e.args[0]), e.args[1:])) for e in cells})


def numpy_function(expression: sympy.Basic) -> tuple[list[str], Callable]:
    """An expression as a function of arrays, and the names of its arguments.

    In the function they have other names: a parameter called "greater" would hide the function of numpy.
    """
    read = sorted(expression.free_symbols, key=lambda entry: entry.name)
    own = {entry: sympy.Symbol(f"argument_{k}") for k, entry in enumerate(read)}
    return [entry.name for entry in read], sympy.lambdify(list(own.values()), expression.xreplace(own), "numpy")


def cell_name(state: str, levels: Sequence[Any]) -> str:
    """How a state's value in one cell is written."""
    return f"{state}[{', '.join(map(str, levels))}]"

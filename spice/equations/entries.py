"""What is given to a symbolic model, as expressions: from text, numbers, or sympy's own."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import sympy

from spice.equations.model_parts import Update
from spice.equations.parsing import InCell, OverActions, parse_condition, parse_expression, symbol
from spice.errors import ConfigError

KNOWN = (  # what expressions may be made of
    sympy.Symbol,
    sympy.Rational,
    sympy.Float,
    sympy.core.numbers.Exp1,
    sympy.Add,
    sympy.Mul,
    sympy.Pow,
    *(sympy.exp, sympy.log, sympy.tanh, sympy.sin, sympy.cos, sympy.sign),
    *(sympy.Abs, sympy.Min, sympy.Max, OverActions, InCell),
    *(sympy.Piecewise, sympy.functions.elementary.piecewise.ExprCondPair, sympy.ITE),
    *(sympy.core.relational.Relational, sympy.And, sympy.Or, sympy.Not, sympy.logic.boolalg.BooleanAtom),
)
EXACT = 2**53  # whole numbers beyond are no floats, and no integers of compiled code


def read_update(given: Any) -> Update:
    """An update from (state, where, expression) or (state, where, expression, when)."""
    if isinstance(given, Update):
        return given._replace(expression=read_expression(given.expression), when=read_condition(given.when))
    if isinstance(given, (str, sympy.Basic)) or not isinstance(given, Sequence) or not 3 <= len(given) <= 4:
        raise ConfigError(f"{given!r} is no update; write (state, where, expression) or add a condition: (..., when).")
    state, where, expression, *when = given
    return Update(str(state), str(where), read_expression(expression), read_condition(when[0] if when else None))


def read_choices(given: Any) -> Any:
    """An expression, a tuple of one for each option, or either by condition."""
    if isinstance(given, Mapping):
        if not given or None in given or any(isinstance(part, Mapping) for part in given.values()):
            raise ConfigError(
                "logits or probabilities by condition need conditions such as 'step == 1', and for each an expression, "
                "or one for each option."
            )
        return {read_condition(when): read_choices(part) for when, part in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) < 2:
            raise ConfigError(
                f"logits or probabilities are given for {len(given)} options; give one for each of two or more, or "
                "one expression for all."
            )
        return tuple(map(read_expression, given))
    return read_expression(given)


def read_condition(given: Any) -> sympy.Basic | None:
    """A condition from text or sympy's."""
    if given is None:
        return None
    if isinstance(given, str):
        return parse_condition(given)
    if isinstance(given, sympy.Basic) and not isinstance(given, sympy.Expr):
        return _plain(given)
    raise ConfigError(f"{given!r} is no condition: give text such as 'step == 1'.")


def read_expression(given: Any) -> sympy.Expr:
    """An expression from text, a number, or sympy's, whose symbols are taken by name."""
    if isinstance(given, str):
        return _plain(parse_expression(given))
    if isinstance(given, sympy.Expr):
        return _plain(given)
    if isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given):
        return parse_expression(repr(float(given)))
    raise ConfigError(f"{given!r} is no expression: give text, a finite number, or a sympy expression.")


def _plain(given: Any) -> Any:
    """With our own symbols, and numbers that compiled code can hold.

    Raises
    ------
    ConfigError
        If there is something in it that expressions do not know.
    """
    numbers = given.atoms(sympy.Number, sympy.NumberSymbol) - {sympy.E}
    large = {n: sympy.Float(n, 15) for n in numbers if not n.is_Rational or max(abs(n.p), n.q) > EXACT}
    found = given.xreplace(large | {entry: symbol(entry.name) for entry in given.free_symbols})
    for part in sympy.preorder_traversal(found):
        if not isinstance(part, KNOWN) or (part.is_Number and not math.isfinite(float(part))):
            raise ConfigError(
                f"{str(part)[:100]!r} in {str(given)[:100]!r} is not understood; expressions are made of finite real "
                "numbers, symbols, sums, products, powers, comparisons and the functions of parse_expression."
            )
    return found

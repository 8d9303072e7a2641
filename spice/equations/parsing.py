"""Expressions from text: Python's ``ast`` against a whitelist, node by node into sympy; text is never evaluated."""

import ast
import keyword
import math
import re
from collections.abc import Callable

import sympy

from spice.errors import ConfigError

JOINING = ("and", "or", "not")
LONGEST = 20_000  # characters; a discovered equation has some hundreds


def where(condition: sympy.Basic, yes: sympy.Expr, no: sympy.Expr) -> sympy.Expr:
    """One of two expressions by a condition."""
    return sympy.Piecewise((yes, condition), (no, True))


class OverActions(sympy.Function):
    """A function of an expression's values for all options."""

    nargs = (1,)
    is_number = False  # what it is of one that has no symbols depends on how many options there are


class SumActions(OverActions):
    """Sum over all options."""


class MaxActions(OverActions):
    """Maximum over all options."""


class Softmax(OverActions):
    """exp of the option's own value, over the sum of all options' (of those on offer)."""


class InCell(sympy.Function):
    """A state's value, the option's own, in one cell: ``q[1]`` is InCell(q, 1)."""


FUNCTIONS: dict[str, tuple[Callable, int | None]] = {  # with the number of arguments, None for two and more
    "exp": (sympy.exp, 1),
    "log": (sympy.log, 1),
    "sqrt": (sympy.sqrt, 1),
    "abs": (sympy.Abs, 1),
    "tanh": (sympy.tanh, 1),
    "min": (sympy.Min, None),
    "max": (sympy.Max, None),
    "where": (where, 3),
    "sum_actions": (SumActions, 1),
    "max_actions": (MaxActions, 1),
    "softmax": (Softmax, 1),
}
_BINARY: dict[type, Callable] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
_COMPARISONS: dict[type, Callable] = {
    ast.Lt: sympy.Lt,
    ast.LtE: sympy.Le,
    ast.Gt: sympy.Gt,
    ast.GtE: sympy.Ge,
    ast.Eq: sympy.Eq,
    ast.NotEq: sympy.Ne,
}


def symbol(name: str) -> sympy.Symbol:
    """The symbol of a name; expressions of our own making use the same."""
    return sympy.Symbol(name)


def parse_expression(text: str) -> sympy.Expr:
    """Read an expression such as ``"q + alpha * (reward - q)"``.

    Known are numbers, names, + - * / **, comparisons (also joined by and, or, not), the functions exp, log, sqrt, abs,
    tanh, min, max and ``where(condition, a, b)``; ``sum_actions(a)`` and ``max_actions(a)``, sum and maximum over all
    options, and ``softmax(a)``, exp(a) over its sum; ``q[1]``, the option's value of a state in another cell.
    Slopes of a power count as 0 where its base is 0, as in ``reward ** rho`` without a reward.

    Parameters
    ----------
    text : str
        The expression, in Python's notation.

    Returns
    -------
    sympy.Expr
        Of plain symbols with the names.

    Raises
    ------
    ConfigError
        If there is anything else in it.
    """
    found = _parse(text)
    if not isinstance(found, sympy.Expr) or found.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
        raise ConfigError(f"{text!r} has no real value; look for a division by zero, or a comparison without where.")
    return found


def parse_condition(text: str) -> sympy.Basic:
    """Read a condition such as ``"step == 1"``.

    Parameters
    ----------
    text : str
        Comparisons, also joined by and, or, not.

    Returns
    -------
    sympy.Basic
        A relation, or a Boolean expression of some.

    Raises
    ------
    ConfigError
        If it is none.
    """
    found = _parse(text)
    if isinstance(found, sympy.Expr):
        raise ConfigError(f"{text!r} is no condition; write a comparison, such as 'step == 1'.")
    return found


def _parse(text: str) -> sympy.Basic:
    if len(text) > LONGEST:
        raise ConfigError(f"an expression has {len(text)} characters, but at most {LONGEST} are read; split it.")
    try:
        return _read(ast.parse(text.strip(), mode="eval").body, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ConfigError):
            raise
        taken = [f"{word!r}" for word in re.findall(r"\w+", text) if keyword.iskeyword(word) and word not in JOINING]
        advice = "check its parentheses and operators"
        if taken:
            advice = f"{taken[0]} is a word of Python; choose another name"
        raise ConfigError(f"{text!r} cannot be read as an expression: {advice}.") from error
    except (OverflowError, TypeError) as error:  # sympy's, where it compares what has no value
        raise ConfigError(f"{text!r} compares what is no finite real number.") from error


def _read(node: ast.AST, text: str) -> sympy.Basic:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return _number(value, text)
        case ast.Name(id=name):
            if name in FUNCTIONS:
                raise ConfigError(f"{name!r} in {text!r} is a function; call it, or choose another name.")
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, text), _value(right, text), text)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _BINARY:
            return _BINARY[type(operation)](_value(left, text), _value(right, text))
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _COMPARISONS:
            return _COMPARISONS[type(operation)](_value(left, text), _value(right, text))
        case ast.BoolOp(op=operation, values=parts):
            return (sympy.And if isinstance(operation, ast.And) else sympy.Or)(*(_condition(p, text) for p in parts))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return sympy.Not(_condition(operand, text))
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=levels)):
            return InCell(symbol(name), *(_level(level, text) for level in levels))
        case ast.Subscript(value=ast.Name(id=name), slice=level):
            return InCell(symbol(name), _level(level, text))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _call(name, arguments, text)
    part = ast.get_source_segment(text.strip(), node) if isinstance(node, ast.expr) else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        raise ConfigError(f"{part} in {text!r} is text; levels are codes 0, 1, ... in the order of dataset.labels.")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        raise ConfigError(f"{part!r} in {text!r} has a ^: powers are written **.")
    raise ConfigError(
        f"{part or type(node).__name__!r} in {text!r} is not understood; expressions are made of numbers, names, "
        f"+ - * / **, comparisons, and {', '.join(FUNCTIONS)}."
    )


def _value(node: ast.AST, text: str) -> sympy.Expr:
    found = _read(node, text)
    if not isinstance(found, sympy.Expr):
        raise ConfigError(f"a comparison in {text!r} stands where a number must: write where(comparison, 1, 0).")
    return found


def _condition(node: ast.AST, text: str) -> sympy.Basic:
    found = _read(node, text)
    if isinstance(found, sympy.Expr):
        raise ConfigError(f"and, or and not in {text!r} must join comparisons, such as a == 1 and b > 0.")
    return found


def _level(node: ast.AST, text: str) -> sympy.Integer:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return sympy.Integer(value)
    raise ConfigError(f"a cell in {text!r} is named by its levels, whole numbers from 0 on: q[1], or q[0, 2].")


def _number(value: float, text: str) -> sympy.Expr:
    """Whole numbers exactly, if they are of a size that someone would write."""
    if isinstance(value, int) and abs(value) < 10**9:
        return sympy.Integer(value)
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ConfigError(f"a number in {text!r} is too large.")
    return sympy.Integer(int(value)) if value.is_integer() and abs(value) < 10**9 else sympy.Float(value)


def _power(base: sympy.Expr, exponent: sympy.Expr, text: str) -> sympy.Expr:
    """Powers of numbers as floats: 9**9**9 and (9 * x)**999999999 would be computed to their last digits."""
    coefficient, rest = base.as_coeff_Mul()
    if not exponent.is_number or (not base.is_number and (coefficient == 1 or not exponent.is_Integer)):
        return base**exponent
    if not base.is_number:
        return _power(coefficient, exponent, text) * rest**exponent
    try:
        result = float(base) ** float(exponent)
    except (OverflowError, ZeroDivisionError, TypeError):
        result = math.nan
    if isinstance(result, complex) or not math.isfinite(result) or (result == 0 and base != 0):
        raise ConfigError(f"a power in {text!r} is no finite real number.")
    return _number(result, text)


def _call(name: str, arguments: list[ast.expr], text: str) -> sympy.Basic:
    function, number = FUNCTIONS[name]
    if (number is not None and len(arguments) != number) or (number is None and len(arguments) < 2):
        raise ConfigError(f"{name} in {text!r} has {len(arguments)} arguments, but takes {number or 'two or more'}.")
    if name == "where":
        condition = _read(arguments[0], text)
        if isinstance(condition, sympy.Expr):
            condition = sympy.Ne(condition, 0)  # where(chosen, a, b)
        return function(condition, *(_value(entry, text) for entry in arguments[1:]))
    return function(*(_value(entry, text) for entry in arguments))

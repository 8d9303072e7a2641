"""What is given to a symbolic model, as expressions: from text, numbers, or sympy's own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import sympy

from spice.equations.model_parts import WHERE, Update
from spice.equations.parsing import InCell, OverActions, parse_condition, parse_expression, symbol
from spice.errors import ConfigError
from spice.resources.arguments import in_words

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


class Entries:
    """Reads a model's parts; what cannot be read is noted, all of it, and something harmless stands in its place.

    Attributes
    ----------
    problems : list of str
        What cannot be read, and where.
    incomplete : bool
        Whether a whole part is missing: what else is wrong cannot be known then.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.incomplete = False

    def named(self, part: str, given: Any) -> list[tuple[Any, Any]]:
        """Names with what they stand for."""
        if isinstance(given, Mapping):
            return list(given.items())
        self._lacks(f"{part} must be a dict by name, not {in_words(given)}.")
        return []

    def names(self, part: str, given: Any) -> tuple[Any, ...]:
        """Names, also one or None."""
        if given is None or isinstance(given, str):
            return () if given is None else (given,)
        if isinstance(given, Iterable):
            return tuple(given)
        self._lacks(f"{part} must be a list of names, not {in_words(given)}.")
        return ()

    def updates(self, given: Any) -> tuple[Update, ...]:
        """Updates from (state, where, expression) or (state, where, expression, when)."""
        wanted = "updates must be a list of (state, where, expression)"
        if isinstance(given, (str, Mapping, sympy.Basic)) or not isinstance(given, Iterable):
            self._lacks(f"{wanted}, not {in_words(given)}.")
            return ()
        entries = list(given)
        if len(entries) > 2 and isinstance(entries[1], str) and entries[1] in WHERE:
            self._lacks(f"{wanted}, also where there is one: [{tuple(entries[:4])!r}].")
            return ()
        return tuple(update for entry in entries for update in self._update(entry))

    def expression(self, place: str, given: Any) -> sympy.Expr:
        """An expression; 0 if it cannot be read."""
        try:
            return read_expression(given)
        except ConfigError as error:
            self.problems.append(f"{place}: {error}")
            return sympy.Integer(0)

    def condition(self, place: str, given: Any) -> sympy.Basic | None:
        """A condition; None if there is none, or it cannot be read."""
        try:
            return read_condition(given)
        except ConfigError as error:
            self.problems.append(f"{place}: {error}")
            return None

    def choices(self, kind: str, given: Any) -> Any:
        """Logits or probabilities: an expression, a tuple of one for each option, or either by condition."""
        if isinstance(given, Mapping):
            if not given or None in given or any(isinstance(part, Mapping) for part in given.values()):
                self.problems.append(
                    f"{kind} by condition need conditions such as 'step == 1', and for each an expression, or one for "
                    "each option."
                )
                return sympy.Integer(0)
            found = [(self.condition(kind, when), self.choices(kind, part)) for when, part in given.items()]
            return {when: part for when, part in found if when is not None}
        if isinstance(given, Sequence) and not isinstance(given, str):
            if len(given) < 2:
                self.problems.append(
                    f"{kind} are given for {len(given)} options; give one for each of two or more, or one expression "
                    "for all."
                )
                return sympy.Integer(0)
            return tuple(self.expression(kind, part) for part in given)
        return self.expression(kind, given)

    def _lacks(self, problem: str) -> None:
        self.problems.append(problem)
        self.incomplete = True

    def _update(self, given: Any) -> list[Update]:
        """One, or none if it is none."""
        is_update = isinstance(given, Update)
        if not is_update and (isinstance(given, str) or not isinstance(given, Sequence) or not 3 <= len(given) <= 4):
            advice = "write (state, where, expression) or add a condition: (..., when)"
            self._lacks(f"{in_words(given)} is no update; {advice}.")
            return []
        needs = given.needs_outcome if is_update else None
        state, where, expression, when = (*given, None)[:4]
        place = f"the update of {str(state)!r}"
        read = self.expression(place, expression), self.condition(place, when)
        return [Update(str(state), str(where), *read, needs)]


def read_condition(given: Any) -> sympy.Basic | None:
    """A condition from text or sympy's."""
    if given is None:
        return None
    if isinstance(given, str):
        return parse_condition(given)
    if isinstance(given, sympy.Basic) and not isinstance(given, sympy.Expr):
        return _plain(given)
    raise ConfigError(f"{in_words(given)} is no condition: give text such as 'step == 1'.")


def read_expression(given: Any) -> sympy.Expr:
    """An expression from text, a number, or sympy's, whose symbols are taken by name."""
    if isinstance(given, str):
        return _plain(parse_expression(given))
    if isinstance(given, sympy.Expr):
        return _plain(given)
    if isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given):
        return parse_expression(repr(float(given)))
    raise ConfigError(f"{in_words(given)} is no expression: give text, a finite number, or a sympy expression.")


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

"""Names and expressions as LaTeX and as text."""

from collections.abc import Mapping
from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
SHORT = {"reward": "r", "outcome": "o"}
PREVIOUS = "previous_"


class _TermOrder:
    """What adds comes before what is taken away, short terms before long ones: q + alpha*(reward - q)."""

    def _as_ordered_terms(self, expr: sympy.Expr, order: Any = None) -> list[sympy.Expr]:
        terms = expr.as_ordered_terms()
        return sorted(terms, key=lambda term: (term.could_extract_minus_sign(), len(term.free_symbols)))


class _Latex(_TermOrder, LatexPrinter):
    def _print_SumActions(self, expr: sympy.Expr) -> str:  # noqa: N802, sympy's names
        return rf"\sum_{{\mathrm{{options}}}} {self.parenthesize(expr.args[0], PRECEDENCE['Mul'])}"

    def _print_MaxActions(self, expr: sympy.Expr) -> str:  # noqa: N802
        return rf"\max_{{\mathrm{{options}}}} {self.parenthesize(expr.args[0], PRECEDENCE['Mul'])}"

    def _print_Softmax(self, expr: sympy.Expr) -> str:  # noqa: N802
        return rf"\mathrm{{softmax}}\left({self.doprint(expr.args[0])}\right)"

    def _print_InCell(self, expr: sympy.Expr) -> str:  # noqa: N802
        return rf"{self.doprint(expr.args[0])}\left[{', '.join(map(self.doprint, expr.args[1:]))}\right]"


class _Text(_TermOrder, StrPrinter):
    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:  # noqa: N802, sympy's name
        *branches, last = expr.args
        text = self.doprint(last.args[0])
        for value, condition in reversed(branches):
            text = f"where({self.doprint(condition)}, {self.doprint(value)}, {text})"
        return text

    def _print_Relational(self, expr: sympy.core.relational.Relational) -> str:  # noqa: N802
        return f"{self.doprint(expr.lhs)} {expr.rel_op} {self.doprint(expr.rhs)}"

    def _call(self, expr: sympy.Expr) -> str:
        return f"{type(expr).__name__.lower()}({', '.join(map(self.doprint, expr.args))})"

    def _print_SumActions(self, expr: sympy.Expr) -> str:  # noqa: N802
        return f"sum_actions({self.doprint(expr.args[0])})"

    def _print_MaxActions(self, expr: sympy.Expr) -> str:  # noqa: N802
        return f"max_actions({self.doprint(expr.args[0])})"

    def _print_InCell(self, expr: sympy.Expr) -> str:  # noqa: N802
        return f"{self.doprint(expr.args[0])}[{', '.join(map(self.doprint, expr.args[1:]))}]"

    def _print_And(self, expr: sympy.Basic) -> str:  # noqa: N802
        return " and ".join(f"({self.doprint(arg)})" for arg in expr.args)

    def _print_Or(self, expr: sympy.Basic) -> str:  # noqa: N802
        return " or ".join(f"({self.doprint(arg)})" for arg in expr.args)

    def _print_Not(self, expr: sympy.Basic) -> str:  # noqa: N802
        return f"not ({self.doprint(expr.args[0])})"

    def _print_Exp1(self, expr: sympy.Expr) -> str:  # noqa: N802
        return "exp(1)"

    _print_Min = _print_Max = _print_Abs = _print_Softmax = _call  # noqa: N815


def rounded(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """An expression with its numbers to some significant digits."""
    return expression.xreplace({n: sympy.Float(n, digits) for n in expression.atoms(sympy.Float)})


def text_expression(expression: sympy.Basic) -> str:
    """An expression in the notation of `parse_expression`, which reads it back."""
    return _Text({"full_prec": False}).doprint(expression)


def latex_name(name: str) -> str:
    r"""A name as LaTeX: ``alpha_reward`` becomes ``\alpha_{\mathrm{reward}}``, ``x_value`` ``x_{\mathrm{value}}``.

    Parameters
    ----------
    name : str
        The name: what stands before the first underscore is the letter, the rest its index.
    """
    previous = name.startswith(PREVIOUS)
    name = name.removeprefix(PREVIOUS)
    head, *rest = [part for part in SHORT.get(name, name).split("_") if part] or ["x"]
    letter = rf"\{head}" if head in GREEK.split() else head if len(head) == 1 else rf"\mathrm{{{head}}}"
    index = r"\,".join(rest)
    parts = [rest[0] if index.isdigit() else rf"\mathrm{{{index}}}"] * bool(rest) + [r"\mathrm{before}"] * previous
    return letter + (rf"_{{{', '.join(parts)}}}" if parts else "")


def latex_expression(expression: sympy.Basic, digits: int = 3, names: Mapping[str, str] | None = None) -> str:
    """An expression as LaTeX.

    Parameters
    ----------
    expression : sympy.Expr
        The expression.
    digits : int, default 3
        Significant digits of its numbers.
    names : mapping of str to str, optional
        LaTeX of some symbols; the others' is `latex_name`'s.
    """
    own = names or {}
    symbols = {entry: own.get(entry.name) or latex_name(entry.name) for entry in expression.free_symbols}
    printer = _Latex({"symbol_names": symbols, "mul_symbol": r"\,", "full_prec": False})
    return printer.doprint(rounded(expression, digits) if isinstance(expression, sympy.Expr) else expression)

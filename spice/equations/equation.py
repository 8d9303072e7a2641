"""One equation: the update of one state for one participant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spice.equations.terms import CONSTANT, term_exponents

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True)
class Equation:
    """Next value of a state as a polynomial.

    Attributes
    ----------
    module : str
        The module that the equation stands for; also the name of the state's value among the terms.
    controls : tuple of str
        Control signals that may appear, in the order of the module's inputs.
    coefficients : dict of str to float
        Coefficient of each term that is present: ``"1"``, the module's name, a control, powers
        (``"c_reward^2"``) and products (joined by a space).
    """

    module: str
    controls: tuple[str, ...]
    coefficients: dict[str, float] = field(default_factory=dict)

    @property
    def features(self) -> tuple[str, ...]:
        """Factors that may appear: the state's value, then the control signals."""
        return (self.module, *self.controls)

    def multiplier(self, inputs: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """How much of the state's value is carried on, the derivative at small values.

        Parameters
        ----------
        inputs : mapping of str to array_like, optional
            Values of the control signals at which to evaluate (default 0).

        Returns
        -------
        np.ndarray
            Terms linear in the state, summed; outside [-1, 1] the state grows from trial to trial.
        """
        inputs = inputs or {}
        total = np.zeros(np.broadcast_shapes(*(np.shape(value) for value in inputs.values())) if inputs else ())
        for term, coefficient in self.coefficients.items():
            power, *others = term_exponents(self.features, term)
            if power == 1:
                factors = [np.asarray(inputs.get(n, 0.0)) ** p for n, p in zip(self.controls, others, strict=True) if p]
                total = (
                    total + coefficient * np.prod(np.broadcast_arrays(*factors), axis=0)
                    if factors
                    else total + coefficient
                )
        return total

    def to_string(self, digits: int = 2) -> str:
        """The equation as one line, e.g. ``(x_value)[k+1] = -0.30 1 + 0.70 x_value[k] + 0.90 c_reward[k]``."""
        right = ""
        for term, coefficient in self.coefficients.items():
            sign = ("-" if coefficient < 0 else "") if not right else (" - " if coefficient < 0 else " + ")
            right += f"{sign}{format_number(abs(coefficient), digits)} {_indexed(term)}"
        return f"({self.module})[k+1] = {right or f'{0.0:.{digits}f}'}"

    __str__ = to_string

    def to_latex(self, digits: int = 2) -> str:
        r"""The equation as LaTeX, e.g. ``x_{\mathrm{value}}[k+1] = -0.30 + 0.70\,x_{\mathrm{value}}[k]``."""
        from spice.equations.latex import latex_name

        right = ""
        for term, coefficient in self.coefficients.items():
            sign = ("-" if coefficient < 0 else "") if not right else (" - " if coefficient < 0 else " + ")
            right += sign + format_number(abs(coefficient), digits)
            for factor in [] if term == CONSTANT else term.split(" "):
                name, caret, power = factor.partition("^")
                right += rf"\,{latex_name(name)}[k]" + (f"^{{{power}}}" if caret else "")
        return f"{latex_name(self.module)}[k+1] = {right or f'{0.0:.{digits}f}'}"

    def to_sympy(self) -> "sympy.Expr":
        """The right-hand side as a sympy expression.

        Returns
        -------
        sympy.Expr
            Of plain symbols with the names of `features`: ``sympy.Symbol("c_reward")`` is the one in it.
        """
        import sympy

        symbols = [sympy.Symbol(name) for name in self.features]
        products = (
            coefficient * sympy.Mul(*(s**p for s, p in zip(symbols, term_exponents(self.features, term), strict=True)))
            for term, coefficient in self.coefficients.items()
        )
        return sympy.Add(*products)


def format_number(value: float, digits: int = 2) -> str:
    """Fixed decimals, or two significant digits where these would hide the number (rewards in points)."""
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 0.5 * 10 ** (1 - digits) else f"{value:.2g}"


def unite_terms(equations: Iterable[Equation], features: Sequence[str]) -> list[str]:
    """All terms that appear in any of the equations, the constant first, then by degree and name."""
    terms = {term for equation in equations for term in equation.coefficients}
    return sorted(
        terms, key=lambda term: (sum(term_exponents(features, term)), [-p for p in term_exponents(features, term)])
    )


def _indexed(term: str) -> str:
    if term == CONSTANT:
        return term
    factors = (factor.partition("^") for factor in term.split(" "))
    return " ".join(f"{name}[k]{caret}{power}" for name, caret, power in factors)

"""Equations as data: terms, coefficients, printing, and modules that evaluate them."""

from spice.equations.equation import Equation, format_number
from spice.equations.module import EquationModule, with_equations
from spice.equations.terms import term_exponents, term_name

__all__ = ["Equation", "EquationModule", "format_number", "term_exponents", "term_name", "with_equations"]

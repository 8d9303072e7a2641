"""Equations as data: terms, coefficients, printing, and modules that evaluate them."""

from spice.equations.equation import Equation
from spice.equations.module import EquationModule
from spice.equations.terms import term_exponents, term_name

__all__ = ["Equation", "EquationModule", "term_exponents", "term_name"]

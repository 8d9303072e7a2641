"""Equations as data: terms, coefficients, printing, modules that evaluate them, and whole models as expressions."""

from typing import TYPE_CHECKING, Any

from spice.equations.compiled_model import CompiledModel, HiddenStep, Step
from spice.equations.equation import Equation, format_number
from spice.equations.module import EquationModule, with_equations
from spice.equations.terms import term_exponents, term_name

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter, State, SymbolicModel, Update

__all__ = [
    "CompiledModel",
    "Equation",
    "EquationModule",
    "HiddenStep",
    "Parameter",
    "State",
    "Step",
    "SymbolicModel",
    "Update",
    "format_number",
    "term_exponents",
    "term_name",
    "with_equations",
]


def __getattr__(name: str) -> Any:
    """Import what needs sympy, which takes half a second, when it is first asked for."""
    if name in ("Parameter", "State", "SymbolicModel", "Update"):
        from spice.equations import symbolic

        return getattr(symbolic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

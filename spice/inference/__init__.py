"""Stage 3: equations refined by the likelihood of the choices; and every way of fitting a model to choices."""

import importlib
from typing import TYPE_CHECKING, Any

from spice.inference.recovery import RecoveryReport
from spice.inference.results import CanonicalForm, Results, canonical_block
from spice.inference.stage import Stage, refine_equations

if TYPE_CHECKING:
    from spice.inference.fitting.front import fit, objective
    from spice.inference.fitting.particles import ParticleFilter
    from spice.inference.fitting.selection import likelihood_ratio_test, select_models

__all__ = [
    "CanonicalForm",
    "ParticleFilter",
    "RecoveryReport",
    "Results",
    "Stage",
    "canonical_block",
    "fit",
    "likelihood_ratio_test",
    "objective",
    "refine_equations",
    "select_models",
]

_LATER = {  # name: module
    "ParticleFilter": "particles",
    "fit": "front",
    "likelihood_ratio_test": "selection",
    "objective": "front",
    "select_models": "selection",
}


def __getattr__(name: str) -> Any:
    """Import what needs the compiler, which takes a while, when it is first asked for."""
    if name in _LATER:
        return getattr(importlib.import_module(f"spice.inference.fitting.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Stage 3: equations refined by the likelihood of the choices; and every way of fitting a model to choices."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spice.inference.fitting.front import fit, objective
    from spice.inference.fitting.likelihoods import likelihood_of
    from spice.inference.fitting.particles import ParticleFilter
    from spice.inference.fitting.selection import likelihood_ratio_test, select_models
    from spice.inference.recovery import RecoveryReport
    from spice.inference.results import CanonicalForm, Results, canonical_block
    from spice.inference.stage import Stage, refine_equations

__all__ = [
    "CanonicalForm",
    "ParticleFilter",
    "RecoveryReport",
    "Results",
    "Stage",
    "canonical_block",
    "fit",
    "likelihood_of",
    "likelihood_ratio_test",
    "objective",
    "refine_equations",
    "select_models",
]

_LATER = {  # name: module
    "CanonicalForm": "results",
    "ParticleFilter": "fitting.particles",
    "RecoveryReport": "recovery",
    "Results": "results",
    "Stage": "stage",
    "canonical_block": "results",
    "fit": "fitting.front",
    "likelihood_of": "fitting.likelihoods",
    "likelihood_ratio_test": "fitting.selection",
    "objective": "fitting.front",
    "refine_equations": "stage",
    "select_models": "fitting.selection",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: stage 3 needs pysindy, fitting the compiler; neither need wait for the other's."""
    if name in _LATER:
        return getattr(importlib.import_module(f"spice.inference.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

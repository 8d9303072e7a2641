"""Stage 3: equations refined by the likelihood of the choices; and every way of fitting a model to choices."""

from typing import TYPE_CHECKING, Any

from spice.inference.recovery import RecoveryReport
from spice.inference.results import CanonicalForm, Results, canonical_block
from spice.inference.stage import Stage, refine_equations

if TYPE_CHECKING:
    from spice.inference.fitting.front import fit, objective

__all__ = [
    "CanonicalForm",
    "RecoveryReport",
    "Results",
    "Stage",
    "canonical_block",
    "fit",
    "objective",
    "refine_equations",
]


def __getattr__(name: str) -> Any:
    """Import what needs the compiler, which takes a while, when it is first asked for."""
    if name in ("fit", "objective"):
        from spice.inference.fitting import front

        return getattr(front, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

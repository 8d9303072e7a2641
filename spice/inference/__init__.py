"""Stage 3: equations refined by the likelihood of the choices."""

from spice.inference.recovery import RecoveryReport
from spice.inference.results import CanonicalForm, Results, canonical_block
from spice.inference.stage import Stage, refine_equations

__all__ = ["CanonicalForm", "RecoveryReport", "Results", "Stage", "canonical_block", "refine_equations"]

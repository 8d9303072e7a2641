"""Stage 3 for models of any form: numbers of SINDy's terms estimated anew, terms that are not needed dropped."""

from spice.inference.general.refine import refine_generally

__all__ = ["refine_generally"]

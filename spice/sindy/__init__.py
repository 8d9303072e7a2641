"""Stage 2: from a network's recorded signals to sparse equations."""

from spice.sindy.distil import distil
from spice.sindy.regression import OPTIMIZERS

__all__ = ["OPTIMIZERS", "distil"]

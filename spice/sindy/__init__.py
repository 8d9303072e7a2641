"""Stage 2: from a network's recorded signals to sparse equations."""

from spice.sindy.distil import distil
from spice.sindy.find import find_equations
from spice.sindy.regression import OPTIMIZERS

__all__ = ["OPTIMIZERS", "distil", "find_equations"]

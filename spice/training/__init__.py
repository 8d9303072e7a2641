"""Stage 1: fit a network to choices."""

from spice.training.fit import fit_network
from spice.training.loss import negative_log_likelihood
from spice.training.result import Epoch, TrainingResult

__all__ = ["Epoch", "TrainingResult", "fit_network", "negative_log_likelihood"]

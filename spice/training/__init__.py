"""Stage 1: fit a network to choices."""

from spice.training.fit import TrainingResult, fit_network
from spice.training.loss import negative_log_likelihood

__all__ = ["TrainingResult", "fit_network", "negative_log_likelihood"]

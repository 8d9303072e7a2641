"""From choice data to readable equations."""

from typing import Any

from spice.version import __version__

__all__ = ["ModelEstimator", "SpiceConfig", "SpiceEstimator", "__version__"]


def __getattr__(name: str) -> Any:
    """``from spice import SpiceEstimator`` works; nothing is imported before it is asked for."""
    if name in ("SpiceEstimator", "SpiceConfig"):
        from spice import estimator

        return getattr(estimator, name)
    if name == "ModelEstimator":
        from spice.model_estimator import ModelEstimator

        return ModelEstimator
    raise AttributeError(f"module 'spice' has no attribute {name!r}")

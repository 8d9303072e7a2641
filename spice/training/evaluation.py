"""How the loss of a network is evaluated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """How the loss is evaluated.

    Attributes
    ----------
    at_once : bool
        Whether the gradient is taken of all trials at once (`spice.resources.parallel`), or through the trial loop.
    sweeps : bool
        Whether the states are found by Newton sweeps over all trials, or trial by trial.
    coupled : bool
        Whether the states of an option depend on each other.
    reason : str
        Why.
    """

    at_once: bool = False
    sweeps: bool = False
    coupled: bool = True
    reason: str = ""

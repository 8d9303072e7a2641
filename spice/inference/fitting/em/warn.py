"""What a user must know of a population fitted by EM."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spice.errors import ConvergenceWarning, IdentificationWarning, first_of
from spice.inference.fitting.em.modes import Points
from spice.inference.fitting.em.steps import FEW

ONE = 1e-7  # relative singular value below which a combination of parameters changes no choice at all
PART = 0.1  # of such a combination, from which on a parameter is named
KNOWN = 1.0  # standard error of a mean on the unconstrained scale, below which the choices tell it
EDGE = 4.0  # standard deviations of the default prior, beyond which a mean has run to a bound


@dataclass(frozen=True)
class Edges:
    """Bounded parameters of which the choices tell no more than that everybody is near a bound.

    Attributes
    ----------
    names : tuple of str
        The parameters.
    values : np.ndarray, shape (n_names,)
        Population means, on the natural scale.
    endless : np.ndarray of bool, shape (n_names,)
        Whether there is no bound where they went.
    """

    names: tuple[str, ...]
    values: np.ndarray
    endless: np.ndarray

    def notes(self) -> list[str]:
        """For everybody's reason."""
        ends = np.where(self.endless, "runs to infinity", "is at a bound")
        return [f"the population's mean of {name} {end}" for name, end in zip(self.names, ends, strict=True)]

    def told(self) -> list[tuple[type[Warning], str]]:
        """As warnings; where there is no bound, EM cannot come to an end."""
        return [
            (
                ConvergenceWarning if endless else IdentificationWarning,
                f"the population's mean of {name} ran to {value:.3g}: the choices say only that everybody's is near a "
                "bound, or beyond all measure; leave the parameter out, or put a number in its place.",
            )
            for name, value, endless in zip(self.names, self.values, self.endless, strict=True)
        ]


def edges_of(em: Any, mean_se: np.ndarray) -> Edges:
    """Where the population has run to a bound; ``mean_se`` (n_parameters,) is of its means, unconstrained scale."""
    scale, theta = em.scale, em.means().mean(0)
    far = np.abs(theta - em.prior.usual) > EDGE * np.sqrt(em.prior.wide)
    far &= np.isfinite(scale.low) | np.isfinite(scale.high)
    far &= ~(mean_se < KNOWN)  # else it is known where it is: an inverse temperature where rewards are in the thousands
    bound = np.where(theta > em.prior.usual, scale.high, scale.low)
    names = tuple(name for name, is_far in zip(scale.names, far, strict=True) if is_far)
    return Edges(names, scale.natural(theta[None])[0][far], np.isinf(bound)[far])


def warn(em: Any, edges: Edges, tolerance: float, max_iterations: int, labels: Sequence[Any], stacklevel: int) -> None:
    """Say what did not converge, for whom, and what the choices do not tell."""
    found: list[tuple[type[Warning], str]] = [
        (ConvergenceWarning, _unsettled(em, tolerance, max_iterations)),
        (ConvergenceWarning, _unsure(em, labels)),
    ]
    found += [*((IdentificationWarning, text) for text in _indistinct(em)), *edges.told()]
    for category, text in found:
        if text:
            warnings.warn(text, category, stacklevel=stacklevel)


def _unsettled(em: Any, tolerance: float, max_iterations: int) -> str:
    if em.settled:
        return ""
    usual = "use fewer parameters." if em.diagonal else "use covariance='diagonal' or fewer parameters."
    if em.drawn:
        few = f"too few draws told of {em.few.sum()} of {len(em.few)} people"
        what = "the population kept moving" if em.few.mean() < FEW else few
        return f"EM did not converge: by importance sampling {what}; {usual}"
    rugged = "no part of that step raises the evidence, for the likelihood is rugged: "
    return (
        f"EM did not converge: the last of {em.n_iterations} iterations would change the population by "
        f"{em.change:.1e}, {em.scale.names[em.moving]} most, more than tolerance={tolerance:g}; "
        + (rugged if em.n_iterations < max_iterations else "raise max_iterations, ")
        + usual
    )


def _unsure(em: Any, labels: Sequence[Any]) -> str:
    people = [repr(labels[person]) for person in em.active[em.unsure]]
    if not people:
        return ""
    return (
        f"the best mode may not have been found for participants {first_of(people)}: see result.reason. Their "
        "likelihood is rugged: give another start=, or fewer parameters."
    )


def _indistinct(em: Any) -> list[str]:
    """Combinations of parameters that change nobody's choices: with everybody at one point, all slopes vanish."""
    if len(em.active) <= len(em.scale.names):
        return []  # so few slopes lie in a plane in any case
    theta = np.tile(em.means().mean(0), (len(em.active), 1))
    slopes = Points.at(em.evaluate, theta, em.active).gradient
    size = np.sqrt((slopes**2).sum(0))
    names = np.array(em.scale.names, dtype=object)
    _, values, axes = np.linalg.svd(slopes / np.where(size > 0, size, 1.0), full_matrices=False)
    parts = [names[np.abs(axis) > PART] for axis in axes[values < ONE * values.max()]]
    problems = [f"do not depend on {name}" for name in names[size == 0]] + [
        f"cannot tell {', '.join(part[:-1])} and {part[-1]} apart" for part in parts if len(part) > 1
    ]
    return [
        f"the choices {problem}: what EM gives there follows from where it began, or from priors; put a number in the "
        "place of one."
        for problem in problems
    ]

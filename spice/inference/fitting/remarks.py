"""What to know of each participant's estimates: bounds, flat directions, data that say nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spice.inference.fitting.curvature import FAR, Curvature, curvature_of
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.descent import ENOUGH, ITERATIONS
from spice.inference.fitting.optima import Optima
from spice.inference.fitting.targets import Target
from spice.inference.fitting.transforms import FREE
from spice.resources.dataset import DatasetRNN

RISE = 0.1  # nats by which a function rises on the way back, if a parameter has run away on it
ON = 2.0  # further on, on the unconstrained scale, where it is flat then
NO_TRIALS, CONVERGED = "no scored choices", "converged"


@dataclass(frozen=True)
class Remarks:
    """Of each row.

    Attributes
    ----------
    values : np.ndarray, shape (n_rows, n_parameters)
        Estimates on the natural scale: the bound where one holds them, or where an optimiser gave up on the way.
    at_bound : np.ndarray of bool, shape (n_rows, n_parameters)
        What a bound holds, be it infinity.
    curvature : Curvature
        With these held.
    converged : np.ndarray of bool, shape (n_rows,)
        Whether there is an optimum, and it was reached.
    reason : list of str, length n_rows
        Why, or why not.
    """

    values: np.ndarray
    at_bound: np.ndarray
    curvature: Curvature
    converged: np.ndarray
    reason: list[str]


def remarks_on(
    target: Target, found: Optima, people: np.ndarray, n_scored: np.ndarray, n_chosen: np.ndarray
) -> Remarks:
    """Say what there is to know.

    Parameters
    ----------
    target : Target
        What was minimised.
    found : Optima
        Rows.
    people : np.ndarray of int, shape (n_rows,)
        Their participants, by place in the target's likelihood.
    n_scored, n_chosen : np.ndarray of int, each (n_rows,)
        How many choices they made, and of how many options.
    """
    held = np.isinf(found.theta)
    curvature = curvature_of(target.scale, found.theta, found.rows.hessian, held)
    ran = _ran_away(target, found, people, curvature.lost & (n_scored > 0)[:, None])
    at_bound = held | (ran != 0)
    if (ran != 0).any():
        curvature = curvature_of(target.scale, found.theta, found.rows.hessian, at_bound)
    bound = np.where(ran > 0, target.scale.high, target.scale.low)
    endless = (ran != 0) & np.isinf(bound)
    # a standard error of so many logits, logarithms, or times the number itself
    unit = np.where(target.scale.kinds == FREE, np.maximum(np.abs(found.theta), 1.0), 1.0)
    with np.errstate(invalid="ignore"):
        hardly = (curvature.errors > FAR * unit) & (n_scored > 0)[:, None]
    values = target.scale.natural(found.theta)
    converged = found.converged & ~curvature.saddle & ~endless.any(1)
    names = np.array(target.scale.names, dtype=object)
    notes: list[tuple[np.ndarray, Sequence[str]]] = [
        (n_scored == 0, [f"{NO_TRIALS}: the estimates are the priors' modes"]),
        (~found.converged, [f"no optimum within {ITERATIONS} steps"]),
        (found.converged & curvature.saddle, ["the likelihood rises in a direction from there: try other starts"]),
        _about("at a bound", at_bound & ~endless, names),
        _about("runs to infinity", endless, names),
        _about("hardly identified", hardly & ~at_bound, names),
        _about("not identified", curvature.lost & ~at_bound & (n_scored > 0)[:, None], names),
    ]
    reason = [CONVERGED] * len(people)
    for which, texts in notes:
        for place, row in enumerate(np.flatnonzero(which)):
            reason[row] = with_note(reason[row], texts[place if len(texts) > 1 else 0])
    reason = [with_note(text, note) for text, note in zip(reason, little_data(n_scored, n_chosen), strict=True)]
    return Remarks(values, at_bound, curvature, converged, reason)


def little_data(n_scored: np.ndarray, n_chosen: np.ndarray) -> list[str]:
    """Of each row, what there is to say of very few data: nothing, of most people.

    Parameters
    ----------
    n_scored, n_chosen : np.ndarray of int, each (n_rows,)
        How many choices they made, and of how many options.
    """
    one = np.where(n_scored == 1, "there is one scored choice", "only one option was ever chosen")
    return np.where((n_scored > 0) & (n_chosen == 1), one, "").tolist()


def with_note(reason: str, note: str) -> str:
    """A reason with something more to know of the participant."""
    return "; ".join(text for text in (reason, note) if text and text != CONVERGED) or CONVERGED


def options_chosen(dataset: DatasetRNN, participants: Sequence[int]) -> np.ndarray:
    """Number of different options among each participant's scored choices, (n_participants,)."""
    place = {number: k for k, number in enumerate(participants)}
    rows = np.array([place[number] for number in dataset.participants.tolist()])
    counts = np.zeros((len(participants), dataset.n_actions))
    np.add.at(counts, rows, dataset.ys.nan_to_num(0.0).sum(1).numpy())
    return (counts > 0).sum(1)


def _about(title: str, which: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The rows in which there are any, and a note for each."""
    rows = np.any(which, axis=1)
    notes = [f"{title}: {', '.join(names[entry])}" for entry in which[rows]]
    return rows, notes


def _ran_away(target: Target, found: Optima, people: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Which parameters have gone where the function is flat because it was lower there: 1 up, -1 down, else 0."""
    direction = np.zeros(flat.shape, int)
    rows, columns = np.nonzero(flat & np.isfinite(found.theta))
    if not len(rows):
        return direction
    here, mean = found.theta[rows, columns], theta_moments(target.parameters)[0][columns]
    sign = np.sign(here - mean)

    def rise(value: np.ndarray) -> np.ndarray:
        theta = found.theta[rows]
        theta[np.arange(len(rows)), columns] = value
        return target(theta, people[rows]).value - found.rows.value[rows]

    # so far out it has run away even if others ran with it, and back along their ridge the function is flat
    far = np.abs(here) > np.where(target.scale.kinds[columns] == FREE, 3 * FAR, FAR)
    ran = (rise(mean) > RISE) & (far | (rise(here + ON * sign) < ENOUGH))
    direction[rows[ran], columns[ran]] = sign[ran]
    return direction

"""How sure the numbers are: standard errors, intervals, and the probability that a term is in the model."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from spice.inference.canonical import RATES

if TYPE_CHECKING:
    from spice.inference.refit import Fits
    from spice.inference.search import Visited
    from spice.inference.structure import Layout

Name = TypeVar("Name", bound=Hashable)

CLOSE = 2.0  # units of the criterion within which a structure is not decided against
VAGUE = 4.0  # half-width of an interval in logits: from there on it says more on the rate's own scale
STEP = 1e-5  # of numerical derivatives, relative to 1 + the number
PART = 0.1  # of a number in a direction of length 1: less is rounding
UNKNOWN = 1e-4  # information in a direction that is none: standard errors of 100 logit units


@dataclass(frozen=True)
class Estimate:
    """One number with its uncertainty.

    Attributes
    ----------
    value, se, low, high : float
        Estimate, standard error and 95 % interval; NaN where the data do not identify it, or a bound holds it.
    at_bound : bool
        Whether a bound holds it: the likelihood would rise beyond. Profile and bootstrap intervals hold there too.
    """

    value: float
    se: float
    low: float
    high: float
    at_bound: bool = False


def covariance(fit: "Fits") -> np.ndarray:
    """Covariance of the free numbers of one fit, from the expected information and the priors.

    What a bound holds counts as known; rows of numbers that the data alone cannot identify are NaN.

    Parameters
    ----------
    fit : Fits
        One row.

    Returns
    -------
    np.ndarray, shape (n_numbers, n_numbers)
        0 for numbers that are not free.
    """
    moving = _moving(fit)
    if not moving.shape[1]:
        return np.zeros(fit.fisher.shape[1:])
    information, prior = moving.T @ fit.fisher[0] @ moving, (moving.T * fit.prior[0]) @ moving
    inverse, lost = invert_where_known(information + prior, information, UNKNOWN)
    found = moving @ inverse @ moving.T
    unknown = (moving[:, lost] != 0).any(1)
    found[unknown], found[:, unknown] = np.nan, np.nan
    return found


def _moving(fit: "Fits") -> np.ndarray:
    """Directions in which one fit's numbers may move, shape (n_numbers, n_directions)."""
    columns = fit.directions[0]
    return columns[:, (columns != 0).any(0)]


def invert_where_known(matrix: np.ndarray, information: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Invert a matrix in the directions that data tell of.

    Parameters
    ----------
    matrix, information : np.ndarray, each (n_numbers, n_numbers)
        What is inverted, and what the data tell.
    least : float
        Information in a direction from which it counts as told.

    Returns
    -------
    inverse : np.ndarray, shape (n_numbers, n_numbers)
        0 along all other directions.
    lost : np.ndarray of bool, shape (n_numbers,)
        Numbers that have a part in those.
    """
    values, vectors = np.linalg.eigh(information)
    known = vectors[:, values > least]
    lost = (np.abs(vectors[:, values <= least]) > PART).any(1)
    return known @ np.linalg.inv(known.T @ matrix @ known) @ known.T, lost


def delta_method(
    function: Callable[[np.ndarray], Mapping[Name, float]], fit: "Fits"
) -> tuple[dict[Name, Estimate], np.ndarray]:
    """Estimates, with intervals, of quantities that follow from a fit's numbers, and their covariance.

    Intervals are formed on an unconstrained scale (rates by their logit) and mapped back. Quantities that a bound holds
    have none.

    Parameters
    ----------
    function : callable
        Numbers, shape (n_numbers,), to quantities by name.
    fit : Fits
        One row.
    """
    numbers, cov = fit.numbers[0], covariance(fit)
    here = function(numbers)
    slopes = np.zeros((len(here), len(numbers)))
    for k in np.flatnonzero(fit.rows.free[0]):
        step = STEP * (1 + abs(numbers[k])) * np.eye(len(numbers))[k]
        ahead, back = function(numbers + step), function(numbers - step)
        # at a limit the form may be read on one side only
        sides = [side for side in (ahead, back) if set(side) == set(here)]
        if len(sides) == 2:
            slopes[:, k] = [(ahead[name] - back[name]) / (2 * step[k]) for name in here]
        elif sides:
            sign = 1 if sides[0] is ahead else -1
            slopes[:, k] = [sign * (sides[0][name] - here[name]) / step[k] for name in here]
    lost = np.isnan(np.diag(cov))
    along, sizes = np.abs(slopes @ _moving(fit)).max(1, initial=0.0), np.abs(slopes).max(1, initial=0.0)
    at_bound = (sizes > 0) & (along <= STEP * sizes)
    cov = slopes @ np.nan_to_num(cov) @ slopes.T
    errors = np.sqrt(np.maximum(np.diag(cov), 0.0))
    errors[(slopes[:, lost] != 0).any(1) | at_bound] = np.nan
    found = {
        name: replace(interval(value, se, name in RATES), at_bound=bool(held))
        for (name, value), se, held in zip(here.items(), errors, at_bound, strict=True)
    }
    return found, cov


def interval(value: float, se: float, is_rate: bool) -> Estimate:
    """A 95 % interval; for rates strictly between 0 and 1 formed on the logit's scale.

    So near a bound that the logit says nothing it is formed on the rate's own scale, and ends at the bound.
    """
    z = float(norm.isf(0.025))
    low, high = value - z * se, value + z * se
    if is_rate and 0 < value < 1 and np.isfinite(se):
        centre, width = np.log(value / (1 - value)), z * se / (value * (1 - value))
        low, high = max(low, 0.0), min(high, 1.0)
        if width < VAGUE:
            low, high = expit(centre - width), expit(centre + width)
    return Estimate(float(value), float(se), float(low), float(high))


def inclusion(visited: "Visited", layout: "Layout") -> np.ndarray:
    """Probability of each number to be in the model, from the weights of all structures fitted.

    Returns
    -------
    np.ndarray, shape (n_numbers,)
    """
    return structure_weights(visited) @ np.concatenate([layout.present(fit.rows) for fit in visited.fits])


def structure_weights(visited: "Visited") -> np.ndarray:
    """Probability of each structure that was fitted, shape (n_structures,).

    exp(-criterion / 2), normalised (Burnham & Anderson 2002): what was not fitted counts nothing.
    """
    scores = np.array(visited.scores)
    weights = np.exp(-(scores - scores.min()) / 2)
    return np.asarray(weights / weights.sum())


def close_structures(visited: "Visited") -> list[int]:
    """Places of structures within `CLOSE` units of the best, best first."""
    scores = np.array(visited.scores)
    order = np.argsort(scores)
    return [int(i) for i in order if scores[i] <= scores.min() + CLOSE]

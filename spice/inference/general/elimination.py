"""Backward elimination: terms that the likelihood does not need are dropped one at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from spice.inference.general.newton import Minima, Region
from spice.inference.uncertainty import invert_where_known

TRIES = 3  # terms whose loss is tried before a structure is kept

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Minima]


@dataclass(frozen=True)
class Visit:
    """One structure that was fitted to one participant.

    Attributes
    ----------
    score : float
        The criterion: less is better.
    free : np.ndarray of bool, shape (n_numbers,)
        What was estimated.
    numbers : np.ndarray, shape (n_numbers,)
        Estimates.
    hessian : np.ndarray, shape (n_numbers, n_numbers)
        Second derivatives of the negative log-likelihood.
    """

    score: float
    free: np.ndarray
    numbers: np.ndarray
    hessian: np.ndarray


@dataclass
class Eliminated:
    """What is left.

    Attributes
    ----------
    best : Minima
        The best structure's fit of each row.
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        What is estimated in it.
    visited : list of list of Visit
        All structures of each row.
    """

    best: Minima
    free: np.ndarray
    visited: list[list[Visit]] = field(default_factory=list)


def eliminate(
    fit: Fit, region: Region, first: Minima, free: np.ndarray, targets: list[tuple[int, float]], prices
) -> Eliminated:
    """Drop terms by their Wald statistic, refit, and keep what is better.

    Parameters
    ----------
    fit : callable
        Numbers, what is free, and which rows they are, to their minima.
    region : Region
        Limits of the numbers.
    first : Minima
        Fit of the whole structure.
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        What is estimated in it.
    targets : list of (number, value)
        What a number may be set to instead of being estimated.
    prices : np.ndarray, shape (n_rows,)
        What a number must gain in twice the log-likelihood.
    """
    found = Eliminated(first, free.copy(), [[] for _ in free])
    scores = 2 * first.nll + prices * free.sum(1)
    for row in range(len(free)):
        found.visited[row].append(Visit(scores[row], free[row], first.numbers[row].copy(), first.hessian[row].copy()))
    refused: list[set[tuple[int, float]]] = [set() for _ in free]
    while True:
        rows, numbers, masks, moves = [], [], [], []
        for row in range(len(free)):
            trial = _next(found, row, targets, refused[row], region) if np.isfinite(scores[row]) else None
            if trial is not None:
                rows.append(row)
                moves.append(trial[0])
                numbers.append(trial[1])
                masks.append(found.free[row] & (np.arange(free.shape[1]) != trial[0][0]))
        if not rows:
            return found
        at, mask = np.array(rows), np.stack(masks)
        fitted = fit(np.stack(numbers), mask, at)
        new = 2 * fitted.nll + prices[at] * mask.sum(1)
        for i, row in enumerate(rows):
            found.visited[row].append(Visit(new[i], mask[i], fitted.numbers[i].copy(), fitted.hessian[i].copy()))
            if new[i] < scores[row]:
                place = np.array([i])
                found.best.put(np.array([row]), Minima(*(part[place] for part in vars(fitted).values())))
                found.free[row], scores[row], refused[row] = mask[i], new[i], set()
            else:
                refused[row].add(moves[i])


def _next(found: Eliminated, row: int, targets, refused: set, region: Region):
    """The least supported number that may still be dropped, with the numbers to begin from; None at the end."""
    free, numbers = found.free[row], found.best.numbers[row]
    if len(refused) >= TRIES:
        return None
    covariance = covariance_of(found.best.hessian[row], free, region, row, numbers)
    candidates = []
    for number, value in targets:
        if not free[number] or (number, value) in refused:
            continue
        variance = covariance[number, number]
        wald = (numbers[number] - value) ** 2 / variance if variance > 0 else 0.0
        others = covariance[:, number] / variance if variance > 0 else np.zeros(len(numbers))
        begin = numbers - others * (numbers[number] - value)
        begin[number] = value
        if not region.keeps(row, begin):
            begin = numbers.copy()
            begin[number] = value
        if region.keeps(row, begin):
            candidates.append((np.nan_to_num(wald), (number, value), begin))
    if not candidates:
        return None
    return min(candidates, key=lambda entry: entry[0])[1:]


def covariance_of(hessian, free, region: Region, row: int, numbers, unknown: float = 0.0) -> np.ndarray:
    """Covariance of the free numbers from the Hessian: those at a limit of their own count as known.

    Parameters
    ----------
    hessian, free, region, row, numbers
        Of one row.
    unknown : float, default 0
        Variance of what the data do not identify.
    """
    alone = (region.combinations != 0).sum(1) == 1
    on = np.abs(region.combinations @ numbers) >= region.most[row] * (1 - 1e-9)
    known = (region.combinations[alone & on] != 0).any(0)
    places = np.flatnonzero(free & ~known)
    found = np.zeros(hessian.shape)
    if not len(places):
        return found
    information = hessian[np.ix_(places, places)]
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-12))
    scaled = information * np.outer(scale, scale)  # numbers of any model have no unit in common
    inverse, lost = invert_where_known(scaled, scaled, 1e-9)
    inverse *= np.outer(scale, scale)
    inverse[lost] = inverse[:, lost] = 0.0
    inverse[lost, lost] = unknown
    found[np.ix_(places, places)] = inverse
    return found

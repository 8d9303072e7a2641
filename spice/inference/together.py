"""Dialogues: computations that ask for fits and likelihoods, so that those of many are answered in one batch."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from spice.inference.likelihood import Likelihood
from spice.inference.refit import ROUGHLY, Refit
from spice.inference.structure import Structures

T = TypeVar("T")


class ToFit(NamedTuple):
    """Asks for `Fits`: structures of one participant, where to begin, and when a row has converged."""

    group: int
    rows: Structures
    numbers: np.ndarray
    enough: float = ROUGHLY


class ToEvaluate(NamedTuple):
    """Asks for an `Answer`: coefficients on the trials of one participant, shape (n_rows, n_coefficients)."""

    group: int
    coefficients: np.ndarray


Dialogue = Generator[ToFit | ToEvaluate, Any, T]


def together(dialogues: Sequence[Dialogue[T]], refit: Refit, likelihood: Likelihood) -> list[T]:
    """Lead dialogues side by side to their ends.

    Parameters
    ----------
    dialogues : sequence of generators
        What they yield is answered; the rows of all that wait are one batch.
    refit, likelihood
        Who answers.

    Returns
    -------
    list
        What each dialogue returns.
    """
    results: dict[int, T] = {}
    asked: dict[int, ToFit | ToEvaluate] = {}

    def tell(number: int, answer: Any) -> None:
        try:
            asked[number] = dialogues[number].send(answer)
        except StopIteration as end:
            results[number] = end.value

    for number in range(len(dialogues)):
        tell(number, None)
    while asked:
        fits = {number: request for number, request in asked.items() if isinstance(request, ToFit)}
        others = {number: request for number, request in asked.items() if isinstance(request, ToEvaluate)}
        asked = {}
        for number, answer in [*_fit(fits, refit), *_evaluate(others, likelihood)]:
            tell(number, answer)
    return [results[number] for number in range(len(dialogues))]


def _fit(asked: dict[int, ToFit], refit: Refit) -> list[tuple[int, Any]]:
    if not asked:
        return []
    requests = list(asked.values())
    sizes = [len(request.rows) for request in requests]
    rows = Structures.concatenate([request.rows for request in requests])
    group = np.repeat([request.group for request in requests], sizes)
    enough = np.repeat([request.enough for request in requests], sizes)
    fits = refit(rows, group, np.concatenate([request.numbers for request in requests]), enough)
    return [(number, fits[part]) for number, part in zip(asked, _parts(sizes), strict=True)]


def _evaluate(asked: dict[int, ToEvaluate], likelihood: Likelihood) -> list[tuple[int, Any]]:
    if not asked:
        return []
    requests = list(asked.values())
    sizes = [len(request.coefficients) for request in requests]
    rows = np.concatenate([request.coefficients for request in requests])
    group = np.repeat([request.group for request in requests], sizes)
    answer = likelihood(rows, np.ones(rows.shape, bool), group)
    return [(n, type(answer)(*(a[part] for a in answer))) for n, part in zip(asked, _parts(sizes), strict=True)]


def _parts(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]

"""The regressions of stage 2, one for each participant and module: posed from samples, and solved."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from pysindy.optimizers import BaseOptimizer

from spice.equations.terms import evaluate_terms, term_name
from spice.sindy.library import compress, independent_columns
from spice.sindy.regression import sparse_regression
from spice.sindy.samples import ModuleSamples
from spice.sindy.stability import hold_stable, multiplier_rows

TAME = 0.9  # largest multiplier where an equation diverged at 1: constants must not pile up either
LONGEST_MEMORY = 0.1  # share of a value lost per trial below which memory no longer lowers the threshold


@dataclass(frozen=True)
class Problem:
    """The regression of one participant's module.

    Attributes
    ----------
    participant : int
        Number of the participant.
    module : str
        Name of the module.
    terms : list of str, length n_terms
        Candidate terms that the data can tell apart.
    library, target : np.ndarray, shapes (n_rows, n_terms) and (n_rows,)
        Values of the terms and next values, in the samples or in rows that stand for them.
    multipliers : np.ndarray, shape (n_inputs, n_terms)
        ``multipliers @ coefficients`` is the state's multiplier at each of the inputs met.
    threshold : float
        Terms with a smaller root-mean-square contribution to the next value are dropped.
    limit : float
        Largest size of a multiplier.
    left_out : list of str
        Terms that the data cannot tell from others, and from which.
    """

    participant: int
    module: str
    terms: list[str]
    library: np.ndarray
    target: np.ndarray
    multipliers: np.ndarray
    threshold: float
    limit: float
    left_out: list[str]


def pose_problems(
    samples: ModuleSamples,
    participants: Sequence[int],
    features: tuple[str, ...],
    exponents: np.ndarray,
    thresholds: np.ndarray,
    linear: Collection[int],
    compressed: bool,
) -> list[Problem]:
    """The regressions of one module for all participants.

    Parameters
    ----------
    samples : ModuleSamples
        Samples of the module, some for every participant.
    participants : sequence of int
        Whose to pose.
    features : tuple of str
        The module's name for the state's value, then the signals of its library.
    exponents : np.ndarray of int, shape (n_terms, n_features)
        Powers of the candidate terms.
    thresholds : np.ndarray, shape (n_participants,)
        What a term must add up to over the state's memory, in units of the state.
    linear : collection of int
        Participants whose equations get no higher powers of the state and multipliers within [-0.9, 0.9].
    compressed : bool
        Whether a few rows may stand for all samples.

    Returns
    -------
    list of Problem
        In the order of the participants.
    """
    samples = samples.of(participants)
    parts = samples.bounds(participants)
    library = evaluate_terms(samples.features, exponents)
    if compressed:
        tables = compress(library, samples.next_value, parts)
    else:
        tables = [np.column_stack([library[part], samples.next_value[part]]) for part in parts]
    return [
        _pose(participant, table, samples.features[part], features, exponents, threshold, participant in linear)
        for participant, part, table, threshold in zip(participants, parts, tables, thresholds, strict=True)
    ]


def _pose(
    participant: int,
    table: np.ndarray,
    met: np.ndarray,
    features: tuple[str, ...],
    exponents: np.ndarray,
    threshold: float,
    tame: bool,
) -> Problem:
    """The regression of one participant, from a table of terms and next value and from what the features were."""
    terms = np.flatnonzero(exponents[:, 0] <= 1) if tame else np.arange(len(exponents))
    names = [term_name(features, powers) for powers in exponents[terms]]
    kept, left_out = _tell_apart(table[:, terms], names, features[0])
    # the same layout here and in a worker: the last bits of sums depend on it
    values, target = np.ascontiguousarray(table[:, terms[kept]]), np.ascontiguousarray(table[:, -1])
    multipliers = np.ascontiguousarray(multiplier_rows(met, exponents[terms[kept]]))
    return Problem(
        participant=participant,
        module=features[0],
        terms=[names[column] for column in kept],
        library=values,
        target=target,
        multipliers=multipliers,
        threshold=float(threshold) * _loss_of_memory(values, target, multipliers),
        limit=TAME if tame else 1.0,
        left_out=left_out,
    )


def solve(problem: Problem, optimizer: str | BaseOptimizer) -> tuple[dict[str, float], float]:
    """Coefficients of the terms that are left, and the largest multiplier without limits."""
    library, target, rows = problem.library, problem.target, problem.multipliers
    values = sparse_regression(library, target, optimizer, problem.threshold)
    multipliers = rows @ values
    held = hold_stable(library, target, values, rows, problem.limit)
    coefficients = {term: float(value) for term, value in zip(problem.terms, held, strict=True) if value != 0}
    return coefficients, float(multipliers[np.abs(multipliers).argmax()])


def _tell_apart(library: np.ndarray, names: list[str], state: str) -> tuple[np.ndarray, list[str]]:
    """Columns of terms that the data can tell apart, and what to say of the others."""
    # a state that never moves equals the constant: the state is kept, "unchanged" being no discovery
    order = np.array(sorted(range(len(names)), key=lambda column: names[column] != state))
    kept, dependent = independent_columns(library, order)
    left_out = [
        f"{names[column]} (= {' and '.join(names[other] for other in others)})"
        if others
        else f"{names[column]} (always 0)"
        for column, others in dependent.items()
    ]
    return kept, left_out


def _loss_of_memory(library: np.ndarray, target: np.ndarray, multipliers: np.ndarray) -> float:
    """Share of its value that the state loses per trial.

    A state that carries the share a of its value lets a contribution grow to 1 / (1 - |a|) times its size. Thresholds
    are lowered accordingly, so that slow learning is not taken for none.
    """
    carried = np.abs(multipliers @ np.linalg.lstsq(library, target, rcond=None)[0]).max(initial=0.0)
    return max(1 - carried, LONGEST_MEMORY)

"""Trials as a symbolic model reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy

from spice.equations.parts import numpy_function
from spice.equations.symbolic import SymbolicModel
from spice.errors import DataError, join_problems
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.levels import check_levels, check_offers
from spice.resources.offers import is_offer, offer_names


@dataclass(frozen=True)
class ModelTrials:
    """Trials as a symbolic model reads them.

    Attributes
    ----------
    choice : np.ndarray of int, shape (n_sessions, n_trials)
        The choice; -1 where there was none.
    reward : np.ndarray, shape (n_sessions, n_trials)
        What the chosen option brought; NaN where it is unknown.
    outcome : np.ndarray, shape (n_sessions, n_trials, n_actions)
        What each option brought; NaN where it was not shown.
    inputs : np.ndarray, shape (n_sessions, n_trials, n_columns)
        The further columns that the model reads (`SymbolicModel.columns`), 0 where missing or no level.
    lagged : np.ndarray, shape (n_sessions, n_trials, n_actions, n_lagged)
        The signals of earlier trials that the model reads.
    cells, next_cells : np.ndarray of int, shape (n_sessions, n_trials, n_groupings)
        Number of the cell that was shown, and of the one shown before the coming choice, by `groupings`.
    rules : np.ndarray of bool, shape (n_sessions, n_trials, n_conditions)
        Whether each condition of updates holds.
    kind : np.ndarray of int, shape (n_sessions, n_trials)
        Which logits the coming choice follows; -1 where none.
    offered : np.ndarray of bool, shape (n_sessions, n_trials, n_actions)
        Which options are on offer at the coming choice.
    """

    choice: np.ndarray
    reward: np.ndarray
    outcome: np.ndarray
    inputs: np.ndarray
    lagged: np.ndarray
    cells: np.ndarray
    next_cells: np.ndarray
    rules: np.ndarray
    kind: np.ndarray
    offered: np.ndarray


def groupings(model: SymbolicModel) -> list[tuple[str, ...]]:
    """The different sets of shown inputs by which states have cells; none is the empty one."""
    return list(dict.fromkeys(state.by for state in model.states.values() if state.by))


def cell_number(model: SymbolicModel, by: Sequence[str], levels: Sequence[np.ndarray]) -> np.ndarray:
    """Number of the cell with some levels; the last one changes fastest."""
    number = np.zeros(np.shape(levels[0]), dtype=np.int64)
    for name, level in zip(by, levels, strict=True):
        number = number * int(model.shown[name] or 1) + np.asarray(level).astype(np.int64)
    return number


def read_trials(model: SymbolicModel, dataset: DatasetRNN) -> ModelTrials:
    """Read the data.

    Raises
    ------
    DataError
        If a column that the model reads is not there or has gaps, or a level is out of its range.
    """
    _check(model, dataset)
    xs, n_actions = dataset.xs.double().numpy(), dataset.n_actions
    observed = dataset.observed.numpy()
    choice = np.where(observed, np.nan_to_num(xs[..., dataset.columns.choice]).argmax(-1), -1)
    outcome = xs[..., dataset.columns.reward]
    reward = np.take_along_axis(outcome, np.maximum(choice, 0)[..., None], -1)[..., 0]
    inputs = np.nan_to_num(xs[..., [dataset.columns.index(name) for name in model.columns]])
    for k, name in enumerate(model.columns):
        if levels := model.shown.get(name.removeprefix(NEXT)):  # in trials that play no part, anything may stand there
            inputs[..., k] = np.where(np.isin(inputs[..., k], np.arange(levels)), inputs[..., k], 0.0)
    columns = {name: inputs[..., k] for k, name in enumerate(model.columns)}
    chosen = choice[..., None] == np.arange(n_actions)
    signals = {"reward": reward[..., None], "outcome": outcome, "chosen": chosen}
    signals |= {name: column[..., None] for name, column in columns.items()}
    lagged = np.zeros((*outcome.shape, len(model.lagged)))
    for k, (name, n) in enumerate(model.lagged):
        own = np.where(observed[..., None], np.nan_to_num(signals[name]), 0.0)
        lagged[:, n:, :, k] = own[:, : max(own.shape[1] - n, 0)]
    held = [holds(condition, columns | {"reward": np.nan_to_num(reward)}) for condition in model.conditions]
    kinds = [choices.when for choices in model.choices(n_actions)]
    offered = np.ones(outcome.shape, bool)
    if has_offers(dataset):
        offered = xs[..., [dataset.columns.index(NEXT + name) for name in offer_names(n_actions)]] > 0
        offered |= ~offered.any(-1, keepdims=True)  # in padding
    return ModelTrials(
        choice=choice,
        reward=reward,
        outcome=outcome,
        inputs=inputs,
        lagged=lagged,
        cells=_cells(model, columns, "", choice.shape),
        next_cells=_cells(model, columns, NEXT, choice.shape),
        rules=np.stack([np.broadcast_to(h, choice.shape) for h in held], -1) if held else np.zeros((*choice.shape, 0)),
        kind=kind_of_choice(kinds, columns, choice.shape),
        offered=offered,
    )


def kind_of_choice(conditions: Sequence[sympy.Basic | None], columns: dict[str, np.ndarray], shape) -> np.ndarray:
    """Number of the first condition that holds, -1 where none does."""
    kind = np.full(shape, -1)
    for k, when in reversed(list(enumerate(conditions))):
        kind = np.where(True if when is None else holds(when, columns), k, kind)
    return kind


def holds(condition: sympy.Basic, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Where a condition on columns is fulfilled."""
    names, function = numpy_function(condition)
    return np.asarray(function(*(columns[name] for name in names)), bool)


def _cells(model: SymbolicModel, columns: dict[str, np.ndarray], prefix: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of cells that were shown, or that are shown before the coming choice."""
    found = [cell_number(model, by, [columns[prefix + name] for name in by]) for by in groupings(model)]
    return np.stack(found, -1) if found else np.zeros((*shape, 0), np.int64)


def next_is_known(shown: Mapping[str, int | None], dataset: DatasetRNN) -> np.ndarray:
    """Whether all that is shown before the coming choice is in the data, bool, shape (n_sessions, n_trials)."""
    known = np.ones(tuple(dataset.shape[:2]), bool)
    for name, levels in shown.items():
        values = dataset.column(NEXT + name).numpy()
        known &= np.isin(values, np.arange(levels)) if levels else np.isfinite(values)
    return known


def has_offers(dataset: DatasetRNN) -> bool:
    """Whether the data say which options are on offer."""
    return any(map(is_offer, dataset.columns.names))


def _check(model: SymbolicModel, dataset: DatasetRNN) -> None:
    """Columns there, levels in their range, no gaps, and no choice of what was not on offer."""
    lacking = [name for name in (*model.inputs, *model.shown) if not dataset.columns.has(name)]
    if lacking:
        raise DataError(
            f"the data have no column {', '.join(map(repr, lacking))}, which the model reads; their columns are "
            f"{', '.join(dataset.columns.names)}."
        )
    unpaired = [name for name in model.shown if not dataset.columns.has(NEXT + name)]
    if unpaired:
        raise DataError(
            f"the data have no column {NEXT + unpaired[0]!r}: what is seen before the choice is named in shown=[...] "
            "of convert_dataset, which adds the coming trial's value to each trial; arrays need that column, too."
        )
    check_levels(dataset, {name: levels for name, levels in model.shown.items() if levels})
    check_offers(dataset, (*model.inputs, *model.shown))
    problems = []
    coming = [NEXT + name for name in (*model.shown, *dataset.columns.shown)]
    for name in dict.fromkeys([*model.inputs, *model.shown, *(NEXT + name for name in model.shown)]):
        used = dataset.scored if name in coming else dataset.observed
        gaps = (used & ~dataset.column(name).isfinite()).numpy()
        if gaps.any():
            session, trial = np.argwhere(gaps)[0]
            person = dataset.label("participant", int(dataset.participants[session]))
            problems.append(
                f"the column {name!r} is empty for participant {person!r}, {dataset.place(session, trial)}; fill it "
                "in, or mark the trial as missing."
            )
    if problems:
        raise DataError(join_problems("The model cannot read the data", problems))

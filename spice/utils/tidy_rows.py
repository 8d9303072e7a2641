"""Rows of a tidy table in order of session and trial."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from spice.errors import DataError, join_problems
from spice.utils.cells import code_of, numbers_of

MAX_STRETCH = 10  # gaps may make a session this many times as long
MAX_EXACT = 2**24  # float32, in which xs is stored, holds whole numbers exactly up to here


@dataclass
class Rows:
    """The table in session order, arrays with one entry per row (codes are whole numbers from 0)."""

    table: pd.DataFrame
    participant: np.ndarray
    block: np.ndarray | None
    session: np.ndarray
    trial: np.ndarray
    labels: dict[str, tuple] = field(default_factory=dict)
    choice: np.ndarray = field(default_factory=lambda: np.empty(0))  # -1: missing trial
    rewards: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_rows, n_actions)
    further: dict[str, np.ndarray] = field(default_factory=dict)

    def where(self, bad: np.ndarray) -> str:
        """Name the first bad row by participant, block and trial, and say how many more there are."""
        first = int(bad.argmax())
        places = [f"participant {self.labels['participant'][self.participant[first]]!r}"]
        if self.block is not None:
            places.append(f"block {self.labels['block'][self.block[first]]!r}")
        more = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        return ", ".join([*places, f"trial {self.trial[first]}"]) + more


def sort_rows(table: pd.DataFrame, roles: dict[str, str]) -> Rows:
    """Code participants and blocks, and bring the rows into order of session and trial."""
    problems = []
    codes: dict[str, np.ndarray] = {}
    labels: dict[str, tuple[Any, ...]] = {}
    for role in ("participant", "block"):
        if role in roles:
            codes[role], labels[role] = code_of(table[roles[role]])
            bad = codes[role] < 0
            if bad.any():
                problems.append(
                    f"column {roles[role]!r} ({role}) is empty in {bad.sum()} row(s), the first is row {bad.argmax()} "
                    "(counted from 0); fill it in or drop these rows."
                )
    numbers = np.zeros(len(table))
    if "trial" in roles:
        numbers, _ = numbers_of(table[roles["trial"]])
        bad = ~((numbers == np.round(numbers)) & (np.abs(numbers) < MAX_EXACT))  # also NaN
        if bad.any() and not problems:
            place = Rows(table, codes["participant"], codes.get("block"), numbers, np.array(table[roles["trial"]]))
            place.labels = labels
            problems.append(
                f"column {roles['trial']!r} (trial) must hold whole numbers up to {MAX_EXACT:,}, but does not at "
                f"{place.where(bad)}; number the trials of a session 0, 1, 2, ..."
            )
    if problems:
        raise DataError(join_problems("the table cannot be used", problems))
    session = codes["participant"] * len(labels.get("block", " ")) + codes.get("block", 0)
    order = np.lexsort((numbers, session))  # stable: without trial numbers the order given
    _, session = np.unique(session[order], return_inverse=True)
    starts = np.searchsorted(session, session)
    trial = numbers[order].astype(int) if "trial" in roles else np.arange(len(order)) - starts
    block = codes["block"][order] if "block" in roles else None
    rows = Rows(table.iloc[order], codes["participant"][order], block, session, trial, labels)
    _check_trials(rows, starts)
    return rows


def _check_trials(rows: Rows, starts: np.ndarray) -> None:
    problems = []
    repeated = np.zeros(len(rows.trial), dtype=bool)
    repeated[1:] = (np.diff(rows.session) == 0) & (np.diff(rows.trial) == 0)
    if repeated.any():
        fix = "number trials within a session" if rows.block is not None else "name the block column with block=..."
        problems.append(f"the same trial number appears twice at {rows.where(repeated)}; drop double rows or {fix}.")
    length = rows.trial - rows.trial[starts] + 1
    stretched = length > MAX_STRETCH * np.bincount(rows.session)[rows.session]
    if stretched.any():
        problems.append(
            f"gaps in the trial numbers would make a session more than {MAX_STRETCH} times as long at "
            f"{rows.where(stretched)}; number the trials of a session one by one."
        )
    if problems:
        raise DataError(join_problems("the table cannot be used", problems))

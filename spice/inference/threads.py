"""Rows of a compiled likelihood, spread over threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

WORTH_A_THREAD = 20_000  # trials x rows


class Threads:
    """Evaluates rows in parts of about as many trials.

    Parameters
    ----------
    lengths : np.ndarray of int, shape (n_groups,)
        Trials of each participant.
    n_threads : int, optional
        Default those that torch may use.
    """

    def __init__(self, lengths: np.ndarray, n_threads: int | None = None):
        self._lengths, self._n_threads = lengths, n_threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._n_threads)

    def __getstate__(self) -> dict[str, Any]:
        """Without the threads themselves."""
        return {"lengths": self._lengths, "n_threads": self._n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """With new ones."""
        self.__init__(**state)  # type: ignore[misc]

    def run(self, evaluate: Callable[[slice], None], group: np.ndarray) -> None:
        """Evaluate all rows.

        Parameters
        ----------
        evaluate : callable
            Evaluates the rows of a slice.
        group : np.ndarray of int, shape (n_rows,)
            Participant of each row.
        """
        parts = self._parts(group)
        if len(parts) > 1:
            list(self._pool.map(evaluate, parts))
        elif parts:
            evaluate(parts[0])

    def _parts(self, group: np.ndarray) -> list[slice]:
        if self._n_threads == 1 or len(group) < 2:
            return [slice(0, len(group))] if len(group) else []
        work = np.cumsum(self._lengths[group])
        number = int(min(self._n_threads, max(work[-1] // WORTH_A_THREAD, 1), len(group)))
        cuts = np.searchsorted(work, work[-1] * np.arange(1, number) / number) + 1
        bounds = [0, *map(int, cuts), len(group)]
        return [slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False) if b > a]

"""Sessions held out of a fit: where they are predicted no better, the fit has learned all it can."""

from typing import Any

import numpy as np
import torch

from spice.errors import DataError
from spice.resources.dataset import DatasetRNN
from spice.training.objective import Objective

PATIENCE = 10  # looks at the held-out sessions without improvement before a fit ends


def split_sessions(dataset: DatasetRNN, fraction: float) -> tuple[DatasetRNN, DatasetRNN | None]:
    """Hold out a share of the sessions, the same at every call.

    Sessions are drawn at random, but every participant keeps one to be fitted.

    Parameters
    ----------
    dataset : DatasetRNN
        All sessions.
    fraction : float
        Share to hold out; 0 holds out none.

    Returns
    -------
    train, held_out : DatasetRNN
        ``held_out`` is None where there is none.

    Raises
    ------
    DataError
        If no session can be spared.
    """
    if not fraction:
        return dataset, None
    order = np.random.default_rng(0).permutation(len(dataset))
    _, first = np.unique(dataset.participants.numpy()[order], return_index=True)
    spare = np.delete(order, first)[: max(round(fraction * len(dataset)), 1)]
    if len(spare) and not dataset[spare].n_scored:
        raise DataError("validation_fraction holds out sessions without any choice to score; set it to 0.")
    if not len(spare):
        raise DataError(
            "validation_fraction holds out sessions, but no participant has more than one; set it to 0, or cut the "
            "sessions into blocks."
        )
    return dataset[np.setdiff1d(np.arange(len(dataset)), spare)], dataset[spare]


class Validation:
    """Keeps the parameters of each start that predict the held-out sessions best.

    Parameters
    ----------
    objective : Objective or None
        Negative log-likelihood of the held-out sessions; None: nothing is held out.
    n_scored : int
        Their number of scored choices.
    n_rows : int
        Number of starts.
    """

    def __init__(self, objective: Objective | None, n_scored: int, n_rows: int):
        self._objective, self._n_scored = objective, n_scored
        self.losses: list[float] = []
        self._best = [float("inf")] * n_rows
        self._parameters: list[torch.Tensor | None] = [None] * n_rows
        self._waited = [0] * n_rows

    def watch(self, row: int, parameters: torch.Tensor) -> bool:
        """Look at the held-out sessions; whether this start should stop."""
        if self._objective is None:
            return False
        loss = float(self._objective(parameters.unsqueeze(0))[0]) / self._n_scored
        self.losses.append(loss)
        self._waited[row] += 1
        if loss < self._best[row]:
            self._best[row], self._parameters[row], self._waited[row] = loss, parameters.clone(), 0
        return self._waited[row] >= PATIENCE

    def best(self) -> torch.Tensor | None:
        """The parameters that predict the held-out sessions best, if any were looked at."""
        return self._parameters[int(np.argmin(self._best))]

    def state(self) -> dict[str, Any]:
        """All that it needs to go on."""
        lists: dict[str, list[Any]] = {
            "losses": self.losses,
            "best": self._best,
            "parameters": self._parameters,
            "waited": self._waited,
        }
        return {name: list(values) for name, values in lists.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.losses, self._best, self._waited = list(state["losses"]), list(state["best"]), list(state["waited"])
        self._parameters = list(state["parameters"])

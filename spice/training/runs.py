"""Runs of the optimisers over rows: several starts at once, each for itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from spice.training.lbfgs import Answer, LBFGSState, lbfgs

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]  # rows to losses and gradients
EndEpoch = Callable[[float], None]  # is told the loss; may raise to stop
Watch = Callable[[int, torch.Tensor], bool]  # is told a row and its parameters; whether the row should stop

NO_BETTER = "the held-out sessions are predicted no better"
FLAT = 1e-4  # nats per trial: Adam has converged when the mean loss of two tenths of its epochs differs by less


class StopFit(Exception):  # noqa: N818
    """Raised at the end of an epoch to end a fit; its text says why."""


class Run(Protocol):
    """An optimiser at work."""

    def run(self, end_epoch: EndEpoch, watch: Watch) -> str:
        """Go on until every row has converged or `end_epoch` raises; returns why it ended."""

    def found(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss (n_rows,) and parameters (n_rows, n_parameters), the best of each row."""

    def current(self) -> torch.Tensor:
        """Where it stands, shape (n_rows, n_parameters)."""

    def state(self) -> dict[str, Any]:
        """All that it needs to go on: tensors and plain data."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""


@dataclass
class _Row:
    """One start of L-BFGS."""

    state: LBFGSState
    answers: list[Answer] = field(default_factory=list)  # since the state last changed
    reason: str = ""  # why it ended


class LBFGSRun:
    """L-BFGS from several starts, evaluated as rows of one batch.

    Parameters
    ----------
    starts : torch.Tensor, shape (n_rows, n_parameters)
        Where to begin.
    evaluate : callable
        Rows to losses and gradients.
    first_step : float
        Length of the first step.
    tolerance : float
        Decrease of the loss in an iteration below which a row has converged.
    slow : float
        Decrease of the loss in 50 iterations below which it has converged as well.
    """

    def __init__(self, starts: torch.Tensor, evaluate: Evaluate, first_step: float, tolerance: float, slow: float):
        self._rows = [_Row(LBFGSState(start.cpu().numpy())) for start in starts]
        self._evaluate, self._settings = evaluate, (first_step, tolerance, slow)
        self._device = starts.device

    def run(self, end_epoch: EndEpoch, watch: Watch) -> str:
        """As `Run.run`; an epoch is one evaluation of all rows that have not ended."""
        dialogues = {i: lbfgs(row.state, *self._settings) for i, row in enumerate(self._rows) if not row.reason}
        asked = {i: next(dialogue) for i, dialogue in dialogues.items()}
        for i, dialogue in dialogues.items():
            for answer in self._rows[i].answers:
                asked[i] = dialogue.send(answer)
        while asked:
            losses, gradients = self._evaluate(torch.as_tensor(np.stack(list(asked.values())), device=self._device))
            losses = torch.where(gradients.isfinite().all(1).cpu(), losses, math.inf)  # no use without its gradient
            answers = zip(losses.tolist(), gradients.cpu().numpy(), strict=True)
            replies = [
                (i, self._tell(i, dialogues[i], answer, watch)) for i, answer in zip(asked, answers, strict=True)
            ]
            asked = {i: parameters for i, parameters in replies if parameters is not None}
            try:
                end_epoch(float(_or_infinite(losses).min()))
            except StopFit:
                if asked:
                    raise
        best = int(self.found()[0].argmin())
        return self._rows[best].reason

    def _tell(self, i: int, dialogue, answer: Answer, watch: Watch) -> np.ndarray | None:
        """Answer one row; what it asks for next, or None if it has ended."""
        row, before = self._rows[i], self._rows[i].state.iterations
        row.answers.append(answer)
        try:
            asked = dialogue.send(answer)
        except StopIteration as end:
            asked, row.reason = None, str(end.value)
        if row.state.iterations != before:
            row.answers.clear()
            if watch(i, torch.as_tensor(row.state.parameters, device=self._device)) and not row.reason:
                asked, row.reason = None, NO_BETTER
        return asked

    def found(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Run.found`."""
        losses = _or_infinite(torch.tensor([row.state.loss for row in self._rows], dtype=torch.float64))
        return losses, torch.as_tensor(np.stack([row.state.parameters for row in self._rows]), device=self._device)

    def current(self) -> torch.Tensor:
        """As `Run.current`."""
        return self.found()[1]

    def state(self) -> dict[str, Any]:
        """As `Run.state`."""
        return {"rows": [_to_tensors(asdict(row)) for row in self._rows]}

    def restore(self, state: dict[str, Any]) -> None:
        """As `Run.restore`."""
        rows = [_to_arrays(row) for row in state["rows"]]
        self._rows = [_Row(LBFGSState(**row["state"]), row["answers"], row["reason"]) for row in rows]


class AdamRun:
    """Adam (Kingma & Ba 2015) from several starts: its steps are made element by element, so rows do not mix.

    Parameters
    ----------
    starts : torch.Tensor, shape (n_rows, n_parameters)
        Where to begin.
    batches : sequence of callable
        For each mini-batch, rows to losses and gradients; their sum is the whole loss.
    learning_rate : float
        Step size.
    generator : torch.Generator or None
        Order of the mini-batches.
    """

    def __init__(
        self,
        starts: torch.Tensor,
        batches: Sequence[Evaluate],
        learning_rate: float,
        generator: torch.Generator | None,
    ):
        self._rows = torch.nn.Parameter(starts.clone())
        self._method = torch.optim.Adam([self._rows], lr=learning_rate)
        self._batches, self._generator = batches, generator
        self._losses = torch.full((len(starts),), torch.inf, dtype=torch.float64)
        self._found = starts.clone()
        self._stopped: set[int] = set()

    def run(self, end_epoch: EndEpoch, watch: Watch) -> str:
        """As `Run.run`."""
        while len(self._stopped) < len(self._rows):
            total = torch.zeros_like(self._losses)
            for batch in self._order():
                losses, gradients = self._batches[batch](self._rows.detach())
                usable = losses.isfinite()
                if not bool(usable.any()):  # before the step: these parameters are to blame
                    end_epoch(math.nan)
                total += _or_infinite(losses)
                if len(self._batches) == 1:  # before the step: the loss is that of these parameters
                    self._offer(total)
                self._rows.grad = torch.where(usable.to(gradients.device).unsqueeze(1), gradients, 0.0)
                self._method.step()
            if len(self._batches) > 1:
                self._offer(total)
            self._stopped |= {i for i, row in enumerate(self._rows.detach()) if watch(i, row)}
            end_epoch(float(total.min()))
        return NO_BETTER

    def _order(self) -> list[int]:
        n_batches = len(self._batches)
        return [0] if n_batches == 1 else torch.randperm(n_batches, generator=self._generator).tolist()

    def _offer(self, losses: torch.Tensor) -> None:
        better = losses < self._losses
        self._losses = torch.where(better, losses, self._losses)
        self._found = torch.where(better.to(self._found.device).unsqueeze(1), self._rows.detach(), self._found)

    def found(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Run.found`."""
        return self._losses, self._found

    def current(self) -> torch.Tensor:
        """As `Run.current`."""
        return self._rows.detach()

    def state(self) -> dict[str, Any]:
        """As `Run.state`."""
        method = {0: {name: value.clone() for name, value in self._method.state_dict()["state"][0].items()}}
        return {
            "rows": self._rows.detach().clone(),
            "method": method,
            "losses": self._losses.clone(),
            "found": self._found.clone(),
            "stopped": sorted(self._stopped),
            "torch_random": torch.get_rng_state(),
            "random": None if self._generator is None else self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """As `Run.restore`."""
        with torch.no_grad():
            self._rows.copy_(state["rows"])
        self._method.load_state_dict(self._method.state_dict() | {"state": state["method"]})
        self._losses, self._found = state["losses"], state["found"].to(self._rows.device)
        self._stopped = set(state["stopped"])
        if self._generator is None:  # the order of mini-batches, or dropout: torch's own random numbers
            torch.set_rng_state(state["torch_random"])
        elif state["random"] is not None:
            self._generator.set_state(state["random"])


def is_flat(loss: list[float]) -> bool:
    """Whether the mean loss of the last two tenths of the epochs differs by less than `FLAT`."""
    tenth = len(loss) // 10
    if tenth < 2:
        return False
    return abs(sum(loss[-tenth:]) - sum(loss[-2 * tenth : -tenth])) / tenth < FLAT


def _or_infinite(losses: torch.Tensor) -> torch.Tensor:
    return torch.where(losses.isnan(), math.inf, losses)


def _to_tensors(value: Any) -> Any:
    """The same with tensors for arrays: files hold nothing else."""
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value.copy())
    if isinstance(value, dict):
        return {key: _to_tensors(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_tensors(entry) for entry in value]
    return float(value) if isinstance(value, np.floating) else value


def _to_arrays(value: Any) -> Any:
    """Undo `_to_tensors`."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: _to_arrays(entry) for key, entry in value.items()}
    return [_to_arrays(entry) for entry in value] if isinstance(value, list) else value

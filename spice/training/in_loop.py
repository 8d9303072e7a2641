"""Loss and gradient trial by trial, for any model: back-propagation through the loop, in bounded memory."""

import torch
from torch.func import functional_call

from spice.resources.rnn import BaseRNN
from spice.training.loss import log_likelihood
from spice.training.parameters import ParameterVector

# of one backward pass, either about 1 GB in a model of four modules (measured): values of a state (trials x sessions x
# actions), and trials, each of which costs what its operations note down, however few the values
IN_LOOP = 1_000_000
LONGEST = 5_000


class InLoop:
    """Sessions evaluated trial by trial; long ones in pieces, each with a backward pass of its own.

    Parameters
    ----------
    model : BaseRNN
        The network.
    vector : ParameterVector
        Its parameters' names and shapes.
    xs : torch.Tensor, shape (n_sessions, n_trials, n_features)
        Sessions.
    chosen : torch.Tensor, shape (n_sessions, n_trials, n_actions)
        One-hot choices to score, zeros where there is none.
    """

    def __init__(self, model: BaseRNN, vector: ParameterVector, xs: torch.Tensor, chosen: torch.Tensor):
        self._model, self._vector = model, vector
        length = min(max(IN_LOOP // (len(xs) * model.n_actions), 1), LONGEST)
        self._pieces = list(zip(xs.split(length, dim=1), chosen.split(length, dim=1), strict=True))

    def evaluate(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient, row by row."""
        results = [self._evaluate_row(row) for row in rows]
        return torch.stack([loss for loss, _ in results]), torch.stack([slope for _, slope in results])

    def _evaluate_row(self, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        starts: list[dict[str, torch.Tensor] | None] = [None]
        with torch.no_grad():
            for xs, _ in self._pieces[:-1]:
                starts.append(self._run(row, xs, starts[-1])[1])
        nll, gradient = row.new_zeros(()), torch.zeros_like(row)
        by_last: dict[str, torch.Tensor] = {}  # derivatives by the states after the piece
        for (xs, chosen), start in zip(reversed(self._pieces), reversed(starts), strict=True):
            leaf = row.detach().requires_grad_()
            states = None if start is None else {n: v.detach().requires_grad_() for n, v in start.items()}
            logits, last = self._run(leaf, xs, states)
            loss = -log_likelihood(logits, chosen).sum(dtype=torch.float64)
            total = loss + sum((by_last[name] * last[name]).sum() for name in by_last)
            leaves = [leaf, *(states or {}).values()]
            slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            nll, gradient = nll + loss.detach(), gradient + slopes[0]
            by_last = dict(zip(states or {}, slopes[1:], strict=True))
        return nll, gradient

    def _run(self, row: torch.Tensor, xs: torch.Tensor, states: dict[str, torch.Tensor] | None):
        parameters = {name: value[0] for name, value in self._vector.named(row.unsqueeze(0)).items()}
        given = {} if states is None else {"prev_state": states}
        found = functional_call(self._model, parameters, (xs,), given | {"batch_first": True})
        return self._model.logits_and_states(found)

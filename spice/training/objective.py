"""The loss of a network and its exact gradient, in bounded memory: all trials at once, or trial by trial."""

from collections.abc import Sequence

import torch
from torch.func import functional_call, vmap

from spice.resources.dataset import DatasetRNN
from spice.resources.parallel import Trajectory, TrialsAtOnce, solve_states
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Sessions
from spice.training.loss import log_likelihood, scored_choices
from spice.training.parameters import ParameterVector

AT_ONCE = 40_000  # values of a state (trials x sessions x actions x rows) in one call of `step`; more leave the cache
IN_LOOP = (
    2_000_000  # values of a state for one backward pass through the trial loop, about 1 GB in a model of 4 modules
)


class Objective:
    """Negative log-likelihood of choices as a function of rows of parameter vectors.

    Parameters
    ----------
    model : BaseRNN
        The network; the values of its parameters play no role.
    dataset : DatasetRNN
        Sessions.
    at_once : bool
        Whether to evaluate all trials at once (see ``spice.training.method``), or trial by trial.
    coupled : bool
        Whether the states of an option depend on each other.
    """

    def __init__(self, model: BaseRNN, dataset: DatasetRNN, at_once: bool, coupled: bool = True):
        self._vector = ParameterVector(model)
        like = next(model.parameters())
        xs, chosen = dataset.xs.to(like.device), scored_choices(dataset.ys.to(like))
        limit = AT_ONCE if at_once else IN_LOOP
        n_trials, n_actions = dataset.shape[1], dataset.n_actions
        size = max(limit // (n_trials * n_actions), 1)
        length = max(limit // (min(size, len(dataset)) * n_actions), 1)
        self._blocks: Sequence[_AtOnce | _InLoop]
        blocks = zip(xs.split(size), chosen.split(size), strict=True)
        if at_once:
            self._blocks = [_AtOnce(model, self._vector, *block, length, coupled) for block in blocks]
        else:
            self._blocks = [_InLoop(model, self._vector, *block, length) for block in blocks]

    @property
    def fallbacks(self) -> int:
        """How often sweeps did not converge, so that the loop had to do it."""
        return sum(block.fallbacks for block in self._blocks)

    @property
    def solutions(self) -> list[torch.Tensor | None]:
        """The states that the next sweeps begin from; a fit that goes on where it was stopped needs them."""
        return [piece.last for piece in self._pieces]

    @solutions.setter
    def solutions(self, values: list[torch.Tensor | None]) -> None:
        for piece, value in zip(self._pieces, values, strict=True):
            piece.last = value

    @property
    def _pieces(self) -> list["_Piece"]:
        return [piece for block in self._blocks if isinstance(block, _AtOnce) for piece in block.pieces]

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient.

        Parameters
        ----------
        rows : torch.Tensor, shape (n_rows, n_parameters)
            Parameter vectors.

        Returns
        -------
        nll : torch.Tensor, shape (n_rows,)
            Sum over all scored choices, in nats; not finite where a module's output is not.
        gradient : torch.Tensor, shape (n_rows, n_parameters)
            Its gradient.
        """
        nll, gradient = torch.zeros(len(rows), dtype=torch.float64), torch.zeros_like(rows)
        for block in self._blocks:
            loss, slope = block.evaluate(rows)
            nll, gradient = nll + loss.double().cpu(), gradient + slope
        return nll, gradient


class Posterior:
    """Negative log posterior density per scored choice, up to a constant, and its gradient.

    Parameters
    ----------
    objective : Objective
        Negative log-likelihood.
    precisions : torch.Tensor, shape (n_parameters,)
        Precisions of the Gaussian priors.
    n_scored : int
        Number of scored choices.
    """

    def __init__(self, objective: Objective, precisions: torch.Tensor, n_scored: int):
        self.objective, self._precisions, self._n_scored = objective, precisions, n_scored

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of parameters to losses (n_rows,), nats per scored choice, and gradients (n_rows, n_parameters)."""
        nll, gradient = self.objective(rows)
        pull = self._precisions * rows
        penalty = 0.5 * (pull * rows).sum(1)
        return (nll + penalty.cpu()) / self._n_scored, (gradient + pull) / self._n_scored


class _InLoop:
    """Sessions evaluated trial by trial; long ones in pieces, each with a backward pass of its own."""

    fallbacks = 0

    def __init__(self, model: BaseRNN, vector: ParameterVector, xs: torch.Tensor, chosen: torch.Tensor, length: int):
        self._model, self._vector = model, vector
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
            loss = -log_likelihood(logits, chosen).sum()
            total = loss + sum((by_last[name] * last[name]).sum() for name in by_last)
            leaves = [leaf, *(states or {}).values()]
            slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            nll, gradient = nll + loss.detach(), gradient + slopes[0]
            by_last = dict(zip(states or {}, slopes[1:], strict=True))
        return nll, gradient

    def _run(self, row: torch.Tensor, xs: torch.Tensor, states: dict[str, torch.Tensor] | None):
        parameters = {name: value[0] for name, value in self._vector.named(row.unsqueeze(0)).items()}
        given = {} if states is None else {"prev_state": states}
        return functional_call(self._model, parameters, (xs,), given | {"batch_first": True})


class _AtOnce:
    """Sessions evaluated with all trials at once; long ones in pieces, one after another."""

    def __init__(
        self,
        model: BaseRNN,
        vector: ParameterVector,
        xs: torch.Tensor,
        chosen: torch.Tensor,
        length: int,
        coupled: bool,
    ):
        sessions = model.read_inputs(xs, batch_first=True)
        self._first = torch.stack([xs.new_full((len(xs), model.n_actions), v) for v in model.init_values.values()])
        self._first = self._first.to(next(model.parameters()))
        self.pieces = [
            _Piece(model, vector, sessions.part(t, t + length), part.transpose(0, 1), coupled)
            for t, part in zip(range(0, xs.shape[1], length), chosen.split(length, dim=1), strict=True)
        ]
        self.fallbacks = 0
        self._loop = _InLoop(model, vector, xs, chosen, xs.shape[1])  # where the sweeps do not converge

    def evaluate(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient of all rows."""
        starts = [self._first.expand(len(rows), *self._first.shape)]
        for piece in self.pieces[:-1]:
            trajectory = piece.solve(rows, starts[-1])
            if trajectory is None:
                return self._fall_back(rows)
            starts.append(trajectory.next_states[-1].detach())
        nll, gradient = rows.new_zeros(len(rows)), torch.zeros_like(rows)
        by_last = torch.zeros_like(starts[0])
        for piece, start in zip(reversed(self.pieces), reversed(starts), strict=True):
            leaf = rows.detach().requires_grad_()
            trajectory = piece.solve(leaf, start)
            if trajectory is None:
                return self._fall_back(rows)
            loss, slope, by_last = piece.differentiate(leaf, trajectory, by_last)
            nll, gradient = nll + loss, gradient + slope
        return nll, gradient

    def _fall_back(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.fallbacks += 1
        return self._loop.evaluate(rows)


class _Piece:
    """Some trials of some sessions, solved anew from the last solution."""

    def __init__(
        self, model: BaseRNN, vector: ParameterVector, sessions: Sessions, chosen: torch.Tensor, coupled: bool
    ):
        self._trials, self._vector, self._coupled = TrialsAtOnce(model, sessions), vector, coupled
        self._chosen = chosen.unsqueeze(1)
        self.last: torch.Tensor | None = None  # the last solution

    def solve(self, rows: torch.Tensor, start: torch.Tensor) -> Trajectory | None:
        """Solve for the states, from given ones before the first trial."""
        parameters = self._vector.named(rows, prefix="model.")
        n_trials = len(self._chosen)
        if self.last is None or self.last.shape[1:] != start.shape:
            self.last = start.expand(n_trials, *start.shape)
        guess = torch.cat([start.unsqueeze(0), self.last[1:]])
        trajectory = solve_states(lambda states: self._step(parameters, states), guess, self._coupled)
        self.last = None if trajectory is None else trajectory.states.detach()
        return trajectory

    def differentiate(
        self, rows: torch.Tensor, trajectory: Trajectory, by_last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Negative log-likelihood, its gradient, and its derivative by the states before the first trial.

        The states are no function of the parameters here. With their adjoints as Lagrange multipliers the derivative
        is the total one, and an error of the states changes the value to second order only.
        """
        nll = -log_likelihood(trajectory.logits, self._chosen).sum((0, 2))
        by_states = torch.autograd.grad(nll.sum(), trajectory.states, retain_graph=True)[0]
        by_next, by_first = trajectory.adjoint(by_states, by_last)
        followed = torch.cat([trajectory.states[1:], trajectory.next_states[-1:]]).detach()
        lagrangian = nll + (by_next * (trajectory.next_states - followed)).sum((0, 2, 3, 4))
        gradient = torch.autograd.grad(lagrangian.sum(), rows)[0]
        return lagrangian.detach(), gradient, by_first

    def _step(self, parameters: dict[str, torch.Tensor], states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if states.shape[1] > 1:
            call = vmap(lambda p, s: functional_call(self._trials, p, (s,)), in_dims=(0, 1), out_dims=(1, 1))
            return call(parameters, states)
        one = {name: value[0] for name, value in parameters.items()}
        next_states, logits = functional_call(self._trials, one, (states[:, 0],))
        return next_states.unsqueeze(1), logits.unsqueeze(1)

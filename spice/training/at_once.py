"""Loss and gradient with all trials at once (`spice.resources.parallel`), in bounded memory."""

import torch
from torch.func import functional_call, vmap

from spice.resources.parallel import StatesInLoop, Step, Trajectory, TrialsAtOnce, linearise, solve_states
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Sessions
from spice.training.evaluation import Evaluation
from spice.training.loss import log_likelihood
from spice.training.parameters import ParameterVector

# values of a state (trials x rows x sessions x actions) in one call of `step`: more leave a CPU's cache, while other
# devices want more work at a time
AT_ONCE = 80_000
AT_ONCE_ELSEWHERE = 4_000_000


class AtOnce:
    """Sessions evaluated with all trials at once.

    Parameters
    ----------
    model, vector, xs, chosen
        As for `spice.training.in_loop.InLoop`.
    evaluation : Evaluation
        How the states are found.
    n_rows : int
        Number of parameter vectors that will be evaluated together, at most.
    """

    def __init__(
        self,
        model: BaseRNN,
        vector: ParameterVector,
        xs: torch.Tensor,
        chosen: torch.Tensor,
        evaluation: Evaluation,
        n_rows: int,
    ):
        limit = AT_ONCE if xs.device.type == "cpu" else AT_ONCE_ELSEWHERE
        self._size = max(limit // (xs.shape[1] * model.n_actions * n_rows), 1)
        parts = zip(xs.split(self._size), chosen.split(self._size), strict=True)
        self._blocks = [_Block(model, vector, *part, evaluation, limit // n_rows) for part in parts]

    def evaluate(self, rows: torch.Tensor, states: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient of rows of parameter vectors.

        Parameters
        ----------
        rows : torch.Tensor, shape (n_rows, n_parameters)
            Parameter vectors.
        states : torch.Tensor, shape (n_trials, n_rows, n_states, n_sessions, n_actions), optional
            States before each trial, if they are known; else they are found by sweeps.
        """
        nll, gradient = rows.new_zeros(len(rows)), torch.zeros_like(rows)
        parts = [None] * len(self._blocks) if states is None else states.split(self._size, dim=3)
        for block, part in zip(self._blocks, parts, strict=True):
            if part is not None:
                block.take(part)
            loss, slope = block.evaluate(rows, sweeps=part is None)
            nll, gradient = nll + loss, gradient + slope
        return nll, gradient

    @property
    def fallbacks(self) -> int:
        """How often sweeps did not converge."""
        return sum(block.fallbacks for block in self._blocks)

    @property
    def pieces(self) -> list["_Piece"]:
        """What the trials are cut into."""
        return [piece for block in self._blocks for piece in block.pieces]


class _Block:
    """As many sessions as one call of ``step`` takes; longer ones in pieces, one after another."""

    def __init__(
        self,
        model: BaseRNN,
        vector: ParameterVector,
        xs: torch.Tensor,
        chosen: torch.Tensor,
        evaluation: Evaluation,
        limit: int,
    ):
        sessions = model.read_inputs(xs, batch_first=True)
        used = sessions.observed.any(1) | (chosen != 0).any(0).any(-1)
        end = int(used.nonzero()[-1]) + 1 if bool(used.any()) else 1  # the rest is padding of all of them
        sessions, chosen = sessions.part(0, end), chosen[:, :end]
        n_sessions, n_trials, n_actions = chosen.shape
        length = max(limit // (n_sessions * n_actions), 1)
        model.set_initial_state(n_sessions)
        self.first = torch.stack(list(model.state.values()))
        self.pieces = [
            _Piece(model, vector, sessions.part(t, t + length), part.transpose(0, 1), evaluation.coupled)
            for t, part in zip(range(0, n_trials, length), chosen.split(length, dim=1), strict=True)
        ]
        self.fallbacks = 0
        self._loop, self._vector = StatesInLoop(model, sessions), vector

    def evaluate(self, rows: torch.Tensor, sweeps: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient, by sweeps or at the states that were taken."""
        leaf = rows.detach().requires_grad_()
        first = self.first.expand(len(rows), *self.first.shape)
        found = self._sweep(leaf, first) if sweeps else None
        if sweeps and found is None:
            self.fallbacks += 1
            self.take(states_in_loop(self._loop, self._vector, rows))
        nll, gradient, by_last = rows.new_zeros(len(rows)), torch.zeros_like(rows), torch.zeros_like(first)
        for piece in reversed(self.pieces):
            loss, slope, by_last = piece.differentiate(leaf, found or piece.linearise(leaf), by_last)
            nll, gradient, found = nll + loss, gradient + slope, None
        return nll, gradient

    def take(self, states: torch.Tensor) -> None:
        """Take the states before each trial."""
        start = 0
        for piece in self.pieces:
            piece.take(states[start : start + piece.n_trials])
            start += piece.n_trials

    def _sweep(self, rows: torch.Tensor, first: torch.Tensor) -> Trajectory | None:
        """Find the states by sweeps; the last piece's can be differentiated. None where they do not converge."""
        found: Trajectory | None = None
        for piece in self.pieces:
            found = piece.sweep(rows, first)
            if found is None:
                return None
            first = found.next_states[-1].detach()
        return found


def states_in_loop(loop: StatesInLoop, vector: ParameterVector, rows: torch.Tensor) -> torch.Tensor:
    """States before each trial, trial by trial, shape (n_trials, n_rows, n_states, n_batch, n_actions)."""
    with torch.no_grad():
        named = vector.named(rows, prefix="model.")
        of_rows = [{name: value[i] for name, value in named.items()} for i in range(len(rows))]
        return torch.stack([functional_call(loop, one, ()) for one in of_rows], dim=1)


class _Piece:
    """Some trials of some sessions."""

    def __init__(
        self, model: BaseRNN, vector: ParameterVector, sessions: Sessions, chosen: torch.Tensor, coupled: bool
    ):
        self._trials, self._vector, self._coupled = TrialsAtOnce(model, sessions), vector, coupled
        self._chosen, self.n_trials = chosen.unsqueeze(1), len(chosen)
        self.last: torch.Tensor | None = None  # the last solution: states before each trial

    def sweep(self, rows: torch.Tensor, first: torch.Tensor) -> Trajectory | None:
        """Find the states by sweeps from the last solution on, given those before the first trial."""
        if self.last is None or self.last.shape[1:] != first.shape:
            self.last = first.expand(self.n_trials, *first.shape)
        guess = torch.cat([first.unsqueeze(0), self.last[1:]])
        found = solve_states(self._step(rows), guess, self._coupled)
        if found is not None:
            self.last = found.states.detach()
        return found

    def take(self, states: torch.Tensor | None) -> None:
        """Take states as the last solution."""
        self.last = None if states is None else states.to(self._chosen.device)

    def linearise(self, rows: torch.Tensor) -> Trajectory:
        """The trials at the states last found."""
        assert self.last is not None
        return linearise(self._step(rows), self.last, self._coupled)

    def differentiate(
        self, rows: torch.Tensor, trajectory: Trajectory, by_last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Negative log-likelihood, its gradient, and its derivative by the states before the first trial.

        The states are no function of the parameters here. With their adjoints as Lagrange multipliers the derivative
        is the total one, and an error of the states changes the value to second order only.
        """
        nll = -log_likelihood(trajectory.logits, self._chosen).sum((0, 2), dtype=torch.float64)
        by_states = torch.autograd.grad(nll.sum(), trajectory.states, retain_graph=True)[0]
        by_next, by_first = trajectory.adjoint(by_states, by_last)
        followed = torch.cat([trajectory.states[1:], trajectory.next_states[-1:]]).detach()
        lagrangian = nll + (by_next * (trajectory.next_states - followed)).sum((0, 2, 3, 4))
        gradient = torch.autograd.grad(lagrangian.sum(), rows)[0]
        return lagrangian.detach(), gradient, by_first

    def _step(self, rows: torch.Tensor) -> Step:
        """What one trial does with these parameters, on states of all trials."""
        named = self._vector.named(rows, prefix="model.")
        if len(rows) > 1:
            call = vmap(lambda p, s: functional_call(self._trials, p, (s,)), in_dims=(0, 1), out_dims=(1, 1))
            return lambda states: call(named, states)
        one = {name: value[0] for name, value in named.items()}

        def step(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            next_states, logits = functional_call(self._trials, one, (states[:, 0],))
            return next_states.unsqueeze(1), logits.unsqueeze(1)

        return step

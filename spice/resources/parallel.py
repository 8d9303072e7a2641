"""Parallel in time: all trials of a `step` model at once, by Newton sweeps with linear scans.

The states of a session obey x[t + 1] = f_t(x[t]). Given a guess of them all, one call of ``step`` on all trials gives
every f_t and its derivative; the recurrence linearised at the guess is solved by a linear scan, and a few such sweeps
solve it exactly (Newton's method; Lim et al. 2024, "Parallelizing non-linear sequential models over the sequence
length", ICLR). Gradients come from one more scan, backwards. The states of an option may depend on each other, but not
on those of other options.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from spice.resources.module_calls import Pass, Places
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Sessions, States

MAX_SWEEPS = 8
FARTHEST = 10.0  # change of a state in one sweep, relative to 1 + the largest state, that shows divergence
ERROR = {torch.float64: 1e-7, torch.float32: 1e-5}  # largest error of a state, relative to 1 + the largest state

# rows of parameters and of states in, states after each trial and logits out
Step = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class TrialsAtOnce(nn.Module):
    """All trials of some sessions as the rows of one batch for ``step``.

    Parameters
    ----------
    model : BaseRNN
        A model that defines ``step``.
    sessions : Sessions
        The trials.
    """

    def __init__(self, model: BaseRNN, sessions: Sessions):
        super().__init__()
        self.model = model
        self.state_names = tuple(model.init_values)
        self._sessions = sessions
        n_trials, n_batch, _ = sessions.actions.shape
        missing = ~sessions.observed.reshape(-1, 1)
        self._missing = missing if bool(missing.any()) else None
        self._participants = sessions.participants.expand(n_trials, n_batch).reshape(-1)
        self._places: dict[str, Places] = {}

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One trial each, from given states.

        Parameters
        ----------
        states : torch.Tensor, shape (n_trials, n_states, n_batch, n_actions)
            States before each trial.

        Returns
        -------
        next_states : torch.Tensor, shape (n_trials, n_states, n_batch, n_actions)
            States after each trial.
        logits : torch.Tensor, shape (n_trials, n_batch, n_actions)
            Logits of the choice that follows.
        """
        model, sessions, shape = self.model, self._sessions, self._sessions.actions.shape
        embedding = model.embed(sessions.participants)
        if embedding is not None:
            embedding = embedding.expand(shape[0], *embedding.shape).flatten(0, 1)
        parts = (sessions.actions, sessions.rewards, sessions.further)
        action, reward, further = (part.flatten(0, 1) for part in parts)
        trial = model.make_trial(action, reward, further, embedding, sessions.columns)
        values = {name: states[:, k].reshape(-1, shape[2]) for k, name in enumerate(self.state_names)}
        model._pass = Pass(self._participants, [self._missing], sessions.unknown_outcomes, trial=0, places=self._places)
        model._pass.lagged = {n: lag[:-1].flatten(0, 1).unsqueeze(0) for n, lag in sessions.lagged.items()}
        model._state = States(values, self._missing)
        logits = model.advance(trial)
        after = torch.stack([model.state[name].reshape(shape) for name in self.state_names], dim=1)
        return after, logits.reshape(shape)


class StatesInLoop(nn.Module):
    """All states of some sessions, trial by trial; the loop goes on without the sessions that have ended.

    Parameters
    ----------
    model, sessions
        As for `TrialsAtOnce`.
    """

    def __init__(self, model: BaseRNN, sessions: Sessions):
        super().__init__()
        self.model = model
        order, cuts = _cut_where_sessions_end(sessions.observed)
        self._place = order.argsort()
        sessions = sessions.rows(order)
        first = torch.arange(len(order), device=order.device)
        self._parts = [sessions.part(begin, end).rows(first[:number]) for begin, end, number in cuts]

    def forward(self) -> torch.Tensor:
        """States before each trial, shape (n_trials, n_states, n_batch, n_actions)."""
        model = self.model
        model.set_initial_state(len(self._place))
        last = torch.stack(list(model.state.values()))
        found = []
        for part in self._parts:
            n_trials, n_going_on = part.observed.shape
            before = model.states_of_trials(part, dict(zip(model.init_values, last[:, :n_going_on], strict=True)))
            ended = last[:, n_going_on:]
            states = torch.stack([torch.stack(list(state.values())) for state in before])
            found.append(torch.cat([states, ended.expand(n_trials, *ended.shape)], dim=2))
            last = torch.cat([torch.stack(list(model.state.values())), ended], dim=1)
        return torch.cat(found).index_select(2, self._place)


def _cut_where_sessions_end(observed: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, int, int]]]:
    """Long sessions first, and parts of the trials (first, before which, sessions): a quarter fewer in each.

    Parameters
    ----------
    observed : torch.Tensor of bool, shape (n_trials, n_batch)
        Where there was a choice.
    """
    n_trials = len(observed)
    trials = torch.arange(1, n_trials + 1, device=observed.device).unsqueeze(1)
    lengths, order = (observed * trials).amax(0).sort(descending=True, stable=True)
    cuts, number, begin = [], len(order), 0
    for end, going_on in enumerate((lengths.unsqueeze(0) > trials).sum(1).tolist(), start=1):
        if end == n_trials or 0 < going_on < 0.75 * number:
            cuts.append((begin, end, number))
            begin, number = end, going_on
    return order, cuts


@dataclass(frozen=True)
class Trajectory:
    """All states of some sessions, and one differentiable call of ``step`` on them.

    Attributes
    ----------
    states : torch.Tensor, shape (n_trials, n_rows, n_states, n_batch, n_actions)
        States before each trial; a leaf that requires its gradient.
    next_states : torch.Tensor, of the same shape
        States after each trial.
    logits : torch.Tensor, shape (n_trials, n_rows, n_batch, n_actions)
        Logits.
    derivatives : torch.Tensor, shape (n_trials, n_rows, n_states[, n_states], n_batch, n_actions)
        Of each next state by each state (by itself alone, where states do not depend on each other).
    """

    states: torch.Tensor
    next_states: torch.Tensor
    logits: torch.Tensor
    derivatives: torch.Tensor

    def adjoint(self, by_states: torch.Tensor, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Total derivatives of a loss by all states, through all later trials.

        Parameters
        ----------
        by_states : torch.Tensor, shape of ``states``
            Derivative of the loss by the states before each trial, through that trial's logits.
        last : torch.Tensor, shape (n_rows, n_states, n_batch, n_actions)
            Derivative by the states after the last trial.

        Returns
        -------
        by_next_states : torch.Tensor, shape of ``states``
            Derivative by the states after each trial.
        first : torch.Tensor, shape of ``last``
            Derivative by the states before the first trial.
        """
        factors = self.derivatives
        if factors.ndim > by_states.ndim:
            factors = factors.transpose(2, 3)
        total = linear_scan(factors.flip(0), by_states.flip(0), last).flip(0)
        return torch.cat([total[1:], last.unsqueeze(0)]), total[0]


def linearise(step: Step, states: torch.Tensor, coupled: bool) -> Trajectory:
    """Call ``step`` at given states; arguments as in `solve_states`."""
    states = states.detach().requires_grad_()
    next_states, logits = step(states)
    return Trajectory(states, next_states, logits, state_derivatives(next_states, states, coupled))


def solve_states(step: Step, guess: torch.Tensor, coupled: bool) -> Trajectory | None:
    """Solve for the states of all trials by Newton sweeps.

    Parameters
    ----------
    step : callable
        States of all trials to their next states and logits.
    guess : torch.Tensor, shape (n_trials, n_rows, n_states, n_batch, n_actions)
        States before each trial; those of the first are taken as given.
    coupled : bool
        Whether the states of an option depend on each other.

    Returns
    -------
    Trajectory or None
        None where the sweeps do not converge.
    """
    states = guess
    for _ in range(MAX_SWEEPS):
        found = linearise(step, states, coupled)
        with torch.no_grad():
            residual = found.next_states[:-1] - found.states[1:]
            # what the states are wrong by: residuals add up where little is forgotten, and grow where errors grow
            change = linear_scan(found.derivatives[:-1], residual, torch.zeros_like(found.states[0]))
            # each start and each state by its own measure
            largest = torch.maximum(found.states.abs(), found.next_states.abs()).amax((0, 3, 4))
            wrong = change.abs().amax((0, 3, 4)) / (1 + largest) if len(change) else torch.zeros_like(largest)
            if bool((wrong <= ERROR[states.dtype]).all()):
                return found
            # far from the solution derivatives above 1 can pile up over trials: such a step is no use
            if not bool((wrong < FARTHEST).all()):
                return None
            states = torch.cat([found.states[:1], found.states[1:] + change])
    return None


def state_derivatives(next_states: torch.Tensor, states: torch.Tensor, coupled: bool) -> torch.Tensor:
    """Derivatives of each next state by the states of the same trial, session and option.

    Returns
    -------
    torch.Tensor, shape (n_trials, n_rows, n_states[, n_states], n_batch, n_actions)
        The next state first; without the axis in brackets, each by itself alone, if states are not coupled.
    """
    if not coupled:
        return torch.autograd.grad(next_states.sum(), states, retain_graph=True)[0]
    parts = [torch.autograd.grad(part.sum(), states, retain_graph=True)[0] for part in next_states.unbind(2)]
    return torch.stack(parts, dim=2)


def linear_scan(factors: torch.Tensor, terms: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Solve x[t] = factors[t] x[t - 1] + terms[t].

    Parameters
    ----------
    factors : torch.Tensor, shape (n_trials, n_rows, n_states[, n_states], n_batch, n_actions)
        Factors by element, or matrices (result first).
    terms : torch.Tensor, shape (n_trials, n_rows, n_states, n_batch, n_actions)
        What is added.
    first : torch.Tensor, shape (n_rows, n_states, n_batch, n_actions)
        x before the first trial.

    Returns
    -------
    torch.Tensor, shape of ``terms``
        x of each trial.
    """
    n_trials = len(terms)
    if not n_trials:
        return terms
    # in about sqrt(n_trials) pieces side by side: so few operations, and so little is computed twice
    length = math.isqrt(n_trials - 1) + 1
    missing = -n_trials % length
    if missing:
        factors, terms = (torch.cat([part, torch.zeros_like(part[:missing])]) for part in (factors, terms))
    factors, terms = (part.unflatten(0, (-1, length)).unbind(1) for part in (factors, terms))
    reached, carried = [terms[0]], [factors[0]]  # of each piece as if it began from 0, and of what it began from
    for factor, term in zip(factors[1:], terms[1:], strict=True):
        reached.append(_advance(term, factor, reached[-1]))
        carried.append(_compose(factor, carried[-1], first.ndim + 1))
    begins = [first]
    for ended, share in zip(reached[-1][:-1], carried[-1][:-1], strict=True):
        begins.append(_advance(ended, share, begins[-1]))
    whole = _advance(torch.stack(reached, 1), torch.stack(carried, 1), torch.stack(begins).unsqueeze(1))
    return whole.flatten(0, 1)[:n_trials]


def _advance(term: torch.Tensor, factors: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The term plus factors, by element or as matrices, times x."""
    if factors.ndim == x.ndim:
        return torch.addcmul(term, factors, x)
    return term + (factors * x.unsqueeze(-4)).sum(-3)


def _compose(later: torch.Tensor, earlier: torch.Tensor, ndim: int) -> torch.Tensor:
    """One factor after another; matrices where they have more than so many axes."""
    if later.ndim == ndim:
        return later * earlier
    return torch.einsum("...ijba,...jkba->...ikba", later, earlier)

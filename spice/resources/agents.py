"""Agents: what makes choices and learns from their outcomes, one session at a time or many at once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spice.errors import ConfigError, DataError
from spice.resources.arguments import as_numbers, in_words, is_whole, plain_scalar
from spice.resources.columns import NEXT, Columns
from spice.resources.offers import coming_offer
from spice.resources.sessions import read_session

Seed = int | Sequence[int] | np.random.Generator | np.random.BitGenerator | np.random.SeedSequence | None


def make_generator(seed: Seed = None) -> np.random.Generator:
    """Random generator of a seed, or of numpy's global state where the user gave none.

    Parameters
    ----------
    seed : int, numpy.random.Generator, or anything else that numpy.random.default_rng takes
        A Generator is returned as it is. With None, the seed is drawn from numpy's global state, so
        that ``np.random.seed(42)`` at the top of a script makes it reproducible.

    Returns
    -------
    numpy.random.Generator
        The generator.

    Raises
    ------
    ConfigError
        If the seed is none of these.
    """
    if seed is None:
        return np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))
    try:
        return np.random.default_rng(int(plain_scalar(seed)) if is_whole(seed) else seed)
    except (TypeError, ValueError):
        raise ConfigError(
            f"a seed must be a whole number from 0 on or a numpy.random.Generator, not {in_words(seed)}."
        ) from None


class Agent(ABC):
    """Makes choices and learns from outcomes; every method works on one session or on many at once.

    After ``new_sess()`` there is one session: choices are ints, arrays have the shape (n_actions,). After
    ``new_sess(n_sessions)`` arrays have a leading axis of that length. A subclass says what a session
    starts with (``_start``), what an outcome changes (``_learn``), and what comes of it (``_logits``,
    ``_state``); it sees arrays with the leading axis only. ``_learn`` must replace its arrays, not write
    into them, because simulation works on a shallow copy of the agent. A subclass whose parameters are
    drawn at random sets ``draws_parameters`` and overrides ``draw_parameters``.

    Parameters
    ----------
    n_actions : int
        Number of options.
    seed : int or numpy.random.Generator, optional
        Seed of the choices. Without it each ``new_sess`` takes one from numpy's global state.
    """

    draws_parameters: bool = False
    scales_states: bool = True  # whether inverse temperatures multiply the states that are shown

    def __init__(self, n_actions: int, seed: Seed = None):
        self._n_actions = n_actions
        self._own_generator = None if seed is None else make_generator(seed)
        self._generator = self._own_generator
        self._single = True
        self._n_sessions = 1
        self._available: np.ndarray | None = None  # options on offer, (n_sessions, n_actions); None: all

    @property
    def n_actions(self) -> int:
        """Number of options."""
        return self._n_actions

    @property
    @abstractmethod
    def states(self) -> tuple[str, ...]:
        """Names of the states."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name, of the running session(s); empty where an agent has none to show."""
        return {}

    @property
    def generator(self) -> np.random.Generator:
        """The agent's random generator, made when it is first needed."""
        if self._generator is None:
            self._generator = make_generator()
        return self._generator

    def draw_parameters(self, n: int, seed: Seed = None) -> None:
        """Draw the parameters of ``n`` participants or sessions; only where they are random."""
        raise NotImplementedError(f"{type(self).__name__} has fixed parameters.")

    @abstractmethod
    def _start(self, participants: np.ndarray) -> None:
        """Set all states to their start; ``participants`` are ints, shape (n_sessions,)."""

    @abstractmethod
    def _learn(self, choice: np.ndarray, reward: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        """Update the states: choice (n_sessions,) float with NaN, reward (n_sessions, n_actions)."""

    @abstractmethod
    def _logits(self) -> np.ndarray:
        """Logits, shape (n_sessions, n_actions)."""

    @abstractmethod
    def _state(self, state: str, multiply_with_beta: bool) -> np.ndarray:
        """Value of a known state, shape (n_sessions, n_actions)."""

    def _probs(self) -> np.ndarray:
        """Choice probabilities, shape (n_sessions, n_actions): the softmax of the logits."""
        logits = self._offered_logits()
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _offered_logits(self) -> np.ndarray:
        """Logits, minus infinity for options that are not on offer."""
        return self._logits() if self._available is None else np.where(self._available, self._logits(), -np.inf)

    def _offered_probs(self) -> np.ndarray:
        """Choice probabilities, 0 for options that are not on offer whatever ``_probs`` says."""
        probs = self._probs()
        if self._available is None:
            return probs
        probs = np.where(self._available, probs, 0.0)
        total = probs.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            raise DataError(
                f"{type(self).__name__} gives every option on offer the probability 0, so it cannot choose; let it "
                "spread a small probability over all options."
            )
        return probs / total

    def new_sess(self, n_sessions: int | None = None, participants: Any = 0, seed: Seed = None) -> None:
        """Start anew.

        Parameters
        ----------
        n_sessions : int, optional
            Number of sessions that run at once; None is one session without a leading axis.
        participants : int or array_like of int, shape (n_sessions,)
            Who plays.
        seed : int or numpy.random.Generator, optional
            Seed of these sessions. Without it the generator of the agent's own seed goes on, or, if
            the agent has none, a new one is taken from numpy's global state.

        Raises
        ------
        ConfigError
            If ``n_sessions`` or ``participants`` do not fit.
        """
        if n_sessions is not None and not is_whole(n_sessions, 1):
            raise ConfigError(f"n_sessions must be a whole number from 1 on, not {in_words(n_sessions)}.")
        rows = 1 if n_sessions is None else int(n_sessions)
        ids = np.asarray(participants)
        if ids.dtype.kind == "f" and (ids == ids.round()).all():  # as in the columns of xs
            ids = ids.astype(int)
        if ids.ndim > 1 or (ids.ndim == 1 and len(ids) != rows) or ids.dtype.kind not in "iu" or (ids < 0).any():
            raise ConfigError(
                f"participants must be one whole number from 0 on, or one for each of the {rows} session(s); "
                f"got {participants!r}."
            )
        self._single, self._n_sessions = n_sessions is None, rows
        self._generator = self._own_generator if seed is None else make_generator(seed)
        self._available = None
        self._start(np.broadcast_to(ids, (rows,)))

    def get_logits(self) -> np.ndarray:
        """Logits of the coming choice, shape (n_actions,) or (n_sessions, n_actions); -inf for what is not on offer."""
        return self._out(self._offered_logits())

    def get_choice_probs(self) -> np.ndarray:
        """Probability of each option at the coming choice, shape (n_actions,) or (n_sessions, n_actions)."""
        return self._out(self._offered_probs())

    def get_choice(self) -> int | np.ndarray:
        """Draw a choice from the probabilities: an int, or ints of shape (n_sessions,)."""
        below = self._offered_probs().cumsum(axis=1)
        drawn = self.generator.random((self._n_sessions, 1))
        if self._available is not None:  # rounding can leave the sum short of 1: the last option may not be on offer
            drawn = drawn * below[:, -1:]
        choice = (drawn >= below[:, :-1]).sum(axis=1)
        return int(choice[0]) if self._single else choice

    def update(self, choice: Any, reward: Any, **inputs: Any) -> None:
        """Learn from the outcome of a trial, and see what is shown before the next one.

        An input shown before the choice comes twice, as in the columns of ``xs``: ``name`` is what this trial showed,
        ``next_name`` what the coming one shows, so that the next choice knows it. What the first trial of a session
        shows is told by a trial without a choice: ``update(nan, [nan, ...], next_name=...)``, which changes nothing
        else. ``next_available_0`` ... (1 or 0) say which options the coming trial offers: no other one is chosen.

        Parameters
        ----------
        choice : int or array_like of shape (n_sessions,)
            Chosen option; NaN for a missing trial, which updates nothing.
        reward : array_like, shape (n_actions,) or (n_sessions, n_actions)
            Reward of each option; NaN where it was not shown.
        **inputs : float or array_like of shape (n_sessions,)
            Further inputs by name, for agents that read them: those seen with the outcome, and pairs of shown ones.

        Raises
        ------
        DataError
            If there is no such option, or the shapes do not fit.
        """
        choice, reward = as_numbers(choice, "choices"), as_numbers(reward, "rewards")
        lead = () if self._single else (self._n_sessions,)
        if choice.shape != lead or reward.shape != (*lead, self.n_actions):
            raise DataError(
                f"update needs a choice of shape {lead} and rewards of shape {(*lead, self.n_actions)}; "
                f"got {choice.shape} and {reward.shape}. new_sess says how many sessions run at once."
            )
        check_choice(choice, self.n_actions)
        given = {name: np.broadcast_to(as_numbers(value, name), lead) for name, value in inputs.items()}
        if self._single:
            choice, reward, given = choice[None], reward[None], {name: value[None] for name, value in given.items()}
        self._available = coming_offer(given, self.n_actions)
        self._learn(choice, reward, given)

    def get_state_value(self, state: str, multiply_with_beta: bool = True) -> np.ndarray:
        """Value of a state for each option; of a state with cells (one value per stimulus), that of the cell shown.

        Parameters
        ----------
        state : str
            One of ``states``.
        multiply_with_beta : bool
            Whether to multiply it by its inverse temperature, if it has one.

        Returns
        -------
        numpy.ndarray, shape (n_actions,) or (n_sessions, n_actions)
            The value.

        Raises
        ------
        ConfigError
            If there is no such state.
        """
        if state not in self.states:
            raise ConfigError(f"{type(self).__name__} has no state {state!r}; its states are {', '.join(self.states)}.")
        return self._out(self._state(state, multiply_with_beta))

    def _out(self, values: np.ndarray) -> np.ndarray:
        """Copy for the user, without the leading axis if there is one session."""
        return np.array(values[0] if self._single else values)


def agent_problems(agent: Any, name: str) -> list[str]:
    """What is wrong with something that must be an agent: a sentence, or nothing."""
    if isinstance(agent, Agent):
        return []
    own = "; let an agent of your own be a subclass of spice.resources.agents.Agent"
    own = own if hasattr(agent, "get_choice") and not isinstance(agent, type) else ""
    return [f"{name} must be an agent, e.g. AgentQ() or estimator.spice_agent, not {in_words(agent)}{own}."]


def check_choice(choice: np.ndarray, n_actions: int) -> None:
    """Check that every choice is one of the options, or NaN.

    Raises
    ------
    DataError
        If one is not.
    """
    wrong = ~(np.isnan(choice) | np.isin(choice, np.arange(n_actions)))
    if wrong.any():
        raise DataError(f"there is no option {choice[wrong].flat[0]:g}; options are numbered 0 to {n_actions - 1}.")


@dataclass(frozen=True, eq=False)
class Replay:
    """What an agent expected in a session that others lived through: all values *before* each choice.

    Attributes
    ----------
    probs : numpy.ndarray, shape (n_trials, n_actions)
        Choice probabilities.
    logits : numpy.ndarray, shape (n_trials, n_actions)
        Logits.
    signals : dict of str to numpy.ndarray, shape (n_trials, n_actions)
        The states that were asked for, multiplied by their inverse temperatures.
    """

    probs: np.ndarray
    logits: np.ndarray
    signals: dict[str, np.ndarray]


def replay(
    agent: Agent, session: Any, columns: Columns | Sequence[str] | None = None, signals: Sequence[str] = ()
) -> Replay:
    """Lead an agent through the choices and outcomes of a recorded session.

    The agent starts anew (``new_sess``, as the session's participant) and is left at the session's end.
    Rows without a choice at the end are dropped; in the middle they are missing trials, which update nothing.

    Parameters
    ----------
    agent : Agent
        The agent.
    session : BanditSession, DatasetRNN of one session, or array_like of shape (n_trials, n_features)
        The session, e.g. ``dataset.xs[0]``.
    columns : Columns or sequence of str, optional
        Names of the columns; needed for arrays with more than ``2 * n_actions + 1`` of them.
    signals : sequence of str
        States to return as well.

    Returns
    -------
    Replay
        Probabilities, logits and signals before each choice.

    Raises
    ------
    DataError
        If the session cannot be read.
    ConfigError
        If the agent has no such state, or does not know the participant.
    """
    trials = read_session(session, agent.n_actions, columns)
    shape = (len(trials.choices), agent.n_actions)
    probs, logits = np.empty(shape), np.empty(shape)
    values = {name: np.empty(shape) for name in signals}
    agent.new_sess(participants=trials.participant)
    shown = {NEXT + name: column[0] for name, column in trials.inputs.items() if NEXT + name in trials.inputs}
    if shown:  # what was seen before the first choice: a trial without a choice changes nothing else
        agent.update(np.nan, np.full(agent.n_actions, np.nan), **shown)
    for t in range(shape[0]):
        probs[t], logits[t] = agent.get_choice_probs(), agent.get_logits()
        for name in signals:
            values[name][t] = agent.get_state_value(name)
        inputs = {name: column[t] for name, column in trials.inputs.items()}
        agent.update(trials.choices[t], trials.rewards[t], **inputs)
    return Replay(probs, logits, values)

"""Bandit tasks: options that pay with some probability, which may change from trial to trial."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from spice.errors import ConfigError, DataError, join_problems
from spice.resources.agents import Seed, check_choice, make_generator
from spice.resources.arguments import as_numbers, in_words, is_flag, is_number, is_whole, plain_scalar


class Bandits(ABC):
    """Options that pay with some probability; plays one session or many at once.

    A subclass says with which probabilities a session starts (``_first_probs``) and how they change from
    trial to trial (``_next_probs``; ``_choice`` holds what was chosen); both return new arrays. A task that shows
    something before each choice says what in ``_shown``.

    Parameters
    ----------
    n_actions : int
        Number of options.
    counterfactual : bool
        Whether the outcomes of the options not chosen are shown as well.
    reward : {"binary", "continuous"}
        Rewards 0 or 1 with the reward probability, or Gaussian rewards with the reward probability as mean.
    reward_sd : float
        Standard deviation of continuous rewards.
    seed : int or numpy.random.Generator, optional
        Seed of the task; without it each ``new_sess`` takes one from numpy's global state.

    Raises
    ------
    ConfigError
        If arguments are out of range; all of them are named.
    """

    def __init__(self, n_actions: int, counterfactual: bool, reward: str, reward_sd: float, seed: Seed):
        problems = self._problems()
        if not is_whole(n_actions, 2):
            problems.append(f"n_actions must be a whole number from 2 on, not {n_actions!r}.")
        if reward not in ("binary", "continuous"):
            problems.append(f"reward must be 'binary' or 'continuous', not {reward!r}.")
        if not is_number(reward_sd, 0):
            problems.append(f"reward_sd must be a number from 0 on, not {in_words(reward_sd)}.")
        if not is_flag(counterfactual):
            problems.append(f"counterfactual must be True or False, not {in_words(counterfactual)}.")
        if problems:
            raise ConfigError(join_problems(f"{type(self).__name__} cannot be used", problems))
        self.counterfactual = bool(counterfactual)
        self._n_actions, self._reward, self._reward_sd = int(n_actions), reward, float(reward_sd)
        self._own_generator = None if seed is None else make_generator(seed)
        self.new_sess()

    @property
    def n_actions(self) -> int:
        """Number of options."""
        return self._n_actions

    @property
    def reward_probs(self) -> np.ndarray:
        """Reward probabilities of the coming trial (a copy), shape (n_actions,) or (n_sessions, n_actions)."""
        return np.array(self._probs[0] if self._single else self._probs)

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """What the coming trial shows before its choice: values by name, each of shape () or (n_sessions,)."""
        return {name: np.array(values[0] if self._single else values) for name, values in self._shown().items()}

    @property
    def shown_names(self) -> tuple[str, ...]:
        """Names of what is shown before each choice."""
        return tuple(self._shown())

    def _shown(self) -> dict[str, np.ndarray]:
        """Values that the coming trial shows, each of shape (n_sessions,); the same names in every trial."""
        return {}

    def _problems(self) -> list[str]:
        """Say what is wrong with the arguments of a subclass, one sentence each."""
        return []

    @abstractmethod
    def _first_probs(self, n_sessions: int) -> np.ndarray:
        """Reward probabilities of the first trial, shape (n_sessions, n_actions)."""

    @abstractmethod
    def _next_probs(self) -> np.ndarray:
        """Reward probabilities of the trial after this one, shape (n_sessions, n_actions)."""

    def new_sess(self, n_sessions: int | None = None, seed: Seed = None) -> None:
        """Start anew.

        Parameters
        ----------
        n_sessions : int, optional
            Number of sessions that run at once; None is one session without a leading axis.
        seed : int or numpy.random.Generator, optional
            Seed of these sessions. Without it the generator of the task's own seed goes on, or, if it
            has none, a new one is taken from numpy's global state.

        Raises
        ------
        ConfigError
            If ``n_sessions`` is not positive.
        """
        if n_sessions is not None and not is_whole(n_sessions, 1):
            raise ConfigError(f"n_sessions must be a whole number from 1 on, not {in_words(n_sessions)}.")
        self._single = n_sessions is None
        own = self._own_generator
        self._generator = own if own is not None and seed is None else make_generator(seed)
        self._trial = 0
        self._probs = self._first_probs(1 if n_sessions is None else int(n_sessions))

    def step(self, choice: Any) -> np.ndarray:
        """Play one trial.

        Parameters
        ----------
        choice : int or array_like of shape (n_sessions,)
            Chosen option; NaN for a missed trial, which pays nothing.

        Returns
        -------
        numpy.ndarray, shape (n_actions,) or (n_sessions, n_actions)
            Reward of each option; NaN where it is not shown.

        Raises
        ------
        DataError
            If the shape does not fit or there is no such option.
        """
        choice = as_numbers(choice, "choices")
        lead = () if self._single else (len(self._probs),)
        if choice.shape != lead:
            raise DataError(
                f"step needs a choice of shape {lead}, not {choice.shape}: new_sess says how many sessions run at once."
            )
        check_choice(choice, self.n_actions)
        self._choice = choice.reshape(-1)
        reward = self._outcomes(self._choice[:, None])
        self._trial += 1
        self._probs = self._next_probs()
        return reward[0] if self._single else reward

    def _outcomes(self, choice: np.ndarray) -> np.ndarray:
        """Reward of each option, NaN where it is not shown, (n_sessions, n_actions); choice is (n_sessions, 1)."""
        if self._reward == "binary":
            reward = (self._generator.random(self._probs.shape) < self._probs).astype(float)
        else:
            reward = self._generator.normal(self._probs, self._reward_sd)
        shown = ~np.isnan(choice) if self.counterfactual else choice == np.arange(self.n_actions)
        return np.where(shown, reward, np.nan)


def task_problems(environment: Any, name: str = "environment") -> list[str]:
    """What is wrong with something that must be a task: a sentence, or nothing."""
    if isinstance(environment, Bandits):
        return []
    own = "; let a task of your own be a subclass of spice.resources.environments.Bandits"
    own = own if hasattr(environment, "step") and not isinstance(environment, type) else ""
    return [f"{name} must be a task, e.g. BanditsDrift(sigma=0.2), not {in_words(environment)}{own}."]


def check_is_task(environment: Any, user: str) -> None:
    """Check that a function was given a task as its first argument.

    Raises
    ------
    ConfigError
        If it was not.
    """
    for problem in task_problems(environment):
        raise ConfigError(f"the first argument of {user} is the task: {problem}")


def _probabilities(reward_probs: Any) -> np.ndarray:
    try:
        return as_numbers(reward_probs, "reward_probs")
    except DataError as error:
        raise ConfigError(str(error)) from None


class BanditsDrift(Bandits):
    """Reward probabilities that drift: uniform at the start, then Gaussian steps, clipped to [0, 1].

    Parameters
    ----------
    sigma : float
        Standard deviation of one step.
    n_actions, counterfactual, reward, reward_sd, seed
        See `Bandits`.
    """

    def __init__(
        self,
        sigma: float,
        n_actions: int = 2,
        counterfactual: bool = False,
        reward: str = "binary",
        reward_sd: float = 0.1,
        seed: Seed = None,
    ):
        self.sigma = plain_scalar(sigma)
        super().__init__(n_actions, counterfactual, reward, reward_sd, seed)

    def _problems(self) -> list[str]:
        return [] if is_number(self.sigma, 0) else [f"sigma must be a number from 0 on, not {in_words(self.sigma)}."]

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        return self._generator.random((n_sessions, self.n_actions))

    def _next_probs(self) -> np.ndarray:
        return np.clip(self._generator.normal(self._probs, self.sigma), 0, 1)


class BanditsSwitch(Bandits):
    """Switches between given sets of reward probabilities.

    Parameters
    ----------
    reward_probs : array_like, shape (n_sets, n_actions)
        The sets. A session starts in a random one, and each switch leads to a random other one.
    hazard : float, optional
        Probability of a switch after each trial.
    block_length : int, optional
        Number of trials after which there is a switch, instead of ``hazard``.
    counterfactual, reward, reward_sd, seed
        See `Bandits`.
    """

    def __init__(
        self,
        reward_probs: Any,
        hazard: float | None = None,
        block_length: int | None = None,
        counterfactual: bool = False,
        reward: str = "binary",
        reward_sd: float = 0.1,
        seed: Seed = None,
    ):
        self._sets = _probabilities(reward_probs)
        self.hazard, self.block_length = plain_scalar(hazard), plain_scalar(block_length)
        n_actions = self._sets.shape[-1] if self._sets.ndim else 0
        super().__init__(n_actions, counterfactual, reward, reward_sd, seed)

    def _problems(self) -> list[str]:
        problems = []
        if self._sets.ndim != 2 or len(self._sets) < 2:
            problems.append(f"reward_probs needs two or more sets of n_actions values, not shape {self._sets.shape}.")
        if not ((self._sets >= 0) & (self._sets <= 1)).all():
            problems.append(f"reward_probs must lie in [0, 1], not {self._sets.tolist()}.")
        if (self.hazard is None) == (self.block_length is None):
            problems.append("give either hazard (probability of a switch) or block_length (trials between switches).")
        if self.hazard is not None and not is_number(self.hazard, 0, 1):
            problems.append(f"hazard must lie in [0, 1], not {in_words(self.hazard)}.")
        if self.block_length is not None and not is_whole(self.block_length, 1):
            problems.append(f"block_length must be a whole number from 1 on, not {in_words(self.block_length)}.")
        return problems

    def _first_set(self, n_sessions: int) -> np.ndarray:
        return self._generator.integers(len(self._sets), size=n_sessions)

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        self._set = self._first_set(n_sessions)
        return self._sets[self._set]

    def _next_probs(self) -> np.ndarray:
        n_sessions = len(self._set)
        if self.hazard is None:
            switch = np.full(n_sessions, self.block_length is not None and self._trial % self.block_length == 0)
        else:
            switch = self._generator.random(n_sessions) < self.hazard
        ahead = self._generator.integers(1, len(self._sets), size=n_sessions)
        self._set = (self._set + switch * ahead) % len(self._sets)
        return self._sets[self._set]


class BanditsReversal(BanditsSwitch):
    """Reward probabilities that change places: reversed between two options, rotated among more.

    Parameters
    ----------
    reward_probs : sequence of float
        Reward probabilities at the start, one per option.
    hazard : float, optional
        Probability of a reversal after each trial.
    block_length : int, optional
        Number of trials after which there is a reversal, instead of ``hazard``.
    counterfactual, reward, reward_sd, seed
        See `Bandits`.
    """

    def __init__(
        self,
        reward_probs: Sequence[float] = (0.8, 0.2),
        hazard: float | None = None,
        block_length: int | None = None,
        counterfactual: bool = False,
        reward: str = "binary",
        reward_sd: float = 0.1,
        seed: Seed = None,
    ):
        first = np.atleast_1d(_probabilities(reward_probs))
        rotations = [np.roll(first, shift) for shift in range(len(first))]
        super().__init__(rotations, hazard, block_length, counterfactual, reward, reward_sd, seed)

    def _first_set(self, n_sessions: int) -> np.ndarray:
        return np.zeros(n_sessions, dtype=int)


class BanditsFixed(Bandits):
    """Reward probabilities that stay as they are.

    Parameters
    ----------
    reward_probs : sequence of float
        Reward probabilities, one per option.
    counterfactual, reward, reward_sd, seed
        See `Bandits`.
    """

    def __init__(
        self,
        reward_probs: Sequence[float],
        counterfactual: bool = False,
        reward: str = "binary",
        reward_sd: float = 0.1,
        seed: Seed = None,
    ):
        self._fixed = _probabilities(reward_probs)
        super().__init__(self._fixed.size, counterfactual, reward, reward_sd, seed)

    def _problems(self) -> list[str]:
        if self._fixed.ndim == 1 and ((self._fixed >= 0) & (self._fixed <= 1)).all():
            return []
        return [f"reward_probs needs one value in [0, 1] per option, not {self._fixed.tolist()}."]

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        return np.tile(self._fixed, (n_sessions, 1))

    def _next_probs(self) -> np.ndarray:
        return self._probs

"""Tasks that show something before each choice: a stimulus, the step of a trial, or which options are on offer."""

import copy
from typing import Any

import numpy as np

from spice.errors import DataError
from spice.resources.agents import Seed
from spice.resources.arguments import as_numbers, in_words, is_number, is_whole, plain_scalar
from spice.resources.environments import Bandits, task_problems
from spice.resources.offers import offer_names

# Mean reward by season, alien and action. In each season another action is best for an alien, and the seasons differ
# in what they pay on the whole; 0.1 is what any other action pays.
ALIEN_REWARDS = (
    ((0.6, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.5), (1.0, 0.1, 0.1)),
    ((0.1, 0.4, 0.1), (0.1, 0.1, 0.7), (0.6, 0.1, 0.1), (0.1, 0.3, 0.1)),
    ((0.1, 0.1, 0.3), (0.5, 0.1, 0.1), (0.1, 0.2, 0.1), (0.1, 0.1, 0.4)),
)


class TwoStepTask(Bandits):
    """Two choices per trial, of which the first leads to the state of the second (Daw et al., 2011, Neuron 69).

    A trial is two rows. The first shows ``state`` 0, and its choice pays nothing: option 0 leads to state 1 and option
    1 to state 2 with probability ``common``, else to the other one (a missed first choice leads to either). The second
    row shows the state, 1 or 2, and its choice pays 1 with a probability of its own, else 0. These four probabilities
    start uniformly between ``low`` and ``high``; after each trial each takes a Gaussian step, reflected at the bounds.

    ``create_dataset`` counts rows: with ``n_trials=2 * k - 1`` it simulates k whole trials.

    Parameters
    ----------
    common : float
        Probability of the common transition, in [0, 1].
    low, high : float
        Bounds of the reward probabilities.
    sigma : float
        Standard deviation of their steps.
    seed : int or numpy.random.Generator, optional
        See `Bandits`.

    Raises
    ------
    ConfigError
        If arguments are out of range; all of them are named.
    """

    def __init__(
        self, common: float = 0.7, low: float = 0.25, high: float = 0.75, sigma: float = 0.025, seed: Seed = None
    ):
        self.common, self.low, self.high = plain_scalar(common), plain_scalar(low), plain_scalar(high)
        self.sigma = plain_scalar(sigma)
        super().__init__(2, False, "binary", 0.0, seed)

    def _problems(self) -> list[str]:
        problems = []
        if not is_number(self.common, 0, 1):
            problems.append(f"common must lie in [0, 1], not {in_words(self.common)}.")
        if not (is_number(self.low, 0, 1) and is_number(self.high, 0, 1) and self.low <= self.high):
            problems.append(f"low and high must lie in [0, 1] in this order, not {self.low!r} and {self.high!r}.")
        if not is_number(self.sigma, 0):
            problems.append(f"sigma must be a number from 0 on, not {in_words(self.sigma)}.")
        return problems

    def _shown(self) -> dict[str, np.ndarray]:
        return {"state": self._state}

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        self._state = np.zeros(n_sessions)
        self._walk = self._generator.uniform(self.low, self.high, (n_sessions, 2, 2))  # by state and option
        return np.zeros((n_sessions, 2))

    def _next_probs(self) -> np.ndarray:
        n_sessions = len(self._walk)
        if self._trial % 2 == 1:
            either = self._generator.integers(2, size=n_sessions)
            expected = np.where(np.isnan(self._choice), either, self._choice)
            is_common = self._generator.random(n_sessions) < self.common
            self._state = 1 + np.where(is_common, expected, 1 - expected)
            return self._walk[np.arange(n_sessions), self._state.astype(int) - 1]
        self._walk = _reflect(self._generator.normal(self._walk, self.sigma), self.low, self.high)
        self._state = np.zeros(n_sessions)
        return np.zeros((n_sessions, 2))


def _reflect(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values folded back between two bounds, as often as it takes."""
    if low == high:
        return np.full(values.shape, low)
    beyond = (values - low) % (2 * (high - low))
    return np.clip(low + np.minimum(beyond, 2 * (high - low) - beyond), low, high)  # rounding may pass a bound


class AlienTask(Bandits):
    """Aliens that want another action in each season (after Eckstein & Collins, 2020, PNAS 117).

    Each trial shows ``season`` and ``alien``. Seasons come in blocks, in rounds of all of them in random order, never
    the same twice in a row; aliens come at random. What an action pays is Gaussian around a table: one task set,
    alien by action, for each season. The published task has 3 seasons, 4 aliens and 3 actions, and 440 trials a person:
    ``create_dataset(agent, AlienTask(), n_trials=439, n_sessions=31)``.

    Parameters
    ----------
    rewards : array_like, shape (n_seasons, n_aliens, n_actions), optional
        Mean rewards; default is ``ALIEN_REWARDS``: 3 x 4 x 3 values from 0.1 to 1, not the published ones. In each
        season one action per alien pays more than 0.1, for every alien another one than in the other seasons.
    block_length : int
        Trials after which the season changes.
    reward_sd : float
        Standard deviation of rewards.
    counterfactual, seed
        See `Bandits`.

    Raises
    ------
    ConfigError
        If arguments are out of range; all of them are named.
    """

    def __init__(
        self,
        rewards: Any = ALIEN_REWARDS,
        block_length: int = 40,
        reward_sd: float = 0.05,
        counterfactual: bool = False,
        seed: Seed = None,
    ):
        self.block_length = plain_scalar(block_length)
        try:
            self._table = as_numbers(rewards, "rewards")
        except DataError:
            self._table = np.empty(0)
        n_actions = self._table.shape[-1] if self._table.ndim == 3 else 2
        super().__init__(n_actions, counterfactual, "continuous", reward_sd, seed)

    def _problems(self) -> list[str]:
        problems = []
        if self._table.ndim != 3 or not self._table.size or not np.isfinite(self._table).all():
            problems.append("rewards must be finite numbers of shape (n_seasons, n_aliens, n_actions).")
        if not is_whole(self.block_length, 1):
            problems.append(f"block_length must be a whole number from 1 on, not {in_words(self.block_length)}.")
        return problems

    @property
    def rewards(self) -> np.ndarray:
        """Mean rewards (a copy), shape (n_seasons, n_aliens, n_actions)."""
        return self._table.copy()

    def _shown(self) -> dict[str, np.ndarray]:
        return {"season": self._season, "alien": self._alien}

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        self._order = self._round(n_sessions)
        return self._new_trial(n_sessions, block=0)

    def _next_probs(self) -> np.ndarray:
        n_sessions, n_seasons = self._order.shape
        block, place = divmod(self._trial, int(self.block_length))
        if place == 0 and block % n_seasons == 0:
            last, self._order = self._order[:, -1:], self._round(n_sessions)
            if n_seasons > 1:
                again = self._order[:, :1] == last
                others = np.concatenate([self._order[:, 1::-1], self._order[:, 2:]], axis=1)
                self._order = np.where(again, others, self._order)
        return self._new_trial(n_sessions, block)

    def _round(self, n_sessions: int) -> np.ndarray:
        """All seasons in random order, shape (n_sessions, n_seasons)."""
        return self._generator.random((n_sessions, len(self._table))).argsort(axis=1)

    def _new_trial(self, n_sessions: int, block: int) -> np.ndarray:
        self._season = self._order[:, block % len(self._table)]
        self._alien = self._generator.integers(self._table.shape[1], size=n_sessions)
        return self._table[self._season, self._alien]


class BanditsOnOffer(Bandits):
    """A task that offers only some of its options, drawn anew for each trial.

    Beside what the task itself shows, each trial shows ``available_0`` ... ``available_{n_actions - 1}``: 1 where the
    option is on offer, else 0. Agents of this package choose among these only; any other choice is an error.

    Parameters
    ----------
    task : Bandits
        The task.
    n_offered : int
        Number of options on offer, from 1 to that of the task's.
    share : float
        Share of trials in which there are so few; in the others all are on offer.
    seed : int or numpy.random.Generator, optional
        Seed of what is on offer and of the task, whose own seed is not used.

    Raises
    ------
    ConfigError
        If arguments are out of range; all of them are named.
    """

    def __init__(self, task: Bandits, n_offered: int, share: float = 1.0, seed: Seed = None):
        self.task, self.n_offered, self.share = task, plain_scalar(n_offered), plain_scalar(share)
        is_task = isinstance(task, Bandits)
        super().__init__(task.n_actions if is_task else 2, is_task and task.counterfactual, "binary", 0.0, seed)

    def _problems(self) -> list[str]:
        problems = task_problems(self.task, "task")
        if not problems and "available_0" in self.task.shown_names:
            problems.append("task offers only some of its options already.")
        most = self.task.n_actions if not problems else np.inf
        if not is_whole(self.n_offered, 1) or self.n_offered > most:
            problems.append(
                f"n_offered must be a whole number from 1 to {most} options, not {in_words(self.n_offered)}."
            )
        if not is_number(self.share, 0, 1):
            problems.append(f"share must lie in [0, 1], not {in_words(self.share)}.")
        return problems

    def _shown(self) -> dict[str, np.ndarray]:
        on_offer = zip(offer_names(self.n_actions), self._available.T.astype(float), strict=True)
        return self._played.shown | dict(on_offer)

    def _first_probs(self, n_sessions: int) -> np.ndarray:
        self._played = copy.copy(self.task)  # which stays as it is
        self._played.new_sess(n_sessions, seed=self._generator)
        self._available = self._offer(n_sessions)
        return self._played.reward_probs

    def _next_probs(self) -> np.ndarray:
        self._available = self._offer(len(self._available))
        return self._played.reward_probs

    def _offer(self, n_sessions: int) -> np.ndarray:
        """Draw what is on offer, bool of shape (n_sessions, n_actions)."""
        rank = self._generator.random((n_sessions, self.n_actions)).argsort(axis=1).argsort(axis=1)
        return (rank < self.n_offered) | (self._generator.random((n_sessions, 1)) >= self.share)

    def _outcomes(self, choice: np.ndarray) -> np.ndarray:
        chosen = choice == np.arange(self.n_actions)
        wrong = (chosen & ~self._available).any(axis=1)
        if wrong.any():
            session = int(wrong.argmax())
            raise DataError(
                f"option {choice[session, 0]:g} is not on offer in trial {self._trial}"
                f"{'' if self._single else f' of session {session}'}; there are "
                f"{', '.join(map(str, self._available[session].nonzero()[0]))}."
            )
        return np.where(self._available, self._played.step(choice[:, 0]), np.nan)

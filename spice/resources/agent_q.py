"""The Q-learning agent: the textbook model behind simulated choices."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from spice.errors import ConfigError, join_problems
from spice.resources.agents import Agent, Seed, make_generator
from spice.resources.arguments import is_whole, plain_scalar

RATES = ("alpha_reward", "alpha_penalty", "forget_rate", "alpha_choice", "alpha_counterfactual", "lapse")


class AgentQ(Agent):
    r"""Learns the value of each option from its outcomes (Rescorla & Wagner, 1972; Watkins & Dayan, 1992).

    In each trial, with :math:`Q` from ``start`` and the choice trace :math:`K` from 0:

    - chosen option: :math:`Q \leftarrow Q + \alpha (r - Q)`, where :math:`\alpha` is ``alpha_penalty`` if the
      prediction error is negative (for rewards 0 and 1: if the reward is 0), else ``alpha_reward``;
    - other options: :math:`Q \leftarrow Q + \alpha_{counterfactual} (r - Q)` if their outcome was shown, and
      :math:`Q \leftarrow Q + forget\_rate (start - Q)`; if both are set, both changes are computed from the old
      value and added;
    - all options: :math:`K \leftarrow K + \alpha_{choice} (1[chosen] - K)`;
    - logits :math:`\beta_{reward} Q + \beta_{choice} K + bias`; choice probabilities
      :math:`(1 - lapse)\, softmax(logits) + lapse / n\_actions`.

    If the chosen option's reward is missing (NaN), its value stays; forgetting and the choice trace go on.

    Any parameter may be a distribution: a frozen ``scipy.stats`` one (anything with ``rvs(size, random_state)``) or
    a function ``(generator, size) -> array``. It is then drawn for participant 0 at once, and for the participants
    (or sessions) of a simulation by ``create_dataset``; the agent keeps the values drawn last.

    Parameters
    ----------
    n_actions : int
        Number of options.
    beta_reward : float or distribution
        Inverse temperature of the values.
    alpha_reward : float or distribution
        Learning rate, in [0, 1].
    alpha_penalty : float or distribution, optional
        Learning rate when the outcome is worse than expected, in [0, 1]; None: ``alpha_reward``.
    forget_rate : float or distribution
        Rate at which values of options not chosen return to ``start``, in [0, 1].
    beta_choice : float or distribution
        Perseveration: inverse temperature of the choice trace.
    alpha_choice : float or distribution
        Learning rate of the choice trace, in [0, 1]; 1: the last choice alone counts.
    alpha_counterfactual : float or distribution
        Learning rate from shown outcomes of options not chosen, in [0, 1].
    bias : sequence of n_actions floats or distributions, or one distribution for all options, optional
        Constant part of the logits; None: 0.
    lapse : float or distribution
        Share of choices made at random, in [0, 1].
    start : float or distribution
        Value of every option at the start of a session.
    seed : int or numpy.random.Generator, optional
        Seed of choices and drawn parameters; without it numpy's global state gives one.

    Raises
    ------
    ConfigError
        If parameters are out of range; all of them are named.
    """

    def __init__(
        self,
        n_actions: int = 2,
        beta_reward: Any = 3.0,
        alpha_reward: Any = 0.2,
        alpha_penalty: Any = None,
        forget_rate: Any = 0.0,
        beta_choice: Any = 0.0,
        alpha_choice: Any = 1.0,
        alpha_counterfactual: Any = 0.0,
        bias: Any = None,
        lapse: Any = 0.0,
        start: Any = 0.5,
        seed: Seed = None,
    ):
        if not is_whole(n_actions, 2):
            raise ConfigError(f"AgentQ cannot be used: n_actions must be a whole number from 2 on, not {n_actions!r}.")
        super().__init__(int(n_actions), seed)
        self._given = {
            "beta_reward": beta_reward,
            "alpha_reward": alpha_reward,
            "alpha_penalty": alpha_penalty,
            "forget_rate": forget_rate,
            "beta_choice": beta_choice,
            "alpha_choice": alpha_choice,
            "alpha_counterfactual": alpha_counterfactual,
            "lapse": lapse,
            "start": start,
        }
        self._given = {name: plain_scalar(value) for name, value in self._given.items()}
        biases, problems = _spread_bias(bias, self.n_actions)
        self._given.update({f"bias[{option}]": value for option, value in enumerate(biases)})
        problems += _check_given(self._given)
        if problems:
            raise ConfigError(join_problems("AgentQ cannot be used", problems))
        self.draws_parameters = any(map(_is_distribution, self._given.values()))
        self.draw_parameters(1)
        self.new_sess()

    def draw_parameters(self, n: int, seed: Seed = None) -> None:
        """Draw anew the parameters given as distributions, for participants 0 to n - 1.

        Parameters
        ----------
        n : int
            Number of participants. With 0 the drawn values are forgotten, and ``new_sess`` says so.
        seed : int or numpy.random.Generator, optional
            Seed of the draws; by default the agent's generator goes on.

        Raises
        ------
        ConfigError
            If a distribution gives values out of range; all such parameters are named.
        """
        table: dict[str, np.ndarray] = {}
        problems: list[str] = []
        generator = None if seed is None else make_generator(seed)
        for name, given in self._given.items():
            if name == "alpha_penalty" and given is None:
                table[name] = table["alpha_reward"]
            elif _is_distribution(given):
                table[name] = _draw(name, given, n, self.generator if generator is None else generator)
                problems += _out_of_range(name, table[name])
            else:
                table[name] = np.full(n, float(given))
        if problems:
            raise ConfigError(join_problems("AgentQ drew parameters that cannot be used", problems))
        self._table, self._n_drawn = table, n

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states.

        ``x_value_reward`` is Q, ``x_value_choice`` K, ``x_learning_rate_reward`` the learning rate of the last
        update (0 before the first one and for options that were not updated; it has no inverse temperature).
        """
        return "x_value_reward", "x_value_choice", "x_learning_rate_reward"

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the running session(s).

        One session: floats, ``bias`` a tuple of ``n_actions`` floats. Many: arrays of shape (n_sessions,), ``bias``
        (n_sessions, n_actions).
        """
        if not self._single:
            return {name: np.array(value if name == "bias" else value[:, 0]) for name, value in self._values.items()}
        values = {name: value[0].tolist() for name, value in self._values.items()}
        return {name: tuple(value) if name == "bias" else value[0] for name, value in values.items()}

    def _start(self, participants: np.ndarray) -> None:
        rows = participants if self.draws_parameters else np.zeros_like(participants)
        if rows.max() >= self._n_drawn:
            raise ConfigError(
                f"AgentQ has drawn parameters for {self._n_drawn} participant(s), so there are none for participant "
                f"{participants.max()}. Draw them with draw_parameters({participants.max() + 1}), or, for a session "
                "simulated with draw_per='session', make an AgentQ with that session's parameters."
            )
        drawn = {name: values[rows] for name, values in self._table.items()}
        biases = [drawn.pop(f"bias[{option}]") for option in range(self.n_actions)]
        self._values = {name: values[:, None] for name, values in drawn.items()}
        self._values["bias"] = np.stack(biases, axis=1)
        shape = (len(rows), self.n_actions)
        self._q = np.broadcast_to(self._values["start"], shape)
        self._k = np.zeros(shape)
        self._rate = np.zeros(shape)

    def _learn(self, choice: np.ndarray, reward: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        p = self._values
        made = ~np.isnan(choice)[:, None]
        chosen = choice[:, None] == np.arange(self.n_actions)
        shown = ~np.isnan(reward)
        error = np.where(shown, reward - self._q, 0.0)
        # A value that is exactly 0 meets reward 0 without an error, and is a penalty all the same.
        worse = (error < 0) | ((error == 0) & (reward <= 0))
        rate = np.where(chosen, np.where(worse, p["alpha_penalty"], p["alpha_reward"]), p["alpha_counterfactual"])
        rate = rate * (made & shown)
        forget = p["forget_rate"] * (made & ~chosen)
        self._q = self._q + rate * error + forget * (p["start"] - self._q)
        self._k = self._k + made * p["alpha_choice"] * (chosen - self._k)
        self._rate = np.where(made, rate, self._rate)

    def _logits(self) -> np.ndarray:
        p = self._values
        return p["beta_reward"] * self._q + p["beta_choice"] * self._k + p["bias"]

    def _probs(self) -> np.ndarray:
        lapse = self._values["lapse"]
        on_offer = self.n_actions if self._available is None else self._available.sum(axis=1, keepdims=True)
        return (1 - lapse) * super()._probs() + lapse / on_offer

    def _state(self, state: str, multiply_with_beta: bool) -> np.ndarray:
        if state == "x_learning_rate_reward":
            return self._rate
        value, beta = (self._q, "beta_reward") if state == "x_value_reward" else (self._k, "beta_choice")
        return value * self._values[beta] if multiply_with_beta else value


def _is_distribution(given: Any) -> bool:
    return hasattr(given, "rvs") or callable(given)


def _draw(name: str, given: Any, n: int, generator: np.random.Generator) -> np.ndarray:
    try:
        values = given.rvs(size=n, random_state=generator) if hasattr(given, "rvs") else given(generator, n)
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the distribution of {name} gives no numbers ({error}); give a frozen one, e.g. scipy.stats.beta(2, 2), "
            "or a function (generator, size) -> array."
        ) from error
    if values.shape != (n,):
        raise ConfigError(f"the distribution of {name} must give {n} values, but gave shape {values.shape}.")
    return values


def _spread_bias(bias: Any, n_actions: int) -> tuple[list[Any], list[str]]:
    """One bias per option, and what is wrong with it."""
    if bias is None:
        return [0.0] * n_actions, []
    if _is_distribution(bias):
        return [bias] * n_actions, []
    bias = bias.tolist() if hasattr(bias, "tolist") else bias
    if not isinstance(bias, Sequence) or isinstance(bias, str) or len(bias) != n_actions:
        return [], [f"bias must hold one value for each of the {n_actions} options, not {bias!r}."]
    return [plain_scalar(value) for value in bias], []


def _check_given(given: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, value in given.items():
        if _is_distribution(value) or (name == "alpha_penalty" and value is None):
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            problems.append(f"{name} must be a number or a distribution, not {value!r}.")
        else:
            problems += _out_of_range(name, np.array([float(value)]))
    return problems


def _out_of_range(name: str, values: np.ndarray) -> list[str]:
    is_rate = name in RATES
    wrong = ~((values >= 0) & (values <= 1)) if is_rate else ~np.isfinite(values)
    if not wrong.any():
        return []
    allowed = "must lie in [0, 1]" if is_rate else "must be finite"
    if len(values) == 1:
        return [f"{name} {allowed}, not {values[0]:g}."]
    usual = "; take a distribution that does, e.g. scipy.stats.beta" if is_rate else ""
    return [f"{name} {allowed}, but {wrong.sum()} of {len(values)} values do not, e.g. {values[wrong][0]:g}{usual}."]

"""People of the peer's synthetic protocol, simulated, and what is true of them.

The protocol's words are taken as the peer's own agent (``AgentQ_SampleZeros``) takes them: a draw from a Beta
distribution is compared with the threshold before the inverse temperatures are scaled, and learning rates that are
about equal become their mean. Unlike there, learning rates below the threshold are set to zero too, and nobody is
drawn again for having no mechanism.

A mechanism is there when it has something to act on: reward with a learning rate above 0, forgetting and asymmetry
with reward, choice with a choice rate above 0. A choice rate is drawn for everybody, so that a slow choice trace is
there whenever choice is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import protocol_oracle as oracle

from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

SPREAD, THRESHOLD = 0.2, 0.2  # standard deviation of the draws; below it they are zero, and closer rates are equal
MEANS = {"beta": 0.5, "alpha_reward": 0.5, "alpha_penalty": 0.5, "forgetting": 0.2}
MEANS |= {"perseveration": 0.5, "alpha_choice": 0.5}
SCALES = {"beta": 6.0, "perseveration": 2.0}
OF_AGENT = {  # AgentQ's names
    "beta": "beta_reward",
    "forgetting": "forget_rate",
    "perseveration": "beta_choice",
}
BLOCKS, TRIALS, SIGMA = 4, 100, 0.2


@dataclass(frozen=True)
class People:
    """Simulated people.

    Attributes
    ----------
    train, fresh : DatasetRNN
        `BLOCKS` sessions of each person to fit, and as many to score.
    parameters : np.ndarray, shape (n_people, 6)
        What acts on choices, in the order of `protocol_oracle.NAMES`; mechanisms that do not are neutral.
    present : dict of str to np.ndarray of bool, shape (n_people,)
        Whether each mechanism is there.
    choices, rewards : np.ndarray, shape (n_people, 2 * BLOCKS, TRIALS + 1)
        Choices and what came of them; the first `BLOCKS` sessions are those to fit.
    """

    train: DatasetRNN
    fresh: DatasetRNN
    parameters: np.ndarray
    present: dict[str, np.ndarray]
    choices: np.ndarray
    rewards: np.ndarray

    def part(self, n: int) -> "People":
        """The first n people."""
        sessions = n * BLOCKS
        present = {name: values[:n] for name, values in self.present.items()}
        arrays = (self.parameters[:n], present, self.choices[:n], self.rewards[:n])
        return People(self.train[:sessions], self.fresh[:sessions], *arrays)


def draw(n_people: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters of everybody, each of shape (n_people,), by the names of `protocol_oracle.NAMES`."""
    drawn = {}
    for name, mean in MEANS.items():
        weight = mean * (1 - mean) / SPREAD**2 - 1
        values = generator.beta(weight * mean, weight * (1 - mean), n_people)
        drawn[name] = np.where(values < THRESHOLD, 0.0, values)
    up, down = drawn["alpha_reward"], drawn["alpha_penalty"]
    alike = np.abs(up - down) < THRESHOLD
    drawn["alpha_reward"], drawn["alpha_penalty"] = (np.where(alike, (up + down) / 2, rate) for rate in (up, down))
    return drawn | {name: scale * drawn[name] for name, scale in SCALES.items()}


def effective(drawn: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What of the parameters acts on choices, shape (n_people, 6), and which mechanisms are there."""
    up, down = drawn["alpha_reward"], drawn["alpha_penalty"]
    reward = (drawn["beta"] > 0) & ((up > 0) | (down > 0))
    choice = (drawn["perseveration"] > 0) & (drawn["alpha_choice"] > 0)
    present = {
        "reward": reward,
        "forgetting": reward & (drawn["forgetting"] > 0),
        "choice": choice,
        "slow choice": choice & (drawn["alpha_choice"] < 1),
        "asymmetry": reward & (up != down),
    }
    acts = np.stack([reward] * 4 + [choice] * 2, axis=1)
    return np.where(acts, np.stack([drawn[name] for name in oracle.NAMES], axis=1), oracle.NEUTRAL), present


def simulate(n_people: int, seed: int = 0) -> People:
    """Simulate everybody at once."""
    generator = np.random.default_rng(seed)
    drawn = draw(n_people, generator)

    def given(values: np.ndarray) -> Any:
        return lambda _, n: values[:n]  # "drawn" by the agent, for its participants in order

    agent = AgentQ(2, **{OF_AGENT.get(name, name): given(values) for name, values in drawn.items()})
    data, sessions, _ = create_dataset(agent, BanditsDrift(sigma=SIGMA), TRIALS, 2 * BLOCKS, n_people, seed=generator)
    to_fit = np.arange(len(data)) % (2 * BLOCKS) < BLOCKS
    shape = (n_people, 2 * BLOCKS, TRIALS + 1)
    choices = np.array([session.choices for session in sessions])
    outcomes = np.array([session.rewards for session in sessions])
    rewards = np.take_along_axis(outcomes, choices[..., None], axis=2)
    return People(data[to_fit], data[~to_fit], *effective(drawn), choices.reshape(shape), rewards.reshape(shape))


def mean_nll(people: People, parameters: np.ndarray) -> np.ndarray:
    """Negative log-likelihood per trial of everybody's fresh sessions by these parameters, shape (n_people,)."""
    everybody = zip(parameters, people.choices[:, BLOCKS:], people.rewards[:, BLOCKS:], strict=True)
    return np.array([oracle.nll_and_gradient(*person)[0] / (BLOCKS * TRIALS) for person in everybody])

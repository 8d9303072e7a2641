"""A dynamic learning rate: a module computes the rate, a hard-coded equation applies it."""

import torch

from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN

LEARNING_RATE_RNN_CONFIG = SpiceConfig(
    rnn_modules=["x_learning_rate_reward", "x_value_reward_not_chosen"],
    control_parameters=["c_action", "c_reward", "c_value_reward"],
    library_setup={"x_learning_rate_reward": ["c_reward", "c_value_reward"], "x_value_reward_not_chosen": []},
    filter_setup={
        "x_learning_rate_reward": ["c_action", 1, True],
        "x_value_reward_not_chosen": ["c_action", 0, True],
    },
)


def delta_rule(value: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Delta rule ``value + learning_rate * (reward - value)``; inputs are reward and learning rate."""
    reward, learning_rate = inputs.unbind(-1)
    return value + learning_rate * (reward - value)


class LearningRateRNN(BaseRNN):
    """Learning rate of the chosen option from its reward and value; delta rule; forgetting; inverse temperature.

    The rate passes through a sigmoid, so that it lies between 0 and 1 as a learning rate does, and the value's
    scale is that of the reward: the inverse temperature is a scaling parameter of its own.
    """

    init_values = {"x_value_reward": 0.5, "x_learning_rate_reward": 0.0}

    def __init__(self, n_actions: int, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_learning_rate_reward"] = self.setup_module(input_size=2)
        self.submodules_rnn["x_value_reward_not_chosen"] = self.setup_module(input_size=0)
        self.submodules_eq["x_value_reward_chosen"] = delta_rule
        self.betas["x_value_reward"] = self.setup_constant()

    def step(self, state, trial):
        """Compute the learning rate, then update all values with it."""
        value = state["x_value_reward"]
        rate = self.call_module(
            "x_learning_rate_reward",
            "x_learning_rate_reward",
            action=trial.action,
            inputs=(trial.reward, value),
            activation_rnn=torch.sigmoid,
        )
        chosen = self.call_module(
            "x_value_reward_chosen", "x_value_reward", action=trial.action, inputs=(trial.reward, rate)
        )
        others = self.call_module("x_value_reward_not_chosen", "x_value_reward", action=1 - trial.action)
        value = chosen + others
        logits = value * self.betas["x_value_reward"]()
        return {"x_value_reward": value, "x_learning_rate_reward": rate}, logits

"""Rescorla-Wagner: the chosen option's value is updated by the reward, others stay (Rescorla & Wagner 1972)."""

from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN

RESCORLA_WAGNER_CONFIG = SpiceConfig(
    rnn_modules=["x_value_reward_chosen"],
    control_parameters=["c_action", "c_reward"],
    library_setup={"x_value_reward_chosen": ["c_reward"]},
    filter_setup={"x_value_reward_chosen": ["c_action", 1, True]},
)
RESCOLA_WAGNER_CONFIG = RESCORLA_WAGNER_CONFIG  # the spelling that existing scripts use


class RescorlaWagnerRNN(BaseRNN):
    """Value of the chosen option updated from the reward; other values carried over.

    Logits are the values themselves: the inverse temperature is part of their scale.
    """

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions: int, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_value_reward_chosen"] = self.setup_module(input_size=1)

    def step(self, state, trial):
        """Update the chosen option's value."""
        value = state["x_value_reward"]
        chosen = self.call_module("x_value_reward_chosen", "x_value_reward", action=trial.action, inputs=trial.reward)
        value = chosen + value * (1 - trial.action)
        return {"x_value_reward": value}, value

"""Rescorla-Wagner with an update of the options not chosen (forgetting)."""

from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN

FORGETTING_RNN_CONFIG = SpiceConfig(
    rnn_modules=["x_value_reward_chosen", "x_value_reward_not_chosen"],
    control_parameters=["c_action", "c_reward"],
    library_setup={"x_value_reward_chosen": ["c_reward"], "x_value_reward_not_chosen": []},
    filter_setup={
        "x_value_reward_chosen": ["c_action", 1, True],
        "x_value_reward_not_chosen": ["c_action", 0, True],
    },
)


class ForgettingRNN(BaseRNN):
    """Value of the chosen option updated from the reward, values of the others from themselves."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions: int, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_value_reward_chosen"] = self.setup_module(input_size=1)
        self.submodules_rnn["x_value_reward_not_chosen"] = self.setup_module(input_size=0)

    def step(self, state, trial):
        """Update all values."""
        name = "x_value_reward"
        value = self.call_module("x_value_reward_chosen", name, action=trial.action, inputs=trial.reward)
        value = value + self.call_module("x_value_reward_not_chosen", name, action=1 - trial.action)
        return {name: value}, value

"""A model for those who do not know the model: values, choice traces and a bias, with everything on offer."""

from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Trial

BANDIT_CONFIG = SpiceConfig(
    rnn_modules=[
        "x_value_reward_chosen",
        "x_value_reward_not_chosen",
        "x_value_choice_chosen",
        "x_value_choice_not_chosen",
    ],
    control_parameters=["c_action", "c_reward", "c_outcome"],
    library_setup={
        "x_value_reward_chosen": ["c_reward"],
        "x_value_reward_not_chosen": ["c_reward", "c_outcome"],
        "x_value_choice_chosen": [],
        "x_value_choice_not_chosen": [],
    },
    filter_setup={
        "x_value_reward_chosen": ["c_action", 1, True],
        "x_value_reward_not_chosen": ["c_action", 0, True],
        "x_value_choice_chosen": ["c_action", 1, True],
        "x_value_choice_not_chosen": ["c_action", 0, True],
    },
    polynomial_degree=2,
)


class BanditRNN(BaseRNN):
    """Values and choice traces of the chosen and of the other options, and a bias per option.

    ``c_reward`` is the reward received, the same for every option; ``c_outcome`` the option's own outcome where it was
    shown. People differ through an embedding where there are several.
    """

    init_values = {"x_value_reward": 0.5, "x_value_choice": 0.0}

    def __init__(self, n_actions: int, n_participants: int = 1, embedding_size: int = 4, **kwargs):
        size = embedding_size if n_participants > 1 else 0
        super().__init__(n_actions=n_actions, n_participants=n_participants, embedding_size=size, **kwargs)
        if size:
            self.participant_embedding = self.setup_embedding(n_participants, size)
        self.bias = self.setup_bias(size)
        for module, signals in BANDIT_CONFIG.library_setup.items():
            self.submodules_rnn[module] = self.setup_module(input_size=len(signals), embedding_size=size)

    def signals(self, trial: Trial):
        """As `BaseRNN.signals`: the reward is the one received."""
        return super().signals(trial) | {"reward": _received(trial).nan_to_num(0.0), "outcome": trial.reward}

    def step(self, state, trial):
        """Update values and choice traces."""
        action, person = trial.action, {"participant_embedding": trial.embedding}
        received = _received(trial)
        # an unknown reward leaves the chosen option's value as it is; the others forget all the same
        outcomes = (received.nan_to_num(0.0), trial.reward.nan_to_num(0.0))
        value = self.call_module(
            "x_value_reward_chosen", "x_value_reward", action=action, inputs=received, **person
        ) + self.call_module(
            "x_value_reward_not_chosen", "x_value_reward", action=1 - action, inputs=outcomes, **person
        )
        trace = self.call_module("x_value_choice_chosen", "x_value_choice", action=action, **person) + self.call_module(
            "x_value_choice_not_chosen", "x_value_choice", action=1 - action, **person
        )
        return {"x_value_reward": value, "x_value_choice": trace}, value + trace + self.call_bias(trial.embedding)


def _received(trial: Trial):
    """The chosen option's reward, for every option; NaN where it is unknown."""
    return (trial.reward * trial.action).sum(-1, keepdim=True).expand_as(trial.action)

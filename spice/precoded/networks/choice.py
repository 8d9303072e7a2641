"""Values and choice traces, different for each participant."""

from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN

CHOICE_CONFIG = SpiceConfig(
    rnn_modules=[
        "x_value_reward_chosen",
        "x_value_reward_not_chosen",
        "x_value_choice_chosen",
        "x_value_choice_not_chosen",
    ],
    control_parameters=["c_action", "c_reward"],
    library_setup={
        "x_value_reward_chosen": ["c_reward"],
        "x_value_reward_not_chosen": [],
        "x_value_choice_chosen": [],
        "x_value_choice_not_chosen": [],
    },
    filter_setup={
        "x_value_reward_chosen": ["c_action", 1, True],
        "x_value_reward_not_chosen": ["c_action", 0, True],
        "x_value_choice_chosen": ["c_action", 1, True],
        "x_value_choice_not_chosen": ["c_action", 0, True],
    },
)


class ChoiceRNN(BaseRNN):
    """Values (learning, forgetting) and choice traces (perseveration, alternation) per participant."""

    init_values = {"x_value_reward": 0.5, "x_value_choice": 0.0}

    def __init__(self, n_actions: int, n_participants: int, embedding_size: int = 4, **kwargs):
        super().__init__(n_actions=n_actions, n_participants=n_participants, embedding_size=embedding_size, **kwargs)
        size = self.embedding_size
        self.participant_embedding = self.setup_embedding(n_participants, size)
        for state in self.init_values:
            self.betas[state] = self.setup_constant(size)
            inputs = 1 if state == "x_value_reward" else 0
            self.submodules_rnn[f"{state}_chosen"] = self.setup_module(input_size=inputs, embedding_size=size)
            self.submodules_rnn[f"{state}_not_chosen"] = self.setup_module(input_size=0, embedding_size=size)

    def step(self, state, trial):
        """Update values and choice traces."""
        action, person = trial.action, {"participant_embedding": trial.embedding}
        value = self.call_module(
            "x_value_reward_chosen", "x_value_reward", action=action, inputs=trial.reward, **person
        ) + self.call_module("x_value_reward_not_chosen", "x_value_reward", action=1 - action, **person)
        trace = self.call_module("x_value_choice_chosen", "x_value_choice", action=action, **person) + self.call_module(
            "x_value_choice_not_chosen", "x_value_choice", action=1 - action, **person
        )
        beta, perseveration = (self.betas[name](trial.embedding) for name in self.init_values)
        return {"x_value_reward": value, "x_value_choice": trace}, beta * value + perseveration * trace

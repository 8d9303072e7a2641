"""Rescorla-Wagner with forgetting, different for each participant."""

from spice.precoded.networks.forgetting import FORGETTING_RNN_CONFIG
from spice.resources.rnn import BaseRNN

PARTICIPANT_EMBEDDING_RNN_CONFIG = FORGETTING_RNN_CONFIG  # the same modules; people differ in their coefficients


class ParticipantEmbeddingRNN(BaseRNN):
    """Values of chosen and other options; modules and inverse temperature read a participant embedding."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions: int, n_participants: int, embedding_size: int = 4, **kwargs):
        super().__init__(n_actions=n_actions, n_participants=n_participants, embedding_size=embedding_size, **kwargs)
        size = self.embedding_size
        self.participant_embedding = self.setup_embedding(n_participants, size)
        self.betas["x_value_reward"] = self.setup_constant(size)
        self.submodules_rnn["x_value_reward_chosen"] = self.setup_module(input_size=1, embedding_size=size)
        self.submodules_rnn["x_value_reward_not_chosen"] = self.setup_module(input_size=0, embedding_size=size)

    def step(self, state, trial):
        """Update all values."""
        name, person = "x_value_reward", {"participant_embedding": trial.embedding}
        value = self.call_module("x_value_reward_chosen", name, action=trial.action, inputs=trial.reward, **person)
        value = value + self.call_module("x_value_reward_not_chosen", name, action=1 - trial.action, **person)
        return {name: value}, value * self.betas[name](trial.embedding)

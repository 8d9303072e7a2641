"""A model for those who do not know the model: values, choice traces and a bias, with everything on offer."""

import warnings
from dataclasses import replace

import torch

from spice.errors import SpiceWarning
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Sessions, Trial

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

    Notes
    -----
    Whoever never saw an outcome of an option not chosen may forget: ``c_outcome`` is 0 throughout. Whoever saw some
    learns from these; where others were hidden, the values of their options stay as they are. The buffer
    ``saw_others`` (n_participants,) says who did; `read_design` sets it.
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
        self.saw_others: torch.Tensor
        self.register_buffer("saw_others", torch.zeros(max(n_participants, 1), dtype=torch.bool))

    def read_design(self, dataset: DatasetRNN) -> None:
        """Note who was shown outcomes of options not chosen, and say so where some were hidden from them."""
        columns = dataset.columns
        others = dataset.xs[..., columns.choice] == 0
        hidden = dataset.xs[..., columns.reward].isnan()
        rows = dataset.participants % len(self.saw_others)
        seen, gaps = ((others & part).any(-1).any(-1) for part in (~hidden, hidden))
        saw = torch.isin(torch.arange(len(self.saw_others)), rows[seen])
        self.saw_others.copy_(saw)
        if (gaps & saw[rows]).any():
            warnings.warn(
                "outcomes of options not chosen are shown in some trials and hidden in others: where they are hidden, "
                "BanditRNN leaves the values of these options as they are, without forgetting. To look for forgetting "
                "there, fit the sessions without such outcomes by themselves.",
                SpiceWarning,
                stacklevel=3,
            )

    def read_inputs(self, inputs: torch.Tensor, batch_first: bool = False) -> Sessions:
        """As `BaseRNN.read_inputs`; outcomes hidden from who saw others are NaN, so that modules skip them."""
        sessions = super().read_inputs(inputs, batch_first)
        if not self.saw_others.any():
            return sessions
        hidden = torch.as_tensor(inputs)[..., sessions.columns.reward].isnan().to(sessions.rewards.device)
        hidden = hidden.transpose(0, 1) if batch_first else hidden
        hidden = hidden & (sessions.actions == 0) & sessions.observed.unsqueeze(-1)
        hidden &= self.saw_others[sessions.participants % len(self.saw_others)].unsqueeze(-1)
        rewards = sessions.rewards.masked_fill(hidden, torch.nan)
        return replace(sessions, rewards=rewards, unknown_outcomes=sessions.unknown_outcomes or bool(hidden.any()))

    def signals(self, trial: Trial):
        """As `BaseRNN.signals`: the reward is the one received."""
        outcome = trial.reward.nan_to_num(0.0)
        return super().signals(trial) | {"reward": _received(trial).nan_to_num(0.0), "outcome": outcome}

    def step(self, state, trial):
        """Update values and choice traces."""
        action, person = trial.action, {"participant_embedding": trial.embedding}
        received = _received(trial)
        # an unknown reward leaves the chosen option's value as it is; the others forget all the same
        outcomes = (received.nan_to_num(0.0), trial.reward)
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
    return torch.where(trial.action == 1, trial.reward, 0.0).sum(-1, keepdim=True).expand_as(trial.action)

"""Agents made of a fitted model, be it a network or equations."""

import numpy as np
import torch

from spice.errors import ConfigError
from spice.resources.agents import Agent, Seed
from spice.resources.columns import Columns
from spice.resources.offers import is_offer
from spice.resources.rnn import BaseRNN


class ModelAgent(Agent):
    """A fitted model that makes choices.

    Parameters
    ----------
    model : BaseRNN
        Network, or network with equations in its modules' place.
    seed : int or numpy.random.Generator, optional
        Seed of the choices.
    """

    def __init__(self, model: BaseRNN, seed: Seed = None):
        super().__init__(model.n_actions, seed)
        self.model = model
        self.new_sess()

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states."""
        return tuple(self.model.init_values)

    def _start(self, participants: np.ndarray) -> None:
        limit = self.model.n_participants
        if limit == 1:  # a model of one participant plays for anybody
            participants = np.zeros_like(participants)
        if limit and participants.max(initial=0) >= limit:
            raise ConfigError(
                f"participant {participants.max()} is unknown: the model has participants 0 to {limit - 1}; "
                "choose one of them (in create_dataset: n_participants)."
            )
        self._participants = torch.as_tensor(np.array(participants), dtype=torch.long)
        n_sessions = len(participants)
        with torch.no_grad():
            self._betas = {n: v.cpu().numpy() for n, v in self.model.scaling_values(self._participants).items()}
        self._states = self.model.set_initial_state(n_sessions)
        # a trial without a choice changes no state and shows what the first choice depends on
        nothing = np.full((n_sessions, self.n_actions), np.nan)
        self._learn(nothing[:, 0], nothing, {})

    def _learn(self, choice: np.ndarray, reward: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        columns = self.model.columns or Columns.make(self.n_actions, 2 * self.n_actions + 1)
        inputs = {name: value for name, value in inputs.items() if columns.has(name) or not is_offer(name)}
        unknown = [name for name in inputs if name not in columns.all_inputs]
        if unknown:
            raise ConfigError(
                f"the model has no input {unknown[0]!r}; its inputs are {', '.join(columns.all_inputs) or 'none'}."
            )
        one_hot = np.where(np.isnan(choice)[:, None], np.nan, choice[:, None] == np.arange(self.n_actions))
        row = np.zeros((1, len(choice), len(columns.names)))
        row[0, :, columns.choice] = one_hot
        row[0, :, columns.reward] = reward
        row[0, :, columns.participant] = self._participants
        for name, value in inputs.items():
            row[0, :, columns.index(name)] = value
        with torch.no_grad():
            found = self.model(torch.as_tensor(row), self._states)
        logits, self._states = self.model.logits_and_states(found)
        self._current_logits = logits[0].double().cpu().numpy()

    def _logits(self) -> np.ndarray:
        return self._current_logits

    def _state(self, state: str, multiply_with_beta: bool) -> np.ndarray:
        value = self._states[state].double().cpu().numpy()
        return value * self._betas[state] if multiply_with_beta and state in self._betas else value

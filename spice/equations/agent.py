"""Agents made of symbolic models."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spice.equations.agent_inputs import check_level, read_values
from spice.equations.evaluate import Stepper
from spice.equations.normalised import told, unlike_probabilities
from spice.equations.symbolic import SymbolicModel
from spice.errors import ConfigError
from spice.resources.agents import Agent, Seed
from spice.resources.columns import NEXT


class SymbolicAgent(Agent):
    """A symbolic model that makes choices.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    values : mapping of str to float or array_like of shape (n_participants,)
        Its parameters, the same for everybody or one for each participant.
    n_actions : int, default 2
        Number of options.
    seed : int or numpy.random.Generator, optional
        Seed of the choices.

    Raises
    ------
    ConfigError
        If a parameter has no value, or values do not fit.
    """

    scales_states = False

    def __init__(self, model: SymbolicModel, values: Mapping[str, Any], n_actions: int = 2, seed: Seed = None):
        super().__init__(n_actions, seed)
        self.model, self._values = model, read_values(model.parameters, values)
        self.n_participants = len(self._values)
        self.new_sess()

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states."""
        return tuple(self.model.states)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the running session(s)."""
        return {name: value[0] if self._single else value for name, value in self._current.items()}

    def _start(self, participants: np.ndarray) -> None:
        if self.n_participants > 1 and participants.max(initial=0) >= self.n_participants:
            raise ConfigError(
                f"participant {participants.max()} is unknown: there are parameters of participants 0 to "
                f"{self.n_participants - 1}; choose one of them (in create_dataset: n_participants)."
            )
        rows = self._values[np.minimum(participants, self.n_participants - 1)]
        self._current = dict(zip(self.model.parameters, rows.T, strict=True))
        self._stepper = Stepper(self.model, self.n_actions, self._current, len(participants))
        self._columns = {name: np.zeros(len(participants)) for name in self.model.columns}
        self._told = not self.model.shown

    def _learn(self, choice: np.ndarray, reward: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        made = ~np.isnan(choice)
        wanted = self.model.columns if made.any() else [NEXT + name for name in self.model.shown]
        lacking = [name for name in wanted if name not in inputs]
        if lacking:
            raise ConfigError(
                f"the model reads {', '.join(map(repr, lacking))}, which the task does not show; give update() these "
                "inputs, or simulate in a task that shows them."
            )
        for name, levels in self.model.shown.items():
            for column, used in ((name, made), (NEXT + name, ~np.isnan(inputs[NEXT + name]))):
                if levels and used.any():
                    check_level(column, inputs[column], levels, used)
        self._columns = self._columns | {n: np.nan_to_num(v) for n, v in inputs.items() if n in self._columns}
        self._told = True
        self._stepper.learn(np.where(made, np.nan_to_num(choice), -1).astype(int), reward, self._columns)

    def _choices(self) -> dict[str, np.ndarray]:
        if not self._told:
            raise ConfigError(
                f"the model reads {', '.join(self.model.shown)}, shown before the choice: tell the agent of the first "
                "trial by update(nan, [nan, ...], next_name=...), or simulate in a task that shows it."
            )
        return self._columns

    def _logits(self) -> np.ndarray:
        if self.model.probabilities is None:
            return np.nan_to_num(self._stepper.choice_values(self._choices(), self._available)[0])
        with np.errstate(divide="ignore"):
            return np.log(self._given_probs())

    def _probs(self) -> np.ndarray:
        return super()._probs() if self.model.probabilities is None else self._given_probs()

    def _given_probs(self) -> np.ndarray:
        """Those of a model that gives probabilities; all alike where it does not model the choice."""
        values, kind = self._stepper.choice_values(self._choices(), self._available)
        offered = np.ones(values.shape, bool) if self._available is None else self._available
        alike = offered / offered.sum(1, keepdims=True)
        found = np.where(kind[:, None] < 0, alike, np.where(offered, values, 0.0))
        wrong = np.flatnonzero(unlike_probabilities(found))
        if len(wrong):
            own = {name: value[wrong[0]] for name, value in self._current.items()}
            raise ConfigError(told(found[wrong[0]], f"in session {wrong[0]}", own))
        return found

    def _state(self, state: str, multiply_with_beta: bool) -> np.ndarray:
        return self._stepper.in_coming_cell(state, self._columns)

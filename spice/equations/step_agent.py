"""Agents made of models that bring their own compiled step."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spice.equations.agent_inputs import check_level, read_values
from spice.equations.compiled_model import RULES, CompiledModel, HiddenStep
from spice.errors import ConfigError, DataError, did_you_mean
from spice.resources.agents import Agent, Seed
from spice.resources.columns import NEXT
from spice.resources.offers import coming_offer


class StepAgent(Agent):
    """A compiled model that makes choices, one person per row of parameters.

    Parameters
    ----------
    model : CompiledModel
        The model.
    values : mapping of str to float or array_like of shape (n_participants,)
        Parameters by name; participant p of a session has the p-th.
    rule : {"sample", "marginal", "argmax"}, optional
        Where the model has a hidden variable: in each trial a value of it is sampled (the default), all values
        together act and learn, each as far as it is responsible, or the most probable one does.
    seed : int or numpy.random.Generator, optional
        Seed of the choices.

    Notes
    -----
    The hidden value is sampled once the choice is known, from its probability given the choice: so choices and hidden
    values are distributed as if it had been sampled first, and choices of others can be replayed.

    Raises
    ------
    ConfigError
        If values are missing or do not fit.
    """

    def __init__(self, model: CompiledModel, values: Any, rule: str | None = None, seed: Seed = None):
        super().__init__(int(model.n_actions), seed)
        hidden = isinstance(model.step, HiddenStep)
        if rule not in (None, *(("sample", *RULES) if hidden else ())):
            raise ConfigError(
                f"rule must be one of sample, {', '.join(RULES)}, not {rule!r}."
                if hidden
                else f"the model {model.name!r} has no hidden variable, so rule={rule!r} has no meaning; leave it out."
            )
        self._sampled = hidden and rule in (None, "sample")
        if isinstance(model.step, HiddenStep):
            step = replace(model.step, rule="marginal" if self._sampled else rule)  # type: ignore[arg-type]
            model = model.replace(step=step)
        self.model, self._values = model, read_values(model.parameters, values)
        self.n_participants = len(self._values)
        self.new_sess()

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled code, which is found again when it is needed."""
        return self.__dict__ | {"_play": {}}

    @property
    def states(self) -> tuple[str, ...]:
        """None: its states have shapes of their own, see `state`."""
        return ()

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the running sessions."""
        return {name: self._own[:, k, 0] for k, name in enumerate(self.model.parameters)}

    def state(self, name: str) -> np.ndarray:
        """A state of the running session, in its own shape, or of all of them, (n_sessions, ...)."""
        places = list(self.model.states)
        if name not in places:
            raise ConfigError(f"there is no state {name!r}{did_you_mean(name, places)}; there are {', '.join(places)}.")
        return self._out(self._states[places.index(name)][..., 0])

    def _start(self, participants: np.ndarray) -> None:
        if participants.max() >= self.n_participants > 1:
            raise ConfigError(
                f"participant {participants.max()} is unknown: there are values for {self.n_participants} participants."
            )
        self._play: dict[bool, tuple[Callable, Callable]] = {}
        self._own = self._values[np.minimum(participants, self.n_participants - 1), :, None]
        rows = len(participants)
        self._states = tuple(np.repeat(start[None, ..., None], rows, 0) for start in self.model.states.values())
        self._next_shown = np.zeros((rows, len(self.model.shown)), np.int64)
        self._offered: np.ndarray | None = None
        self._found: np.ndarray | None = None

    def _learn(self, choice: np.ndarray, reward: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        made, rows = ~np.isnan(choice), len(choice)
        shown, coming = (self._levels(inputs, prefix, made) for prefix in ("", NEXT))
        offered = self._now_offered(choice, inputs)
        shown = shown if offered is None else np.hstack([shown, offered])
        own = np.array([inputs.get(name, np.zeros(rows)) for name in self.model.inputs]).reshape(-1, rows).T
        number = np.where(made, choice, -1).astype(np.int64)
        received = np.take_along_axis(reward, np.maximum(number, 0)[:, None], 1)[:, 0]
        uniform = self.generator.random(rows) if self._sampled else np.zeros(rows)
        self._states = tuple(state.copy() for state in self._states)  # simulation works on a shallow copy of the agent
        arrays = [np.ascontiguousarray(array) for array in (received, reward, own, shown)]
        self._functions(offered)[0](self._own, self._states, number, *arrays, uniform, self._sampled)
        self._next_shown, self._found = coming, None

    def _functions(self, offered: np.ndarray | None) -> tuple[Callable, Callable]:
        """What learns and what predicts, where it is said what is on offer, or where it is not."""
        from spice.equations.step_source import play_functions  # the compiler takes a second to import

        offers = offered is not None
        if offers not in self._play:
            self._play[offers] = play_functions(self.model, offers)
        return self._play[offers]

    def _now_offered(self, choice: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray | None:
        """What is on offer in this trial: as its inputs say, else as the last update said; None where nothing did."""
        said = coming_offer({NEXT + name: value for name, value in inputs.items()}, self.n_actions)
        offered = self._offered if said is None else said
        self._offered = self._available
        if offered is None:
            return None
        made = np.flatnonzero(~np.isnan(choice))
        wrong = made[~offered[made, choice[made].astype(int)]]
        if len(wrong):
            raise DataError(f"option {choice[wrong[0]]:g} was chosen in session {wrong[0]}, but it was not on offer.")
        return offered.astype(np.int64)

    def _levels(self, inputs: dict[str, np.ndarray], prefix: str, used: np.ndarray) -> np.ndarray:
        """What is shown, (n_sessions, n_shown); 0 where that is not used."""
        rows = len(used)
        levels = np.zeros((rows, len(self.model.shown)), np.int64)
        for k, (name, n_levels) in enumerate(self.model.shown.items()):
            value = inputs.get(prefix + name, np.full(rows, np.nan))
            check_level(prefix + name, value, n_levels, ~np.isnan(value) if prefix else used)
            levels[:, k] = np.where(np.isin(value, np.arange(n_levels)), value, 0)
        return levels

    def _logits(self) -> np.ndarray:
        """Log-probabilities."""
        if self._found is None:
            found = np.empty((len(self._own), self.n_actions))
            offered = self._available
            shown = self._next_shown if offered is None else np.hstack([self._next_shown, offered.astype(np.int64)])
            self._functions(offered)[1](self._own, self._states, shown, found)
            self._found = found
        return self._found

    def _state(self, state: str, multiply_with_beta: bool) -> np.ndarray:
        raise NotImplementedError  # no state has one value per option

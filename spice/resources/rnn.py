"""BaseRNN: the one trial loop for networks, equations and hand-written updates (DESIGN section 4)."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spice.errors import ConfigError, ModuleOutputError
from spice.resources.columns import NEXT, Columns
from spice.resources.modules import ParticipantEmbedding, ScalingParameter, UpdateModule
from spice.resources.recording import Recorder
from spice.resources.trial import Clock, Logits, States, Trial


@dataclass
class _Pass:
    """What the current forward pass knows besides the states."""

    participant: torch.Tensor  # (n_batch,)
    missing: list[torch.Tensor | None]  # per trial (n_batch, 1), or None where every session has a choice
    unknown_outcomes: bool  # some chosen option has no reward
    trial: int = -1


class BaseRNN(nn.Module):
    """A model of choices: states, updated trial by trial by small modules.

    Subclass it, name the states in ``init_values``, set up modules in ``__init__`` and write either ``step``
    (what one trial does; preferred) or ``forward`` (with a loop of your own).

    Parameters
    ----------
    n_actions : int
        Number of options.
    n_participants : int, default 0
        Number of participants; needed by models with participant embeddings.
    embedding_size : int, default 0
        Length of the participant embedding.
    hidden_size : int, optional
        Hidden units per module (default 8).
    dropout : float, optional
        Dropout rate inside the modules (default 0).
    """

    init_values: dict[str, float] = {}

    def __init__(
        self,
        n_actions: int,
        n_participants: int = 0,
        embedding_size: int = 0,
        hidden_size: int | None = None,
        dropout: float | None = None,
        **kwargs: Any,
    ):
        super().__init__()
        if kwargs:
            raise ConfigError(f"{type(self).__name__} does not know the argument(s) {', '.join(map(repr, kwargs))}.")
        settings = self.__dict__.get("_build_settings", {})  # of `build`, for subclasses that do not pass them on
        self.n_actions = n_actions
        self.n_participants = n_participants
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size if hidden_size is not None else settings.get("hidden_size", 8)
        self.dropout = dropout if dropout is not None else settings.get("dropout", 0.0)
        self.columns: Columns | None = None
        self.submodules_rnn = nn.ModuleDict()
        self.submodules_sindy = nn.ModuleDict()
        self.submodules_eq: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {}
        self.betas = nn.ModuleDict()
        self._recorder: Recorder | None = None
        self._state = States({})
        self._check_modules = False
        self.set_initial_state()

    @classmethod
    def build(cls, n_actions: int, n_participants: int, hidden_size: int = 8, dropout: float = 0.0, **kwargs: Any):
        """Make a model with these settings even if its ``__init__`` does not pass all of them on.

        A subclass may take any of the arguments or leave them out (``def __init__(self, n_actions, **kwargs)``).
        """
        model = cls.__new__(cls)
        model.__dict__["_build_settings"] = {"hidden_size": hidden_size, "dropout": dropout}
        known = inspect.signature(cls.__init__).parameters
        takes_all = any(entry.kind is inspect.Parameter.VAR_KEYWORD for entry in known.values())
        given = {"n_actions": n_actions, "n_participants": n_participants} | kwargs
        given |= {"hidden_size": hidden_size, "dropout": dropout}
        model.__init__(**{name: value for name, value in given.items() if takes_all or name in known})  # type: ignore[misc]
        return model

    # ------------------------------------------------------------------ building blocks

    def setup_module(
        self, input_size: int, embedding_size: int = 0, hidden_size: int | None = None, dropout: float | None = None
    ) -> UpdateModule:
        """A small network that updates one state.

        Parameters
        ----------
        input_size : int
            Number of inputs besides the state itself.
        embedding_size : int, default 0
            Length of the participant embedding it reads, 0 for none.
        hidden_size : int, optional
            Hidden units; default is the model's.
        dropout : float, optional
            Dropout rate; default is the model's.
        """
        hidden_size = self.hidden_size if hidden_size is None else hidden_size
        dropout = self.dropout if dropout is None else dropout
        return UpdateModule(input_size, embedding_size, hidden_size, dropout)

    def setup_constant(self, embedding_size: int = 0) -> ScalingParameter:
        """A scaling parameter (inverse temperature), per participant if given an embedding size."""
        return ScalingParameter(embedding_size)

    def setup_embedding(self, n_participants: int, embedding_size: int, dropout: float = 0.0) -> ParticipantEmbedding:
        """One trainable vector per participant."""
        return ParticipantEmbedding(n_participants, embedding_size, dropout)

    # ------------------------------------------------------------------ the trial loop

    def step(self, state: Mapping[str, torch.Tensor], trial: Trial) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What one trial does.

        Parameters
        ----------
        state : mapping of str to torch.Tensor, each (n_batch, n_actions)
            States before the trial.
        trial : Trial
            The choice, its outcome, and inputs.

        Returns
        -------
        state : dict of str to torch.Tensor, each (n_batch, n_actions)
            States after the trial (those left out stay as they were).
        logits : torch.Tensor, shape (n_batch, n_actions)
            Logits of the next choice.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither step nor forward.")

    def forward(
        self, inputs: torch.Tensor, prev_state: Mapping[str, torch.Tensor] | None = None, batch_first: bool = False
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Run through all trials.

        Parameters
        ----------
        inputs : torch.Tensor, shape (n_trials, n_batch, n_features)
            Rows of ``xs``.
        prev_state : mapping, optional
            States to start from; default are the start values.
        batch_first : bool, default False
            Whether ``inputs`` and the logits have the batch before the trials.

        Returns
        -------
        logits : torch.Tensor, shape (n_trials, n_batch, n_actions)
            Logits of the choice that follows each trial.
        state : dict of str to torch.Tensor
            States after the last trial.
        """
        (actions, rewards, _, further), (participants, _), logits, timesteps = self.init_forward_pass(
            inputs, prev_state, batch_first
        )
        columns = self.columns_of(inputs)
        embed = getattr(self, "participant_embedding", None)
        embedding = embed(participants[:, 0]) if embed is not None else None
        names = columns.all_inputs
        for timestep, action, reward, row in zip(timesteps, actions, rewards, further, strict=True):
            values = {
                name: column.unsqueeze(-1).expand_as(action) for name, column in zip(names, row.unbind(-1), strict=True)
            }
            trial = Trial(
                action=action,
                reward=reward,
                inputs={name: values[name] for name in columns.inputs},
                shown={name: values[name] for name in columns.shown},
                next_shown={name: values[NEXT + name] for name in columns.shown},
                embedding=embedding,
            )
            self._record_trial(trial)
            next_state, logits[timestep] = self.step(self.state, trial)
            self.state.set_all(next_state)
        return self.post_forward_pass(logits, batch_first), self.get_state()

    def init_forward_pass(
        self, inputs: torch.Tensor, prev_state: Mapping[str, torch.Tensor] | None = None, batch_first: bool = False
    ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, torch.Tensor], Logits, Clock]:
        """Prepare a pass over the trials; the first line of a ``forward`` of one's own.

        Returns
        -------
        inputs : tuple of torch.Tensor
            Actions and rewards, each (n_trials, n_batch, n_actions), blocks (n_trials, n_batch), and further inputs
            (n_trials, n_batch, n_inputs; in the order inputs, shown, next shown).
        ids : tuple of torch.Tensor, each (n_batch, 1), int64
            Participants and experiments.
        logits : Logits
            To be filled by ``logits[timestep] = ...``.
        timesteps : Clock
            To be iterated together with actions and rewards.
        """
        columns = self.columns_of(inputs)
        inputs = torch.as_tensor(inputs).to(self._like)
        if batch_first:
            inputs = inputs.transpose(0, 1)
        n_trials, n_batch, _ = inputs.shape
        observed = ~inputs[..., columns.choice].isnan().any(-1)
        actions = torch.where(observed.unsqueeze(-1), inputs[..., columns.choice], 0.0)
        rewards = inputs[..., columns.reward]
        # unobserved outcomes read as 0; an unknown outcome of the chosen option stays NaN for call_module to skip
        unknown = rewards.isnan() & (actions == 1)
        rewards = torch.where(unknown, rewards, rewards.nan_to_num(0.0))
        further = inputs[..., [columns.index(name) for name in columns.all_inputs]].nan_to_num(0.0)
        blocks, experiments = (
            inputs[..., columns.index(name)].nan_to_num(0.0) if columns.has(name) else torch.zeros_like(inputs[..., 0])
            for name in ("block", "experiment")
        )
        ids = (inputs[0, :, columns.participant, None].long(), experiments[0, :, None].long())
        all_there = observed.all(-1).tolist()
        missing = [None if full else ~row.unsqueeze(-1) for full, row in zip(all_there, observed, strict=True)]
        self._pass = _Pass(ids[0][:, 0], missing, bool(unknown.any()))
        if prev_state is None:
            self.set_initial_state(n_batch)
        else:
            self.set_state(prev_state)
        return (actions, rewards, blocks, further), ids, Logits(n_trials), Clock(n_trials, self._begin_trial)

    def post_forward_pass(self, logits: Logits | torch.Tensor, batch_first: bool = False) -> torch.Tensor:
        """Finish a pass: the logits as one tensor, in the order that was asked for."""
        stacked = logits.stack() if isinstance(logits, Logits) else logits
        return stacked.transpose(0, 1) if batch_first else stacked

    def columns_of(self, inputs: Any) -> Columns:
        """Names of the columns of these inputs."""
        if self.columns is not None and len(self.columns.names) == inputs.shape[-1]:
            return self.columns
        return Columns.make(self.n_actions, inputs.shape[-1])

    def _begin_trial(self, trial: int) -> None:
        self._pass.trial = trial
        self._state = States(self._state, self._pass.missing[trial])

    @property
    def _like(self) -> torch.Tensor:
        """A tensor of the model's device and dtype."""
        return next(self.parameters(), torch.zeros(()))

    # ------------------------------------------------------------------ states

    @property
    def state(self) -> States:
        """Current states by name, each (n_batch, n_actions)."""
        return self._state

    @state.setter
    def state(self, values: Mapping[str, torch.Tensor]) -> None:
        self._state.set_all(values)

    def set_initial_state(self, batch_size: int = 1) -> dict[str, torch.Tensor]:
        """Set every state to its start value."""
        shape = (batch_size, self.n_actions)
        self._state = States({name: self._like.new_full(shape, value) for name, value in self.init_values.items()})
        return self.get_state()

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Start from these states."""
        self._state = States(state)

    def get_state(self, detach: bool = False) -> dict[str, torch.Tensor]:
        """Current states as a plain dict."""
        return {name: value.detach() if detach else value for name, value in self._state.items()}

    # ------------------------------------------------------------------ modules

    def call_module(
        self,
        key_module: str,
        key_state: str | torch.Tensor,
        action: torch.Tensor | None = None,
        inputs: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
        participant_embedding: torch.Tensor | None = None,
        participant_index: torch.Tensor | None = None,
        activation_rnn: Callable[[torch.Tensor], torch.Tensor] | None = None,
        scaling: bool = False,
    ) -> torch.Tensor:
        """Next value of a state, by an equation, a network or a hard-coded formula.

        Parameters
        ----------
        key_module : str
            Name of the module.
        key_state : str or torch.Tensor, shape (n_batch, n_actions)
            The state to update, by name or value.
        action : torch.Tensor, shape (n_batch, n_actions), optional
            Where the update applies; elsewhere the result is 0. ``1 - action`` for the options not chosen.
        inputs : torch.Tensor or tuple of them, each (n_batch, n_actions), optional
            Inputs in the order of the configuration's ``library_setup``.
        participant_embedding : torch.Tensor, shape (n_batch, embedding_size), optional
            Read by modules that were set up with an embedding size.
        participant_index : torch.Tensor, optional
            Participant of each session; default are those of the current pass.
        activation_rnn : callable, optional
            Applied to a network's output (equations have none).
        scaling : bool, default False
            Whether to multiply by the state's scaling parameter.

        Returns
        -------
        torch.Tensor, shape (n_batch, n_actions)
            The next value; the value itself where the trial is missing or an input is unknown.
        """
        value, name = self._value_and_name(key_state)
        inputs = _stack_inputs(inputs, value)
        participant = self._pass.participant if participant_index is None else participant_index.reshape(-1).long()
        unknown = inputs.isnan().any(-1) if self._pass.unknown_outcomes and inputs.shape[-1] else None
        if unknown is not None:
            inputs = inputs.nan_to_num(0.0)
        next_value = self._update(key_module, value, inputs, participant_embedding, participant, activation_rnn)
        if self._check_modules:
            self._check_finite(key_module, next_value)
        if self._recorder is not None:
            seen = inputs if unknown is None else torch.where(unknown.unsqueeze(-1), torch.nan, inputs)
            self._recorder.add_call(key_module, name, value, seen, next_value)
        for skipped in (unknown, self._pass.missing[self._pass.trial]):
            if skipped is not None:
                next_value = torch.where(skipped, value, next_value)
        if action is not None:
            next_value = next_value * action
        if scaling:
            next_value = next_value * self._scale(name, participant_embedding)
        return next_value

    def _update(self, key, value, inputs, embedding, participant, activation):
        if key in self.submodules_sindy:
            return self.submodules_sindy[key](value, inputs, embedding, participant)
        if key in self.submodules_rnn:
            next_value = self.submodules_rnn[key](value, inputs, embedding, participant)
            return next_value if activation is None else activation(next_value)
        if key in self.submodules_eq:
            return self.submodules_eq[key](value, inputs)
        known = [*self.submodules_rnn, *self.submodules_eq]
        raise ConfigError(f"there is no module {key!r} in {type(self).__name__}; it has {', '.join(known) or 'none'}.")

    def _value_and_name(self, state: str | torch.Tensor) -> tuple[torch.Tensor, str | None]:
        if isinstance(state, str):
            if state not in self._state:
                raise ConfigError(
                    f"there is no state {state!r}; init_values of {type(self).__name__} names "
                    f"{', '.join(self._state) or 'none'}."
                )
            return self._state[state], state
        return state, next((name for name, value in self._state.items() if value is state), None)

    def _scale(self, name: str | None, embedding: torch.Tensor | None) -> torch.Tensor:
        if name is None or name not in self.betas:
            raise ConfigError(f"scaling=True, but betas has no entry for the state {name!r}.")
        return _evaluate_beta(self.betas[name], embedding)

    def scaling_values(self, participants: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scaling parameters by state.

        Parameters
        ----------
        participants : torch.Tensor, shape (n_batch,), int64
            Participant numbers.

        Returns
        -------
        dict of str to torch.Tensor, each (n_batch, 1)
        """
        participants = participants.to(self._like.device)
        embed = getattr(self, "participant_embedding", None)
        embedding = embed(participants) if embed is not None else None
        values = {name: _evaluate_beta(beta, embedding) for name, beta in self.betas.items()}
        return {name: value.reshape(-1, 1).expand(len(participants), 1) for name, value in values.items()}

    def integrate_equations(self, equations: Mapping[str, nn.Module]) -> None:
        """Let equations stand in for network modules of the same names."""
        unknown = [name for name in equations if name not in self.submodules_rnn]
        if unknown:
            raise ConfigError(f"there is no module {', '.join(map(repr, unknown))} in {type(self).__name__}.")
        self.submodules_sindy = nn.ModuleDict(dict(equations))

    # ------------------------------------------------------------------ recording and checking

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Record signals and module calls of the passes made inside; nothing is recorded elsewhere."""
        self._recorder = Recorder()
        try:
            yield self._recorder
        finally:
            self._recorder = None

    @contextmanager
    def checking_modules(self) -> Iterator[None]:
        """Raise ModuleOutputError at the first module call that returns non-finite values."""
        self._check_modules = True
        try:
            yield
        finally:
            self._check_modules = False

    def record_signal(self, key: str, value: torch.Tensor) -> None:
        """Record one trial of a signal under a name (only while recording)."""
        if self._recorder is not None:
            value = value.unsqueeze(-1) if value.ndim == 1 else value
            self._recorder.add_signal(key, value.expand(value.shape[0], self.n_actions))

    def _record_trial(self, trial: Trial) -> None:
        if self._recorder is None:
            return
        signals = {"action": trial.action, "reward": trial.reward} | trial.inputs | trial.shown
        for name, value in signals.items():
            self.record_signal(f"c_{name}", value)
        for name, value in self._state.items():
            self.record_signal(name, value)
            self.record_signal(f"c_{name.removeprefix('x_')}", value)  # a state can be another module's input

    def _check_finite(self, module: str, value: torch.Tensor) -> None:
        bad = (~torch.isfinite(value)).nonzero()
        if len(bad):
            session, action = bad[0].tolist()
            raise ModuleOutputError(
                f"the module {module!r} returned {value[session, action].item()} in session {session}, trial "
                f"{self._pass.trial}, action {action}. Lower learning_rate, or check the model's own formulas "
                "(division by zero, exp of a large number)."
            )


def _stack_inputs(inputs: torch.Tensor | tuple[torch.Tensor, ...] | None, value: torch.Tensor) -> torch.Tensor:
    if inputs is None:
        return value.new_zeros((*value.shape, 0))
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 3:
        return inputs
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    parts = tuple(part.unsqueeze(-1) if part.ndim == 1 else part for part in parts)
    return torch.stack([part.to(value.dtype).expand_as(value) for part in parts], dim=-1)


def _evaluate_beta(beta: Any, embedding: torch.Tensor | None) -> torch.Tensor:
    if isinstance(beta, nn.Parameter):
        return beta
    if isinstance(beta, ScalingParameter) and beta.embedding is None:
        return beta()
    return beta(embedding)

"""States and modules of a model: what `call_module` does with a network, an equation or a formula."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from spice.errors import ConfigError, ModuleOutputError
from spice.resources.arguments import in_words, plain_scalar
from spice.resources.model_checks import check_call, check_mask, check_start_values, stack_inputs
from spice.resources.modules import OptionBias, ScalingParameter, StateUpdate
from spice.resources.recording import Recorder
from spice.resources.trial import States


@dataclass
class Pass:
    """What the current forward pass knows besides the states."""

    participant: torch.Tensor  # (n_batch,)
    missing: list[torch.Tensor | None]  # per trial (n_batch, 1), or None where every session has a choice
    unknown_outcomes: bool  # some chosen option has no reward
    trial: int = -1
    # signals of earlier trials by name, each (n_trials + 1, n_batch, n_actions)
    lagged: dict[str, torch.Tensor] = field(default_factory=dict)
    # where each module's update applies, kept between passes over the same trials; None in the loop: it would not pay
    places: dict[str, "Places"] | None = None
    # by module, what it prepared for these embeddings and participants
    prepared: dict[str, tuple[torch.Tensor | None, torch.Tensor, tuple[torch.Tensor, ...]]] = field(
        default_factory=dict
    )

    def __reduce__(self):
        known = (self.participant, self.missing, self.unknown_outcomes, self.trial, self.lagged)
        return Pass, known  # graphs cannot be copied


class Places:
    """Elements of all sessions and options at which an action mask is not 0.

    Parameters
    ----------
    action : torch.Tensor, shape (n_batch, n_actions)
        The mask.
    missing : torch.Tensor of bool, shape (n_batch, 1), or None
        Sessions without a choice in this trial.
    """

    def __init__(self, action: torch.Tensor, missing: torch.Tensor | None):
        used = action != 0
        kept = torch.zeros_like(used) if missing is None else used & missing
        self.action = action
        self.updated, self.kept = (
            (used & ~kept).reshape(-1).nonzero().squeeze(1),
            kept.reshape(-1).nonzero().squeeze(1),
        )
        self.both = torch.cat([self.updated, self.kept])
        self.rows = self.updated.div(action.shape[1], rounding_mode="floor")
        factors = action.reshape(-1).index_select(0, self.both)
        self.factors = None if bool((factors == 1).all()) else factors


class ModuleCaller(nn.Module):
    """The states and modules of a model; `BaseRNN` adds the trial loop.

    Parameters
    ----------
    n_actions : int
        Number of options.
    """

    init_values: dict[str, float] = {}
    bias: OptionBias  # only where it was set up
    _pass: Pass

    def __init__(self, n_actions: int):
        super().__init__()
        check_start_values(type(self).__name__, self.init_values)
        self.n_actions = n_actions
        self.submodules_rnn = nn.ModuleDict()
        self.submodules_sindy = nn.ModuleDict()
        self.submodules_eq: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {}
        self.betas = nn.ModuleDict()
        self._recorder: Recorder | None = None
        self._check_modules = False
        self._state = States({})
        self.set_initial_state()

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
        starts = {name: plain_scalar(value) for name, value in self.init_values.items()}
        self._state = States({name: self._like.new_full(shape, value) for name, value in starts.items()})
        return dict(self._state)

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Start from these states."""
        self._state = States(state)

    def get_state(self, detach: bool = False) -> dict[str, torch.Tensor]:
        """Current states as a plain dict."""
        return {name: value.detach() if detach else value for name, value in self._state.items()}

    def logits_and_states(self, found: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        """Logits and last states of what ``forward`` just returned: one's own may leave states out, or return more."""
        return found[0], self.get_state() | dict(found[1] if isinstance(found[1], Mapping) else {})

    # ------------------------------------------------------------------ modules

    def call_module(
        self,
        key_module: str,
        key_state: str | torch.Tensor,
        action: torch.Tensor | None = None,
        inputs: torch.Tensor | Sequence[torch.Tensor] | None = None,
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
        action : torch.Tensor, shape (n_batch, n_actions) or broadcastable to it, optional
            Where the update applies; elsewhere the result is 0. ``1 - action`` for the options not chosen.
        inputs : torch.Tensor, or tuple or list of them, each (n_batch, n_actions), optional
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
        inputs = stack_inputs(key_module, inputs, value)
        participant = self._pass.participant if participant_index is None else participant_index.reshape(-1).long()
        unknown = inputs.isnan().any(-1) if self._pass.unknown_outcomes and inputs.shape[-1] else None
        if unknown is not None:
            inputs = inputs.nan_to_num(0.0)
        arguments = (inputs, participant_embedding, participant, activation_rnn)
        module = self._module(key_module)
        action = check_mask(key_module, action, value)
        check_call(key_module, module, inputs.shape[-1], participant_embedding)
        elementwise = getattr(module, "elementwise", False)
        if elementwise and action is not None and self._pass.places is not None and self._recorder is None:
            next_value = self._update_where(action, key_module, value, *arguments)
            if unknown is not None:
                next_value = torch.where(unknown, value * action, next_value)
        else:
            next_value = self._update(key_module, value, *arguments)
            if self._check_modules:
                self._check_finite(key_module, next_value)
            if self._recorder is not None:
                seen = inputs if unknown is None else torch.where(unknown.unsqueeze(-1), torch.nan, inputs)
                self._recorder.add_call(key_module, name, value, seen, next_value, action)
            for skipped in (unknown, self._pass.missing[self._pass.trial]):
                if skipped is not None:
                    next_value = torch.where(skipped, value, next_value)
            if action is not None:
                next_value = next_value * action
        if scaling:
            next_value = next_value * self._scale(name, participant_embedding)
        return next_value

    def _module(self, key: str) -> Callable[..., torch.Tensor]:
        """The equation, network or formula of this name."""
        for modules in (self.submodules_sindy, self.submodules_rnn, self.submodules_eq):
            if key in modules:
                return modules[key]
        known = [*self.submodules_rnn, *self.submodules_eq]
        raise ConfigError(f"there is no module {key!r} in {type(self).__name__}; it has {', '.join(known) or 'none'}.")

    def _update(self, key, value, inputs, embedding, participant, activation):
        module = self._module(key)
        if not isinstance(module, nn.Module):
            return module(value, inputs)
        if isinstance(module, StateUpdate):
            next_value = module.update(value, inputs, self._prepared(key, module, value, embedding, participant))
        else:
            next_value = module(value, inputs, embedding, participant)
        equation = key in self.submodules_sindy
        return next_value if equation or activation is None else activation(next_value)

    def _prepared(self, key, module, value, embedding, participant):
        """What the module prepares, once for all trials of the same people."""
        known = self._pass.prepared.get(key)
        if known is None or known[0] is not embedding or known[1] is not participant:
            known = (embedding, participant, module.prepare(value, embedding, participant))
            self._pass.prepared[key] = known
        return known[2]

    def _update_where(self, action, key, value, inputs, embedding, participant, activation):
        """Updates times ``action``, computed only where that is not 0; the value itself where the trial is missing."""
        places = self._places(key, action)
        part = self._update(
            key,
            value.reshape(-1).index_select(0, places.updated).unsqueeze(1),
            inputs.flatten(0, 1).index_select(0, places.updated).unsqueeze(1),
            None if embedding is None else embedding.index_select(0, places.rows),
            participant.index_select(0, places.rows),
            activation,
        ).squeeze(1)
        if len(places.kept):
            part = torch.cat([part, value.reshape(-1).index_select(0, places.kept)])
        if places.factors is not None:
            part = part * places.factors
        return torch.zeros_like(value).flatten().index_copy(0, places.both, part).view_as(value)

    def _places(self, key: str, action: torch.Tensor) -> "Places":
        """Where an action mask is not 0."""
        known = self._pass.places if self._pass.places is not None else {}
        if key not in known or not torch.equal(known[key].action, action):
            known[key] = Places(action, self._pass.missing[self._pass.trial])
        return known[key]

    def _value_and_name(self, state: str | torch.Tensor) -> tuple[torch.Tensor, str | None]:
        if isinstance(state, str):
            if state not in self._state:
                raise ConfigError(
                    f"there is no state {state!r}; init_values of {type(self).__name__} names "
                    f"{', '.join(self._state) or 'none'}."
                )
            return self._state[state], state
        if not isinstance(state, torch.Tensor):
            raise ConfigError(
                f"a state is given to call_module by name or as a tensor, e.g. 'x_value_reward', not {in_words(state)}."
            )
        return state, next((name for name, value in self._state.items() if value is state), None)

    def _scale(self, name: str | None, embedding: torch.Tensor | None) -> torch.Tensor:
        if name is None or name not in self.betas:
            raise ConfigError(f"scaling=True, but betas has no entry for the state {name!r}.")
        return _evaluate_beta(self.betas[name], embedding)

    def call_bias(self, embedding: torch.Tensor | None = None) -> torch.Tensor:
        """Biases of the options for the participants of the current pass, shape (n_batch, n_actions).

        Parameters
        ----------
        embedding : torch.Tensor, shape (n_batch, embedding_size), optional
            Participant embedding, where ``self.bias`` was set up with an embedding size.
        """
        return self.bias(embedding, self._pass.participant)

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

    def _check_finite(self, module: str, value: torch.Tensor) -> None:
        bad = (~torch.isfinite(value)).nonzero()
        if len(bad):
            session, action = bad[0].tolist()
            raise ModuleOutputError(
                f"the module {module!r} returned {value[session, action].item()} in session {session}, trial "
                f"{self._pass.trial}, action {action}. Lower learning_rate, or check the model's own formulas "
                "(division by zero, exp of a large number)."
            )


def _evaluate_beta(beta: Any, embedding: torch.Tensor | None) -> torch.Tensor:
    if isinstance(beta, nn.Parameter):
        return beta
    if isinstance(beta, ScalingParameter) and beta.embedding is None:
        return beta()
    return beta(embedding)

"""BaseRNN: the one trial loop for networks, equations and hand-written updates (DESIGN section 4)."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from spice.errors import ConfigError
from spice.resources.arguments import in_words, is_whole
from spice.resources.columns import NEXT, Columns
from spice.resources.lags import carry_on, declaration, lag_name, lag_names, lagged_signals
from spice.resources.model_checks import check_sizes, check_step
from spice.resources.module_calls import ModuleCaller, Pass
from spice.resources.modules import OptionBias, ParticipantEmbedding, ScalingParameter, UpdateModule
from spice.resources.trial import Clock, Inputs, Logits, Sessions, Trial, read_sessions

if TYPE_CHECKING:
    from spice.resources.dataset import DatasetRNN


class BaseRNN(ModuleCaller):
    """A model of choices: states, updated trial by trial by small modules.

    Subclass it, name the states in ``init_values``, set up modules in ``__init__`` and write either ``step``
    (what one trial does; preferred) or ``forward`` (with a loop of your own). A model that reads signals of earlier
    trials says how far back in ``lags``, e.g. ``lags = {"reward": 2}``; `lagged` gives their values, and configurations
    name them ``c_reward_lag1``, ``c_reward_lag2``.

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

    lags: Mapping[str, int] = {}

    def __init__(
        self,
        n_actions: int,
        n_participants: int = 0,
        embedding_size: int = 0,
        hidden_size: int | None = None,
        dropout: float | None = None,
        **kwargs: Any,
    ):
        if kwargs:
            raise ConfigError(f"{type(self).__name__} does not know the argument(s) {', '.join(map(repr, kwargs))}.")
        super().__init__(n_actions)
        if not isinstance(self.lags, Mapping):
            raise ConfigError(
                f"lags of {type(self).__name__} must give a number of trials by signal, e.g. {{'reward': 2}}, not "
                f"{in_words(self.lags)}."
            )
        settings = self.__dict__.get("_build_settings", {})  # of `build`, for subclasses that do not pass them on
        self.n_participants = n_participants
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size if hidden_size is not None else settings.get("hidden_size", 8)
        self.dropout = dropout if dropout is not None else settings.get("dropout", 0.0)
        self.columns: Columns | None = None

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
        if "columns" not in model.__dict__:
            raise ConfigError(
                f"__init__ of {cls.__name__} must begin with super().__init__(n_actions=n_actions, **kwargs)."
            )
        model.n_participants = model.n_participants or n_participants
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
        sizes = {"input_size": input_size, "embedding_size": embedding_size, "hidden_size": hidden_size}
        n_inputs, n_embedding, n_hidden = check_sizes("setup_module", **sizes)
        return UpdateModule(n_inputs, n_embedding, n_hidden, dropout)

    def setup_constant(self, embedding_size: int = 0) -> ScalingParameter:
        """A scaling parameter (inverse temperature), per participant if given an embedding size."""
        (size,) = check_sizes("setup_constant", embedding_size=embedding_size)
        return ScalingParameter(size)

    def setup_bias(self, embedding_size: int = 0) -> OptionBias:
        """A bias per option, to be kept as ``self.bias`` and added to the logits by `call_bias`."""
        (size,) = check_sizes("setup_bias", embedding_size=embedding_size)
        return OptionBias(self.n_actions, self.n_participants, size)

    def setup_embedding(self, n_participants: int, embedding_size: int, dropout: float = 0.0) -> ParticipantEmbedding:
        """One trainable vector per participant."""
        people, size = check_sizes("setup_embedding", n_participants=n_participants, embedding_size=embedding_size)
        return ParticipantEmbedding(people, size, dropout)

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

    def advance(self, trial: Trial) -> torch.Tensor:
        """Let `step` do a trial from the current states on; the logits of the next choice, (n_batch, n_actions)."""
        found = self.step(self.state, trial)
        check_step(type(self).__name__, found)
        self.state.set_all(found[0])
        return found[1]

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
            States after the last trial, and the lagged signals that the next one would see.
        """
        sessions = self.read_inputs(inputs, batch_first)
        logits, timesteps = self._begin_pass(sessions, prev_state)
        for timestep, trial in self._trials(sessions, timesteps):
            logits[timestep] = self.advance(trial)
        return self.post_forward_pass(logits, batch_first), self.get_state()

    def states_of_trials(
        self, sessions: Sessions, prev_state: Mapping[str, torch.Tensor] | None = None
    ) -> list[dict[str, torch.Tensor]]:
        """States before each trial, from given ones or the start values on; afterwards `state` is that after all."""
        _, timesteps = self._begin_pass(sessions, prev_state)
        # the states themselves skip missing trials; modules need not, since nobody reads the logits
        missing, self._pass.missing = self._pass.missing, [None] * len(timesteps)
        states = []
        for timestep, trial in self._trials(sessions, timesteps):
            self._state.begin_trial(missing[timestep])
            states.append(dict(self._state))
            self.advance(trial)
        return states

    def _trials(self, sessions: Sessions, timesteps: Clock) -> Iterator[tuple[int, Trial]]:
        embedding = self.embed(sessions.participants)
        rows = zip(timesteps, sessions.actions, sessions.rewards, sessions.further, strict=True)
        for timestep, action, reward, further in rows:
            trial = self.make_trial(action, reward, further, embedding, sessions.columns)
            self._record_trial(trial)
            yield timestep, trial

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
        sessions = self.read_inputs(inputs, batch_first)
        logits, timesteps = self._begin_pass(sessions, prev_state)
        return (
            (sessions.actions, sessions.rewards, sessions.blocks, sessions.further),
            (sessions.participants[:, None], sessions.experiments[:, None]),
            logits,
            timesteps,
        )

    def read_inputs(self, inputs: torch.Tensor, batch_first: bool = False) -> Sessions:
        """Rows of ``xs`` as the model reads them, in its precision and on its device.

        Parameters
        ----------
        inputs : torch.Tensor, shape (n_trials, n_batch, n_features)
            Rows of ``xs``.
        batch_first : bool, default False
            Whether the batch stands before the trials.
        """
        columns = self.columns_of(inputs)
        inputs = torch.as_tensor(inputs).to(self._like)
        sessions = read_sessions(inputs.transpose(0, 1) if batch_first else inputs, columns)
        return self._with_lags(sessions) if self.lags else sessions

    def read_design(self, dataset: "DatasetRNN") -> None:
        """Take from the data what the model must know of the task, once before a fit; nothing, unless a subclass does.

        Parameters
        ----------
        dataset : DatasetRNN
            The data that the model will be fitted to.
        """

    def embed(self, participants: torch.Tensor) -> torch.Tensor | None:
        """Embeddings of participants, shape (n_batch, embedding_size); None in a model that has none."""
        participant_embedding = getattr(self, "participant_embedding", None)
        return None if participant_embedding is None else participant_embedding(participants)

    def make_trial(
        self,
        action: torch.Tensor,
        reward: torch.Tensor,
        further: torch.Tensor,
        embedding: torch.Tensor | None,
        columns: Columns,
    ) -> Trial:
        """What `step` sees of one row of every session in the batch.

        Parameters
        ----------
        action, reward : torch.Tensor, each (n_batch, n_actions)
            One-hot choice and outcomes.
        further : torch.Tensor, shape (n_batch, n_inputs)
            Further inputs, in the order of ``columns.all_inputs``.
        embedding : torch.Tensor, shape (n_batch, embedding_size), or None
            Participant embedding.
        columns : Columns
            Names.
        """
        names = columns.all_inputs
        parts = further.unbind(-1) if names else ()
        values = {name: part.unsqueeze(-1).expand_as(action) for name, part in zip(names, parts, strict=True)}
        return Trial(
            action=action,
            reward=reward,
            inputs=Inputs({name: values[name] for name in columns.inputs}),
            shown=Inputs({name: values[name] for name in columns.shown}),
            next_shown=Inputs({name: values[NEXT + name] for name in columns.shown}),
            embedding=embedding,
        )

    def _begin_pass(self, sessions: Sessions, prev_state: Mapping[str, torch.Tensor] | None) -> tuple[Logits, Clock]:
        n_trials, n_batch = sessions.observed.shape
        self._pass = Pass(sessions.participants, sessions.missing(), sessions.unknown_outcomes)
        self._pass.lagged = sessions.lagged
        if prev_state is None:
            self.set_initial_state(n_batch)
        else:
            before = {name: prev_state[name] for name in lag_names(self.lags) if name in prev_state}
            self._pass.lagged = carry_on(sessions.lagged, self.lags, before)
            self.set_state({name: value for name, value in prev_state.items() if name not in before})
        return Logits(n_trials, n_batch, self.n_actions), Clock(n_trials, self._begin_trial)

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
        self._state.begin_trial(self._pass.missing[trial])
        if self._recorder is not None:
            for name, values in self._pass.lagged.items():
                self.record_signal(name, values[trial])

    def lagged(self, signal: str, n: int = 1) -> torch.Tensor:
        """Value of a signal ``n`` trials before the current one, for ``step`` or a ``forward`` of one's own.

        Trials without a choice count. 0 before the session's start, where a trial had no choice, and where the outcome
        was unknown.

        Parameters
        ----------
        signal : str
            One of `signals`, e.g. "reward" or "action"; the class says ``lags = {"reward": 1}``.
        n : int, default 1
            How many trials back.

        Returns
        -------
        torch.Tensor, shape (n_batch, n_actions)

        Raises
        ------
        ConfigError
            If ``lags`` does not say so.
        """
        if not is_whole(n, 1):
            raise ConfigError(f"lagged signals are a whole number of trials from 1 on earlier, not {in_words(n)}.")
        n = int(n)
        if n > self.lags.get(signal, 0):
            name = lag_name(signal, n)
            raise ConfigError(f"{type(self).__name__} does not carry {name}: {declaration(name)}.")
        return self._pass.lagged[lag_name(signal, n)][self._pass.trial]

    def get_state(self, detach: bool = False) -> dict[str, torch.Tensor]:
        """Current states as a plain dict, and the lagged signals that the next trial would see."""
        known = self._pass if self.lags and hasattr(self, "_pass") else None
        lagged = {} if known is None else {name: values[known.trial + 1] for name, values in known.lagged.items()}
        return super().get_state(detach) | lagged

    def _with_lags(self, sessions: Sessions) -> Sessions:
        """The sessions with the signals of earlier trials."""
        parts = (sessions.actions, sessions.rewards, sessions.further)
        action, reward, further = (part.flatten(0, 1) for part in parts)
        trials = self.make_trial(action, reward, further, None, sessions.columns)
        return replace(sessions, lagged=lagged_signals(self.signals(trials), self.lags, sessions))

    def signals(self, trial: Trial) -> dict[str, torch.Tensor]:
        """What is recorded of each trial, each (n_batch, n_actions), under its name after ``c_``."""
        return {"action": trial.action, "reward": trial.reward} | trial.inputs | trial.shown

    def _record_trial(self, trial: Trial) -> None:
        if self._recorder is None:
            return
        for name, value in self.signals(trial).items():
            self.record_signal(f"c_{name}", value)
        for name, value in self._state.items():
            self.record_signal(name, value)
            self.record_signal(f"c_{name.removeprefix('x_')}", value)  # a state can be another module's input

"""What a model sees of one trial, and the states it carries from trial to trial."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from spice.errors import ConfigError, NoSuchNameError, did_you_mean
from spice.resources.arguments import in_words
from spice.resources.columns import Columns


@dataclass(frozen=True)
class Trial:
    """One trial of all sessions in the batch.

    Attributes
    ----------
    action : torch.Tensor, shape (n_batch, n_actions)
        One-hot choice; all zero where no choice was made.
    reward : torch.Tensor, shape (n_batch, n_actions)
        Reward of each option, 0 where unobserved.
    inputs : dict of str to torch.Tensor, each (n_batch, n_actions)
        Inputs seen with the outcome.
    shown : dict of str to torch.Tensor, each (n_batch, n_actions)
        Inputs shown before this trial's choice: for the update.
    next_shown : dict of str to torch.Tensor, each (n_batch, n_actions)
        Inputs shown before the next choice: for the prediction.
    embedding : torch.Tensor, shape (n_batch, embedding_size), or None
        Participant embedding, if the model has one.
    """

    action: torch.Tensor
    reward: torch.Tensor
    inputs: dict[str, torch.Tensor]
    shown: dict[str, torch.Tensor]
    next_shown: dict[str, torch.Tensor]
    embedding: torch.Tensor | None = None


@dataclass(frozen=True)
class Sessions:
    """All trials of a batch of sessions, as a model reads them.

    Attributes
    ----------
    actions : torch.Tensor, shape (n_trials, n_batch, n_actions)
        One-hot choices; all zero where no choice was made.
    rewards : torch.Tensor, shape (n_trials, n_batch, n_actions)
        Rewards: 0 where unobserved, NaN where that of the chosen option is unknown.
    further : torch.Tensor, shape (n_trials, n_batch, n_inputs)
        Further inputs, in the order inputs, shown, next shown.
    blocks : torch.Tensor, shape (n_trials, n_batch)
        Blocks.
    observed : torch.Tensor of bool, shape (n_trials, n_batch)
        Where there was a choice.
    participants, experiments : torch.Tensor of int64, shape (n_batch,)
        Whose session, and of which experiment.
    columns : Columns
        Names of the columns they came from.
    unknown_outcomes : bool
        Whether some chosen option has no reward.
    lagged : dict of str to torch.Tensor, each (n_trials + 1, n_batch, n_actions)
        Signals of earlier trials by name, where the model asks for any (`spice.resources.lags`); the last row is what
        a trial after all of them would see.
    """

    actions: torch.Tensor
    rewards: torch.Tensor
    further: torch.Tensor
    blocks: torch.Tensor
    observed: torch.Tensor
    participants: torch.Tensor
    experiments: torch.Tensor
    columns: Columns
    unknown_outcomes: bool
    lagged: dict[str, torch.Tensor] = field(default_factory=dict)

    def part(self, first: int, last: int) -> "Sessions":
        """Their trials from ``first`` to before ``last``."""
        names = ("actions", "rewards", "further", "blocks", "observed")
        lagged = {name: values[first : last + 1] for name, values in self.lagged.items()}
        return replace(self, **{name: getattr(self, name)[first:last] for name in names}, lagged=lagged)

    def rows(self, sessions: torch.Tensor) -> "Sessions":
        """Some of the sessions, by number."""
        names = ("actions", "rewards", "further", "blocks", "observed")
        by_trial = {name: getattr(self, name).index_select(1, sessions) for name in names}
        lagged = {name: values.index_select(1, sessions) for name, values in self.lagged.items()}
        return replace(
            self,
            **by_trial,
            participants=self.participants[sessions],
            experiments=self.experiments[sessions],
            lagged=lagged,
        )

    def missing(self) -> list[torch.Tensor | None]:
        """Per trial the sessions without a choice, (n_batch, 1), or None where there are none."""
        all_there = self.observed.all(-1).tolist()
        return [None if full else ~row.unsqueeze(-1) for full, row in zip(all_there, self.observed, strict=True)]


def read_sessions(inputs: torch.Tensor, columns: Columns) -> Sessions:
    """Read rows of ``xs``, shape (n_trials, n_batch, n_features)."""
    choice, rewards = inputs[..., columns.choice], inputs[..., columns.reward]
    observed = ~choice.isnan().any(-1)
    actions = torch.where(observed.unsqueeze(-1), choice, 0.0)
    # unobserved outcomes read as 0; an unknown outcome of the chosen option stays NaN for call_module to skip
    unknown = rewards.isnan() & (actions == 1)
    blocks, experiments = (
        inputs[..., columns.index(name)].nan_to_num(0.0) if columns.has(name) else torch.zeros_like(inputs[..., 0])
        for name in ("block", "experiment")
    )
    return Sessions(
        actions=actions,
        rewards=torch.where(unknown, rewards, rewards.nan_to_num(0.0)),
        further=inputs[..., [columns.index(name) for name in columns.all_inputs]].nan_to_num(0.0),
        blocks=blocks,
        observed=observed,
        participants=inputs[0, :, columns.participant].long(),
        experiments=experiments[0].long(),
        columns=columns,
        unknown_outcomes=bool(unknown.any()),
    )


class Inputs(dict[str, torch.Tensor]):
    """Inputs by name; a name that the data do not have is said so."""

    def __missing__(self, name: str) -> torch.Tensor:
        raise NoSuchNameError(
            f"the data have no such input {name!r}{did_you_mean(name, list(self))}; they have "
            f"{', '.join(self) or 'none'}. Name its column when the data are read (convert_dataset: inputs=, shown=; "
            "DatasetRNN: columns=)."
        )


class States(dict[str, torch.Tensor]):
    """States by name; a trial without a choice leaves them as they were.

    Parameters
    ----------
    values : mapping of str to torch.Tensor, each (n_batch, n_actions)
        Values at the start of the trial.
    missing : torch.Tensor, shape (n_batch, 1), bool, optional
        Sessions in which this trial has no choice.
    """

    def __init__(self, values: Mapping[str, torch.Tensor], missing: torch.Tensor | None = None):
        super().__init__(values)
        self.begin_trial(missing)

    def begin_trial(self, missing: torch.Tensor | None) -> None:
        """From now on the present values are those at the start of a trial."""
        self._start, self._missing = dict(self), missing

    def __setitem__(self, name: str, value: torch.Tensor) -> None:
        if name in self and getattr(value, "shape", None) != self[name].shape:
            value = self._spread(name, value)
        if self._missing is not None and name in self._start:
            value = torch.where(self._missing, self._start[name], value)
        super().__setitem__(name, value)

    def _spread(self, name: str, value: Any) -> torch.Tensor:
        """A value in the shape of its state; a state that was set for one session may become that of many."""
        shape = self[name].shape
        try:
            spread = value.expand(torch.broadcast_shapes(value.shape, shape))
        except (AttributeError, RuntimeError):
            spread = None
        if spread is None or spread.ndim != len(shape) or spread.shape[-1] != shape[-1]:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else in_words(value)
            raise ConfigError(
                f"the state {name!r} must be a tensor of shape (n_batch, n_actions) = {tuple(shape)}, not {what}."
            )
        return spread

    def __missing__(self, name: str) -> torch.Tensor:
        raise NoSuchNameError(
            f"there is no state {name!r}{did_you_mean(name, list(self))}; init_values names "
            f"{', '.join(self) or 'none'}."
        )

    def __reduce__(self):
        return States, (dict(self),)  # copies and pickles stand between two trials

    def set_all(self, values: Mapping[str, torch.Tensor]) -> None:
        """Set several states at once."""
        for name, value in values.items():
            if name not in self:
                self.__missing__(name)
            self[name] = value


class Logits:
    """Collects the logits of each trial: writing into one tensor would make the backward pass quadratic."""

    def __init__(self, n_trials: int, n_batch: int, n_actions: int):
        self._shape = (n_batch, n_actions)
        self._trials: list[torch.Tensor | None] = [None] * n_trials

    def __setitem__(self, trial: int, value: torch.Tensor) -> None:
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != self._shape:
            what = f"have shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"are {in_words(value)}"
            raise ConfigError(f"the logits of a trial {what}, but must have (n_batch, n_actions) = {self._shape}.")
        self._trials[trial] = value

    def __getitem__(self, trial: int) -> torch.Tensor | None:
        return self._trials[trial]

    def stack(self) -> torch.Tensor:
        """All logits, shape (n_trials, n_batch, n_actions).

        Raises
        ------
        ConfigError
            If a trial was given none.
        """
        empty = [trial for trial, value in enumerate(self._trials) if value is None]
        if empty:
            raise ConfigError(
                f"forward set no logits[timestep] for {len(empty)} trials, the first is trial {empty[0]}."
            )
        return torch.stack([value for value in self._trials if value is not None])


class Clock:
    """Counts trials and tells the model when a new one begins."""

    def __init__(self, n_trials: int, begin_trial):
        self._n_trials = n_trials
        self._begin_trial = begin_trial

    def __len__(self) -> int:
        return self._n_trials

    def __iter__(self) -> Iterator[int]:
        for trial in range(self._n_trials):
            self._begin_trial(trial)
            yield trial

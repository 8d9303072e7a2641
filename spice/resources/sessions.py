"""One session of trials: the record of a simulated one, and reading one from an array."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spice.errors import DataError, join_problems
from spice.resources.arguments import in_words
from spice.resources.columns import NEXT, Columns
from spice.resources.dataset import DatasetRNN


@dataclass(frozen=True, eq=False, repr=False)
class BanditSession:
    """What happened in one simulated session, and what the agent held in mind.

    Attributes
    ----------
    session : int
        Number of the session: its row in the dataset.
    participant : int
        Number of the participant.
    choices : numpy.ndarray of int, shape (n_trials,)
        Chosen option of each trial.
    rewards : numpy.ndarray, shape (n_trials, n_actions)
        Reward of each option; NaN where it was not shown.
    reward_probabilities : numpy.ndarray, shape (n_trials, n_actions)
        Reward probability of each option (the mean reward if rewards are continuous).
    latent : dict of str to numpy.ndarray, shape (n_trials, n_actions)
        The agent's states *before* the choice of each trial, not multiplied by an inverse temperature.
    shown : dict of str to numpy.ndarray, shape (n_trials,)
        What each trial showed before its choice; empty where the task shows nothing.
    """

    session: int
    participant: int
    choices: np.ndarray
    rewards: np.ndarray
    reward_probabilities: np.ndarray
    latent: dict[str, np.ndarray]
    shown: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return self.rewards.shape[0]

    @property
    def n_actions(self) -> int:
        """Number of options."""
        return self.rewards.shape[1]

    def __repr__(self) -> str:
        shares = np.bincount(self.choices, minlength=self.n_actions) / self.n_trials
        mean_reward = self.rewards[np.arange(self.n_trials), self.choices].mean()
        return (
            f"BanditSession(session {self.session}, participant {self.participant}: {self.n_trials} trials, "
            f"options chosen {' / '.join(f'{share:.0%}' for share in shares)}, mean reward {mean_reward:.2f}, "
            f"latent values {', '.join(self.latent)})"
        )


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials of one session by name, as an agent's ``update`` takes them.

    Attributes
    ----------
    choices : numpy.ndarray, shape (n_trials,)
        Chosen option; NaN for a missing trial.
    rewards : numpy.ndarray, shape (n_trials, n_actions)
        Reward of each option; NaN where unobserved.
    inputs : dict of str to numpy.ndarray, shape (n_trials,)
        Further inputs.
    participant : int
        Number of the participant.
    """

    choices: np.ndarray
    rewards: np.ndarray
    inputs: dict[str, np.ndarray]
    participant: int


def read_session(session: Any, n_actions: int, columns: Columns | Sequence[str] | None = None) -> Trials:
    """Read the trials of one session; padding at its end is dropped.

    Parameters
    ----------
    session : BanditSession, DatasetRNN of one session, or array_like of shape (n_trials, n_features)
        The session, e.g. ``dataset.xs[0]``.
    n_actions : int
        Number of options.
    columns : Columns or sequence of str, optional
        Names of the columns; needed for arrays with more than ``2 * n_actions + 1`` of them.

    Returns
    -------
    Trials
        Choices, rewards, further inputs and the participant's number.

    Raises
    ------
    DataError
        If the shape does not fit, a choice is not one-hot, the participant's number is not one
        whole number, or no choice was made at all.
    ConfigError
        If the columns cannot be named.
    """
    if isinstance(session, BanditSession):
        if session.n_actions != n_actions:
            raise DataError(f"the session has {session.n_actions} options, the agent {n_actions}.")
        coming = {NEXT + name: np.append(values[1:], 0.0) for name, values in session.shown.items()}
        inputs = {name: values.astype(float) for name, values in session.shown.items()} | coming
        return Trials(session.choices.astype(float), session.rewards, inputs, session.participant)
    if isinstance(session, DatasetRNN):
        if len(session) != 1:
            raise DataError(f"one session is needed, but the dataset has {len(session)}; take one: dataset[0].")
        session, columns = session.xs[0], session.columns
    try:
        values = np.asarray(session, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            "a session is a record of create_dataset, a DatasetRNN of one session, or an array such as dataset.xs[0], "
            f"not {in_words(session)}."
        ) from None
    if values.ndim != 2 or values.shape[0] == 0:
        raise DataError(
            f"a session has the shape (n_trials, n_features), not {values.shape}; take one session: dataset.xs[0]."
        )
    if not isinstance(columns, Columns):
        columns = Columns.make(n_actions, values.shape[1], columns)
    made = ~np.isnan(values[:, columns.choice]).any(axis=1)
    if not made.any():
        raise DataError("the session has no trial with a choice: every row is NaN in its choice columns.")
    values, made = values[: made.nonzero()[0][-1] + 1], made[: made.nonzero()[0][-1] + 1]
    _check(values, made, columns)
    choices = np.where(made, np.nan_to_num(values[:, columns.choice]).argmax(axis=1), np.nan)
    names = columns.all_inputs
    inputs = {name: values[:, columns.index(name)] for name in names}
    return Trials(choices, values[:, columns.reward], inputs, int(values[-1, columns.participant]))


def _check(values: np.ndarray, made: np.ndarray, columns: Columns) -> None:
    problems = []
    one_hot = values[:, columns.choice]
    wrong = made & ~(np.isin(one_hot, (0, 1)).all(axis=1) & (one_hot.sum(axis=1) == 1))
    if wrong.any():
        trial = int(wrong.nonzero()[0][0])
        problems.append(
            f"the choice of trial {trial} is {one_hot[trial].tolist()}; it must be one-hot, 1 for the chosen option "
            "and 0 for the others (NaN for a missing trial)."
        )
    ids = np.unique(values[made, columns.participant])
    if len(ids) != 1 or not ids[0] >= 0 or ids[0] % 1:
        problems.append(
            f"the column 'participant' holds {', '.join(f'{value:g}' for value in ids[:5])}; one session belongs to "
            "one participant, numbered 0, 1, 2, ..."
        )
    if problems:
        raise DataError(join_problems("The session cannot be read", problems))

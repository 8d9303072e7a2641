"""Trials as the compiled likelihood reads them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Trials:
    """All trials, session after session, the sessions of a participant in a row.

    Attributes
    ----------
    modules : np.ndarray of int16, shape (n_trials, n_states, n_actions)
        Number of the module that updates each state of each option; -1 where it stays as it is.
    factors : np.ndarray, shape (n_trials, n_factors, n_actions)
        Products of inputs that terms are made of.
    choices : np.ndarray of int16, shape (n_trials,)
        The choice that follows each trial; -1 where none is scored.
    sessions : np.ndarray of int64, shape (n_sessions + 1,)
        First trial of each session; at the end the number of trials.
    groups : np.ndarray of int64, shape (n_groups + 1,)
        First session of each participant; at the end the number of sessions.
    """

    modules: np.ndarray
    factors: np.ndarray
    choices: np.ndarray
    sessions: np.ndarray
    groups: np.ndarray

    @property
    def n_groups(self) -> int:
        """Number of participants."""
        return len(self.groups) - 1

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""
        ends = self.sessions[self.groups]
        scored = np.concatenate([[0], np.cumsum(self.choices >= 0)])
        return scored[ends[1:]] - scored[ends[:-1]]

    def regrouped(self, sessions: Sequence[np.ndarray]) -> tuple["Trials", np.ndarray]:
        """Groups made of any sessions, each as often as it is listed; no trial is copied.

        Parameters
        ----------
        sessions : sequence of np.ndarray of int
            Session numbers of each group.

        Returns
        -------
        trials : Trials
            The same trials, with other sessions and groups.
        groups : np.ndarray of int, shape (n_groups,)
            The number of each group there; those between them mean nothing.
        """
        # each session is listed by its two ends, from the last to the first: what lies between two of them runs
        # backwards, and so is empty
        ordered = [np.sort(group)[::-1] for group in sessions]
        ends = [np.stack([self.sessions[group], self.sessions[group + 1]], axis=1).reshape(-1) for group in ordered]
        last = np.cumsum([len(part) for part in ends])
        first = last - [len(part) for part in ends]
        groups = np.stack([first, last - 1], axis=1).reshape(-1).astype(np.int64)
        return replace(self, sessions=np.concatenate(ends), groups=groups), 2 * np.arange(len(ends))

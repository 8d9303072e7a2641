"""Trials as the compiled likelihood reads them."""

from dataclasses import dataclass

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

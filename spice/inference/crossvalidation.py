"""Cross-validation: how well structures predict sessions that their numbers were not estimated from."""

import numpy as np

from spice.errors import DataError
from spice.inference.data import Trials
from spice.inference.refit import Fits, Refit

FOLDS = 10


def held_out_nll(refit: Refit, trials: Trials, fits: Fits, n_folds: int = FOLDS) -> np.ndarray:
    """Negative log-likelihood of each session, from the other folds' estimates, added up.

    Parameters
    ----------
    refit : Refit
        Fits rows.
    trials : Trials
        The trials that it fits.
    fits : Fits
        Structures of one participant, fitted to all sessions.
    n_folds : int
        Number of folds; at most the number of sessions. Every n-th session is of the same fold.

    Returns
    -------
    np.ndarray, shape (n_structures,)
        Nats.

    Raises
    ------
    DataError
        If the participant has one session only.
    """
    participant = int(fits.group[0])
    sessions = np.arange(trials.groups[participant], trials.groups[participant + 1])
    if len(sessions) < 2:
        raise DataError(
            "cross-validation holds out whole sessions, but a participant has one session only: choose another "
            "criterion, or tell the sessions (blocks) apart in the data."
        )
    n_folds = min(n_folds, len(sessions))
    fold = np.arange(len(sessions)) % n_folds
    parts = [sessions[fold != k] for k in range(n_folds)] + [sessions[fold == k] for k in range(n_folds)]
    divided, groups = trials.regrouped(parts)
    again = refit.on(divided, np.full(divided.n_groups, participant))
    fitted_on, scored_on = (np.repeat(part, len(fits)) for part in (groups[:n_folds], groups[n_folds:]))
    rows = np.tile(np.arange(len(fits)), n_folds)
    found = again(fits.rows[rows], fitted_on, fits.numbers[rows])
    return again.nll(found, scored_on).reshape(n_folds, len(fits)).sum(0)

"""Cross-validation: how well structures predict sessions that their numbers were not estimated from."""

import numpy as np

from spice.inference.data import Trials
from spice.inference.refit import Fits, Refit

FOLDS = 10


def held_out_nll(refit: Refit, trials: Trials, fits: Fits, n_folds: int = FOLDS) -> np.ndarray:
    """Negative log-likelihood of each fold, from the other folds' estimates.

    Parameters
    ----------
    refit : Refit
        Fits rows.
    trials : Trials
        The trials that it fits.
    fits : Fits
        Structures of one participant, fitted to all sessions, two or more.
    n_folds : int
        Number of folds; at most the number of sessions. Every n-th session is of the same fold.

    Returns
    -------
    np.ndarray, shape (n_folds, n_structures)
        Nats.
    """
    participant = int(fits.group[0])
    sessions = np.arange(trials.groups[participant], trials.groups[participant + 1])
    n_folds = min(n_folds, len(sessions))
    fold = np.arange(len(sessions)) % n_folds
    parts = [sessions[fold != k] for k in range(n_folds)] + [sessions[fold == k] for k in range(n_folds)]
    divided, groups = trials.regrouped(parts)
    again = refit.on(divided, np.full(divided.n_groups, participant))
    fitted_on, scored_on = (np.repeat(part, len(fits)) for part in (groups[:n_folds], groups[n_folds:]))
    rows = np.tile(np.arange(len(fits)), n_folds)
    found = again(fits.rows[rows], fitted_on, fits.numbers[rows])
    return again.nll(found, scored_on).reshape(n_folds, len(fits))


def simplest_of_the_best(nll: np.ndarray, sizes: np.ndarray) -> int:
    """The smallest structure that predicts within one standard error of the best (Hastie et al. 2009, section 7.10).

    Parameters
    ----------
    nll : np.ndarray, shape (n_folds, n_structures)
        Negative log-likelihood of folds that were left out.
    sizes : np.ndarray of int, shape (n_structures,)
        Numbers of each structure; of equal ones, the one that predicts better is taken.
    """
    total = nll.sum(0)
    worse = nll - nll[:, [total.argmin()]]
    error = worse.std(0, ddof=1) * np.sqrt(len(nll))
    good = np.flatnonzero(total - total.min() <= error)
    return int(good[np.lexsort((total[good], sizes[good]))[0]])

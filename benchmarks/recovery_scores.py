"""How well something was found: rates with binomial intervals, correlations, calibration of probabilities."""

from typing import Any

import numpy as np
from scipy.stats import binomtest, rankdata

BINS = np.linspace(0.0, 1.0, 11)


def share(hits: np.ndarray) -> dict[str, Any]:
    """Share of hits with its 95 % binomial interval (Wilson); NaN of nothing."""
    count, n = int(np.sum(hits)), len(hits)
    if not n:
        return {"rate": float("nan"), "ci": [float("nan"), float("nan")], "n": 0}
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return {"rate": count / n, "ci": [float(interval.low), float(interval.high)], "n": n}


def detection(found: np.ndarray, present: np.ndarray, unread: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
    """True- and false-positive rate of one mechanism.

    Parameters
    ----------
    found, present : np.ndarray of bool, shape (n_people,)
        Whether each person's mechanism was found, and whether it is there.
    unread : np.ndarray of bool, shape (n_people,), optional
        People whose model says something that cannot be read: it counts against the model whatever the truth.
    """
    unread = np.zeros_like(found) if unread is None else unread
    hits, alarms = (found & ~unread)[present], (found | unread)[~present]
    return {"true_positive": share(hits), "false_positive": share(alarms)}


def correlation(found: np.ndarray, true: np.ndarray, both: np.ndarray) -> dict[str, Any]:
    """Pearson's correlation of estimates with the truth, and Spearman's, which one wild estimate does not swamp.

    Parameters
    ----------
    found, true : np.ndarray, shape (n_people,)
        0 where there is no such parameter.
    both : np.ndarray of bool, shape (n_people,)
        People in whom it was found and is there.
    """
    ranks = (rankdata(found[both]), rankdata(true[both]))
    return {
        "both": _pearson(found[both], true[both]),
        "n_both": int(both.sum()),
        "all": _pearson(found, true),
        "ranks_both": _pearson(*ranks),
        "ranks_all": _pearson(rankdata(found), rankdata(true)),
    }


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 3 or not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def power(probability: np.ndarray, present: np.ndarray, alarms: float = 0.02) -> float:
    """True-positive rate at the lowest threshold of the probability whose false-positive rate is at most ``alarms``."""
    absent = np.sort(probability[~present])[::-1]
    if not (present.any() and len(absent)):
        return float("nan")
    allowed = int(alarms * len(absent))
    return float(np.mean(probability[present] > (absent[allowed] if allowed < len(absent) else -1.0)))


def calibration(probability: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    """Brier score and reliability table.

    Parameters
    ----------
    probability : np.ndarray, shape (n,)
        Of being there.
    present : np.ndarray of bool, shape (n,)
        Whether it is.

    Returns
    -------
    dict
        ``brier``; ``brier_of_share``, the score of saying each time how often it is there; ``table``, by tenths of
        the probability: ``n``, mean ``probability``, and the share ``present`` with its interval.
    """
    probability, present = np.asarray(probability, float), np.asarray(present, bool)
    table = []
    bin_of = np.clip(np.digitize(probability, BINS) - 1, 0, len(BINS) - 2)
    for k in np.unique(bin_of):
        inside = bin_of == k
        row = {"from": float(BINS[k]), "to": float(BINS[k + 1]), "probability": float(probability[inside].mean())}
        table.append(row | {"present": share(present[inside])})
    return {
        "brier": float(np.mean((probability - present) ** 2)),
        "brier_of_share": float(present.mean() * (1 - present.mean())),
        "table": table,
    }

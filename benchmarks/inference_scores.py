"""How near estimates are to the truth, and whether ranks are uniform."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

SMALLEST, LARGEST = 1e-2, 1e3  # between which logarithms are taken: maximum likelihood may run to 0 or to infinity
SIMULATIONS = 10_000  # of uniform ranks


def proportion(hits: Any) -> dict[str, float]:
    """A share with its binomial standard error and 95 % interval (Wilson); NaN where there is nothing."""
    hits = np.asarray(hits, dtype=bool).ravel()
    n, rate = len(hits), float(hits.mean()) if len(hits) else math.nan
    if not n:
        return {"share": rate, "n": 0, "se": math.nan, "low": math.nan, "high": math.nan}
    low, high = stats.binomtest(int(hits.sum()), n).proportion_ci(method="wilson")
    return {"share": rate, "n": n, "se": math.sqrt(rate * (1 - rate) / n), "low": float(low), "high": float(high)}


def covered(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Share of intervals that hold the truth, of those that there are; ``without`` counts the others."""
    there = np.isfinite(truth) & ~np.isnan(low) & ~np.isnan(high)
    hits = ((low <= truth) & (truth <= high))[there]
    return proportion(hits) | {"without": int((~there).sum())}


def recovered(truth: np.ndarray, found: np.ndarray, logarithm: bool) -> dict[str, float]:
    """Correlations and root-mean-square error of one parameter.

    Parameters
    ----------
    truth, found : np.ndarray, shape (n_people,)
        On the natural scale; estimates may be infinite.
    logarithm : bool
        Whether the errors of logarithms are told too, as ``rmse_log``.

    Returns
    -------
    dict
        ``r`` (Pearson), ``r_rank`` (Spearman), ``rmse``, ``bias``, each over all people with an estimate.
    """
    there = ~np.isnan(found)
    truth, found = truth[there], found[there]
    with np.errstate(all="ignore"):
        error = found - truth
        answer = {
            "r": float(np.corrcoef(truth, found)[0, 1]) if np.isfinite(found).all() else math.nan,
            "r_rank": float(stats.spearmanr(truth, found).statistic) if np.ptp(found) > 0 else math.nan,
            "rmse": float(np.sqrt((error**2).mean())),
            "bias": float(error.mean()),
        }
    if logarithm:
        logs = [np.log(np.clip(part, SMALLEST, LARGEST)) for part in (truth, found)]
        answer["rmse_log"] = float(np.sqrt(((logs[1] - logs[0]) ** 2).mean()))
        answer["r_log"] = float(np.corrcoef(*logs)[0, 1])
    return answer


def compare(result: Any, truth: np.ndarray) -> dict[str, dict[str, Any]]:
    """What a fit found beside the truth, by parameter.

    Parameters
    ----------
    result : FitResult
        A fit with a row for each person.
    truth : np.ndarray, shape (n_people, n_parameters)
        On the natural scale.
    """
    answer: dict[str, dict[str, Any]] = {}
    for k, (name, parameter) in enumerate(result.model.parameters.items()):
        found = result.parameters[name].to_numpy(float)
        ends = (result.intervals[name, end].to_numpy(float) for end in ("low", "high"))
        answer[name] = recovered(truth[:, k], found, parameter.low == 0 and parameter.high is None)
        answer[name] |= {"coverage": covered(truth[:, k], *ends), "at_bound": int(result.at_bound[name].sum())}
    return answer


def pooled(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Coverage over several parameters or data sets, of their shares and numbers."""
    hits = sum(round(part["share"] * part["n"]) for part in parts if part["n"])
    n = sum(part["n"] for part in parts)
    found = proportion(np.arange(n) < hits)
    return found | {"without": sum(part["without"] for part in parts)}


# ---------------------------------------------------------------------- ranks


def rank(truth: float, draws: np.ndarray, n_kept: int) -> int:
    """How many of ``n_kept`` draws, taken at equal distances from all of them, are below the truth."""
    places = np.linspace(0, len(draws) - 1, n_kept).round().astype(int)
    return int((draws[places] < truth).sum())


def uniform(ranks: np.ndarray, n_kept: int, n_bins: int = 20, seed: int = 0) -> dict[str, Any]:
    """Whether ranks among ``n_kept`` draws are uniform on 0, ..., n_kept.

    Parameters
    ----------
    ranks : np.ndarray of int, shape (n_runs,)
        Ranks.
    n_kept : int
        Draws of each run; ``n_kept + 1`` must be a multiple of ``n_bins``.
    n_bins : int
        Of the histogram.
    seed : int
        Of the simulated uniform ranks.

    Returns
    -------
    dict
        ``histogram``; ``chi_square`` and its ``p``; ``p_ecdf``: share of simulated sets of uniform ranks whose
        empirical distribution function leaves the pointwise binomial bands at least as far somewhere (Säilynoja et al.
        2022, Statistics and Computing 32: 32).
    """
    counts = np.bincount(ranks * n_bins // (n_kept + 1), minlength=n_bins)
    expected = len(ranks) / n_bins
    statistic = float(((counts - expected) ** 2 / expected).sum())
    rng = np.random.default_rng(seed)
    simulated = rng.integers(0, n_kept + 1, (SIMULATIONS, len(ranks)))
    own, others = _extremity(ranks[None], n_kept)[0], _extremity(simulated, n_kept)
    return {
        "n": len(ranks),
        "histogram": counts.tolist(),
        "chi_square": statistic,
        "p": float(stats.chi2.sf(statistic, n_bins - 1)),
        "p_ecdf": float((1 + (others <= own).sum()) / (1 + SIMULATIONS)),
        "mean": float((ranks / n_kept).mean()),
    }


def _extremity(ranks: np.ndarray, n_kept: int) -> np.ndarray:
    """Least two-sided binomial probability along the distribution functions of sets of ranks, (n_sets,)."""
    n_sets, n = ranks.shape
    counts = np.zeros((n_sets, n_kept + 1), dtype=int)
    np.add.at(counts, (np.arange(n_sets)[:, None], ranks), 1)
    below = counts.cumsum(1)[:, :-1]  # the last is n
    share = np.arange(1, n_kept + 1) / (n_kept + 1)
    possible = np.arange(n + 1)[:, None]
    tails = np.minimum(stats.binom.cdf(possible, n, share), stats.binom.sf(possible - 1, n, share))
    return tails[below, np.arange(n_kept)].min(1)

"""How well a posterior predicts each choice that was left out: LOO and WAIC."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.errors import ConvergenceWarning
from spice.inference.fitting.bayes.arviz_object import from_groups
from spice.inference.fitting.bayes.predictive import Choices, log_likelihoods
from spice.inference.fitting.bayes.sampling import import_extra
from spice.inference.fitting.result import participant_labels

if TYPE_CHECKING:
    import pandas as pd

    from spice.inference.fitting.bayes.posterior import PosteriorResult

SAME = 0.1  # nats: importance weights within a tenth of each other need no smoothing
UNSURE = 0.4  # variance of a choice's log-likelihood above which WAIC is rough (Vehtari, Gelman & Gabry 2017)
BLOCK = int(1e7)  # bytes of log-likelihoods that are summed at once


def leave_one_out(result: "PosteriorResult", memory: float, pointwise: bool) -> Any:
    """See `PosteriorResult.loo`."""
    each = log_likelihoods(result, memory)
    own = [name for name in result.parameters.columns if name in result.posterior]
    rows = result.diagnostics.loc[[name.split("[")[0] in own for name in result.diagnostics.index]]
    reff = min(float(rows["ess_mean"].mean()) / (each.shape[0] * each.shape[1]), 1.0)
    # what parameters hardly change (the first choice in a cell: not at all) has no tail that ArviZ could smooth
    smoothed = np.flatnonzero(np.ptp(each, axis=(0, 1)) >= SAME)
    elpd, k, good_k = -_densities(-each)[0], np.zeros(each.shape[2]), 1.0
    if len(smoothed):
        groups = {"log_likelihood": {"choice": each[..., smoothed]}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # ArviZ's about Pareto k
            found = import_extra("arviz").loo(from_groups(groups, {}, {}), pointwise=True, reff=reff)
        elpd[smoothed] = found.loo_i if hasattr(found, "loo_i") else found.elpd_i  # ArviZ 0.x, or 1.x
        k[smoothed], good_k = found.pareto_k, float(found.good_k)
    bad = int((k > good_k).sum())
    if bad:
        warnings.warn(
            f"Pareto k is above {good_k:.2f} for {bad} of {len(k):,} choices: their shares are rough. "
            "Draw more, or compare models by held-out choices.",
            ConvergenceWarning,
            stacklevel=3,
        )
    columns = {"elpd_loo": elpd, "p_loo": _densities(each)[0] - elpd}
    return _table(result, columns | {"pareto_k": k}) if pointwise else _totals(columns, "n_bad", bad)


def widely_applicable(result: "PosteriorResult", memory: float, pointwise: bool) -> Any:
    """See `PosteriorResult.waic`."""
    density, variance = _densities(log_likelihoods(result, memory))
    columns = {"elpd_waic": density - variance, "p_waic": variance}
    return _table(result, columns) if pointwise else _totals(columns, "n_unsure", int((variance > UNSURE).sum()))


def _totals(columns: dict[str, np.ndarray], doubt: str, number: int) -> "pd.Series":
    """Sums over choices, with the standard error of the first, and how many choices are in doubt."""
    import pandas as pd

    (elpd, each), (p, effective) = columns.items()
    se = np.sqrt(len(each) * each.var())
    return pd.Series({elpd: each.sum(), "se": se, p: effective.sum(), doubt: number})


def _densities(each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (n_chains, n_draws, n_choices): log mean likelihood and variance of the log-likelihood of each choice."""
    from scipy.special import logsumexp

    blocks = np.array_split(each.reshape(-1, each.shape[-1]), 1 + each.nbytes // BLOCK, axis=1)
    variance = np.concatenate([block.var(0, ddof=1, dtype=float) for block in blocks])
    density = np.concatenate([logsumexp(block.astype(float), axis=0) for block in blocks])
    return density - np.log(each.shape[0] * each.shape[1]), variance


def _table(result: "PosteriorResult", columns: dict[str, np.ndarray]) -> "pd.DataFrame":
    """A row for each scored choice."""
    import pandas as pd

    choices, labels = Choices(result), participant_labels(result.likelihood, result.dataset)
    where = {"participant": [labels[k] for k in choices.participant], "session": choices.session}
    return pd.DataFrame(where | {"trial": choices.trial} | columns)

"""A fit as text: estimates, how well they predict, and what to look at."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.errors import first_of

if TYPE_CHECKING:
    import pandas as pd

    from spice.inference.fitting.result import FitResult

METHODS = {
    "mle": "Maximum likelihood",
    "map": "Maximum a posteriori",
    "em": "Empirical Bayes (EM, approximate for few people)",
    "nuts": "Full Bayes (NUTS)",
}
EVIDENCE = {"em": "given the population"}
POOLING = {
    "none": "each participant alone",
    "partial": "participants as members of a population",
    "complete": "one set of parameters for all",
}
ONE_BY_ONE = 5  # participants about whom there is something to know; where there are more, by what it is
MOST_LISTED = 10  # such remarks


def summary(result: "FitResult") -> str:
    """What was found.

    Parameters
    ----------
    result : FitResult
        A fit.
    """
    n_people, n_trials = len(result.nll), int(result.n_trials.sum())
    names = ", ".join(result.parameters.columns)
    lines = [
        f"{METHODS.get(result.method, result.method)}, {POOLING.get(result.pooling, result.pooling)}",
        f"{n_people} participant{'s' * (n_people != 1)}, {n_trials:,} scored choices, parameters: {names}",
        "",
        *(_one_row(result) if len(result.parameters) == 1 else _many_rows(result)),
        *([] if result.population is None else ["", result.population.summary()]),
        "",
        *_predictions(result, n_trials),
        *_convergence(result),
    ]
    return "\n".join(lines)


def _one_row(result: "FitResult") -> list[str]:
    rows = []
    for name in result.parameters.columns:
        value, se = result.parameters[name].iloc[0], result.se[name].iloc[0]
        low, high = (result.intervals[name, end].iloc[0] for end in ("low", "high"))
        if result.at_bound[name].iloc[0]:
            rows.append([name, number(value), "", "runs to infinity" if _endless(result, name)[0] else "at the bound"])
        else:
            ends = "" if math.isnan(low) and math.isnan(high) else f"{number(low)} to {number(high)}"
            rows.append([name, number(value), number(se), f"{ends} (not identified)" if math.isnan(se) else ends])
    return table(["", "estimate", "se", "95 % interval"], rows)


def _many_rows(result: "FitResult") -> list[str]:
    rows = []
    for name in result.parameters.columns:
        values, bound = result.parameters[name].to_numpy(float), result.at_bound[name].to_numpy(bool)
        errors = result.se[name].to_numpy(float)
        lost = np.isnan(errors) & ~bound & np.isfinite(values)
        used = values[np.isfinite(values) & ~_endless(result, name)]
        shown = [used.mean(), used.std(ddof=1) if len(used) > 1 else np.nan] if len(used) else [np.nan, np.nan]
        shown += [np.median(used), used.min(), used.max()] if len(used) else [np.nan] * 3
        known = errors[np.isfinite(errors)]
        shown.append(np.median(known) if len(known) else np.nan)
        rows.append([name, *map(number, shown), str(int(bound.sum())), str(int(lost.sum()))])
    titles = [
        "across participants",
        "mean",
        "sd",
        "median",
        "least",
        "largest",
        "median se",
        "at bound",
        "unidentified",
    ]
    return table(titles, rows)


def _endless(result: "FitResult", name: str) -> np.ndarray:
    """Which estimates run to infinity: those at a bound and not at the finite one, if there is any."""
    parameter = result.model.parameters[name]
    bounds = [bound for bound in (parameter.low, parameter.high) if bound is not None and math.isfinite(bound)]
    away = np.abs(result.parameters[name].to_numpy(float)[:, None] - np.array(bounds)).min(1, initial=np.inf)
    return result.at_bound[name].to_numpy(bool) & (len(bounds) < 2) & (away > 1.0)


def _predictions(result: "FitResult", n_trials: int) -> list[str]:
    nll, n_actions = float(result.nll.sum()), result.dataset.n_actions
    if not n_trials:
        return ["no scored choices"]
    per_trial = nll / n_trials
    lines = [
        f"log-likelihood {-nll:,.2f}; per choice {per_trial:.4f} nats, normalised {math.exp(-per_trial):.4f} "
        f"(chance {1 / n_actions:.4f})"
    ]
    if result.aic is not None and result.bic is not None:
        lines.append(f"AIC {_total(result.aic)}, BIC {_total(result.bic)}{_sums(result.aic)}")
    if result.log_evidence is not None:
        sums, how = _sums(result.log_evidence), EVIDENCE.get(result.method, "Laplace approximation")
        lines.append(f"log evidence {_total(result.log_evidence)} ({how}){sums}")
    return lines


def _total(values: Any) -> str:
    return f"{np.nansum(values):,.2f}" if np.isfinite(values).any() else "not known"


def _sums(values: Any) -> str:
    n, known = np.size(values), int(np.isfinite(values).sum())
    if n == 1 or not known:
        return ""
    return ", summed over participants" + (f" ({known} of {n}; of the others it is not known)" if known < n else "")


def _convergence(result: "FitResult") -> list[str]:
    n = len(result.converged)
    lines = [f"converged: {int(result.converged.sum())} of {n}"]
    if result.starts is not None:
        shares = result.starts.dropna()
        agreed = f"all starts ended in the best optimum for {int((shares > 1 - 1e-9).sum())} of {len(shares)}"
        lines[0] += f"; {agreed}" + (f", at least {shares.min():.0%} for the others" if (shares < 1).any() else "")
    remarks = result.reason[result.reason != "converged"]
    if len(remarks):
        lines.append(f"to look at ({len(remarks)}):")
        found = grouped(remarks)
        lines += [f"  {line}" for line in found[:MOST_LISTED]]
        lines += [f"  ... and {len(found) - MOST_LISTED} more in result.reason"] if len(found) > MOST_LISTED else []
    return lines


def grouped(remarks: "pd.Series") -> list[str]:
    """What there is to know: of few participants one by one, else each remark with how many it is about, and the first.

    Parameters
    ----------
    remarks : pandas.Series of str
        By participant, several joined by ``"; "``; of what is a participant's own (``alpha[anna]``) the label is left
        out where participants are grouped.

    Returns
    -------
    list of str
        Remarks about most participants first.
    """
    if len(remarks) <= ONE_BY_ONE:
        return [f"{label}: {reason}" for label, reason in remarks.items()]
    people: dict[str, list[str]] = {}
    for label, reason in remarks.items():
        for remark in reason.split("; "):
            kind = re.sub(r"^\d+ divergences$", "divergences", remark.replace(f"[{label}]", ""))
            people.setdefault(kind, []).append(str(label))
    lines = []
    for kind, labels in sorted(people.items(), key=lambda item: -len(item[1])):
        lines.append(f"{kind} ({len(labels)}): {first_of(labels, ONE_BY_ONE)}")
    return lines


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (titles, *rows)
    ]


def number(value: float) -> str:
    """A number in at most three significant digits; a dash where there is none."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

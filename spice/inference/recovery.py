"""Would it be recovered? Truths and what was found in data simulated from them, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.inference.results import Results

if TYPE_CHECKING:
    import pandas as pd

START = "initial_value"  # always estimated with a value, never a discovery
PAIRS = ["data_set", "participant", "term", "true", "recovered", "se", "ci_low", "ci_high", "covered"]
RATES = ["n_there", "found", "found_low", "found_high", "n_absent", "false", "false_low", "false_high"]
ACCURACY = ["n", "true", "bias", "rmse", "correlation", "coverage", "coverage_low", "coverage_high"]


def share(hits: int, of: int) -> tuple[float, float, float]:
    """A share with its 95 % binomial interval (Wilson 1927); NaN where there is nothing."""
    from scipy.stats import binomtest

    if not of:
        return np.nan, np.nan, np.nan
    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return hits / of, float(interval.low), float(interval.high)


@dataclass(frozen=True)
class RecoveryReport:
    """What a fit recovers in data sets simulated from a known model.

    Attributes
    ----------
    estimates : pandas.DataFrame
        One row per data set, participant and canonical parameter that is in the truth or was found: data_set,
        participant, term, true, recovered, se, ci_low, ci_high (95 %), covered (whether the interval holds the truth);
        missing where the parameter is not in the one or the other.
    detection : pandas.DataFrame
        One row per canonical parameter (kind "parameter"; the initial value is none to be found) and per term of the
        network's equations (kind "term"): kind, module, term; n_there, how many models have it, found, the share of
        them in which it was found, with its 95 % interval found_low, found_high; n_absent, false, false_low,
        false_high: the same for models that do not have it.
    accuracy : pandas.DataFrame
        One row per canonical parameter, over models that have it and in which it was found: term, n, true (mean), bias
        (mean of recovered minus true), rmse, correlation (of recovered with true, where the truth varies), coverage
        (share of intervals that hold the truth), coverage_low, coverage_high.
    n_data_sets, n_models, n_right : int
        Data sets; models (data sets times participants); those whose canonical parameters are exactly the true ones
        (where a state has no canonical form, the equations' terms).
    """

    estimates: "pd.DataFrame"
    detection: "pd.DataFrame"
    accuracy: "pd.DataFrame"
    n_data_sets: int
    n_models: int
    n_right: int

    @property
    def exactly_right(self) -> tuple[float, float, float]:
        """Share of models whose structure was found exactly, with its 95 % binomial interval."""
        return share(self.n_right, self.n_models)

    @staticmethod
    def of(truth: Mapping[Any, Results], found: Sequence[Mapping[Any, Results]]) -> "RecoveryReport":
        """Compare.

        Parameters
        ----------
        truth : mapping of object to Results
            The model that was simulated, by participant.
        found : sequence of mapping of object to Results
            What was found in each data set, by participant.
        """
        import pandas as pd

        models = [(number, label, truth[label], entry[label]) for number, entry in enumerate(found) for label in truth]
        pairs = [row for model in models for row in _pairs(*model)]
        estimates = pd.DataFrame(pairs, columns=PAIRS).astype({"covered": "boolean"})
        return RecoveryReport(
            estimates,
            pd.DataFrame(_detection([model[2:] for model in models]), columns=["kind", "module", "term", *RATES]),
            pd.DataFrame(_accuracy(estimates), columns=["term", *ACCURACY]),
            len(found),
            len(models),
            sum(_same_structure(then, now) for _, _, then, now in models),
        )

    def __str__(self) -> str:
        people = self.n_models // max(self.n_data_sets, 1)
        right, low, high = self.exactly_right
        of = f" of {people} participants" if people > 1 else ""
        of_terms = self.estimates.empty and not self.detection.empty  # no canonical form
        rates = self.detection[self.detection["kind"] == ("term" if of_terms else "parameter")]
        rates = rates.set_index(rates["term"] + " in " + rates["module"] if of_terms else rates["term"])
        rows = [["", "true", "bias", "RMSE", "correlation", "covered", "found", "false"]]
        accuracy = self.accuracy.set_index("term")
        for term in dict.fromkeys([*accuracy.index, *rates.index]):
            row, rate = (table.loc[term] if term in table.index else None for table in (accuracy, rates))
            numbers = [_shown(row, name) for name in ("true", "bias", "rmse", "correlation")]
            shares = [
                _shown(row, "coverage", percent=True),
                _shown(rate, "found", percent=True),
                _shown(rate, "false", percent=True),
            ]
            rows.append([term, *numbers, *shares])
        return "\n".join(
            [
                f"{self.n_data_sets} simulated data sets{of}",
                f"exactly the right structure: {self.n_right} of {self.n_models} models "
                f"({right:.0%}; 95% interval {low:.0%} to {high:.0%})",
                "",
                *_table(rows),
                "",
                "covered: 95% intervals that hold the truth; found, false: models in which the parameter was reported",
                "when it is in the truth, and when it is not",
            ]
        )


def _shown(row: Any, name: str, percent: bool = False) -> str:
    value = np.nan if row is None else row[name]
    if np.isnan(value):
        return "–"
    if percent:
        return f"{value:.0%}"
    size = min(abs(row["true"]), 1.0) or 1.0  # of rewards in points beta is small
    return f"{value:.3g}" if abs(value) >= 1e-3 * size else "0.000"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _pairs(data_set: int, label: Any, truth: Results, found: Results) -> Iterable[list[Any]]:
    then, now = truth.canonical.parameters, found.canonical.estimates
    for name in dict.fromkeys([*then, *now]):
        true, entry = then.get(name, np.nan), now.get(name)
        if entry is None:
            yield [data_set, label, name, true, np.nan, np.nan, np.nan, np.nan, None]
        else:
            known = name in then and not np.isnan(entry.low + entry.high)
            covered = bool(entry.low <= true <= entry.high) if known else None
            yield [data_set, label, name, true, entry.value, entry.se, entry.low, entry.high, covered]


def _same_structure(truth: Results, found: Results) -> bool:
    """The same canonical parameters; where a state has no canonical form the same terms."""
    ours, theirs = ({*entry.canonical.parameters} - {START} for entry in (truth, found))
    unread = set(truth.canonical.unread)
    if ours != theirs or unread != set(found.canonical.unread):
        return False
    return not unread or set(_present(truth)) == set(_present(found))


def _present(results: Results) -> list[tuple[str, str, str]]:
    """Kind, module and term of everything in a model."""
    terms = zip(results.terms["module"], results.terms["term"], strict=True)
    return [("parameter", "", name) for name in results.canonical.parameters if name != START] + [
        ("term", module, term) for module, term in terms
    ]


def _detection(models: Sequence[tuple[Results, Results]]) -> Iterable[list[Any]]:
    present = [(_present(truth), _present(found)) for truth, found in models]
    keys = dict.fromkeys(key for part in (0, 1) for pair in present for key in pair[part])
    for key in sorted(keys, key=lambda key: key[0]):  # parameters, then terms; the truth's first
        hits = [key in found for truth, found in present if key in truth]
        false = [key in found for truth, found in present if key not in truth]
        yield [*key, len(hits), *share(sum(hits), len(hits)), len(false), *share(sum(false), len(false))]


def _accuracy(estimates: "pd.DataFrame") -> Iterable[list[Any]]:
    both = estimates.dropna(subset=["true", "recovered"])
    for term, rows in both.groupby("term", sort=False):
        true, recovered = rows["true"].to_numpy(), rows["recovered"].to_numpy()
        error = recovered - true
        varies = len(rows) > 2 and np.ptp(true) > 0 and np.ptp(recovered) > 0
        correlation = float(np.corrcoef(true, recovered)[0, 1]) if varies else np.nan
        covered = rows["covered"].dropna()
        shares = share(int(covered.sum()), len(covered))
        yield [term, len(rows), true.mean(), error.mean(), np.sqrt((error**2).mean()), correlation, *shares]

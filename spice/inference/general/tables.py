"""Tables of estimates for equations that have no canonical form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spice.equations import Equation
from spice.inference.general.elimination import Eliminated, Visit, covariance_of
from spice.inference.general.numbers import Numbers
from spice.inference.results import COLUMNS, CanonicalForm, Results
from spice.inference.uncertainty import CLOSE, interval


def results_of(
    found: Eliminated,
    numbers: Numbers,
    sindy: Sequence[Mapping[str, Equation]],
    equations: Sequence[Mapping[str, Equation]],
    labels: Sequence[Any],
    states: list[str],
) -> list[Results]:
    """What the estimator keeps, for each row.

    Parameters
    ----------
    found : Eliminated
        Fits.
    numbers : Numbers
        What was fitted.
    sindy, equations : sequence of mapping of str to Equation
        Equations before and after.
    labels : sequence
        Participants' labels.
    states : list of str
        The model's states: none has a canonical form.
    """
    form = CanonicalForm({}, {}, list(states), {})
    return [
        Results(sindy[row], form, *_tables(found, numbers, row, sindy[row], labels[row])) for row in range(len(labels))
    ]


def _tables(found: Eliminated, numbers: Numbers, row: int, sindy: Mapping[str, Equation], label: Any):
    """Terms in the model, undecided ones, and what the data do not identify."""
    import pandas as pd

    visits = found.visited[row]
    scores = np.array([visit.score for visit in visits])
    usable = np.isfinite(scores)
    weights = np.where(usable, np.exp(-(np.where(usable, scores, np.inf) - scores.min()) / 2), 0.0)
    weights = weights / weights.sum() if usable.any() else np.ones(len(visits)) / len(visits)
    sure = weights @ np.array([visit.numbers != 0 for visit in visits])
    best = visits[int(scores.argmin())] if usable.any() else visits[0]
    final = Visit(best.score, found.free[row], found.best.numbers[row], found.best.hessian[row])

    def entries(visit: Visit, which: np.ndarray) -> list[list[Any]]:
        errors = _errors(visit, numbers, row)
        lines = []
        for k in np.flatnonzero(which):
            module, term = numbers.sources[k]
            at_limit = visit.free[k] and errors[k] == 0
            estimate = interval(visit.numbers[k], np.nan if at_limit else errors[k], False)
            first = sindy[module].coefficients.get(term, 0.0) if module in sindy else np.nan
            bounds = (estimate.value, estimate.se, estimate.low, estimate.high)
            lines.append([label, module, term, *bounds, float(sure[k]), first])
        return lines

    present = (final.numbers != 0) | found.free[row]
    terms = entries(final, present)
    undecided, seen = [], present
    for place in np.argsort(scores):
        if scores[place] <= scores.min() + CLOSE:
            new = (visits[place].numbers != 0) & ~seen
            undecided += entries(visits[place], new)
            seen = seen | new
    errors = _errors(final, numbers, row)
    lost = [" in ".join(reversed(numbers.sources[k])) for k in np.flatnonzero(np.isnan(errors))]
    return pd.DataFrame(terms, columns=COLUMNS), pd.DataFrame(undecided, columns=COLUMNS), lost


def _errors(visit: Visit, numbers: Numbers, row: int) -> np.ndarray:
    """Standard errors: 0 of what is held or stands at a limit, NaN of what the data do not identify."""
    covariance = covariance_of(visit.hessian, visit.free, numbers.region, row, visit.numbers, unknown=np.nan)
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))

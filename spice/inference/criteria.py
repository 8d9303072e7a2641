"""What structures cost: criteria in units of twice the negative log-likelihood."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from scipy.stats import chi2

from spice.inference.structure import Layout, Structures

FALSE_TERMS = 0.05  # share of data sets in which a term that is not there may be reported
FEW = 20.0  # with as many choices, likelihood ratios are twice as large by chance as chi-squared says
# Terms that are no mechanism of the field (`Layout.unusual`), and products without a plainer term (Chipman 1996), have
# prior odds of exp(-UNUSUAL / 2) of those of others: they are found all the same, but on more evidence.
UNUSUAL = 6.0


@dataclass(frozen=True)
class Criterion:
    """What a structure's numbers cost.

    Attributes
    ----------
    layout : Layout
        Where numbers stand.
    penalty : callable
        Of so many numbers, shape (n_rows,) to (n_rows,).
    unusual : float, default 0
        More for each unusual term, and for each product without a plainer one.
    """

    layout: Layout
    penalty: Callable[[np.ndarray], np.ndarray]
    unusual: float = 0.0

    def cost(self, rows: Structures) -> np.ndarray:
        """Of each structure, shape (n_rows,)."""
        found = self.penalty(self.layout.sizes(rows))
        if self.unusual:
            parents = self.layout.parents
            present = self.layout.present(rows)[:, : len(parents)]
            orphan = present & parents.any(1) & (present.astype(float) @ parents.T == 0)
            strange = rows.free[:, : len(parents)] & self.layout.unusual
            found = found + self.unusual * (orphan | strange).sum(1)
        return found

    def one_more(self, rows: Structures) -> np.ndarray:
        """What one more number would cost, shape (n_rows,)."""
        sizes = self.layout.sizes(rows)
        return self.penalty(sizes + 1) - self.penalty(sizes)


def penalty_of(name: str, n_scored: int, n_candidates: float) -> Callable[[np.ndarray], np.ndarray]:
    """The penalty of a criterion by its name.

    Parameters
    ----------
    name : {"bic", "aic", "ebic", "calibrated"}
        Schwarz's, Akaike's, or the extended one that knows how many candidates there are (Chen & Chen 2008, with
        gamma = 1); "calibrated" as in `price_of_a_number`.
    n_scored : int
        Scored choices.
    n_candidates : float
        Candidate terms.
    """
    log_n, p = float(np.log(max(n_scored, 2))), n_candidates
    if name == "ebic":
        return lambda k: k * log_n + 2 * (gammaln(p + 1) - gammaln(k + 1) - gammaln(np.maximum(p - k, 0) + 1))
    price = {"bic": log_n, "aic": 2.0, "calibrated": price_of_a_number(n_scored, n_candidates)}[name]
    return lambda k: price * k


def price_of_a_number(n_scored: int, n_candidates: float) -> float:
    """What a number must gain in twice the log-likelihood to be reported.

    The Bayesian information criterion's log(n), but never less than what keeps the share of data sets with any false
    term at `FALSE_TERMS`, were all candidates tested (Bonferroni): with few choices log(n) lets in too many.

    Parameters
    ----------
    n_scored : int
        Scored choices.
    n_candidates : float
        Candidate terms, each counted by its prior odds.
    """
    bonferroni = float(chi2.isf(FALSE_TERMS / max(n_candidates, 1), 1)) * (1 + FEW / max(n_scored, 1))
    return max(float(np.log(max(n_scored, 2))), bonferroni)

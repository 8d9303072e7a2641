"""What stage 3 hands over: canonical forms, tables of estimates, undecided terms."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.equations import Equation
from spice.inference.canonical import RATES, Gauge
from spice.inference.textbook import canonical_equations, canonical_lines
from spice.inference.uncertainty import Estimate

if TYPE_CHECKING:
    import pandas as pd
    import sympy

STRUCTURE_COLUMNS = ["participant", "terms", "numbers", "nll", "difference", "weight"]
COLUMNS = ["participant", "module", "term", "estimate", "se", "ci_low", "ci_high", "inclusion", "sindy"]


@dataclass(frozen=True)
class CanonicalForm:
    """A model in the field's own parameters.

    Attributes
    ----------
    estimates : dict of str to Estimate
        Each parameter of the model with standard error and 95 % interval.
    gauge : dict of str to Gauge
        How each of the network's states follows from its canonical one.
    unread : list of str
        States whose modules cannot be read so: they keep their polynomials.
    inclusion : dict of str to float
        Probability of each parameter to be in the model, from the weights of all structures that were fitted; also of
        parameters that the model does not have.
    correlation : list of list of float
        Correlations of the estimates: row by row, in their order.
    outcomes : list of float
        The worse and the better outcome, where each has a learning rate of its own.
    """

    estimates: dict[str, Estimate]
    gauge: dict[str, Gauge]
    unread: list[str]
    inclusion: dict[str, float] = field(default_factory=dict)
    correlation: list[list[float]] = field(default_factory=list)
    outcomes: list[float] = field(default_factory=list)

    @property
    def correlations(self) -> "pd.DataFrame":
        """Correlations of the estimates, from the information matrix."""
        import pandas as pd

        return pd.DataFrame(self.correlation, index=list(self.estimates), columns=list(self.estimates), dtype=float)

    @property
    def parameters(self) -> dict[str, float]:
        """Estimates by the field's names, only those that the model has."""
        return {name: entry.value for name, entry in self.estimates.items()}

    @property
    def weakly_identified(self) -> list[str]:
        """Parameters of which the choices say little, by their standard errors.

        Rates: above 0.2. Starts and targets of values: above 1.5 logits. Others: above the estimate itself.
        """
        beta = abs(self.parameters.get("beta", 0.0))
        limits = {name: 0.2 for name in RATES}
        limits |= {name: 1.5 / beta if beta else np.inf for name in ("initial_value", "forgetting_target")}
        return [name for name, entry in self.estimates.items() if entry.se > limits.get(name, abs(entry.value))]

    @property
    def equations(self) -> "dict[str, sympy.Expr]":
        """The updates as sympy expressions; empty where no state has a canonical form."""
        if self.unread and not self.estimates:
            return {}
        return canonical_equations(self.parameters, self.unread, self.outcomes)

    def table(self, participant: Any) -> "pd.DataFrame":
        """One row per parameter, with the columns of the estimator's summary."""
        rows = [
            [participant, "", name, e.value, e.se, e.low, e.high, self.inclusion.get(name, np.nan), np.nan]
            for name, e in self.estimates.items()
        ]
        return table(rows)


@dataclass(frozen=True)
class Results:
    """What the estimator keeps of stage 3 for one participant.

    Attributes
    ----------
    sindy : dict of str to Equation
        SINDy's equations by module.
    canonical : CanonicalForm
        The canonical form.
    terms, undecided : pandas.DataFrame
        Estimates of the terms in the model, and of those that the data do not decide on.
    unidentified : list of str
        What the data say nothing about: parameters of the canonical form, and terms, in or out of the model.
    structures : pandas.DataFrame
        All structures that were fitted, the best first: their terms and how many numbers they count, negative
        log-likelihood (nats), criterion above the best's, and weight.
    """

    sindy: Mapping[str, Equation]
    canonical: CanonicalForm
    terms: "pd.DataFrame"
    undecided: "pd.DataFrame"
    unidentified: list[str] = field(default_factory=list)
    structures: "pd.DataFrame" = field(default_factory=lambda: table([], STRUCTURE_COLUMNS))

    def to_plain(self) -> dict[str, Any]:
        """The same as lists, numbers and text, for files."""
        return {
            "sindy": {name: dict(entry.coefficients) for name, entry in self.sindy.items()},
            "estimates": {name: list(astuple(entry)) for name, entry in self.canonical.estimates.items()},
            "gauge": {name: list(astuple(entry)) for name, entry in self.canonical.gauge.items()},
            "unread": list(self.canonical.unread),
            "inclusion": dict(self.canonical.inclusion),
            "correlation": [list(row) for row in self.canonical.correlation],
            "outcomes": list(self.canonical.outcomes),
            "terms": self.terms[COLUMNS[1:]].values.tolist(),
            "undecided": self.undecided[COLUMNS[1:]].values.tolist(),
            "unidentified": list(self.unidentified),
            "structures": self.structures[STRUCTURE_COLUMNS[1:]].values.tolist(),
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any], equations: Mapping[str, Equation], label: Any) -> "Results":
        """Undo `to_plain`; the equations say what each module reads.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is not what `to_plain` gave.
        """
        sindy = {
            name: Equation(name, equations[name].controls, {str(t): float(v) for t, v in terms.items()})
            for name, terms in plain["sindy"].items()
        }
        form = CanonicalForm(
            {str(name): _estimate(*entry) for name, entry in plain["estimates"].items()},
            {str(name): Gauge(*map(float, entry)) for name, entry in plain["gauge"].items()},
            [str(name) for name in plain["unread"]],
            {str(name): float(value) for name, value in plain["inclusion"].items()},
            [[float(value) for value in row] for row in plain["correlation"]],
            [float(value) for value in plain["outcomes"]],
        )
        terms, undecided = (table([[label, *row] for row in plain[name]]) for name in ("terms", "undecided"))
        structures = table([[label, *row] for row in plain["structures"]], STRUCTURE_COLUMNS)
        return Results(sindy, form, terms, undecided, [str(name) for name in plain["unidentified"]], structures)


def _estimate(value: float, se: float, low: float, high: float, at_bound: bool) -> Estimate:
    """From numbers in a file."""
    return Estimate(float(value), float(se), float(low), float(high), bool(at_bound))


def table(rows: list[list[Any]], columns: Sequence[str] = COLUMNS) -> "pd.DataFrame":
    """Rows as a DataFrame."""
    import pandas as pd  # takes a while to import

    return pd.DataFrame(rows, columns=list(columns))


def canonical_block(results: Results) -> list[str]:
    """Lines that are printed below the equations: the canonical form, and what the data do not decide on."""
    lines = canonical_lines(results.canonical.estimates, results.canonical.unread)
    if not lines and not results.canonical.unread:
        lines = ["no term is supported by the choices: logits = 0"]
    if results.canonical.weakly_identified:
        lines.append(f"weakly identified: {', '.join(results.canonical.weakly_identified)}")
    lines += [f"{name}: no canonical form, see its equations above" for name in results.canonical.unread]
    if len(results.undecided):
        terms = [f"{row.term} in {row.module} ({row.inclusion:.0%})" for row in results.undecided.itertuples()]
        lines.append(f"undecided: {', '.join(terms)}")
    unknown = [name for name in results.unidentified if name not in results.canonical.estimates]
    if unknown:  # those of the canonical form say so themselves
        lines.append(f"not identified by the data: {', '.join(unknown)}")
    return ["", *lines] if lines else []

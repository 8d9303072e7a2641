"""What stage 3 hands over: canonical forms, tables of estimates, undecided terms."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.equations import Equation
from spice.inference.canonical import Gauge, canonical_parameters, gauges
from spice.inference.refine import Refined, Refinement
from spice.inference.refit import Fits
from spice.inference.structure import Structures
from spice.inference.textbook import canonical_equations, canonical_lines
from spice.inference.uncertainty import Estimate, close_structures, delta_method, inclusion, structure_weights

if TYPE_CHECKING:
    import pandas as pd
    import sympy

NEGLIGIBLE = 1e-6  # weight of a structure
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
    """

    estimates: dict[str, Estimate]
    gauge: dict[str, Gauge]
    unread: list[str]
    inclusion: dict[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, float]:
        """Estimates by the field's names, only those that the model has."""
        return {name: entry.value for name, entry in self.estimates.items()}

    @property
    def equations(self) -> "dict[str, sympy.Expr]":
        """The updates as sympy expressions."""
        return canonical_equations(self.parameters)

    def table(self, participant: Any) -> "pd.DataFrame":
        """One row per parameter, with the columns of the estimator's summary."""
        rows = [
            [participant, "", name, *astuple(entry), self.inclusion.get(name, np.nan), np.nan]
            for name, entry in self.estimates.items()
        ]
        return _table(rows)


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
    """

    sindy: Mapping[str, Equation]
    canonical: CanonicalForm
    terms: "pd.DataFrame"
    undecided: "pd.DataFrame"
    unidentified: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """The same as lists, numbers and text, for files."""
        return {
            "sindy": {name: dict(entry.coefficients) for name, entry in self.sindy.items()},
            "estimates": {name: list(astuple(entry)) for name, entry in self.canonical.estimates.items()},
            "gauge": {name: list(astuple(entry)) for name, entry in self.canonical.gauge.items()},
            "unread": list(self.canonical.unread),
            "inclusion": dict(self.canonical.inclusion),
            "terms": self.terms[COLUMNS[1:]].values.tolist(),
            "undecided": self.undecided[COLUMNS[1:]].values.tolist(),
            "unidentified": list(self.unidentified),
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
            {str(name): Estimate(*map(float, entry)) for name, entry in plain["estimates"].items()},
            {str(name): Gauge(*map(float, entry)) for name, entry in plain["gauge"].items()},
            [str(name) for name in plain["unread"]],
            {str(name): float(value) for name, value in plain["inclusion"].items()},
        )
        terms, undecided = (_table([[label, *row] for row in plain[name]]) for name in ("terms", "undecided"))
        return Results(sindy, form, terms, undecided, [str(name) for name in plain["unidentified"]])


def _table(rows: list[list[Any]]) -> "pd.DataFrame":
    import pandas as pd  # takes a while to import

    return pd.DataFrame(rows, columns=COLUMNS)


def canonical_block(results: Results) -> list[str]:
    """Lines that are printed below the equations: the canonical form, and what the data do not decide on."""
    lines = canonical_lines(results.canonical.estimates)
    if not lines and not results.canonical.unread:
        lines = ["no term is supported by the choices: logits = 0"]
    lines += [f"{name}: no canonical form, see its equations above" for name in results.canonical.unread]
    if len(results.undecided):
        terms = [f"{row.term} in {row.module} ({row.inclusion:.0%})" for row in results.undecided.itertuples()]
        lines.append(f"undecided: {', '.join(terms)}")
    unknown = [name for name in results.unidentified if name not in results.canonical.estimates]
    if unknown:  # those of the canonical form say so themselves
        lines.append(f"not identified by the data: {', '.join(unknown)}")
    return ["", *lines] if lines else []


class Report:
    """Estimates and tables for one participant.

    Parameters
    ----------
    refinement : Refinement
        The search for everybody.
    group : int
        Number of the participant among those of the data.
    found : Refined
        What it found.
    label : object
        The participant's label.
    sindy : mapping of str to Equation
        SINDy's equations by module.
    """

    def __init__(self, refinement: Refinement, group: int, found: Refined, label: Any, sindy: Mapping[str, Equation]):
        self._refinement, self._group, self._found = refinement, group, found
        self._label, self._sindy = label, sindy
        self._inclusion = inclusion(found.visited, refinement.layout)

    def results(self) -> Results:
        """All of it."""
        canonical, terms = self.canonical(), self.terms()
        unknown = [name for name, entry in canonical.estimates.items() if np.isnan(entry.se)]
        unknown += [f"{row.term} in {row.module}" for row in terms[terms["se"].isna()].itertuples()]
        return Results(self._sindy, canonical, terms, self.undecided(), unknown + self._without_outcomes())

    def _without_outcomes(self) -> list[str]:
        """Outcome terms of values whose outcome never varied for this participant."""
        problem, layout, found = self._refinement.problem, self._refinement.layout, []
        library = problem.library
        for module, term in enumerate(layout.outcome):
            if term < 0 or layout.base[module] != module:  # others may well have no outcomes of their own
                continue
            met = problem.places(self._group, module)[:, library.factor[term]] * problem.scales[term]
            if len(met) and np.ptp(met) == 0:
                found.append(f"{library.names[term]} in {library.modules[module].name} (always {met[0]:g})")
        return found

    def canonical(self) -> CanonicalForm:
        """The canonical form of the best structure."""
        refinement, fit = self._refinement, self._found.fit
        _, unread = self._parameters(fit.numbers[0], fit)
        estimates, _ = delta_method(lambda numbers: self._parameters(numbers, fit)[0], fit)
        values = {name: entry.value for name, entry in estimates.items()}
        gauge = gauges(refinement.layout, values, refinement.starts, refinement.readout[self._group])
        gauge = {name: entry for name, entry in gauge.items() if name not in unread}
        return CanonicalForm(estimates, gauge, unread, self._parameter_inclusion())

    def _parameter_inclusion(self) -> dict[str, float]:
        """Weights of the structures that have a parameter, added up."""
        weights, found = structure_weights(self._found.visited), dict[str, float]()
        for place in np.flatnonzero(weights > NEGLIGIBLE).tolist():
            fit = self._found.visited.fits[place]
            for name in self._parameters(fit.numbers[0], fit)[0]:
                found[name] = found.get(name, 0.0) + float(weights[place])
        return found

    @property
    def fit(self) -> Fits:
        """The best structure's fit, one row."""
        return self._found.fit

    def reading(self, form: str) -> Callable[[np.ndarray], Mapping[Any, float]]:
        """From numbers to what a table shows: parameters by name, or terms by module and name."""
        if form == "canonical":
            return lambda numbers: self._parameters(numbers, self.fit)[0]
        return lambda numbers: self._coefficients(numbers, self.fit)

    @staticmethod
    def with_estimates(results: Results, form: str, estimates: Mapping[Any, Estimate]) -> Results:
        """Results with other standard errors and intervals, of parameters or terms as `reading` names them."""
        if form == "canonical":
            return replace(results, canonical=replace(results.canonical, estimates=dict(estimates)))
        entries = [estimates[key] for key in zip(results.terms["module"], results.terms["term"], strict=True)]
        columns = {"se": "se", "ci_low": "low", "ci_high": "high"}
        changed = {name: [getattr(entry, part) for entry in entries] for name, part in columns.items()}
        return replace(results, terms=results.terms.assign(**changed))

    def _parameters(self, numbers: np.ndarray, fit: Fits) -> tuple[dict[str, float], list[str]]:
        refinement = self._refinement
        return canonical_parameters(refinement.layout, refinement.problem, self._group, fit.rows, numbers)

    def terms(self) -> "pd.DataFrame":
        """One row per term of the equations, in the network's gauge."""
        fit = self._found.fit
        estimates, _ = delta_method(lambda numbers: self._coefficients(numbers, fit), fit)
        sure = self._term_inclusion()
        present = {(name, term) for name, entry in self._found.equations.items() for term in entry.coefficients}
        rows = [
            self._row(key[0], key[1], entry, sure[key])
            for key, entry in estimates.items()
            if key in present or key[0] == "bias"
        ]
        return _table(rows)

    def undecided(self) -> "pd.DataFrame":
        """Terms of structures within 2 units of the best that the best does not have, each with its estimate there."""
        library, layout = self._refinement.problem.library, self._refinement.layout
        seen = layout.present(self._found.fit.rows)[0]
        rows = []
        for place in close_structures(self._found.visited):
            fit = self._found.visited.fits[place]
            new = np.flatnonzero(layout.present(fit.rows)[0] & ~seen)
            new = new[~np.isin(new, layout.starts)]
            seen = seen | layout.present(fit.rows)[0]
            if not len(new):
                continue
            values, _ = delta_method(partial(self._search_coefficients, fit.rows), fit)
            for number in new.tolist():
                if number < library.n_terms:
                    module, term = library.modules[library.module[number]].name, library.names[number]
                    entry = values[number]
                else:
                    module, term = "bias", f"bias_{number - layout.biases[0]}"
                    entry = values[library.n_terms + number - layout.biases[0]]
                rows.append(self._row(module, term, entry, self._inclusion[number]))
        return _table(rows)

    def _search_coefficients(self, rows: Structures, numbers: np.ndarray) -> dict[int, float]:
        """All coefficients in the search's gauge."""
        return dict(enumerate(self._refinement.layout.coefficients(numbers[None], rows)[0][0].tolist()))

    def _coefficients(self, numbers: np.ndarray, fit: Fits) -> dict[tuple[str, str], float]:
        """All coefficients in the network's gauge by module and term; the biases."""
        layout, library = self._refinement.layout, self._refinement.problem.library
        values = layout.coefficients(numbers[None], fit.rows)[0][0]
        equations = self._refinement.network_equations(self._group, values)
        present = self._found.equations
        found = {
            (name, term): equations[name].coefficients.get(term, 0.0)
            for name in present
            for term in present[name].coefficients
        }
        free = fit.rows.free[0, layout.biases]
        return found | {("bias", f"bias_{k}"): values[library.n_terms + k] for k in np.flatnonzero(free).tolist()}

    def _term_inclusion(self) -> dict[tuple[str, str], float]:
        """Inclusion of what the network's gauge shows: a constant that stands for the start is in with its module."""
        layout, library = self._refinement.layout, self._refinement.problem.library
        found: dict[tuple[str, str], float] = {}
        for number, module in enumerate(library.modules):
            terms = range(library.first[number], library.first[number + 1])
            most = max(self._inclusion[term] for term in terms)
            found |= {(module.name, library.names[term]): float(self._inclusion[term]) for term in terms}
            for term in ("1", module.name):  # shifted, or carried on unchanged
                found[module.name, term] = max(found.get((module.name, term), 0.0), float(most))
        for k, number in enumerate(layout.biases.tolist()):
            found["bias", f"bias_{k}"] = float(self._inclusion[number])
        return found

    def _row(self, module: str, term: str, entry: Estimate, sure: float) -> list[Any]:
        first = self._sindy[module].coefficients.get(term, 0.0) if module in self._sindy else np.nan
        return [self._label, module, term, entry.value, entry.se, entry.low, entry.high, sure, first]

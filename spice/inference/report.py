"""Estimates and tables of stage 3 for one participant."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.equations import Equation
from spice.inference.canonical import canonical_parameters, gauges
from spice.inference.refine import Refined, Refinement
from spice.inference.refit import Fits
from spice.inference.results import STRUCTURE_COLUMNS, CanonicalForm, Results, table
from spice.inference.structure import Structures
from spice.inference.uncertainty import Estimate, close_structures, delta_method, inclusion, structure_weights

if TYPE_CHECKING:
    import pandas as pd

NEGLIGIBLE = 1e-6  # weight of a structure


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
        unknown = [name for name, entry in canonical.estimates.items() if _is_unknown(entry)]
        unknown += [f"{term} in {module}" for (module, term), entry in self._estimates.items() if _is_unknown(entry)]
        unknown += self._without_outcomes()
        return Results(self._sindy, canonical, terms, self.undecided(), unknown, self.structures())

    def _without_outcomes(self) -> list[str]:
        """Outcome terms of values whose outcome never varied for this participant."""
        problem, layout, found = self._refinement.problem, self._refinement.layout, []
        library = problem.library
        for module, term in enumerate(layout.outcome):
            if term < 0 or layout.base[module] != module:  # others may well have no outcomes of their own
                continue
            met = problem.outcomes(self._group, module)
            if len(met) == 1:
                always = problem.outcome_unit(self._group, module).undo(met[0])
                found.append(f"{library.names[term]} in {library.modules[module].name} (always {always:g})")
        return found

    def canonical(self) -> CanonicalForm:
        """The canonical form of the best structure."""
        refinement, fit = self._refinement, self._found.fit
        _, unread = self._parameters(fit.numbers[0], fit)
        estimates, covariance = delta_method(lambda numbers: self._parameters(numbers, fit)[0], fit)
        values = {name: entry.value for name, entry in estimates.items()}
        gauge = gauges(refinement.layout, values, refinement.starts, refinement.readout[self._group])
        gauge = {name: entry for name, entry in gauge.items() if name not in unread}
        errors = np.array([entry.se for entry in estimates.values()])
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = (covariance / np.outer(errors, errors)).tolist()
        outcomes = self._told_apart() if "alpha_reward" in values else []
        return CanonicalForm(estimates, gauge, unread, self._parameter_inclusion(), correlation, outcomes)

    def _told_apart(self) -> list[float]:
        """The worse and the better outcome of the value that has a rate for each."""
        layout, problem = self._refinement.layout, self._refinement.problem
        first = next(m for m, term in enumerate(layout.outcome) if term >= 0 and layout.base[m] == m)
        unit = problem.outcome_unit(self._group, first)
        return [float(unit.undo(outcome)) for outcome in problem.outcomes(self._group, first)]

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
        sure = self._term_inclusion()
        return table([self._row(*key, entry, sure[key]) for key, entry in self._estimates.items()])

    @cached_property
    def _estimates(self) -> dict[tuple[str, str], Estimate]:
        """Of the terms of the equations and the biases."""
        fit = self._found.fit
        return delta_method(lambda numbers: self._coefficients(numbers, fit), fit)[0]

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
            values, _ = delta_method(partial(self._network_coefficients, fit.rows), fit)
            for number in new.tolist():
                if number < library.n_terms:
                    key = library.modules[library.module[number]].name, library.names[number]
                else:
                    key = "bias", f"bias_{number - layout.biases[0]}"
                rows.append(self._row(*key, values[key], self._inclusion[number]))
        return table(rows)

    def structures(self) -> "pd.DataFrame":
        """All structures that were fitted, the best first."""
        visited, layout, library = self._found.visited, self._refinement.layout, self._refinement.problem.library
        fits, weights = Fits.concatenate(visited.fits), structure_weights(visited)
        names = [f"{library.modules[m].name}: {term}" for m, term in zip(library.module, library.names, strict=True)]
        names += [""] * len(library.states) + [f"bias_{k}" for k in range(library.n_actions)]
        present = layout.present(fits.rows)
        counted = layout.sizes(fits.rows)
        scores = np.array(visited.scores)
        return table(
            [
                [
                    self._label,
                    ", ".join(names[k] for k in np.flatnonzero(present[i]) if names[k]),
                    int(counted[i]),
                    float(fits.nll[i]),
                    float(scores[i] - scores.min()),
                    float(weights[i]),
                ]
                for i in np.argsort(scores, kind="stable").tolist()
            ],
            STRUCTURE_COLUMNS,
        )

    def _network_coefficients(self, rows: Structures, numbers: np.ndarray) -> dict[tuple[str, str], float]:
        """Coefficients of all candidate terms in the network's gauge by module and term; the biases."""
        refinement, library = self._refinement, self._refinement.problem.library
        values = refinement.layout.coefficients(numbers[None], rows)[0][0]
        equations = refinement.network_equations(self._group, values)
        found = {
            (library.modules[m].name, term): equations[library.modules[m].name].coefficients.get(term, 0.0)
            for m, term in zip(library.module, library.names, strict=True)
        }
        return found | {("bias", f"bias_{k}"): float(values[library.n_terms + k]) for k in range(library.n_actions)}

    def _coefficients(self, numbers: np.ndarray, fit: Fits) -> dict[tuple[str, str], float]:
        """Those of the terms that the equations have; the free biases."""
        layout, equations = self._refinement.layout, self._found.equations
        present = {(name, term) for name, equation in equations.items() for term in equation.coefficients}
        present |= {("bias", f"bias_{k}") for k in np.flatnonzero(fit.rows.free[0, layout.biases]).tolist()}
        return {key: value for key, value in self._network_coefficients(fit.rows, numbers).items() if key in present}

    def _term_inclusion(self) -> dict[tuple[str, str], float]:
        """Inclusion of what the network's gauge shows: a constant that stands for the start is in with its module."""
        layout, library = self._refinement.layout, self._refinement.problem.library
        found: dict[tuple[str, str], float] = {}
        for number, module in enumerate(library.modules):
            terms = range(library.first[number], library.first[number + 1])
            most = max(self._inclusion[term] for term in terms)
            found |= {(module.name, library.names[term]): float(self._inclusion[term]) for term in terms}
            for term in ("1", module.name):  # shifted
                found[module.name, term] = max(found.get((module.name, term), 0.0), float(most))
            own = library.own[number]
            if own >= 0 and not layout.present(self._found.fit.rows)[0, own]:
                found[module.name, module.name] = 1.0  # carried on unchanged: no discovery, and always there
        for k, number in enumerate(layout.biases.tolist()):
            found["bias", f"bias_{k}"] = float(self._inclusion[number])
        return found

    def _row(self, module: str, term: str, entry: Estimate, sure: float) -> list[Any]:
        first = self._sindy[module].coefficients.get(term, 0.0) if module in self._sindy else np.nan
        return [self._label, module, term, entry.value, entry.se, entry.low, entry.high, sure, first]


def _is_unknown(entry: Estimate) -> bool:
    """Whether the data do not identify a quantity."""
    return bool(np.isnan(entry.se)) and not entry.at_bound

"""Stage 3 for the estimator: refined equations, their model, canonical forms and tables."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spice.equations import Equation
from spice.errors import ConfigError, ConvergenceWarning, IdentificationWarning, ModelFormError, SpiceWarning
from spice.inference.bootstrap import bootstrap_intervals
from spice.inference.general.refine import refine_generally
from spice.inference.profile import profile_intervals
from spice.inference.refine import Refinement
from spice.inference.refit import Fits
from spice.inference.report import Report
from spice.inference.results import Results
from spice.resources.agents import Seed, make_generator
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

AT_ONCE = 100  # participants whose profiles are searched together


@dataclass(frozen=True)
class Stage:
    """All that stage 3 found, by participant number.

    Attributes
    ----------
    equations : dict of int to dict of str to Equation
        In the network's gauge.
    model : BaseRNN
        A copy of the network with these equations.
    results : dict of int to Results
        Canonical forms and tables of estimates.
    reports : dict of int to Report
        Where results come from.
    refinement : Refinement or None
        Where those come from: it holds the trials. None, and no reports, for models that were refitted only.
    """

    equations: dict[int, dict[str, Equation]]
    model: BaseRNN
    results: dict[int, Results]
    reports: dict[int, Report]
    refinement: Refinement | None

    def with_intervals(self, form: str, kind: str, seed: Seed) -> dict[int, Results]:
        """Results with other intervals.

        Parameters
        ----------
        form : {"terms", "canonical"}
            What gets them.
        kind : {"profile", "bootstrap"}
            Which; the bootstrap has standard errors of its own.
        seed : int or numpy.random.Generator, optional
            Seed of the bootstrap's draws.

        Returns
        -------
        dict of int to Results
            By participant number.
        """
        if self.refinement is None:
            raise ConfigError(
                f"intervals={kind!r} needs modules that are polynomials of a single state; this model has intervals of "
                "the information matrix only: intervals='wald'."
            )
        refit, trials = self.refinement._refit, self.refinement.problem.trials
        people, generator, estimates = list(self.reports), make_generator(seed), []
        fits = Fits.concatenate([report.fit for report in self.reports.values()])
        readings = [report.reading(form) for report in self.reports.values()]
        if kind == "profile":
            for part in (slice(i, i + AT_ONCE) for i in range(0, len(people), AT_ONCE)):
                estimates += profile_intervals(refit, fits[part], readings[part])
        else:
            for row, reading in enumerate(readings):
                estimates.append(bootstrap_intervals(refit, trials, fits[[row]], reading, generator))
        return {
            person: Report.with_estimates(self.results[person], form, found)
            for person, found in zip(people, estimates, strict=True)
        }


def refine_equations(
    network: BaseRNN,
    config: SpiceConfig,
    dataset: DatasetRNN,
    proposals: Mapping[int, Mapping[str, Equation]],
    degree: int = 1,
    estimation: str = "map",
    criterion: str = "calibrated",
) -> Stage | None:
    """Refine equations by the likelihood of the choices.

    Parameters
    ----------
    network : BaseRNN
        The fitted network: its equations take its modules' place.
    config : SpiceConfig
        Modules, signals and libraries.
    dataset : DatasetRNN
        The data.
    proposals : mapping of int to mapping of str to Equation
        SINDy's equations by participant number and module; nobody else is refined.
    degree : int, default 1
        Degree of the libraries.
    estimation : {"map", "mle"}, default "map"
        Whether numbers have weak priors (`spice.inference.structure.Layout`).
    criterion : {"calibrated", "bic", "aic", "ebic", "cv"}, default "calibrated"
        What decides between structures.

    Returns
    -------
    Stage or None
        For models that are no polynomials of single states SINDy's terms refitted, without a search for others
        (`spice.inference.general`); None, with a warning, where this fails too.
    """
    try:
        refinement = Refinement(network, config, dataset, degree, estimation, criterion)
    except ModelFormError as error:
        return _refine_generally(network, config, dataset, proposals, criterion, error)
    groups = {participant: group for group, participant in enumerate(refinement.problem.participants)}
    refined = refinement.run({groups[participant]: sindy for participant, sindy in proposals.items()})
    found = {participant: refined[groups[participant]] for participant in proposals}
    stuck = [dataset.label("participant", p) for p, entry in found.items() if not entry.fit.converged.all()]
    if stuck:
        warnings.warn(
            f"the likelihood's maximum was not reached for participant(s) {_listed(stuck)}: their numbers are "
            "approximate.",
            ConvergenceWarning,
            stacklevel=4,
        )
    reports = {
        p: Report(refinement, groups[p], entry, dataset.label("participant", p), proposals[p])
        for p, entry in found.items()
    }
    results = {participant: report.results() for participant, report in reports.items()}
    _warn_of_unidentified({dataset.label("participant", p): entry.unidentified for p, entry in results.items()})
    equations = {participant: entry.equations for participant, entry in found.items()}
    biases = {participant: entry.biases for participant, entry in found.items()}
    return Stage(equations, refinement.model_with(equations, biases), results, reports, refinement)


def _refine_generally(network, config, dataset, proposals, criterion: str, error: ModelFormError) -> Stage | None:
    """Without a search: SINDy's terms, refitted, and fewer of them."""
    if criterion == "cv":
        warnings.warn(
            f"criterion='cv' needs modules that are polynomials of a single state, which {type(network).__name__} does "
            "not have: 'calibrated' decides instead.",
            SpiceWarning,
            stacklevel=5,
        )
        criterion = "calibrated"
    try:
        equations, model, results = refine_generally(network, config, dataset, proposals, criterion)
    except ModelFormError as other:
        warnings.warn(
            f"the equations are SINDy's, not refined by likelihood: {type(network).__name__} cannot be compiled "
            f"({error}), nor fitted otherwise ({other}). Set refine=False to leave this out.",
            SpiceWarning,
            stacklevel=5,
        )
        return None
    _warn_of_unidentified({dataset.label("participant", p): entry.unidentified for p, entry in results.items()})
    return Stage(equations, model, results, {}, None)


def _warn_of_unidentified(names: Mapping[Any, list[str]]) -> None:
    """Say what the data say nothing about, and for whom."""
    people: dict[str, list[Any]] = {}
    for label, entries in names.items():
        for name in entries:
            people.setdefault(name, []).append(label)
    if people:
        told = "; ".join(f"{name} of participant(s) {_listed(labels)}" for name, labels in people.items())
        warnings.warn(
            f"the data do not identify {told}: an outcome that never varies is in no equation, and other numbers have "
            "standard errors of NaN. Leave these people or terms out, or collect more data.",
            IdentificationWarning,
            stacklevel=5,
        )


def _listed(labels: list[Any]) -> str:
    return ", ".join(map(str, labels[:10])) + (" ..." if len(labels) > 10 else "")

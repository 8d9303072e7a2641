"""Empirical Bayes as one of the ways to fit: from a model and data to the tables that every fit returns."""

from functools import partial
from typing import Any

import numpy as np

from spice.inference.fitting.common import population_start
from spice.inference.fitting.curvature import Curvature, normal_intervals, standard_errors
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.em.fit_em import EMFit, fit_em
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.likelihoods import Likelihood, likelihood_of
from spice.inference.fitting.optima import first_bad_trial
from spice.inference.fitting.remarks import little_data, options_chosen, with_note
from spice.inference.fitting.result import FitResult, interval_table, participant_index, participant_labels, tables
from spice.inference.fitting.transforms import Scale
from spice.resources.dataset import DatasetRNN


def fit_population(
    model: Any, dataset: DatasetRNN, n_threads: int | None = None, start: Any = None, **settings: Any
) -> FitResult:
    """Fit a normal population and everybody's parameters by EM.

    Parameters
    ----------
    model : SymbolicModel
        The model. People are taken as normal on the unconstrained scale, as the summary of the population says,
        whatever ``Parameter.scale`` is: that counts for method "nuts", and for what ``mean_prior`` and ``sd_prior``
        are about (`spice.inference.fitting.em.population_prior`).
    dataset : DatasetRNN
        The data.
    n_threads : int, optional
        Threads; default those that torch may use.
    start : mapping of str to number or array, pandas.DataFrame, or array_like, optional
        Where people are to begin with, on the natural scale: one value of each parameter, or one for each participant.
    **settings
        Those of `spice.inference.fitting.em.fit_em.fit_em`: ``covariance``, ``regressors``, ``skewness``,
        ``importance``, ``n_starts``, ``tolerance``, ``max_iterations``, ``seed``.

    Returns
    -------
    FitResult
        Everybody's posterior means on the unconstrained scale, and standard errors and intervals around them;
        ``aic`` and ``bic`` of the population's numbers and the evidence of all people (iBIC, Huys et al. 2011).
    """
    likelihood, scale = likelihood_of(model, dataset, n_threads), Scale(model.parameters)
    labels = participant_labels(likelihood, dataset)
    settings["prior"] = prior = PopulationPrior(model.parameters)
    prior.check_mass()
    settings["start"] = population_start(start, model, likelihood, labels, theta_moments(model.parameters)[1])
    found = fit_em(likelihood, scale, labels=labels, place=partial(first_bad_trial, likelihood, dataset), **settings)
    return _result(model, dataset, likelihood, scale, labels, found)


def _result(
    model: Any, dataset: DatasetRNN, likelihood: Likelihood, scale: Scale, labels: list[Any], found: EMFit
) -> FitResult:
    import pandas as pd

    index, nowhere = participant_index(labels), np.zeros(found.theta.shape, bool)
    posterior = Curvature(found.covariances, nowhere, nowhere[:, 0], np.full(len(labels), np.nan))
    se = standard_errors(scale, found.theta, posterior)
    low, high = normal_intervals(scale, found.theta, posterior.errors)
    estimates = tables(labels, scale.names, scale.natural(found.theta), se, nowhere)
    n_scored = likelihood.n_scored()
    little = little_data(n_scored, options_chosen(dataset, likelihood.participants))

    def series(values: Any, name: str) -> pd.Series:
        return pd.Series(values, index, name=name)

    return FitResult(
        model=model,
        method="em",
        pooling="partial",
        dataset=dataset,
        likelihood=likelihood,
        **estimates._asdict(),
        nll=series(found.nll, "nll"),
        n_trials=series(n_scored, "n_trials"),
        converged=series(found.converged, "converged"),
        reason=series(list(map(with_note, found.reason, little)), "reason"),
        aic=float(-2 * found.log_evidence.sum() + 2 * found.n_numbers),
        bic=found.ibic,
        log_evidence=series(found.log_evidence, "log_evidence"),
        starts=series(found.starts, "starts"),
        population=found.population,
        known_intervals=interval_table(labels, scale.names, low, high),
    )

"""Full Bayes: posteriors of one person, of everybody as one, or of a population and its people, by NUTS."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spice.errors import ConfigError, ConvergenceWarning, DataError, join_problems
from spice.inference.fitting.bayes.density import AloneDensity, PeopleDensity
from spice.inference.fitting.bayes.posterior import PosteriorResult, posterior_result
from spice.inference.fitting.bayes.sampling import Settings, Trace, finite_start, import_extra, is_finite, sample
from spice.inference.fitting.bayes.whitening import Sites, find_population, find_sites, own_moments
from spice.inference.fitting.common import population_start
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.likelihoods import likelihood_of
from spice.inference.fitting.optima import first_bad_trial
from spice.inference.fitting.population import design_matrix
from spice.inference.fitting.result import participant_labels
from spice.inference.fitting.transforms import Scale
from spice.resources.arguments import in_words, is_number, is_whole
from spice.resources.dataset import DatasetRNN, check_is_dataset

if TYPE_CHECKING:
    import pandas as pd

POOLINGS = ("none", "partial", "complete")
PARAMETRISATIONS = ("whitened", "noncentred")
TARGET_ACCEPT = {"none": 0.8, "complete": 0.8, "partial": 0.9}


def fit_nuts(
    model: Any,
    dataset: DatasetRNN,
    pooling: str = "partial",
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int = 0,
    n_threads: int | None = None,
    target_accept: float | None = None,
    parametrisation: str = "whitened",
    regressors: "pd.DataFrame | None" = None,
    start: Any = None,
    progress: bool = False,
    likelihood: Any = None,
) -> PosteriorResult:
    """Draw from the posterior by the no-U-turn sampler (Hoffman & Gelman 2014), as nutpie has it.

    Gradients are those of the compiled likelihood. With pooling "none" each person is a run of its own, so that nobody
    disturbs anybody else. Ctrl-C ends sampling and keeps the finished draws; with pooling "none" those of the people
    who are done.

    Parameters
    ----------
    model : SymbolicModel
        The model; its parameters say what the priors are (see `spice.inference.fitting.defaults`).
    dataset : DatasetRNN
        The data.
    pooling : {"partial", "none", "complete"}, default "partial"
        Members of a population, each person alone, or one set of parameters for everybody.
    draws, tune, chains : int
        Draws of each chain that are kept (1000), those before (1000), in which steps and scales are adapted, and
        chains (4).
    seed : int, default 0
        The same seed gives the same draws.
    n_threads : int, optional
        Chains that run at once; default the threads that torch may use.
    target_accept : float, optional
        Share of proposals to accept; default 0.8, and 0.9 with pooling "partial". Raise it where draws diverge.
    parametrisation : {"whitened", "noncentred"}, default "whitened"
        Of people in a population: standardised by the Laplace approximation of each person's posterior given the
        population (by the population alone for people whose posterior has several modes), or by the population alone.
        The posterior is the same; the first is about twice as fast.
    regressors : pandas.DataFrame, optional
        Of the population's means, indexed by participant label, as in `design_matrix`.
    start : mapping of str to number or array, pandas.DataFrame, or array_like, optional
        With pooling "partial": from where chains look for their start, on the natural scale; one value of each
        parameter, or one for each participant. For models whose posterior has several modes, e.g. the parameters that
        another method found.
    progress : bool, default False
        Whether to show nutpie's progress bar.
    likelihood : Likelihood, optional
        That of the model and the data, if there is one already.

    Returns
    -------
    PosteriorResult
        Draws, and what other fits return: posterior means, standard deviations and central 95 % intervals.

    Raises
    ------
    ConfigError
        If nutpie is not installed, or settings cannot be; all problems are listed.
    DataError
        If the likelihood is not finite anywhere near the start, naming person, trial and parameter values.

    Warns
    -----
    ConvergenceWarning
        If R-hat exceeds 1.01, an effective sample size is below 400, or draws diverged, with what to do.
    """
    check_is_dataset(dataset, "fit")
    _check(pooling, parametrisation, draws, tune, chains, seed, target_accept, regressors, start)
    import_extra("nutpie")
    n_threads = torch.get_num_threads() if n_threads is None else int(n_threads)
    accept = TARGET_ACCEPT[pooling] if target_accept is None else float(target_accept)
    settings = Settings(int(draws), int(tune), int(chains), int(seed), n_threads, accept, bool(progress))
    likelihood = likelihood_of(model, dataset, 1) if likelihood is None else likelihood  # chains are what runs at once
    labels = participant_labels(likelihood, dataset)
    design = design_matrix(regressors, labels)
    names, matrix = design.names[1:], design.matrix[:, 1:]  # without the intercept
    densities: Sequence[Any]
    if pooling == "partial":
        starts = _population_starts(start, model, likelihood, labels)
        densities = [_people(model, likelihood, matrix, starts, parametrisation == "whitened")]
    else:
        densities = _alone(model, likelihood, pooling == "complete")
    _check_starts(densities, likelihood, dataset, labels)
    traces = _run(densities, settings)
    result = posterior_result(model, dataset, likelihood, pooling, densities, traces, settings, names, matrix)
    result.warn(stacklevel=5)  # who called fit
    return result


def _check(pooling, parametrisation, draws, tune, chains, seed, target_accept, regressors, start) -> None:
    problems = []
    if pooling not in POOLINGS:
        problems.append(f"pooling must be one of {', '.join(POOLINGS)}, not {in_words(pooling)}.")
    if parametrisation not in PARAMETRISATIONS:
        problems.append(f"parametrisation must be one of {', '.join(PARAMETRISATIONS)}, not {parametrisation!r}.")
    for name, value, least in (("draws", draws, 1), ("tune", tune, 1), ("chains", chains, 1), ("seed", seed, 0)):
        if not is_whole(value, least):
            problems.append(f"{name} must be a whole number from {least} on, not {in_words(value)}.")
    if target_accept is not None and not (is_number(target_accept) and 0 < float(target_accept) < 1):
        problems.append(f"target_accept must lie between 0 and 1, not be {in_words(target_accept)}.")
    if regressors is not None and pooling != "partial":
        problems.append('regressors are of a population\'s means: they need pooling="partial".')
    if start is not None and pooling != "partial":
        problems.append('start is of a population: it needs pooling="partial".')
    if problems:
        raise ConfigError(join_problems("The posterior cannot be drawn", problems))


def _population_starts(
    start: Any, model: Any, likelihood: Any, labels: list[Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where the search for a population begins: its means and standard deviations on the unconstrained scale."""
    usual = own_moments(model.parameters, Scale(model.parameters))
    first = population_start(start, model, likelihood, labels, usual[1])
    return [first, usual] if start is None else [first]


def _people(
    model: Any,
    likelihood: Any,
    regressors: np.ndarray,
    starts: list[tuple[np.ndarray, np.ndarray]],
    whitened: bool,
) -> PeopleDensity:
    scale, prior = Scale(model.parameters), PopulationPrior(model.parameters)
    sites, _ = find_population(likelihood, scale, starts, regressors - regressors.mean(0), prior)
    return PeopleDensity(model.parameters, likelihood, regressors, sites, whitened)


def _alone(model: Any, likelihood: Any, together: bool) -> list[AloneDensity]:
    """One density of all, or one of each person, scaled by the approximate posterior."""
    scale = Scale(model.parameters)
    sites: Sites = find_sites(likelihood, scale, *own_moments(model.parameters, scale), together=together)
    everybody = list(range(len(likelihood.participants)))
    groups = [everybody] if together else [[person] for person in everybody]
    roots = np.linalg.cholesky(sites.covariance)
    return [
        AloneDensity(model.parameters, likelihood, group, centre, root)
        for group, centre, root in zip(groups, sites.theta, roots, strict=True)
    ]


def _run(densities: Sequence[Any], settings: Settings) -> list[Trace | None]:
    """A trace of each density, None of those that an interrupt left out."""
    traces: list[Trace | None] = []
    for density in densities:
        try:
            trace = sample(density, settings)
        except KeyboardInterrupt:
            if not traces:
                raise
            break
        if trace.interrupted and traces:
            break
        traces.append(trace)
        if trace.interrupted:
            break
    if len(traces) < len(densities) or (traces[-1] is not None and traces[-1].interrupted):
        kept = f"{len(traces)} of {len(densities)} people" if len(densities) > 1 else _size(traces[-1])
        warnings.warn(f"sampling was interrupted: {kept} are kept.", ConvergenceWarning, stacklevel=5)
    return traces + [None] * (len(densities) - len(traces))


def _size(trace: Trace | None) -> str:
    assert trace is not None
    n_chains, n_draws = trace.draws.shape[:2]
    return f"{n_draws} draws of {n_chains} chain{'s' * (n_chains != 1)}"


def _check_starts(densities: Sequence[Any], likelihood: Any, dataset: DatasetRNN, labels: Sequence[Any]) -> None:
    """Name who has no finite likelihood where chains would begin."""
    problems = []
    for density in densities:
        point = finite_start(density, np.random.default_rng(0))
        if is_finite(density(point)):
            continue
        for person, values in zip(density.group, density.people(point), strict=True):
            nll, gradient = likelihood.gradient(values[None], np.array([person]))
            at = ", ".join(f"{name} = {value:.4g}" for name, value in zip(density.names, values, strict=True))
            if not np.isfinite(nll[0]):
                first = first_bad_trial(likelihood, dataset, values[None], person)
                problems.append(f"participant {labels[person]}{first}, with {at}.")
            elif not np.isfinite(gradient).all():
                by = [name for name, slope in zip(density.names, gradient[0], strict=True) if not np.isfinite(slope)]
                problems.append(f"participant {labels[person]}: its slope by {', '.join(by)}, with {at}.")
    if problems:
        title = "The log-likelihood is not finite at the start (give bounds, or priors with their mass elsewhere)"
        raise DataError(join_problems(title, problems[:10]))

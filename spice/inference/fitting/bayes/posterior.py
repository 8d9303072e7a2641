"""Draws from a posterior: estimates, diagnostics, and what to do where they are bad."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from spice.errors import ConvergenceWarning, first_of, join_problems
from spice.inference.fitting.bayes.posterior_population import population_of
from spice.inference.fitting.bayes.sampling import Settings, Trace, import_extra
from spice.inference.fitting.bayes.variables import element_names, population_ending
from spice.inference.fitting.remarks import CONVERGED, little_data, options_chosen, with_note
from spice.inference.fitting.result import EVERYBODY, FitResult, interval_table, participant_labels, tables

R_HAT, ESS = 1.01, 400.0  # largest and least that are good (Vehtari et al. 2021, Bayesian Analysis 16: 667-718)
LISTED = 5  # variables or people named in a warning
MEMORY = 1e8  # bytes that log-likelihoods, or predictions, take at most
PREDICTIVE = 500  # draws
NO_TRIALS = {  # by pooling: whose draws they are then
    "none": "no scored choices: the draws are the prior's",
    "partial": "no scored choices: the draws are the population's",
    "complete": "no scored choices: the draws are the others'",
}


@dataclass(repr=False)
class PosteriorResult(FitResult):
    """A model's posterior.

    Estimates are posterior means, ``se`` posterior standard deviations, ``intervals`` central 95 % intervals. AIC, BIC
    and evidence are None: compare models by `loo` or `waic`.

    Attributes
    ----------
    posterior : dict of str to np.ndarray, shape (n_chains, n_draws, ...)
        Draws on the natural scale: ``alpha`` (..., n_participants), without that axis with pooling "complete"; with
        "partial" also ``alpha_mean`` and ``alpha_sd``, on the scale on which people are normal (for people with average
        regressors), and with regressors ``alpha_effect`` (..., n_regressors).
    statistics : dict of str to np.ndarray, shape (n_chains, n_draws), with pooling "none" (..., n_participants)
        Of the sampler, by ArviZ's names.
    diagnostics : pandas.DataFrame
        R-hat and effective sample sizes in the middle and in the tails, by variable.
    n_divergences : int
        Draws whose trajectories diverged.
    settings : Settings
        Of the sampler.
    regressors : tuple of str
        Names.
    design : np.ndarray, shape (n_participants, n_regressors)
        Their values.
    """

    posterior: dict[str, np.ndarray] = field(default_factory=dict)
    statistics: dict[str, np.ndarray] = field(default_factory=dict)
    diagnostics: Any = None
    n_divergences: int = 0
    settings: Settings = field(default_factory=Settings)
    regressors: tuple[str, ...] = ()
    design: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def to_arviz(
        self, log_likelihood: bool = True, predictive: int = PREDICTIVE, memory: float = MEMORY, seed: int = 0
    ) -> Any:
        """Everything as an ArviZ object: an InferenceData of ArviZ 0.x, a DataTree of 1.x.

        Groups: posterior, sample_stats, log_likelihood, posterior_predictive, prior, prior_predictive, observed_data,
        and constant_data with each scored choice's participant, session and trial. Predictive choices are one step
        ahead: each is drawn given the observed choices and outcomes before it. Where draws would take more than
        ``memory``, every n-th is taken, at equal distances.

        Parameters
        ----------
        log_likelihood : bool, default True
            Whether to compute the log-probability of each scored choice for each draw.
        predictive : int, default 500
            Draws of the posterior and of the prior that make predictions; 0 leaves these groups out.
        memory : float, default 1e8
            Bytes that the log-likelihoods may take, as 4-byte numbers; the same for predictions, a byte for each.
        seed : int, default 0
            Of predictions and of draws from the prior.

        Raises
        ------
        ConfigError
            If ArviZ is not installed.
        """
        from spice.inference.fitting.bayes.arviz_object import arviz_object

        return arviz_object(self, log_likelihood, predictive, memory, seed)

    def loo(self, memory: float = MEMORY, pointwise: bool = False) -> Any:
        """Expected log predictive density (elpd), choices left out one by one: to compare models of the same choices.

        By Pareto-smoothed importance sampling: Vehtari, Gelman & Gabry (2017), Statistics and Computing 27: 1413-1432.
        Each choice is predicted from all others of everybody, later ones too.

        Parameters
        ----------
        memory : float, default 1e8
            As in `to_arviz`; ArviZ needs some four times as much on top.
        pointwise : bool, default False
            Whether to return each choice's share: the difference of two models, choice by choice, has the standard
            error ``sqrt(n_choices) * difference.std()``.

        Returns
        -------
        pandas.Series, or with ``pointwise`` pandas.DataFrame of choices
            ``elpd_loo`` in nats, its standard error ``se``, the effective number of parameters ``p_loo``, and
            ``n_bad``: choices whose Pareto k is too large. Of each choice: ``participant``, ``session`` and ``trial``
            (counted from 0 in the dataset), ``elpd_loo``, ``p_loo`` and ``pareto_k``.

        Raises
        ------
        ConfigError
            If ArviZ is not installed.

        Warns
        -----
        ConvergenceWarning
            If some choices have a Pareto k that is too large, above min(0.7, 1 - 1 / log10(draws)): the draws say
            little of what is expected without such a choice. Draw more, or compare models by held-out choices.
        """
        from spice.inference.fitting.bayes.pointwise import leave_one_out

        return leave_one_out(self, memory, pointwise)

    def waic(self, memory: float = MEMORY, pointwise: bool = False) -> Any:
        """Widely applicable information criterion (Watanabe 2010), as an expected log predictive density.

        Watanabe (2010), JMLR 11: 3571-3594; on this scale Vehtari, Gelman & Gabry (2017), Statistics and Computing 27:
        1413-1432.

        Parameters
        ----------
        memory : float, default 1e8
            As in `to_arviz`.
        pointwise : bool, default False
            As for `loo`.

        Returns
        -------
        pandas.Series, or with ``pointwise`` pandas.DataFrame of choices
            ``elpd_waic`` in nats, its standard error ``se``, the effective number of parameters ``p_waic``, and
            ``n_unsure``: choices whose log-likelihood varies by more than 0.4, for which `loo` is to be preferred. Of
            each choice: ``participant``, ``session``, ``trial``, ``elpd_waic`` and ``p_waic``.
        """
        from spice.inference.fitting.bayes.pointwise import widely_applicable

        return widely_applicable(self, memory, pointwise)

    def problems(self) -> list[str]:
        """What is bad about the draws, and what to do; nothing if they are good."""
        found, d, s = [], self.diagnostics, self.settings
        n_chains, n_draws = next(iter(self.posterior.values())).shape[:2]
        if not _comparable(n_chains, n_draws):
            found.append(
                "R-hat is unknown: it compares two or more chains of four or more draws, but there "
                f"{'is one' if n_chains == 1 else f'are {n_chains}'} of {n_draws:,}. Sample more of them."
            )
        high = d["r_hat"][d["r_hat"] > R_HAT].sort_values(ascending=False)
        if len(high):
            found.append(
                f"R-hat is above {R_HAT} for {_listed(high)}: the chains do not agree. Raise tune and draws; if that "
                f"does not help, give narrower priors, or fix a parameter that the choices do not identify."
            )
        ess = d[["ess_bulk", "ess_tail"]].min(axis=1)
        low = ess[ess < ESS].sort_values()
        if len(low):
            draws = int(np.ceil(s.draws * ESS / max(float(low.iloc[0]), 1.0) * 1.2 / 100) * 100)
            found.append(
                f"the effective sample size is below {ESS:.0f} for {_listed(low)}: means and intervals are rough. "
                f"Raise draws to some {draws:,}."
            )
        if self.n_divergences:
            total, higher = self.statistics["diverging"].size, max(0.95, 1 - (1 - s.target_accept) / 4)
            whose = ""
            if self.statistics["diverging"].ndim == 3 and len(self.parameters) > 1:
                counts = self.statistics["diverging"].sum((0, 1))
                whose = f" ({first_of(self.parameters.index[counts > 0], LISTED)})"
            found.append(
                f"{self.n_divergences} of {total:,} draws diverged{whose}: parts of the posterior may be missed. Raise "
                f"target_accept from {s.target_accept:g} to {higher:g}; if that does not help, give narrower priors"
                + (" of the standard deviations." if self.pooling == "partial" else ".")
            )
        return found

    def warn(self, stacklevel: int = 2) -> None:
        """Issue a `ConvergenceWarning` with the problems, if there are any."""
        found = self.problems()
        if found:
            text = join_problems("The draws are not to be trusted yet", found)
            warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)


def posterior_result(
    model: Any,
    dataset: Any,
    likelihood: Any,
    pooling: str,
    densities: Sequence[Any],
    traces: Sequence[Trace | None],
    settings: Settings,
    regressors: tuple[str, ...] = (),
    design: np.ndarray | None = None,
) -> PosteriorResult:
    """What a sampler found, put together.

    Parameters
    ----------
    model, dataset, likelihood, pooling
        What was fitted.
    densities : sequence of Density
        One, or with pooling "none" one for each participant.
    traces : sequence of Trace or None
        Of each density; None where sampling was interrupted before.
    settings : Settings
        Of the sampler.
    regressors : tuple of str
        Names of the regressors.
    design : np.ndarray, shape (n_participants, n_regressors), optional
        Their values.
    """
    import pandas as pd

    design = np.zeros((len(likelihood.participants), 0)) if design is None else design
    posterior, statistics = _collect(densities, traces, pooling)
    labels, names = participant_labels(likelihood, dataset), list(likelihood.names)
    rows = [EVERYBODY] if pooling == "complete" else labels
    draws = np.stack([posterior[name].reshape(-1, len(rows)) for name in names], axis=-1)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    mean = draws.mean(0)
    made = tables(rows, names, mean, _sd(draws), np.zeros(mean.shape, bool))
    diagnostics = _diagnostics(posterior, labels, regressors)
    everybody = np.repeat(mean, len(labels), axis=0) if pooling == "complete" else mean
    index = pd.Index(labels, name="participant")
    diverged = np.atleast_1d(statistics["diverging"].sum((0, 1))) * np.ones(len(labels), int)
    n_trials = likelihood.n_scored()
    reason = _reasons(diagnostics, diverged, n_trials, np.isnan(mean).any(1), pooling, labels)
    little = little_data(n_trials, options_chosen(dataset, likelihood.participants))
    return PosteriorResult(
        model=model,
        method="nuts",
        pooling=pooling,
        dataset=dataset,
        likelihood=likelihood,
        **made._asdict(),
        nll=pd.Series(_nll(likelihood, everybody), index),
        n_trials=pd.Series(n_trials, index),
        converged=pd.Series([text in (CONVERGED, NO_TRIALS[pooling]) for text in reason], index),
        reason=pd.Series(reason if pooling == "complete" else list(map(with_note, reason, little)), index),
        aic=None,
        bic=None,
        population=population_of(model, posterior, regressors, design) if pooling == "partial" else None,
        posterior=posterior,
        statistics=statistics,
        diagnostics=diagnostics,
        n_divergences=int(statistics["diverging"].sum()),
        settings=settings,
        regressors=regressors,
        design=design,
        known_intervals=interval_table(rows, names, low, high),
    )


def _collect(densities: Sequence[Any], traces: Sequence[Trace | None], pooling: str) -> tuple[dict, dict]:
    """Draws and statistics by name; people who were not reached have NaN, and no statistics."""
    found: list[dict[str, np.ndarray]] = []
    numbers: list[dict[str, np.ndarray]] = []
    first = next(trace for trace in traces if trace is not None)
    shape = first.draws.shape[:2]
    for density, trace in zip(densities, traces, strict=True):
        if trace is None:
            found.append({name: np.full(shape, np.nan) for name in found[0]})
            numbers.append({name: np.zeros(shape, values.dtype) for name, values in numbers[0].items()})
            continue
        natural = density.natural(trace.draws.reshape(-1, density.ndim))
        found.append({name: values.reshape(*shape, *values.shape[1:]) for name, values in natural.items()})
        numbers.append(trace.statistics)
    if pooling != "none":
        return found[0], numbers[0]

    def together(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.stack([part[name] for part in parts], axis=-1) for name in parts[0]}

    return together(found), together(numbers)


def _diagnostics(posterior: Mapping[str, np.ndarray], labels: Sequence[Any], regressors: Sequence[str]) -> Any:
    """R-hat and effective sample sizes by variable (Vehtari et al. 2021)."""
    import pandas as pd
    import xarray

    arviz = import_extra("arviz")
    names = [entry for own in element_names(posterior, labels, regressors).values() for entry in own]
    draws = np.concatenate([values.reshape(*values.shape[:2], -1) for values in posterior.values()], axis=2)
    data = xarray.Dataset({"x": (("chain", "draw", "variable"), draws)})
    calls = {"r_hat": arviz.rhat} | {
        f"ess_{method}": partial(arviz.ess, method=method) for method in ("bulk", "tail", "mean")
    }
    found = {name: np.full(len(names), np.nan) for name in calls}  # of too few draws, which ArviZ logs
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, call in calls.items():
            if _comparable(draws.shape[0] if name == "r_hat" else 2, draws.shape[1]):
                found[name] = np.asarray(call(data)["x"])
    return pd.DataFrame(found, index=names)


def _sd(draws: np.ndarray) -> np.ndarray:
    """Standard deviations over the first axis; NaN of one draw."""
    return draws.std(0, ddof=1) if len(draws) > 1 else np.full(draws.shape[1:], np.nan)


def _comparable(n_chains: int, n_draws: int) -> bool:
    """Whether ArviZ computes R-hat of them."""
    return n_chains >= 2 and n_draws >= 4


def _reasons(diagnostics: Any, diverged: np.ndarray, n_trials: np.ndarray, missing: np.ndarray, pooling: str, labels):
    """Of each participant what is wrong, else "converged"; what is shared counts for everybody."""
    bad_hat = diagnostics.index[(diagnostics["r_hat"] > R_HAT)]
    bad_ess = diagnostics.index[(diagnostics[["ess_bulk", "ess_tail"]].min(axis=1) < ESS)]
    variables = {name: name.partition("[")[0] for name in diagnostics.index}
    known = set(variables.values())
    of_population = {variable for variable in known if population_ending(variable, known)}
    every = {name for name, variable in variables.items() if name == variable or variable in of_population}
    shared: tuple[set, set] = (set(), every)  # with pooling "complete" they are everybody's own
    population = [name for name in diagnostics.index if name in every & {*bad_hat, *bad_ess}]
    unknown, found = bool(diagnostics["r_hat"].isna().all()), []
    for place, label in enumerate(labels):
        if pooling != "complete" and missing[place]:
            found.append("interrupted before there were draws")
            continue

        def own(names: Sequence[str], end: str = f"[{label}]") -> str:
            return ", ".join(name for name in names if name.endswith(end) or name in shared[pooling == "complete"])

        notes = [NO_TRIALS[pooling]] if n_trials[place] == 0 else []
        notes += ["R-hat unknown: too few chains or draws"] if unknown else []
        notes += [f"R-hat above {R_HAT}: {own(bad_hat)}"] if own(bad_hat) else []
        notes += [f"few effective draws: {own(bad_ess)}"] if own(bad_ess) else []
        notes += (
            [f"the population is not to be trusted yet: {first_of(population, LISTED)}"]
            if pooling == "partial" and population
            else []
        )
        notes += [f"{diverged[place]} divergence{'s' * int(diverged[place] > 1)}"] if diverged[place] else []
        found.append("; ".join(notes) or CONVERGED)
    return found


def _nll(likelihood: Any, values: np.ndarray) -> np.ndarray:
    """At the posterior means; NaN where there are none."""
    there = np.isfinite(values).all(1)
    nll = np.full(len(values), np.nan)
    nll[there] = likelihood.gradient(values[there], np.flatnonzero(there))[0]
    return nll


def _listed(values: Any) -> str:
    """Variables with their values, the worst first."""
    shown = [f"{name} ({value:.2f})" if value < 10 else f"{name} ({value:.0f})" for name, value in values.items()]
    return first_of(shown, LISTED)

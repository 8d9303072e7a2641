"""Maximum likelihood and maximum a posteriori: all participants at once, from several starts each."""

import warnings
from typing import Any

import numpy as np

from spice.errors import ConvergenceWarning
from spice.inference.fitting.curvature import curvature_of, laplace, standard_errors
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.likelihoods import Likelihood, Together, likelihood_of
from spice.inference.fitting.optima import Optima, check_starts, optima
from spice.inference.fitting.remarks import NO_TRIALS, Remarks, options_chosen, remarks_on
from spice.inference.fitting.result import EVERYBODY, FitResult, participant_index, participant_labels, tables
from spice.inference.fitting.starts import given_starts, maximum_starts, value_starts
from spice.inference.fitting.summary import grouped
from spice.inference.fitting.targets import Target
from spice.resources.dataset import DatasetRNN


def fit_maximum(
    model: Any,
    dataset: DatasetRNN,
    method: str = "mle",
    pooling: str = "none",
    start: Any = None,
    n_starts: int | None = None,
    n_threads: int | None = None,
) -> FitResult:
    """Fit by maximum likelihood ("mle") or maximum a posteriori ("map").

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        The data.
    method : {"mle", "map"}, default "mle"
        MAP finds the mode in the coordinates in which each prior is written: on the natural scale for a parameter's
        own prior, on the unconstrained scale for the default ones (Huys et al. 2011).
    pooling : {"none", "complete"}, default "none"
        Each participant alone, or one set of parameters for all.
    start : optional
        A further start, see `spice.inference.fitting.starts.given_starts`.
    n_starts : int, optional
        Starts that are spread over the default priors. By default method "mle" has two more than there are parameters
        and those of `spice.inference.fitting.starts.corner_starts`; "map" has one more, and with three parameters and
        more three times as many less three. Where a parameter's own prior lies beyond these, there is another at its
        median.
    n_threads : int, optional
        Threads; default those that torch may use.

    Returns
    -------
    FitResult
        Estimates, and standard errors from the observed information; with method "map" from the curvature of the log
        posterior. Intervals by the likelihood ratio when they are asked for.

    Raises
    ------
    ConfigError
        If the start does not fit the parameters.
    DataError
        If there is no scored choice, or nowhere to begin for someone.

    Warns
    -----
    ConvergenceWarning
        Naming participants without an optimum.
    """
    own = likelihood_of(model, dataset, n_threads)
    shared = pooling == "complete"
    likelihood = Together(own) if shared else own
    target = Target(likelihood, model.parameters, "none" if method == "mle" else "mode")
    labels = [EVERYBODY] if shared else participant_labels(own, dataset)
    n_scored = likelihood.n_scored()
    people = np.arange(len(labels)) if method == "map" else np.flatnonzero(n_scored)
    theta = np.repeat(maximum_starts(model.parameters, method, n_starts)[None], len(labels), 0)
    known = value_starts(model.parameters, labels)
    if known is not None:
        theta = np.concatenate([known[:, None], theta], axis=1)
    if start is not None:
        theta = np.concatenate([given_starts(start, model.parameters, labels)[:, None], theta], axis=1)
        check_starts(target, own, dataset, theta[people, 0], people)
    found = optima(target, theta[people], people)
    lost = np.isinf(found.rows.value)
    check_starts(target, own, dataset, theta[people[lost], 0], people[lost])
    n_chosen = options_chosen(dataset, own.participants)
    chosen = n_chosen.max(keepdims=True) if shared else n_chosen
    remarks = remarks_on(target, found, people, n_scored[people], chosen[people])
    evidence = None if method == "mle" else _evidence(target, found, people)
    result = _result((model, dataset, own, method, pooling), target, labels, people, found, remarks, evidence)
    _warn(result)
    return result


def laplace_evidence(target: Target, theta: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Laplace's log evidence of each person, after going on to the mode of the density on the unconstrained scale.

    Parameters
    ----------
    target : Target
        With ``priors="density"``, or a function that is the same.
    theta : np.ndarray, shape (n_people, n_starts, n_parameters)
        Where to begin, on the unconstrained scale.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.

    Returns
    -------
    np.ndarray, shape (n_people,)
        NaN where there is no mode.
    """
    mode = optima(target, theta, people)
    curvature = curvature_of(target.scale, mode.theta, mode.rows.hessian, np.zeros(mode.theta.shape, bool))
    return np.where(mode.converged, laplace(mode.rows.value, curvature), np.nan)


def _evidence(target: Target, found: Optima, people: np.ndarray) -> np.ndarray:
    density = Target(target.likelihood, target.parameters, "density")
    if (density.adds == target.adds).all():  # no prior has a Jacobian
        curvature = curvature_of(target.scale, found.theta, found.rows.hessian, np.isinf(found.theta))
        return np.where(found.converged, laplace(found.rows.value, curvature), np.nan)
    # beyond, towards bounds, a mode on the natural scale may be far from that of the density, but need not be
    reach = [5.0, np.inf] if (np.abs(found.theta) >= 5.0).any() else [5.0]
    middle = theta_moments(target.parameters)[0]
    starts = [np.where(np.abs(found.theta) < far, found.theta, middle) for far in reach]
    return laplace_evidence(density, np.stack(starts, axis=1), people)


def _result(
    what: tuple[Any, DatasetRNN, Likelihood, str, str],
    target: Target,
    labels: list[Any],
    people: np.ndarray,
    found: Optima,
    remarks: Remarks,
    evidence: np.ndarray | None,
) -> FitResult:
    """All of it as tables, with rows for those who have no estimates."""
    import pandas as pd

    model, dataset, own, method, pooling = what
    shared, index, names = pooling == "complete", participant_index(labels), list(target.scale.names)
    theta = np.where(remarks.at_bound, np.inf, found.theta)
    se = standard_errors(target.scale, theta, remarks.curvature)

    def full(part: np.ndarray, missing: float = np.nan) -> np.ndarray:
        whole = np.full((len(labels), *part.shape[1:]), missing, dtype=part.dtype)
        whole[people] = part
        return whole

    def series(values: Any, name: str) -> pd.Series:
        return pd.Series(values, index, name=name)

    estimates = tables(labels, names, full(remarks.values), full(se), full(remarks.at_bound, False))
    reason = np.full(len(labels), NO_TRIALS, dtype=object)
    reason[people] = remarks.reason
    n_scored = target.likelihood.n_scored()
    nll, n_trials = full(found.rows.nll, 0.0), n_scored
    if shared:
        everyone = participant_index(participant_labels(own, dataset))
        each = own(np.repeat(remarks.values, len(everyone), 0)).nll
        by_person = pd.Series(each, everyone, name="nll"), pd.Series(own.n_scored(), everyone, name="n_trials")
    else:
        by_person = series(nll, "nll"), series(n_trials, "n_trials")
    with np.errstate(divide="ignore"):
        price = np.where(n_scored > 0, np.log(n_scored), np.nan)
    aic, bic = 2 * nll + 2 * len(names), 2 * nll + len(names) * price
    log_evidence = None if evidence is None else full(evidence)
    return FitResult(
        model=model,
        method=method,
        pooling=pooling,
        dataset=dataset,
        likelihood=own,
        **estimates._asdict(),
        nll=by_person[0],
        n_trials=by_person[1],
        converged=series(full(remarks.converged, False), "converged"),
        reason=series(reason, "reason"),
        aic=float(aic[0]) if shared else series(np.where(n_scored > 0, aic, np.nan), "aic"),
        bic=float(bic[0]) if shared else series(bic, "bic"),
        log_evidence=None
        if log_evidence is None
        else (float(log_evidence[0]) if shared else series(log_evidence, "log_evidence")),
        starts=series(full(found.starts), "starts"),
        optimum=full(found.theta),
    )


def _warn(result: FitResult) -> None:
    stuck = result.reason[~result.converged & (result.reason != NO_TRIALS)]
    if len(stuck):
        found = grouped(stuck.rename(index=repr))
        some = "; ".join(found[:5]) + (f"; and {len(found) - 5} other remarks" if len(found) > 5 else "")
        warnings.warn(
            f"no optimum was reached for {len(stuck)} of {len(result.reason)} participants: {some}. See "
            'result.reason; priors (method="map") or a population (method="em") keep estimates finite.',
            ConvergenceWarning,
            stacklevel=5,  # who called fit
        )

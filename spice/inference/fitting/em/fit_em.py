"""Empirical Bayes: a normal population of people, fitted by EM with Laplace's approximation in the E step.

Huys, Cools, Gölzer, Friedel, Heinz, Dolan & Dayan (2011), PLoS Computational Biology 7(4): e1002028. On the
unconstrained scale person i's parameters are normal with mean ``x_i B`` (x_i: the intercept and regressors) and
covariance S. E step: each person's posterior is taken as normal around its mode, with the inverse of the curvature
there as covariance V_i. M step: B is the regression of the posterior means m_i on the regressors, S the average of
``(m_i - x_i B)(m_i - x_i B)' + V_i``.

Three things differ from the paper. Steps are divided by the choices' information (`scoring.improved`): the same end in
about ten iterations instead of hundreds. And posterior means are not taken to be at the modes, but corrected for
skewness to first order (`modes.skewness_of`); EM then ends at the maximum of the Laplace-approximated likelihood of the
population (that of generalised linear mixed models; near it, where some people's choices tell little). The bias of
means and spreads is then of order 1 / trials^2 instead of 1 / trials, a matter of many standard errors for models with
several parameters. ``skewness=False`` is the paper's.

And S has a prior that is worth one person (`population_prior`): as a maximum-likelihood estimate it is too small by a
factor of about (n - columns) / n with n people, and often singular, with intervals that are far too short. What a
model's ``mean_prior`` and ``sd_prior`` say counts too.

Where posteriors are far from normal even that is not enough: spreads of parameters of which choices tell little come
out too small. So at the end importance sampling takes the place of Laplace's approximation (`reweighting`), if not
``importance=False``: with draws around modes, or, where EM does not come to rest or people have several modes, with
draws from the population, made anew as it changes (`proposals`).

The result stays approximate: intervals take the population's numbers as normal around their estimates, which they are
not with few people.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spice.errors import ConfigError
from spice.inference.fitting.em.fitted import EMFit
from spice.inference.fitting.em.modes import Points
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.em.reweighting import Posterior
from spice.inference.fitting.em.settings import check_settings
from spice.inference.fitting.em.steps import EM
from spice.inference.fitting.em.warn import edges_of, warn
from spice.inference.fitting.population import Design, Population, design_matrix
from spice.inference.fitting.remarks import CONVERGED, NO_TRIALS, with_note
from spice.inference.fitting.transforms import Scale
from spice.inference.fitting.uncertainty import Uncertainty, precisions


def fit_em(
    likelihood: Any,
    scale: Scale,
    *,
    covariance: str = "full",
    regressors: Any = None,
    labels: Sequence[Any] | None = None,
    prior: PopulationPrior | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    skewness: bool = True,
    importance: bool = True,
    n_starts: int = 4,
    tolerance: float = 1e-4,
    max_iterations: int = 500,
    seed: int = 0,
    place: Callable[[np.ndarray, int], str] | None = None,
) -> EMFit:
    """Fit a normal population by EM with a Laplace E step, all people's Newton steps as rows of one pass.

    Parameters
    ----------
    likelihood : GeneratedLikelihood or alike
        ``likelihood(values, group)`` to `Exact` on the natural scale, with ``participants`` and ``n_scored()``.
    scale : Scale
        Of its parameters.
    covariance : {"full", "diagonal"}, default "full"
        Whether people's parameters may be correlated.
    regressors : pd.DataFrame, optional
        Of the population's means, as in `design_matrix`.
    labels : sequence, optional
        Of people, in the order of ``likelihood.participants``; default these.
    prior : PopulationPrior, optional
        Of the population; by default only that of its covariance.
    start : (np.ndarray, np.ndarray), each (n_parameters,), optional
        Means and standard deviations to begin from, on the unconstrained scale; by default those of `defaults`.
    skewness : bool, default True
        Correct posterior means for skewness: one more pass per parameter and iteration. False: as Huys et al. (2011).
    importance : bool, default True
        Go on with posteriors by importance sampling where EM has ended with Laplace's approximation: 64 to 256 draws of
        each person, 256 to 1,024 where people have several modes. False: as Huys et al. (2011).
    n_starts : int, default 4
        Points from which each person's mode is sought: at the beginning, and again after convergence among draws from
        the population; where a better mode turns up, EM goes on.
    tolerance : float, default 1e-4
        EM stops when no mean and no standard deviation would change by more than this, in units of the standard
        deviation with which single people's estimates scatter: that of people and of their average error. Where
        likelihoods have kinks (the larger of two values), it also stops where no part of a step raises the evidence,
        if the step is shorter than a fifth of the means' standard error.
    max_iterations : int, default 500
        EM iterations at most; a `ConvergenceWarning` where they do not suffice.
    seed : int, default 0
        Of the starts and draws.
    place : callable, optional
        Says in words where the likelihood of natural values (1, n_parameters) is not finite first, for a person by
        place in ``likelihood.participants``.

    Returns
    -------
    EMFit
        The population, and everybody's approximate posterior.

    Raises
    ------
    ConfigError
        If settings cannot be; all problems are listed. If priors of the population are too narrow to go on.
    DataError
        If too few people have data, regressors do not fit, or the likelihood is nowhere finite for somebody.
    """
    check_settings(scale, covariance, start, skewness, importance, tolerance, n_starts, max_iterations, seed)
    labels = list(likelihood.participants if labels is None else labels)
    design = design_matrix(regressors, labels)
    n_trials = np.asarray(likelihood.n_scored())
    prior = PopulationPrior(_without_priors(scale)) if prior is None else prior
    em = EM(likelihood, scale, design.matrix, n_trials > 0, covariance == "diagonal", skewness, prior)
    start = (prior.usual, np.sqrt(prior.wide)) if start is None else start
    em.begin(*start, n_starts, np.random.default_rng(seed), labels, place)
    try:
        em.run(n_starts, tolerance, max_iterations)
        posterior = em.posterior(seed if importance else None, tolerance)
    except np.linalg.LinAlgError:
        if not prior.stated:
            raise
        raise ConfigError(
            "EM cannot go on: what mean_prior= and sd_prior= say is so narrow that no step can be computed; give wider "
            'ones, write a number in the place of the parameter, or use pooling="complete".'
        ) from None
    found = _result(em, posterior, design, n_trials)
    edges = edges_of(em, found.population.mean_se.to_numpy())
    warn(em, edges, tolerance, max_iterations, labels, stacklevel=6)  # who called fit
    reason = np.array([with_note(text, "; ".join(edges.notes())) for text in found.reason], dtype=object)
    return replace(found, reason=reason, converged=found.converged & ~edges.endless.any())


def _without_priors(scale: Scale) -> dict[str, Any]:
    from spice.equations.symbolic import Parameter

    def bound(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    bounds = zip(scale.names, scale.low, scale.high, strict=True)
    return {name: Parameter(bound(low), bound(high)) for name, low, high in bounds}


def _result(em: EM, found: Posterior, design: Design, n_trials: np.ndarray) -> EMFit:
    """Everything about everybody; the posterior of people without data is the population."""
    n_people, at, guess = len(n_trials), em.active, em.guess
    coefficients, there = em.coefficients(), Design(design.names, design.matrix[at])
    theta, conditional = design.matrix @ coefficients, np.tile(guess.covariance, (n_people, 1, 1))
    nll, log_evidence, starts, away = np.zeros(n_people), np.zeros(n_people), np.ones(n_people), np.zeros_like(theta)
    theta[at], conditional[at] = found.theta, found.covariance
    nll[at] = Points.at(em.evaluate, found.theta, at).nll
    away[at] = found.theta - em.means()
    log_evidence[at], starts[at] = found.log_evidence, em.starts
    own = np.ones(n_people, bool)
    own[at] = ~em.unsure
    settled = CONVERGED if em.settled else "EM did not converge"
    reason = np.where(own, settled, "no step led on before the mode").astype(object)  # of any length
    reason[at[em.unsure & em.restless]] = "several modes: the best may not have been found"
    of_means, of_log_sds = em.prior.information(guess)
    of_prior = of_means, of_log_sds / (2 * np.diag(guess.covariance)) ** 2
    sure = Uncertainty.of(there.matrix, precisions(guess.root, em.told), em.diagonal, of_prior)
    errors = sure.errors(guess.covariance)
    n = len(em.scale.names)
    return EMFit(
        theta=theta,
        conditional=conditional,
        covariances=conditional + sure.of_people(design.matrix, guess.covariance, conditional, away),
        nll=nll,
        log_evidence=log_evidence,
        population=Population.of(em.scale, there, coefficients, guess.covariance, errors),
        coefficients=coefficients,
        covariance=guess.covariance,
        design=design,
        converged=own & em.settled,
        reason=np.where(n_trials > 0, reason, NO_TRIALS),
        starts=starts,
        n_iterations=em.n_iterations,
        change=em.change,
        n_numbers=coefficients.size + (n if em.diagonal else n * (n + 1) // 2),
        n_trials=int(n_trials.sum()),
    )

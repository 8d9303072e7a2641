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

And S has a prior that is worth one person (`scoring.Guess.log_prior`): as a maximum-likelihood estimate it is too small
by a factor of about (n - columns) / n with n people, and often singular, with intervals that are far too short.

Where posteriors are far from normal even that is not enough: spreads of parameters of which choices tell little come
out too small. So at the end importance sampling takes the place of Laplace's approximation (`reweighting`), if not
``importance=False``.

The result stays approximate: intervals take the population's numbers as normal around their estimates, which they are
not with few people.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spice.errors import DataError, join_problems
from spice.inference.fitting.anderson import Extrapolation
from spice.inference.fitting.em_fit import EMFit
from spice.inference.fitting.em_settings import check_settings
from spice.inference.fitting.em_warnings import warn
from spice.inference.fitting.modes import Laplace, Points, climb, skewness_of
from spice.inference.fitting.population import Design, Population, design_matrix
from spice.inference.fitting.reweighting import Draws, Posterior, refined
from spice.inference.fitting.scoring import Guess, Step, improved, precisions
from spice.inference.fitting.transforms import Scale
from spice.inference.fitting.uncertainty import Uncertainty, standardised
from spice.inference.general.generated import Exact

FIRST, LATER, LAST = 20, 3, 100  # Newton steps at most: in the first E step, in later ones, to the end
FAR = 0.2  # change in an iteration, in units, up to which steps foretell the next ones
WORSE = 2.0  # growth of the change after which an extrapolation is taken back, if there is no evidence to judge it by
EXACT = 1e-10  # nats that no step may promise at the end
LEAST_SHARE = 0.02  # of a step, below which none leads on: evidence has kinks where likelihoods have
FINE = 0.2  # of the standard error of a mean: what EM may still want to change there
SAME = 1e-3  # nats within which starts count as ended in the same mode
ROUNDS = 5  # of new starts after convergence, at most; of new draws
FEW = 0.1  # share of people without enough effective draws, up to which draws decide whether EM has settled
CLOSE = 0.2  # change of the population, in units, up to which draws from before serve


def fit_em(
    likelihood: Any,
    scale: Scale,
    *,
    covariance: str = "full",
    regressors: Any = None,
    labels: Sequence[Any] | None = None,
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
    start : (np.ndarray, np.ndarray), each (n_parameters,), optional
        Means and standard deviations to begin from, on the unconstrained scale; by default those of `defaults`.
    skewness : bool, default True
        Correct posterior means for skewness: one more pass per parameter and iteration. False: as Huys et al. (2011).
    importance : bool, default True
        Go on with posteriors by importance sampling where EM has ended with Laplace's approximation: 64 to 256 draws of
        each person. False: as Huys et al. (2011).
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
        If settings cannot be; all problems are listed.
    DataError
        If too few people have data, regressors do not fit, or the likelihood is nowhere finite for somebody.
    """
    check_settings(scale, covariance, start, skewness, importance, tolerance, n_starts, max_iterations, seed)
    labels = list(likelihood.participants if labels is None else labels)
    design = design_matrix(regressors, labels)
    n_trials = np.asarray(likelihood.n_scored())
    em = _EM(likelihood, scale, design.matrix, n_trials > 0, covariance == "diagonal", skewness)
    em.begin(*(_default_start(scale) if start is None else start), n_starts, np.random.default_rng(seed), labels, place)
    em.run(n_starts, tolerance, max_iterations)
    posterior = em.posterior(seed if importance else None, tolerance)
    warn(em, tolerance, max_iterations, labels, stacklevel=6)  # who called fit
    return _result(em, posterior, design, n_trials)


def _default_start(scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    from spice.equations.symbolic import Parameter
    from spice.inference.fitting.defaults import theta_moments

    def bound(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    bounds = zip(scale.names, scale.low, scale.high, strict=True)
    return theta_moments({name: Parameter(bound(low), bound(high)) for name, low, high in bounds})


class _EM:
    """The state of a fit: a population, and where people with data are.

    Attributes
    ----------
    active : np.ndarray of int, shape (n_active,)
        People with scored choices: the others tell nothing of the population.
    matrix : np.ndarray, shape (n_active, n_columns)
        Their regressors, standardised.
    guess : Guess
        The population.
    points : Points
        Where they are.
    laplace : Laplace
        Their posteriors in the end.
    usual, wide : np.ndarray, each (n_parameters,)
        Means and variances of the default priors.
    starts : np.ndarray, shape (n_active,)
        Share of starts that ended in the best mode found.
    restless : np.ndarray of bool, shape (n_active,)
        Who has so many modes that better ones turned up after each convergence.
    """

    laplace: Laplace

    def __init__(self, likelihood: Any, scale: Scale, matrix: np.ndarray, active: np.ndarray, diagonal: bool, skewness):
        self._likelihood, self.scale, self.diagonal, self._skewness = likelihood, scale, diagonal, skewness
        self.active = np.flatnonzero(active)
        self.matrix, self._change = standardised(matrix[active])
        self.usual, sd = _default_start(scale)
        self.wide = sd**2
        self.n_iterations, self.change, self.moving, self.settled = 0, np.inf, 0, False
        self.starts = np.ones(len(self.active))
        self.restless = np.zeros(len(self.active), bool)
        self._check_people()

    def _check_people(self) -> None:
        """With as few people as numbers there is no spread to estimate."""
        (people, columns), n = self.matrix.shape, len(self.scale.names)
        needed = columns + (1 if self.diagonal else n)
        if people < needed:
            usual = "; or covariance='diagonal'" if not self.diagonal and people > columns else ""
            effects = f", {columns - 1} column{'s' * (columns > 2)} of regressors" if columns > 1 else ""
            raise DataError(
                f"EM needs at least {needed} people with scored choices for {n} parameter{'s' * (n > 1)}{effects} and "
                f"the intercept, but there {'is' if people == 1 else 'are'} {people}: fit each person by "
                f"method='map'{usual}."
            )
        if np.linalg.matrix_rank(self.matrix) < columns:
            raise DataError("Regressors follow from each other among the people with scored choices; leave some out.")

    def evaluate(self, theta: np.ndarray, group: np.ndarray) -> Exact:
        """The likelihood of rows and its derivatives by theta."""
        with np.errstate(all="ignore"):  # what overflows is told by the result
            return self.scale.chain(self._likelihood(self.scale.natural(theta), group), theta)

    def begin(self, mean: np.ndarray, sd: np.ndarray, n_starts: int, rng: np.random.Generator, labels, place=None):
        """Put everybody at the likeliest of several points under the starting population."""
        mean, sd, self._rng = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float), rng
        coefficients = np.zeros((self.matrix.shape[1], len(mean)))
        coefficients[0] = mean
        self.guess = Guess(coefficients, np.diag(sd))
        z = np.concatenate([np.zeros((1, len(mean))), rng.normal(size=(max(n_starts, 1) - 1, len(mean)))])
        points = self._drawn(z)
        energy = points.nll.reshape(len(z), -1) + (z**2).sum(1)[:, None] / 2
        lost = np.flatnonzero(~np.isfinite(energy.min(0)))
        if len(lost):
            x = self.scale.natural(mean[None])[0]
            where = ", ".join(f"{name} = {value:.3g}" for name, value in zip(self.scale.names, x, strict=True))
            people = [int(person) for person in self.active[lost[:10]]]
            places = ["" if place is None else place(x[None], person) for person in people]
            problems = [
                f"participant {labels[person]}{first}: give another start=, or bounds."
                for person, first in zip(people, places, strict=True)
            ]
            raise DataError(join_problems(f"The likelihood is not finite at the start ({where}) or near it", problems))
        self.points = points[energy.argmin(0) * len(self.active) + np.arange(len(self.active))]

    def _drawn(self, z: np.ndarray) -> Points:
        """Everybody at the same places of the population: rows place by place, person by person."""
        theta = (self.means()[None] + (z @ self.guess.root.T)[:, None]).reshape(-1, z.shape[1])
        return Points.at(self.evaluate, theta, np.tile(self.active, len(z)))

    def means(self) -> np.ndarray:
        """What the population predicts of people with data, shape (n_active, n_parameters)."""
        return self.matrix @ self.guess.coefficients

    def coefficients(self) -> np.ndarray:
        """Of the regressors as they were given, shape (n_columns, n_parameters)."""
        return self._change @ self.guess.coefficients

    def run(self, n_starts: int, tolerance: float, max_iterations: int) -> None:
        """Iterate until nothing changes, and nobody's mode can be bettered from new starts."""
        for left in range(ROUNDS, -1, -1):
            self._iterate(tolerance, max_iterations)
            self.laplace = self._modes(EXACT, LAST)
            if n_starts < 2 or not left:
                return
            better = self._bettered(n_starts - 1)
            if not better.any():
                return
            self.restless = better if left == 1 else self.restless

    def _iterate(self, tolerance: float, max_iterations: int) -> None:
        """Until nothing changes. A step after which the evidence is lower was too long, and is taken back."""
        self.settled, most, ahead, units, taken = False, FIRST, Extrapolation(), np.ones(0), None
        while self.n_iterations < max_iterations:
            # what is left of Newton's way must be short against what EM itself changes
            enough = np.clip(5e-5 * min(self.change, 1.0) ** 2, 5e-5 * tolerance**2, 1e-3)
            found = self._modes(enough, most)
            skew = skewness_of(self.evaluate, self.points, found) if self._skewness else np.zeros_like(found.z)
            new = improved(self.guess, self.matrix, found, skew, self.wide, self.diagonal)
            scatter = self.guess.units(found)
            changes = self.guess.distances(new, self.matrix, scatter)
            value = found.log_evidence().sum() + self.guess.log_prior(self.wide)
            self.change, self.moving = float(changes.max()), int(changes.argmax())
            self.n_iterations, most = self.n_iterations + 1, LATER if self.change >= tolerance else LAST
            if taken is not None and self._lost(taken, value):
                if taken.share < LEAST_SHARE:
                    self.settled = taken.change < FINE / np.sqrt(len(self.active))
                    return
                self.guess, self.change = taken.shorter(), taken.change
                ahead.forget()
                continue
            if (found.converged | found.stuck).all() and self.change < tolerance:
                self.guess, self.settled = new, True
                return
            share = 1.0 if taken is None else min(2 * taken.share, 1.0)
            if not len(units) or self.change > FAR or share < 1:
                units = np.where(np.isfinite(scatter), scatter, 1.0)
                ahead.forget()
            here, known = self.guess.vector(units), ahead.knows
            plain = new.vector(units) - here
            taken = Step(self.guess, units, here, plain, float(value), self.change, share, known)
            self.guess = new.with_vector(here + ahead(here, plain), units) if share == 1 else taken.part()

    def _lost(self, taken: Step, value: float) -> bool:
        """Whether a step led down. Without the correction for skewness EM does not climb the evidence."""
        if self._skewness:
            return value < taken.value - SAME
        return taken.extrapolated and self.change > WORSE * taken.change

    def _modes(self, enough: float, most: int) -> Laplace:
        return climb(self.evaluate, self.points, self.means(), self.guess.root, enough, most)

    def _bettered(self, n_more: int) -> np.ndarray:
        """Seek modes from draws of the population; whose was bettered."""
        n_people = len(self.active)
        points = self._drawn(self._rng.normal(size=(n_more, len(self.scale.names))))
        mean = np.tile(self.means(), (n_more, 1))
        energy = climb(self.evaluate, points, mean, self.guess.root, EXACT, LAST).energy.reshape(n_more, n_people)
        own, best = self.laplace.energy, energy.argmin(0)
        lowest = np.minimum(own, energy.min(0))
        self.starts = (np.concatenate([own[None], energy]) < lowest + SAME).mean(0)
        better = own > lowest + SAME
        who = np.flatnonzero(better)
        self.points.put(who, points[best[who] * n_people + who])
        return better

    def posterior(self, seed: int | None, tolerance: float) -> Posterior:
        """Everybody's posterior: Laplace's, or with a seed by importance sampling.

        The population goes on to where EM ends with these, and modes with it. Kinks and ridges of likelihoods, at
        which Laplace's approximation jumps to and fro, do not matter to draws: if EM ends with these, it has settled.
        """
        found = Posterior.of_laplace(self.points, self.laplace)
        if seed is None:
            return found
        for _ in range(ROUNDS):
            units = self.guess.units(self.laplace)
            units = np.where(np.isfinite(units), units, 1.0)
            draws = Draws(self._likelihood, self.scale, self.points, self.laplace, seed)
            before = self.guess
            arguments = (self.matrix, self.wide, self.diagonal, units, tolerance)
            self.guess, ended = refined(draws, before, *arguments)
            self.laplace = self._modes(EXACT, LAST)
            found = draws.posterior(self.guess, self.matrix)
            if before.distances(self.guess, self.matrix, units).max() < CLOSE:
                self.settled |= ended and found.rough.mean() < FEW
                break
        return found


def _result(em: _EM, found: Posterior, design: Design, n_trials: np.ndarray) -> EMFit:
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
    own[at] = em.laplace.converged & ~em.restless
    reason = np.where(own, "converged" if em.settled else "EM did not converge", "no step led on before the mode")
    reason[at[em.restless]] = "several modes: the best may not have been found"
    unwhiten = np.linalg.inv(guess.root)
    precision = unwhiten.T @ precisions(em.laplace) @ unwhiten
    sure = Uncertainty.of(there.matrix, precision, em.diagonal)
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
        reason=np.where(n_trials > 0, reason, "no trials"),
        starts=starts,
        n_iterations=em.n_iterations,
        change=em.change,
        n_numbers=coefficients.size + (n if em.diagonal else n * (n + 1) // 2),
        n_trials=int(n_trials.sum()),
    )

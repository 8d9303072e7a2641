"""EM against mixed models, quadrature and simulations."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag, eigh
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, ndtri
from scipy.stats import multivariate_normal, norm

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError, ConvergenceWarning, DataError, IdentificationWarning
from spice.inference import fit
from spice.inference.fitting.em.fit_em import fit_em
from spice.inference.fitting.em.modes import Laplace, Points
from spice.inference.fitting.em.steps import EM
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact, GeneratedLikelihood
from spice.precoded import with_lapse
from spice.resources.bandits import BanditsFixed
from spice.resources.dataset import DatasetRNN


class Fake:
    """A likelihood that a function gives: (values, group) to nll, gradient and Hessian."""

    def __init__(self, function, n_people, n_scored=None):
        self.participants = list(range(n_people))
        self._function, self._scored = function, np.full(n_people, 10) if n_scored is None else np.asarray(n_scored)

    def n_scored(self):
        return self._scored

    def __call__(self, values, group=None):
        return Exact(*self._function(values, np.arange(len(values)) if group is None else group))

    def gradient(self, values, group=None):
        return self(values, group)[:2]


def laplace_em(*arguments, **settings):
    """Without importance sampling, whose draws leave errors of their own."""
    return fit_em(*arguments, importance=False, **settings)


def free(*names) -> Scale:
    return Scale({name: Parameter() for name in names})


def normal_likelihood(y, precision) -> Fake:
    """Each person's estimates y (n_people, n) with inverse covariances precision (n_people, n, n)."""

    def function(values, group):
        rest, p = values - y[group], precision[group]
        slope = np.einsum("rij,rj->ri", p, rest)
        return (rest * slope).sum(1) / 2, slope, p.copy()

    return Fake(function, len(y))


def binomial_likelihood(share, n_trials) -> Fake:
    """Logit of the probability of choices of which a share was 1; shares need not be multiples of 1 / n_trials."""

    def function(values, group):
        theta, k = values[:, 0], (share * n_trials)[group]
        p = 1 / (1 + np.exp(-theta))
        nll = n_trials * np.logaddexp(0, theta) - k * theta
        return nll, (n_trials * p - k)[:, None], (n_trials * p * (1 - p))[:, None, None]

    return Fake(function, len(share), np.full(len(share), n_trials))


def rescorla_wagner(scaled=False, low=0) -> SymbolicModel:
    """With ``scaled`` the size of rewards is a parameter, which makes it and beta one."""
    parameters = {"alpha": Parameter(0, 1), "beta": Parameter(0)} | ({"rho": Parameter(low)} if scaled else {})
    reward = "rho * reward" if scaled else "reward"
    return SymbolicModel(
        states={"q": State(0.0 if scaled else 0.5)},
        updates=[("q", "chosen", f"q + alpha * ({reward} - q)")],
        logits="beta * q",
        parameters=parameters,
    )


def simulated(theta, n_trials, seed) -> DatasetRNN:
    """Choices of people with logit(alpha) and log(beta) in a bandit that turns every 25 trials."""
    rng, n_people = np.random.default_rng(seed), len(theta)
    alpha, beta = 1 / (1 + np.exp(-theta[:, 0])), np.exp(theta[:, 1])
    q, people = np.full((n_people, 2), 0.5), np.arange(n_people)
    choices, rewards = np.zeros((n_people, n_trials + 1), int), np.zeros((n_people, n_trials + 1))
    for t in range(n_trials + 1):
        choices[:, t] = rng.random(n_people) < 1 / (1 + np.exp(-beta * (q[:, 1] - q[:, 0])))
        good = (t // 25) % 2
        rewards[:, t] = rng.random(n_people) < np.where(choices[:, t] == good, 0.75, 0.25)
        q[people, choices[:, t]] += alpha * (rewards[:, t] - q[people, choices[:, t]])
    onehot = np.eye(2)[choices]
    reward = np.where(onehot == 1, rewards[..., None], np.nan)
    number = np.repeat(people[:, None, None], n_trials, 1)
    return DatasetRNN(np.concatenate([onehot[:, :-1], reward[:, :-1], number], 2), onehot[:, 1:])


def people(n_people, seed, mean=(-0.5, 1.2), sd=(0.8, 0.5), correlation=0.3) -> np.ndarray:
    covariance = np.outer(sd, sd) * np.array([[1, correlation], [correlation, 1]])
    return np.random.default_rng(seed).multivariate_normal(mean, covariance, n_people)


def fitted_model(theta, n_trials, seed):
    """Likelihood and scale of Rescorla-Wagner for simulated people."""
    model = rescorla_wagner()
    return GeneratedLikelihood(model, simulated(theta, n_trials, seed), n_threads=1), Scale(model.parameters)


# ---------------------------------------------------------------- where Laplace's approximation is exact


def normal_people(n_people=40, seed=0, effect=0.0):
    """Two parameters, estimates with errors that differ between people; a regressor on the means."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_people)
    truth = people(n_people, seed + 1) + effect * x[:, None] * [1.0, -0.5]
    errors = rng.normal(size=(n_people, 2, 2)) * 0.3
    covariance = errors @ errors.swapaxes(1, 2) + 0.1 * np.eye(2)
    y = truth + np.einsum("pij,pj->pi", np.linalg.cholesky(covariance), rng.normal(size=(n_people, 2)))
    return y, covariance, x


def log_prior(spread, wide) -> float:
    """Of a covariance of people."""
    return (np.linalg.slogdet(spread)[1] - 2 * np.linalg.slogdet(spread + wide)[1]) / 2


def mixed_model(y, covariance, matrix, diagonal=False):
    """The best y_i ~ N(x_i B, S + C_i) by a general optimiser: B, S, the log-likelihood and S's log prior."""
    n_columns = matrix.shape[1]

    def parts(v):
        root = np.array([[np.exp(v[0]), 0.0], [0.0 if diagonal else v[2], np.exp(v[1])]])
        return v[3:].reshape(n_columns, 2), root @ root.T

    def cost(v):
        coefficients, spread = parts(v)
        return -log_prior(spread, 9 * np.eye(2)) - sum(
            multivariate_normal.logpdf(a, m, spread + c)
            for a, m, c in zip(y, matrix @ coefficients, covariance, strict=True)
        )

    start = np.concatenate([[-0.2, -0.7, 0.0], np.linalg.lstsq(matrix, y, rcond=None)[0].ravel()])
    best = minimize(cost, start, method="BFGS", options={"gtol": 1e-6})
    coefficients, spread = parts(best.x)
    prior = log_prior(spread, 9 * np.eye(2))  # parameters without bounds differ by 3
    return coefficients, spread, -best.fun - prior, prior


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("regressor", [False, True])
def test_equals_a_linear_mixed_model_where_likelihoods_are_normal(diagonal, regressor):
    y, covariance, x = normal_people(effect=0.6)
    table = pd.DataFrame({"x": x}) if regressor else None
    matrix = np.column_stack([np.ones(len(x)), x]) if regressor else np.ones((len(x), 1))
    fit = laplace_em(
        normal_likelihood(y, np.linalg.inv(covariance)),
        free("a", "b"),
        covariance="diagonal" if diagonal else "full",
        regressors=table,
        tolerance=1e-8,
    )
    coefficients, spread, value, prior = mixed_model(y, covariance, matrix, diagonal)
    # BFGS with differences of 1e-8 leaves the slope at 1e-6 .. 1e-5, so numbers with errors of .05 to .2 at 1e-5
    np.testing.assert_allclose(fit.coefficients, coefficients, atol=1e-4)
    np.testing.assert_allclose(fit.covariance, spread, atol=1e-4)
    constants = (np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] / 2).sum()  # of densities of y, not in nll
    assert fit.log_evidence.sum() - constants == pytest.approx(value, abs=1e-4)  # where only the sum has no slope
    best = fit.log_evidence.sum() - constants + log_prior(fit.covariance, 9 * np.eye(2))
    assert best == pytest.approx(value + prior, abs=1e-6) and best >= value + prior - 1e-9
    assert fit.converged.all() and set(fit.reason) == {"converged"} and fit.n_iterations < 30
    # everybody's posterior, by the rule for normal distributions
    precision = np.linalg.inv(covariance) + np.linalg.inv(fit.covariance)
    pull = np.einsum("pij,pj->pi", np.linalg.inv(covariance), y) + matrix @ fit.coefficients @ np.linalg.inv(
        fit.covariance
    )
    np.testing.assert_allclose(fit.conditional, np.linalg.inv(precision), rtol=1e-6)
    np.testing.assert_allclose(fit.theta, np.linalg.solve(precision, pull[..., None])[..., 0], atol=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
def test_standard_errors_are_those_of_the_expected_information(diagonal):
    y, covariance, x = normal_people()
    fit = laplace_em(
        normal_likelihood(y, np.linalg.inv(covariance)),
        free("a", "b"),
        covariance="diagonal" if diagonal else "full",
        regressors=pd.DataFrame({"x": x}),
    )
    matrix = np.column_stack([np.ones(len(x)), x])
    of_means = sum(
        np.kron(np.outer(r, r), np.linalg.inv(fit.covariance + c)) for r, c in zip(matrix, covariance, strict=True)
    )
    spread = np.linalg.inv(of_means)
    np.testing.assert_allclose(fit.population.coefficients_se.to_numpy().ravel(), np.sqrt(np.diag(spread)), rtol=1e-6)
    average = np.kron(matrix.mean(0), np.eye(2))
    np.testing.assert_allclose(fit.population.mean_se, np.sqrt(np.diag(average @ spread @ average.T)), rtol=1e-6)

    def marginal(v):  # standard deviations and correlation
        s = np.outer(v[:2], v[:2]) * np.array([[1, v[2]], [v[2], 1]])
        return s + covariance

    sd = np.sqrt(np.diag(fit.covariance))
    at = np.array([*sd, fit.covariance[0, 1] / sd.prod()])
    step = 1e-6
    slopes = [
        (marginal(at + step * e) - marginal(at - step * e)) / (2 * step) for e in np.eye(3)[: 2 if diagonal else 3]
    ]
    inverse = np.linalg.inv(marginal(at))
    information = [[np.einsum("pij,pjk,pkl,pli->", inverse, a, inverse, b) / 2 for b in slopes] for a in slopes]
    expected = np.sqrt(np.diag(np.linalg.inv(information)))[:2]
    np.testing.assert_allclose(fit.population.sd_se, expected, rtol=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
def test_not_knowing_the_population_widens_posteriors(diagonal):
    """By the slopes of posterior means by the population's numbers, here by differences, and these numbers' errors."""
    y, covariance, x = normal_people(25, effect=0.6)
    matrix, precision = np.column_stack([np.ones(25), 3 + x]), np.linalg.inv(covariance)
    fit = laplace_em(
        normal_likelihood(y, precision),
        free("a", "b"),
        covariance="diagonal" if diagonal else "full",
        regressors=pd.DataFrame({"x": 3 + x}),
    )
    entries = [(0, 0), (1, 1)] if diagonal else [(0, 0), (1, 0), (1, 1)]
    elements = np.zeros((len(entries), 2, 2))
    for k, (i, j) in enumerate(entries):
        elements[k, i, j] = elements[k, j, i] = 1.0

    def posterior_mean(v):
        spread = np.linalg.inv(np.einsum("k,kij->ij", v[4:], elements))
        pull = np.einsum("pij,pj->pi", precision, y) + matrix @ v[:4].reshape(2, 2) @ spread
        return np.linalg.solve(precision + spread, pull[..., None])[..., 0]

    at = np.concatenate([fit.coefficients.ravel(), [fit.covariance[i, j] for i, j in entries]])
    step = 1e-6 * np.eye(len(at))
    slopes = np.array([(posterior_mean(at + e) - posterior_mean(at - e)) / 2e-6 for e in step])
    inverse = np.linalg.inv(fit.covariance + covariance)
    of_means = sum(np.kron(np.outer(r, r), j) for r, j in zip(matrix, inverse, strict=True))
    of_spread = [[np.einsum("pij,jk,pkl,li->", inverse, a, inverse, b) / 2 for b in elements] for a in elements]
    errors = block_diag(np.linalg.inv(of_means), np.linalg.inv(of_spread))
    added = np.einsum("kpi,kl,lpj->pij", slopes, errors, slopes)
    np.testing.assert_allclose(fit.covariances - fit.conditional, added, atol=1e-5 * np.abs(added).max())
    assert (np.einsum("pkk->pk", added) > 0.01 * np.einsum("pkk->pk", fit.conditional)).any()


def test_intervals_of_few_people_cover_better_with_it():
    """A hundred times twelve people, errors nearly as large as people differ: 83 % are covered without it."""
    inside = np.empty((100, 2))
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(12, 1))
        y = truth + 0.7 * rng.normal(size=(12, 1))
        fit = laplace_em(normal_likelihood(y, np.full((12, 1, 1), 1 / 0.49)), free("a"), tolerance=1e-3)
        away = np.abs(truth - fit.theta)[:, 0] / 1.96
        inside[seed] = [(away < np.sqrt(part[:, 0, 0])).mean() for part in (fit.conditional, fit.covariances)]
    gain = inside[:, 1] - inside[:, 0]
    assert gain.mean() > 4 * gain.std() / 10  # standard errors
    without, covered = inside.mean(0)
    assert abs(covered - 0.95) < abs(without - 0.95) / 2


def test_units_do_not_matter():
    y, covariance, _ = normal_people()
    units = np.array([1000.0, 0.01])
    one = laplace_em(normal_likelihood(y, np.linalg.inv(covariance)), free("a", "b"), start=(np.zeros(2), np.ones(2)))
    other = laplace_em(
        normal_likelihood(y * units, np.linalg.inv(covariance * np.outer(units, units))),
        free("a", "b"),
        start=(np.zeros(2), units),
    )
    # but for the spread's prior: that pulls as two people in forty do, and of a variance people tell the less, the
    # larger their own errors are
    own = np.einsum("pkk->pk", covariance)
    variance = one.population.sd.to_numpy() ** 2
    most = 2 / 40 * ((variance + own.mean(0)) / variance) ** 2
    changed = other.population.sd.to_numpy() ** 2 / (variance * units**2) - 1
    assert (np.abs(changed) < most / (1 - most)).all()
    # people as far away as three of their errors go along by a half of that
    assert (np.abs(other.theta / units - one.theta) < 3 * np.sqrt(own) * most / 2).all()
    assert abs(other.n_iterations - one.n_iterations) <= 3


def test_regressors_far_from_0_are_no_trouble():
    y, covariance, x = normal_people(effect=0.6)
    likelihood = normal_likelihood(y, np.linalg.inv(covariance))
    near = laplace_em(likelihood, free("a", "b"), regressors=pd.DataFrame({"x": x})).population
    far = laplace_em(likelihood, free("a", "b"), regressors=pd.DataFrame({"x": 1e-3 * x + 1e6})).population
    # the regressor itself is rounded to 1e-10, of a standard deviation of 1e-3
    np.testing.assert_allclose(far.coefficients.loc["x"], near.coefficients.loc["x"] * 1e3, rtol=1e-5)
    np.testing.assert_allclose(far.coefficients_se.loc["x"], near.coefficients_se.loc["x"] * 1e3, rtol=1e-5)
    np.testing.assert_allclose(far.mean, near.mean, atol=1e-5)
    np.testing.assert_allclose(far.mean_se, near.mean_se, rtol=1e-5)


# ---------------------------------------------------------------- where it is approximate


def shares(n_people=60, mean=0.7, sd=0.9):
    """Shares of people at the quantiles of a normal population: no noise but that of the approximation."""
    return 1 / (1 + np.exp(-(mean + sd * ndtri((np.arange(n_people) + 0.5) / n_people))))


def marginal_likelihood(share, n_trials):
    """Function of (mean, log sd): the exact negative log evidence, by quadrature on a grid."""
    grid = np.linspace(-9, 10, 4001)
    nll = n_trials * np.logaddexp(0, grid) - (share * n_trials)[:, None] * grid

    def cost(v):
        return -logsumexp(norm.logpdf(grid, v[0], np.exp(v[1])) - nll + np.log(grid[1] - grid[0]), axis=1).sum()

    return cost


def laplace_likelihood(share, n_trials):
    """The same by Laplace's approximation, person by person."""

    def cost(v):
        mean, variance, total = v[0], np.exp(2 * v[1]), 0.0
        for k in share * n_trials:
            mode = brentq(lambda t, k=k: n_trials / (1 + np.exp(-t)) - k + (t - mean) / variance, -30, 30, xtol=1e-13)
            p = 1 / (1 + np.exp(-mode))
            nll = n_trials * np.logaddexp(0, mode) - k * mode
            total += nll + (mode - mean) ** 2 / (2 * variance) + np.log1p(n_trials * p * (1 - p) * variance) / 2
        return total

    return cost


def best_of(cost):
    """With the prior of the spread."""

    def all_of_it(v):
        return cost(v) - log_prior(np.diag(np.exp(2 * v[1:])), np.diag([9.0]))

    return minimize(all_of_it, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x


def test_ends_at_the_maximum_of_the_laplace_approximated_likelihood():
    share = shares()
    fit = laplace_em(binomial_likelihood(share, 15), free("theta"), tolerance=1e-7)
    expected = best_of(laplace_likelihood(share, 15))
    # differences over 1e-3 posterior sds leave the correction with a relative error of that size; it is itself .05
    np.testing.assert_allclose([fit.coefficients[0, 0], np.log(fit.covariance[0, 0]) / 2], expected, atol=2e-4)
    assert fit.log_evidence.sum() == pytest.approx(-laplace_likelihood(share, 15)(expected), abs=1e-5)


def test_bias_is_of_first_order_in_trials_and_of_second_with_the_correction_for_skewness():
    bias = {}
    for n_trials in (160, 640):
        share = shares()
        exact = best_of(marginal_likelihood(share, n_trials))
        for skewness in (True, False):
            fit = laplace_em(binomial_likelihood(share, n_trials), free("theta"), skewness=skewness, tolerance=1e-7)
            found = [fit.coefficients[0, 0], np.log(fit.covariance[0, 0]) / 2]
            bias[n_trials, skewness] = np.abs(found - exact)
    # four times the trials: a quarter, and a sixteenth, up to higher orders; an eighth lies halfway
    first, second = (bias[640, skewness] / bias[160, skewness] for skewness in (False, True))
    assert ((first > 1 / 8) & (first < 1 / 2)).all() and (second < 1 / 8).all()
    assert (bias[160, True] < 5e-4).all()


def test_integrated_evidence_is_exact_to_first_order_in_trials():
    share, n_trials = shares(), 80
    fit = laplace_em(binomial_likelihood(share, n_trials), free("theta"))
    exact = -marginal_likelihood(share, n_trials)([fit.coefficients[0, 0], np.log(fit.covariance[0, 0]) / 2])
    # the next term of the expansion of an integral around its mode (Tierney & Kadane 1986)
    p = 1 / (1 + np.exp(-fit.theta[:, 0]))
    two = n_trials * p * (1 - p) + 1 / fit.covariance[0, 0]
    three, four = n_trials * p * (1 - p) * (1 - 2 * p), n_trials * p * (1 - p) * (1 - 6 * p * (1 - p))
    term = (-four / (8 * two**2) + 5 * three**2 / (24 * two**3)).sum()
    assert abs(fit.log_evidence.sum() + term - exact) < 0.2 * abs(term)  # the terms after it: of order 1 / (n p q)
    assert abs(term) / len(share) < 0.01
    assert fit.ibic == pytest.approx(-2 * fit.log_evidence.sum() + 2 * np.log(60 * 80))
    assert "approximate" in fit.summary() and "iBIC" in fit.summary()


# ---------------------------------------------------------------- recovery


@pytest.fixture(scope="module")
def recovered():
    theta = people(400, 1)
    likelihood, scale = fitted_model(theta, 150, 2)
    return SimpleNamespace(theta=theta, likelihood=likelihood, scale=scale, fit=fit_em(likelihood, scale))


def test_recovers_the_population(recovered):
    population = recovered.fit.population
    # four standard errors: one in 16,000 by chance, for each of five numbers
    assert (np.abs(population.mean - [-0.5, 1.2]) < 4 * population.mean_se).all()
    assert (np.abs(population.sd - [0.8, 0.5]) < 4 * population.sd_se).all()
    assert (
        abs(population.correlation.loc["alpha", "beta"] - 0.3) < 4 / np.sqrt(400) * 1.5
    )  # half again for their errors
    assert (population.mean_se < 0.1).all() and (population.sd_se < 0.1).all()
    natural = recovered.scale.natural(recovered.fit.coefficients)[0]
    np.testing.assert_allclose(population.typical, natural)


def test_estimates_are_nearer_the_truth_than_maximum_likelihood(recovered):
    scale, truth = recovered.scale, recovered.scale.natural(recovered.theta)[:100]
    bounds = [(1e-4, 1 - 1e-4), (1e-3, 50.0)]
    single = np.empty((100, 2))
    for person in range(100):
        group = np.array([person])

        def cost(x, group=group):
            exact = recovered.likelihood(x[None], group)
            return exact.nll[0], exact.gradient[0]

        tries = [minimize(cost, [a, 3.0], jac=True, bounds=bounds, method="L-BFGS-B") for a in (0.2, 0.7)]
        single[person] = min(tries, key=lambda found: found.fun).x
    pooled = scale.natural(recovered.fit.theta)[:100]
    rmse = np.sqrt(((np.array([single, pooled]) - truth) ** 2).mean(1))
    assert (rmse[1] < rmse[0]).all()


def test_intervals_cover_the_truth(recovered):
    sd = np.sqrt(np.einsum("pkk->pk", recovered.fit.covariances))
    inside = (np.abs(recovered.theta - recovered.fit.theta) < 1.96 * sd).mean()
    # of 800: standard error .0077; what remains of normal approximations is within 1 %
    assert 0.95 - 0.01 - 3 * 0.0077 < inside < 0.95 + 0.01 + 3 * 0.0077


def test_groups_and_regressors_are_recovered():
    rng = np.random.default_rng(4)
    group, age = rng.permuted(np.repeat(["control", "patient"], 150)), rng.normal(size=300)
    effects = np.array([[0.8, -0.4], [0.0, 0.3]])
    theta = people(300, 5) + (group == "patient")[:, None] * effects[0] + age[:, None] * effects[1]
    likelihood, scale = fitted_model(theta, 150, 6)
    labels = [f"p{k}" for k in range(300)]
    table = pd.DataFrame({"group": group, "age": age}, index=labels).sample(frac=1.0, random_state=0)
    fit = fit_em(likelihood, scale, regressors=table, labels=labels)
    found, se = fit.population.coefficients, fit.population.coefficients_se
    assert list(found.index) == ["intercept", "group[patient]", "age"]
    assert (np.abs(found.to_numpy() - [[-0.5, 1.2], *effects]) < 4 * se.to_numpy()).all()
    assert (se.to_numpy() < 0.2).all()
    assert "effect of group[patient]" in fit.summary()
    np.testing.assert_allclose(fit.population.mean, fit.design.matrix.mean(0) @ found.to_numpy())


# ---------------------------------------------------------------- traps


def test_hessian_is_projected_before_the_priors_precision_is_added():
    """Of someone whose likelihood bends down almost as much as the prior bends up, the posterior is the prior."""
    root = np.array([[2.0, 0.0], [0.3, 0.5]])
    prior = np.linalg.inv(root @ root.T)
    hessian = -0.999 * prior
    points = Points(np.zeros(1, int), np.zeros((1, 2)), np.ones(1), np.zeros((1, 2)), hessian[None])
    found = Laplace.of(points, np.zeros((1, 2)), root)
    assert np.linalg.inv(hessian + prior)[0, 0] == pytest.approx(1000 * 4.0)  # what it would be
    np.testing.assert_allclose(found.covariances()[0], root @ root.T)
    np.testing.assert_allclose(found.log_evidence(), -1.0)
    # one direction alone
    points.hessian[0] = 5 * np.ones((2, 2)) - 0.5 * prior
    values = eigh(Laplace.of(points, np.zeros((1, 2)), root).covariances()[0], root @ root.T, eigvals_only=True)
    assert 0 < values[0] < 0.5 and values[1] == pytest.approx(1.0)


def test_flat_people_do_not_blow_up_the_population():
    """Likelihoods that are flat but for a bump, under which they bend down, tell nothing and do no harm."""
    y, covariance, _ = normal_people(60)
    precision = np.linalg.inv(covariance)

    def function(values, group):
        known = group < 60
        place = np.where(known, group, 0)
        rest = values - y[place]
        slope = np.einsum("rij,rj->ri", precision[place], rest)
        bump = 0.2 * np.exp(-(values**2).sum(1) / 2)
        bump_hessian = bump[:, None, None] * (values[:, :, None] * values[:, None, :] - np.eye(2))
        nll = np.where(known, (rest * slope).sum(1) / 2, bump)
        gradient = np.where(known[:, None], slope, -bump[:, None] * values)
        return nll, gradient, np.where(known[:, None, None], precision[place], bump_hessian)

    with_flat = laplace_em(Fake(function, 80), free("a", "b"))
    without = laplace_em(normal_likelihood(y, precision), free("a", "b"))
    assert with_flat.converged.all()
    # 20 bumps of 0.2 nats move a mean by less than their share of its error
    assert (np.abs(with_flat.population.mean - without.population.mean) < 0.5 * without.population.mean_se).all()
    assert (np.abs(with_flat.population.sd - without.population.sd) < 0.5 * without.population.sd_se).all()
    excess = np.linalg.eigvalsh(with_flat.covariance - with_flat.conditional[60:])
    assert (excess > -1e-9).all()  # no posterior wider than the population


def test_people_without_data_have_the_population_as_their_posterior():
    y, covariance, x = normal_people(effect=0.5)
    precision = np.linalg.inv(covariance)
    table = pd.DataFrame({"x": x})
    full = laplace_em(normal_likelihood(y[:30], precision[:30]), free("a", "b"), regressors=table[:30])
    precision[30:] = 0.0
    empty = normal_likelihood(y, precision)
    empty._scored[30:] = 0
    fit = laplace_em(empty, free("a", "b"), regressors=table)
    np.testing.assert_array_equal(fit.theta[:30], full.theta)
    np.testing.assert_allclose(fit.theta[30:], np.column_stack([np.ones(10), x[30:]]) @ fit.coefficients)
    np.testing.assert_array_equal(fit.conditional[30:], np.tile(fit.covariance, (10, 1, 1)))
    assert (fit.log_evidence[30:] == 0).all() and set(fit.reason[30:]) == {"no scored choices"} and fit.converged.all()
    np.testing.assert_array_equal(fit.population.sd_se, full.population.sd_se)


def test_reward_scale_and_inverse_temperature_are_one_parameter():
    data, model = simulated(people(30, 7), 60, 8), rescorla_wagner(scaled=True)
    with pytest.warns(IdentificationWarning, match="cannot tell beta and rho apart"):
        fit = fit_em(GeneratedLikelihood(model, data, n_threads=1), Scale(model.parameters))
    assert fit.converged.all()
    se = fit.population.mean_se
    assert np.isfinite(se["alpha"]) and se[["beta", "rho"]].isna().all()


def test_the_same_where_the_direction_differs_between_people():
    """With the reward's scale itself, not its logarithm, Laplace's EM finds no rest: it says so, and why.

    Draws find where the spread's prior holds the population; that the choices do not tell is said all the same.
    """
    data, model = simulated(people(30, 7), 60, 8), rescorla_wagner(scaled=True, low=-10)
    arguments = GeneratedLikelihood(model, data, n_threads=1), Scale(model.parameters)
    with pytest.warns() as caught:
        fit = laplace_em(*arguments, max_iterations=20)
    assert {entry.category for entry in caught} == {ConvergenceWarning, IdentificationWarning}
    assert "cannot tell beta and rho apart" in str(caught[1].message) and not fit.converged.any()
    with pytest.warns(IdentificationWarning, match="cannot tell beta and rho apart"):
        fit_em(*arguments, max_iterations=20)


def test_people_with_several_modes_are_told_so_in_full(monkeypatch):
    posterior = EM.posterior

    def restless(em, *arguments):
        found = posterior(em, *arguments)
        em.unsure[0] = em.restless[0] = True
        return found

    monkeypatch.setattr(EM, "posterior", restless)
    y, covariance, _ = normal_people()
    with pytest.warns(ConvergenceWarning, match="best mode may not have been found for participants 0: see"):
        fit = laplace_em(normal_likelihood(y, np.linalg.inv(covariance)), free("a", "b"))
    assert fit.reason[0] == "several modes: the best may not have been found" and set(fit.reason[1:]) == {"converged"}


def test_a_parameter_without_effect_is_named():
    y, covariance, _ = normal_people()
    precision = np.linalg.inv(covariance)
    precision[:, 1] = precision[:, :, 1] = 0.0
    with pytest.warns(IdentificationWarning, match="do not depend on idle"):
        laplace_em(normal_likelihood(y, precision), free("a", "idle"))


def test_a_population_at_a_bound_is_named():
    """A lapse that nobody has, and so many choices that they say so."""
    model = with_lapse(rescorla_wagner())
    data = rescorla_wagner().simulate(BanditsFixed([0.4, 0.6]), 300, {"alpha": [0.3] * 20, "beta": 4.0}, seed=0)
    with pytest.warns(IdentificationWarning, match="mean of lapse ran to"):
        found = fit(model, data, "em", n_threads=1)
    assert found.converged.all() and np.isfinite(found.parameters.to_numpy(float)).all()
    assert found.intervals[("lapse", "high")].max() < 0.2
    assert set(found.reason) == {"the population's mean of lapse is at a bound"}


@pytest.mark.filterwarnings("ignore:the population's mean", "ignore:EM did not converge")
def test_a_population_that_runs_to_infinity_has_not_converged():
    """Rewards that add up and are not forgotten: the choices tell alpha * beta alone."""
    found = []
    for seed in range(3):
        data = rescorla_wagner().simulate(BanditsFixed([0.5, 0.5]), 100, {"alpha": [1e-6] * 8, "beta": 2e5}, seed=seed)
        result = fit(rescorla_wagner(), data, "em", n_threads=1)
        assert result.population.mean["alpha"] < -5 and result.reason.str.contains("mean of alpha is at a bound").all()
        assert (result.converged == ~result.reason.str.contains("infinity|did not converge")).all()
        found.append("mean of beta runs to infinity" in result.reason.iloc[0])
    assert any(found)


def test_a_population_far_away_is_not_at_a_bound():
    """With rewards of thousands an inverse temperature is a thousandth, which the choices tell well."""
    model = rescorla_wagner().replace(states={"q": State(5e3)})
    scaled = model.replace(updates=[("q", "chosen", "q + alpha * (1e4 * reward - q)")])
    values = {"alpha": [0.3] * 20, "beta": 4e-4}
    data = scaled.simulate(BanditsFixed([0.4, 0.6]), 200, values, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentificationWarning)
        found = fit(scaled, data, "em", n_threads=1)
    assert found.population.mean_se["beta"] < 0.2
    assert re.search(r"beta +-7\.\d+ .* [34]\.\d\de-04\n", found.summary())


def test_people_who_do_not_differ_have_little_spread():
    n_people, n_trials = 50, 40
    share, error = np.full(n_people, 0.6), 1 / np.sqrt(n_trials * 0.24)
    fit = laplace_em(binomial_likelihood(share, n_trials), free("theta"))
    expected = best_of(laplace_likelihood(share, n_trials))
    assert fit.converged.all() and fit.population.sd["theta"] == pytest.approx(np.exp(expected[1]), rel=1e-3)
    assert fit.population.sd["theta"] < error / 2  # by the prior of spreads alone: that of n^(-1/4) of an error
    assert fit.coefficients[0, 0] == pytest.approx(np.log(0.6 / 0.4), abs=error / 20)
    wide = np.sqrt((error**2 + fit.population.sd["theta"] ** 2) / n_people)
    assert fit.population.mean_se["theta"] == pytest.approx(wide, rel=0.01)


def test_better_modes_are_found_from_other_starts():
    """Of twelve people the likelihood has a shallow valley at the start and a deep one at 3."""
    y = np.concatenate([np.zeros(12), 1.5 + 1.5 * ndtri((np.arange(40) + 0.5) / 40)])

    def function(values, group):
        x = values[:, 0]
        parts = -4 * np.array([(x - y[group]) ** 2, (x - 3) ** 2]) + np.log([[0.02], [1.0]])
        parts[1, group >= 12] = -np.inf  # the others know where they are
        weights = np.exp(parts - np.logaddexp(*parts))
        slope = 8 * np.array([x - y[group], x - 3])
        gradient = (weights * slope).sum(0)
        curve = 8 + gradient**2 - (weights * slope**2).sum(0)
        return -np.logaddexp(*parts), gradient[:, None], curve[:, None, None]

    likelihood, start = Fake(function, 52), (np.zeros(1), np.full(1, 1.5))
    alone = laplace_em(likelihood, free("x"), start=start, n_starts=1)
    fit = laplace_em(likelihood, free("x"), start=start, n_starts=8)
    assert (alone.theta[:12] < 0.5).all()
    np.testing.assert_allclose(fit.theta[:12, 0], 3.0, atol=0.3)  # drawn towards 1.5 by a spread of 1.5: by a tenth
    assert (fit.starts[:12] < 1).all() and (fit.starts > 0).all() and (fit.starts[12:] == 1).all()
    assert fit.log_evidence.sum() > alone.log_evidence.sum() + 12


def test_says_when_iterations_did_not_suffice():
    y, covariance, _ = normal_people()
    with pytest.warns(ConvergenceWarning, match="last of 2 iterations"):
        fit = laplace_em(normal_likelihood(y, np.linalg.inv(covariance)), free("a", "b"), max_iterations=2)
    assert (
        not fit.converged.any() and set(fit.reason) == {"EM did not converge"} and "did not converge" in fit.summary()
    )


@pytest.mark.parametrize(
    ("n_people", "n_columns", "message"),
    [
        (1, 0, "3 people with scored choices for 2 parameters and the intercept, but there is 1: "),
        (2, 1, "4 people with scored choices for 2 parameters, 1 column of regressors and the intercept, but there"),
        (4, 2, "5 people with scored choices for 2 parameters, 2 columns of regressors and the intercept, but there"),
    ],
)
def test_too_few_people(n_people, n_columns, message):
    y, covariance, _ = normal_people(n_people)
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(n_people, n_columns)), columns=["x", "z"][:n_columns])
    with pytest.raises(DataError, match=f"EM needs at least {message}"):
        laplace_em(normal_likelihood(y, np.linalg.inv(covariance)), free("a", "b"), regressors=table)


def test_wrong_use():
    y, covariance, _ = normal_people(2)
    likelihood = normal_likelihood(y, np.linalg.inv(covariance))
    with pytest.raises(
        DataError, match="at least 3 people .* there are 2: fit each person by method='map'; or covariance"
    ):
        laplace_em(likelihood, free("a", "b"))
    with pytest.raises(ConfigError, match="'full' or 'diagonal', not 'round'"):
        laplace_em(likelihood, free("a", "b"), covariance="round")

    def nowhere(values, group):
        n = len(values)
        return np.where(group == 3, np.inf, 0.0), np.zeros((n, 1)), np.zeros((n, 1, 1))

    with pytest.raises(DataError, match=r"not finite at the start \(a = 0\) or near it: participant anna"):
        laplace_em(Fake(nowhere, 5), free("a"), labels=["x", "y", "z", "anna", "w"])

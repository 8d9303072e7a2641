"""Posterior densities: gradients against differences, values against scipy's distributions."""

import numpy as np
import pytest
from scipy import stats

from spice.inference.fitting.bayes.density import AloneDensity, PeopleDensity, effect_sd
from spice.inference.fitting.bayes.whitening import find_population, find_sites, own_moments
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import GeneratedLikelihood

NATURAL = {"scale": "natural"}
SCALES = [(a, b) for a in ({}, NATURAL) for b in ({}, NATURAL)]
H = 1e-5
# a difference over 2 h of values of some hundred nats, each known to 1e-13 of itself, plus the third derivative's h^2
GRADIENT = {"rtol": 1e-6, "atol": 1e-6}


def differences(density, u):
    steps = np.eye(len(u)) * H
    return np.array([(density(u + step)[0] - density(u - step)[0]) / (2 * H) for step in steps])


def log_determinant(function, u):
    steps = np.eye(len(u)) * H
    return np.linalg.slogdet(np.array([(function(u + s) - function(u - s)) / (2 * H) for s in steps]))[1]


def people(cases, model, regressors=None, whitened=True):
    likelihood = GeneratedLikelihood(model, cases.several(), 1)
    scale = Scale(model.parameters)
    centred = np.zeros((6, 0)) if regressors is None else regressors - regressors.mean(0)
    sites, _ = find_population(
        likelihood, scale, [own_moments(model.parameters, scale)], centred, PopulationPrior(model.parameters)
    )
    return PeopleDensity(model.parameters, likelihood, regressors, sites, whitened), likelihood


REGRESSORS = np.random.default_rng(8).normal(40, 10, (6, 2))


@pytest.mark.parametrize("regressors", [None, REGRESSORS], ids=["", "regressors"])
@pytest.mark.parametrize("whitened", [True, False], ids=["whitened", "noncentred"])
@pytest.mark.parametrize(("alpha", "beta"), SCALES)
def test_the_gradient_of_a_hierarchy_is_that_of_differences(cases, alpha, beta, whitened, regressors):
    density, _ = people(cases, cases.rescorla_wagner(alpha, beta), regressors, whitened)
    rng = np.random.default_rng(0)
    for _ in range(3):
        u = density.start(rng)
        np.testing.assert_allclose(density(u)[1], differences(density, u), **GRADIENT)


@pytest.mark.parametrize("whitened", [True, False], ids=["whitened", "noncentred"])
@pytest.mark.parametrize(("alpha", "beta"), SCALES)
@pytest.mark.parametrize("regressors", [None, REGRESSORS], ids=["", "regressors"])
def test_a_hierarchy_is_the_product_of_scipys_densities(cases, alpha, beta, whitened, regressors):
    """The density of natural values times the determinant of what takes the vector to them."""
    model = cases.rescorla_wagner(
        alpha | {"mean_prior": "beta(2, 3)" if alpha else "normal(0, 1.2)", "sd_prior": "half_normal(0.3)"},
        beta | {"mean_prior": "gamma(2, 0.5)" if beta else "normal(1, 2)", "sd_prior": "exponential(1.5)"},
    )
    density, likelihood = people(cases, model, regressors, whitened)
    names = [f"{name}{end}" for end in ("_mean", "_sd") for name in ("alpha", "beta")]
    names += ["alpha_effect", "beta_effect"] * (regressors is not None) + ["alpha", "beta"]

    def flat(u):
        found = density.natural(u[None])
        return np.concatenate([found[name].ravel() for name in names])

    u = density.start(np.random.default_rng(1))
    x = {name: values[0] for name, values in density.natural(u[None]).items()}
    centred = None if regressors is None else regressors - regressors.mean(0)
    wanted = -likelihood(np.column_stack([x["alpha"], x["beta"]])).nll.sum()
    for name, mean_prior, sd_prior in [
        ("alpha", stats.beta(2, 3) if alpha else stats.norm(0, 1.2), stats.halfnorm(0, 0.3)),
        ("beta", stats.gamma(2, scale=2) if beta else stats.norm(1, 2), stats.expon(0, 1 / 1.5)),
    ]:
        mean, sd, values = x[f"{name}_mean"], x[f"{name}_sd"], x[name]
        wanted += mean_prior.logpdf(mean) + sd_prior.logpdf(sd)
        around = mean
        if centred is not None:
            effect = x[f"{name}_effect"]
            around = mean + centred @ effect
            spread = effect_sd(model.parameters[name]) / regressors.std(0)
            wanted += stats.norm(0, spread).logpdf(effect).sum()
        high = 1.0 if name == "alpha" else np.inf
        if model.parameters[name].scale == "natural":
            wanted += stats.truncnorm(-around / sd, (high - around) / sd, around, sd).logpdf(values).sum()
        else:
            theta = np.log(values) - (np.log1p(-values) if name == "alpha" else 0)
            jacobian = -np.log(values) - (np.log1p(-values) if name == "alpha" else 0)
            wanted += (stats.norm(around, sd).logpdf(theta) + jacobian).sum()
    # the determinant is that of differences: relative errors of 1e-10 or so in each of its 16 to 20 columns
    assert density(u)[0] == pytest.approx(wanted + log_determinant(flat, u), abs=1e-6)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["priors", "defaults"])
def test_single_people_and_all_as_one(cases, together, own):
    priors = ({"prior": "beta(2, 5)"}, {"prior": "half_normal(10)"}) if own else ({}, {})
    model, data = cases.rescorla_wagner(*priors), cases.several()
    likelihood, scale = GeneratedLikelihood(model, data, 1), Scale(model.parameters)
    sites = find_sites(likelihood, scale, *own_moments(model.parameters, scale), together=together)
    group = list(range(6)) if together else [2]
    place = 0 if together else 2
    root = np.linalg.cholesky(sites.covariance[place])
    density = AloneDensity(model.parameters, likelihood, group, sites.theta[place], root)
    u = np.array([0.7, -1.1])
    value, gradient = density(u)
    np.testing.assert_allclose(gradient, differences(density, u), **GRADIENT)
    theta = sites.theta[place] + root @ u
    alpha, beta = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
    assert [float(values[0]) for values in density.natural(u[None]).values()] == pytest.approx([alpha, beta])
    wanted = -likelihood(np.tile([[alpha, beta]], (len(group), 1)), np.array(group)).nll.sum()
    if own:
        wanted += stats.beta(2, 5).logpdf(alpha) + np.log(alpha * (1 - alpha))
        wanted += stats.halfnorm(0, 10).logpdf(beta) + np.log(beta)
    else:
        wanted += stats.norm(0, 1.5).logpdf(theta[0]) + stats.norm(np.log(2), 1.25).logpdf(theta[1])
    assert value == pytest.approx(wanted, rel=1e-12)


def test_sites_are_posterior_modes(cases):
    """With a normal prior the slopes of likelihood and prior cancel, and the covariance is the inverse curvature."""
    model = cases.rescorla_wagner()
    likelihood, scale = GeneratedLikelihood(model, cases.several(), 1), Scale(model.parameters)
    mean, sd = own_moments(model.parameters, scale)
    sites = find_sites(likelihood, scale, mean, sd)
    np.testing.assert_allclose(sites.pull, (sites.theta - mean) / sd**2, atol=0.02)  # a step promises 1e-6 nats
    precision = sites.curvature + np.diag(1 / sd**2)
    np.testing.assert_allclose(sites.covariance @ precision, np.broadcast_to(np.eye(2), precision.shape), atol=1e-8)


@pytest.mark.parametrize("together", [True, False])
def test_curvature_of_sites_is_that_of_the_likelihood(cases, together):
    """By differences over 1e-4: their square times derivatives of fourth order, and rounding errors of 1e-15 / 1e-4."""
    model = cases.rescorla_wagner()
    likelihood, scale = GeneratedLikelihood(model, cases.several(), 1), Scale(model.parameters)
    sites = find_sites(likelihood, scale, *own_moments(model.parameters, scale), together=together)
    theta = np.repeat(sites.theta, 6, axis=0) if together else sites.theta
    exact = scale.chain(likelihood(scale.natural(theta), np.arange(6)), theta).hessian
    values, vectors = np.linalg.eigh(exact.sum(0, keepdims=True) if together else exact)
    wanted = (vectors * np.maximum(values, 0)[:, None]) @ vectors.swapaxes(1, 2)
    np.testing.assert_allclose(sites.curvature, wanted, atol=1e-6 * np.abs(wanted).max())


def test_whitened_people_are_standard_normal_where_all_is_normal(cases):
    """Given the population, z of normal likelihoods on an unbounded scale is standard normal: slopes are -z."""
    from spice.equations import Parameter

    parameters = {"a": Parameter(), "b": Parameter()}
    likelihood = cases.Bowls(["a", "b"], [[1.0, -2.0], [3.0, 0.5], [0.0, 0.0]], [0.4, 2.0])
    scale = Scale(parameters)
    sites, _ = find_population(
        likelihood, scale, [(np.zeros(2), np.ones(2))], np.zeros((3, 0)), PopulationPrior(parameters)
    )
    density = PeopleDensity(parameters, likelihood, sites=sites)
    for seed in range(3):
        u = density.start(np.random.default_rng(seed))
        np.testing.assert_allclose(density(u)[1][4:], -u[4:], rtol=1e-9, atol=1e-9)


def test_copies_share_nothing_that_changes(cases):
    density, _ = people(cases, cases.rescorla_wagner(NATURAL, NATURAL))
    other, rng = density.copy(), np.random.default_rng(5)
    u, v = density.start(rng), density.start(rng)
    before = density(u)
    other(v)
    after = density(u)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def test_where_the_likelihood_is_no_number_the_density_is_nothing(cases):
    density, _ = people(cases, cases.rescorla_wagner())
    u = density.start(np.random.default_rng(0))
    u[3] = 800.0  # the logarithm of a standard deviation
    assert density(u)[0] == -np.inf
    np.testing.assert_array_equal(density(u)[1], 0.0)


def test_example_two_has_the_published_likelihood(cases):
    likelihood = GeneratedLikelihood(cases.rescorla_wagner(), cases.example_two(), 1)
    assert likelihood(np.array([[0.5, 5.0]])).nll[0] == pytest.approx(47.418936097207016, rel=1e-12)

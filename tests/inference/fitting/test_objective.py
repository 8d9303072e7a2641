"""Analytic gradients and MAP: against a recursion in plain NumPy, finite differences, and for SciPy's optimisers."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import multivariate_normal

from spice.errors import ConfigError, DataError
from spice.inference import objective

MU, SIGMA = np.array([-0.5, 1.2]), np.array([[0.8, 0.3], [0.3, 0.5]])
POINTS = [np.array([logit(0.5), np.log(5.0)]), np.array([-2.0, 0.3]), np.array([1.7, 2.5]), np.array([-0.3, -1.0])]


def by_theta(tools, theta, people):
    """Value and gradient of the closed form, by the chain rule."""
    alpha, beta = expit(theta[0]), np.exp(theta[1])
    found = [tools.recursion(alpha, beta, *person) for person in people]
    slope = np.array([alpha * (1 - alpha), beta])
    return sum(value for value, _ in found), sum(gradient for _, gradient in found) * slope


@pytest.mark.parametrize("theta", POINTS)
def test_value_and_gradient_of_one_participant(tools, people, theta):
    data = tools.dataset_of(people)
    for person in (0, 7):
        value, gradient = objective(tools.rescorla_wagner(), data, participant=person)(theta)
        expected, slope = by_theta(tools, theta, [people[person]])
        assert isinstance(value, float) and value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior", [None, (MU, SIGMA)])
@pytest.mark.parametrize("theta", POINTS)
def test_everybody_shares_one_theta(tools, people, theta, prior):
    found = objective(tools.rescorla_wagner(), tools.dataset_of(people), prior=prior)
    value, gradient = found(theta)
    expected, slope = by_theta(tools, theta, people)
    if prior is not None:  # once, however many people there are
        expected -= multivariate_normal(MU, SIGMA).logpdf(theta)
        slope = slope + np.linalg.solve(SIGMA, theta - MU)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("theta", POINTS)
def test_the_prior_term(tools, bandit, theta):
    data = tools.dataset_of([bandit])
    plain = objective(tools.rescorla_wagner(), data, participant=0)
    with_prior = objective(tools.rescorla_wagner(), data, participant=0, prior=(MU, SIGMA))
    (value, gradient), (more, steeper) = plain(theta), with_prior(theta)
    assert more - value == pytest.approx(-multivariate_normal(MU, SIGMA).logpdf(theta), rel=1e-10)
    np.testing.assert_allclose(steeper - gradient, np.linalg.inv(SIGMA) @ (theta - MU), rtol=1e-9, atol=1e-9)
    change = with_prior.hessian(theta) - plain.hessian(theta)
    np.testing.assert_allclose(change, np.linalg.inv(SIGMA), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("theta", POINTS)
def test_derivatives_against_finite_differences(tools, bandit, theta):
    found = objective(tools.rescorla_wagner(), tools.dataset_of([bandit]), participant=0, prior=(MU, SIGMA))
    step = 1e-5  # rounding 1e-14 of the value / step, and step**2 of the third derivative: below 1e-6 of what is large
    ends = [(found(theta + u), found(theta - u)) for u in np.eye(2) * step]
    slope = [(ahead[0] - back[0]) / (2 * step) for ahead, back in ends]
    curve = [(ahead[1] - back[1]) / (2 * step) for ahead, back in ends]
    _, gradient = found(theta)
    hessian = found.hessian(theta)
    np.testing.assert_allclose(slope, gradient, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())
    np.testing.assert_allclose(curve, hessian, rtol=1e-6, atol=1e-6 * np.abs(hessian).max())


def test_scipy_with_the_gradient_and_without(tools, bandit):
    """The same minimum; a gradient saves an evaluation per parameter and step."""
    found = objective(tools.rescorla_wagner(), tools.dataset_of([bandit]), participant=0, prior=(MU, SIGMA))
    exact = minimize(found, found.start, jac=True, method="BFGS")
    blind = minimize(lambda theta: found(theta)[0], found.start, method="BFGS")
    newton = minimize(found, found.start, jac=True, hess=found.hessian, method="trust-exact")
    assert exact.success and newton.success and exact.nfev < blind.nfev / 2
    np.testing.assert_allclose(exact.x, newton.x, atol=1e-4)
    np.testing.assert_allclose(blind.x, newton.x, atol=1e-4)
    assert found.names == ("alpha", "beta") and newton.nit < exact.nit


def test_the_published_value(tools, bandit):
    found = objective(tools.rescorla_wagner(), tools.dataset_of([bandit]))
    value, _ = found(found.unconstrained({"beta": 5.0, "alpha": 0.5}))
    assert value == pytest.approx(47.418936097207016, rel=1e-12)


def test_both_scales(tools, bandit):
    found = objective(tools.rescorla_wagner(), tools.dataset_of([bandit]))
    assert found.natural([0.0, np.log(5.0)]) == pytest.approx({"alpha": 0.5, "beta": 5.0})
    np.testing.assert_allclose(found.unconstrained([0.5, 5.0]), [0.0, np.log(5.0)])
    assert found.natural(found.start) == pytest.approx({"alpha": 0.5, "beta": 2.0})
    with pytest.raises(ConfigError, match=r"alpha = 1.5 lies outside the parameter's bounds"):
        found.unconstrained([1.5, 2.0])
    with pytest.raises(ConfigError, match="values are needed of alpha, beta, not of alpha"):
        found.unconstrained({"alpha": 1.0})
    with pytest.raises(DataError, match=r"theta needs 2 numbers, for alpha, beta; its shape is \(3,\)"):
        found(np.zeros(3))


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (MU, "prior must be (mu, Sigma)"),
        ((MU, np.eye(3)), "Sigma must be a matrix of 2 x 2; its shape is (3, 3)"),
        ((np.zeros(3), np.eye(2)), "mu needs 2 numbers, for alpha, beta; its shape is (3,)"),
        ((MU, [[1, 2], [2, 1]]), "Sigma must be positive definite; its least eigenvalue is -1"),
        ((MU, [[1, 0.5], [0.4, 1]]), "Sigma must be symmetric"),
        ((MU, [[np.nan, 0], [0, 1]]), "Sigma must be symmetric and finite"),
        (([np.inf, 0], np.eye(2)), "mu must be finite"),
    ],
)
def test_priors_that_are_none(tools, bandit, prior, message):
    with pytest.raises(ConfigError) as caught:
        objective(tools.rescorla_wagner(), tools.dataset_of([bandit]), prior=prior)
    assert message in str(caught.value)


def test_all_that_is_wrong_with_a_prior(tools, bandit):
    with pytest.raises(ConfigError, match=r"(?s)cannot be used:\n.*mu needs 2.*Sigma must be a matrix"):
        objective(tools.rescorla_wagner(), tools.dataset_of([bandit]), prior=(np.zeros(3), np.eye(3)))


def test_participants_by_label(tools, people):
    data = tools.dataset_of(people[:3], ["anna", "ben", "cleo"])
    one = objective(tools.rescorla_wagner(), data, participant="cleo")(POINTS[0])[0]
    assert one == pytest.approx(tools.recursion(0.5, 5.0, *people[2])[0], rel=1e-12)
    with pytest.raises(ConfigError, match="there is no participant 'dora'"):
        objective(tools.rescorla_wagner(), data, participant="dora")
    with pytest.raises(ConfigError, match="the data have no trials of participant 'anna'; they have those of 'ben'"):
        objective(tools.rescorla_wagner(), data[1:], participant="anna")
    with pytest.raises(DataError, match="objective needs a DatasetRNN"):
        objective(tools.rescorla_wagner(), data.xs)

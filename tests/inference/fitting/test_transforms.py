"""The two scales: round trips, tails, derivatives against finite differences, and the default priors on them."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from spice.equations import Parameter
from spice.equations.priors import read_prior
from spice.inference.fitting import defaults
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact

PARAMETERS = {
    "free": Parameter(),
    "above": Parameter(low=0.5),
    "below": Parameter(high=2.0),
    "rate": Parameter(low=0, high=1),
    "wide": Parameter(low=-10, high=30.0),
    "given": Parameter(low=-np.inf, high=np.inf),
}
SCALE = Scale(PARAMETERS)


def test_what_the_scales_are():
    theta = np.array([1.5, -0.7, 0.3, 0.8, -2.0, 4.0])
    expected = [1.5, 0.5 + np.exp(-0.7), 2 - np.exp(-0.3), expit(0.8), -10 + 40 * expit(-2.0), 4.0]
    np.testing.assert_allclose(SCALE.natural(theta), expected, rtol=1e-15)
    assert SCALE.names == tuple(PARAMETERS)
    assert SCALE.low.tolist() == [-np.inf, 0.5, -np.inf, 0, -10, -np.inf]


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (0,)])
def test_round_trips(shape):
    theta = np.random.default_rng(0).uniform(-5, 5, (*shape, 6))
    back = SCALE.unconstrained(SCALE.natural(theta))
    assert back.shape == theta.shape
    # x is rounded to 2.2e-16 of its bounds' size, at most 30, and dtheta/dx is at most e**5 / 40 or e**5
    np.testing.assert_allclose(back, theta, atol=150 * 4 * 2.2e-16)


def test_tails():
    theta = np.array([[-800.0] * 6, [-40.0] * 6, [40.0] * 6, [800.0] * 6])
    x, first, second = SCALE.derivatives(theta)
    rate = x[:, 3]
    assert rate[0] == 0 and rate[1] == pytest.approx(np.exp(-40.0), rel=1e-14) and rate[2] == 1 and rate[3] == 1
    assert x[0, 1] == 0.5 and x[3, 1] == np.inf and x[0, 2] == -np.inf and x[3, 2] == 2.0
    np.testing.assert_allclose(first[1:3, 3], np.exp(-40.0), rtol=1e-14)
    np.testing.assert_allclose(second[1:3, 3], [np.exp(-40.0), -np.exp(-40.0)], rtol=1e-14)
    value, slope, curve = SCALE.log_jacobian(theta)
    np.testing.assert_allclose(value[:, 3], [-800, -40, -40, -800], rtol=1e-15)
    np.testing.assert_allclose(slope[:, 3], [1, 1, -1, -1], rtol=1e-15)
    assert np.isfinite(value).all() and np.isfinite(slope).all() and np.isfinite(curve).all()


def test_at_and_beyond_bounds():
    with np.errstate(all="raise"):
        theta = SCALE.unconstrained([[0.0, 0.5, 2.0, 0.0, 30.0, 0.0], [0.0, 0.4, 2.1, 1.5, -11.0, 0.0]])
    assert theta[0].tolist() == [0, -np.inf, np.inf, -np.inf, np.inf, 0] and np.isnan(theta[1, 1:5]).all()


def test_derivatives():
    theta, step = np.random.default_rng(1).normal(0, 2, (20, 6)), 1e-5
    for function in (SCALE.derivatives, SCALE.log_jacobian):
        value, first, second = function(theta)
        ahead, back = function(theta + step), function(theta - step)
        np.testing.assert_allclose((ahead[0] - back[0]) / (2 * step), first, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose((ahead[1] - back[1]) / (2 * step), second, rtol=1e-6, atol=1e-8)
    _, first, _ = SCALE.derivatives(theta)
    np.testing.assert_allclose(SCALE.log_jacobian(theta)[0], np.log(first), atol=1e-13)


def smooth(x):
    """A function of natural values, with gradient and Hessian."""
    a, c = np.arange(1.0, 7.0) / 10, np.outer(np.arange(6), np.arange(6)) / 50
    value = np.sin(x @ a) + np.einsum("ri,ij,rj->r", x, c, x)
    gradient = np.cos(x @ a)[:, None] * a + 2 * x @ c
    return Exact(value, gradient, -np.sin(x @ a)[:, None, None] * np.outer(a, a) + 2 * c)


def test_the_chain_rule():
    theta, step = np.random.default_rng(2).normal(0, 1, (5, 6)), 1e-5
    found = SCALE.chain(smooth(SCALE.natural(theta)), theta)
    for k, unit in enumerate(np.eye(6) * step):
        ends = [SCALE.chain(smooth(SCALE.natural(theta + sign * unit)), theta + sign * unit) for sign in (1, -1)]
        slope = (ends[0].nll - ends[1].nll) / (2 * step)
        curve = (ends[0].gradient - ends[1].gradient) / (2 * step)
        np.testing.assert_allclose(found.gradient[:, k], slope, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.hessian[:, k], curve, rtol=1e-6, atol=1e-6)


def test_another_number_of_parameters():
    with pytest.raises(ValueError, match=r"last axis must have length 6, but the shape is \(2, 5\)"):
        SCALE.natural(np.zeros((2, 5)))


# ---------------------------------------------------------------------- defaults


def test_default_priors_on_the_unconstrained_scale():
    mean, sd = defaults.theta_moments(PARAMETERS)
    log_2 = np.log(2)
    np.testing.assert_allclose(mean, [0, log_2, -log_2, 0, 0, 0])
    np.testing.assert_allclose(sd, [3, 1.25, 1.25, 1.5, 1.5, 3])
    # what the module says of them
    low, high = SCALE.natural(np.array([mean - 1.96 * sd, mean + 1.96 * sd]))
    assert low[3] == pytest.approx(0.05, abs=0.005) and high[3] == pytest.approx(0.95, abs=0.005)
    assert low[1] - 0.5 == pytest.approx(0.17, abs=0.005) and high[1] - 0.5 == pytest.approx(23, abs=0.5)


def test_population_priors():
    found = {name: str(defaults.sd_prior(p)) for name, p in PARAMETERS.items()}
    assert found == {
        "free": "half_normal(2)",
        "above": "half_normal(1)",
        "below": "half_normal(1)",
        "rate": "half_normal(1)",
        "wide": "half_normal(1)",
        "given": "half_normal(2)",
    }
    assert defaults.mean_prior(PARAMETERS["rate"]) == defaults.theta_prior(PARAMETERS["rate"])


@pytest.mark.parametrize(
    ("bounds", "mean", "sd"),
    [
        ((0, 1), stats.uniform(0, 1), stats.halfnorm(scale=0.25)),
        ((-2, 6), stats.uniform(-2, 8), stats.halfnorm(scale=2)),
        ((0, None), stats.halfnorm(scale=5), stats.halfnorm(scale=2)),
        ((2, None), stats.halfnorm(2, 5), stats.halfnorm(scale=2)),
        ((None, 2), stats.truncnorm(-np.inf, 0, 2, 5), stats.halfnorm(scale=2)),
        ((None, None), stats.norm(0, 3), stats.halfnorm(scale=2)),
    ],
)
def test_population_priors_on_the_natural_scale(bounds, mean, sd):
    parameter = Parameter(*bounds, scale="natural")
    for prior, reference in ((defaults.mean_prior(parameter), mean), (defaults.sd_prior(parameter), sd)):
        x = reference.ppf([0.01, 0.3, 0.8])
        np.testing.assert_allclose(prior.log_density(x), reference.logpdf(x), rtol=1e-12)


def test_the_users_priors_come_first():
    parameter = Parameter(0, 1, prior="beta(2, 2)", mean_prior="uniform(0, 1)", sd_prior="half_normal(0.1)")
    assert defaults.person_prior(parameter) == read_prior("beta(2, 2)")
    assert defaults.mean_prior(parameter) == read_prior("uniform(0, 1)")
    assert defaults.sd_prior(parameter) == read_prior("half_normal(0.1)")
    assert defaults.person_prior(Parameter()) is None

"""Priors from text: densities against SciPy's, derivatives against finite differences, draws, and what is refused."""

import pickle

import numpy as np
import pytest
from numba import njit
from scipy import stats

from spice.equations.priors import FAMILIES, Prior, log_prior, read_prior
from spice.errors import ConfigError

PRIORS = {
    "normal(-1, 2.5)": stats.norm(-1, 2.5),
    "half_normal(10)": stats.halfnorm(scale=10),
    "half_cauchy(2)": stats.halfcauchy(scale=2),
    "exponential(0.5)": stats.expon(scale=2),
    "gamma(shape=2.5, rate=3)": stats.gamma(2.5, scale=1 / 3),
    "gamma(0.5, 3)": stats.gamma(0.5, scale=1 / 3),
    "gamma(mean=1, sd=2)": stats.gamma(0.25, scale=4),
    "gamma(1, 2)": stats.expon(scale=0.5),
    "inverse_gamma(3, 2)": stats.invgamma(3, scale=2),
    "lognormal(0.5, 0.7)": stats.lognorm(0.7, scale=np.exp(0.5)),
    "beta(1, 1)": stats.uniform(0, 1),
    "beta(2.5, 0.7)": stats.beta(2.5, 0.7),
    "beta(mean=0.3, sd=0.2)": stats.beta(0.3 * 4.25, 0.7 * 4.25),
    "uniform(-2, 3)": stats.uniform(-2, 5),
    "student_t(3, -1, 2)": stats.t(3, -1, 2),
    "truncated_normal(0.5, 0.3, 0, 1)": stats.truncnorm(-0.5 / 0.3, 0.5 / 0.3, 0.5, 0.3),
    "truncated_normal(-1, 2, low=0.5)": stats.truncnorm(0.75, np.inf, -1, 2),
    "truncated_normal(-1, 2, high=0.5)": stats.truncnorm(-np.inf, 0.75, -1, 2),
    "truncated_normal(0, 1, 12, 14)": stats.truncnorm(12, 14),
    "truncated_normal(0, 1, -inf, -12)": stats.truncnorm(-np.inf, -12),
}


def inside(reference) -> np.ndarray:
    return reference.ppf(
        np.array([0.001, 0.1, 0.35, 0.45, 0.8, 0.97, 0.999])
    )  # no zero of a derivative: errors are relative


@pytest.mark.parametrize("text", PRIORS)
def test_densities_are_those_of_scipy(text):
    prior, reference = read_prior(text), PRIORS[text]
    x = inside(reference)
    np.testing.assert_allclose(prior.log_density(x), reference.logpdf(x), rtol=1e-10, atol=1e-10)
    assert prior.support == pytest.approx(reference.support())
    assert str(prior) == text and read_prior(str(prior)) == prior and read_prior(prior) is prior


@pytest.mark.parametrize("text", PRIORS)
def test_derivatives_against_finite_differences(text):
    prior = read_prior(text)
    x = inside(PRIORS[text])
    low, high = prior.support
    step = 1e-4 * np.minimum(np.minimum(x - low, high - x), 1.0)
    value, slope, curve = prior.derivatives(x)
    ahead, back = prior.derivatives(x + step), prior.derivatives(x - step)
    # a difference of two rounded values is off by eps * |value| / step; the rest is the third derivative's
    rounding = 4e-16 * (1 + np.abs(value)) / step
    assert (np.abs((ahead[0] - back[0]) / (2 * step) - slope) <= 1e-6 * np.abs(slope) + 10 * rounding).all()
    rounding = 4e-16 * (1 + np.abs(slope)) / step
    assert (np.abs((ahead[1] - back[1]) / (2 * step) - curve) <= 1e-6 * np.abs(curve) + 10 * rounding).all()


@pytest.mark.parametrize("text", PRIORS)
def test_draws_follow_the_density(text):
    """Kolmogorov-Smirnov at 1e-4 for each of 20: a right generator fails with a probability of 0.002 in all."""
    drawn = read_prior(text).sample(np.random.default_rng(0), 4000)
    assert stats.kstest(drawn, PRIORS[text].cdf).pvalue > 1e-4
    assert read_prior(text).sample(np.random.default_rng(0), (2, 3)).shape == (2, 3)


def test_every_family_is_tested():
    assert {text.partition("(")[0] for text in PRIORS} == set(FAMILIES)


@pytest.mark.parametrize("text", PRIORS)
def test_outside_the_support_there_is_nothing(text):
    prior = read_prior(text)
    low, high = prior.support
    x = np.array([x for x in (low - 0.1, high + 0.1) if np.isfinite(x)])
    value, slope, curve = prior.derivatives(x)
    assert (value == -np.inf).all() and (slope == 0).all() and (curve == 0).all()


def test_at_the_edges_of_the_support():
    value, slope, curve = read_prior("beta(1, 1)").derivatives([0.0, 1.0])
    assert (value == 0).all() and (slope == 0).all() and (curve == 0).all()
    assert read_prior("beta(2, 1)").log_density(0.0) == -np.inf
    assert read_prior("gamma(1, 2)").log_density(0.0) == pytest.approx(np.log(2))
    assert read_prior("half_normal(2)").log_density(0.0) == pytest.approx(stats.halfnorm(scale=2).logpdf(0))
    assert read_prior("lognormal(0, 1)").log_density(0.0) == -np.inf
    assert read_prior("uniform(0, 4)").log_density(4.0) == pytest.approx(-np.log(4))


@pytest.mark.parametrize("text", PRIORS)
def test_at_infinity_there_is_nothing_and_nan_stays(text):
    value, slope, curve = read_prior(text).derivatives([-np.inf, np.inf])
    assert (value == -np.inf).all() and (slope == 0).all() and (curve == 0).all()
    assert np.isnan(read_prior(text).log_density(np.nan))


def test_an_inverse_gamma_near_0():
    """No difference of infinities, and no digits lost near the mode, at scale / (shape + 1)."""
    value, slope, curve = read_prior("inverse_gamma(2, 3)").derivatives([1e-300, 5e-324])
    assert (value < -1e299).all() and (slope == np.inf).all() and (curve == -np.inf).all()
    assert read_prior("inverse_gamma(2, 3)").derivatives(1 - 1e-9)[1] == pytest.approx(3e-9, rel=1e-6)


def test_compiled_code_carries_any_prior():
    @njit
    def total(forms, x):
        found = 0.0
        for k in range(len(forms)):
            found += log_prior(forms[k], x[k])[0]
        return found

    priors = [read_prior(text) for text in PRIORS]
    x = np.array([reference.median() for reference in PRIORS.values()])
    forms = np.array([prior.form for prior in priors])
    expected = sum(reference.logpdf(value) for reference, value in zip(PRIORS.values(), x, strict=True))
    assert total(forms, x) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["truncated_normal(5, 1e20, 0, 1)", "truncated_normal(0, 1e15, 0, 1)"])
def test_a_normal_much_wider_than_its_bounds_is_flat(text):
    np.testing.assert_allclose(read_prior(text).log_density([0.0, 0.3, 1.0]), 0.0, atol=1e-12)


def test_shapes_and_pickles():
    prior = read_prior("normal(0, 1)")
    assert prior.log_density(0.0).shape == () and prior.log_density(np.zeros((2, 3))).shape == (2, 3)
    assert pickle.loads(pickle.dumps(prior)) == prior
    assert str(Prior("normal", (0.0, 1.5, 0.0, 0.0))) == "normal(0, 1.5)"
    assert str(read_prior(" normal( sd = 2,mean=1e-3 ) ")) == "normal(sd=2, mean=0.001)"
    assert read_prior("normal(sd=2, mean=1)") == read_prior("normal(1, 2)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a prior"),
        ("beta", "cannot be read as a prior"),
        ("beta(1, 1", "cannot be read as a prior"),
        ("__import__('os').system('true')", "cannot be read as a prior"),
        ("eval('1')", "there is no prior 'eval'"),
        ("halfnormal(1)", "did you mean 'half_normal'?"),
        ("normal(0, x)", "arguments must be numbers"),
        ("normal(0, 1 + 1)", "arguments must be numbers"),
        ("normal(0, True)", "arguments must be numbers"),
        ("normal(0, 1e999)", "arguments must be numbers"),
        ("normal(**{})", "arguments must be numbers"),
        ("normal(inf, 1)", "mean must be finite"),
        ("normal(0, 1, 2)", "has the arguments mean, sd, but 3 are given"),
        ("normal(0, mean=1)", "mean is given twice"),
        ("normal(0)", "sd is missing"),
        ("normal(0, std=1)", "it has no 'std'"),
        ("gamma(1)", "rate is missing. Its arguments are shape, rate, or by name mean and sd"),
        ("beta(0, -1)", "a must be above 0, not 0. b must be above 0, not -1."),
        ("beta(mean=0.5, sd=0.6)", "its sd below"),
        ("gamma(mean=-1, sd=2)", "its mean must be above 0"),
        ("uniform(1, 1)", "low must be less than high"),
        ("uniform(0, inf)", "low and high must be finite"),
        ("truncated_normal(0, 1, 50, 60)", "no mass between 50 and 60"),
        ("truncated_normal(0, 1e299, 1e-30, 2e-30)", "its density is no floating-point number"),
        ("gamma(mean=1, sd=1e-153)", "its density is no floating-point number"),
        ("beta(mean=0.5, sd=1e-154)", "its density is no floating-point number"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        read_prior(text)
    assert message in str(caught.value) and str(caught.value).count("\n") == 0


def test_what_is_no_text():
    with pytest.raises(ConfigError, match=r"a prior is text such as 'normal\(0, 1\)', not 3"):
        read_prior(3)


def test_support_and_bounds():
    beta, half = read_prior("beta(1, 1)"), read_prior("half_normal(10)")
    assert beta.misfit("alpha", 0, 1) is None and half.misfit("beta", 0.0, None) is None
    assert half.misfit("beta", 0, np.inf) is None
    assert beta.misfit("alpha", 0, None) == (
        "the prior beta(1, 1) lies on [0, 1], but alpha has no upper bound: set high=1, or choose another prior."
    )
    assert read_prior("normal(0, 1)").misfit("alpha", 0, 1) == (
        "the prior normal(0, 1) lies on (-inf, inf), but alpha has low=0 and high=1: set low=None, high=None, or "
        "choose another prior."
    )


@pytest.mark.parametrize(
    "text",
    ["gamma(mean=1, sd=1e-200)", "gamma(mean=1, sd=1e200)", "beta(mean=0.5, sd=1e-200)", "gamma(mean=1e299, sd=1)"],
)
def test_moments_beyond_floating_point(text):
    with pytest.raises(ConfigError, match="no floating-point numbers"):
        read_prior(text)

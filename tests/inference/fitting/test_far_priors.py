"""Priors far from what is taken for granted: where optimisers begin, evidences, and one error where they cannot."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from spice.equations import Parameter
from spice.errors import ConfigError, DataError
from spice.inference import fit
from spice.inference.fitting.starts import prior_starts


def test_evidence_where_a_prior_holds_estimates_far_from_the_defaults(tools, people):
    """Two of the people learn next to nothing if choices are that sure: their modes are far out on the logit scale."""
    some = [people[3], people[6]]
    result = fit(tools.rescorla_wagner(beta={"prior": "lognormal(3, 0.01)"}), tools.dataset_of(some), "map")
    z, weights = np.polynomial.hermite_e.hermegauss(3)  # over the logarithm of beta
    theta = np.arange(-12.0, 2.0, 0.2)
    for person, found in zip(some, result.log_evidence, strict=True):
        each = [[-tools.recursion(expit(at), np.exp(3 + 0.01 * y), *person)[0] for y in z] for at in theta]
        inner = logsumexp(each, axis=1, b=weights / np.sqrt(2 * np.pi))
        exact = logsumexp(inner + stats.norm.logpdf(theta, 0, 1.5)) + np.log(0.2)
        assert found == pytest.approx(exact, abs=0.2)  # Laplace's error; another mode is 50 off


def test_priors_beyond_the_spread_starts_have_a_start_of_their_own(tools, people):
    own = {"alpha": Parameter(0, 1, prior="beta(2, 2)"), "beta": Parameter(0, prior="gamma(2, 1)")}
    assert prior_starts(own).shape == (0, 2)  # the defaults reach them
    own["beta"] = Parameter(0, prior="gamma(mean=200, sd=10)")
    error = 1.25 * 0.05 / np.sqrt(1001)  # of a median of 1,001 draws, log scale
    np.testing.assert_allclose(prior_starts(own), [[0.0, np.log(200)]], rtol=0, atol=5 * error)
    own["beta"] = Parameter(0, prior="inverse_gamma(3, 0.001)")
    some = [people[3], people[8]]
    result = fit(tools.rescorla_wagner().replace(parameters=own), tools.dataset_of(some), "map")
    prior = stats.invgamma(3, scale=0.001).logpdf
    for person, (alpha, beta) in zip(some, result.parameters.to_numpy(), strict=True):
        found = prior(beta) + stats.beta(2, 2).logpdf(alpha) - tools.recursion(alpha, beta, *person)[0]
        assert found >= prior(0.00025) + np.log(1.5) - tools.recursion(0.5, 0.00025, *person)[0]  # the prior's mode


def test_priors_that_are_infinite_at_bounds_and_very_wide_bounds(tools, people):
    """No numbers without meaning on the way, of which NumPy would warn."""
    data = tools.dataset_of(people[:1])
    assert fit(tools.rescorla_wagner(alpha={"prior": "beta(0.001, 0.001)"}), data, "map").converged.all()
    wide = tools.rescorla_wagner().replace(parameters={"alpha": Parameter(-1e6, 1e6), "beta": Parameter(0)})
    narrow = fit(tools.rescorla_wagner(), data)
    np.testing.assert_allclose(fit(wide, data).parameters, narrow.parameters, rtol=1e-4)


def test_a_start_without_prior_mass_names_the_prior(tools, people):
    model = tools.rescorla_wagner(beta={"prior": "half_normal(1e-200)"})
    with pytest.raises(DataError) as caught:
        fit(model, tools.dataset_of(people[:1]), "map", start={"alpha": 0.5, "beta": 2.0})
    assert str(caught.value) == (
        "the prior half_normal(1e-200) of 'beta' has no mass at the start, alpha = 0.5, beta = 2: give another start=, "
        "or another prior."
    )


@pytest.mark.filterwarnings("ignore::spice.errors.SpiceWarning")  # a number without meaning would be a RuntimeWarning
@pytest.mark.parametrize(
    ("mean_prior", "mean", "sd"),
    [
        ("gamma(mean=1000, sd=1)", 1000, 1),
        ("half_normal(1e-30)", 0, 1e-30),
        ("truncated_normal(50, 0.1, low=0)", 50, 0.1),
        ("normal(-1, 0.2)", 0, 1),  # beyond the bound, but not by very much
    ],
)
def test_populations_far_from_the_choices(tools, people, mean_prior, mean, sd):
    """They begin where their priors are."""
    beta = Parameter(0, scale="natural", mean_prior=mean_prior)
    model = tools.rescorla_wagner().replace(parameters={"alpha": Parameter(0, 1), "beta": beta})
    data = tools.dataset_of(people[:6])
    result = fit(model, data, "em")
    assert np.isfinite(result.parameters).all(axis=None)
    assert abs(result.population.typical["beta"] - mean) < 10 * sd
    drawn = fit(model, data, "nuts", draws=20, tune=20, chains=1)
    assert np.isfinite(drawn.parameters).all(axis=None)
    assert (drawn.posterior["beta_mean"] < 0).all() == (mean_prior == "normal(-1, 0.2)")


def test_a_spread_too_narrow_to_go_on_is_an_error(tools, people):
    beta = Parameter(0, scale="natural", sd_prior="half_normal(1e-9)")
    model = tools.rescorla_wagner().replace(parameters={"alpha": Parameter(0, 1), "beta": beta})
    with pytest.raises(ConfigError, match=r"mean_prior= and sd_prior= say is so narrow that no step can be computed"):
        fit(model, tools.dataset_of(people[:6]), "em")

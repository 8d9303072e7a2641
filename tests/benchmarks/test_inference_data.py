"""The second example's data and golden numbers, and what peers are given to fit."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from inference_data import (
    POPULATION,
    PRIOR,
    PUBLISHED_MLE,
    PUBLISHED_NLL,
    TRUE,
    example_two,
    log_probabilities,
    nll,
    simulate,
    tables,
)
from inference_peer_jobs import one_person
from scipy import stats

GOLDEN = json.loads((Path(__file__).parents[1] / "inference" / "example_two.json").read_text())


def test_published_numbers_are_reached():
    choices, rewards = example_two()
    assert math.isclose(nll(*TRUE, choices, rewards), PUBLISHED_NLL, rel_tol=1e-12)
    alpha, beta, least = PUBLISHED_MLE
    found = GOLDEN["mle"]
    assert abs(found["nll"] - least) < 1e-8
    assert abs(found["alpha"] - alpha) < 1e-5 and abs(found["beta"] - beta) < 1e-5
    assert found["nll"] <= nll(alpha, beta, choices, rewards)


def test_golden_posterior_agrees_with_a_product_rule():
    choices, rewards = example_two()
    x, weight = np.polynomial.legendre.leggauss(160)  # smooth on a bounded box: converges geometrically
    alpha, beta = np.meshgrid((x + 1) / 2, 30 * (x + 1), indexing="ij")  # beyond 60 nothing is left
    each = log_probabilities(alpha.ravel(), beta.ravel(), choices, rewards)
    log_prior = stats.halfnorm.logpdf(beta.ravel(), scale=10.0)
    mass = np.exp(each.sum(0) + log_prior) * (np.outer(weight, weight) * 0.5 * 30).ravel()
    share = mass / mass.sum()
    mean = {"alpha": share @ alpha.ravel(), "beta": share @ beta.ravel()}
    sd = {name: np.sqrt(share @ (v.ravel() - mean[name]) ** 2) for name, v in (("alpha", alpha), ("beta", beta))}
    golden = GOLDEN["posterior"]
    for name in mean:
        assert math.isclose(golden[f"{name}_mean"], mean[name], rel_tol=1e-8)
        assert math.isclose(golden[f"{name}_sd"], sd[name], rel_tol=1e-8)
    assert math.isclose(golden["log_evidence"], np.log(mass.sum()), rel_tol=1e-9)
    left_out = (np.log(mass.sum()) - np.log(np.exp(-each) @ mass)).sum()
    assert math.isclose(golden["elpd_loo"], left_out, rel_tol=1e-8)


def test_simulated_people_follow_the_population_and_their_own_choices_fit_them_best():
    data = simulate(400, 200, seed=3)
    for value, (mean, sd) in zip(
        (np.log(data["alpha"] / (1 - data["alpha"])), np.log(data["beta"])), POPULATION, strict=True
    ):
        assert abs(value.mean() - mean) < 4 * sd / np.sqrt(400)
    true, other = 0.0, 0.0
    for person in range(400):
        session = data["choices"][person], data["rewards"][person]
        alpha, beta = data["alpha"][person], data["beta"][person]
        at = nll([alpha, 0.5 * alpha, alpha], [beta, beta, 1.3 * beta], *session)
        true, other = true + at[0], other + at[1:]
    assert (true < other).all()


def test_tables_align_each_row_with_the_choice_that_follows():
    data = simulate(3, 20, seed=4)
    xs, ys = tables(data["choices"], data["rewards"])
    assert xs.shape == (3, 20, 5) and ys.shape == (3, 20, 2)
    np.testing.assert_array_equal(xs[..., :2].argmax(-1), data["choices"][:, :-1])
    np.testing.assert_array_equal(ys.argmax(-1), data["choices"][:, 1:])
    np.testing.assert_array_equal(np.nansum(xs[..., 2:4], -1), data["rewards"][:, :-1])
    assert (np.isnan(xs[..., 2:4]) == (xs[..., :2] == 0)).all()
    np.testing.assert_array_equal(xs[:, 0, 4], [0, 1, 2])


@pytest.mark.parametrize("theta", [(-0.5, 1.0), (3.0, 3.0), (-40.0, -3.0)])
def test_what_scipy_minimises_is_likelihood_times_prior(theta):
    data = simulate(1, 30, seed=5)
    choices, rewards = data["choices"][0], data["rewards"][0]
    prior = sum(stats.norm.logpdf(value, mean, sd) for value, (mean, sd) in zip(theta, PRIOR, strict=True))
    expected = nll(1 / (1 + np.exp(-theta[0])), np.exp(theta[1]), choices, rewards) - prior
    assert math.isclose(one_person(np.array(theta), choices.tolist(), rewards.tolist()), expected, rel_tol=1e-12)


def test_pymc_agrees_within_its_monte_carlo_error():
    for name, found in GOLDEN["pymc"]["parameters"].items():
        for figure in ("mean", "sd"):
            assert abs(found[figure] - GOLDEN["posterior"][f"{name}_{figure}"]) < 4 * found[f"mcse_{figure}"]

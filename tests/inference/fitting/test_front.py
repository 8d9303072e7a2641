"""The one call that fits, what it returns, and how it answers to what it cannot use."""

import dataclasses
import importlib.util
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import expit

from spice.equations import Parameter, State, SymbolicModel
from spice.equations.evaluate import run_symbolic
from spice.errors import ConfigError, ConvergenceWarning, DataError, SpiceWarning
from spice.inference import fit
from spice.inference.fitting.result import FitResult
from spice.inference.fitting.starts import spread_starts


@pytest.fixture(scope="module")
def data(tools, people):
    return tools.dataset_of(people[3:6], ["anna", "ben", "cleo"])


@pytest.fixture(scope="module")
def result(tools, data):
    return fit(tools.rescorla_wagner(), data)


# ---------------------------------------------------------------------- what it returns


def test_tables(result, data):
    assert isinstance(result, FitResult) and result.method == "mle" and result.pooling == "none"
    for frame in (result.parameters, result.se, result.at_bound):
        assert frame.index.tolist() == ["anna", "ben", "cleo"] and frame.columns.tolist() == ["alpha", "beta"]
    for series in (result.nll, result.n_trials, result.converged, result.reason, result.aic, result.bic, result.starts):
        assert series.index.tolist() == ["anna", "ben", "cleo"]
    low, high = (result.intervals.xs(end, axis=1, level=1) for end in ("low", "high"))
    assert (low < result.parameters).all().all() and (result.parameters < high).all().all()
    assert repr(result) == "FitResult(method='mle', pooling='none', 3 participants, parameters: alpha, beta)"


def test_predictions(result, data, tools, people):
    values = result.parameters.to_dict("list")
    logits = run_symbolic(result.model, data, {name: np.array(column) for name, column in values.items()})
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(result.predict(), expected, rtol=1e-10)
    turned = data[[2, 0]]  # the same people in other data
    np.testing.assert_allclose(result.predict(turned), expected[[2, 0]], rtol=1e-10)
    scored = np.where(data.ys.numpy() == 1, np.log(expected), 0.0).sum((1, 2))
    np.testing.assert_allclose(result.log_likelihood(), scored, rtol=1e-10)
    np.testing.assert_allclose(-result.nll, scored, rtol=1e-10)
    assert result.log_likelihood(turned).index.tolist() == ["anna", "cleo"]
    others = tools.dataset_of(people[:2], ["dora", "anna"])
    with pytest.raises(DataError, match="The choices cannot be predicted: participant.s. 'dora' were not fitted"):
        result.predict(others)


def test_predictions_of_one_set_of_parameters(tools, people, data):
    shared = fit(tools.rescorla_wagner(), data, pooling="complete")
    others = tools.dataset_of(people[:2], ["dora", "emil"])
    assert shared.predict(others).shape == (2, 119, 2) and shared.predict().shape == (3, 119, 2)
    expected = [tools.recursion(*shared.parameters.iloc[0], *person)[0] for person in people[:2]]
    np.testing.assert_allclose(-shared.log_likelihood(others), expected, rtol=1e-10)


def test_summary(result, tools, data, bandit):
    text = result.summary()
    assert text.startswith("Maximum likelihood, each participant alone\n3 participants, 357 scored choices")
    assert (
        re.search(r"alpha +\d\.\d{3} ", text) and "converged: 3 of 3; all starts ended in the best optimum for" in text
    )
    nll, n = result.nll.sum(), result.n_trials.sum()
    assert f"log-likelihood {-nll:,.2f}; per choice {nll / n:.4f} nats" in text
    assert f"normalised {np.exp(-nll / n):.4f} (chance 0.5000)" in text and f"AIC {result.aic.sum():,.2f}" in text
    one = fit(tools.rescorla_wagner(), tools.dataset_of([bandit])).summary()
    assert "1 participant, 149 scored choices" in one and "95 % interval" in one and "0.505" in one
    assert "log evidence" in fit(tools.rescorla_wagner(), data, method="map").summary()


def test_summary_of_people_to_look_at(tools, people):
    repeats = (np.zeros(40, int), np.ones(40))
    with pytest.warns(ConvergenceWarning):
        both = fit(tools.rescorla_wagner(), tools.dataset_of([people[0], repeats], ["anna", "ben"]))
    assert "to look at (1):\n  ben: runs to infinity: beta" in both.summary()
    with pytest.warns(ConvergenceWarning):
        alone = fit(tools.rescorla_wagner(), tools.dataset_of([repeats])).summary()
    assert re.search(r"alpha +0\.\d+ +- +0.000 to 1.000 \(not identified\)\n.*beta .* runs to infinity\n", alone)


def test_many_people_to_look_at_are_grouped_by_what_there_is_to_know(result):
    reasons = {f"p{k}": f"at a bound: alpha; R-hat above 1.01: beta[p{k}]" for k in range(7)}
    reasons |= {"q": "converged", "r": "3 divergences", "s": "5 divergences; at a bound: alpha"}
    reason = pd.Series(reasons)
    text = dataclasses.replace(result, reason=reason, converged=reason == "converged").summary()
    assert text.endswith(
        "to look at (9):\n"
        "  at a bound: alpha (8): p0, p1, p2, p3, p4 and 3 more\n"
        "  R-hat above 1.01: beta (7): p0, p1, p2, p3, p4 and 2 more\n"
        "  divergences (2): r, s"
    )


def test_a_warning_of_many_people_is_grouped(tools, people):
    repeats = [(np.full(40, k % 2), np.ones(40)) for k in range(6)]
    with pytest.warns(
        ConvergenceWarning, match=r"6 of 7 participants: .*infinity: beta \(6\): .* and 1 more"
    ) as caught:
        fit(tools.rescorla_wagner(), tools.dataset_of([people[0], *repeats], list("abcdefg")))
    assert len(str(caught[0].message)) < 500


def test_a_population(tools):
    """Empirical Bayes through the same call."""
    rng = np.random.default_rng(6)
    players = [tools.play(expit(rng.normal(-0.5, 0.6)), np.exp(rng.normal(1.2, 0.3)), 80, rng) for _ in range(15)]
    data = tools.dataset_of([*players, (np.zeros(30, int), np.ones(30))], [f"p{k}" for k in range(16)])
    result = fit(tools.rescorla_wagner(), data, method="em", covariance="diagonal")
    assert result.pooling == "partial" and result.converged.all() and not result.at_bound.any().any()
    assert result.reason.tolist() == ["converged"] * 15 + ["only one option was ever chosen"]
    np.testing.assert_allclose(-result.log_likelihood(), result.nll, rtol=1e-10)
    assert (result.se > 0).all().all() and result.log_evidence.shape == (16,)
    evidence = result.log_evidence.sum()
    assert result.aic == pytest.approx(-2 * evidence + 8)
    assert result.bic == pytest.approx(-2 * evidence + 4 * np.log(15 * 79 + 29))
    inside = [result.intervals[name, "low"] < result.parameters[name] for name in ("alpha", "beta")]
    assert np.all(inside)
    alone = fit(tools.rescorla_wagner(), data, method="map").parameters
    assert result.parameters.std()["beta"] < alone.std()["beta"]  # drawn towards each other
    text = result.summary()
    assert text.startswith("Empirical Bayes (EM, approximate for few people), participants as members of a population")
    assert result.population.summary() in text and f"AIC {result.aic:,.2f}, BIC {result.bic:,.2f}\n" in text


def test_em_takes_the_unconstrained_scale(tools, data):
    """Whatever a model says of "nuts", and its summary says so; ready models' users could not do anything about it."""
    text = fit(tools.rescorla_wagner({"scale": "natural"}), data, method="em").summary()
    assert text == fit(tools.rescorla_wagner(), data, method="em").summary()
    assert "population (unconstrained scale; typical on the natural scale)" in text


def test_settings_that_em_does_not_have(tools, data):
    with pytest.raises(ConfigError, match=r"has no setting 'covarianc' \(did you mean 'covariance'"):
        fit(tools.rescorla_wagner(), data, method="em", covarianc="full")


def test_draws_are_for_methods_that_draw(result):
    with pytest.raises(ConfigError, match='method "mle" gives no draws of a posterior: fit with method="nuts"'):
        result.to_arviz()
    for criterion in (result.loo, result.waic):
        with pytest.raises(ConfigError, match="gives no draws of a posterior"):
            criterion()


def test_a_summary_adds_up_what_is_known(tools, data):
    found = fit(tools.rescorla_wagner(), data, method="map")
    evidence = found.log_evidence.copy()
    evidence.iloc[0] = np.nan
    some = dataclasses.replace(found, log_evidence=evidence).summary()
    assert f"log evidence {evidence.sum():,.2f} (Laplace approximation), summed over participants (2 of 3; of" in some
    none = dataclasses.replace(found, log_evidence=evidence * np.nan).summary()
    assert "log evidence not known (Laplace approximation)\n" in none


def test_an_estimate_far_out_with_a_huge_error_is_no_clear_one(tools):
    """Forty right choices and one wrong one at the start: beta is somewhere above 10."""
    choices = np.r_[0, 1, np.zeros(40, int)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(tools.rescorla_wagner(), tools.dataset_of([(choices, 1.0 - choices)]))
    assert found.reason.iloc[0] != "converged"


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mpa"}, "there is no method 'mpa' (did you mean 'map'?); choose one of mle, map, em, nuts."),
        ({"method": None}, "there is no method None"),
        ({"pooling": "parital"}, "there is no pooling 'parital' (did you mean 'partial'?)"),
        (
            {"pooling": "partial"},
            'method "mle" knows pooling none and complete, not partial; partial is for em and nuts',
        ),
        ({"method": "em", "pooling": "none"}, 'method "em" knows pooling partial, not none; none is for mle and map'),
        ({"n_start": 3}, "method \"mle\" has no setting 'n_start' (did you mean 'n_starts'?)"),
        ({"n_starts": 0}, "n_starts must be a whole number from 1 on, not 0"),
        ({"n_threads": "two"}, "n_threads must be a whole number from 1 on, not 'two'"),
    ],
)
def test_arguments_that_do_not_fit(tools, data, settings, message):
    with pytest.raises(ConfigError) as caught:
        fit(tools.rescorla_wagner(), data, **settings)
    assert message in str(caught.value)


def test_all_problems_at_once(data):
    with pytest.raises(ConfigError) as caught:
        fit("rw", data, pooling="some", n_starts=-1)
    text = str(caught.value)
    assert "the model must be a SymbolicModel or a CompiledModel, not 'rw'" in text
    assert "no pooling 'some'" in text and "n_starts" in text
    assert text.startswith("The model cannot be fitted:\n  - ")


def test_no_parameters_and_no_data(tools, data):
    fixed = SymbolicModel({"q": State(0.5)}, [("q", "chosen", "reward")], "q", {})
    with pytest.raises(ConfigError, match="the model has no parameters to estimate"):
        fit(fixed, data)
    with pytest.raises(DataError, match="fit needs a DatasetRNN"):
        fit(tools.rescorla_wagner(), data.xs)
    with pytest.raises(DataError, match="there is no choice to predict"):
        fit(tools.rescorla_wagner(), data.replace(data.xs, torch.full_like(data.ys, torch.nan)))


def test_a_sampler_without_its_extra(tools, data, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nutpie" else find(name))
    with pytest.raises(ConfigError, match=re.escape('method "nuts" needs nutpie: pip install "spice[bayes]"')):
        fit(tools.rescorla_wagner(), data, method="nuts")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"alpha": 0.3}, "'beta' is missing"),
        ({"alpha": 0.3, "bta": 1}, "there is no parameter 'bta' (did you mean 'beta'?)"),
        ({"alpha": 1.0, "beta": 1}, "alpha is 1 for participant 'anna', but must lie between 0 and 1, not on a bound"),
        ({"alpha": [0.3, 0.2, 0.1], "beta": [1, -2, 1]}, "beta is -2 for participant 'ben'"),
        ({"alpha": [0.3, 0.2], "beta": 1}, "alpha needs one number, or one for each of 3 participants"),
        ({"alpha": "x", "beta": 1}, "alpha needs one number"),
        ([0.3], "it needs 2 values, one for each of alpha, beta"),
        (0.3, "it needs 2 values"),
        (pd.DataFrame({"alpha": 0.3, "beta": 1.0}, index=["anna", "ben"]), "no row for participant 'cleo'"),
    ],
)
def test_starts_that_do_not_fit(tools, data, start, message):
    with pytest.raises(ConfigError) as caught:
        fit(tools.rescorla_wagner(), data, start=start)
    assert message in str(caught.value)


def test_starts_are_spread_over_the_priors():
    parameters = {"alpha": Parameter(0, 1), "beta": Parameter(0), "bias": Parameter()}
    starts = spread_starts(parameters, 64)
    np.testing.assert_allclose(starts[0], [0.0, np.log(2), 0.0], atol=1e-12)
    np.testing.assert_allclose(spread_starts(parameters, 5), starts[:5])
    shares = stats.norm.cdf((starts - [0, np.log(2), 0]) / [1.5, 1.25, 3.0])
    rng = np.random.default_rng(0)
    by_chance = [stats.qmc.discrepancy(rng.random((64, 3))) for _ in range(100)]
    assert stats.qmc.discrepancy(shares) < min(by_chance) / 2


# ---------------------------------------------------------------------- where there is nowhere to begin


def test_a_likelihood_that_is_not_finite(tools, data):
    """The logarithm of a reward of 0: the person, the trial and the values are named."""
    model = SymbolicModel(
        states={"q": State(initial=0.5)},
        updates=[("q", "chosen", "q + alpha * log(reward)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)},
    )
    with pytest.raises(DataError) as caught:
        fit(model, data)
    text = str(caught.value)
    rewards = data.xs[0, :, data.columns.reward].nan_to_num(0.0).sum(-1)
    first = int((rewards == 0).nonzero()[0, 0]) + 1
    assert "participant 'anna' (and of 2 more) is not finite at the start, alpha = 0.5, beta = 2" in text
    assert f"session 0, trial {first}" in text
    with pytest.raises(DataError, match="not finite at the start, alpha = 0.3, beta = 1, first in session 0"):
        fit(model, data, start={"alpha": 0.3, "beta": 1.0})
    with pytest.raises(DataError, match="participant 'anna'"):
        fit(model, data, pooling="complete")
    for method in ("em", "nuts"):
        with pytest.raises(DataError, match=rf"(?s)not finite at the start.*anna, first in session 0, trial {first}"):
            fit(model, data, method=method)


def test_results_are_pickled(result):
    again = pickle.loads(pickle.dumps(result))
    assert again.parameters.equals(result.parameters) and again.summary() == result.summary()
    np.testing.assert_array_equal(again.predict(), result.predict())


def test_populations_begin_where_they_are_told(tools, data):
    model = tools.rescorla_wagner()
    default = fit(model, data, method="em", covariance="diagonal")
    for start in ({"alpha": 0.2, "beta": 6.0}, default.parameters):
        found = fit(model, data, method="em", covariance="diagonal", start=start)
        np.testing.assert_allclose(found.population.mean, default.population.mean, atol=0.01)
    with pytest.raises(ConfigError, match="alpha is 1.2 for participant 'anna', but must lie between 0 and 1"):
        fit(model, data, method="em", start={"alpha": 1.2, "beta": 6.0})


def test_a_prior_of_one_person_plays_no_part_in_a_population_and_that_is_said(tools, data):
    with pytest.warns(SpiceWarning, match=r"prior= of 'alpha' says what one person is like, and plays no part"):
        found = fit(tools.rescorla_wagner(alpha={"prior": "beta(200, 10)"}), data, "em", covariance="diagonal")
    without = fit(tools.rescorla_wagner(), data, "em", covariance="diagonal")
    pd.testing.assert_frame_equal(found.parameters, without.parameters)

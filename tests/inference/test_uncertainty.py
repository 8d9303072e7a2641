"""Standard errors, intervals and inclusion, against formulas and likelihoods of the tests' own."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import norm

from spice.inference.refit import LARGEST, Fits
from spice.inference.report import Report
from spice.inference.search import Visited
from spice.inference.structure import Structures
from spice.inference.uncertainty import (
    CLOSE,
    VAGUE,
    close_structures,
    covariance,
    delta_method,
    inclusion,
    interval,
)

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]


def fit_of(numbers, fisher, free=None):
    """A fit with these numbers and this information, all of them free."""
    numbers = np.array(numbers, float)
    free = np.ones(len(numbers), bool) if free is None else np.array(free)
    rows = Structures(free[None], np.zeros((1, 1), bool))
    fisher, none, no_prior = np.array(fisher, float)[None], np.zeros(1), np.zeros((1, len(numbers)))
    moving = np.diag(free & (np.abs(numbers) < LARGEST)).astype(float)[None]
    return Fits(rows, np.zeros(1, int), numbers[None], none, none, fisher, no_prior, moving, np.ones(1, bool))


def blank_fit(row, n):
    """A structure with all numbers 0."""
    return replace(fit_of(np.zeros(n), np.zeros((n, n))), rows=row)


@pytest.fixture(scope="module")
def information():
    """Of four numbers, on very different scales."""
    root = np.random.default_rng(0).normal(size=(9, 4)) * [1.0, 10.0, 0.1, 100.0]
    return root.T @ root


# ---------------------------------------------------------------------- covariance


def test_the_covariance_is_the_inverse_information(information):
    np.testing.assert_allclose(covariance(fit_of(np.zeros(4), information)), np.linalg.inv(information), rtol=1e-9)


def test_numbers_that_are_not_free_have_no_covariance(information):
    free = np.array([True, False, True, True])
    found = covariance(fit_of(np.zeros(4), information * np.outer(free, free), free))
    np.testing.assert_allclose(found[np.ix_(free, free)], np.linalg.inv(information[np.ix_(free, free)]), rtol=1e-9)
    assert (found[~free] == 0).all() and (found[:, ~free] == 0).all()


def test_nothing_free(information):
    assert (covariance(fit_of(np.zeros(4), information, [False] * 4)) == 0).all()


def unidentified(fit):
    return np.flatnonzero(np.isnan(np.diag(covariance(fit)))).tolist()


def test_a_direction_without_information_is_nan(information):
    """One number that the data say nothing about, and two of which they only show the sum."""
    blind = np.diag([1.0, 1.0, 0.0, 1.0])
    fit = fit_of(np.zeros(4), blind @ information @ blind)
    assert unidentified(fit) == [2]
    kept = np.ix_([0, 1, 3], [0, 1, 3])
    np.testing.assert_allclose(covariance(fit)[kept], np.linalg.inv(information[kept]), rtol=1e-9)
    total = np.array([[1.0, 0, 0, 0], [0, 1.0, 1.0, 0], [0, 0, 0, 1.0]])
    small = np.linalg.inv(np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 3.0]]))
    fit = fit_of(np.zeros(4), total.T @ np.linalg.inv(small) @ total)
    assert unidentified(fit) == [1, 2]
    np.testing.assert_allclose(covariance(fit)[np.ix_([0, 3], [0, 3])], small[np.ix_([0, 2], [0, 2])], rtol=1e-9)


def test_next_to_no_information_is_none(information):
    """A standard error of 200 logit units is not worth naming, one of 50 is."""
    blind = np.diag([1.0, 1.0, 0.0, 0.0])
    fit = fit_of(np.zeros(4), blind @ information @ blind + np.diag([0.0, 0.0, 1 / 200**2, 1 / 50**2]))
    assert unidentified(fit) == [2]
    assert covariance(fit)[3, 3] == pytest.approx(50**2)


def test_without_rewards_neither_their_worth_nor_the_start_is_identified(helpers):
    """Somebody who never got any: a value that falls from its start says what they began with, in units of beta."""
    data = helpers.simulated(20, 50, alpha_reward=0.3, beta_reward=3.0)
    rewards = data.xs[..., data.columns.reward]
    posed = helpers.pose_problem(data.replace(data.xs.clone(), data.ys))
    rewards[rewards == 1] = 0.0
    barren = helpers.pose_problem(data)
    numbers = np.zeros((1, posed.layout.n_numbers))
    for key, value in zip(DELTA, (0.6, 1.0), strict=True):
        numbers[0, helpers.number_of(posed.layout, *key)] = value
    found = []
    for problem in (posed, barren):
        fit = problem.refit(helpers.structure(problem.layout, DELTA), np.zeros(1, int), numbers)
        read = partial(helpers.read, problem.problem, problem.layout, fit.rows)
        # at 1.0 for what an outcome adds, which the barren data leave at its prior's 0
        fit.numbers[0, helpers.number_of(posed.layout, *DELTA[1])] = 1.0
        found.append(delta_method(lambda n, read=read: read(n)[0], fit)[0])
    assert all(np.isfinite(entry.se) for entry in found[0].values())
    assert found[1].keys() == {"beta", "alpha", "initial_value"}
    assert [name for name, entry in found[1].items() if np.isnan(entry.se)] == ["beta", "initial_value"]


def test_numbers_at_the_largest_count_as_known(information):
    found = covariance(fit_of([0.0, LARGEST, 0.0, 0.0], information))
    kept = np.ix_([0, 2, 3], [0, 2, 3])
    np.testing.assert_allclose(found[kept], np.linalg.inv(information[kept]), rtol=1e-9)
    assert (found[1] == 0).all()


def test_multipliers_at_a_bound_count_as_known(helpers):
    """A value that keeps all of itself, as large as it may be: the others' errors are those given that."""
    rng = np.random.default_rng(0)
    n_sessions, x, choices, rewards = 300, np.zeros((300, 2)), [], []
    for _ in range(7):
        choice = np.eye(2)[(rng.random(n_sessions) < 1 / (1 + np.exp(x[:, 0] - x[:, 1]))).astype(int)]
        reward = (rng.random((n_sessions, 2)) < 0.6).astype(float)
        x = np.where(choice == 1, 1.3 * x + 0.9 * reward - 0.1, x)
        choices.append(choice)
        rewards.append(np.where(choice == 1, reward, np.nan))
    choices, rewards = np.stack(choices, 1), np.stack(rewards, 1)
    data = helpers.simulated(n_sessions, 6).replace(
        np.concatenate([choices, rewards, np.zeros((n_sessions, 7, 1))], -1)[:, :-1], choices[:, 1:]
    )
    posed = helpers.pose_problem(data)
    numbers = np.zeros((1, posed.layout.n_numbers))
    own, reward = (helpers.number_of(posed.layout, *key) for key in DELTA)
    numbers[0, own] = 0.6
    fit = posed.refit(helpers.structure(posed.layout, DELTA), np.zeros(1, int), numbers)
    assert fit.numbers[0, own] == 1.0
    found = covariance(fit)
    known = fit.fisher[0, reward, reward] + fit.prior[0, reward]
    assert found[own, own] == 0 and found[reward, reward] == pytest.approx(1 / known, rel=1e-9)


# ---------------------------------------------------------------------- the delta method


def test_delta_method_equals_analytic_derivatives(rescorla_wagner_fit, helpers):
    """alpha = 1 - a, beta = b / (1 - a), Q0 = s (1 - a) / b."""
    refinement, refined, _ = rescorla_wagner_fit
    fit, layout = refined.fit, refinement.layout
    at = [helpers.number_of(layout, *key) for key in DELTA] + [layout.starts[0]]
    assert sorted(np.flatnonzero(fit.rows.free[0])) == sorted(at)
    a, b, s = fit.numbers[0, at]
    cov = np.linalg.inv(fit.fisher[0][np.ix_(at, at)] + np.diag(fit.prior[0, at]))
    slopes = {
        "alpha": [-1.0, 0.0, 0.0],
        "beta": [b / (1 - a) ** 2, 1 / (1 - a), 0.0],
        "initial_value": [-s / b, -s * (1 - a) / b**2, (1 - a) / b],
    }
    values = {"alpha": 1 - a, "beta": b / (1 - a), "initial_value": s * (1 - a) / b}
    found, together = delta_method(lambda numbers: helpers.read(refinement.problem, layout, fit.rows, numbers)[0], fit)
    assert found.keys() == slopes.keys()
    order = np.array([slopes[name] for name in found])
    np.testing.assert_allclose(together, order @ cov @ order.T, rtol=1e-6)
    for name, slope in slopes.items():
        assert found[name].value == pytest.approx(values[name], rel=1e-12)
        assert found[name].se == pytest.approx(np.sqrt(slope @ cov @ slope), rel=1e-6)


def test_what_does_not_depend_on_an_unidentified_number_has_an_error(information):
    blind = np.diag([1.0, 1.0, 0.0, 1.0])
    fit = fit_of([0.1, 0.2, 0.3, 0.4], blind @ information @ blind)
    found, _ = delta_method(lambda n: {"known": n[0] + n[1], "unknown": n[2]}, fit)
    kept = np.linalg.inv(information[np.ix_([0, 1, 3], [0, 1, 3])])
    assert np.isnan(found["unknown"].se) and np.isnan(found["unknown"].low)
    assert found["known"].se == pytest.approx(np.sqrt(kept[:2, :2].sum()), rel=1e-6)


def test_an_unidentified_quantity_is_nan(information):
    blind = np.diag([1.0, 1.0, 0.0, 1.0])
    fit = fit_of([0.1, 0.2, 0.3, 0.4], blind @ information @ blind)
    found, _ = delta_method(lambda n: {"unknown": n[0] * n[2]}, fit)
    assert found["unknown"].value == pytest.approx(0.03)
    assert all(np.isnan(part) for part in (found["unknown"].se, found["unknown"].low, found["unknown"].high))
    found, _ = delta_method(lambda n: {"known": n[0] - n[3]}, fit)
    assert np.isfinite(found["known"].se)


def test_a_rate_near_0_does_not_crash(rescorla_wagner_fit, helpers):
    """Numerical derivatives must not step where the form can no longer be read."""
    refinement, refined, _ = rescorla_wagner_fit
    layout, numbers, rate = refinement.layout, refined.fit.numbers.copy(), 3e-6
    numbers[0, helpers.number_of(layout, *DELTA[0])] = 1 - rate
    fit = replace(refined.fit, numbers=numbers)
    found, _ = delta_method(lambda values: helpers.read(refinement.problem, layout, fit.rows, values)[0], fit)
    assert found["alpha"].value == pytest.approx(rate, rel=1e-6) and np.isfinite(found["alpha"].se)


# ---------------------------------------------------------------------- intervals


def test_intervals_of_anything_but_rates_are_symmetric():
    entry = interval(2.0, 0.5, is_rate=False)
    assert (entry.value, entry.se) == (2.0, 0.5)
    assert entry.low == pytest.approx(2 - norm.ppf(0.975) * 0.5) and entry.high == pytest.approx(
        2 + norm.ppf(0.975) * 0.5
    )


RATES = [(value, se) for value in (1e-4, 0.03, 0.3, 0.5, 0.97, 1 - 1e-6) for se in (1e-3, 0.05, 0.5, 5.0)]


def overflows(value, se):
    """Whether an end of the interval is beyond exp's range on the scale of the logit."""
    return 1.96 * se / (value * (1 - value)) + abs(np.log(value / (1 - value))) > 709


@pytest.mark.parametrize(("value", "se"), [pair for pair in RATES if not overflows(*pair)])
def test_intervals_of_rates_stay_between_0_and_1(value, se):
    entry = interval(value, se, is_rate=True)
    assert 0 <= entry.low < value < entry.high <= 1
    width = norm.ppf(0.975) * se / (value * (1 - value))
    if width < VAGUE:  # symmetric on the logit's scale, where the error is se / (p (1 - p))
        low, centre, high = (np.log(x / (1 - x)) for x in (entry.low, value, entry.high))
        np.testing.assert_allclose([centre - low, high - centre], width, rtol=1e-6)
    else:  # on that of the rate
        half = norm.ppf(0.975) * se
        np.testing.assert_allclose([entry.low, entry.high], [max(value - half, 0), min(value + half, 1)], rtol=1e-12)


def test_intervals_near_a_bound_say_something():
    """On the logit's scale this one would be all of [0, 1]."""
    entry = interval(0.99, 0.0887, is_rate=True)
    assert entry.low == pytest.approx(0.99 - 1.96 * 0.0887, abs=1e-4) and entry.high == 1.0


@pytest.mark.parametrize(("value", "se"), [pair for pair in RATES if overflows(*pair)])
def test_wide_intervals_of_rates_stay_between_0_and_1(value, se):
    entry = interval(value, se, is_rate=True)
    assert 0 <= entry.low < value < entry.high <= 1


@pytest.mark.parametrize("value", [0.0, 1.0, -0.2, 1.4])
def test_rates_outside_have_symmetric_intervals(value):
    entry = interval(value, 0.1, is_rate=True)
    assert entry.high - value == pytest.approx(value - entry.low) and entry.high > value


def test_intervals_of_what_is_not_identified_are_nan():
    for is_rate in (True, False):
        entry = interval(0.3, np.nan, is_rate)
        assert entry.value == 0.3 and all(np.isnan(part) for part in (entry.se, entry.low, entry.high))


def test_intervals_cover_the_truth(helpers):
    """Of alpha, beta and the start value in 100 simulated data sets: 95 % but for chance (at most 12 of 100 misses)."""
    misses = dict.fromkeys(("alpha", "beta", "initial_value"), 0)
    truth = {"alpha": 0.3, "beta": 3.0, "initial_value": 0.5}
    data = helpers.simulated(1000, 40, seed=7, alpha_reward=0.3, beta_reward=3.0)
    data.xs[..., -1] = (torch.arange(1000) // 10).float()[:, None]
    posed = helpers.pose_problem(data, n_participants=100)
    numbers = np.zeros((100, posed.layout.n_numbers))
    for key, value in zip(DELTA, (0.6, 1.0), strict=True):
        numbers[:, helpers.number_of(posed.layout, *key)] = value
    row = helpers.structure(posed.layout, DELTA)
    fits = posed.refit(row[[0] * 100], np.arange(100), numbers)
    assert fits.converged.all()
    for person in range(100):
        fit = fits[[person]]
        found, _ = delta_method(lambda n, fit=fit: helpers.read(posed.problem, posed.layout, fit.rows, n)[0], fit)
        for name, value in truth.items():
            misses[name] += not found[name].low <= value <= found[name].high
    assert max(misses.values()) <= 12, misses


# ---------------------------------------------------------------------- the network's gauge


def test_standard_errors_of_a_hundred_sessions(rescorla_wagner_fit, helpers):
    """Those of the best estimator that knows the three terms (DESIGN section 6), from the tests' own recursion.

    In 300 such simulations the estimates' standard deviations were 0.056, 0.0118 and 0.029 (each known to 4 %), and
    the standard errors varied by 6, 4 and 3 %.
    """
    refinement, refined, data = rescorla_wagner_fit
    table = Report(refinement, 0, refined, "somebody", {}).terms().set_index("term")
    assert list(table.index) == ["1", LEARNT, "c_reward"]
    assert data.n_scored == 10_000

    def difference(values):
        terms = {LEARNT: dict(zip(("1", LEARNT, "c_reward"), values, strict=True))}
        logits = helpers.recursion(data, terms, starts=(0.5, 0.0))
        return (logits[..., 0] - logits[..., 1]).numpy()

    here, step = table["estimate"].to_numpy(), 1e-5
    slopes = [(difference(here + step * e) - difference(here - step * e)) / (2 * step) for e in np.eye(3)]
    p = 1 / (1 + np.exp(-difference(here)))
    information = np.einsum("st,ist,jst->ij", p * (1 - p), slopes, slopes)
    # weak priors of what an outcome adds (standard deviation 10) and of the start s = 0.5 - constant / (1 - own) (5)
    constant, own, _ = here
    by_start = np.array([-1 / (1 - own), -constant / (1 - own) ** 2, 0.0])
    information += np.outer(by_start, by_start) / 25 + np.diag([0.0, 0.0, 0.01])
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(table["se"], errors, rtol=1e-6)
    np.testing.assert_allclose(table["se"], [0.056, 0.0118, 0.029], rtol=0.15)
    assert (np.abs(table["estimate"] - [-0.3, 0.7, 0.9]) < 4 * errors).all()


# ---------------------------------------------------------------------- inclusion


def test_inclusion_is_the_sum_of_weights(helpers, random_data):
    posed = helpers.pose_problem(random_data(3, 6))
    layout, places = posed.layout, [helpers.number_of(posed.layout, *key) for key in DELTA]
    frees = [[], DELTA[1:], DELTA, [*DELTA, (REPEATED, "1"), (REPEATED, REPEATED)]]
    visited, scores = Visited(), [30.0, 12.0, 10.0, 11.0]
    for score, free in zip(scores, frees, strict=True):
        row = helpers.structure(layout, free)
        visited.fits.append(blank_fit(row, layout.n_numbers))
        visited.scores.append(score)
    weights = np.exp(-np.array(scores) / 2)
    weights /= weights.sum()
    found = inclusion(visited, layout)
    assert found[places[0]] == pytest.approx(weights[2:].sum()) and found[places[1]] == pytest.approx(weights[1:].sum())
    traces = [(REPEATED, "1"), (REPEATED, REPEATED), (NOT_REPEATED, NOT_REPEATED)]  # the last is tied: in the model
    np.testing.assert_allclose([found[helpers.number_of(layout, *key)] for key in traces], weights[3])
    assert found[helpers.number_of(layout, OTHERS, OTHERS)] == 0
    assert visited.best() == 2 and [place for place in close_structures(visited) if place != 2] == [3, 1]


def test_what_follows_from_other_numbers_is_in_the_model(helpers, random_data):
    """The outcome of others that is tied to that of the chosen option."""
    posed = helpers.pose_problem(helpers.with_outcomes(random_data(3, 6)))
    row = helpers.structure(posed.layout, [*DELTA, (OTHERS, OTHERS)], [NOT_REPEATED, OTHERS])
    n = posed.layout.n_numbers
    fit = blank_fit(row, n)
    expected = {helpers.number_of(posed.layout, *key) for key in [*DELTA, (OTHERS, OTHERS), (OTHERS, "c_outcome")]}
    assert set(np.flatnonzero(posed.layout.present(fit.rows)[0])) == expected | {posed.layout.starts[0]}


@pytest.mark.parametrize("name", ["rescorla-wagner", "forgetting", "counterfactual", "slow choice trace"])
def test_inclusion_of_a_search(searched, name):
    """Between 0 and 1, high for what is in the model; the expected size is between the least and the largest."""
    refinement, refined, _ = searched(name)
    found = inclusion(refined.visited, refinement.layout)
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()
    present = refinement.layout.present(refined.fit.rows)[0]
    assert (found[present] > 0.5).all() and found[~present].max() < 0.5
    scores = np.array(refined.visited.scores)
    best = np.exp(-(scores.min() - scores.min()) / 2) / np.exp(-(scores - scores.min()) / 2).sum()
    assert (found[present] >= best - 1e-12).all() and (found[~present] <= 1 - best + 1e-12).all()


def test_close_structures_are_those_within_two_units(searched):
    for name in ("rescorla-wagner", "perseveration"):
        _, refined, _ = searched(name)
        scores = np.array(refined.visited.scores)
        close, best = close_structures(refined.visited), refined.visited.best()
        assert set(close) - {best} == set(np.flatnonzero(scores <= scores.min() + 2.0)) - {best}
        assert (np.diff(scores[close]) >= 0).all() and CLOSE == 2.0

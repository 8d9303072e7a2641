"""Session bootstrap: draws are whole sessions of one participant, fitted as if they were data of their own."""

import numpy as np
import pytest
import torch

from spice.inference.bootstrap import bootstrap_intervals, resampled
from spice.inference.likelihood import Likelihood
from spice.inference.uncertainty import delta_method
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

LEARNT = "x_value_reward_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]


@pytest.fixture(scope="module")
def data(helpers):
    """Two participants' sessions, of different lengths."""
    data = helpers.simulated(30, 40, seed=0, alpha_reward=0.3, beta_reward=3.0)
    data.xs[10:, :, -1] = 1
    for session, last in ((2, 20), (7, 31), (12, 5)):
        data.xs[session, last:, :4], data.ys[session, last:] = torch.nan, torch.nan
    return data


@pytest.fixture(scope="module")
def posed(helpers, data):
    return helpers.pose_problem(data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, n_participants=2)


def fit_of(posed, helpers, group):
    begin = np.zeros((1, posed.layout.n_numbers))
    begin[0, [helpers.number_of(posed.layout, *key) for key in DELTA]] = 0.6, 1.0
    return posed.refit(helpers.structure(posed.layout, DELTA, tied=()), np.array([group]), begin)


def reading_of(posed, helpers, fit):
    return lambda numbers: helpers.read(posed.problem, posed.layout, fit.rows, numbers, int(fit.group[0]))[0]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_draws_have_the_likelihood_of_their_sessions(posed, helpers, n_threads):
    """Each session as often as it was drawn: likelihood, gradient and information."""
    trials = posed.problem.trials
    drawn_trials, groups, drawn = resampled(trials, 1, 7, np.random.default_rng(0))
    assert drawn.shape == (7, 20) and drawn.min() >= 10 and drawn.max() < 30
    coefficients = np.random.default_rng(1).uniform(0.1, 0.6, (7, posed.likelihood.n_coefficients))
    free = np.ones(coefficients.shape, bool)
    found = Likelihood(posed.library, drawn_trials, n_threads)(coefficients, free, groups)
    alone = type(trials)(trials.modules, trials.factors, trials.choices, trials.sessions, np.arange(31))
    each = Likelihood(posed.library, alone, 1)
    for row in range(7):
        n = len(drawn[row])
        answer = each(np.repeat(coefficients[[row]], n, 0), np.repeat(free[[row]], n, 0), drawn[row])
        for got, parts in zip(found, answer, strict=True):
            np.testing.assert_allclose(got[row], parts.sum(0), rtol=1e-10, atol=1e-12)


def test_intervals_are_percentiles_of_fits_to_drawn_sessions(posed, helpers, data):
    """The same draws as data sets of their own, fitted one by one."""
    n_draws, fit = 40, fit_of(posed, helpers, 0)
    reading = reading_of(posed, helpers, fit)
    found = bootstrap_intervals(
        posed.refit, posed.problem.trials, fit, reading, np.random.default_rng(3), n_draws=n_draws
    )
    _, _, drawn = resampled(posed.problem.trials, 0, n_draws, np.random.default_rng(3))
    refitted = []
    for sessions in drawn:
        own = helpers.pose_problem(data[sessions], RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
        refitted.append(reading(fit_of(own, helpers, 0).numbers[0]))
    for name, entry in found.items():
        values = np.array([entry[name] for entry in refitted])
        assert entry.value == reading(fit.numbers[0])[name]
        close = {"rel": 0, "abs": 0.02 * values.std()}
        assert entry.se == pytest.approx(values.std(ddof=1), **close)
        assert [entry.low, entry.high] == pytest.approx(np.percentile(values, [2.5, 97.5]), **close)


def test_errors_are_those_of_the_information_where_the_model_is_true(helpers):
    """Of 200 draws from 60 sessions: a standard deviation is known to about 10 %; three times that."""
    data = helpers.simulated(60, 60, seed=1, alpha_reward=0.3, beta_reward=3.0)
    own = helpers.pose_problem(data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
    fit = fit_of(own, helpers, 0)
    reading = reading_of(own, helpers, fit)
    found = bootstrap_intervals(own.refit, own.problem.trials, fit, reading, np.random.default_rng(0), n_draws=200)
    for name, entry in delta_method(reading, fit)[0].items():
        assert found[name].se == pytest.approx(entry.se, rel=0.3), name


def test_the_seed_decides(posed, helpers):
    fit = fit_of(posed, helpers, 0)
    reading = reading_of(posed, helpers, fit)
    found = [
        bootstrap_intervals(posed.refit, posed.problem.trials, fit, reading, np.random.default_rng(seed), n_draws=20)
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_what_many_draws_do_not_have_has_no_interval(posed, helpers):
    fit = fit_of(posed, helpers, 0)
    calls = iter(range(1000))

    def reading(numbers):
        return {"always": numbers[0]} | ({"sometimes": 1.0} if next(calls) % 2 == 0 else {})

    found = bootstrap_intervals(posed.refit, posed.problem.trials, fit, reading, np.random.default_rng(0), n_draws=20)
    assert np.isfinite(found["always"].se)
    assert np.isnan([found["sometimes"].se, found["sometimes"].low]).all()

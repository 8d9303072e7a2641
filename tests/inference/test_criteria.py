"""What structures cost, and the criteria one can choose."""

import numpy as np
import pytest
from scipy.special import comb

from spice.inference.criteria import Criterion, penalty_of, price_of_a_number
from spice.inference.crossvalidation import held_out_nll
from spice.inference.refine import Refinement
from spice.inference.refit import Fits
from spice.precoded import BANDIT_CONFIG, FORGETTING_RNN_CONFIG, BanditRNN, ForgettingRNN

DELTA = (("x_value_reward_chosen", "x_value_reward_chosen"), ("x_value_reward_chosen", "c_reward"))
SIZES = np.arange(6)


def test_penalties_by_name():
    np.testing.assert_allclose(penalty_of("aic", 400, 12)(SIZES), 2 * SIZES)
    np.testing.assert_allclose(penalty_of("bic", 400, 12)(SIZES), np.log(400) * SIZES)
    np.testing.assert_allclose(penalty_of("calibrated", 400, 12)(SIZES), price_of_a_number(400, 12) * SIZES)
    extended = np.log(400) * SIZES + 2 * np.log(comb(12, SIZES))  # Chen & Chen 2008, equation 1, gamma = 1
    np.testing.assert_allclose(penalty_of("ebic", 400, 12)(SIZES), extended, rtol=1e-12)


@pytest.mark.parametrize("name", ["aic", "bic", "ebic", "calibrated"])
def test_one_more_number_costs_the_difference(name, helpers):
    posed = helpers.pose_problem(helpers.simulated(2, 30, seed=0))
    criterion = Criterion(posed.layout, penalty_of(name, 60, 12))
    row, larger = helpers.structure(posed.layout, DELTA[:1]), helpers.structure(posed.layout, DELTA)
    difference = criterion.cost(larger) - criterion.cost(row)
    np.testing.assert_allclose(criterion.one_more(row), difference, rtol=1e-12)


def refined(data, criterion, model_class=ForgettingRNN, config=FORGETTING_RNN_CONFIG, degree=2):
    network = model_class.build(data.n_actions, 1, hidden_size=2).double()
    return Refinement(network, config, data, degree, criterion=criterion).run({0: None})[0]


@pytest.fixture(scope="module")
def data(helpers):
    return helpers.simulated(20, 100, seed=4, alpha_reward=0.3, beta_reward=3.0, beta_choice=0.8)


def test_stricter_criteria_keep_fewer_numbers(helpers):
    """Each criterion's best structure is the best under it of all that the others found."""
    data, sizes = helpers.simulated(8, 60, seed=4, alpha_reward=0.3, beta_reward=3.0, beta_choice=0.8), {}
    for name in ("aic", "bic", "ebic"):
        found = refined(data, name)
        free = found.fit.rows.free[0].sum()
        sizes[name] = free
        assert found.visited.scores[found.visited.best()] == min(found.visited.scores)
    assert sizes["aic"] >= sizes["bic"] >= sizes["ebic"]


def test_cross_validation_is_that_of_its_folds(helpers):
    """Against a loop over folds that poses each as a problem of its own."""
    data = helpers.simulated(6, 60, seed=2, alpha_reward=0.3, beta_reward=3.0)
    posed = helpers.pose_problem(data)
    numbers = np.zeros((1, posed.layout.n_numbers))
    rows = [helpers.structure(posed.layout, DELTA[:n]) for n in (0, 2)]
    fits = Fits.concatenate([posed.refit(row, np.zeros(1, int), numbers) for row in rows])
    found = held_out_nll(posed.refit, posed.problem.trials, fits, n_folds=3)
    expected = np.zeros(2)
    for k in range(3):
        held_out = np.arange(6) % 3 == k
        train, test = (helpers.pose_problem(data[np.flatnonzero(part)]) for part in (~held_out, held_out))
        for number, row in enumerate(rows):
            fit = train.refit(row, np.zeros(1, int), fits.numbers[[number]])
            values, _ = train.layout.coefficients(fit.numbers, fit.rows)
            expected[number] += test.likelihood(values, np.zeros(values.shape, bool), np.zeros(1, int)).nll[0]
    # fits stop 1e-8 nats above their minimum, 1e-4 standard errors away: so much times the held-out sessions' slope
    np.testing.assert_allclose(found.sum(0), expected, atol=1e-3)


def test_cross_validation_finds_the_model(data):
    found = refined(data, "cv", BanditRNN, BANDIT_CONFIG, degree=1)
    present = found.equations
    assert present["x_value_reward_chosen"].coefficients["c_reward"] == pytest.approx(0.9, abs=0.25)
    assert present["x_value_choice_chosen"].coefficients["1"] == pytest.approx(0.8, abs=0.35)

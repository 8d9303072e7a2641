"""Stable equations only: multipliers within their limits at every input met, and states that cannot escape."""

import numpy as np
import pytest

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"


@pytest.fixture(scope="module")
def posed(helpers):
    """Binary rewards with all outcomes shown."""
    return helpers.pose_problem(helpers.simulated(6, 30, alpha_counterfactual=0.2))


@pytest.fixture(scope="module")
def continuous(helpers, random_data):
    """Many different rewards and outcomes."""
    return helpers.pose_problem(helpers.with_outcomes(random_data(10, 40), share=0.8))


def coefficients_of(posed, n_rows, seed, powers=False):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, (n_rows, posed.library.n_terms + posed.library.n_actions))
    values[:, [own for own in posed.library.own if posed.library.is_value[posed.library.state[own]]]] += 0.5
    values[:, np.flatnonzero(posed.library.powers > 1)] *= 0.1 * powers * (rng.random((n_rows, 1)) < 0.5)
    return values


def excess(posed, values):
    """How far multipliers are beyond [0, 1] (values) or [-1, 1] (traces), at all places where a state was updated."""
    library, found = posed.library, np.full(len(values), -np.inf)
    for m, module in enumerate(library.modules):
        places, least = posed.problem.places(0, m), 0.0 if library.is_value[module.state] else -1.0
        for row, term_values in enumerate(values):
            total = np.zeros(len(places))
            for term in range(library.first[m], library.first[m + 1]):
                if library.powers[term] == 1:
                    total += term_values[term] * places[:, library.factor[term]]
            found[row] = max(found[row], (total - 1).max(initial=-np.inf), (least - total).max(initial=-np.inf))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_at_every_input(posed, seed):
    values = coefficients_of(posed, 400, seed)
    kept = posed.limits.kept(values, np.zeros(400, int))
    np.testing.assert_array_equal(kept, excess(posed, values) <= 0)
    assert 0.05 < kept.mean() < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_with_one_interaction_at_many_different_inputs(continuous, helpers, seed):
    values = coefficients_of(continuous, 400, seed)
    for term in ("c_reward", "c_outcome"):
        some = values.copy()
        some[:, helpers.number_of(continuous.layout, OTHERS, f"{OTHERS} {term}")] = 0.0
        kept = continuous.limits.kept(some, np.zeros(400, int))
        np.testing.assert_array_equal(kept, excess(continuous, some) <= 0)


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_at_many_different_inputs(continuous, seed):
    values = coefficients_of(continuous, 400, seed)
    kept = continuous.limits.kept(values, np.zeros(400, int))
    assert (excess(continuous, values)[kept] <= 1e-9).all()
    assert kept.any() and not kept.all()


def test_the_limit_itself_is_within(posed, helpers):
    values = np.zeros((4, posed.library.n_terms + 2))
    own = helpers.number_of(posed.layout, LEARNT, LEARNT)
    crossed = helpers.number_of(posed.layout, LEARNT, f"{LEARNT} c_reward")
    values[:, own], values[:, crossed] = [1.0, 0.0, 0.4, 0.4], [-1.0, 1.0, 0.6, 0.6 + 1e-6]
    assert posed.limits.kept(values, np.zeros(4, int)).tolist() == [True, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_kept_escapes(posed, seed):
    """Squares of the state, whatever outcomes follow in whatever order: 300 trials of 40 random sessions."""
    values = coefficients_of(posed, 300, seed, powers=True)
    kept = posed.limits.kept(values, np.zeros(300, int))
    squares = (values[:, : posed.library.n_terms] * (posed.library.powers > 1) != 0).any(1)
    assert (kept & squares).any() and (~kept & squares).any()
    library, rng = posed.library, np.random.default_rng(seed)
    for state in range(2):
        modules = [m for m, module in enumerate(library.modules) if module.state == state]
        x = np.zeros((int(kept.sum()), 40))
        for _ in range(300):
            m = modules[rng.integers(len(modules))]
            places = posed.problem.places(0, m)
            inputs = places[rng.integers(len(places), size=40)]
            after = np.zeros_like(x)
            for term in range(library.first[m], library.first[m + 1]):
                factors = inputs[:, library.factor[term]]
                after += values[kept, term][:, None] * factors * x ** library.powers[term]
            x = after
            bound = 25.0 if squares.any() else np.inf
            assert np.abs(x[squares[kept]]).max() <= bound * (1 + 1e-6)


def test_each_participant_has_limits_of_their_own(helpers, random_data):
    """Rewards of 0 for one, of 0 and 3 for the other: an interaction that only the first can afford."""
    data = random_data(2, 40, n_participants=2)
    rewards = data.xs[..., 2:4]
    shown = ~rewards.isnan()
    rewards[0][shown[0]] = 0.0
    rewards[1][shown[1]] = 3 * (rewards[1][shown[1]] > 0.5).float()
    posed = helpers.pose_problem(data, n_participants=2)
    values = np.zeros((2, posed.library.n_terms + 2))
    values[:, helpers.number_of(posed.layout, LEARNT, LEARNT)] = 0.5
    values[:, helpers.number_of(posed.layout, LEARNT, f"{LEARNT} c_reward")] = 0.6
    assert posed.limits.kept(values, np.array([0, 1])).tolist() == [True, False]
    assert posed.limits.kept(values, np.array([1, 0])).tolist() == [False, True]


def test_what_nobody_met_has_no_limit(helpers, random_data):
    """Outcomes of others were never shown: their interaction cannot be unstable."""
    posed = helpers.pose_problem(random_data(2, 20))
    values = np.zeros((1, posed.library.n_terms + 2))
    values[0, helpers.number_of(posed.layout, OTHERS, f"{OTHERS} c_outcome")] = 5.0
    assert posed.limits.kept(values, np.zeros(1, int)).all()

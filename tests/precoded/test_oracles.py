"""The oracles of the ready models: published numbers, hand calculations, closed forms and limits in which they meet."""

import math

import numpy as np
import oracles
import pytest

ALPHA, BETA = 0.35, 4.0


def session(n_rows=60, n_options=3, seed=1, shown=0.5, unknown=0.1, missing=0.1):
    """Random choices and rewards of one session, some hidden, some rows without a choice."""
    rng = np.random.default_rng(seed)
    choices = [int(rng.integers(n_options)) if rng.random() >= missing else -1 for _ in range(n_rows)]
    rewards = rng.normal(0.5, 0.5, (n_rows, n_options))
    for t, choice in enumerate(choices):
        for k in range(n_options):
            if rng.random() < (unknown if k == choice else 1 - shown):
                rewards[t, k] = math.nan
    return choices, rewards


def two_step_session(n_trials=40, seed=2):
    """Rows of a two-step task: first stage (state 0), then state 1 or 2 with an outcome; some rows without a choice."""
    rng = np.random.default_rng(seed)
    choices, rewards, state = [], [], []
    for _ in range(n_trials):
        first, second = (int(k) for k in rng.integers(2, size=2))
        common = rng.random() < oracles.COMMON
        state += [0, first + 1 if common else 2 - first]
        choices += [first if rng.random() < 0.9 else -1, second if rng.random() < 0.9 else -1]
        outcome = [math.nan, math.nan]
        outcome[second] = float(rng.random() < 0.5)
        rewards += [[math.nan, math.nan], outcome if rng.random() < 0.9 else [math.nan, math.nan]]
    return choices, np.array(rewards), state


def all_models():
    """Logits of every oracle on random data."""
    choices, rewards = session()
    rng = np.random.default_rng(3)
    season, alien = rng.integers(3, size=len(choices)), rng.integers(4, size=len(choices))
    steps = two_step_session()
    return {
        "rescorla_wagner": (choices, oracles.rescorla_wagner(choices, rewards, ALPHA, BETA)),
        "forgetting": (choices, oracles.forgetting(choices, rewards, ALPHA, BETA, 0.2)),
        "two_learning_rates": (choices, oracles.two_learning_rates(choices, rewards, 0.5, 0.2, BETA)),
        "choice_kernel": (choices, oracles.choice_kernel(choices, rewards, ALPHA, BETA, 0.4, 1.5)),
        "counterfactual": (choices, oracles.counterfactual(choices, rewards, ALPHA, 0.2, BETA)),
        "pearce_hall": (choices, oracles.pearce_hall(choices, rewards, 0.6, 0.3, BETA)),
        "win_stay_lose_shift": (choices, oracles.win_stay_lose_shift(choices, rewards, 0.2)),
        "two_step": (steps[0], oracles.two_step(*steps, 0.5, 0.4, 3.0, 4.0, 0.6, 0.7, 0.2)),
        "flat_aliens": (choices, oracles.flat_aliens(choices, rewards, season, alien, ALPHA, BETA, 0.05)),
    }


# ---------------------------------------------------------------------- from logits to choices


@pytest.mark.parametrize("name", all_models())
def test_probabilities_are_positive_and_sum_to_one(name):
    choices, logits = all_models()[name]
    found = oracles.probabilities(logits, lapse=0.1)[:-1]
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    scored = oracles.log_probabilities(logits, choices)
    assert len(scored) == sum(choice >= 0 for choice in choices[1:]) and (scored < 0).all()
    assert len(np.unique(scored.round(6))) > 2  # it learns


def test_the_softmax_lapses_is_biased_and_leaves_out_what_is_not_on_offer():
    logits = np.array([[0.0, math.log(2.0), math.log(3.0)], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    available = np.array([[True, True, True], [True, False, True], [True, True, False]])
    found = oracles.probabilities(logits, lapse=0.2, bias=[0.0, 9.0, math.log(2.0)], available=available)
    np.testing.assert_allclose(found[0], [0.8 * 1 / 7 + 0.1, 0.0, 0.8 * 6 / 7 + 0.1], rtol=1e-14)
    np.testing.assert_allclose(found[1, 2], 0.0)
    np.testing.assert_allclose(found[1, 0], 0.8 / (1 + math.exp(9.0)) + 0.1, rtol=1e-12)
    np.testing.assert_allclose(oracles.probabilities(logits, lapse=1.0), 1 / 3, rtol=1e-14)
    scored = oracles.log_probabilities(logits, [1, -1, 0], lapse=0.2)
    np.testing.assert_allclose(scored, [math.log(1 / 3)], rtol=1e-14)


# ---------------------------------------------------------------------- learning from the chosen option


def test_rescorla_wagner_gives_the_published_likelihood():
    # "Fitting a Reinforcement Learning Model to Behavioral Data with PyMC", PyMC's example gallery
    rng = np.random.default_rng(598)
    q, choices, rewards = np.array([0.5, 0.5]), [], np.full((150, 2), math.nan)
    for t in range(150):
        weight = np.exp(5 * q)
        action = int(rng.choice([0, 1], p=weight / weight.sum()))
        rewards[t, action] = rng.random() < [0.4, 0.6][action]
        q[action] += 0.5 * (rewards[t, action] - q[action])
        choices.append(action)
    found = oracles.log_probabilities(oracles.rescorla_wagner(choices, rewards, 0.5, 5.0), choices)
    assert len(found) == 149
    assert math.isclose(-found.sum(), 47.418936097207016, rel_tol=1e-12)


def test_rescorla_wagner_is_a_weighted_sum_of_rewards():
    choices, rewards = session(unknown=0.0)
    logits = oracles.rescorla_wagner(choices, rewards, ALPHA, BETA)
    for k in range(3):
        own = [t for t, choice in enumerate(choices) if choice == k]
        n = len(own)
        past = sum(ALPHA * (1 - ALPHA) ** (n - 1 - i) * rewards[t, k] for i, t in enumerate(own))
        assert n > 10 and math.isclose(logits[-1, k], BETA * ((1 - ALPHA) ** n * 0.5 + past), rel_tol=1e-12)


def test_richer_models_become_rescorla_wagner():
    choices, rewards = session()
    plain = oracles.rescorla_wagner(choices, rewards, ALPHA, BETA)
    alone = np.zeros(len(choices), dtype=int)
    for found in (
        oracles.forgetting(choices, rewards, ALPHA, BETA, 0.0),
        oracles.two_learning_rates(choices, rewards, ALPHA, ALPHA, BETA),
        oracles.choice_kernel(choices, rewards, ALPHA, BETA, 0.4, 0.0),
        oracles.counterfactual(choices, rewards, ALPHA, 0.0, BETA),
        oracles.pearce_hall(choices, rewards, ALPHA / 2, 0.0, BETA, associability=2.0),
    ):
        np.testing.assert_allclose(found, plain, rtol=1e-12)
    found = oracles.flat_aliens(choices, rewards, alone, alone, ALPHA, BETA, 0.0, start=0.5)
    np.testing.assert_allclose(found[:-1], plain[:-1], rtol=1e-12)


def test_two_trials_by_hand():
    choices, rewards = [0, 1], np.array([[1.0, 0.25], [0.5, 0.0]])
    for found, by_hand in (
        (oracles.forgetting(choices, rewards, 0.5, 1.0, 0.2), [0.75 - 0.2 * 0.25, 0.25]),
        (oracles.two_learning_rates(choices, rewards, 0.5, 0.1, 1.0), [0.75, 0.45]),
        (oracles.choice_kernel(choices, rewards, 0.5, 2.0, 0.25, 0.5), [1.5 + 0.5 * 0.1875, 0.5 + 0.5 * 0.25]),
        (oracles.counterfactual(choices, rewards, 0.5, 0.4, 1.0), [0.75 - 0.4 * 0.25, 0.4 - 0.5 * 0.4]),
        # associability 1, then .7 * 1 + .3 * .5 = .85
        (
            oracles.pearce_hall([0, 0], np.array([[1.0, 0.0], [0.0, 1.0]]), 0.5, 0.3, 1.0),
            [0.75 - 0.5 * 0.85 * 0.75, 0.5],
        ),
    ):
        np.testing.assert_allclose(found[-1], by_hand, rtol=1e-14)


def test_unknown_outcomes_teach_nothing_but_all_else_happens():
    rewards = np.array([[1.0, math.nan], [math.nan, 0.0], [math.nan, math.nan]])  # the last two outcomes are unknown
    choices, known = [0, 0, 1], ([0], np.array([[1.0, math.nan]]))
    for model, arguments in (
        (oracles.rescorla_wagner, (0.5, 2.0)),
        (oracles.two_learning_rates, (0.5, 0.1, 2.0)),
        (oracles.pearce_hall, (0.5, 0.3, 2.0)),
        (oracles.win_stay_lose_shift, (0.2,)),
    ):
        np.testing.assert_array_equal(model(choices, rewards, *arguments)[-1], model(*known, *arguments)[-1])
    np.testing.assert_allclose(oracles.forgetting(choices, rewards, 0.5, 1.0, 0.2)[-1], [0.75 - 0.2 * 0.25, 0.5])
    kernel = oracles.choice_kernel(choices, rewards, 0.0, 0.0, 0.5, 1.0)
    np.testing.assert_allclose(kernel, [[0.5, 0.0], [0.75, 0.0], [0.375, 0.5]])
    np.testing.assert_allclose(oracles.counterfactual(choices, rewards, 0.5, 0.4, 1.0)[-1], [0.75, 0.5 - 0.4 * 0.5])


def test_rows_without_a_choice_change_nothing():
    choices, rewards = session()
    kept = [t for t, choice in enumerate(choices) if choice >= 0]
    left = [choices[t] for t in kept]
    for model, arguments in (
        (oracles.forgetting, (0.5, 2.0, 0.2)),
        (oracles.choice_kernel, (0.5, 2.0, 0.25, 0.5)),
        (oracles.counterfactual, (0.5, 0.4, 2.0)),
        (oracles.win_stay_lose_shift, (0.2,)),
    ):
        np.testing.assert_array_equal(model(choices, rewards, *arguments)[kept], model(left, rewards[kept], *arguments))


def test_win_stay_lose_shift_has_the_published_probabilities():
    choices, rewards = [0, 1, 1], np.array([[1.0, math.nan], [math.nan, 0.0], [math.nan, 1.0]])
    found = oracles.probabilities(oracles.win_stay_lose_shift(choices, rewards, 0.2))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], rtol=1e-14)
    lost = oracles.probabilities(oracles.win_stay_lose_shift([2], np.array([[math.nan, math.nan, 0.0]]), 0.3))
    np.testing.assert_allclose(lost, [[0.45, 0.45, 0.1]], rtol=1e-14)
    unseen = oracles.probabilities(oracles.win_stay_lose_shift([2], np.full((1, 3), math.nan), 0.3))
    np.testing.assert_allclose(unseen, 1 / 3, rtol=1e-14)


# ---------------------------------------------------------------------- tasks with something on the screen


def test_two_step_trials_by_hand():
    choices, state = [1, 0, 1, 0, 0], [0, 2, 0, 2, 0]  # option 1 commonly leads to state 2
    rewards = np.array([[math.nan] * 2, [1.0, math.nan], [math.nan] * 2, [0.0, math.nan], [math.nan] * 2])
    found = oracles.two_step(choices, rewards, state, 0.5, 0.4, 2.0, 3.0, 0.6, 0.7, 0.2)
    # trial 1: Q(2, 0) = .4, Q(1) = .5 * .6 * 1 = .3
    np.testing.assert_allclose(found[0], [0.0, 0.0])
    np.testing.assert_allclose(found[1], [2 * 0.7 * 0.12, 2 * (0.7 * 0.28 + 0.3 * 0.3 + 0.2)], rtol=1e-12)
    np.testing.assert_allclose(found[2], [1.2, 0.0], rtol=1e-12)
    # trial 2: Q(1) = .3 + .5 * (.4 - .3) + .5 * .6 * (0 - .4) = .23, Q(2, 0) = .4 - .4 * .4 = .24
    np.testing.assert_allclose(found[3], [2 * 0.7 * 0.072, 2 * (0.7 * 0.168 + 0.3 * 0.23 + 0.2)], rtol=1e-12)
    assert np.isnan(found[4]).all()


def test_two_step_without_a_choice_at_one_stage():
    rewards = np.array([[math.nan] * 2, [1.0, math.nan], [math.nan] * 2])
    state = [0, 1, 0]
    first_missing = oracles.two_step([-1, 0, 0], rewards, state, 0.5, 0.4, 1.0, 1.0, 0.6, 0.0, 5.0)
    np.testing.assert_allclose(first_missing[1], [0.0, 0.0])  # model-free first stage: nothing learned or repeated
    planned = oracles.two_step([-1, 0, 0], rewards, state, 0.5, 0.4, 1.0, 1.0, 0.6, 1.0, 5.0)
    np.testing.assert_allclose(planned[1], [0.7 * 0.4, 0.3 * 0.4])  # but the second stage was
    second_missing = oracles.two_step([0, -1, 0], rewards, state, 0.5, 0.4, 1.0, 1.0, 0.6, 0.5, 5.0)
    np.testing.assert_allclose(second_missing[1], [5.0, 0.0])


def test_two_step_rewards_after_rare_transitions_tell_the_systems_apart():
    rewards = np.array([[math.nan] * 2, [1.0, math.nan], [math.nan] * 2])
    rare = ([0, 0, 0], rewards, [0, 2, 0])
    model_free = oracles.two_step(*rare, 0.5, 0.4, 1.0, 1.0, 1.0, 0.0, 0.0)[1]
    model_based = oracles.two_step(*rare, 0.5, 0.4, 1.0, 1.0, 1.0, 1.0, 0.0)[1]
    assert model_free[0] > model_free[1] and model_based[0] < model_based[1]


def test_the_stimulus_is_that_of_the_next_row():
    season, alien, choices = [0, 1, 0, 2], [2, 2, 2, 2], [1, 0, 0, 0]
    rewards = np.full((4, 3), math.nan)
    rewards[0, 1], rewards[1, 0] = 1.12, 0.32
    found = oracles.flat_aliens(choices, rewards, season, alien, 0.5, 1.0, 0.1)
    np.testing.assert_allclose(found[0], [0.12, 0.12, 0.12], rtol=1e-14)  # season 1: nothing learned there
    np.testing.assert_allclose(found[1], [0.12, 0.9 * 0.62 + 0.012, 0.12], rtol=1e-14)  # season 0, forgotten once
    np.testing.assert_allclose(found[2], [0.12, 0.12, 0.12], rtol=1e-14)
    assert np.isnan(found[3]).all()
    again = oracles.flat_aliens(choices, rewards, [0, 1, 1, 2], alien, 0.5, 1.0, 0.1)
    np.testing.assert_allclose(again[1], [0.22, 0.12, 0.12], rtol=1e-14)


def test_flat_values_are_forgotten_in_every_cell():
    n = 30
    season, alien = [0] + [1] * (n - 1) + [0], [0] * (n + 1)
    rewards = np.full((n + 1, 3), math.nan)
    rewards[0, 1] = 1.0
    found = oracles.flat_aliens([1] + [0] * n, rewards, season, alien, 1.0, 1.0, 0.2)
    assert math.isclose(found[n - 1, 1], 0.12 + 0.88 * 0.8 ** (n - 1), rel_tol=1e-12)

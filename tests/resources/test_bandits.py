"""Tasks against the statistics they promise, and simulated data against themselves."""

import numpy as np
import pytest
import scipy.stats
import torch

from spice.errors import ConfigError, DataError
from spice.resources.bandits import (
    AgentQ,
    BanditsDrift,
    BanditsFixed,
    BanditsReversal,
    BanditsSwitch,
    create_dataset,
)

ENVIRONMENTS = [
    lambda **kw: BanditsDrift(0.1, n_actions=3, **kw),
    lambda **kw: BanditsFixed([0.1, 0.5, 0.9], **kw),
    lambda **kw: BanditsReversal([0.1, 0.5, 0.9], hazard=0.1, **kw),
    lambda **kw: BanditsSwitch([[0.1, 0.5, 0.9], [1.0, 0.0, 0.3]], block_length=3, **kw),
]


@pytest.mark.parametrize("make", ENVIRONMENTS)
def test_usable_at_once_and_shapes(make):
    environment = make(seed=1)
    assert environment.n_actions == 3
    assert environment.reward_probs.shape == (3,)
    reward = environment.step(choice=1)
    assert np.isnan(reward).tolist() == [True, False, True]
    assert np.isnan(environment.step(np.nan)).all()
    environment.new_sess(4)
    assert environment.reward_probs.shape == (4, 3)
    reward = environment.step([0, 1, 2, np.nan])
    assert (~np.isnan(reward)).tolist() == np.eye(4, 3, dtype=bool).tolist()
    full = make(seed=1, counterfactual=True)
    assert not np.isnan(full.step(0)).any() and np.isnan(full.step(np.nan)).all()


@pytest.mark.parametrize("make", ENVIRONMENTS)
def test_seeds(make):
    def play(environment, seed=None):
        environment.new_sess(5, seed=seed)
        return np.array([environment.step(np.zeros(5)) for _ in range(30)])

    np.testing.assert_array_equal(play(make(seed=1)), play(make(seed=1)))
    np.testing.assert_array_equal(play(make(), seed=2), play(make(seed=5), seed=2))
    assert not np.array_equal(play(make(seed=1)), play(make(seed=2)), equal_nan=True)
    np.random.seed(3)
    first = play(make())
    np.random.seed(3)
    np.testing.assert_array_equal(play(make()), first)


@pytest.mark.parametrize("make", ENVIRONMENTS)
def test_reward_probs_is_a_copy(make):
    environment = make(seed=1)
    before = environment.reward_probs
    environment.reward_probs[:] = 9
    np.testing.assert_array_equal(environment.reward_probs, before)


def test_drift_statistics():
    environment = BanditsDrift(sigma=0.05, seed=1)
    environment.new_sess(20_000)
    first = environment.reward_probs
    assert scipy.stats.kstest(first.ravel(), "uniform").pvalue > 1e-3
    environment.step(np.zeros(20_000))
    second = environment.reward_probs
    inner = (first > 0.3) & (first < 0.7)  # far from the bounds the steps are Gaussian
    steps, n = (second - first)[inner], inner.sum()
    assert abs(steps.mean()) < 4 * 0.05 / np.sqrt(n)
    assert abs(steps.std() - 0.05) < 4 * 0.05 / np.sqrt(2 * n)
    assert (second == 0).any() and (second == 1).any()  # clipped, not reflected
    assert second.min() == 0 and second.max() == 1


def test_rewards_come_with_their_probability():
    environment = BanditsFixed([0.2, 0.7], counterfactual=True, seed=1)
    environment.new_sess(40_000)
    reward = environment.step(np.zeros(40_000))
    assert set(np.unique(reward)) == {0, 1}
    assert np.all(np.abs(reward.mean(axis=0) - [0.2, 0.7]) < 4 * np.sqrt(np.array([0.16, 0.21]) / 40_000))


def test_continuous_rewards_have_the_probability_as_mean():
    environment = BanditsFixed([0.2, 0.7], counterfactual=True, reward="continuous", reward_sd=0.3, seed=1)
    environment.new_sess(40_000)
    reward = environment.step(np.zeros(40_000))
    assert np.all(np.abs(reward.mean(axis=0) - [0.2, 0.7]) < 4 * 0.3 / np.sqrt(40_000))
    assert np.all(np.abs(reward.std(axis=0) - 0.3) < 4 * 0.3 / np.sqrt(80_000))


def test_reversal_by_block_and_by_hazard():
    environment = BanditsReversal((0.8, 0.2), block_length=3)
    probs = [environment.reward_probs.tolist()]
    for _ in range(8):
        environment.step(0)
        probs.append(environment.reward_probs.tolist())
    assert probs == [[0.8, 0.2]] * 3 + [[0.2, 0.8]] * 3 + [[0.8, 0.2]] * 3
    environment = BanditsReversal((0.8, 0.5, 0.2), hazard=0.25, seed=1)
    environment.new_sess(20_000)
    environment.step(np.zeros(20_000))
    best = environment.reward_probs.argmax(axis=1)
    shares = np.bincount(best, minlength=3) / 20_000
    assert np.all(np.abs(shares - [0.75, 0.125, 0.125]) < 4 * np.sqrt(0.1875 / 20_000))


def test_switch_leads_to_another_given_set():
    sets = [[0.1, 0.9], [0.5, 0.5], [1.0, 0.0]]
    environment = BanditsSwitch(sets, hazard=1.0, seed=1)
    environment.new_sess(3000)
    before = environment.reward_probs
    environment.step(np.zeros(3000))
    after = environment.reward_probs
    assert not (before == after).all(axis=1).any()
    assert {tuple(row) for row in after} == {tuple(row) for row in sets}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BanditsDrift(-1), "BanditsDrift cannot be used: sigma must be a number from 0 on, not -1."),
        (
            lambda: BanditsDrift(0.1, n_actions=1, reward="money", reward_sd=-1),
            "BanditsDrift cannot be used:\n  - n_actions must be a whole number from 2 on, not 1.\n"
            "  - reward must be 'binary' or 'continuous', not 'money'.\n"
            "  - reward_sd must be a number from 0 on, not -1.",
        ),
        (
            lambda: BanditsFixed([0.5, 1.5]),
            "BanditsFixed cannot be used: reward_probs needs one value in [0, 1] per option, not [0.5, 1.5].",
        ),
        (
            lambda: BanditsReversal(),
            "BanditsReversal cannot be used: give either hazard (probability of a switch) or block_length (trials "
            "between switches).",
        ),
        (
            lambda: BanditsSwitch([0.5, 0.5], hazard=2.0),
            "BanditsSwitch cannot be used:\n  - reward_probs needs two or more sets of n_actions values, not shape "
            "(2,).\n  - hazard must lie in [0, 1], not 2.0.",
        ),
        (
            lambda: BanditsSwitch([[0.5, -0.5], [1, 0]], block_length=0),
            "BanditsSwitch cannot be used:\n  - reward_probs must lie in [0, 1], not [[0.5, -0.5], [1.0, 0.0]].\n"
            "  - block_length must be a whole number from 1 on, not 0.",
        ),
        (lambda: BanditsDrift(0.1).new_sess(0), "n_sessions must be a whole number from 1 on, not 0."),
        (lambda: BanditsDrift(0.1).step(2), "there is no option 2; options are numbered 0 to 1."),
        (
            lambda: BanditsDrift(0.1).step([0, 1]),
            "step needs a choice of shape (), not (2,): new_sess says how many sessions run at once.",
        ),
    ],
)
def test_bad_environments(make, message):
    with pytest.raises((ConfigError, DataError)) as error:
        make()
    assert str(error.value) == message


def test_tutorial_lines():
    np.random.seed(42)
    torch.manual_seed(42)
    environment = BanditsDrift(sigma=0.2, n_actions=2)
    environment.reward_probs  # noqa: B018
    environment.step(choice=0)
    agent = AgentQ(n_actions=2, alpha_reward=0.3)
    dataset, experiments, parameters = create_dataset(
        agent=agent, environment=environment, n_trials=100, n_sessions=100
    )
    assert dataset.xs.shape == (100, 100, 5) and dataset.ys.shape == (100, 100, 2)
    assert dataset.participants.tolist() == list(range(100))
    assert [p["alpha_reward"] for p in parameters] == [0.3] * 100
    assert len(experiments) == 100
    dataset.xs[..., -1] = 0
    assert dataset.participants.tolist() == [0] * 100
    environment.step(choice=1)  # left as it was: one session


def test_dataset_records_and_latent_values_agree():
    agent = AgentQ(n_actions=3, alpha_reward=0.3, alpha_penalty=0.1, forget_rate=0.2, beta_choice=0.5)
    dataset, experiments, _ = create_dataset(agent, BanditsDrift(0.1, 3), n_trials=20, n_sessions=4, seed=1)
    for s, record in enumerate(experiments):
        assert (record.session, record.participant, record.n_trials, record.n_actions) == (s, s, 21, 3)
        one_hot = np.eye(3)[record.choices]
        np.testing.assert_array_equal(dataset.xs[s, :, :3], one_hot[:20])
        np.testing.assert_array_equal(dataset.ys[s], one_hot[1:])
        np.testing.assert_array_equal(dataset.xs[s, :, 3:6], record.rewards[:20].astype(np.float32))
        np.testing.assert_array_equal(~np.isnan(record.rewards), one_hot == 1)
        agent.new_sess()
        for t in range(21):
            for name, values in record.latent.items():
                np.testing.assert_allclose(values[t], agent.get_state_value(name, multiply_with_beta=False))
            agent.update(record.choices[t], record.rewards[t])
        assert set(record.latent) == set(agent.states)
        assert record.reward_probabilities.shape == (21, 3)


def test_simulated_choices_have_the_agents_probabilities():
    agent = AgentQ(n_actions=2, alpha_reward=0.3)
    _, experiments, _ = create_dataset(agent, BanditsDrift(0.2), n_trials=50, n_sessions=400, seed=1)
    values = np.stack([record.latent["x_value_reward"] for record in experiments])
    chosen = np.stack([record.choices for record in experiments])
    prob = 1 / (1 + np.exp(3 * (values[..., 0] - values[..., 1])))
    standard_error = np.sqrt((prob * (1 - prob)).sum())
    assert abs((chosen - prob).sum()) < 4 * standard_error
    assert abs(((chosen - prob) * (prob - 0.5)).sum()) < 4 * np.sqrt((prob * (1 - prob) * (prob - 0.5) ** 2).sum())


def test_record_is_readable_and_frozen():
    _, experiments, _ = create_dataset(AgentQ(seed=1), BanditsFixed([1, 1], seed=1), n_trials=9, n_sessions=1)
    share = np.mean(experiments[0].choices == 0)
    assert repr(experiments[0]) == (
        f"BanditSession(session 0, participant 0: 10 trials, options chosen {share:.0%} / {1 - share:.0%}, mean reward "
        "1.00, latent values x_value_reward, x_value_choice, x_learning_rate_reward)"
    )
    with pytest.raises(AttributeError):
        experiments[0].session = 3


def test_participants_with_several_sessions():
    agent = AgentQ(alpha_reward=scipy.stats.beta(2, 2))
    dataset, experiments, parameters = create_dataset(agent, BanditsDrift(0.1), 5, 3, n_participants=4, seed=1)
    assert dataset.xs.shape == (12, 5, 5)
    assert dataset.participants.tolist() == np.repeat(np.arange(4), 3).tolist()
    assert [p["participant"] for p in parameters] == [record.participant for record in experiments]
    assert [p["session"] for p in parameters] == list(range(12))
    rates = np.array([p["alpha_reward"] for p in parameters]).reshape(4, 3)
    assert np.all(rates == rates[:, :1]) and len(set(rates[:, 0])) == 4
    agent.new_sess(participants=2)
    assert agent.parameters["alpha_reward"] == rates[2, 0]


def test_parameters_drawn_per_session():
    agent = AgentQ(alpha_reward=scipy.stats.beta(2, 2), bias=[0, scipy.stats.norm()])
    _, experiments, parameters = create_dataset(agent, BanditsDrift(0.1), 5, 3, 2, draw_per="session", seed=1)
    assert len({p["alpha_reward"] for p in parameters}) == len({p["bias"] for p in parameters}) == 6
    with pytest.raises(ConfigError, match="make an AgentQ with that session's parameters"):
        agent.new_sess(participants=0)
    of_session = {name: v for name, v in parameters[4].items() if name not in ("session", "participant")}
    rebuilt = AgentQ(**of_session)
    record = experiments[4]
    for t in range(6):
        np.testing.assert_allclose(
            record.latent["x_value_reward"][t], rebuilt.get_state_value("x_value_reward", multiply_with_beta=False)
        )
        rebuilt.update(record.choices[t], record.rewards[t])


def test_one_session_per_participant_keeps_values_drawn_per_session():
    agent = AgentQ(alpha_reward=scipy.stats.beta(2, 2))
    _, _, parameters = create_dataset(agent, BanditsDrift(0.1), 5, 6, draw_per="session", seed=1)
    agent.new_sess(participants=5)
    assert agent.parameters["alpha_reward"] == parameters[5]["alpha_reward"]


def test_one_seed_governs_agent_and_environment():
    def simulate(seed=None, agent_seed=None):
        agent = AgentQ(alpha_reward=scipy.stats.beta(2, 2), seed=agent_seed)
        return create_dataset(agent, BanditsDrift(0.1, seed=agent_seed), 20, 5, seed=seed)

    first = simulate(seed=1)
    second = simulate(seed=1)
    assert torch.equal(first[0].xs.nan_to_num(-1), second[0].xs.nan_to_num(-1)) and first[2] == second[2]
    assert not torch.equal(first[0].ys, simulate(seed=2)[0].ys)
    assert torch.equal(simulate(agent_seed=4)[0].ys, simulate(agent_seed=4)[0].ys)


def test_without_seed_numpys_global_state_governs():
    agent, environment = AgentQ(), BanditsDrift(0.1)
    results = []
    for seed in (7, 7, 8):
        np.random.seed(seed)
        results.append(create_dataset(agent, environment, 20, 5)[0].ys)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_counterfactual_rate_needs_shown_outcomes():
    message = (
        "^alpha_counterfactual is above 0, but BanditsDrift shows only the outcome of the chosen option; make the "
        r"environment with counterfactual=True, or set alpha_counterfactual=0\.$"
    )
    for rate in (0.2, scipy.stats.beta(2, 2)):
        agent = AgentQ(alpha_counterfactual=rate)
        with pytest.raises(ConfigError, match=message):
            create_dataset(agent, BanditsDrift(0.1), 5, 2)
        dataset, _, _ = create_dataset(agent, BanditsDrift(0.1, counterfactual=True), 5, 2)
        assert not dataset.xs.isnan().any()


def test_all_problems_of_a_simulation_at_once():
    with pytest.raises(ConfigError) as error:
        create_dataset(AgentQ(3), BanditsDrift(0.1), 0, 2.5, n_participants=-1, draw_per="day")
    assert str(error.value) == (
        "create_dataset cannot simulate:\n  - the agent has 3 options, the environment 2.\n"
        "  - n_trials must be a whole number from 1 on, not 0.\n"
        "  - n_sessions must be a whole number from 1 on, not 2.5.\n"
        "  - n_participants must be a whole number from 1 on, not -1.\n"
        "  - draw_per must be 'participant' or 'session', not 'day'."
    )

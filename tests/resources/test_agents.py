"""Agents against a plain loop over one session, and their errors word for word."""

import numpy as np
import pytest
import scipy.stats
import torch

from spice.errors import ConfigError, DataError
from spice.resources.agents import make_generator, replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

FULL = {
    "beta_reward": 2.5,
    "alpha_reward": 0.35,
    "alpha_penalty": 0.1,
    "forget_rate": 0.15,
    "beta_choice": 0.8,
    "alpha_choice": 0.4,
    "alpha_counterfactual": 0.25,
    "bias": (0.0, 0.3, -0.2),
    "lapse": 0.05,
    "start": 0.4,
}


def q_learning_by_hand(choices, rewards, p):
    """Choice probabilities, values and traces before each choice, one number at a time."""
    n_actions = rewards.shape[1]
    q, k = [p["start"]] * n_actions, [0.0] * n_actions
    probs, values, traces = [], [], []
    for choice, reward in zip(choices, rewards, strict=True):
        values.append(list(q))
        traces.append(list(k))
        logits = [p["beta_reward"] * q[a] + p["beta_choice"] * k[a] + p["bias"][a] for a in range(n_actions)]
        total = sum(np.exp(logit) for logit in logits)
        probs.append([(1 - p["lapse"]) * np.exp(logit) / total + p["lapse"] / n_actions for logit in logits])
        if np.isnan(choice):
            continue
        for a in range(n_actions):
            old, change = q[a], 0.0
            if not np.isnan(reward[a]):
                error = reward[a] - old
                rate = p["alpha_counterfactual"]
                if a == choice:
                    rate = p["alpha_penalty"] if error < 0 else p["alpha_reward"]
                change += rate * error
            if a != choice:
                change += p["forget_rate"] * (p["start"] - old)
            q[a] = old + change
            k[a] += p["alpha_choice"] * ((1.0 if a == choice else 0.0) - k[a])
    return np.array(probs), np.array(values), np.array(traces)


def random_sessions(n_sessions, n_trials, n_actions, seed):
    rng = np.random.default_rng(seed)
    choices = rng.integers(n_actions, size=(n_sessions, n_trials)).astype(float)
    choices[rng.random(choices.shape) < 0.1] = np.nan
    rewards = rng.normal(0.5, 0.5, size=(n_sessions, n_trials, n_actions))
    rewards[rng.random(rewards.shape) < 0.3] = np.nan
    return choices, rewards


@pytest.mark.parametrize("binary", [False, True])
def test_agent_q_agrees_with_plain_loop(binary):
    n_sessions = 7
    choices, rewards = random_sessions(n_sessions, 60, 3, seed=1)
    if binary:
        rewards = np.where(np.isnan(rewards), np.nan, (rewards > 0.5).astype(float))
    agent = AgentQ(n_actions=3, **FULL)
    agent.new_sess(n_sessions)
    expected = [q_learning_by_hand(choices[s], rewards[s], FULL) for s in range(n_sessions)]
    for t in range(60):
        for s in range(n_sessions):
            probs, values, traces = (array[t] for array in expected[s])
            np.testing.assert_allclose(agent.get_choice_probs()[s], probs, rtol=1e-12)
            np.testing.assert_allclose(agent.get_state_value("x_value_reward", False)[s], values, rtol=1e-12)
            np.testing.assert_allclose(agent.get_state_value("x_value_choice", False)[s], traces, rtol=1e-12)
            np.testing.assert_allclose(agent.get_state_value("x_value_reward")[s], 2.5 * values, rtol=1e-12)
        agent.update(choices[:, t], rewards[:, t])


def test_one_session_is_the_special_case_without_leading_axis():
    choices, rewards = random_sessions(1, 30, 3, seed=2)
    agent = AgentQ(n_actions=3, **FULL)
    expected, _, _ = q_learning_by_hand(choices[0], rewards[0], FULL)
    for t in range(30):
        assert agent.get_choice_probs().shape == agent.get_logits().shape == (3,)
        assert isinstance(agent.get_choice(), int)
        np.testing.assert_allclose(agent.get_choice_probs(), expected[t], rtol=1e-12)
        agent.update(choices[0, t], rewards[0, t])


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_penalty_rate_means_reward_zero_for_binary_rewards(start, reward):
    agent = AgentQ(alpha_reward=0.3, alpha_penalty=1.0, start=start)
    for _ in range(200):  # up to and beyond the point where the prediction error is exactly 0
        agent.update(1, [np.nan, reward])
        expected = 0.3 if reward else 1.0
        np.testing.assert_array_equal(agent.get_state_value("x_learning_rate_reward"), [0, expected])
        assert 0 <= agent.get_state_value("x_value_reward", False)[1] <= 1


def test_learning_rate_state_is_zero_before_and_for_options_not_updated():
    agent = AgentQ(alpha_reward=0.3, alpha_counterfactual=0.1)
    np.testing.assert_array_equal(agent.get_state_value("x_learning_rate_reward"), [0, 0])
    agent.update(0, [1, np.nan])
    np.testing.assert_array_equal(agent.get_state_value("x_learning_rate_reward"), [0.3, 0])
    agent.update(0, [1, 1])
    np.testing.assert_array_equal(agent.get_state_value("x_learning_rate_reward"), [0.3, 0.1])


def test_missing_trial_updates_nothing_and_missing_outcome_leaves_the_value():
    agent = AgentQ(alpha_reward=0.3, forget_rate=0.2, beta_choice=1)
    agent.update(0, [1, np.nan])
    before = {name: agent.get_state_value(name) for name in agent.states}
    agent.update(np.nan, [1, 1])
    for name, value in before.items():
        np.testing.assert_array_equal(agent.get_state_value(name), value)
    agent.update(1, [np.nan, np.nan])
    np.testing.assert_allclose(agent.get_state_value("x_value_reward", False), [0.65 - 0.2 * 0.15, 0.5])
    np.testing.assert_array_equal(agent.get_state_value("x_value_choice"), [0, 1])


def test_returned_arrays_are_copies():
    agent = AgentQ()
    agent.get_state_value("x_value_reward", False)[:] = 9
    np.testing.assert_array_equal(agent.get_state_value("x_value_reward", False), [0.5, 0.5])


def test_choices_follow_the_probabilities():
    agent = AgentQ(n_actions=3, bias=(0.0, 1.0, -1.0), seed=3)
    agent.new_sess(20_000)
    shares = np.bincount(agent.get_choice(), minlength=3) / 20_000
    probs = agent.get_choice_probs()[0]
    assert np.all(np.abs(shares - probs) < 4 * np.sqrt(probs * (1 - probs) / 20_000))


def test_seed_makes_choices_reproducible_and_goes_on_over_sessions():
    def draw():
        agent = AgentQ(seed=5)
        first = [agent.get_choice() for _ in range(50)]
        agent.new_sess()
        return first, [agent.get_choice() for _ in range(50)]

    first, second = draw()
    assert (first, second) == draw()
    assert first != second


def test_without_seed_numpys_global_state_makes_choices_reproducible():
    agent = AgentQ()

    def draw():
        agent.new_sess()
        return [agent.get_choice() for _ in range(50)]

    np.random.seed(1)
    first = draw()
    second = draw()
    np.random.seed(1)
    assert draw() == first != second


def test_learning_without_choosing_leaves_the_global_state_alone():
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    agent = AgentQ()
    agent.new_sess()
    agent.update(0, [1, np.nan])
    assert np.random.rand() == expected


def test_make_generator_returns_a_generator_as_it_is():
    generator = np.random.default_rng(1)
    assert make_generator(generator) is generator


def test_replay_gives_values_before_each_choice_for_arrays_and_tensors():
    dataset, experiments, _ = create_dataset(AgentQ(), BanditsDrift(0.2), n_trials=20, n_sessions=2, seed=1)
    agent = AgentQ()
    for session in (dataset.xs[1], dataset.xs[1].numpy(), dataset[1]):
        played = replay(agent, session, signals=["x_value_reward"])
        assert played.probs.shape == played.logits.shape == (20, 2)
        expected = experiments[1].latent["x_value_reward"][:20]
        np.testing.assert_allclose(played.signals["x_value_reward"], 3 * expected, rtol=1e-12)
    np.testing.assert_allclose(played.logits, 3 * expected, rtol=1e-12)
    assert replay(agent, experiments[1]).probs.shape == (21, 2)


def test_replay_drops_padding_and_passes_over_missing_trials():
    xs = create_dataset(AgentQ(), BanditsDrift(0.2), n_trials=10, n_sessions=1, seed=1)[0].xs[0]
    xs[4, :2] = torch.nan
    xs[8:] = torch.nan
    played = replay(AgentQ(), xs)
    assert played.probs.shape == (8, 2)
    np.testing.assert_array_equal(played.probs[5], played.probs[4])
    assert not np.array_equal(played.probs[4], played.probs[3])


def test_replay_hands_further_inputs_over_by_name():
    class Listener(AgentQ):
        heard = ()

        def _learn(self, choice, reward, inputs):
            self.heard = (*self.heard, {name: value.tolist() for name, value in inputs.items()})
            super()._learn(choice, reward, inputs)

    columns = ["load", "stimulus", "next_stimulus", "block", "participant"]
    xs = np.array([[[1, 0, 1, np.nan, 5, 6, 7, 0, 0], [0, 1, np.nan, 0, 8, 7, 9, 0, 0]]])
    agent = Listener()
    replay(agent, xs[0], columns=columns)
    assert agent.heard == (
        {"next_stimulus": [6]},  # shown before the first choice
        {"load": [5], "stimulus": [6], "next_stimulus": [7]},
        {"load": [8], "stimulus": [7], "next_stimulus": [9]},
    )
    replay(agent, DatasetRNN(xs, np.ones((1, 2, 2)), columns)[0])
    assert len(agent.heard) == 6


def test_distributions_are_drawn_per_participant_and_kept():
    agent = AgentQ(
        alpha_reward=scipy.stats.beta(2, 5), bias=(0, scipy.stats.norm()), start=lambda rng, n: rng.random(n)
    )
    agent.draw_parameters(4, seed=1)
    agent.new_sess(6, participants=[0, 0, 1, 2, 3, 3])
    drawn = agent.parameters
    assert len(set(drawn["alpha_reward"])) == 4 and drawn["alpha_reward"][0] == drawn["alpha_reward"][1]
    np.testing.assert_array_equal(drawn["alpha_penalty"], drawn["alpha_reward"])
    assert np.all(drawn["bias"][:, 0] == 0) and len(set(drawn["bias"][:, 1])) == 4
    np.testing.assert_array_equal(agent.get_state_value("x_value_reward", False)[:, 0], drawn["start"])
    agent.new_sess(participants=2)
    assert agent.parameters["alpha_reward"] == drawn["alpha_reward"][3]
    again = AgentQ(
        alpha_reward=scipy.stats.beta(2, 5), bias=(0, scipy.stats.norm()), start=lambda rng, n: rng.random(n)
    )
    again.draw_parameters(4, seed=1)
    again.new_sess(participants=2)
    assert again.parameters == agent.parameters


def test_parameters_rebuild_the_agent():
    agent = AgentQ(n_actions=3, **FULL)
    assert agent.parameters == FULL
    assert AgentQ(n_actions=3, **agent.parameters).parameters == FULL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_actions": 1}, "AgentQ cannot be used: n_actions must be a whole number from 2 on, not 1."),
        ({"alpha_reward": 1.2}, "AgentQ cannot be used: alpha_reward must lie in [0, 1], not 1.2."),
        ({"beta_reward": np.inf}, "AgentQ cannot be used: beta_reward must be finite, not inf."),
        ({"start": "a"}, "AgentQ cannot be used: start must be a number or a distribution, not 'a'."),
        (
            {"bias": [1.0]},
            "AgentQ cannot be used: bias must hold one value for each of the 2 options, not [1.0].",
        ),
        (
            {"lapse": -0.1, "alpha_penalty": float("nan"), "forget_rate": None},
            "AgentQ cannot be used:\n  - alpha_penalty must lie in [0, 1], not nan.\n"
            "  - forget_rate must be a number or a distribution, not None.\n  - lapse must lie in [0, 1], not -0.1.",
        ),
        (
            {"alpha_reward": lambda rng, n: np.full(n, 2.0), "lapse": lambda rng, n: np.full(n, -1.0)},
            "AgentQ drew parameters that cannot be used:\n  - alpha_reward must lie in [0, 1], not 2.\n"
            "  - lapse must lie in [0, 1], not -1.",
        ),
        (
            {"beta_reward": lambda rng, n: np.ones((n, 2))},
            "the distribution of beta_reward must give 1 values, but gave shape (1, 2).",
        ),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ConfigError) as error:
        AgentQ(**arguments)
    assert str(error.value) == message


def test_bad_draws_say_how_many():
    agent = AgentQ(alpha_reward=lambda rng, n: np.linspace(0.6, 0.6 + 0.2 * (n - 1), n))
    with pytest.raises(ConfigError) as error:
        agent.draw_parameters(4)
    assert str(error.value) == (
        "AgentQ drew parameters that cannot be used: alpha_reward must lie in [0, 1], but 1 of 4 values do not, "
        "e.g. 1.2; take a distribution that does, e.g. scipy.stats.beta."
    )


def test_participant_without_drawn_parameters():
    agent = AgentQ(alpha_reward=scipy.stats.uniform())
    with pytest.raises(ConfigError) as error:
        agent.new_sess(participants=2)
    assert str(error.value) == (
        "AgentQ has drawn parameters for 1 participant(s), so there are none for participant 2. Draw them with "
        "draw_parameters(3), or, for a session simulated with draw_per='session', make an AgentQ with that session's "
        "parameters."
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda agent: agent.get_state_value("x_value"),
            "AgentQ has no state 'x_value'; its states are x_value_reward, x_value_choice, x_learning_rate_reward.",
        ),
        (lambda agent: agent.update(2, [1, np.nan]), "there is no option 2; options are numbered 0 to 1."),
        (
            lambda agent: agent.update([0, 1], [1, np.nan]),
            "update needs a choice of shape () and rewards of shape (2,); got (2,) and (2,). new_sess says how many "
            "sessions run at once.",
        ),
        (lambda agent: agent.new_sess(0), "n_sessions must be a whole number from 1 on, not 0."),
        (
            lambda agent: agent.new_sess(2, participants=[0, 1, 2]),
            "participants must be one whole number from 0 on, or one for each of the 2 session(s); got [0, 1, 2].",
        ),
        (
            lambda agent: agent.new_sess(participants=-1),
            "participants must be one whole number from 0 on, or one for each of the 1 session(s); got -1.",
        ),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises((ConfigError, DataError)) as error:
        call(AgentQ())
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (
            np.zeros((2, 3, 5)),
            "a session has the shape (n_trials, n_features), not (2, 3, 5); take one session: dataset.xs[0].",
        ),
        (
            np.full((2, 5), np.nan),
            "the session has no trial with a choice: every row is NaN in its choice columns.",
        ),
        (
            [[1, 0, 1, 0, 0], [1, 1, 1, 0, 0.5]],
            "The session cannot be read:\n  - the choice of trial 1 is [1.0, 1.0]; it must be one-hot, 1 for the "
            "chosen option and 0 for the others (NaN for a missing trial).\n  - the column 'participant' holds 0, 0.5; "
            "one session belongs to one participant, numbered 0, 1, 2, ...",
        ),
    ],
)
def test_bad_sessions(session, message):
    with pytest.raises(DataError) as error:
        replay(AgentQ(), session)
    assert str(error.value) == message


def test_replay_wants_one_session_of_as_many_options():
    dataset, experiments, _ = create_dataset(AgentQ(), BanditsDrift(0.2), n_trials=5, n_sessions=2, seed=1)
    with pytest.raises(DataError, match=r"^one session is needed, but the dataset has 2; take one: dataset\[0\]\.$"):
        replay(AgentQ(), dataset)
    with pytest.raises(DataError, match=r"^the session has 2 options, the agent 3\.$"):
        replay(AgentQ(3), experiments[0])

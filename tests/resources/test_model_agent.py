"""Agents made of models, led through sessions trial by trial, against the model run over the whole session."""

import numpy as np
import pytest
import torch

from spice.equations import Equation, EquationModule
from spice.errors import ConfigError
from spice.precoded import ChoiceRNN, RescorlaWagnerRNN
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.columns import Columns
from spice.resources.model_agent import ModelAgent
from spice.resources.rnn import BaseRNN


def rescorla_wagner():
    model = RescorlaWagnerRNN(2).double()
    terms = {"1": -0.3, "x_value_reward_chosen": 0.7, "c_reward": 0.9}
    entry = Equation("x_value_reward_chosen", ("c_reward",), terms)
    model.integrate_equations({"x_value_reward_chosen": EquationModule({0: entry}, 1)})
    return model.eval()


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_replay_equals_the_model_shifted_by_one(random_data):
    data = random_data(missing=0.1, n_participants=2)
    model = ChoiceRNN(2, 2, hidden_size=3).double().eval()
    agent = ModelAgent(model)
    with torch.no_grad():
        logits, _ = model(data.xs, batch_first=True)
    for session in range(4):
        result = replay(agent, data.xs[session])
        np.testing.assert_allclose(result.logits[0], [0.5 * _beta(model, data.participants[session])] * 2, atol=1e-12)
        n_trials = len(result.logits)
        np.testing.assert_allclose(result.logits[1:], logits[session, : n_trials - 1].numpy(), atol=1e-12)
        np.testing.assert_allclose(result.probs, softmax(result.logits), atol=1e-12)


def _beta(model, participant):
    return model.scaling_values(participant[None])["x_value_reward"].item()


def test_the_equations_of_an_agent_are_the_agent():
    """x' = -0.3 + 0.7 x + 0.9 r from 0.5 is Q' = Q + 0.3 (r - Q) with inverse temperature 3: x = 3 Q - 1."""
    truth = AgentQ(2, alpha_reward=0.3, beta_reward=3.0)
    data, _, _ = create_dataset(truth, BanditsDrift(n_actions=2, sigma=0.2), n_trials=50, n_sessions=1, seed=3)
    data.xs[..., -1] = 0
    equations, expected = replay(ModelAgent(rescorla_wagner()), data.xs[0]), replay(truth, data.xs[0])
    np.testing.assert_allclose(equations.probs, expected.probs, atol=1e-6)  # xs is float32
    np.testing.assert_allclose(equations.logits, expected.logits - 1, atol=1e-5)


def test_states_are_multiplied_with_beta_on_request():
    model = ChoiceRNN(2, 3, hidden_size=3).double().eval()
    agent = ModelAgent(model)
    assert agent.states == ("x_value_reward", "x_value_choice")
    agent.new_sess(participants=2)
    np.testing.assert_allclose(agent.get_state_value("x_value_reward", multiply_with_beta=False), [0.5, 0.5])
    beta = _beta(model, torch.tensor(2))
    np.testing.assert_allclose(agent.get_state_value("x_value_reward"), [0.5 * beta] * 2)
    with pytest.raises(
        ConfigError, match="^ModelAgent has no state 'q'; its states are x_value_reward, x_value_choice.$"
    ):
        agent.get_state_value("q")


def test_many_sessions_at_once_equal_one_at_a_time():
    agent = ModelAgent(rescorla_wagner(), seed=0)
    choices, rewards = np.array([0, 1, 1]), np.array([[1, np.nan], [np.nan, 0], [np.nan, 1]])
    agent.new_sess(3, participants=np.zeros(3, dtype=int))
    agent.update(choices, rewards)
    together = agent.get_choice_probs()
    for session in range(3):
        agent.new_sess()
        agent.update(int(choices[session]), rewards[session])
        np.testing.assert_array_equal(agent.get_choice_probs(), together[session])


def test_choices_are_seeded_and_follow_the_probabilities():
    agent = ModelAgent(rescorla_wagner(), seed=5)
    agent.new_sess(4000, participants=np.zeros(4000, dtype=int), seed=1)
    agent.update(np.zeros(4000, dtype=int), np.tile([1.0, np.nan], (4000, 1)))
    share, expected = agent.get_choice().mean(), agent.get_choice_probs()[0, 1]
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_simulated_data_recover_the_values():
    data, experiments, _ = create_dataset(
        ModelAgent(rescorla_wagner()),
        BanditsDrift(n_actions=2, sigma=0.2),
        n_trials=30,
        n_sessions=3,
        n_participants=1,
        seed=0,
    )
    with torch.no_grad():
        logits, _ = rescorla_wagner()(data.xs, batch_first=True)
    values = np.stack([experiment.latent["x_value_reward"] for experiment in experiments])
    np.testing.assert_allclose(values[:, 1:], logits.numpy(), atol=1e-6)


def test_unknown_participants():
    agent = ModelAgent(ChoiceRNN(2, 3, hidden_size=3).eval())
    with pytest.raises(
        ConfigError, match="^participant 3 is unknown: the model has participants 0 to 2; choose one of them"
    ):
        agent.new_sess(participants=3)


class CueRNN(BaseRNN):
    """Chooses by the cue shown next."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        return {}, trial.next_shown["cue"] * torch.tensor([0.0, 1.0]) + trial.inputs["effort"]


def test_inputs_reach_the_model_by_name():
    model = CueRNN(2)
    model.columns = Columns.make(2, 8, ["cue", "next_cue", "effort", "participant"])
    agent = ModelAgent(model)
    agent.update(0, np.array([1.0, np.nan]), next_cue=2.0, effort=5.0)
    np.testing.assert_allclose(agent.get_logits(), [5.0, 7.0])
    with pytest.raises(ConfigError, match="^the model has no input 'sound'; its inputs are effort, cue, next_cue.$"):
        agent.update(0, np.array([1.0, np.nan]), sound=1.0)


class ShownRNN(BaseRNN):
    """Logits are the stimulus shown before the choice."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        return {}, trial.next_shown["stimulus"] * torch.tensor([0.0, 1.0])


def test_a_replay_knows_what_was_shown_before_the_first_choice():
    rng = np.random.default_rng(0)
    stimulus = rng.normal(size=6)
    xs = np.column_stack([np.eye(2)[[0, 1, 1, 0, 1, 0]], np.zeros((6, 2)), stimulus, [*stimulus[1:], 0], np.zeros(6)])
    model = ShownRNN(2)
    model.columns = Columns.make(2, 7, ["stimulus", "next_stimulus", "participant"])
    seen = replay(ModelAgent(model), xs, columns=["stimulus", "next_stimulus", "participant"])
    assert np.allclose(seen.logits[:, 1], stimulus, atol=1e-6)

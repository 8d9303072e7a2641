"""The ready models: they fit together with their configurations, and each can express the agent it is named after."""

import warnings

import numpy as np
import pytest
import torch

import spice.precoded as precoded
from spice.equations import Equation, EquationModule
from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.config import SpiceConfig
from spice.resources.model_agent import ModelAgent

MODELS = {
    "RescorlaWagnerRNN": "RESCORLA_WAGNER_CONFIG",
    "ForgettingRNN": "FORGETTING_RNN_CONFIG",
    "LearningRateRNN": "LEARNING_RATE_RNN_CONFIG",
    "ParticipantEmbeddingRNN": "PARTICIPANT_EMBEDDING_RNN_CONFIG",
    "ChoiceRNN": "CHOICE_CONFIG",
    "BanditRNN": "BANDIT_CONFIG",
}


def test_names():
    networks = {*MODELS, *MODELS.values(), "RESCOLA_WAGNER_CONFIG"}
    functions = {name for name in precoded.__all__ if name.islower()}
    assert set(precoded.__all__) == networks | functions and len(functions) >= 11
    assert all(hasattr(precoded, name) for name in precoded.__all__)
    assert precoded.RESCOLA_WAGNER_CONFIG is precoded.RESCORLA_WAGNER_CONFIG


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_actions", [2, 3])
def test_models_fit_together_with_their_configurations(name, n_actions, random_data):
    data = random_data(n_sessions=4, n_trials=20, n_actions=n_actions, n_participants=2, missing=0.1)
    model_class, config = getattr(precoded, name), getattr(precoded, MODELS[name])
    assert isinstance(config, SpiceConfig)
    refine = n_actions == 2  # compiling a model takes a second or two, of three options no less
    estimator = SpiceEstimator(model_class, config, hidden_size=2, epochs=2, random_state=0, refine=refine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator.fit(data)
    assert set(estimator.rnn_model_.submodules_rnn) == set(config.rnn_modules)
    assert set(estimator.equations_[1]) == set(config.rnn_modules)
    for probabilities in estimator.predict(data):
        np.testing.assert_allclose(probabilities[~np.isnan(probabilities).any(-1)].sum(-1), 1, atol=1e-9)
    with torch.no_grad():
        logits, _ = estimator.rnn_model_(data.xs, batch_first=True)
    played = replay(estimator.rnn_agent, data.xs[1])  # an agent plays every model
    n_trials = len(played.logits)
    np.testing.assert_allclose(played.logits[1:], logits[1, : n_trials - 1].numpy(), atol=1e-9)
    for state in model_class.init_values:
        assert replay(estimator.spice_agent, data.xs[1], signals=[state]).signals[state].shape == (n_trials, n_actions)


def as_agent(model, equations):
    modules = {name: EquationModule({0: Equation(name, *parts)}, 1) for name, parts in equations.items()}
    model.integrate_equations(modules)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return ModelAgent(model.double().eval())


def session_of(agent, **settings):
    data, _, _ = create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2, **settings), 60, 1, seed=4)
    data.xs[..., -1] = 0
    return data.xs[0]


def assert_same_choices(model, agent, session):
    np.testing.assert_allclose(replay(model, session).probs, replay(agent, session).probs, atol=1e-6)


def test_forgetting_is_expressed():
    """Learning rate 0.3, forgetting 0.2 towards 0.5, inverse temperature 3: x = 3 Q - 1."""
    agent = AgentQ(2, alpha_reward=0.3, forget_rate=0.2, beta_reward=3.0)
    model = as_agent(
        precoded.ForgettingRNN(2),
        {
            "x_value_reward_chosen": (("c_reward",), {"1": -0.3, "x_value_reward_chosen": 0.7, "c_reward": 0.9}),
            "x_value_reward_not_chosen": ((), {"1": 0.1, "x_value_reward_not_chosen": 0.8}),
        },
    )
    assert_same_choices(model, agent, session_of(agent))


def test_perseveration_is_expressed():
    """A slow choice trace: K <- K + 0.4 (1[chosen] - K)."""
    agent = AgentQ(2, alpha_reward=0.3, forget_rate=0.2, beta_reward=3.0, beta_choice=1.5, alpha_choice=0.4)
    model = precoded.ChoiceRNN(2, 1, embedding_size=1)
    agent_model = as_agent(
        model,
        {
            "x_value_reward_chosen": (("c_reward",), {"x_value_reward_chosen": 0.7, "c_reward": 0.3}),
            "x_value_reward_not_chosen": ((), {"1": 0.1, "x_value_reward_not_chosen": 0.8}),
            "x_value_choice_chosen": ((), {"1": 0.4, "x_value_choice_chosen": 0.6}),
            "x_value_choice_not_chosen": ((), {"x_value_choice_not_chosen": 0.6}),
        },
    )
    torch.nn.init.constant_(model.betas["x_value_reward"].parameter, 3.0)
    torch.nn.init.constant_(model.betas["x_value_choice"].parameter, 1.5)
    assert_same_choices(agent_model, agent, session_of(agent))


def test_asymmetric_learning_rates_are_expressed():
    """Learning rate 0.5 after rewards, 0.2 after their omission."""
    agent = AgentQ(2, alpha_reward=0.5, alpha_penalty=0.2, beta_reward=4.0)
    model = precoded.LearningRateRNN(2)
    agent_model = as_agent(
        model,
        {
            "x_learning_rate_reward": (("c_reward", "c_value_reward"), {"1": 0.2, "c_reward": 0.3}),
            "x_value_reward_not_chosen": ((), {"x_value_reward_not_chosen": 1.0}),
        },
    )
    torch.nn.init.constant_(model.betas["x_value_reward"].parameter, 4.0)
    session = session_of(agent)
    assert_same_choices(agent_model, agent, session)
    signals = ("x_learning_rate_reward", "x_value_reward")
    found, expected = (replay(player, session, signals=signals).signals for player in (agent_model, agent))
    np.testing.assert_allclose(found["x_value_reward"], expected["x_value_reward"], atol=1e-5)
    np.testing.assert_allclose(found["x_learning_rate_reward"], expected["x_learning_rate_reward"], atol=1e-6)


def test_learning_rates_of_the_network_lie_between_0_and_1(random_data):
    model = precoded.LearningRateRNN(2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)
        _, state = model(random_data().xs, batch_first=True)
    assert ((state["x_learning_rate_reward"] >= 0) & (state["x_learning_rate_reward"] <= 1)).all()


def test_people_differ(random_data):
    for model_class in (precoded.ParticipantEmbeddingRNN, precoded.ChoiceRNN):
        model = model_class(2, 4, embedding_size=3).double().eval()
        xs = random_data(n_sessions=1).xs.repeat(4, 1, 1)
        xs[..., -1] = torch.arange(4.0)[:, None]
        with torch.no_grad():
            logits, _ = model(xs, batch_first=True)
        assert all((logits[0] - logits[p]).abs().max() > 1e-6 for p in range(1, 4))

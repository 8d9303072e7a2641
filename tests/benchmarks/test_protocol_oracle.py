"""The protocol's oracle: its likelihood, gradient and sub-models."""

import numpy as np
import protocol_oracle as oracle
import pytest
import recovery_oracle

from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset


def play(seed, n_sessions=4, **agent):
    sessions = create_dataset(AgentQ(2, **agent), BanditsDrift(sigma=0.2), 100, n_sessions, 1, seed=seed)[1]
    choices = np.array([session.choices for session in sessions])
    return choices, np.array([session.rewards for session in sessions])


def received(choices, outcomes):
    return np.take_along_axis(outcomes, choices[..., None], axis=2)[..., 0]


PARAMETERS = np.array([3.0, 0.6, 0.25, 0.15, 0.8, 0.4])


def test_likelihood_is_that_of_the_other_oracle():
    choices, outcomes = play(0, alpha_reward=0.6, alpha_penalty=0.25, forget_rate=0.15, beta_choice=0.8)
    for parameters in (PARAMETERS, np.array([2.0, 0.5, 0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0, 0, 0, 1.5, 0.3])):
        named = dict(zip(oracle.NAMES, parameters, strict=True))
        expected = -recovery_oracle.log_likelihood(named, choices, outcomes)
        nll, _ = oracle.nll_and_gradient(parameters, choices, received(choices, outcomes))
        assert nll == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("parameters", [PARAMETERS, np.append(PARAMETERS, 0.2)])
def test_gradient_is_that_of_finite_differences(parameters):
    choices, outcomes = play(1, alpha_reward=0.3)
    rewards = received(choices, outcomes)
    _, gradient = oracle.nll_and_gradient(parameters, choices, rewards)
    for k, step in enumerate(1e-5 * np.eye(len(parameters))):
        ahead, back = (oracle.nll_and_gradient(parameters + s, choices, rewards)[0] for s in (step, -step))
        assert gradient[k] == pytest.approx((ahead - back) / 2e-5, rel=1e-6)


def test_the_start_is_known_or_estimated():
    choices, outcomes = play(5, n_sessions=30, alpha_reward=0.3, start=0.0)
    rewards, model = received(choices, outcomes), frozenset({"reward"})
    known, estimated = (oracle.fit(model, choices, rewards, start_known) for start_known in (True, False))
    assert known[1][6] == oracle.START and abs(estimated[1][6]) < 0.4 and estimated[0] < known[0]
    named = dict(zip((*oracle.NAMES, "initial_value"), estimated[1], strict=True))
    assert estimated[0] == pytest.approx(-recovery_oracle.log_likelihood(named, choices, outcomes), rel=1e-12)


def test_sub_models_are_those_whose_mechanisms_have_something_to_act_on():
    models = oracle.sub_models()
    assert len(models) == len(set(models)) == 15
    for model in models:
        assert "reward" in model or not model & {"forgetting", "asymmetry"}
        assert "choice" in model or "slow choice" not in model
    assert sorted(len(oracle.free(model)) for model in models)[-1] == len(oracle.NAMES)


def test_more_mechanisms_fit_no_worse():
    choices, outcomes = play(2, alpha_reward=0.4, beta_choice=1.0, alpha_choice=0.4)
    found = {model: oracle.fit(model, choices, received(choices, outcomes))[0] for model in oracle.sub_models()}
    for smaller, nll in found.items():
        assert all(found[larger] <= nll + 1e-3 for larger in found if larger > smaller), smaller


def test_clear_mechanisms_are_picked_and_estimated():
    agent = {"beta_reward": 4.0, "alpha_reward": 0.7, "alpha_penalty": 0.2, "beta_choice": 1.5, "alpha_choice": 0.3}
    choices, outcomes = play(3, n_sessions=100, **agent)
    found = oracle.pick(choices, received(choices, outcomes))
    assert found.mechanisms == {"reward", "asymmetry", "choice", "slow choice"}
    assert min(found.inclusion[name] for name in found.mechanisms) > 0.99
    assert found.inclusion["forgetting"] < 0.05
    truth = np.array([4.0, 0.7, 0.2, 0.0, 1.5, 0.3])
    spread = oracle.free(found.mechanisms)
    # standard errors from differences of the gradient
    rewards, step = received(choices, outcomes), 1e-4

    def gradient(numbers):
        return spread @ oracle.nll_and_gradient(numbers @ spread + oracle.NEUTRAL * ~spread.any(0), choices, rewards)[1]

    best = (spread @ found.parameters[:6]) / spread.sum(1)
    hessian = np.array([(gradient(best + s) - gradient(best - s)) / (2 * step) for s in step * np.eye(len(best))])
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert (np.abs(best - spread @ truth / spread.sum(1)) < 3.5 * errors).all()


def test_somebody_who_chooses_at_random_has_no_mechanism():
    generator = np.random.default_rng(4)
    choices, rewards = generator.integers(0, 2, (4, 101)), generator.integers(0, 2, (4, 101)).astype(float)
    found = oracle.pick(choices, rewards)
    assert found.mechanisms == frozenset()
    assert set(found.inclusion) == set(oracle.MECHANISMS)

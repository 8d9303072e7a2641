"""Known agents are found within the standard errors of the best estimator."""

import numpy as np
import pytest

from spice.estimator import SpiceEstimator
from spice.precoded import FORGETTING_RNN_CONFIG, RESCORLA_WAGNER_CONFIG, ForgettingRNN, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

CHOSEN = "x_value_reward_chosen"


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_continuous_rewards_in_any_unit(unit):
    """Rewards drawn around drifting means, also as points of 0 to 100; the agent learns in units of 1."""
    rng = np.random.default_rng(0)
    n_sessions, n_trials = 60, 100
    agent = AgentQ(n_actions=2, alpha_reward=0.3, beta_reward=4.0)
    agent.new_sess(n_sessions, participants=np.zeros(n_sessions, dtype=int), seed=1)
    means = np.clip(0.5 + np.cumsum(rng.normal(0, 0.1, (n_trials + 1, n_sessions, 2)), axis=0), 0, 1)
    choices, rewards = [], []
    for mean in means:
        choices.append(np.eye(2)[agent.get_choice()])
        rewards.append(np.where(choices[-1] == 1, np.clip(rng.normal(mean, 0.15), 0, 1), np.nan))
        agent.update(choices[-1].argmax(-1), rewards[-1])
    choices, rewards = np.stack(choices, axis=1), unit * np.stack(rewards, axis=1)
    xs = np.concatenate([choices, rewards, np.zeros((n_sessions, n_trials + 1, 1))], axis=-1)
    estimator = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, random_state=0).fit(
        xs[:, :-1], choices[:, 1:]
    )
    found = estimator.equations_[0][CHOSEN].coefficients
    # x = 4 Q + c, where the start value 0.5 of x fixes c = -1.5: x' = 0.7 x + 1.2 r - 0.45
    truth = {"1": -0.45, CHOSEN: 0.7, "c_reward": 1.2 / unit}
    # standard errors of the maximum-likelihood estimate that knows the three terms
    errors = dict(zip(truth, _standard_errors(xs[:, :-1], choices[:, 1:], list(truth.values())), strict=True))
    assert found.keys() == truth.keys()
    for term, value in truth.items():
        assert abs(found[term] - value) < 4 * errors[term] + 0.03 * abs(value), (term, found, errors)


def _standard_errors(xs, ys, coefficients):
    """From the observed information at the truth, by finite differences of the likelihood."""
    scales = np.array([0.01, 0.01, 0.01 * coefficients[2]])

    def nll(shift):
        terms = dict(zip(("1", CHOSEN, "c_reward"), np.array(coefficients) + shift * scales, strict=True))
        values = np.full((len(xs), 2), 0.5)
        total = 0.0
        for t in range(xs.shape[1]):
            chosen = xs[:, t, :2] == 1
            updated = terms["1"] + terms[CHOSEN] * values + terms["c_reward"] * np.nan_to_num(xs[:, t, 2:4])
            values = np.where(chosen, updated, values)
            total -= np.sum(ys[:, t] * (values - np.logaddexp(values[:, :1], values[:, 1:])))
        return total

    unit = np.eye(3)
    hessian = np.array([[(nll(a + b) - nll(a - b) - nll(b - a) + nll(-a - b)) / 4 for b in unit] for a in unit])
    return scales * np.sqrt(np.diag(np.linalg.inv(hessian)))


def test_forgetting_is_found():
    agent = AgentQ(n_actions=2, alpha_reward=0.3, beta_reward=4.0, forget_rate=0.2)
    data, _, _ = create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2), n_trials=100, n_sessions=100, seed=0)
    data.xs[..., -1] = 0
    estimator = SpiceEstimator(ForgettingRNN, FORGETTING_RNN_CONFIG, random_state=0).fit(data)
    chosen = estimator.equations_[0][CHOSEN].coefficients
    others = estimator.equations_[0]["x_value_reward_not_chosen"].coefficients
    assert chosen[CHOSEN] == pytest.approx(0.7, abs=0.06) and chosen["c_reward"] == pytest.approx(1.2, abs=0.15)
    assert others["x_value_reward_not_chosen"] == pytest.approx(0.8, abs=0.1)

"""Signals of earlier trials: the same in the loop, all trials at once, piece by piece, and trial by trial."""

import copy

import numpy as np
import pytest
import torch

from spice.errors import ConfigError
from spice.estimator import SpiceEstimator
from spice.precoded import BanditRNN
from spice.resources.agents import Agent, replay
from spice.resources.bandits import BanditsDrift, create_dataset
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.model_agent import ModelAgent
from spice.resources.rnn import BaseRNN
from spice.sindy.samples import collect_samples
from spice.training import in_loop
from spice.training.evaluation import Evaluation
from spice.training.method import choose_evaluation
from spice.training.objective import Objective
from spice.training.parameters import ParameterVector

CHOSEN = "x_value_reward_chosen"
SIGNALS = ["c_reward", "c_reward_lag1"]
CONFIG = SpiceConfig(
    rnn_modules=[CHOSEN],
    control_parameters=["c_action", *SIGNALS],
    library_setup={CHOSEN: SIGNALS},
    filter_setup={CHOSEN: ["c_action", 1, True]},
)


class LagRNN(BaseRNN):
    """Rescorla-Wagner with the outcome before last; rewards are those received."""

    init_values = {"x_value_reward": 0.5}
    lags = {"reward": 1}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn[CHOSEN] = self.setup_module(input_size=2)

    def signals(self, trial):
        received = (trial.reward * trial.action).sum(-1, keepdim=True).expand_as(trial.action)
        return super().signals(trial) | {"reward": received.nan_to_num(0.0)}

    def step(self, state, trial):
        value = state["x_value_reward"]
        inputs = (self.signals(trial)["reward"], self.lagged("reward", 1))
        value = self.call_module(CHOSEN, value, action=trial.action, inputs=inputs) + value * (1 - trial.action)
        return {"x_value_reward": value}, value


class DeepLagRNN(BaseRNN):
    """Logits are what the last trials held, in digits: choices two and one trials back, then the rewards."""

    init_values = {"x_value": 0.0}
    lags = {"action": 2, "reward": 3}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_value"] = self.setup_module(input_size=2)

    def step(self, state, trial):
        inputs = (self.lagged("action", 2), self.lagged("reward", 1))
        value = self.call_module("x_value", "x_value", inputs=inputs)
        seen = [self.lagged("action", 1), self.lagged("action", 2), *(self.lagged("reward", n) for n in (1, 2, 3))]
        return {"x_value": value}, value + sum(10.0**k * part for k, part in enumerate(seen))


class CustomLagRNN(LagRNN):
    """The same with a loop of its own."""

    def forward(self, inputs, prev_state=None, batch_first=False):
        (actions, rewards, *_), _, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            received = (reward * action).sum(-1, keepdim=True).expand_as(action)
            self.record_signal("c_action", action)
            self.record_signal("c_reward", received)
            chosen = self.call_module(
                CHOSEN, "x_value_reward", action=action, inputs=(received, self.lagged("reward", 1))
            )
            self.state["x_value_reward"] = chosen + self.state["x_value_reward"] * (1 - action)
            logits[timestep] = self.state["x_value_reward"]
        return self.post_forward_pass(logits, batch_first), self.get_state()


class LagAgent(Agent):
    """Q of the chosen option: 0.6 Q + 0.5 r + 0.4 (r of the trial before), with logits of 3 Q."""

    def __init__(self):
        super().__init__(2)
        self.new_sess()

    @property
    def states(self):
        return ("q",)

    def _start(self, participants):
        self._q, self._before = np.zeros((len(participants), 2)), np.zeros(len(participants))

    def _learn(self, choice, reward, inputs):
        rows = np.arange(len(choice))
        options, self._q = choice.astype(int), self._q.copy()
        received = reward[rows, options]
        self._q[rows, options] = 0.6 * self._q[rows, options] + 0.5 * received + 0.4 * self._before
        self._before = received

    def _logits(self):
        return 3 * self._q

    def _state(self, state, multiply_with_beta):
        return self._q


def weighted(model):
    """The model with weights far from their start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def logits_of(model, xs, state=None):
    with torch.no_grad():
        return model(xs, state, batch_first=True)


@pytest.fixture(params=[LagRNN, DeepLagRNN, CustomLagRNN])
def model(request):
    return weighted(request.param(n_actions=2, hidden_size=3).double())


def test_lagged_signals_are_those_of_earlier_trials(random_data):
    data = random_data(n_sessions=3, n_trials=9, missing=0.2, unknown=0.2, padding=True)
    model = weighted(DeepLagRNN(n_actions=2, hidden_size=3).double())
    with torch.no_grad(), model.recording() as record:
        model(data.xs, batch_first=True)
    seen = data.observed.numpy()[..., None]
    signals = {"action": data.xs[..., :2].numpy(), "reward": data.xs[..., 2:4].numpy()}
    for name, n in (("action", 1), ("action", 2), ("reward", 1), ("reward", 3)):
        values = np.nan_to_num(np.where(seen, signals[name], 0.0))
        expected = np.concatenate([np.zeros((3, n, 2)), values], axis=1)[:, :9]
        recorded = record.signal(f"c_{name}_lag{n}").transpose(0, 1).numpy()
        np.testing.assert_allclose(recorded, expected, atol=1e-7)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_pass_goes_on_where_another_ended(model, random_data, cut):
    xs = random_data(n_sessions=3, n_trials=9, missing=0.2).xs
    whole, last = logits_of(model, xs)
    first, state = logits_of(model, xs[:, :cut])
    second, end = logits_of(model, xs[:, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    assert end.keys() == last.keys()
    for name in last:
        torch.testing.assert_close(end[name], last[name])


def test_copies_between_two_passes_go_on_too(model, random_data):
    xs = random_data(n_sessions=3, n_trials=9).xs
    logits_of(model, xs)
    other = copy.deepcopy(model)
    assert other.get_state().keys() == model.get_state().keys()


def test_a_loop_of_ones_own_gives_the_same(random_data):
    data = random_data(n_sessions=3, n_trials=9, missing=0.2)
    own, usual = CustomLagRNN(n_actions=2, hidden_size=3).double(), LagRNN(n_actions=2, hidden_size=3).double()
    torch.testing.assert_close(logits_of(weighted(own), data.xs)[0], logits_of(weighted(usual), data.xs)[0])


@pytest.mark.parametrize("model_class", [LagRNN, DeepLagRNN])
def test_loss_and_gradient_are_the_same_all_at_once_and_in_pieces(model_class, random_data, monkeypatch):
    data = random_data(n_sessions=5, n_trials=23, missing=0.1, padding=True)
    model = weighted(model_class(n_actions=2, hidden_size=3).double())
    rows = ParameterVector(model).read().unsqueeze(0)
    whole = Objective(model, data, Evaluation())(rows)
    assert choose_evaluation(model, data).at_once
    for sweeps in (True, False):
        evaluation = Evaluation(at_once=True, coupled=False, sweeps=sweeps)
        for mine, expected in zip(Objective(model, data, evaluation)(rows), whole, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-8)
    monkeypatch.setattr(in_loop, "LONGEST", 4)
    for mine, expected in zip(Objective(model, data, Evaluation())(rows), whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-9)


def test_an_agent_led_through_a_session_expects_what_the_model_predicts(model, random_data):
    data = random_data(n_sessions=1, n_trials=12, missing=0.2)
    logits, _ = logits_of(model, data.xs)
    expected = torch.softmax(logits[0, :-1], -1).numpy()
    told = replay(ModelAgent(model), data.xs[0])
    np.testing.assert_allclose(told.probs[1:], expected[: len(told.probs) - 1], atol=1e-12)


def test_simulated_sessions_are_predicted_by_the_model_that_made_them():
    model = weighted(LagRNN(n_actions=2, hidden_size=3).double())
    data, experiments, _ = create_dataset(ModelAgent(model), BanditsDrift(n_actions=2, sigma=0.2), 30, 3, 1, seed=0)
    values = np.stack([experiment.latent["x_value_reward"] for experiment in experiments])
    np.testing.assert_allclose(values[:, 1:], logits_of(model, data.xs)[0].numpy(), atol=1e-6)


def test_the_truth_is_found_and_named():
    data, _, _ = create_dataset(LagAgent(), BanditsDrift(n_actions=2, sigma=0.2), 100, 60, 1, seed=0)
    estimator = SpiceEstimator(LagRNN, CONFIG, random_state=0).fit(data)
    terms = estimator.summary().set_index("term")
    assert set(estimator.equations_[0][CHOSEN].coefficients) == {"1", CHOSEN, "c_reward", "c_reward_lag1"}
    truth = {CHOSEN: 0.6, "c_reward": 1.5, "c_reward_lag1": 1.2}
    for name, value in truth.items():
        assert abs(terms.estimate[name] - value) < 4 * terms.se[name]
    assert "c_reward_lag1" in estimator.format_spice_model()
    told = replay(estimator.spice_agent, data.xs[0])
    np.testing.assert_allclose(told.probs[1:], estimator.predict(data)[1][0, : len(told.probs) - 1], atol=1e-6)


def test_bandit_rewards_are_those_received(random_data):
    class LaggedBandit(BanditRNN):
        lags = {"reward": 1}

    data = random_data(n_sessions=2, n_trials=5)
    model = LaggedBandit(2)
    with torch.no_grad(), model.recording() as record:
        model(data.xs, batch_first=True)
    torch.testing.assert_close(record.signal("c_reward_lag1")[1:], record.signal("c_reward")[:-1])


def test_lags_that_do_not_fit_are_named(random_data):
    data = random_data()
    changed = SpiceConfig([CHOSEN], ["c_action", "c_reward", "c_reward_lag2"], {CHOSEN: ["c_reward", "c_reward_lag2"]})
    with pytest.raises(ConfigError, match=r"'c_reward_lag2' is never recorded: write lags = \{'reward': 2\} in the"):
        SpiceEstimator(LagRNN, changed).fit(data)
    model = LagRNN(n_actions=2)
    model(data.xs, batch_first=True)
    with pytest.raises(ConfigError, match=r"^LagRNN does not carry c_action_lag1: write lags = \{'action': 1\}"):
        model.lagged("action")
    model.lags = {"rewart": 1}
    with pytest.raises(ConfigError, match=r"^lags names the signal 'rewart' \(did you mean 'reward'\?\)"):
        model(data.xs, batch_first=True)
    model.lags = {"reward": 0}
    with pytest.raises(ConfigError, match="^lags of 'reward' must be a whole number of trials from 1 on, not 0.$"):
        model(data.xs, batch_first=True)


def test_columns_of_ones_own_may_be_named_so(random_data):
    """Lagged inputs that the data bring along need no lags."""

    class OwnColumn(LagRNN):
        lags = {}

        def step(self, state, trial):
            inputs = (self.signals(trial)["reward"], trial.inputs["reward_lag1"])
            chosen = self.call_module(CHOSEN, "x_value_reward", action=trial.action, inputs=inputs)
            value = chosen + state["x_value_reward"] * (1 - trial.action)
            return {"x_value_reward": value}, value

    data = random_data(n_sessions=4, n_trials=30)
    received = torch.where(data.xs[..., :2] == 1, data.xs[..., 2:4], 0.0).sum(-1)
    lagged = torch.cat([torch.zeros(4, 1), received[:, :-1]], dim=1)
    xs = torch.cat([data.xs[..., :4], lagged[..., None], data.xs[..., 4:]], dim=-1)
    wide = DatasetRNN(xs, data.ys, columns=["reward_lag1", "participant"])
    samples = []
    for model_class, used in ((OwnColumn, wide), (LagRNN, data)):
        model = weighted(model_class(n_actions=2, hidden_size=3).double())
        model.columns = used.columns
        samples.append(collect_samples(model, CONFIG, used)[CHOSEN].features)
    np.testing.assert_allclose(samples[0], samples[1], atol=1e-6)

"""The trial loop, held against independent NumPy loops, finite differences and its own symmetries."""

import copy

import numpy as np
import pytest
import torch

from spice.equations import Equation, EquationModule
from spice.errors import ConfigError
from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.columns import Columns
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood

MODELS = [RescorlaWagnerRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, ChoiceRNN]


class CustomRNN(BaseRNN):
    """The tutorial's model, with a loop of its own."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn["x_value_reward_chosen"] = self.setup_module(input_size=1)

    def forward(self, inputs, prev_state=None, batch_first=False):
        inputs, ids, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        actions, rewards, _, _ = inputs
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            self.record_signal("c_action", action)
            self.record_signal("c_reward", reward)
            self.record_signal("x_value_reward_chosen", self.state["x_value_reward"])
            next_chosen = self.call_module(
                key_module="x_value_reward_chosen", key_state="x_value_reward", action=action, inputs=reward
            )
            next_not_chosen = self.state["x_value_reward"] * (1 - action)
            self.state["x_value_reward"] = next_chosen + next_not_chosen
            logits[timestep] = self.state["x_value_reward"]
        logits = self.post_forward_pass(logits, batch_first)
        return logits, self.get_state()


def make_model(model_class, n_actions=2, n_participants=3, seed=0):
    """A model with weights far from their start, so that every part of it shows."""
    model = model_class.build(n_actions, n_participants, hidden_size=3).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def run(model, xs, prev_state=None):
    with torch.no_grad():
        logits, state = model(xs, prev_state, batch_first=True)
    return logits.numpy(), state


def equation(module, controls, **terms):
    names = {"constant": "1", "value": module, "reward": "c_reward", "rate_value": "c_value_reward"}
    return Equation(module, controls, {names[key]: coefficient for key, coefficient in terms.items()})


def oracle(xs, chosen, others=(0.0, 1.0), start=0.5, n_actions=2):
    """Values after every trial of a Rescorla-Wagner learner with forgetting, one trial at a time."""
    values = np.full((*xs.shape[:2], n_actions), np.nan)
    for session, rows in enumerate(np.asarray(xs, dtype=float)):
        value = np.full(n_actions, start)
        for trial, row in enumerate(rows):
            if not np.isnan(row[:n_actions]).any():
                choice = int(np.argmax(row[:n_actions]))
                reward = row[n_actions + choice]
                for action in range(n_actions):
                    if action != choice:
                        value[action] = others[0] + others[1] * value[action]
                    elif not np.isnan(reward):
                        value[action] = chosen[0] + chosen[1] * value[action] + chosen[2] * reward
            values[session, trial] = value
    return values


def oracle_traces(xs, chosen, others, n_actions=2):
    """Choice traces after every trial: they do not read the outcome."""
    traces = np.zeros((*xs.shape[:2], n_actions))
    for session, rows in enumerate(np.asarray(xs, dtype=float)):
        trace = np.zeros(n_actions)
        for trial, row in enumerate(rows):
            if not np.isnan(row[:n_actions]).any():
                for action in range(n_actions):
                    constant, factor = chosen if row[action] == 1 else others
                    trace[action] = constant + factor * trace[action]
            traces[session, trial] = trace
    return traces


def oracle_nll(logits, ys):
    """Summed negative log-likelihood, one choice at a time."""
    total = 0.0
    for row, target in zip(
        logits.reshape(-1, logits.shape[-1]), np.asarray(ys).reshape(-1, logits.shape[-1]), strict=True
    ):
        if not np.isnan(target).any():
            total -= row[int(np.argmax(target))] - np.log(np.sum(np.exp(row)))
    return total


# ---------------------------------------------------------------------- against NumPy


@pytest.mark.parametrize("n_actions", [2, 3])
@pytest.mark.parametrize(
    "gaps", [{}, {"missing": 0.2}, {"unknown": 0.2}, {"missing": 0.1, "unknown": 0.3, "padding": True}]
)
def test_likelihood_of_rescorla_wagner_equals_numpy(random_data, n_actions, gaps):
    data = random_data(n_actions=n_actions, **gaps)
    model = RescorlaWagnerRNN(n_actions).double()
    entry = equation("x_value_reward_chosen", ("c_reward",), constant=-0.3, value=0.7, reward=0.9)
    model.integrate_equations({"x_value_reward_chosen": EquationModule({0: entry}, 1)})
    logits, _ = run(model, data.xs)
    expected = oracle(data.xs, (-0.3, 0.7, 0.9), n_actions=n_actions)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-10)
    loss = negative_log_likelihood(torch.as_tensor(logits), data.ys.double())
    assert float(loss) == pytest.approx(oracle_nll(expected, data.ys), abs=1e-10)


@pytest.mark.parametrize("gaps", [{}, {"missing": 0.1, "unknown": 0.3, "padding": True}])
def test_forgetting_equals_numpy(random_data, gaps):
    data = random_data(**gaps)
    model = ForgettingRNN(2).double()
    chosen = equation("x_value_reward_chosen", ("c_reward",), constant=-0.1, value=0.6, reward=0.8)
    others = equation("x_value_reward_not_chosen", (), constant=0.1, value=0.8)
    model.integrate_equations({entry.module: EquationModule({0: entry}, 1) for entry in (chosen, others)})
    expected = oracle(data.xs, (-0.1, 0.6, 0.8), (0.1, 0.8))
    np.testing.assert_allclose(run(model, data.xs)[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gaps", [{}, {"missing": 0.1, "unknown": 0.3, "padding": True}])
def test_choice_traces_and_betas_per_participant_equal_numpy(random_data, gaps):
    data = random_data(n_sessions=6, n_participants=3, **gaps)
    model = make_model(ChoiceRNN)
    tables = {
        "x_value_reward_chosen": [(-0.1, 0.6, 0.8), (0.0, 0.5, 0.5), (0.2, 0.9, -0.4)],
        "x_value_reward_not_chosen": [(0.1, 0.8), (0.0, 1.0), (0.05, 0.9)],
        "x_value_choice_chosen": [(0.3, 0.7), (1.0, 0.0), (-0.2, 0.8)],
        "x_value_choice_not_chosen": [(0.0, 0.7), (0.0, 0.0), (0.1, 0.8)],
    }
    modules = {}
    for name, rows in tables.items():
        controls = ("c_reward",) if len(rows[0]) == 3 else ()
        keys = ("constant", "value", "reward")
        entries = {p: equation(name, controls, **dict(zip(keys, row, strict=False))) for p, row in enumerate(rows)}
        modules[name] = EquationModule(entries, 3)
    model.integrate_equations(modules)
    logits, _ = run(model, data.xs)
    vectors = model.participant_embedding.weight.detach().numpy()
    for session, person in enumerate(data.participants.tolist()):
        one = data.xs[session : session + 1]
        value = oracle(one, tables["x_value_reward_chosen"][person], tables["x_value_reward_not_chosen"][person])
        trace = oracle_traces(one, tables["x_value_choice_chosen"][person], tables["x_value_choice_not_chosen"][person])
        beta, perseveration = (
            part.parameter.item() + float(part.embedding.weight.detach().numpy()[0] @ vectors[person])
            for part in (model.betas["x_value_reward"], model.betas["x_value_choice"])
        )
        np.testing.assert_allclose(logits[session], (beta * value + perseveration * trace)[0], rtol=0, atol=1e-10)


def test_dynamic_learning_rate_equals_numpy(random_data):
    data = random_data(unknown=0.2, missing=0.1)
    model = make_model(LearningRateRNN)
    rate = equation(
        "x_learning_rate_reward", ("c_reward", "c_value_reward"), constant=0.2, value=0.1, reward=0.3, rate_value=-0.2
    )
    others = equation("x_value_reward_not_chosen", (), constant=0.1, value=0.8)
    model.integrate_equations({entry.module: EquationModule({0: entry}, 1) for entry in (rate, others)})
    logits, _ = run(model, data.xs)
    beta = model.betas["x_value_reward"].parameter.item()
    for session, rows in enumerate(data.xs.double().numpy()):
        q, alpha = np.array([0.5, 0.5]), np.array([0.0, 0.0])
        for trial, row in enumerate(rows):
            if not np.isnan(row[:2]).any():
                choice = int(row[1])
                q[1 - choice] = 0.1 + 0.8 * q[1 - choice]
                alpha[1 - choice] = 0.0
                if not np.isnan(row[2 + choice]):
                    alpha[choice] = 0.2 + 0.1 * alpha[choice] + 0.3 * row[2 + choice] - 0.2 * q[choice]
                    q[choice] += alpha[choice] * (row[2 + choice] - q[choice])
            np.testing.assert_allclose(logits[session, trial], beta * q, rtol=0, atol=1e-10)


# ---------------------------------------------------------------------- symmetries


@pytest.mark.parametrize("gaps", [{}, {"missing": 0.2, "unknown": 0.2, "padding": True}])
def test_step_and_a_loop_of_ones_own_agree(random_data, gaps):
    data = random_data(**gaps)
    short = make_model(RescorlaWagnerRNN)
    long = CustomRNN(2).double()
    long.submodules_rnn["x_value_reward_chosen"] = copy.deepcopy(short.submodules_rnn["x_value_reward_chosen"])
    np.testing.assert_array_equal(run(short, data.xs)[0], run(long, data.xs)[0])
    assert set(short.state_dict()) == set(long.state_dict())


@pytest.mark.parametrize("model_class", [*MODELS, CustomRNN])
def test_missing_trials_change_no_other_prediction(random_data, model_class):
    data = random_data(n_participants=2)
    model = make_model(model_class)
    plain, end = run(model, data.xs)
    rng = np.random.default_rng(1)
    places = np.sort(rng.choice(np.arange(17), size=12, replace=False))  # rows of the data among 17; others are missing
    xs = torch.full((4, 17, 5), torch.nan)
    xs[..., -1] = data.xs[:, :1, -1]
    xs[:, places] = data.xs
    logits, state = run(model, xs)
    np.testing.assert_array_equal(logits[:, places], plain)
    assert np.isfinite(logits).all()
    for name, value in end.items():
        assert torch.equal(state[name], value)
    for t in sorted(set(range(17)) - set(places)):
        if t > places[0]:
            np.testing.assert_array_equal(logits[:, t], logits[:, t - 1])


@pytest.mark.parametrize("model_class", MODELS)
def test_padding_changes_no_loss(random_data, model_class):
    data = random_data(n_participants=2, padding=True)
    model = make_model(model_class)

    def loss(xs, ys):
        with torch.no_grad():
            return float(negative_log_likelihood(model(xs, batch_first=True)[0], ys.double()))

    alone = sum(loss(data.xs[s : s + 1, : 12 - s], data.ys[s : s + 1, : 12 - s]) for s in range(4))
    assert loss(data.xs, data.ys) == pytest.approx(alone, abs=1e-10)


@pytest.mark.parametrize("model_class", [*MODELS, CustomRNN])
def test_two_halves_equal_one_pass(random_data, model_class):
    data = random_data(missing=0.2, n_participants=2)
    model = make_model(model_class)
    logits, end = run(model, data.xs)
    first, state = run(model, data.xs[:, :5])
    second, state = run(model, data.xs[:, 5:], state)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), logits)
    assert all(torch.equal(state[name], end[name]) for name in end)


@pytest.mark.parametrize("model_class", [*MODELS, CustomRNN])
def test_batch_first_and_single_sessions(random_data, model_class):
    data = random_data(n_participants=3, n_actions=3)
    model = make_model(model_class, n_actions=3)
    logits, _ = run(model, data.xs)
    with torch.no_grad():
        turned, _ = model(data.xs.transpose(0, 1))
    np.testing.assert_array_equal(turned.transpose(0, 1).numpy(), logits)
    for session in range(4):
        alone, _ = run(model, data.xs[session : session + 1])
        np.testing.assert_allclose(alone[0], logits[session], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("gaps", [{}, {"missing": 0.2, "unknown": 0.3, "padding": True}])
def test_gradients_against_finite_differences(random_data, model_class, gaps):
    data = random_data(n_participants=3, **gaps)
    model = make_model(model_class)
    ys = data.ys.double()

    def loss():
        return negative_log_likelihood(model(data.xs, batch_first=True)[0], ys)

    loss().backward()
    parameters = list(model.named_parameters())
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for _, parameter in parameters)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in parameters:
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            start = parameter.clone()
            up = parameter.copy_(start + 1e-5 * direction) is not None and loss().item()
            down = parameter.copy_(start - 1e-5 * direction) is not None and loss().item()
            parameter.copy_(start)
        slope = float((parameter.grad * direction).sum())
        assert (up - down) / 2e-5 == pytest.approx(slope, rel=1e-6, abs=1e-7), name


# ---------------------------------------------------------------------- unknown outcomes


def test_an_unknown_outcome_updates_what_does_not_read_it():
    model = make_model(ChoiceRNN, n_participants=1)
    nan = float("nan")
    known = torch.tensor([[[1.0, 0, 1, nan, 0]]])
    unknown = torch.tensor([[[1.0, 0, nan, nan, 0]]])
    _, after = run(model, known)
    logits, skipped = run(model, unknown)
    assert np.isfinite(logits).all()
    assert skipped["x_value_reward"][0, 0].item() == 0.5 != after["x_value_reward"][0, 0].item()
    assert torch.equal(skipped["x_value_reward"][0, 1], after["x_value_reward"][0, 1])  # forgetting goes on
    assert torch.equal(skipped["x_value_choice"], after["x_value_choice"])


def test_a_choice_with_an_unknown_outcome_is_scored(random_data):
    data = random_data(unknown=1.0)
    assert data.n_scored == 4 * 12
    logits, _ = run(make_model(RescorlaWagnerRNN), data.xs)
    np.testing.assert_array_equal(logits, np.full((4, 12, 2), 0.5))  # nothing was ever learned


# ---------------------------------------------------------------------- further inputs


class StimulusRNN(BaseRNN):
    """Value of each option learned where the stimulus is on; the stimulus shown next pulls towards option 1."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        rate = 0.1 + 0.4 * trial.shown["stimulus"]
        value = state["x_value"] + trial.action * rate * (trial.reward - state["x_value"])
        pull = torch.tensor([0.0, 2.0], dtype=value.dtype)
        return {"x_value": value}, value + pull * trial.next_shown["stimulus"]


def test_a_stimulus_shown_before_the_choice_belongs_to_it():
    rng = np.random.default_rng(0)
    n_sessions, n_trials = 3, 10
    stimulus, reward = rng.random((2, n_sessions, n_trials + 1))
    choice = rng.integers(2, size=(n_sessions, n_trials + 1))
    expected = 0.0
    for s in range(n_sessions):
        value = np.zeros(2)
        for t in range(n_trials + 1):
            logits = value + np.array([0.0, 2.0]) * stimulus[s, t]
            if t:  # the first choice of a session is not scored
                expected -= logits[choice[s, t]] - np.log(np.exp(logits).sum())
            value[choice[s, t]] += (0.1 + 0.4 * stimulus[s, t]) * (reward[s, t] - value[choice[s, t]])
    one_hot = np.eye(2)[choice]
    further = np.stack([stimulus[:, :-1], stimulus[:, 1:], np.zeros((n_sessions, n_trials))], axis=-1)
    xs = np.concatenate([one_hot[:, :-1], np.where(one_hot == 1, reward[..., None], np.nan)[:, :-1], further], axis=-1)
    model = StimulusRNN(2)
    model.columns = Columns.make(2, 7, ["stimulus", "next_stimulus", "participant"])
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    logits, _ = run(model, torch.as_tensor(xs))
    loss = negative_log_likelihood(torch.as_tensor(logits), torch.as_tensor(one_hot[:, 1:]))
    assert float(loss) == pytest.approx(expected, abs=1e-10)


class InputRNN(BaseRNN):
    """Logits are the input of that name, option by option."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        return {}, trial.inputs["effort"] + 10 * trial.inputs["time"]


def test_inputs_by_name():
    xs = torch.zeros(2, 3, 7)
    xs[..., 0] = 1
    xs[..., 4] = torch.arange(6.0).reshape(2, 3)
    xs[..., 6] = torch.tensor([1.0, 2.0, torch.nan])
    model = InputRNN(2)
    model.columns = Columns.make(2, 7, ["time", "participant", "effort"])
    logits, state = run(model, xs)
    np.testing.assert_array_equal(logits[..., 0], 10 * np.arange(6.0).reshape(2, 3) + [1, 2, 0])  # NaN reads as 0
    np.testing.assert_array_equal(logits[..., 0], logits[..., 1])
    assert torch.equal(state["x_value"], torch.zeros(2, 2))  # states left out stay as they were


def test_wide_data_need_names():
    with pytest.raises(ConfigError, match=r"^xs has 7 columns, but 2 actions need 2 \* 2 \+ 1 = 5 "):
        RescorlaWagnerRNN(2)(torch.zeros(1, 1, 7))

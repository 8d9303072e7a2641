"""The generated likelihood: against autograd through the models themselves, finite differences, and a plain loop."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from spice.equations import Equation, Parameter, State, SymbolicModel, Update, compiled, with_equations
from spice.equations.codegen import kernel_source
from spice.equations.evaluate import run_symbolic
from spice.equations.tracing import trace
from spice.inference.general.generated import GeneratedLikelihood
from spice.inference.threads import WORTH_A_THREAD
from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

GAPS = {"missing": 0.15, "unknown": 0.15, "padding": True}
SIGNALS = {"x_value_reward_chosen": ("c_reward",), "x_learning_rate_reward": ("c_reward", "c_value_reward")}
MODELS = [(RescorlaWagnerRNN, 2), (ForgettingRNN, 3), (ChoiceRNN, 2), (LearningRateRNN, 2)]


def rescorla_wagner() -> SymbolicModel:
    return SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)},
    )


def everything(n_actions: int) -> SymbolicModel:
    """All that a model may do: cases, kinks, starts that are estimated, values before the trial, inputs, biases."""
    logit = "beta * q + where(q > k, k, kappa * k) - 0.3 * previous_q * effort + 0.2 * chosen * outcome_lag1"
    return SymbolicModel(
        states={"q": State("start * start"), "k": State(0.1), "h": State(0.0)},
        updates=[
            ("k", "everywhere", "k + rate * (chosen - k) * exp(-previous_q)"),
            ("q", "chosen", "q + 1 / (1 + exp(-alpha)) * (reward - q) * sqrt(1 + k ** 2) + 0.1 * h"),
            ("q", "unchosen", "(1 - rate / 2) * q + where(outcome > 0.5, abs(outcome - q), min(q, k, 0.2)) * rate"),
            Update("h", "chosen", "log(1 + q ** 2) - 0.5 * h", needs_outcome=True),
            Update(
                "h",
                "unchosen",
                "max(q, h) / (1 + kappa ** 2) + 0.1 * reward_lag2 * effort_lag1 - 0.1 * known",
                needs_outcome=True,
            ),
        ],
        logits=[logit] + [f"{logit} + bias_{k} * (1 + 0.1 * h)" for k in range(1, n_actions)],
        parameters={
            name: Parameter()
            for name in ("alpha", "beta", "rate", "kappa", "start", *(f"bias_{k}" for k in range(1, n_actions)))
        },
        inputs=["effort"],
    )


def with_effort(data):
    effort = torch.as_tensor(np.random.default_rng(5).random((*data.xs.shape[:2], 1)), dtype=data.xs.dtype)
    outcome = torch.rand(data.ys.shape, generator=torch.Generator().manual_seed(1))
    outcome[outcome < 0.3] = torch.nan  # not shown
    xs = data.xs.clone()
    rewards = xs[..., data.columns.reward]
    xs[..., data.columns.reward] = torch.where(xs[..., data.columns.choice] == 0, outcome, rewards)
    return DatasetRNN(torch.cat([xs[..., :-1], effort, xs[..., -1:]], -1), data.ys, ["effort", "participant"])


def nll_of_logits(logits, data):
    """Of each session."""
    logits = np.where(data.scored.numpy()[..., None], logits, 0.0)
    return np.where(data.ys.numpy() == 1, logsumexp(logits, -1, keepdims=True) - logits, 0.0).sum((1, 2))


def plain_nll(model, data, values):
    """By the evaluation in NumPy, summed over sessions."""
    return nll_of_logits(run_symbolic(model, data, dict(zip(model.parameters, values, strict=True))), data).sum()


# ---------------------------------------------------------------------- against autograd through the models


class _Number(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *_):
        return self.value.reshape(1, 1)


def torch_problem(model_class, n_actions, n_participants, seed=0):
    """A model with random equations, and its negative log-likelihood as a function of the traced parameters."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = model_class.build(n_actions, n_participants, hidden_size=2).double()
    with torch.no_grad():
        for beta in network.betas.values():
            beta.parameter.uniform_(1.0, 3.0)
    equations = {
        person: {
            name: Equation(
                name, s, {"1": 0.2 * rng.normal(), name: rng.uniform(0.2, 0.8)} | {c: rng.normal() / 2 for c in s}
            )
            for name, s in ((name, SIGNALS.get(name, ())) for name in network.submodules_rnn)
        }
        for person in range(n_participants)
    }
    model = with_equations(network, equations)
    symbolic = trace(model, {person: person for person in range(n_participants)})

    def nll(theta, data):
        """Everybody in the data has these parameters."""
        rest = iter(theta)
        for state in model.betas:
            model.betas[state] = _Number(next(rest))
        for module in model.submodules_sindy.values():
            row = torch.stack([next(rest) for _ in module.terms])
            module.coefficients = row.expand(n_participants, -1)
        logits = model(data.xs, batch_first=True)[0]
        scored = data.scored
        return -(torch.log_softmax(logits[scored], -1) * data.ys[scored].double()).sum()

    return symbolic, nll


@pytest.mark.parametrize(("model_class", "n_actions"), MODELS)
def test_value_gradient_and_hessian_equal_autograds(random_data, model_class, n_actions):
    people = 3 if model_class is ChoiceRNN else 1
    data = random_data(6, 20, n_actions, n_participants=people, **GAPS)
    symbolic, nll = torch_problem(model_class, n_actions, people)
    likelihood = GeneratedLikelihood(symbolic, data)
    assert likelihood.participants == list(range(people))
    values = np.array([list(symbolic.values(person).values()) for person in range(people)])
    found = likelihood(values)
    for person in range(people):
        own = data[data.participants.numpy() == person]
        theta = torch.tensor(values[person], requires_grad=True)
        loss = nll(theta, own)
        (gradient,) = torch.autograd.grad(loss, theta)
        hessian = torch.autograd.functional.hessian(lambda t, own=own: nll(t, own), theta.detach()).numpy()
        assert found.nll[person] == pytest.approx(loss.item(), rel=1e-12)
        size = float(gradient.norm())
        np.testing.assert_allclose(found.gradient[person], gradient.numpy(), rtol=1e-8, atol=1e-10 * size)
        np.testing.assert_allclose(found.hessian[person], hessian, rtol=1e-8, atol=1e-10 * np.abs(hessian).max())
        np.testing.assert_array_equal(found.hessian[person], found.hessian[person].T)


# ---------------------------------------------------------------------- against NumPy and finite differences


@pytest.mark.slow
def test_a_model_that_does_everything(random_data):
    n_actions = 3
    data, model = with_effort(random_data(5, 16, n_actions, **GAPS)), everything(n_actions)
    likelihood, rng = GeneratedLikelihood(model, data), np.random.default_rng(0)
    values = rng.uniform(0.2, 0.9, len(model.parameters))
    group, step = np.zeros(1, int), 1e-6
    found = likelihood(values[None], group)
    assert found.nll[0] == pytest.approx(plain_nll(model, data, values), rel=1e-12)
    units = step * np.eye(len(values))
    slopes = [(plain_nll(model, data, values + u) - plain_nll(model, data, values - u)) / (2 * step) for u in units]
    np.testing.assert_allclose(found.gradient[0], slopes, rtol=1e-6, atol=1e-6 * np.linalg.norm(slopes))
    curves = [
        (likelihood((values + u)[None], group).gradient - likelihood((values - u)[None], group).gradient)[0]
        for u in units
    ]
    curves = np.array(curves) / (2 * step)
    np.testing.assert_allclose(found.hessian[0], curves, rtol=1e-6, atol=1e-6 * np.abs(curves).max())
    assert (np.abs(curves).max(1) > 0.01).all()


def closed_form(alpha, beta, choices, rewards):
    """Value, gradient and Hessian of Rescorla-Wagner, written out for two options."""
    q, da, daa = (np.array([start] * 2) for start in (0.5, 0.0, 0.0))
    value, gradient, hessian = 0.0, np.zeros(2), np.zeros((2, 2))
    for t, (c, r) in enumerate(zip(choices, rewards, strict=True)):
        if t:
            o = 1 - c
            d, d1 = beta * (q[o] - q[c]), np.array([beta * (da[o] - da[c]), q[o] - q[c]])
            d2 = np.array([[beta * (daa[o] - daa[c]), da[o] - da[c]], [da[o] - da[c], 0.0]])
            p = 1 / (1 + np.exp(-d))
            value += np.log1p(np.exp(d))
            gradient, hessian = gradient + p * d1, hessian + p * d2 + p * (1 - p) * np.outer(d1, d1)
        daa[c] = (1 - alpha) * daa[c] - 2 * da[c]
        da[c] = (1 - alpha) * da[c] + r - q[c]
        q[c] += alpha * (r - q[c])
    return value, gradient, hessian


def test_a_closed_form():
    """The two-armed bandit of PyMC's example gallery; value published there."""
    rng = np.random.default_rng(598)
    q, choices, rewards = np.array([0.5, 0.5]), [], []
    for _ in range(150):
        p = np.exp(5.0 * q)
        choice = rng.choice([0, 1], p=p / p.sum())
        reward = float(rng.random() < [0.4, 0.6][choice])
        q[choice] += 0.5 * (reward - q[choice])
        choices.append(int(choice))
        rewards.append(reward)
    one_hot = np.eye(2)[choices]
    outcome = np.where(one_hot == 1, np.array(rewards)[:, None], np.nan)
    xs = np.concatenate([one_hot, outcome, np.zeros((150, 1))], 1)[None, :-1]
    found = GeneratedLikelihood(rescorla_wagner(), DatasetRNN(xs, one_hot[None, 1:]))(np.array([[0.5, 5.0]]))
    assert found.nll[0] == pytest.approx(47.418936097207016, rel=1e-12)
    value, gradient, hessian = closed_form(0.5, 5.0, choices, rewards)
    assert value == pytest.approx(47.418936097207016, rel=1e-12)
    np.testing.assert_allclose(found.gradient[0], gradient, rtol=1e-10)
    np.testing.assert_allclose(found.hessian[0], hessian, rtol=1e-10)


# ---------------------------------------------------------------------- rows and edges


def test_rows_participants_and_threads(random_data):
    """Participants in any order and number; rows of any participant; threads change nothing."""
    data = random_data(6, 20, n_participants=3, **GAPS)
    data.xs[..., -1] = torch.tensor([2.0, 0.0, 2.0, 4.0, 4.0, 2.0]).unsqueeze(1)
    model, rng = rescorla_wagner(), np.random.default_rng(0)
    likelihood = GeneratedLikelihood(model, data, n_threads=1)
    assert likelihood.participants == [0, 2, 4]
    n_rows = 12 * WORTH_A_THREAD // len(likelihood.trials.choice)
    values, group = rng.uniform(0.1, 0.9, (n_rows, 2)), rng.integers(3, size=n_rows)
    found = likelihood(values, group)
    for row in range(10):
        own = data[data.participants.numpy() == likelihood.participants[group[row]]]
        assert found.nll[row] == pytest.approx(plain_nll(model, own, values[row]), rel=1e-12)
    for n_threads in (2, 3):
        for one, other in zip(GeneratedLikelihood(model, data, n_threads)(values, group), found, strict=True):
            np.testing.assert_array_equal(one, other)
    scored = [int(data[data.participants.numpy() == person].n_scored) for person in (0, 2, 4)]
    assert likelihood.n_scored().tolist() == scored
    empty = likelihood(np.zeros((0, 2)), np.zeros(0, int))
    assert empty.nll.shape == (0,) and empty.hessian.shape == (0, 2, 2)


def test_overflow_is_infinite_and_certainty_is_not(random_data):
    data = random_data(2, 60)
    found = GeneratedLikelihood(rescorla_wagner(), data)(
        np.array([[1e30, 1.0], [0.5, 5000.0], [0.5, 1.0]]), np.zeros(3, int)
    )
    np.testing.assert_array_equal(np.isinf(found.nll), [True, False, False])
    assert found.nll[1] == pytest.approx(plain_nll(rescorla_wagner(), data, [0.5, 5000.0]), rel=1e-12)
    assert np.isfinite(found.gradient[1:]).all() and np.isfinite(found.hessian[1:]).all()


def test_a_division_by_zero_is_infinite_and_names_the_trial(random_data):
    """Compiled code must not raise as Python does: one choice of one person is impossible, not everybody's fit."""
    data = random_data(2, 6, n_participants=2)
    data.xs[..., 2:4] = torch.where(data.xs[..., :2] == 1, 1.0, torch.nan)
    model = SymbolicModel({"q": State(0.5)}, [("q", "chosen", "q / (reward - 1 + a)")], "q", {"a": Parameter()})
    likelihood = GeneratedLikelihood(model, data)
    values = np.array([[0.0], [2.0]])  # the first person divides by zero from the first trial on
    exact = likelihood(values)
    assert np.isinf(exact.nll[0]) and np.isfinite(exact.nll[1])
    assert np.isinf(likelihood.gradient(values)[0]).tolist() == [True, False]
    assert np.isfinite(likelihood.log_probabilities(values)[1]).all()


def test_a_model_without_parameters(random_data):
    data = random_data(3, 10, 3, **GAPS)
    model = SymbolicModel({"q": State(0.2)}, [("q", "chosen", "reward")], "q", {})
    found = GeneratedLikelihood(model, data)(np.zeros((1, 0)))
    assert found.nll[0] == pytest.approx(plain_nll(model, data, []), rel=1e-12) and found.hessian.shape == (1, 0, 0)


def test_only_what_can_differ_from_zero_is_carried():
    source = kernel_source(rescorla_wagner(), 2)
    assert (
        "x = np.empty(6)" in source
    )  # of two options: q, dq/dalpha and its second derivative: beta is not in the update


# ---------------------------------------------------------------------- the cache


def test_models_of_one_form_share_their_code():
    other = SymbolicModel(
        states={"value": State(0.5)},
        updates=[("value", "chosen", "value + lr * (reward - value)")],
        logits="temperature * value",
        parameters={"lr": Parameter(), "temperature": Parameter()},
    )
    assert kernel_source(other, 2) == kernel_source(rescorla_wagner(), 2)


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from spice.equations import Parameter, State, SymbolicModel
from spice.inference.general.generated import GeneratedLikelihood
from spice.resources.dataset import DatasetRNN
model = SymbolicModel({{"q": State(0.5)}}, [("q", "chosen", "q + a * (reward - q)")], "b * q",
                      {{name: Parameter() for name in "ab"}})
choice, reward = np.array({choices}), np.array({rewards})
xs = np.concatenate([choice, reward, np.zeros((*choice.shape[:2], 1))], -1)
likelihood = GeneratedLikelihood(model, DatasetRNN(xs[:, :-1], choice[:, 1:]))
found = likelihood(np.array([[0.3, 2.0]]))
stats = likelihood._kernel(2).stats
print(found.nll[0].hex(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_another_process_compiles_nothing():
    """One with other hashes of strings: it writes the same code, and finds it compiled."""
    rng = np.random.default_rng(0)
    choice = np.eye(2)[rng.integers(2, size=(2, 21))]
    reward = choice * rng.random((2, 21, 1))
    xs = np.concatenate([choice, reward, np.zeros((2, 21, 1))], -1)
    found = GeneratedLikelihood(rescorla_wagner(), DatasetRNN(xs[:, :-1], choice[:, 1:]))(np.array([[0.3, 2.0]]))
    program = PROGRAM.format(tests=os.getcwd(), choices=choice.tolist(), rewards=reward.tolist())
    other = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    arguments, environment = [sys.executable, "-W", "error", "-c", program], os.environ | {"PYTHONHASHSEED": other}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [found.nll[0].hex(), "1", "0"]


RACE = """
import sys, importlib.util
spec = importlib.util.spec_from_file_location("compiled", {path!r})
compiled = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiled)
source = "from numba import njit\\n@njit(cache=True)\\ndef double(x):\\n    return 2 * x\\n"
print(compiled.load_function(source, "double")(21))
"""


def test_two_processes_may_write_the_cache_at_once(tmp_path):
    folder = tmp_path / "deep" / "cache"
    arguments = [sys.executable, "-W", "error", "-c", RACE.format(path=compiled.__file__)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(arguments, env=os.environ | {"SPICE_CACHE": str(folder)}, **pipes) for _ in range(2)]
    answers = [process.communicate(timeout=240) for process in both]
    assert all(process.returncode == 0 for process in both), answers
    assert [out for out, _ in answers] == ["42\n"] * 2
    assert len(list(folder.glob("spice_generated_*.py"))) == 1 and not list(folder.glob("*.tmp"))


def test_changed_files_are_not_run(tmp_path, monkeypatch):
    """What stands in the folder under the hash of a text is that text."""
    monkeypatch.setenv("SPICE_CACHE", str(tmp_path))
    source = "def answer():\n    return 42\n"
    path = compiled._write(tmp_path, "spice_generated_x", source)
    path.write_text("raise SystemExit\n")
    assert compiled._write(tmp_path, "spice_generated_x", source).read_text() == source
    assert compiled.load_function(source, "answer")() == 42


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPICE_CACHE", str(tmp_path / "file" / "cache"))
    assert compiled.load_function("def answer():\n    return 43\n", "answer")() == 43


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/there"}, "/there/spice"),
        ("linux", {"XDG_CACHE_HOME": "/there", "SPICE_CACHE": "/here"}, "/here"),
        ("linux", {"HOME": "/home/anna"}, "/home/anna/.cache/spice"),
        ("darwin", {"HOME": "/Users/anna"}, "/Users/anna/Library/Caches/spice"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/spice"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "SPICE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compiled.sys, "platform", platform)
    assert str(compiled.cache_folder()) == expected


# ---------------------------------------------------------------------- speed


@pytest.mark.slow
def test_speed():
    """10,000 people x 200 trials in 0.05 s on a quiet machine, one person in 20 us; here thrice as long is let pass."""
    data, _, _ = create_dataset(
        AgentQ(n_actions=2, beta_reward=3.0),
        BanditsDrift(n_actions=2, sigma=0.2),
        n_trials=200,
        n_sessions=10_000,
        seed=0,
    )
    values = np.random.default_rng(0).uniform(0.2, 0.8, (10_000, 2)) * [1.0, 5.0]
    for n_people, limit in ((10_000, 0.15), (1, 60e-6)):
        likelihood = GeneratedLikelihood(rescorla_wagner(), data[:n_people])
        likelihood(values[:n_people])
        times = []
        for _ in range(20):
            started = time.perf_counter()
            likelihood(values[:n_people])
            times.append(time.perf_counter() - started)
        assert min(times) < limit

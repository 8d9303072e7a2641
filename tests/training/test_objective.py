"""The loss and its gradient: sweeps against the trial loop, rows together and alone, finite differences."""

import copy

import numpy as np
import pytest
import torch

from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective, Posterior

MODELS = [RescorlaWagnerRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, ChoiceRNN]
LOOP = Evaluation()
SWEEPS = Evaluation(at_once=True, sweeps=True)
STATES_IN_LOOP = Evaluation(at_once=True, sweeps=False)
WAYS = pytest.mark.parametrize("way", [LOOP, SWEEPS, STATES_IN_LOOP], ids=["loop", "sweeps", "states in loop"])
SAME = {torch.float64: 1e-5, torch.float32: 1e-4}  # what the loss and gradient may differ by, relative
GAPS = {"missing": 0.15, "unknown": 0.15, "padding": True, "n_participants": 3}


def way_of(model):
    """Sweeps as they are used for this model: only one of the models has states that depend on each other."""
    return Evaluation(at_once=True, sweeps=True, coupled=isinstance(model, LearningRateRNN))


# ---------------------------------------------------------------------- the loop against plain autograd


class OwnLoop(RescorlaWagnerRNN):
    """The tutorial's way: a loop of the user's own."""

    def forward(self, inputs, prev_state=None, batch_first=False):
        inputs, ids, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        actions, rewards, _, _ = inputs
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            chosen = self.call_module("x_value_reward_chosen", "x_value_reward", action=action, inputs=reward)
            self.state["x_value_reward"] = chosen + self.state["x_value_reward"] * (1 - action)
            logits[timestep] = self.state["x_value_reward"]
        return self.post_forward_pass(logits, batch_first), self.get_state()


@pytest.mark.parametrize("model_class", [OwnLoop, ChoiceRNN])
def test_the_loop_gives_what_autograd_gives(random_data, model_class, weighted, rows_of, assert_same):
    data, model = random_data(**GAPS), weighted(model_class)
    loss = negative_log_likelihood(model(data.xs, batch_first=True)[0], data.ys.double())
    loss.backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    assert_same(Objective(model, data, LOOP)(rows_of(model)), (loss.detach()[None], expected[None]), tolerance=1e-12)


def test_a_loop_of_ones_own_gives_what_step_gives(random_data, monkeypatch, weighted, rows_of, assert_same):
    data, model = random_data(**GAPS), weighted(RescorlaWagnerRNN)
    rows = rows_of(model)
    expected = Objective(model, data, LOOP)(rows)
    assert_same(Objective(weighted(OwnLoop), data, LOOP)(rows), expected, tolerance=1e-12)
    monkeypatch.setattr("spice.training.in_loop.IN_LOOP", 30)  # pieces of three trials
    assert_same(Objective(weighted(OwnLoop), data, LOOP)(rows), expected, tolerance=1e-12)


# ---------------------------------------------------------------------- all trials at once against the loop


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n_actions", [2, 4])
@pytest.mark.parametrize("model_class", MODELS)
def test_sweeps_give_the_loss_and_gradient_of_the_loop(
    random_data, model_class, n_actions, dtype, weighted, rows_of, assert_same
):
    data = random_data(4, 24, n_actions, seed=1, **GAPS)
    model = weighted(model_class, n_actions, dtype)
    rows = rows_of(model, weighted(model_class, n_actions, dtype, seed=1))
    expected = Objective(model, data, LOOP)(rows)
    for way in {SWEEPS, way_of(model)}:
        objective = Objective(model, data, way)
        assert_same(objective(rows), expected, SAME[dtype])
        assert not objective.fallbacks
    assert_same(Objective(model, data, STATES_IN_LOOP)(rows), expected, SAME[dtype] / 10)


class WithInputs(BaseRNN):
    """Values that move with the effort of a trial and the stimulus before it; the next stimulus decides."""

    init_values = {"x_value": 0.2, "x_seen": -0.1}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_value"] = self.setup_module(input_size=3)
        self.submodules_rnn["x_seen"] = self.setup_module(input_size=1)

    def step(self, state, trial):
        stimulus, inputs = trial.shown["stimulus"], trial.inputs["effort"]
        value = self.call_module("x_value", "x_value", action=trial.action, inputs=(trial.reward, inputs, stimulus))
        seen = self.call_module("x_seen", "x_seen", inputs=value)
        self.state["x_seen"] = seen  # as a loop of one's own would write it
        return {"x_value": value + state["x_value"] * (1 - trial.action)}, value + seen * trial.next_shown["stimulus"]


def with_inputs(data):
    rng = np.random.default_rng(5)
    head, tail = data.xs[..., :4], data.xs[..., 4:]
    stimulus = torch.tensor(rng.integers(0, 2, (*data.shape[:2], 1)))
    following = torch.cat([stimulus[:, 1:], stimulus[:, :1]], dim=1)
    effort = torch.tensor(rng.normal(size=stimulus.shape))
    xs = torch.cat([head, effort, stimulus, following, tail], dim=2)
    return DatasetRNN(xs, data.ys, ["effort", "stimulus", "next_stimulus", "participant"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_further_and_shown_inputs(random_data, dtype, weighted, rows_of, assert_same):
    data, model = with_inputs(random_data(5, 30, **GAPS)), weighted(WithInputs, dtype=dtype)
    model.columns = data.columns
    rows = rows_of(model, weighted(WithInputs, dtype=dtype, seed=1))
    assert_same(Objective(model, data, SWEEPS)(rows), Objective(model, data, LOOP)(rows), SAME[dtype])


def slow(weighted, model_class, dtype):
    """Modules that carry nearly all of a state to the next trial: an error stays, and errors add up."""
    model = weighted(model_class, dtype=dtype, scale=0.1)
    with torch.no_grad():
        for module in model.submodules_rnn.values():
            module.rates[1 + module.input_size] = 1.5  # sin(1.5) = 0.9975: 400 trials
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("model_class", [ForgettingRNN, ParticipantEmbeddingRNN])
def test_the_last_solution_is_no_answer_at_the_next_parameters(
    random_data, model_class, dtype, weighted, rows_of, assert_same
):
    """An optimiser's last steps are tiny: states that still nearly fit must be solved for all the same."""
    data, model = random_data(4, 120, missing=0.1, n_participants=3, seed=1), slow(weighted, model_class, dtype)
    rows = rows_of(model)
    direction = torch.randn(rows.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).sign()
    objective, loop = Objective(model, data, way_of(model)), Objective(model, data, LOOP)
    objective(rows)
    for step in (1e-4, 3e-6, 1e-7, 3e-8):
        moved = rows + step * direction
        assert_same(objective(moved), loop(moved), SAME[dtype])


def test_a_warm_start_from_far_away_finds_the_same(random_data, weighted, rows_of, assert_same):
    data, model = random_data(5, 40, **GAPS), weighted(ChoiceRNN)
    objective, loop = Objective(model, data, way_of(model)), Objective(model, data, LOOP)
    for seed in range(4):
        rows = rows_of(weighted(ChoiceRNN, seed=seed, scale=0.8))
        assert_same(objective(rows), loop(rows))


def chaos(value, reward, rate, gain):
    return rate * value * (1 - value) + 1e-3 * gain * torch.tanh(reward)


def growth(value, reward, rate, gain):
    return rate * value + gain * reward + 0.1 * torch.sin(5 * value)


@pytest.mark.parametrize(("update", "numbers"), [(chaos, (3.9, 0.5)), (growth, (1.1, 0.2))])
def test_where_sweeps_fail_the_loop_steps_in(random_data, update, numbers, with_map, rows_of, assert_same):
    """Chaotic and growing states: nothing near the truth, so exactly the loop's result or none."""
    data, model = random_data(3, 120, seed=2), with_map(update, *numbers)
    rows = rows_of(model)
    objective, loop = Objective(model, data, SWEEPS), Objective(model, data, LOOP)
    assert not objective.fallbacks
    for _ in range(2):
        assert_same(objective(rows), loop(rows), tolerance=1e-9)
        assert objective.fallbacks == 1  # a second time its states are known


@pytest.mark.parametrize(("update", "numbers"), [(chaos, (3.9, 0.5)), (growth, (1.1, 0.2))])
def test_where_errors_grow_the_last_solution_is_no_answer_either(
    random_data, update, numbers, with_map, rows_of, assert_same
):
    """From states that are right but for 1e-8 in every trial an unstable session ends somewhere else."""
    data, model = random_data(3, 100, seed=2), with_map(update, *numbers)
    rows = rows_of(model)
    objective, loop = Objective(model, data, SWEEPS), Objective(model, data, LOOP)
    objective(rows)
    assert_same(objective(rows + 1e-8), loop(rows + 1e-8))


def test_one_row_that_fails_spoils_no_other(random_data, with_map, assert_same):
    data, model = random_data(3, 60, seed=2), with_map(growth, 0.5, 0.2)
    rows = torch.tensor([[0.5, 0.2], [torch.inf, 0.2], [1.1, 0.2], [0.3, -0.1]], dtype=torch.float64)
    objective = Objective(model, data, SWEEPS)
    nll, gradient = objective(rows)
    assert nll.isfinite().tolist() == [True, False, True, True] and objective.fallbacks
    good = [0, 2, 3]
    assert_same((nll[good], gradient[good]), Objective(model, data, LOOP)(rows[good]))


# ---------------------------------------------------------------------- rows


@WAYS
@pytest.mark.parametrize("model_class", [LearningRateRNN, ChoiceRNN])
def test_rows_together_equal_rows_alone(random_data, way, model_class, weighted, rows_of, assert_same):
    data = random_data(5, 16, **GAPS)
    models = [weighted(model_class, seed=seed) for seed in range(4)]
    rows = rows_of(*models)
    nll, gradient = Objective(models[0], data, way)(rows)
    assert len(set(nll.tolist())) == 4
    for i, row in enumerate(rows):
        alone = Objective(models[0], data, way)(row[None])
        assert_same((nll[i : i + 1], gradient[i : i + 1]), alone, tolerance=1e-12 if way == LOOP else 1e-6)


@WAYS
def test_the_number_of_rows_may_change(random_data, way, weighted, rows_of, assert_same):
    data, model = random_data(5, 16), weighted(ParticipantEmbeddingRNN)
    rows = rows_of(*[weighted(ParticipantEmbeddingRNN, seed=seed) for seed in range(3)])
    objective, (nll, gradient) = Objective(model, data, way), Objective(model, data, LOOP)(rows)
    for part in ([0, 1, 2], [1], [2, 0], [0, 1, 2]):
        assert_same(objective(rows[part]), (nll[part], gradient[part]))


@WAYS
def test_the_models_own_parameters_play_no_role_and_stay(random_data, way, weighted, rows_of):
    data, model = random_data(4, 20, n_participants=3), weighted(ParticipantEmbeddingRNN)
    rows = rows_of(weighted(ParticipantEmbeddingRNN, seed=1))
    expected = Objective(model, data, way)(rows)
    other = weighted(ParticipantEmbeddingRNN, seed=2)
    before = copy.deepcopy(other.state_dict())
    found = Objective(other, data, way)(rows)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in other.parameters())


@WAYS
def test_frozen_parameters_are_no_part_of_the_vector(random_data, way, weighted, rows_of):
    data, model = random_data(4, 20, n_participants=3), weighted(ChoiceRNN)
    everything = Objective(model, data, LOOP)(rows_of(model))[1][0]
    free = torch.cat([torch.full((p.numel(),), "betas" not in name) for name, p in model.named_parameters()])
    for parameter in model.betas.parameters():
        parameter.requires_grad_(False)
    rows = rows_of(model)
    assert rows.shape[1] == int(free.sum()) < len(free)
    gradient = Objective(model, data, way)(rows)[1][0]
    assert float((gradient - everything[free]).norm()) <= 1e-5 * float(gradient.norm())


@WAYS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_results_repeat_to_the_last_bit(random_data, way, dtype, weighted, rows_of):
    """From the same solutions a further evaluation goes the same way: stopped fits depend on it."""
    data, model = random_data(5, 16, **GAPS), weighted(ParticipantEmbeddingRNN, dtype=dtype)
    rows = rows_of(*[weighted(ParticipantEmbeddingRNN, seed=seed) for seed in range(2)])
    one, other = Objective(model, data, way), Objective(model, data, way)
    one(rows)
    other.solutions = one.solutions
    assert all(torch.equal(*pair) for pair in zip(one(rows + 1e-3), other(rows + 1e-3), strict=True))


# ---------------------------------------------------------------------- gradients against differences


@WAYS
@pytest.mark.parametrize("model_class", [LearningRateRNN, ChoiceRNN])
def test_gradients_equal_finite_differences(random_data, way, model_class, weighted, rows_of):
    """Central differences: the error is the third derivative times 1e-10 / 6, and rounding 1e-16 / 1e-5 of the loss."""
    data, model = random_data(4, 16, **GAPS), weighted(model_class)
    row = rows_of(model)[0]
    objective = Objective(model, data, way)
    gradient = objective(row[None])[1][0]
    directions = torch.randn(3, len(row), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for direction in directions:
        above, below = (objective((row + size * direction)[None])[0].item() for size in (1e-5, -1e-5))
        assert (above - below) / 2e-5 == pytest.approx(float(gradient @ direction), abs=1e-6 * float(gradient.norm()))


def test_a_posterior_is_a_likelihood_and_a_normal_prior(random_data, weighted, rows_of):
    data, model = random_data(4, 8, n_participants=3), weighted(ChoiceRNN)
    rows = rows_of(model, weighted(ChoiceRNN, seed=1))
    precisions = torch.linspace(0, 3, rows.shape[1], dtype=torch.float64)
    nll, gradient = Objective(model, data, LOOP)(rows)
    loss, slope = Posterior(Objective(model, data, LOOP), precisions, 50)(rows)
    np.testing.assert_allclose(loss, (nll + (precisions * rows**2 / 2).sum(1)) / 50, rtol=1e-12)
    np.testing.assert_allclose(slope, (gradient + precisions * rows) / 50, rtol=1e-12, atol=1e-14)

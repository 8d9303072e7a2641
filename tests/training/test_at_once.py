"""Long and many sessions: cut into pieces and spread over threads, in bounded memory, with the same result."""

import signal
import threading
import time

import pytest
import torch

from spice.errors import SpiceWarning
from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, RescorlaWagnerRNN
from spice.training import fit_network, negative_log_likelihood
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective

LOOP = Evaluation()
SWEEPS = Evaluation(at_once=True, sweeps=True)
STATES_IN_LOOP = Evaluation(at_once=True, sweeps=False)
WAYS = pytest.mark.parametrize("way", [LOOP, SWEEPS, STATES_IN_LOOP], ids=["loop", "sweeps", "states in loop"])
GAPS = {"missing": 0.15, "unknown": 0.15, "padding": True, "n_participants": 3}


@pytest.fixture
def limits(monkeypatch):
    """Sets how many values are evaluated in one piece."""

    def set_limits(at_once=None, in_loop=None, per_thread=None):
        if at_once is not None:
            monkeypatch.setattr("spice.training.at_once.AT_ONCE", at_once)
        if in_loop is not None:
            monkeypatch.setattr("spice.training.in_loop.IN_LOOP", in_loop)
        if per_thread is not None:
            monkeypatch.setattr("spice.training.objective.PER_THREAD", per_thread)

    return set_limits


# ---------------------------------------------------------------------- pieces, threads, memory


@WAYS
@pytest.mark.parametrize("model_class", [LearningRateRNN, ForgettingRNN])
@pytest.mark.parametrize("limit", [1, 10, 40])
def test_pieces_of_sessions_equal_the_whole(
    random_data, limits, way, model_class, limit, weighted, rows_of, assert_same
):
    """1 value: single trials of single sessions; 10: five trials; 40: two sessions at once."""
    data = random_data(5 if limit > 1 else 2, 10, **GAPS)
    rows = rows_of(weighted(model_class), weighted(model_class, seed=1))
    whole = Objective(weighted(model_class), data, LOOP)(rows)
    limits(at_once=limit, in_loop=limit * len(data))
    objective = Objective(weighted(model_class), data, way)
    for _ in range(2):  # from no solution, and from the last
        assert_same(objective(rows), whole, tolerance=1e-12 if way == LOOP else 1e-5)
    assert not objective.fallbacks


def test_a_piece_in_which_sweeps_fail(random_data, limits, with_map, rows_of, assert_same):
    """Only the last trials of the second session explode: their inputs are large."""
    data = random_data(3, 60, seed=2)
    model = with_map(lambda value, reward, a, b: a * value + b * reward * torch.sin(5 * value), 0.5, 0.02)
    data.xs[1, 30:, 2:4] *= 500
    rows = rows_of(model)
    whole = Objective(model, data, LOOP)(rows)
    limits(at_once=40)  # three pieces a session
    objective = Objective(model, data, SWEEPS)
    assert_same(objective(rows), whole)
    assert objective.fallbacks == 1


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_share_the_sessions(random_data, limits, n_threads, weighted, rows_of, assert_same):
    data, model = random_data(7, 16, **GAPS), weighted(ChoiceRNN)
    rows = rows_of(model, weighted(ChoiceRNN, seed=1))
    expected = Objective(model, data, LOOP)(rows)
    limits(per_thread=50)
    for way in (SWEEPS, STATES_IN_LOOP):
        objective = Objective(model, data, way, n_threads)
        for _ in range(2):
            assert_same(objective(rows), expected)
    threads = torch.get_num_threads()
    objective(rows)
    assert torch.get_num_threads() == threads


class Notes(RescorlaWagnerRNN):
    """Keeps what it computed last, for its user to look at."""

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        self.error = (trial.reward - state["x_value_reward"]) * trial.action + 0 * logits
        return values, logits


@pytest.mark.parametrize("n_starts", [1, 2])
def test_threads_share_a_model_that_keeps_notes(random_data, limits, n_starts, weighted, rows_of):
    data, threads = random_data(8, 16, seed=3), torch.get_num_threads()
    starts = [weighted(Notes, seed=seed) for seed in range(n_starts)]
    expected = min(Objective(starts[0], data, LOOP)(rows_of(*starts))[0].tolist()) / data.n_scored
    limits(per_thread=50)
    try:
        torch.set_num_threads(2)
        result = fit_network(starts[0], data, other_starts=starts[1:], callbacks=[lambda epoch: epoch.number == 3])
    finally:
        torch.set_num_threads(threads)
    assert result.all_trials_at_once and result.loss[0] == pytest.approx(expected, rel=1e-9)


class Interrupted(RescorlaWagnerRNN):
    """The user's model, interrupted by them in the middle of a pass that takes its time."""

    calls, at, model = 0, 90, None

    def step(self, state, trial):
        if self is Interrupted.model:
            Interrupted.calls += 1
            if Interrupted.calls == Interrupted.at and threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            if Interrupted.calls == Interrupted.at:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                time.sleep(0.15)
        return super().step(state, trial)


def test_an_interrupted_fit_leaves_no_thread_at_work_on_the_model(random_data, limits, interruptible, weighted):
    data, threads = random_data(8, 30, seed=3), torch.get_num_threads()
    model = Interrupted(2, hidden_size=3).double()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weighted(RescorlaWagnerRNN).parameters(), strict=True):
            parameter.copy_(value)
    limits(per_thread=50)
    Interrupted.calls, Interrupted.model = 0, model
    try:
        torch.set_num_threads(2)
        with pytest.warns(SpiceWarning, match="the fit was interrupted"):
            result = fit_network(model, data, epochs=60)
    except KeyboardInterrupt:
        pytest.fail("the interruption was not caught")
    finally:
        torch.set_num_threads(threads)
    losses = []
    for _ in range(2):
        with torch.no_grad():
            losses.append(float(negative_log_likelihood(model(data.xs, batch_first=True)[0], data.ys.double())))
        time.sleep(0.25)  # until whatever was at work is done
    assert result.reason == "interrupted" and len(result.loss) > 3
    assert losses == pytest.approx([min(result.loss) * data.n_scored] * 2, rel=1e-9)


class Sized(ChoiceRNN):
    """Notes the largest number of values that one call of `step` is given."""

    largest = 0

    def step(self, state, trial):
        self.largest = max(self.largest, trial.action.numel())
        return super().step(state, trial)


@pytest.mark.parametrize("way", [SWEEPS, STATES_IN_LOOP])
def test_no_call_of_step_takes_more_than_the_limit(random_data, limits, way, weighted, rows_of):
    limits(at_once=100)
    for shape in ((2, 110), (20, 8), (5, 31)):
        model = weighted(Sized)
        Objective(model, random_data(*shape), way)(rows_of(model))
        assert 2 <= model.largest <= 100


class Saved:
    """A tensor that autograd keeps for the backward pass."""

    now = peak = 0

    def __init__(self, tensor):
        self.tensor = tensor.detach()  # a result that kept its own graph would never be freed
        self.bytes = tensor.numel() * tensor.element_size()
        Saved.now += self.bytes
        Saved.peak = max(Saved.peak, Saved.now)

    def __del__(self):
        Saved.now -= self.bytes


def peak_of(model, rows, data, way):
    """Bytes that autograd keeps at once during an evaluation, at most."""
    objective = Objective(model, data, way)
    Saved.now = Saved.peak = 0
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        objective(rows)
    return Saved.peak


@WAYS
def test_memory_for_the_gradient_does_not_grow_with_a_session(random_data, limits, way, weighted, rows_of):
    model = weighted(ForgettingRNN)
    short, long = random_data(2, 20), random_data(2, 60)
    uncut = [peak_of(model, rows_of(model), data, way) for data in (short, long)]
    assert uncut[1] > 2.5 * uncut[0]  # 3 times as many trials
    limits(at_once=16, in_loop=16)  # eight trials of one session; four of both
    cut = [peak_of(model, rows_of(model), data, way) for data in (short, long)]
    assert 0 < cut[1] < 1.2 * cut[0]


def test_memory_is_bounded_where_sweeps_fail_too(random_data, limits, with_map, rows_of):
    model = with_map(lambda value, reward, a, b: a * value * (1 - value) + 1e-3 * b * torch.tanh(reward), 3.9, 0.5)
    limits(at_once=40, in_loop=40)
    peaks = []
    for n_trials in (60, 120):
        data = random_data(2, n_trials)
        objective = Objective(model, data, SWEEPS)
        assert objective(rows_of(model))[0].isfinite() and objective.fallbacks
        peaks.append(peak_of(model, rows_of(model), data, SWEEPS))
    assert 0 < peaks[1] < 1.2 * peaks[0]

"""Several starts as rows of one batch: each as if alone, the best kept, stopped and gone on with at any epoch."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from spice.errors import ModuleOutputError
from spice.precoded import ForgettingRNN, RescorlaWagnerRNN
from spice.resources.files import read_file, write_file
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective, Posterior
from spice.training.parameters import ParameterVector
from spice.training.runs import AdamRun, LBFGSRun, is_flat
from spice.training.validation import PATIENCE, Validation

CHOSEN = "x_value_reward_chosen"


class StopHereError(Exception):
    """Raised at an epoch to stop a run."""


def rosenbrock(rows):
    points = rows.numpy()
    losses, gradients = [rosen(x) for x in points], [rosen_der(x) for x in points]
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(np.array(gradients))


def bowl(center):
    """A mini-batch: squared distances from a point."""
    center = torch.tensor(center, dtype=torch.float64)
    return lambda rows: ((rows - center).square().sum(1), 2 * (rows - center))


BATCHES = [bowl([1.0, 0.0]), bowl([0.0, 2.0]), bowl([-1.0, 1.0])]
STARTS = torch.tensor([[-1.2, 1.0], [0.0, 3.0], [2.0, -2.0]], dtype=torch.float64)


def never(row, parameters):
    return False


def lbfgs_run(starts=STARTS):
    return LBFGSRun(starts, rosenbrock, 1e-2, 1e-10, 0.0)


def adam_run(starts=STARTS, batches=BATCHES, seed=0):
    return AdamRun(starts, batches, 0.1, torch.Generator().manual_seed(seed))


def run_for(run, epochs=None, watch=never):
    """Losses of the epochs, and why it ended."""
    losses = []

    def end_epoch(loss):
        losses.append(loss)
        if len(losses) == epochs:
            raise StopHereError

    try:
        return losses, run.run(end_epoch, watch)
    except StopHereError:
        return losses, None


def through_a_file(state, folder):
    write_file(folder / "state", "checkpoint", {}, {"run": state})
    return read_file(folder / "state", "checkpoint")[1]["run"]


# ---------------------------------------------------------------------- L-BFGS


def test_each_row_goes_as_if_alone():
    together = lbfgs_run()
    losses, reason = run_for(together)
    best, found = together.found()
    alone = []
    for i, start in enumerate(STARTS):
        run = lbfgs_run(start[None])
        own, _ = run_for(run)
        assert torch.equal(run.found()[1][0], found[i]) and float(run.found()[0]) == float(best[i])
        alone.append(own)
    length = max(map(len, alone))
    assert len(losses) == length and reason
    lowest = [min(own[epoch] for own in alone if epoch < len(own)) for epoch in range(length)]
    assert losses == lowest  # of the rows that have not ended


@pytest.mark.parametrize("make", [lbfgs_run, adam_run])
def test_a_run_goes_on_from_any_epoch(make, tmp_path):
    whole = make()
    epochs = 60 if make is adam_run else None
    losses, reason = run_for(whole, epochs)
    for stop in [*range(1, len(losses), 7), len(losses) - 1]:
        first = make()
        before, _ = run_for(first, stop)
        second = make(STARTS + 5) if make is lbfgs_run else make(STARTS + 5, seed=9)
        second.restore(through_a_file(first.state(), tmp_path))
        after, why = run_for(second, None if epochs is None else epochs - stop)
        assert before + after == losses and why == reason
        assert all(torch.equal(*pair) for pair in zip(second.found(), whole.found(), strict=True))
        assert torch.equal(second.current(), whole.current())


def test_a_row_that_is_told_to_stop_lets_the_others_go_on():
    looks = []

    def watch(row, parameters):
        looks.append((row, parameters.clone()))
        return row == 1 and sum(seen == 1 for seen, _ in looks) == 3

    run = lbfgs_run()
    _, reason = run_for(run, watch=watch)
    losses, found = run.found()
    assert losses[1] > 1e-3 > losses[0] and reason == "the loss no longer changes"
    for row in range(3):
        seen = [parameters for number, parameters in looks if number == row]
        assert torch.equal(seen[0], STARTS[row]) and torch.equal(seen[-1], found[row])


# ---------------------------------------------------------------------- Adam


def test_rows_of_adam_do_not_mix():
    together = adam_run()
    run_for(together, 40)
    for i, start in enumerate(STARTS):
        alone = adam_run(start[None])
        run_for(alone, 40)
        assert torch.equal(alone.current()[0], together.current()[i])
        assert torch.equal(alone.found()[1][0], together.found()[1][i])


def test_adam_makes_the_steps_of_its_paper():
    """Kingma & Ba (2015), algorithm 1, by hand: one batch, one row."""
    run = adam_run(STARTS[:1], [bowl([1.0, 0.0])])
    run_for(run, 30)
    x, m, v = STARTS[0].numpy().copy(), np.zeros(2), np.zeros(2)
    for t in range(1, 31):
        gradient = 2 * (x - [1.0, 0.0])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(run.current()[0], x, rtol=1e-10)


def test_adam_keeps_the_best_it_met():
    run = adam_run(STARTS, [bowl([1.0, 0.0])])
    losses, _ = run_for(run, 37)
    best, found = run.found()
    np.testing.assert_allclose(bowl([1.0, 0.0])(found)[0], best, rtol=1e-12)
    assert float(best.min()) == min(losses) < losses[-1]  # it has swung past the minimum


@pytest.mark.parametrize("stop", [3, 12, 13, 14, 20])
def test_adam_knows_after_a_stop_which_rows_have_ended(stop, tmp_path):
    """Row 0 has seen no improvement for long, then one more: it had ended, and stays so."""

    def validation(seen=()):
        # row 0: best at its 2nd look, and again, too late, at its 16th; row 1: best at its 12th look
        losses = {0: [2.0, 1.0] + [3.0] * 13 + [0.5] + [3.0] * 99, 1: [9.0 - 0.1 * t for t in range(12)] + [9.0] * 99}
        counts = {row: seen.count(row) for row in (0, 1)}

        def held_out(rows):
            row = int(rows[0, 0] > 50)
            counts[row] += 1
            return torch.tensor([losses[row][counts[row] - 1]]), None

        return Validation(held_out, 1, 2)

    starts = torch.tensor([[0.0], [100.0]], dtype=torch.float64)
    whole = AdamRun(starts, [bowl([50.0])], 1e-3, None)
    expected, reason = run_for(whole, 60, validation().watch)
    assert reason and len(expected) == 12 + PATIENCE
    first = AdamRun(starts, [bowl([50.0])], 1e-3, None)
    watched = validation()
    before, _ = run_for(first, stop, watched.watch)
    second, again = AdamRun(starts, [bowl([50.0])], 1e-3, None), validation([0, 1] * stop)
    saved = through_a_file({"run": first.state(), "validation": watched.state()}, tmp_path)
    second.restore(saved["run"])
    again.restore(saved["validation"])
    after, why = run_for(second, 60, again.watch)
    assert why == reason and before + after == expected


def test_flat_means_flat():
    assert is_flat([0.5] * 20) and is_flat([1 / (t + 1) for t in range(3000)])
    assert not is_flat([0.5] * 19) and not is_flat([1 - 0.01 * t for t in range(50)])
    assert not is_flat([0.5] * 90 + [0.6] * 10)


# ---------------------------------------------------------------------- several starts of a network


@pytest.fixture(scope="module")
def fit(fit):
    """With the usual prior."""
    return lambda *args, **settings: fit(*args, **{"weight_decay": 1.0} | settings)


def stuck(make, seed=0):
    """A start that is certain of what was last chosen: no optimiser leaves it within few steps."""
    model = make(seed)
    with torch.no_grad():
        model.submodules_rnn[CHOSEN].output.bias.fill_(30.0)
    return model


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_best_of_several_starts_is_kept(agent_data, optimizer, make, fit, nll_of):
    data = agent_data[:8]
    epochs = {"lbfgs": 6, "adam": 25}[optimizer]
    settings = {"optimizer": optimizer, "epochs": epochs, "weight_decay": 0.0}
    alone = [fit(model, data, **settings) for model in (stuck(make), make(1))]
    assert alone[0].start_losses[0] > alone[1].start_losses[0] + 0.05
    model = stuck(make)
    result = fit(model, data, other_starts=[make(1)], **settings)
    assert result.start_losses == pytest.approx([entry.start_losses[0] for entry in alone], abs=1e-4)
    assert nll_of(model, data) == pytest.approx(min(result.start_losses), abs=1e-9)
    assert len(result.loss) == epochs  # all starts make their passes together
    assert result.loss[0] == pytest.approx(min(entry.loss[0] for entry in alone), rel=1e-9)


def test_more_starts_are_never_worse(agent_data, make, fit):
    """Both end where an iteration gains less than 0.001 nats; 0.1 nats cover all that was left to gain."""
    data = agent_data[:8]
    alone = fit(make(), data, epochs=300)
    together = fit(make(), data, epochs=300, other_starts=[make(1), make(2)])
    assert alone.converged and together.converged and len(together.start_losses) == 3
    assert min(together.start_losses) <= alone.start_losses[0] + 0.1 / data.n_scored
    assert together.start_losses[0] == pytest.approx(alone.start_losses[0], abs=1 / data.n_scored)


def test_a_fit_ends_where_scipys_would(agent_data, make, fit):
    """Its criterion gives away less than a parameter's noise, half a nat, and spares evaluations."""
    data, model = agent_data[:8], make()
    vector = ParameterVector(model)
    decays = {"weights": 1.0, "nonlinearity": 100.0, "people": 0.0}
    posterior = Posterior(
        Objective(model, data, Evaluation(at_once=True, sweeps=True)), vector.precisions(decays), data.n_scored
    )

    def function(x):
        losses, gradients = posterior(torch.tensor(x)[None])
        return float(losses[0]), gradients[0].numpy()

    start = vector.read().numpy()
    other = minimize(function, start, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-7})
    result = fit(model, data, nonlinearity_decay=100.0, epochs=200)
    assert 0 <= (min(result.loss) - other.fun) * data.n_scored + 1e-6 <= 0.25
    assert result.converged and len(result.loss) <= other.nfev


def test_a_loop_of_ones_own_has_starts_too(agent_data, make, fit, nll_of):
    class OwnLoop(RescorlaWagnerRNN):
        def forward(self, inputs, prev_state=None, batch_first=False):
            return super().forward(inputs, prev_state, batch_first)

    data, results = agent_data[:4], []
    for model_class in (RescorlaWagnerRNN, OwnLoop):
        model = make(0, model_class)
        results.append((fit(model, data, epochs=12, other_starts=[make(1, model_class)]), nll_of(model, data)))
    (steps, nll), (loop, other_nll) = results
    assert steps.all_trials_at_once and not loop.all_trials_at_once
    assert loop.start_losses == pytest.approx(steps.start_losses, abs=1e-6)
    assert nll == pytest.approx(other_nll, abs=1e-6)


def broken(make, value=torch.inf):
    model = make(7)
    with torch.no_grad():
        model.submodules_rnn[CHOSEN].output.bias.fill_(value)
    return model


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_start_that_gives_no_number_is_passed_over(agent_data, optimizer, place, make, fit, nll_of):
    """One start of three is no use: the other two are."""
    data, starts = agent_data[:4], [make(1), make(2)]
    starts.insert(place, broken(make))
    result = fit(starts[0], data, optimizer=optimizer, epochs=6, other_starts=starts[1:])
    good = [loss for i, loss in enumerate(result.start_losses) if i != place]
    assert not np.isfinite(result.start_losses[place])
    assert np.isfinite(good).all() and nll_of(starts[0], data) < 0.71
    assert all(torch.isfinite(parameter).all() for parameter in starts[0].parameters())


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_starts_that_all_give_no_number_are_an_error(agent_data, optimizer, make, fit):
    with pytest.raises(ModuleOutputError, match=f"the module '{CHOSEN}' returned inf in session 0, trial 0"):
        fit(broken(make), agent_data[:4], optimizer=optimizer, other_starts=[broken(make)])


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_an_infinite_loss_is_an_error(agent_data, optimizer, make, fit):
    """Certain of the wrong choice, once, at the very end: the loss is infinite, and no gradient is to be had."""

    class Certain(RescorlaWagnerRNN):
        def step(self, state, trial):
            values, logits = super().step(state, trial)
            return values, logits + torch.log((trial.reward != 0.25).to(logits))

    data = agent_data[:4]
    data.xs[1, -1] = torch.tensor([0, 1, torch.nan, 0.25, 0])
    data.ys[1, -1] = torch.tensor([0.0, 1.0])
    with pytest.raises(ModuleOutputError):
        fit(make(0, Certain), data, optimizer=optimizer, epochs=5)


# ---------------------------------------------------------------------- what a fit leaves behind


@pytest.mark.parametrize("settings", [{}, {"optimizer": "adam"}, {"validation_fraction": 0.3}])
def test_nothing_is_recorded(agent_data, monkeypatch, settings, make, fit):
    def refuse(*arguments):
        raise AssertionError("recorded while training")

    monkeypatch.setattr("spice.resources.recording.Recorder.add_call", refuse)
    monkeypatch.setattr("spice.resources.recording.Recorder.add_signal", refuse)
    result = fit(make(), agent_data[:6], epochs=3, other_starts=[make(1)], **settings)
    assert len(result.loss) == 3


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_and_random_numbers_stay_as_they_were(agent_data, n_threads, make, fit):
    threads = torch.get_num_threads()
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    try:
        torch.set_num_threads(n_threads)
        for settings in ({}, {"optimizer": "adam"}, {"batch_size": 3, "generator": torch.Generator()}):
            fit(make(), agent_data[:6], epochs=2, other_starts=[make(1)], validation_fraction=0.2, **settings)
            assert torch.get_num_threads() == n_threads
        with pytest.raises(ZeroDivisionError):
            fit(make(), agent_data[:6], epochs=2, callbacks=[lambda epoch: 1 / 0])
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.is_grad_enabled()


@pytest.mark.parametrize("n_starts", [1, 2])
@pytest.mark.parametrize("model_class", [RescorlaWagnerRNN, ForgettingRNN])
def test_a_fitted_model_can_be_copied_and_used(agent_data, model_class, n_starts, make, fit, nll_of):
    data, model = agent_data[:4], make(0, model_class)
    fit(model, data, epochs=3, other_starts=[make(seed, model_class) for seed in range(1, n_starts)])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert nll_of(twin, data) == nll_of(model, data)
    assert all(value.grad_fn is None for value in model.state.values()) and "tensor" in repr(dict(model.state))

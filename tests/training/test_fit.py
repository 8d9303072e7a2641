"""Stage 1: losses against NumPy, both optimisers, budgets, interruptions and what is said about them."""

import copy

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, ConvergenceWarning, ModuleOutputError, SpiceWarning
from spice.precoded import ChoiceRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN
from spice.training import fit_network, negative_log_likelihood
from spice.training.scales import set_input_scales


class Counting(RescorlaWagnerRNN):
    """Counts its passes, and may be interrupted by the user at one of them."""

    passes = 0
    interrupted_at = None

    def forward(self, *args, **kwargs):
        self.passes += 1
        if self.passes == self.interrupted_at:
            raise KeyboardInterrupt
        return super().forward(*args, **kwargs)


# ---------------------------------------------------------------------- the loss


def test_likelihood_equals_numpy():
    rng = np.random.default_rng(0)
    logits, choice = rng.normal(size=(3, 5, 4)), rng.integers(4, size=(3, 5))
    ys = np.eye(4)[choice]
    ys[1, 2:] = np.nan
    expected = 0.0
    for s in range(3):
        for t in range(5 if s != 1 else 2):
            expected -= np.log(np.exp(logits[s, t, choice[s, t]]) / np.exp(logits[s, t]).sum())
    assert float(negative_log_likelihood(torch.tensor(logits), torch.tensor(ys))) == pytest.approx(expected, abs=1e-12)


def test_certain_choices_have_finite_gradients():
    logits = torch.tensor([[[1000.0, -1000.0], [0.0, 0.0]]], requires_grad=True)
    ys = torch.tensor([[[1.0, 0.0], [torch.nan, torch.nan]]])
    loss = negative_log_likelihood(logits, ys)
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros(1, 2, 2))


def squares(model, *kinds):
    """Summed squares of the parameters with these kinds of prior."""
    modules = [module for module in model.modules() if hasattr(module, "priors")]
    return sum(
        float(p.detach().square().sum()) for module in modules for kind in kinds for p in module.priors().get(kind, [])
    )


def test_every_parameter_has_one_prior_at_most(make):
    model = make(model_class=ChoiceRNN)
    given = [
        p
        for module in model.modules()
        if hasattr(module, "priors")
        for group in module.priors().values()
        for p in group
    ]
    assert len(given) == len({id(p) for p in given})
    free = [name for name, p in model.named_parameters() if all(p is not other for other in given)]
    assert free == ["betas.x_value_reward.parameter", "betas.x_value_choice.parameter"]


@pytest.mark.parametrize("decays", [(0, 0, 0), (2.0, 0, 0), (0, 5.0, 0), (0, 0, 3.0), (2.0, 5.0, 3.0)])
def test_the_loss_is_a_posterior_per_scored_choice(random_data, decays, make, fit, nll_of):
    data = random_data(n_participants=3, missing=0.1)
    model = make(model_class=ChoiceRNN)
    weight, nonlinearity, people = decays
    penalty = 0.5 * (
        weight * (squares(model, "weights") + squares(model, "rates") / 25)  # a standard deviation of 5
        + nonlinearity * squares(model, "nonlinearity")
        + people * squares(model, "people")
    )
    expected = nll_of(model, data) + penalty / data.n_scored
    named = dict(zip(("weight_decay", "nonlinearity_decay", "embedding_decay"), decays, strict=True))
    for settings in ({"optimizer": "lbfgs"}, {"optimizer": "adam"}, {"batch_size": 3, "learning_rate": 0.0}):
        result = fit(copy.deepcopy(model), data, epochs=1, **settings, **named)
        assert result.loss == [pytest.approx(expected, abs=1e-10)]


def test_priors_keep_weights_small(agent_data, make, fit):
    for kind, name in (("weights", "weight_decay"), ("nonlinearity", "nonlinearity_decay")):
        norms = []
        for decay in (0.1, 10.0, 1000.0):
            model = make()
            fit(model, agent_data, epochs=80, **{"weight_decay": 0.1, "nonlinearity_decay": 0.1, name: decay})
            norms.append(squares(model, kind))
        assert norms[0] > norms[1] > norms[2]


# ---------------------------------------------------------------------- both optimisers


class Linear(torch.nn.Module):
    """The true family: three coefficients."""

    def __init__(self):
        super().__init__()
        self.coefficients = torch.nn.Parameter(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))

    def forward(self, value, inputs, embedding=None, participant=None):
        constant, factor, rate = self.coefficients
        return constant + factor * value + rate * inputs[..., 0]


def test_both_optimisers_find_the_maximum(agent_data, make, nll_of):
    start = nll_of(make(), agent_data)
    found = []
    for settings in ({"optimizer": "lbfgs"}, {"optimizer": "adam", "learning_rate": 0.05}):
        model = make()
        module = model.submodules_rnn["x_value_reward_chosen"] = Linear()
        result = fit_network(model, agent_data, epochs=400, **settings)
        assert result.converged and nll_of(model, agent_data) < start - 0.02
        found.append((nll_of(model, agent_data), module.coefficients.detach().numpy().copy()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=0.02)  # a fraction of their standard errors


def test_a_network_does_at_least_as_well(agent_data, make, fit, nll_of):
    for settings in (
        {"optimizer": "lbfgs", "epochs": 100},
        {"optimizer": "adam", "epochs": 100, "learning_rate": 0.03},
    ):
        model = make()
        start = nll_of(model, agent_data)
        fit(model, agent_data, weight_decay=1.0, **settings)
        assert nll_of(model, agent_data) < start - 0.02


def test_mini_batches_learn_too(agent_data, make, fit, nll_of):
    model = make()
    start = nll_of(model, agent_data)
    fit(model, agent_data, epochs=15, batch_size=5, learning_rate=0.02, generator=torch.Generator().manual_seed(0))
    assert nll_of(model, agent_data) < start - 0.02


def test_the_order_of_mini_batches_is_seeded(agent_data, make, fit):
    results = [
        fit(make(), agent_data, epochs=3, batch_size=7, generator=torch.Generator().manual_seed(seed)).loss
        for seed in (0, 0, 1)
    ]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 23])
def test_epochs_are_a_strict_bound(agent_data, optimizer, epochs, make):
    model = make(model_class=Counting)
    with pytest.warns(ConvergenceWarning) as caught:
        result = fit_network(model, agent_data, optimizer=optimizer, epochs=epochs)
    assert str(caught[0].message) == (
        f"the network did not converge within {epochs} epochs; raise epochs (the best parameters so far are kept)."
    )
    assert model.passes == len(result.loss) == epochs
    assert not result.converged and result.reason == f"all {epochs} epochs used"


def test_jumping_about_is_no_convergence(agent_data, make):
    with pytest.warns(ConvergenceWarning):
        result = fit_network(make(), agent_data, optimizer="adam", learning_rate=0.5, epochs=30)
    assert not result.converged


def test_lbfgs_says_when_it_has_converged(agent_data, make):
    result = fit_network(make(), agent_data, weight_decay=1.0, epochs=500)  # a warning would be an error
    assert result.converged and result.reason == "the loss no longer changes" and len(result.loss) < 500


@pytest.mark.parametrize("settings", [{"optimizer": "lbfgs"}, {"optimizer": "adam", "learning_rate": 0.5}])
def test_the_best_parameters_are_kept(agent_data, settings, make, fit, nll_of):
    """Adam with a wild step jumps about: the parameters belong to the best loss, not to the last."""
    model = make()
    result = fit(model, agent_data, epochs=20, **settings)
    assert nll_of(model, agent_data) == pytest.approx(min(result.loss), abs=1e-12)
    assert not model.training


def test_auto_takes_the_optimiser_that_fits(agent_data, make, fit):
    def first(**settings):
        quick = {"epochs": 2, "generator": torch.Generator().manual_seed(0)} | settings
        return fit(make(), agent_data, **quick).loss

    assert first() == first(optimizer="lbfgs")
    assert first(batch_size=5) == first(batch_size=5, optimizer="adam")


def test_dropout_asks_for_adam(agent_data, make, fit):
    fit(make(dropout=0.2), agent_data, epochs=2)
    with pytest.raises(ConfigError) as caught:
        fit_network(make(dropout=0.2), agent_data, optimizer="lbfgs")
    assert str(caught.value) == (
        "optimizer='lbfgs' needs the same loss at every evaluation, but dropout is set; use optimizer='adam', or leave "
        "that out."
    )
    with pytest.raises(ConfigError, match="but batch_size is set; use optimizer='adam', or leave that out.$"):
        fit_network(make(), agent_data, optimizer="lbfgs", batch_size=3)


def test_unknown_optimisers(agent_data, make):
    with pytest.raises(ConfigError) as caught:
        fit_network(make(), agent_data, optimizer="adm")
    assert str(caught.value) == ("optimizer='adm' is unknown (did you mean 'adam'?); choose one of auto, lbfgs, adam.")


# ---------------------------------------------------------------------- interruptions and trouble


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("at", [2, 12])
def test_an_interrupted_fit_keeps_the_best_parameters(agent_data, optimizer, at, make, nll_of):
    model = make(model_class=Counting)
    model.interrupted_at = at
    with pytest.warns(SpiceWarning) as caught:
        result = fit_network(model, agent_data, optimizer=optimizer, epochs=100)
    assert [str(entry.message) for entry in caught] == [
        f"the fit was interrupted after {at - 1} epochs; the best parameters so far are kept."
    ]
    assert result.reason == "interrupted" and len(result.loss) == at - 1 and not result.converged
    assert nll_of(model, agent_data) == pytest.approx(min(result.loss), abs=1e-12)


def test_an_interruption_before_the_first_epoch(agent_data, make):
    model = make(model_class=Counting)
    model.interrupted_at = 1
    with pytest.raises(KeyboardInterrupt):  # nothing is fitted
        fit_network(model, agent_data)


class Faulty(torch.nn.Module):
    """A module that divides by zero where the reward is 0.25."""

    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def forward(self, value, inputs, embedding=None, participant=None):
        return value + self.rate * (inputs[..., 0] - value) / (inputs[..., 0] != 0.25)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_module_that_returns_no_number_is_named(random_data, optimizer, make):
    data = random_data()
    data.xs[2, 3] = torch.tensor([0, 1, torch.nan, 0.25, 0])
    model = make()
    model.submodules_rnn["x_value_reward_chosen"] = Faulty()
    with pytest.raises(ModuleOutputError) as caught:
        fit_network(model, data, optimizer=optimizer)
    assert str(caught.value) == (
        "the module 'x_value_reward_chosen' returned -inf in session 2, trial 3, action 1. Lower learning_rate, or "
        "check the model's own formulas (division by zero, exp of a large number)."
    )


def test_formulas_outside_the_modules_are_blamed_as_such(random_data, make):
    class Broken(RescorlaWagnerRNN):
        def step(self, state, trial):
            state, logits = super().step(state, trial)
            return state, logits / 0

    with pytest.raises(ModuleOutputError, match="^the logits are not finite although every module's output is: check "):
        fit_network(make(model_class=Broken), random_data())


# ---------------------------------------------------------------------- callbacks


@pytest.mark.parametrize("value", [True, np.True_], ids=["bool", "numpy"])
def test_a_callback_that_returns_true_ends_the_fit(agent_data, value, make, fit):
    calls = []

    def stop(epoch):
        calls.append("stop")
        return value if epoch.number == 3 else None

    result = fit(make(), agent_data[:4], epochs=6, callbacks=[stop, lambda epoch: calls.append("other")])
    assert len(result.loss) == 3 and result.reason == "stopped by a callback" and not result.converged
    assert calls == ["stop", "other"] * 3  # those after it hear of the last epoch too


def test_what_else_a_callback_returns_does_not(agent_data, make, fit):
    values = iter([None, False, 0, "go on", 0.5, []])
    assert len(fit(make(), agent_data[:4], epochs=6, callbacks=[lambda epoch: next(values)]).loss) == 6


def test_a_stop_by_a_callback_keeps_the_best_without_a_warning(agent_data, make, nll_of):
    data, model = agent_data[:4], make()
    result = fit_network(model, data, callbacks=[lambda epoch: epoch.number == 5])  # a warning would be an error
    assert nll_of(model, data) == pytest.approx(min(result.loss), rel=1e-9) and not model.training


# ---------------------------------------------------------------------- scales


def test_binary_rewards_keep_their_scale_and_points_lose_it(random_data, make):
    data = random_data(n_participants=3)
    for factor, expected in ((1.0, 1.0), (100.0, None), (0.001, None)):
        scaled = DatasetRNN(data.xs.clone(), data.ys)
        scaled.xs[..., 2:4] *= factor
        model = make(model_class=ParticipantEmbeddingRNN)
        set_input_scales(model, scaled)
        rewards = scaled.xs[..., 2:4][~scaled.xs[..., 2:4].isnan()].double()
        scale = model.submodules_rnn["x_value_reward_chosen"].input_scale
        assert scale.dtype == torch.float64
        assert scale.item() == pytest.approx(expected or float(rewards.square().mean().sqrt()), rel=1e-5)


def test_the_unit_of_rewards_does_not_matter(agent_data, make, fit, nll_of):
    points = DatasetRNN(agent_data.xs.clone(), agent_data.ys)
    points.xs[..., 2:4] *= 100
    losses = []
    for data in (agent_data, points):
        model = make()
        set_input_scales(model, data)
        fit(model, data, weight_decay=1.0, epochs=200)
        losses.append(nll_of(model, data))
    assert losses[0] == pytest.approx(losses[1], abs=3e-3)


def test_the_bar_stays_out_of_logs(agent_data, capfd, make, fit):
    fit(make(), agent_data, epochs=2, verbose=True)
    fit(make(), agent_data, epochs=2, verbose=False)
    assert capfd.readouterr() == ("", "")

"""How a fit chooses its optimiser, and whether it may take all trials at once: never at the price of the result."""

import copy
import warnings

import pytest
import torch

from spice.errors import ConfigError, ConvergenceWarning
from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training import fit_network
from spice.training.evaluation import Evaluation
from spice.training.method import choose_evaluation, choose_optimizer
from spice.training.objective import Objective
from spice.training.parameters import ParameterVector

MODELS = [RescorlaWagnerRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, ChoiceRNN]
CHOSEN = "x_value_reward_chosen"


def make(model_class, seed=0, n_actions=2, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class.build(n_actions, 3, hidden_size=3, **settings).double()


def difference_from_the_loop(model, data, evaluation):
    """Relative difference of loss and gradient, each way from scratch."""
    rows = ParameterVector(model).read()[None]
    (nll, gradient), (other_nll, other_gradient) = (
        Objective(model, data, way)(rows) for way in (evaluation, Evaluation())
    )
    slope = float((gradient - other_gradient).norm() / other_gradient.norm())
    return max(float((nll - other_nll).abs() / other_nll), slope)


# ---------------------------------------------------------------------- models that allow it


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("n_actions", [2, 4])
@pytest.mark.parametrize("model_class", MODELS)
def test_all_ready_models_take_all_trials_at_once(random_data, model_class, n_actions, n_rows):
    data = random_data(n_actions=n_actions, missing=0.1, unknown=0.1, n_participants=3)
    evaluation = choose_evaluation(make(model_class, n_actions=n_actions), data, n_rows)
    assert evaluation.at_once and evaluation.reason
    assert evaluation.coupled == (model_class is LearningRateRNN)


def test_single_precision_too(random_data):
    for model_class in MODELS:
        assert choose_evaluation(make(model_class).float(), random_data(n_participants=3)).at_once


@pytest.mark.parametrize("n_rows", [1, 3])
def test_asking_changes_nothing(random_data, n_rows):
    data, model = random_data(n_participants=3), make(ChoiceRNN)
    before, xs = copy.deepcopy(model.state_dict()), data.xs.clone()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    assert choose_evaluation(model, data, n_rows).at_once
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(data.xs.nan_to_num(-1), xs.nan_to_num(-1)) and model.training


# ---------------------------------------------------------------------- models that do not


class Softmax(RescorlaWagnerRNN):
    """Values compete: each option's next value depends on those of the others."""

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"].softmax(-1)
        return {"x_value_reward": value}, 3 * value


class HiddenCoupling(RescorlaWagnerRNN):
    """As the parent, until a weight that starts at 0 couples the options."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"] - self.weight * state["x_value_reward"].mean(-1, keepdim=True)
        return {"x_value_reward": value}, value


class AcrossSessions(RescorlaWagnerRNN):
    """Sessions see each other."""

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"] - 0.3 * values["x_value_reward"].mean(0, keepdim=True)
        return {"x_value_reward": value}, value


class RemembersThePreviousTrial(RescorlaWagnerRNN):
    """Keeps the last choice in an attribute instead of a state."""

    def set_initial_state(self, batch_size=1):
        self.before = None
        return super().set_initial_state(batch_size)

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        logits = logits if self.before is None else logits + 0.5 * self.before
        self.before = trial.action
        return values, logits


class Counts(RescorlaWagnerRNN):
    """Learns less and less with every call."""

    def set_initial_state(self, batch_size=1):
        self.trial = 0
        return super().set_initial_state(batch_size)

    def step(self, state, trial):
        self.trial += 1
        values, _ = super().step(state, trial)
        value = state["x_value_reward"] + (values["x_value_reward"] - state["x_value_reward"]) / self.trial
        return {"x_value_reward": value}, value


class Normalised(RescorlaWagnerRNN):
    """Logits go through a batch norm."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.norm = torch.nn.BatchNorm1d(n_actions)

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, self.norm(logits)


class WantsSixSessions(RescorlaWagnerRNN):
    """Its step knows how many sessions there are."""

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits + torch.zeros(6, 2)


class TrainableStart(RescorlaWagnerRNN):
    """Start values are parameters."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.start = torch.nn.Parameter(torch.tensor(0.7))

    def set_initial_state(self, batch_size=1):
        super().set_initial_state(batch_size)
        if hasattr(self, "start"):
            self.set_state({"x_value_reward": self.start.expand(batch_size, self.n_actions)})
        return self.get_state()


class OwnLoop(RescorlaWagnerRNN):
    """A loop of its own."""

    def forward(self, inputs, prev_state=None, batch_first=False):
        return super().forward(inputs, prev_state, batch_first)


AWKWARD = [
    Softmax,
    HiddenCoupling,
    AcrossSessions,
    RemembersThePreviousTrial,
    Counts,
    Normalised,
    WantsSixSessions,
    TrainableStart,
    OwnLoop,
]


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("model_class", AWKWARD)
def test_models_that_need_the_loop_get_it(random_data, model_class, n_rows):
    evaluation = choose_evaluation(make(model_class), random_data(6, 12), n_rows)
    assert not evaluation.at_once and evaluation.reason


@pytest.mark.parametrize("model_class", [RemembersThePreviousTrial, Counts, Softmax])
def test_asking_leaves_no_trace_in_the_fit(random_data, model_class):
    """What the attempt left behind in a model must not reach the fit: its first loss is that of the loop."""
    data, model = random_data(6, 12), make(model_class)
    expected = float(Objective(make(model_class), data, Evaluation())(ParameterVector(model).read()[None])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit_network(model, data, epochs=3, other_starts=[make(model_class, seed=1)])
    assert not result.all_trials_at_once and result.evaluation
    alone = fit_once(make(model_class), data)
    assert alone.loss[0] == pytest.approx(expected / data.n_scored, rel=1e-12) and result.loss[0] <= alone.loss[0]


def fit_once(model, data, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit_network(model, data, epochs=1, **settings)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_counts_as_it_trains(random_data, training):
    """In evaluation mode it would treat every trial for itself; the fit is in training mode."""
    result = fit_once(make(Normalised).train(training), random_data(6, 12))
    assert not result.all_trials_at_once


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_draws_in_every_trial(random_data, dropout):
    model = make(RescorlaWagnerRNN, dropout=dropout)
    assert choose_evaluation(model, random_data()).at_once == (not dropout)


def test_short_sessions_are_not_worth_it(random_data):
    assert not choose_evaluation(make(RescorlaWagnerRNN), random_data(4, 2)).at_once
    assert choose_evaluation(make(RescorlaWagnerRNN), random_data(4, 40)).at_once


class Resets(BaseRNN):
    """Where the task says so, values are drawn to the mean of all options, or one state takes over the other."""

    init_values = {"x_value": 0.5, "x_other": 0.0}
    options = True

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.submodules_rnn["x_value"] = self.setup_module(input_size=1)
        self.submodules_rnn["x_other"] = self.setup_module(input_size=0)

    def step(self, state, trial):
        value = self.call_module("x_value", "x_value", action=trial.action, inputs=trial.reward)
        value = value + state["x_value"] * (1 - trial.action)
        other = self.call_module("x_other", "x_other", action=1 - trial.action) + 0.2 * trial.action
        mixed = value - 0.9 * value.mean(-1, keepdim=True) if self.options else other
        value = torch.where(trial.inputs["reset"] == 1, mixed, value)
        return {"x_value": value, "x_other": other}, value + other


@pytest.mark.parametrize("options", [True, False])
def test_a_coupling_that_comes_late_in_the_sessions(random_data, options):
    """Whatever is looked at to decide: loss and gradient of all trials must be the loop's."""
    data = random_data(6, 40)
    reset = torch.zeros(6, 40, 1)
    reset[:, 20::5] = 1
    data = DatasetRNN(torch.cat([data.xs[..., :4], reset, data.xs[..., 4:]], 2), data.ys, ["reset", "participant"])
    model = make(Resets)
    model.columns, model.options = data.columns, options
    assert difference_from_the_loop(model, data, choose_evaluation(model, data)) <= 1e-5


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_a_coupling_where_values_are_large(random_data, factor):
    """Values that compete above a bound which the first trials do not reach."""

    class Bounded(RescorlaWagnerRNN):
        def step(self, state, trial):
            values, _ = super().step(state, trial)
            value = values["x_value_reward"]
            pulled = value - 0.5 * value.mean(-1, keepdim=True)
            value = torch.where(value.abs().sum(-1, keepdim=True) > 5, pulled, value)
            return {"x_value_reward": value}, value

    data, model = random_data(6, 40), make(Bounded)
    data.xs[:, 20:, 2:4] *= factor
    with torch.no_grad():
        model.submodules_rnn[CHOSEN].rates[1] = 1.0  # values follow rewards
        assert (model(data.xs, batch_first=True)[0].abs().sum(-1) > 5).any() == (factor > 1)
    assert difference_from_the_loop(model, data, choose_evaluation(model, data)) <= 1e-5


# ---------------------------------------------------------------------- optimisers


def test_the_optimiser_follows_from_data_and_settings(random_data, monkeypatch):
    data, model = random_data(), make(RescorlaWagnerRNN)
    assert choose_optimizer("auto", None, model, data) == "lbfgs"
    assert choose_optimizer("auto", 2, model, data) == "adam"
    assert choose_optimizer("auto", None, make(RescorlaWagnerRNN, dropout=0.1), data) == "adam"
    assert choose_optimizer("adam", None, model, data) == "adam"
    assert choose_optimizer("lbfgs", None, model, data) == "lbfgs"
    monkeypatch.setattr("spice.training.method.FULL_BATCH", 4 * 12 * 2)
    assert choose_optimizer("auto", None, model, data) == "lbfgs"
    monkeypatch.setattr("spice.training.method.FULL_BATCH", 4 * 12 * 2 - 1)
    assert choose_optimizer("auto", None, model, data) == "adam"
    assert choose_optimizer("lbfgs", None, model, data) == "lbfgs"  # who asks for it gets it


def test_large_data_come_in_mini_batches(random_data, monkeypatch):
    """Steps after parts of the sessions: more than one full-batch step can do in an epoch."""
    data = random_data(8, 12)
    monkeypatch.setattr("spice.training.method.FULL_BATCH", 50)
    one = fit_once(make(RescorlaWagnerRNN), data, learning_rate=0.05)
    monkeypatch.setattr("spice.training.fit.MINI_BATCH", 2 * 12 * 2)
    four = fit_once(make(RescorlaWagnerRNN), data, learning_rate=0.05, generator=torch.Generator().manual_seed(0))
    assert one.optimizer == four.optimizer == "adam" and one.loss != four.loss


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"dropout": 0.1}])
def test_lbfgs_is_refused_where_the_loss_changes(random_data, settings):
    model = make(RescorlaWagnerRNN, dropout=settings.get("dropout", 0.0))
    with pytest.raises(ConfigError, match="use optimizer='adam'"):
        choose_optimizer("lbfgs", settings.get("batch_size"), model, random_data())

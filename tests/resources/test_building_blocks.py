"""What models are built from: modules by name, formulas, scaling, recording, checks and copies."""

import copy
import pickle

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, ModuleOutputError
from spice.precoded import ChoiceRNN, RescorlaWagnerRNN
from spice.resources.rnn import BaseRNN


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


class ScaledRNN(BaseRNN):
    """Scaling by call_module, and a hard-coded formula in a module's place."""

    init_values = {"x_value": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.betas["x_value"] = self.setup_constant()
        self.submodules_eq["x_value"] = lambda value, inputs: value + 0.25 * (inputs[..., 0] - value)

    def step(self, state, trial):
        value = self.call_module("x_value", "x_value", inputs=trial.reward)
        return {"x_value": value}, self.call_module("x_value", "x_value", inputs=trial.reward, scaling=True)


def test_formulas_and_scaling():
    model = ScaledRNN(2).double()
    with torch.no_grad():
        model.betas["x_value"].parameter.fill_(3.0)
    logits, state = run(model, torch.tensor([[[1.0, 0, 1, 0, 0]]]))
    np.testing.assert_allclose(state["x_value"].numpy(), [[0.625, 0.375]], atol=1e-15)
    np.testing.assert_allclose(logits, [[[1.875, 1.125]]], atol=1e-15)


def call(model, *args, **kwargs):
    model(torch.tensor([[[1.0, 0, 1, 0, 0]]]))
    return model.call_module(*args, **kwargs)


def test_unknown_names_are_named():
    model = RescorlaWagnerRNN(2)
    with pytest.raises(
        ConfigError, match="^there is no module 'x' in RescorlaWagnerRNN; it has x_value_reward_chosen.$"
    ):
        call(model, "x", "x_value_reward")
    with pytest.raises(
        ConfigError, match="^there is no state 'x_value'; init_values of RescorlaWagnerRNN names x_value_reward.$"
    ):
        call(model, "x_value_reward_chosen", "x_value")
    with pytest.raises(ConfigError, match="^scaling=True, but betas has no entry for the state 'x_value_reward'.$"):
        call(model, "x_value_reward_chosen", "x_value_reward", inputs=torch.zeros(1, 2), scaling=True)
    with pytest.raises(ConfigError, match="^there is no module 'other' in RescorlaWagnerRNN.$"):
        model.integrate_equations({"other": torch.nn.Identity()})
    with pytest.raises(ConfigError, match="^RescorlaWagnerRNN does not know the argument.s. 'hiden_size'.$"):
        RescorlaWagnerRNN(2, hiden_size=3)


def test_a_loop_that_sets_no_logits():
    class Silent(RescorlaWagnerRNN):
        def forward(self, inputs, prev_state=None, batch_first=False):
            _, _, logits, _ = self.init_forward_pass(inputs, prev_state, batch_first)
            return self.post_forward_pass(logits, batch_first), self.get_state()

    with pytest.raises(ValueError, match=r"^forward set no logits\[timestep\] for 3 trials, the first is trial 0.$"):
        Silent(2)(torch.zeros(3, 1, 5))


def test_a_model_without_step_or_forward():
    with pytest.raises(NotImplementedError, match="^BaseRNN defines neither step nor forward.$"):
        BaseRNN(2)(torch.zeros(1, 1, 5))


class Plain(BaseRNN):
    """Passes nothing on but the number of options, as the tutorial's model does."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn["x_value"] = self.setup_module(input_size=1)


def test_build_reaches_models_that_pass_no_settings_on():
    module = Plain.build(2, 5, hidden_size=13, dropout=0.25).submodules_rnn["x_value"]
    assert module.hidden.out_features == 13 and module.dropout.p == 0.25
    assert Plain(2).submodules_rnn["x_value"].hidden.out_features == 8


def test_checked_modules_name_the_place(random_data):
    data = random_data()
    model = ScaledRNN(2).double()
    model.submodules_eq["x_value"] = lambda value, inputs: value / (inputs[..., 0] != 0.25)
    data.xs[2, 3] = torch.tensor([0, 1, torch.nan, 0.25, 0])
    with (
        pytest.raises(
            ModuleOutputError,
            match=r"^the module 'x_value' returned inf in session 2, trial 3, action 1. Lower learning_rate, or check "
            r"the model's own formulas \(division by zero, exp of a large number\).$",
        ),
        model.checking_modules(),
    ):
        model(data.xs, batch_first=True)
    model(data.xs, batch_first=True)  # checked only while asked for


def test_recording(random_data):
    data = random_data(missing=0.1)
    model = make_model(RescorlaWagnerRNN)
    logits, _ = run(model, data.xs)
    with torch.no_grad(), model.recording() as record:
        model(data.xs, batch_first=True)
    states = record.signal("x_value_reward").transpose(0, 1).numpy()
    np.testing.assert_array_equal(states[:, 1:], logits[:, :-1])  # recorded before the trial
    np.testing.assert_array_equal(states[:, 0], np.full((4, 2), 0.5))
    record_call = record.call("x_value_reward_chosen")
    assert record_call.state == "x_value_reward" and record_call.inputs.shape == (12, 4, 2, 1)
    chosen = record.signal("c_action").bool() & data.observed.T.unsqueeze(-1)
    after = torch.as_tensor(logits).transpose(0, 1)
    assert torch.equal(record_call.next_value[chosen], after[chosen])
    with pytest.raises(
        ConfigError, match="^the signal 'c_x' is never recorded: call self.record_signal.'c_x', .... in "
    ):
        record.signal("c_x")
    with pytest.raises(ConfigError, match="^the module 'm' is never called: use call_module.'m', .... in the model.$"):
        record.call("m")


def test_copies_and_pickles_between_passes(random_data):
    data = random_data(missing=0.3)
    model = make_model(ChoiceRNN)
    logits, _ = run(model, data.xs)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(run(twin, data.xs)[0], logits)

"""A model of the user's own with a slip in it: a sentence of ours before the fit, no traceback from inside."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, SpiceWarning
from spice.estimator import SpiceConfig, SpiceEstimator
from spice.resources.agents import replay
from spice.resources.rnn import BaseRNN

CHOSEN = "x_value_reward_chosen"
CONFIG = {
    "rnn_modules": [CHOSEN],
    "control_parameters": ["c_action", "c_reward"],
    "library_setup": {CHOSEN: ["c_reward"]},
    "filter_setup": {CHOSEN: ["c_action", 1, True]},
}
RETURN = "step of Own must return the next states by name and the logits, return {'x_value_reward': value}, value; it "
STATE = "the state 'x_value_reward' must be a tensor of shape (n_batch, n_actions) = (4, 2), not "
ACTION = (
    f"action of the module {CHOSEN!r} must say for each option whether the update applies, a tensor of shape (n_batch, "
    "n_actions) = (4, 2) such as trial.action or 1 - trial.action, not "
)
INPUT = f"input 0 of the module {CHOSEN!r} must be a tensor of shape (n_batch, n_actions), e.g. trial.reward, not "
FORWARD = (
    "forward of Own must return logits and states, return self.post_forward_pass(logits, batch_first), "
    "self.get_state(); it returned "
)


@pytest.fixture
def data(agent_data):
    return agent_data[:4]


def own(step=None, init=None, forward=None, **attributes):
    class Own(BaseRNN):
        init_values = {"x_value_reward": 0.5}

        def __init__(self, n_actions, **kwargs):
            super().__init__(n_actions=n_actions, **kwargs)
            self.submodules_rnn[CHOSEN] = self.setup_module(input_size=1)
            if init is not None:
                init(self)

    attributes |= {"step": step} if step else {}
    attributes |= {"forward": forward} if forward else {}
    for name, value in attributes.items():
        setattr(Own, name, value)
    return Own


def updated(model, trial, **arguments):
    given = {"key_state": "x_value_reward", "action": trial.action, "inputs": trial.reward} | arguments
    return model.call_module(CHOSEN, **given) + model.state["x_value_reward"] * (1 - trial.action)


def refusal(model_class, data):
    with pytest.raises(ConfigError) as caught:
        SpiceEstimator(model_class, SpiceConfig(**CONFIG), epochs=1, refine=False).fit(data)
    return str(caught.value)


@pytest.mark.parametrize("inputs", [lambda trial: [trial.reward], lambda trial: (trial.reward,)])
def test_inputs_as_list_or_tuple(data, inputs):
    def step(self, state, trial):
        value = updated(self, trial, inputs=inputs(trial))
        return {"x_value_reward": value}, value

    model = own(step).build(2, 1)
    usual = own(lambda self, state, trial: ({"x_value_reward": (v := updated(self, trial))}, v)).build(2, 1)
    model.load_state_dict(usual.state_dict())
    torch.testing.assert_close(model(data.xs, batch_first=True)[0], usual(data.xs, batch_first=True)[0])


def fitted(model_class, data, **changes):
    estimator = SpiceEstimator(model_class, SpiceConfig(**CONFIG | changes), epochs=1, refine=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)  # one epoch makes no good model
        return estimator.fit(data)


class OwnCell(torch.nn.GRUCell):  # its input_size counts the state as well
    def __init__(self):
        super().__init__(2, 1)

    def forward(self, value, inputs, embedding, participant):
        features = torch.cat([value.unsqueeze(-1), inputs], dim=-1).flatten(0, 1)
        return super().forward(features, value.reshape(-1, 1)).reshape(value.shape)


class OwnPeople(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(4, 1)

    def forward(self, value, inputs, embedding, participant):
        return value + self.embedding(participant) * (inputs[..., 0] - value)


@pytest.mark.parametrize("module", [OwnCell, OwnPeople])
def test_modules_of_ones_own(data, module):
    def init(self):
        self.submodules_rnn[CHOSEN] = module()

    def step(self, state, trial):
        value = updated(self, trial)
        return {"x_value_reward": value}, value

    assert fitted(own(step, init), data).equations_


@pytest.mark.parametrize(
    "mask",
    [
        lambda trial: trial.action[:, :1],
        lambda trial: trial.action.new_tensor([[1.0, 0.0]]),
        lambda trial: trial.action.new_tensor([1.0, 0.0]),
        lambda trial: trial.action == 1,
    ],
)
def test_masks(data, mask):
    def model(spread):
        def step(self, state, trial):
            action = spread(trial)
            value = updated(self, trial, action=action)
            return {"x_value_reward": value}, value

        return own(step)

    found = model(mask).build(2, 1)
    usual = model(lambda trial: mask(trial) * torch.ones_like(trial.action)).build(2, 1)
    usual.load_state_dict(found.state_dict())
    torch.testing.assert_close(found(data.xs, batch_first=True)[0], usual(data.xs, batch_first=True)[0])
    assert fitted(model(mask), data, filter_setup={}).equations_


@pytest.mark.parametrize("start", [torch.tensor(0.5), np.array(0.5), np.float32(0.5)])
def test_start_values(data, start):
    model = own(init_values={"x_value_reward": start}).build(2, 1)
    assert model.set_initial_state(3)["x_value_reward"].equal(torch.full((3, 2), 0.5))


def test_sizes_of_any_kind_of_number():
    model = own(init=lambda self: self.submodules_rnn.update({CHOSEN: self.setup_module(1.0, None)})).build(2, 1)
    assert model.setup_module(np.int64(1)).input_size == 1
    assert model.setup_constant(None).embedding is None and model.setup_bias(None).embedding is None


@pytest.mark.parametrize("further", [(None,), (None, None), ({}, "more"), ([],)])
def test_forward_that_returns_no_states(data, further):
    def forward(self, inputs, prev_state=None, batch_first=False):
        (actions, rewards, *_), _, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            self.record_signal("c_action", action)
            self.record_signal("c_reward", reward)
            value = self.state["x_value_reward"]
            value = self.call_module(CHOSEN, value, action, reward) + value * (1 - action)
            self.state["x_value_reward"] = logits[timestep] = value
        return self.post_forward_pass(logits, batch_first), *further

    estimator = fitted(own(forward=forward), data)
    assert estimator.equations_ and estimator.symbolic_model().parameters
    session = replay(estimator.rnn_agent, data.xs[0], signals=["x_value_reward"])
    expected = estimator.rnn_model_(data.xs[:1], batch_first=True)[0][0, :-1].double().detach()
    torch.testing.assert_close(torch.tensor(session.logits[1:]), expected)


def test_names_that_may_be_missing(data):
    def step(self, state, trial):
        for names, problem in ((trial.inputs, "the data have no such input"), (state, "there is no state")):
            with pytest.raises(KeyError) as caught:
                names["stim"]
            assert isinstance(caught.value, ConfigError) and str(caught.value).startswith(problem)
        value = updated(self, trial)
        return {"x_value_reward": value}, value

    model = own(step).build(2, 1)
    assert model(data.xs, batch_first=True)[0].isfinite().all()


def test_states_that_are_spread_over_sessions(data):
    def forward(self, inputs, prev_state=None, batch_first=False):
        (actions, rewards, *_), _, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        self.set_initial_state()  # of one session
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            value = self.call_module(CHOSEN, self.state["x_value_reward"].expand_as(action), action, reward)
            self.state["x_value_reward"] = logits[timestep] = value
        return self.post_forward_pass(logits, batch_first), self.get_state()

    logits, state = own(forward=forward).build(2, 1)(data.xs, batch_first=True)
    assert logits.shape == (4, 40, 2) and state["x_value_reward"].shape == (4, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"rnn_modules": {CHOSEN: 1}.keys(), "control_parameters": np.array(["c_action", "c_reward"])},
        {
            "library_setup": {CHOSEN: np.array(["c_reward"])},
            "control_parameters": {"c_action": 0, "c_reward": 1}.keys(),
        },
        {"rnn_modules": [np.str_(CHOSEN)], "library_setup": {CHOSEN: iter(["c_reward"])}},
        {"polynomial_degree": 2.0, "constant": np.True_},
        {"polynomial_degree": {CHOSEN: torch.tensor(2)}, "constant": {CHOSEN: 1}},
        {"filter_setup": {CHOSEN: ["c_action", np.True_, 1]}},
        {"filter_setup": {CHOSEN: [["c_action", torch.tensor(1.0), np.True_]]}},
    ],
)
def test_configurations_of_kindred_kinds(changes):
    usual, found = SpiceConfig(**CONFIG), SpiceConfig(**CONFIG | changes)
    assert list(found.rnn_modules) == [CHOSEN] and type(found.rnn_modules[0]) is str
    for method in (SpiceConfig.filters, SpiceConfig.inputs, SpiceConfig.library, SpiceConfig.has_constant):
        assert method(found, CHOSEN) == method(usual, CHOSEN)
    assert found.degree(CHOSEN, 2) == 2 and type(found.degree(CHOSEN, 2)) is int
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (lambda trial: {"inputs": 1.0}, INPUT + "1.0."),
        (lambda trial: {"inputs": "c_reward"}, INPUT + "'c_reward'."),
        (lambda trial: {"inputs": (None,)}, INPUT + "None."),
        (
            lambda trial: {"inputs": trial.reward[:, :1].repeat(1, 3)},
            f"input 0 of the module {CHOSEN!r} has shape (4, 3), but must have (n_batch, n_actions) = (4, 2).",
        ),
        (
            lambda trial: {"inputs": [trial.reward, trial.action]},
            f"the module {CHOSEN!r} was set up with input_size=1, but is called with 2 input(s): set input_size to the "
            "number of inputs that call_module gets.",
        ),
        (
            lambda trial: {"inputs": None},
            f"the module {CHOSEN!r} was set up with input_size=1, but is called with 0 input(s): set input_size to the "
            "number of inputs that call_module gets.",
        ),
        (lambda trial: {"action": 0}, ACTION + "0."),
        (lambda trial: {"action": trial.action.argmax(-1)}, ACTION + "a tensor of shape (4,)."),
        (
            lambda trial: {"key_state": 0.5},
            "a state is given to call_module by name or as a tensor, e.g. 'x_value_reward', not 0.5.",
        ),
    ],
)
def test_calls(data, arguments, problem):
    def step(self, state, trial):
        value = updated(self, trial, **arguments(trial))
        return {"x_value_reward": value}, value

    assert refusal(own(step), data) == problem


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (lambda value: value, RETURN + "returned one thing (Tensor)."),
        (lambda value: {"x_value_reward": value}, RETURN + "returned one thing (dict)."),
        (lambda value: None, RETURN + "returned nothing."),
        (lambda value: (value, {"x_value_reward": value}), RETURN + "returned 2 things (Tensor, dict)."),
        (lambda value: ({"x_value_reward": value}, 0.5), RETURN + "returned 2 things (dict, float)."),
        (lambda value: ({"x_value_reward": 0.5}, value), STATE + "0.5."),
        (lambda value: ({"x_value_reward": value[:, :1].repeat(1, 3)}, value), STATE + "a tensor of shape (4, 3)."),
        (
            lambda value: ({"x_valu_reward": value}, value),
            "there is no state 'x_valu_reward' (did you mean 'x_value_reward'?); init_values names x_value_reward.",
        ),
        (
            lambda value: ({"x_value_reward": value}, value[:, 0]),
            "the logits of a trial have shape (4,), but must have (n_batch, n_actions) = (4, 2).",
        ),
    ],
)
def test_what_step_returns(data, returned, problem):
    assert refusal(own(lambda self, state, trial: returned(updated(self, trial))), data) == problem


def test_what_step_asks_for(data):
    assert refusal(own(lambda self, state, trial: state["x_value"]), data) == (
        "there is no state 'x_value' (did you mean 'x_value_reward'?); init_values names x_value_reward."
    )
    assert refusal(own(lambda self, state, trial: trial.inputs["effort"]), data) == (
        "the data have no such input 'effort'; they have none. Name its column when the data are read "
        "(convert_dataset: inputs=, shown=; DatasetRNN: columns=)."
    )
    assert refusal(own(lambda self, state, trial: self.lagged("reward", 0), lags={"reward": 1}), data) == (
        "lagged signals are a whole number of trials from 1 on earlier, not 0."
    )


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (lambda self, logits, first: self.post_forward_pass(logits, first), FORWARD + "one thing (Tensor)."),
        (lambda self, logits, first: None, FORWARD + "nothing."),
        (
            lambda self, logits, first: (self.post_forward_pass(logits), self.get_state()),
            "forward of Own returned logits of shape (40, 4, 2), but with batch_first=True they are (4, 40, 2) "
            "(sessions, trials, actions): return self.post_forward_pass(logits, batch_first), self.get_state().",
        ),
    ],
)
def test_what_forward_returns(data, returned, problem):
    def forward(self, inputs, prev_state=None, batch_first=False):
        (actions, rewards, *_), _, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            value = self.call_module(CHOSEN, "x_value_reward", action=action, inputs=reward)
            self.state["x_value_reward"] = logits[timestep] = value
        return returned(self, logits, batch_first)

    assert data.shape[:2] == (4, 40)
    assert refusal(own(forward=forward), data) == problem


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (
            own(init_values=["x_value_reward"]),
            "init_values of Own must give each state's start value, e.g. {'x_value_reward': 0.5}, not "
            "['x_value_reward'].",
        ),
        (
            own(init_values={"x_value_reward": "a"}),
            "init_values of Own cannot be used: that of 'x_value_reward' must be a number, not 'a'.",
        ),
        (
            own(lags=["reward"]),
            "lags of Own must give a number of trials by signal, e.g. {'reward': 2}, not ['reward'].",
        ),
        (
            own(init=lambda self: self.setup_module("1")),
            "input_size of setup_module must be a whole number from 0 on, not '1'.",
        ),
        (
            own(init=lambda self: self.setup_constant(-1)),
            "embedding_size of setup_constant must be a whole number from 0 on, not -1.",
        ),
        (
            own(init=lambda self: self.setup_embedding(2, 1.5)),
            "embedding_size of setup_embedding must be a whole number from 0 on, not 1.5.",
        ),
    ],
)
def test_what_a_class_says(data, model, problem):
    assert refusal(model, data) == problem


def test_an_embedding_that_is_not_passed_on(data):
    def init(self):
        self.participant_embedding = self.setup_embedding(2, 3)
        self.submodules_rnn[CHOSEN] = self.setup_module(1, embedding_size=3)

    assert refusal(own(lambda self, state, trial: updated(self, trial), init), data) == (
        f"the module {CHOSEN!r} was set up with an embedding size, but is called without an embedding: give "
        "call_module participant_embedding=trial.embedding."
    )


def test_a_class_that_forgets_its_parent(data):
    class Own(BaseRNN):
        def __init__(self, n_actions):
            self.n = n_actions

    assert refusal(Own, data) == "__init__ of Own must begin with super().__init__(n_actions=n_actions, **kwargs)."


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rnn_modules": CHOSEN}, f"rnn_modules must be a list of names, not {CHOSEN!r}."),
        ({"control_parameters": None}, "control_parameters must be a list of names, not None."),
        ({"library_setup": None}, "library_setup must map each module's name to a list, not None."),
        (
            {"library_setup": {CHOSEN: "c_reward"}},
            f"library_setup of {CHOSEN!r} must be a list of signals, not 'c_reward'.",
        ),
        ({"filter_setup": [CHOSEN]}, f"filter_setup must map each module's name to a list, not [{CHOSEN!r}]."),
        ({"polynomial_degree": "2"}, "polynomial_degree must be a whole number from 1 on, not '2'."),
        ({"polynomial_degree": {CHOSEN: 0}}, "polynomial_degree must be a whole number from 1 on, not 0."),
        ({"constant": "no"}, "constant must be True or False, not 'no'."),
    ],
)
def test_configurations_of_other_kinds(changes, problem):
    with pytest.raises(ConfigError) as caught:
        SpiceConfig(**CONFIG | changes)
    assert str(caught.value) == f"SpiceConfig cannot be read: {problem}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rnn_modules": [CHOSEN, CHOSEN]}, f"rnn_modules names {CHOSEN!r} more than once."),
        (
            {"filter_setup": {CHOSEN: ["c_action", "1", True]}},
            f"filter_setup of {CHOSEN!r} compares with a number, not '1'.",
        ),
        (
            {"filter_setup": {CHOSEN: ["c_action", 1, "yes"]}},
            f"filter_setup of {CHOSEN!r} says with True or False whether 'c_action' leaves the library, not 'yes'.",
        ),
    ],
)
def test_configurations_that_contradict_themselves(changes, problem):
    with pytest.raises(ConfigError) as caught:
        SpiceConfig(**CONFIG | changes)
    assert str(caught.value) == f"SpiceConfig does not fit together: {problem}"

"""From model and data to trials: what updates what, what the data tell apart, and models that have no such form."""

import numpy as np
import pytest
import torch

from spice.errors import ModelFormError
from spice.inference.build import pose
from spice.inference.refine import Refinement
from spice.inference.units import Unit
from spice.precoded import BANDIT_CONFIG, RESCORLA_WAGNER_CONFIG, BanditRNN, RescorlaWagnerRNN
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"

NAN = float("nan")


class Effort(BaseRNN):
    """Values of all options decay; that of the chosen one learns from reward and effort."""

    init_values = {"x_worth": 0.2}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_worth_chosen"] = self.setup_module(input_size=2)
        self.submodules_rnn["x_worth_all"] = self.setup_module(input_size=1)

    def step(self, state, trial):
        effort = trial.inputs["effort"]
        chosen = self.call_module("x_worth_chosen", "x_worth", action=trial.action, inputs=(trial.reward, effort))
        return {"x_worth": chosen + state["x_worth"] * (1 - trial.action)}, state["x_worth"]


class Everywhere(BaseRNN):
    """One module for all options at once."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        self.submodules_rnn["x_value_reward_all"] = self.setup_module(input_size=2)

    def step(self, state, trial):
        value = self.call_module("x_value_reward_all", "x_value_reward", inputs=(trial.reward, trial.action))
        return {"x_value_reward": value}, value


EVERYWHERE = SpiceConfig(
    rnn_modules=["x_value_reward_all"],
    control_parameters=["c_action", "c_reward"],
    library_setup={"x_value_reward_all": ["c_reward", "c_action"]},
)


class Unnamed(RescorlaWagnerRNN):
    """Updates something that is no state."""

    def step(self, state, trial):
        value = state["x_value_reward"]
        changed = self.call_module(LEARNT, 2 * value, action=trial.action, inputs=trial.reward)
        return {"x_value_reward": changed + value * (1 - trial.action)}, value


def dataset(choices, rewards, participants=None, targets=None):
    """Two options; choices (session, trial) of 0, 1 or NaN, rewards of the chosen option."""
    choices, rewards = np.array(choices, float), np.array(rewards, float)
    one_hot = np.where(np.isnan(choices)[..., None], NAN, choices[..., None] == np.arange(2))
    outcome = np.where(one_hot == 1, rewards[..., None], NAN)
    people = np.zeros(len(choices)) if participants is None else np.array(participants, float)
    ids = np.broadcast_to(people[:, None, None], (*choices.shape, 1))
    xs = np.concatenate([one_hot, outcome, ids], -1)
    targets = choices[:, 1:] if targets is None else np.array(targets, float)
    ys = np.where(np.isnan(targets)[..., None], NAN, targets[..., None] == np.arange(2))
    return DatasetRNN(xs[:, : ys.shape[1]], ys)


def test_modules_stand_by_state_and_the_chosen_options_first(helpers, random_data):
    problem = helpers.pose_problem(random_data(2, 6)).problem
    assert [module.name for module in problem.library.modules] == [LEARNT, OTHERS, REPEATED, NOT_REPEATED]
    assert problem.chosen.tolist() == [1, 0, 1, 0]
    assert problem.library.is_value.tolist() == [True, False]
    names = problem.library.names
    assert names[: problem.library.first[1]] == [
        "1",
        LEARNT,
        "c_reward",
        f"{LEARNT}^2",
        f"{LEARNT} c_reward",
        "c_reward^2",
    ]
    for own, constant, module in zip(
        problem.library.own, problem.library.constant, problem.library.modules, strict=True
    ):
        assert names[own] == module.name and names[constant] == "1"


def test_what_updates_what(helpers):
    """Missing trials update nothing; an unknown reward leaves the chosen option's value."""
    data = dataset([[0, NAN, 1, 1]], [[1.0, NAN, NAN, 0.0]], targets=[[1, 1, 0, 0]])
    trials = helpers.pose_problem(data).problem.trials
    learnt, others, repeated, not_repeated = range(4)
    assert trials.modules.tolist() == [
        [[learnt, others], [repeated, not_repeated]],
        [[-1, -1], [-1, -1]],
        [[others, -1], [not_repeated, repeated]],
        [[others, learnt], [not_repeated, repeated]],
    ]
    assert trials.choices.tolist() == [1, 1, 0, 0] and trials.sessions.tolist() == [0, 4]


def test_sessions_end_with_their_last_choice(helpers):
    data = dataset(
        [[0, 1, 1, 0, 1], [0, 1, NAN, NAN, NAN], [1, 1, NAN, 1, NAN], [NAN] * 5], [[1.0] * 5] * 4, [1, 0, 1, 0]
    )
    trials = helpers.pose_problem(data, n_participants=2).problem.trials
    assert trials.groups.tolist() == [0, 2, 4]  # sessions 1 and 3, then 0 and 2
    # the choice after row 1 is missing in session 1, and nothing follows row 3 of session 2
    assert np.diff(trials.sessions).tolist() == [2, 0, 4, 4]
    assert trials.choices.tolist() == [1, -1, 1, 1, 0, 1, 1, -1, 1, -1]
    assert trials.n_scored().tolist() == [1, 6]


def test_what_was_met_and_told_apart(helpers, random_data):
    """By participant: binary rewards and none at all for one, rewards of -2 to 3 for the other."""
    rng = np.random.default_rng(0)
    choices = rng.integers(2, size=(2, 41))
    rewards = np.stack([rng.integers(2, size=41), rng.choice([-2.0, 0.5, 3.0], 41)])
    posed = helpers.pose_problem(dataset(choices, rewards, [0, 1]), n_participants=2)
    extent, told_apart = posed.problem.met()
    at = {name: helpers.number_of(posed.layout, LEARNT, name) for name in ("1", LEARNT, "c_reward", "c_reward^2")}
    crossed = helpers.number_of(posed.layout, LEARNT, f"{LEARNT} c_reward")
    # measured from each person's worst in units of their range
    assert posed.problem.units[0]["c_reward"] == Unit(0.0, 1.0) and posed.problem.units[1]["c_reward"] == Unit(
        -2.0, 5.0
    )
    for term in (at["c_reward"], at["c_reward^2"], crossed):
        np.testing.assert_allclose(extent[:, term], [[0, 1], [0, 1]])
    assert (extent[:, [at["1"], at[LEARNT]]] == 1).all()
    assert told_apart[:, [*at.values()]].tolist() == [[True, True, True, False], [True, True, True, True]]
    outcome = helpers.number_of(posed.layout, OTHERS, "c_outcome")
    assert not told_apart[:, outcome].any() and (extent[:, outcome] == 0).all()
    assert told_apart[:, crossed].all()


def test_further_inputs(helpers):
    """A model with an input of its own, and a module that is never called with a mask, against the model itself."""
    data = dataset(np.random.default_rng(0).integers(2, size=(5, 21)), np.random.default_rng(1).normal(size=(5, 21)))
    effort = torch.as_tensor(np.random.default_rng(2).normal(size=(5, 20, 1)), dtype=torch.float32)
    xs = torch.cat([data.xs[..., :4], effort, data.xs[..., 4:]], -1)
    data = DatasetRNN(xs, data.ys, ["effort", "participant"])
    config = SpiceConfig(
        rnn_modules=["x_worth_chosen"],
        control_parameters=["c_action", "c_reward", "c_effort"],
        library_setup={"x_worth_chosen": ["c_reward", "c_effort"]},
        filter_setup={"x_worth_chosen": ["c_action", 1, True]},
        polynomial_degree=2,
    )

    class Model(Effort):
        def step(self, state, trial):
            states, _ = super().step(state, trial)
            return states, states["x_worth"]

    torch.manual_seed(0)
    network = Model.build(2, 1, hidden_size=2).double()
    network.columns = data.columns
    refinement = Refinement(network, config, data, 1)
    library = refinement.problem.library
    assert "c_reward c_effort" in library.names and "x_worth_chosen c_effort" in library.names
    values = 0.1 * np.random.default_rng(3).standard_normal(library.n_terms + 2)
    values[library.n_terms :] = 0.0
    posed = refinement._likelihood(values[None], np.zeros((1, len(values)), bool), np.zeros(1, int))
    model = refinement.model_with({0: refinement.network_equations(0, values)}, {})
    with torch.no_grad():
        logits = model(data.xs, batch_first=True)[0]
    assert posed.nll[0] == pytest.approx(float(helpers.nll_of(logits, data).sum()), rel=1e-10)


def test_a_module_of_all_options(helpers, agent_data):
    """It is compiled, but belongs to no role that the canonical form knows."""
    refinement = helpers.refinement_of(agent_data, Everywhere, EVERYWHERE)
    assert refinement.problem.chosen.tolist() == [-1]
    refined = refinement.run({0: None})[0]
    found, unread = helpers.read(refinement.problem, refinement.layout, refined.fit.rows, refined.fit.numbers[0])
    assert found == {} and unread == ["x_value_reward"]


def test_updates_of_what_is_no_state_have_no_form(agent_data):
    with pytest.raises(ModelFormError, match="^the module 'x_value_reward_chosen' updates no state by name.$"):
        pose(Unnamed.build(2, 1).double(), RESCORLA_WAGNER_CONFIG, agent_data, 1)


def test_the_degree_is_the_librarys(helpers, agent_data):
    """The configuration's where it says so, else that which was asked for."""
    degrees = {
        degree: helpers.pose_problem(agent_data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, degree) for degree in (1, 2)
    }
    assert [posed.library.n_terms for posed in degrees.values()] == [3, 6]
    assert helpers.pose_problem(agent_data, BanditRNN, BANDIT_CONFIG, 1).library.n_terms == 6 + 10 + 3 + 3


def test_units_of_outcomes(helpers, agent_data):
    """Outcomes received and shown of other options are measured alike; inputs that never vary have no origin."""
    data = helpers.with_outcomes(agent_data, share=1.0)
    shown = data.xs[..., 2:4]
    chosen = data.xs[..., :2] == 1
    shown[...] = torch.where(
        chosen, 10.0 + 0.5 * (shown > 0.5), torch.where(shown.isnan(), torch.nan, 8.0 + 0.0 * shown)
    )
    units = helpers.pose_problem(data).problem.units[0]
    assert units["c_reward"] == units["c_outcome"] == Unit(8.0, 2.5)
    shown[...] = torch.where(chosen, 7.0, torch.nan)
    units = helpers.pose_problem(data).problem.units[0]
    assert units["c_reward"] == Unit(0.0, 7.0) and units["c_outcome"] == Unit()

"""The canonical form: known parameters come back, and predict what the equations predict."""

import numpy as np
import pytest
import torch

from spice.inference.canonical import gauges
from spice.inference.refine import Refined, Refinement
from spice.inference.refit import Fits
from spice.inference.report import Report
from spice.inference.search import Visited
from spice.precoded import CHOICE_CONFIG, RESCORLA_WAGNER_CONFIG, ChoiceRNN, RescorlaWagnerRNN
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ
from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]
CROSSED = (LEARNT, f"{LEARNT} c_reward")

RW = {"beta": 3.0, "alpha": 0.3, "initial_value": 0.4}
TWO_RATES = {"beta": 4.0, "alpha_reward": 0.5, "alpha_penalty": 0.2, "initial_value": 0.6}
SLOW = {"perseveration": 1.5, "alpha_choice": 0.25}
MODELS = {
    "rescorla-wagner": RW,
    "negative": RW | {"beta": -2.0, "initial_value": -0.3},
    "last reward": RW | {"alpha": 1.0},
    "two rates": TWO_RATES,
    "forgetting": RW | {"forgetting": 0.2},
    "forgetting at once": RW | {"forgetting": 1.0},
    "forgetting, two rates": TWO_RATES | {"forgetting": 0.15},
    "forgetting target": RW | {"forgetting": 0.2, "forgetting_target": 0.1},
    "forgetting target at once": RW | {"forgetting": 1.0, "forgetting_target": 0.1},
    "counterfactual": RW | {"alpha_counterfactual": 0.15},
    "counterfactual, two rates": TWO_RATES | {"alpha_counterfactual": 0.15},
    "perseveration": RW | {"perseveration": 0.8},
    "alternation": RW | {"perseveration": -0.8},
    "slow trace": RW | SLOW,
    "trace alone": SLOW,
    "biased": RW | {"bias": 0.7},
    "bias alone": {"bias": -0.4},
    "all but outcomes of others": TWO_RATES | {"forgetting": 0.2, "bias": 0.7} | SLOW,
    "all but forgetting": RW | {"alpha_counterfactual": 0.15, "bias": 0.7} | SLOW,
}


def agent_of(p, n_actions):
    """The textbook's agent; without a forgetting target, which it does not have."""
    biases = [p.get("bias" if n_actions == 2 else f"bias_{k}", 0.0) for k in range(n_actions)]
    biases[0] = 0.0
    return AgentQ(
        n_actions=n_actions,
        beta_reward=p.get("beta", 0.0),
        alpha_reward=p.get("alpha", p.get("alpha_reward", 0.0)),
        alpha_penalty=p.get("alpha_penalty"),
        forget_rate=p.get("forgetting", 0.0),
        beta_choice=p.get("perseveration", 0.0),
        alpha_choice=p.get("alpha_choice", 1.0),
        alpha_counterfactual=p.get("alpha_counterfactual", 0.0),
        bias=biases,
        start=p.get("initial_value", 0.0),
    )


class ForgetsTowards(AgentQ):
    """An agent whose values go to a target of their own where the option is not chosen."""

    def __init__(self, target, **parameters):
        self._target = target
        super().__init__(**parameters)

    def _learn(self, choice, reward, inputs):
        super()._learn(choice, reward, inputs)  # with a forgetting rate of 0
        others = ~np.isnan(choice[:, None]) & (choice[:, None] != np.arange(self.n_actions))
        self._q = np.where(others, self._q + self._rate_of_others * (self._target - self._q), self._q)


def probabilities_by_agent(agent, data):
    """Of the choice that follows each row, as far as there is another row."""
    return np.stack([replay(agent, session).probs[1:] for session in data.xs])


def probabilities_by_model(model, data):
    with torch.no_grad():
        return torch.softmax(model(data.xs, batch_first=True)[0], -1)[:, :-1].numpy()


def numbers_of(helpers, layout, p, n_actions):
    """Structure and numbers in the search's gauge, x = beta (Q - Q0) and perseveration K, of known parameters."""
    numbers = np.zeros(layout.n_numbers)
    free, tied = [], [NOT_REPEATED]

    def put(module, term, value):
        free.append((module, term))
        numbers[helpers.number_of(layout, module, term)] = value

    if "beta" in p:
        s = p["beta"] * p["initial_value"]
        low, high = (p.get("alpha", p.get(name)) for name in ("alpha_penalty", "alpha_reward"))
        numbers[layout.starts[0]] = s
        put(LEARNT, "c_reward", high * p["beta"] + (low - high) * s)
        put(LEARNT, LEARNT, 1 - low)
        if low != high:
            put(*CROSSED, low - high)
        if "forgetting" in p:
            put(OTHERS, OTHERS, 1 - p["forgetting"])
            if "forgetting_target" in p:
                put(OTHERS, "1", p["forgetting"] * (p["beta"] * p["forgetting_target"] - s))
        if "alpha_counterfactual" in p:
            put(OTHERS, OTHERS, 1 - p["alpha_counterfactual"])
            tied.append(OTHERS)
    if "perseveration" in p:
        put(REPEATED, "1", p["perseveration"] * p.get("alpha_choice", 1.0))
        if "alpha_choice" in p:
            put(REPEATED, REPEATED, 1 - p["alpha_choice"])
    for k in range(1, n_actions):
        name = "bias" if n_actions == 2 else f"bias_{k}"
        if name in p:
            free.append(k)
            numbers[layout.biases[k]] = p[name]
    return helpers.structure(layout, free, tied), numbers


def named(p, n_actions):
    """Biases by option where there are more than two."""
    if n_actions == 2 or "bias" not in p:
        return p
    return {name: value for name, value in p.items() if name != "bias"} | {"bias_1": p["bias"], "bias_2": -0.3}


@pytest.fixture(scope="module", params=[2, 3], ids=["2 options", "3 options"])
def played(request, helpers):
    """Choices nearly at random, all outcomes shown, and a missing trial or two."""
    data = helpers.simulated(4, 40, seed=2, n_actions=request.param, beta_reward=1.0, alpha_counterfactual=0.1)
    data.xs[1, 7:9, :-1] = torch.nan
    data.ys[1, 6:8] = torch.nan
    return data


@pytest.fixture(scope="module")
def refinement(helpers, played):
    return helpers.refinement_of(played)


MODEL = pytest.mark.parametrize("name", MODELS)


# ---------------------------------------------------------------------- known parameters


@MODEL
def test_known_parameters_come_back(helpers, refinement, played, name):
    p = named(MODELS[name], played.n_actions)
    row, numbers = numbers_of(helpers, refinement.layout, p, played.n_actions)
    found, unread = helpers.read(refinement.problem, refinement.layout, row, numbers)
    assert unread == [] and found.keys() == p.keys()
    for parameter, value in p.items():
        assert found[parameter] == pytest.approx(value, abs=1e-12), parameter
    assert "initial_value" not in found or list(found)[-1] == "initial_value"


@MODEL
def test_predictions_are_those_of_the_textbooks_agent(helpers, refinement, played, name):
    """In the network's gauge, whose states start at init_values, and in the canonical one."""
    n_actions = played.n_actions
    p = named(MODELS[name], n_actions)
    row, numbers = numbers_of(helpers, refinement.layout, p, n_actions)
    values = refinement.layout.coefficients(numbers[None], row)[0][0]
    biases = values[refinement.problem.library.n_terms :]
    model = refinement.model_with({0: refinement.network_equations(0, values)}, {0: biases})
    found, _ = helpers.read(refinement.problem, refinement.layout, row, numbers)
    if "forgetting_target" in p:
        agent = agent_of({key: value for key, value in found.items() if key != "forgetting"}, n_actions)
        target = ForgetsTowards(
            found["forgetting_target"], **{k: v for k, v in agent._given.items() if "[" not in k}, n_actions=n_actions
        )
        target._rate_of_others = found["forgetting"]
        agent = target
    else:
        agent = agent_of(found, n_actions)
    expected = probabilities_by_agent(agent, played)
    assert np.abs(expected - 1 / n_actions).max() > 0.05
    np.testing.assert_allclose(probabilities_by_model(model, played), expected, atol=1e-9)
    # and the states themselves: x = shift + scale Q, x = shift + scale K
    readout = gauges(refinement.layout, found, refinement.starts, refinement.readout[0])
    assert set(readout) == {
        s for s, key in (("x_value_reward", "beta"), ("x_value_choice", "perseveration")) if key in p
    }
    for session in range(len(played)):
        with torch.no_grad():
            states = model(played.xs[[session]], batch_first=True)[1]
        replay(agent, played.xs[session])  # left at the session's end
        for state, gauge in readout.items():
            own = agent.get_state_value(state, multiply_with_beta=False)
            np.testing.assert_allclose(states[state][0], gauge.shift + gauge.scale * own, atol=1e-9)


# ---------------------------------------------------------------------- of searched structures


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rescorla-wagner", {}),
        ("forgetting", {}),
        ("asymmetric rates", {}),
        ("perseveration", {}),
        ("slow choice trace", {}),
        ("counterfactual", {}),
        ("counterfactual", {"alpha_reward": 0.5, "alpha_penalty": 0.15}),
        ("rescorla-wagner", {"bias": (0.0, 0.8)}),
        ("rescorla-wagner", {"n_actions": 3}),
        ("forgetting", {"n_actions": 3}),
    ],
)
def test_fitted_equations_predict_what_their_canonical_form_predicts(searched, name, changes):
    refinement, refined, data = searched(name, **changes)
    form = Report(refinement, 0, refined, "somebody", {}).canonical()
    assert form.unread == []
    model = refinement.model_with({0: refined.equations}, {0: refined.biases})
    agent = agent_of(form.parameters, data.n_actions)
    np.testing.assert_allclose(probabilities_by_model(model, data), probabilities_by_agent(agent, data), atol=1e-9)


@pytest.mark.parametrize(
    "name", ["rescorla-wagner", "forgetting", "asymmetric rates", "slow choice trace", "counterfactual"]
)
def test_parameters_of_simulated_agents_are_within_their_standard_errors(searched, mechanisms, name):
    refinement, refined, _ = searched(name)
    estimates = Report(refinement, 0, refined, "somebody", {}).canonical().estimates
    names = {
        "beta": "beta_reward",
        "alpha": "alpha_reward",
        "alpha_reward": "alpha_reward",
        "alpha_penalty": "alpha_penalty",
        "forgetting": "forget_rate",
        "perseveration": "beta_choice",
        "alpha_choice": "alpha_choice",
        "alpha_counterfactual": "alpha_counterfactual",
    }
    truth = mechanisms[name] | {"start": 0.5}
    assert {names.get(key, "start") for key in estimates} == set(truth)
    for key, entry in estimates.items():
        assert abs(entry.value - truth[names.get(key, "start")]) < 4 * entry.se, (key, entry)
        assert entry.low < entry.value < entry.high


# ---------------------------------------------------------------------- what cannot be read

VALUE, TRACE = "x_value_reward", "x_value_choice"
TIED = [NOT_REPEATED]
UNREAD = {  # free numbers, tied modules, and which states are unread
    "powers": ([*DELTA, (LEARNT, "c_reward^2")], TIED, [VALUE]),
    "powers of the state": ([*DELTA, (LEARNT, f"{LEARNT}^2")], TIED, [VALUE]),
    "a sum of rewards": ([(LEARNT, "c_reward")], TIED, [VALUE]),
    "no outcome": ([CROSSED, DELTA[0]], TIED, [VALUE]),
    "outcomes of others on a scale of their own": ([*DELTA, (OTHERS, OTHERS), (OTHERS, "c_outcome")], TIED, [VALUE]),
    "others changed by the reward": ([*DELTA, (OTHERS, OTHERS), (OTHERS, "c_reward")], TIED, [VALUE]),
    "traces that decay differently": (
        [*DELTA, (REPEATED, "1"), (REPEATED, REPEATED), (NOT_REPEATED, NOT_REPEATED)],
        [],
        [TRACE],
    ),
    "both": ([*DELTA, (LEARNT, "c_reward^2"), (REPEATED, "1"), (REPEATED, f"{REPEATED}^2")], TIED, [VALUE, TRACE]),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_listed(helpers, refinement, name):
    *entry, unread = UNREAD[name]
    layout = refinement.layout
    row = helpers.structure(layout, *entry)
    numbers = np.where(row.free[0], np.random.default_rng(0).uniform(0.1, 0.4, layout.n_numbers), 0.0)
    found, listed = helpers.read(refinement.problem, layout, row, numbers)
    assert listed == unread
    assert ("beta" in found) == ("x_value_reward" not in unread)
    assert "perseveration" not in found
    assert set(gauges(layout, found, refinement.starts, refinement.readout[0])).isdisjoint(unread)


def report_of(helpers, data, free, tied=(NOT_REPEATED,)):
    """The canonical form of a structure's fit, and its model."""
    refinement = helpers.refinement_of(data)
    posed = helpers.pose_problem(data)
    row = helpers.structure(posed.layout, free, tied)
    numbers = np.zeros((1, posed.layout.n_numbers))
    numbers[0, helpers.number_of(posed.layout, LEARNT, LEARNT)] = 0.6
    fit = posed.refit(row, np.zeros(1, int), numbers)
    values = posed.layout.coefficients(fit.numbers, fit.rows)[0][0]
    model = refinement.model_with({0: refinement.network_equations(0, values)}, {0: values[posed.library.n_terms :]})
    found, unread = helpers.read(posed.problem, posed.layout, fit.rows, fit.numbers[0])
    return found, unread, model


@pytest.mark.parametrize("unit", [1.0, 0.5, 10.0, 100.0])
def test_rewards_in_other_units(helpers, unit):
    """One rate: the value of an option that always pays goes to the payment."""
    data = helpers.simulated(20, 60, seed=1, alpha_reward=0.4, beta_reward=3.0)
    data.xs[..., 2:4] *= unit
    found, unread, model = report_of(helpers, data, DELTA)
    assert unread == []
    agent = agent_of(found, 2)
    np.testing.assert_allclose(probabilities_by_model(model, data), probabilities_by_agent(agent, data), atol=1e-9)


@pytest.mark.parametrize("unit", [1.0, 0.5, 100.0])
def test_two_rates_with_rewards_in_other_units(helpers, unit):
    """Where two rates are named, they are those of the agent that learns from these rewards."""
    data = helpers.simulated(20, 60, seed=1, alpha_reward=0.5, alpha_penalty=0.2, beta_reward=3.0)
    data.xs[..., 2:4] *= unit
    found, unread, model = report_of(helpers, data, [*DELTA, CROSSED])
    assert unread == ["x_value_reward"] or not unread
    if not unread:
        agent = agent_of(found, 2)
        np.testing.assert_allclose(probabilities_by_model(model, data), probabilities_by_agent(agent, data), atol=1e-9)


def test_two_rates_need_binary_rewards(helpers, random_data):
    """With continuous rewards, x r alone is no learning rate that depends on the reward: r² is missing."""
    found, unread, model = report_of(helpers, random_data(20, 40), [*DELTA, CROSSED])
    assert unread == ["x_value_reward"] and "beta" not in found


def test_a_count_of_choices_is_unread(helpers, refinement):
    """A trace that keeps all of itself has no rate, and a value that does has none to which it goes."""
    layout = refinement.layout
    row = helpers.structure(layout, [*DELTA, (REPEATED, "1"), (REPEATED, REPEATED)])
    numbers = np.where(row.free[0], 1.0, 0.0)
    assert helpers.read(refinement.problem, layout, row, numbers) == ({}, [VALUE, TRACE])


def test_outcomes_of_others_with_continuous_rewards(helpers):
    """The largest reward received is not the largest outcome shown: they lead to the same value all the same."""
    parameters = {"alpha_reward": 0.4, "beta_reward": 3.0, "alpha_counterfactual": 0.2}
    data = helpers.simulated(20, 60, seed=1, reward="continuous", **parameters)
    data.xs[0, 0, 2:4] = 3 * (data.xs[0, 0, :2] == 0)
    found, unread, model = report_of(helpers, data, [*DELTA, (OTHERS, OTHERS)], [NOT_REPEATED, OTHERS])
    assert unread == [] and set(found) == {"beta", "alpha", "alpha_counterfactual", "initial_value"}
    agent = agent_of(found, 2)
    np.testing.assert_allclose(probabilities_by_model(model, data), probabilities_by_agent(agent, data), atol=1e-9)


def test_continuous_rewards(helpers):
    data = helpers.simulated(20, 60, seed=1, reward="continuous", alpha_reward=0.4, beta_reward=3.0, forget_rate=0.2)
    found, unread, model = report_of(helpers, data, [*DELTA, (OTHERS, OTHERS)])
    assert unread == [] and set(found) == {"beta", "alpha", "forgetting", "initial_value"}
    agent = agent_of(found, 2)
    np.testing.assert_allclose(probabilities_by_model(model, data), probabilities_by_agent(agent, data), atol=1e-9)


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.7, 0.9])
def test_a_rate_of_0_is_not_read(helpers, refinement, kept):
    """A multiplier of 1 with reward: nothing is learned from rewards, and beta cannot be read."""
    layout = refinement.layout
    row = helpers.structure(layout, [*DELTA, CROSSED])
    numbers = np.zeros(layout.n_numbers)
    for key, value in zip([*DELTA, CROSSED], (kept, 0.9, 1.0 - kept), strict=True):
        numbers[helpers.number_of(layout, *key)] = value
    found, unread = helpers.read(refinement.problem, layout, row, numbers)
    assert unread == ["x_value_reward"] and "beta" not in found


@pytest.mark.parametrize("name", ["rescorla-wagner", "forgetting", "slow trace"])
def test_a_readout_of_its_own(helpers, played, name):
    """ChoiceRNN multiplies its states: the canonical form does not notice, the gauge does."""
    network = ChoiceRNN.build(played.n_actions, 2, hidden_size=2).double()
    with torch.no_grad():
        for beta, value in zip(network.betas.values(), (2.5, -0.7), strict=True):
            beta.parameter.fill_(value)
            beta.embedding.weight.zero_()
    refinement, p = Refinement(network, CHOICE_CONFIG, played, 1), MODELS[name]
    np.testing.assert_allclose(refinement.readout, [[2.5, -0.7]])
    row, numbers = numbers_of(helpers, refinement.layout, p, played.n_actions)
    values = refinement.layout.coefficients(numbers[None], row)[0][0]
    model = refinement.model_with({0: refinement.network_equations(0, values)}, {})
    found, unread = helpers.read(refinement.problem, refinement.layout, row, numbers)
    assert unread == [] and found == pytest.approx(p)
    agent = agent_of(found, played.n_actions)
    expected = probabilities_by_agent(agent, played)
    np.testing.assert_allclose(probabilities_by_model(model, played), expected, atol=1e-9)
    with torch.no_grad():
        states = model(played.xs[[0]], batch_first=True)[1]
    replay(agent, played.xs[0])
    for state, gauge in gauges(refinement.layout, found, refinement.starts, refinement.readout[0]).items():
        own = agent.get_state_value(state, multiply_with_beta=False)
        np.testing.assert_allclose(states[state][0], gauge.shift + gauge.scale * own, atol=1e-9)


class TwoValues(BaseRNN):
    """Two values that learn from the same rewards."""

    init_values = {"x_fast": 0.5, "x_slow": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions, **kwargs)
        for state in self.init_values:
            self.submodules_rnn[f"{state}_chosen"] = self.setup_module(input_size=1)

    def step(self, state, trial):
        new = {
            name: self.call_module(f"{name}_chosen", name, action=trial.action, inputs=trial.reward)
            + state[name] * (1 - trial.action)
            for name in self.init_values
        }
        return new, new["x_fast"] + new["x_slow"]


@pytest.fixture(scope="module")
def two_values(helpers, played):
    modules = ["x_fast_chosen", "x_slow_chosen"]
    config = SpiceConfig(
        rnn_modules=modules,
        control_parameters=["c_action", "c_reward"],
        library_setup={name: ["c_reward"] for name in modules},
        filter_setup={name: ["c_action", 1, True] for name in modules},
    )
    refinement = helpers.refinement_of(played, TwoValues, config)
    layout = refinement.layout
    keys = [(name, term) for name in modules for term in (name, "c_reward")]
    numbers = np.zeros(layout.n_numbers)
    for key, value in zip(keys, (0.4, 1.2, 0.9, 0.3), strict=True):
        numbers[helpers.number_of(layout, *key)] = value
    numbers[layout.starts] = 1.0, 2.0
    row, n = helpers.structure(layout, keys), layout.n_numbers
    fit = Fits(
        row,
        np.zeros(1, int),
        numbers[None],
        np.zeros(1),
        np.zeros(1),
        np.eye(n)[None],
        np.zeros((1, n)),
        np.diag(row.free[0])[None].astype(float),
        np.ones(1, bool),
    )
    found = Refined({}, np.zeros(played.n_actions), fit, Visited([fit], [0.0], {}), played.n_scored)
    return Report(refinement, 0, found, "anna", {}).canonical()


def test_a_second_value_is_unread(two_values):
    """And has no gauge: its scale is not the first one's."""
    assert two_values.unread == ["x_slow"] and list(two_values.gauge) == ["x_fast"]
    assert two_values.parameters == pytest.approx({"beta": 2.0, "alpha": 0.6, "initial_value": 0.5})


def test_other_models_are_read_too(helpers, played):
    """Rescorla-Wagner has no module for the others, and no trace."""
    refinement = helpers.refinement_of(played, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
    row = helpers.structure(refinement.layout, DELTA)
    numbers = np.zeros(refinement.layout.n_numbers)
    values = {DELTA[0]: 0.7, DELTA[1]: 0.9}
    for key, value in values.items():
        numbers[helpers.number_of(refinement.layout, *key)] = value
    numbers[refinement.layout.starts[0]] = 1.5
    found, unread = helpers.read(refinement.problem, refinement.layout, row, numbers)
    assert unread == [] and found == pytest.approx({"beta": 3.0, "alpha": 0.3, "initial_value": 0.5})


@pytest.mark.parametrize(("better", "worse"), [(0.0, 0.3), (0.3, 0.0)])
def test_learning_from_one_outcome_alone(helpers, better, worse):
    """The other rate is 0; start and inverse temperature are one number then: the start is set midway, as simulated."""
    data = helpers.simulated(60, 100, seed=3, alpha_reward=better, alpha_penalty=worse, beta_reward=3.0)
    refinement = helpers.refinement_of(data, degree=2)
    refined = refinement.run({0: None})[0]
    form = Report(refinement, 0, refined, "anna", {}).canonical()
    assert set(form.parameters) == {"beta", "alpha_reward", "alpha_penalty", "initial_value"} and not form.unread
    found = form.estimates
    assert found["initial_value"].value == 0.5 and found["initial_value"].se == 0
    for name, truth in (("beta", 3.0), ("alpha_reward", better), ("alpha_penalty", worse)):
        assert abs(found[name].value - truth) <= 4 * found[name].se
    assert {found["alpha_reward"].se > 0, found["alpha_penalty"].se > 0} == {True, False}


@pytest.mark.parametrize(
    ("name", "changes", "offset", "size"),
    [
        ("asymmetric rates", {}, -1.0, 2.0),
        ("forgetting", {}, 100.0, 1.0),
        ("counterfactual", {}, -3.0, 0.5),
        ("rescorla-wagner", {"alpha_penalty": 0.0}, -1.0, 2.0),
    ],
)
def test_other_origins_and_units_of_rewards_change_nothing_else(helpers, searched, name, changes, offset, size):
    """The same choices after offset + size r: the same structure, beta / size, and starts where they were."""
    refinement, refined, data = searched(name, n_sessions=20, **changes)
    xs, columns = data.xs.clone(), data.columns
    xs[..., columns.reward] = offset + size * xs[..., columns.reward]
    moved = helpers.refinement_of(data.replace(xs, data.ys))
    again = moved.run({0: None})[0]
    found, other = (
        Report(*entry, "somebody", {}).canonical() for entry in ((refinement, 0, refined), (moved, 0, again))
    )
    assert found.unread == other.unread == [] and list(found.parameters) == list(other.parameters)
    for key, value in found.parameters.items():
        expected = {"beta": value / size, "initial_value": offset + size * value}.get(key, value)
        assert other.parameters[key] == pytest.approx(expected, abs=1e-5 * max(1.0, abs(expected))), key
        scale = {"beta": 1 / size, "initial_value": size}.get(key, 1.0)
        assert other.estimates[key].se == pytest.approx(scale * found.estimates[key].se, rel=1e-3), key
    with torch.no_grad():
        model = moved.model_with({0: again.equations}, {0: again.biases})
        first = refinement.model_with({0: refined.equations}, {0: refined.biases})
    np.testing.assert_allclose(
        probabilities_by_model(model, data.replace(xs, data.ys)), probabilities_by_model(first, data), atol=1e-5
    )


def test_people_with_other_outcomes_change_nobodys_numbers(helpers, searched):
    """Side by side with somebody who is paid in points, and alone."""
    refinement, refined, data = searched("asymmetric rates", n_sessions=20)
    points = data.xs.clone()
    points[..., data.columns.reward] = 10 + 50 * points[..., data.columns.reward]
    points[..., -1] = 1
    both = helpers.refinement_of(
        data.replace(torch.cat([data.xs, points]), torch.cat([data.ys, data.ys])), n_participants=2
    )
    found = both.run({0: None, 1: None})
    alone, first, second = (
        Report(search, group, entry, "somebody", {}).canonical().parameters
        for search, group, entry in ((refinement, 0, refined), (both, 0, found[0]), (both, 1, found[1]))
    )
    assert first == pytest.approx(alone, abs=1e-6)
    scaled = alone | {"beta": alone["beta"] / 50, "initial_value": 10 + 50 * alone["initial_value"]}
    assert second == pytest.approx(scaled, rel=1e-5)

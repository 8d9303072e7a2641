"""Refitting SINDy's terms in models of any form: Newton's method, elimination, and the same through torch."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize

from spice.equations import Equation, with_equations
from spice.errors import ConvergenceWarning, ModelFormError, SpiceWarning
from spice.inference.general.elimination import eliminate
from spice.inference.general.newton import Minima, Region, newton
from spice.inference.general.refine import refine_generally
from spice.precoded import LEARNING_RATE_RNN_CONFIG, LearningRateRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood

RATE, OTHERS = "x_learning_rate_reward", "x_value_reward_not_chosen"
TERMS = {RATE: {"1": 0.25, RATE: 0.1, "c_reward": 0.3, "c_value_reward": 0.05}, OTHERS: {"1": 0.1, OTHERS: 0.75}}


@pytest.fixture(scope="module")
def data():
    """Rates of .6 after rewards and .3 after none, forgetting .2 towards .5, inverse temperature 3."""
    agent = AgentQ(n_actions=2, alpha_reward=0.6, alpha_penalty=0.3, beta_reward=3.0, forget_rate=0.2)
    data, _, _ = create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2), n_trials=100, n_sessions=60, seed=1)
    data.xs[..., -1] = 0
    return data


def equations(terms, config=LEARNING_RATE_RNN_CONFIG):
    return {name: Equation(name, config.inputs(name), dict(entry)) for name, entry in terms.items()}


def network_of(model_class=LearningRateRNN, n_participants=1):
    torch.manual_seed(0)
    network = model_class.build(2, n_participants, hidden_size=2).double()
    with torch.no_grad():
        for beta in network.betas.values():
            beta.parameter.fill_(2.0)
    return network


def nll(model, data):
    with torch.no_grad():
        logits = model(data.xs, batch_first=True)[0].double()
        return float(negative_log_likelihood(logits, data.ys.double()))


@pytest.fixture(scope="module")
def refined(data):
    return refine_generally(network_of(), LEARNING_RATE_RNN_CONFIG, data, {0: equations(TERMS)})


# ---------------------------------------------------------------------- the whole


def test_the_truth_is_found(refined):
    """Terms and numbers, within three standard errors."""
    found, model, results = refined
    terms = {name: set(entry.coefficients) for name, entry in found[0].items()}
    assert terms == {RATE: {"1", "c_reward"}, OTHERS: {"1", OTHERS}}
    table = results[0].terms.set_index(["module", "term"])
    truth = {(RATE, "1"): 0.3, (RATE, "c_reward"): 0.3, (OTHERS, "1"): 0.1, (OTHERS, OTHERS): 0.8}
    truth["beta", "x_value_reward"] = 3.0
    assert set(table.index) == set(truth)
    for key, value in truth.items():
        row = table.loc[key]
        assert abs(row.estimate - value) < 3 * row.se and row.se < 0.3
        assert row.ci_low == pytest.approx(row.estimate - 1.96 * row.se, abs=1e-3)
        assert 0.5 < row.inclusion <= 1
    assert table.loc[(RATE, "1")].sindy == 0.25
    assert results[0].canonical.unread == ["x_value_reward", RATE] and not results[0].canonical.estimates
    assert model.betas["x_value_reward"].parameter.item() == table.loc["beta", "x_value_reward"].estimate


def test_it_is_a_minimum(refined, data):
    """The model's own likelihood, by numbers that are changed a little."""
    found, model, results = refined
    best = nll(model, data)
    for row in results[0].terms.itertuples():
        for sign in (-1, 1):
            step = sign * 0.1 * row.se
            changed = {name: dict(entry.coefficients) for name, entry in found[0].items()}
            if row.module != "beta":
                changed[row.module][row.term] += step
            other = with_equations(model, {0: equations(changed)})
            if row.module == "beta":
                with torch.no_grad():
                    other.betas[row.term].parameter.add_(step)
            assert 0 < nll(other, data) - best < 0.2


def test_the_network_is_left_as_it_was(data):
    network = network_of()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    refine_generally(network, LEARNING_RATE_RNN_CONFIG, data[:5], {0: equations(TERMS)})
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_torch_finds_the_same(refined, data, monkeypatch):
    def refuse(*_):
        raise ModelFormError("no.")

    monkeypatch.setattr("spice.equations.tracing.trace", refuse)
    start = {name: dict(entry.coefficients) for name, entry in refined[0][0].items()}
    start[RATE]["c_value_reward"] = 0.05
    with pytest.warns(SpiceWarning, match="^the equations of LearningRateRNN are refined by torch, .*: no.$"):
        found, model, results = refine_generally(network_of(), LEARNING_RATE_RNN_CONFIG, data, {0: equations(start)})
    one, other = (entry[0].terms.set_index(["module", "term"]) for entry in (refined[2], results))
    assert set(one.index) == set(other.index)
    for key in one.index:
        assert other.loc[key].estimate == pytest.approx(one.loc[key].estimate, abs=0.01 * one.loc[key].se)
        assert other.loc[key].se == pytest.approx(one.loc[key].se, rel=0.01)
    assert nll(model, data) == pytest.approx(nll(refined[1], data), abs=1e-4)


def growing_values(n_sessions=20, n_trials=100, growth=1.15, seed=0):
    """Whoever waits grows by 15 % a trial."""
    rng = np.random.default_rng(seed)
    xs, ys = np.zeros((n_sessions, n_trials, 5)), np.zeros((n_sessions, n_trials, 2))
    for session in range(n_sessions):
        q = np.array([0.5, 0.5])
        choice = int(rng.integers(2))
        for t in range(n_trials):
            reward = float(rng.random() < 0.5)
            q[choice] += 0.5 * (reward - q[choice])
            q[1 - choice] *= growth
            xs[session, t, [choice, 3 - choice]] = 1.0, np.nan
            xs[session, t, 2 + choice] = reward
            choice = int(rng.random() < 1 / (1 + np.exp(2.0 * (q[0] - q[1]))))
            ys[session, t, choice] = 1.0
    return DatasetRNN(xs, ys)


@pytest.mark.parametrize("compiled", [True, False])
def test_states_stay_stable(compiled, monkeypatch):
    """Multipliers within [-1, 1]: where the data want more, at the limit."""
    if not compiled:
        monkeypatch.setattr("spice.inference.general.refine.MOST_COMPILED", 0)
    terms, data = {RATE: {"1": 0.5}, OTHERS: {OTHERS: 0.95}}, growing_values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        found, model, results = refine_generally(network_of(), LEARNING_RATE_RNN_CONFIG, data, {0: equations(terms)})
    assert found[0][OTHERS].coefficients[OTHERS] == pytest.approx(1.0, abs=1e-6)
    assert results[0].terms.set_index(["module", "term"]).loc[OTHERS, OTHERS].se == 0  # 1 is what others keep as it is
    terms[OTHERS][OTHERS] = 1.15
    assert nll(with_equations(model, {0: equations(terms)}), data) < nll(model, data)


def test_a_start_that_cannot_be_evaluated_is_kept(data):
    terms = {RATE: {"1": 5e3}, OTHERS: {OTHERS: 1.0, "1": 1e3}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, model, _ = refine_generally(network_of(), LEARNING_RATE_RNN_CONFIG, data[:5], {0: equations(terms)})
    assert nll(model, data[:5]) <= nll(with_equations(network_of(), {0: equations(terms)}), data[:5]) + 1e-9


# ---------------------------------------------------------------------- several people


class Personal(BaseRNN):
    """A delta rule whose rate is a module's, with biases; logits that saturate."""

    init_values = {"x_rate": 0.0, "x_value": 0.0}

    def __init__(self, n_actions, n_participants, embedding_size=2, **kwargs):
        super().__init__(n_actions, n_participants, embedding_size)
        self.participant_embedding = self.setup_embedding(n_participants, embedding_size)
        self.betas["x_value"] = self.setup_constant(embedding_size)
        self.bias = self.setup_bias(embedding_size)
        self.submodules_rnn["x_rate"] = self.setup_module(input_size=1, embedding_size=embedding_size)

    def step(self, state, trial):
        rate = self.call_module("x_rate", "x_rate", trial.action, trial.reward, trial.embedding)
        value = state["x_value"] + rate * (trial.reward.nan_to_num(0.0) - state["x_value"]) * trial.action
        logits = self.betas["x_value"](trial.embedding) * torch.tanh(value) + self.call_bias(trial.embedding)
        return {"x_rate": rate, "x_value": value}, logits


PERSONAL = SpiceConfig(
    rnn_modules=["x_rate"], control_parameters=["c_action", "c_reward"], library_setup={"x_rate": ["c_reward"]}
)


def test_everybody_has_terms_and_biases_of_their_own(people_data):
    network = network_of(Personal, 3)
    proposals = {
        0: equations({"x_rate": {"1": 0.3}}, PERSONAL),
        1: equations({"x_rate": {"1": 0.3, "c_reward": 0.1}}, PERSONAL),
        2: equations({"x_rate": {"1": 0.4, "c_reward": 0.2}}, PERSONAL),
    }
    found, model, results = refine_generally(network, PERSONAL, people_data, proposals)
    assert list(found) == [0, 1, 2]
    for person in proposals:
        own = people_data[people_data.participants.numpy() == person]
        alone, other, _ = refine_generally(network, PERSONAL, own, {person: proposals[person]})
        assert found[person]["x_rate"].coefficients == pytest.approx(alone[person]["x_rate"].coefficients, abs=1e-4)
        assert set(found[person]["x_rate"].coefficients) <= set(proposals[person]["x_rate"].coefficients)
        assert nll(model, own) == pytest.approx(nll(other, own), abs=1e-6)
        assert nll(model, own) <= nll(with_equations(network, proposals), own)
        table = results[person].terms
        assert set(table.participant) == {("anna", "ben", "cleo")[person]}
        bias = table[table.module == "bias"].estimate.item()
        assert model.bias.refined[person].tolist() == pytest.approx([0.0, bias])


# ---------------------------------------------------------------------- Newton's method


def quadratics(n_rows, n, seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_rows, n, n))
    return rng.normal(size=(n_rows, n)), factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(n)


def unlimited(n_rows, n):
    return Region(np.eye(n), np.full((n_rows, n), 100.0))


def quartic(center, curvature):
    def evaluate(x, rows):
        d = x - center[rows]
        bend = np.einsum("ri,rij,rj->r", d, curvature[rows], d) / 2
        slope = np.einsum("rij,rj->ri", curvature[rows], d) + d**3
        diagonal = 3 * d[:, :, None] ** 2 * np.eye(d.shape[1])
        return bend + (d**4).sum(1) / 4, slope, curvature[rows] + diagonal

    return evaluate


def test_minima_of_many_rows():
    center, curvature = quadratics(5, 4)
    rows = np.array([3, 1, 4])
    found = newton(quartic(center, curvature), np.zeros((3, 4)), np.ones((3, 4), bool), unlimited(5, 4), rows)
    assert found.converged.all()
    np.testing.assert_allclose(found.numbers, center[rows], atol=1e-4)
    held = np.array([[True, False, True, True]])
    one = newton(quartic(center, curvature), np.full((1, 4), 0.5), held, unlimited(5, 4), np.array([0]))
    assert one.numbers[0, 1] == 0.5 and one.converged.all()


@pytest.mark.parametrize("seed", range(5))
def test_minima_within_limits_equal_scipys(seed):
    center, curvature = quadratics(1, 4, seed)
    combinations = np.vstack([np.eye(4), np.random.default_rng(seed).normal(size=(3, 4))])
    most = np.full((1, 7), 0.3)
    evaluate, rows = quartic(3 * center, curvature), np.zeros(1, int)
    found = newton(evaluate, np.zeros((1, 4)), np.ones((1, 4), bool), Region(combinations, most), rows)
    expected = minimize(
        lambda x: float(evaluate(x[None], rows)[0][0]),
        np.zeros(4),
        jac=lambda x: evaluate(x[None], rows)[1][0],
        method="SLSQP",
        constraints=LinearConstraint(combinations, -most[0], most[0]),
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert (np.abs(combinations @ found.numbers[0]) <= 0.3 + 1e-9).all()
    assert found.nll[0] == pytest.approx(expected.fun, rel=1e-6)


def test_directions_that_bend_down_are_left_downhill():
    def saddle(x, rows):
        slope = np.stack([x[:, 0] ** 3 - x[:, 0], x[:, 1]], 1)
        curve = np.stack([3 * x[:, 0] ** 2 - 1, np.ones(len(x))], 1)[:, :, None] * np.eye(2)
        return x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2 + x[:, 1] ** 2 / 2, slope, curve

    found = newton(saddle, np.array([[0.01, 1.0]]), np.ones((1, 2), bool), unlimited(1, 2), np.zeros(1, int))
    np.testing.assert_allclose(found.numbers, [[1.0, 0.0]], atol=1e-4)


# ---------------------------------------------------------------------- elimination


def test_only_what_costs_less_than_its_price_is_dropped():
    """Rows of quadratics: the first number matters, the second hardly, the third is 1 within its error."""
    center = np.array([[3.0, 0.1, 1.05], [3.0, 2.5, 1.05]])
    region, curvature = unlimited(2, 3), np.tile(np.eye(3), (2, 1, 1))

    def fit(numbers, free, rows):
        def evaluate(x, at):
            return ((x - center[at]) ** 2).sum(1) / 2, x - center[at], curvature[at]

        return newton(evaluate, numbers, free, region, rows)

    free, rows = np.ones((2, 3), bool), np.arange(2)
    first: Minima = fit(np.zeros((2, 3)), free, rows)
    targets = [(0, 0.0), (1, 0.0), (2, 0.0), (2, 1.0)]
    found = eliminate(fit, region, first, free, targets, np.full(2, 4.0))
    np.testing.assert_array_equal(found.free, [[True, False, False], [True, True, False]])
    np.testing.assert_allclose(found.best.numbers, [[3.0, 0.0, 1.0], [3.0, 2.5, 1.0]])
    assert all(min(visit.score for visit in visits) == visits[-1].score or len(visits) > 2 for visits in found.visited)


def test_scaling_parameters_are_held_where_the_choices_cannot_tell_them(data):
    """Logits are beta times a state whose every term may be scaled: only the products are known."""

    class Scaled(BaseRNN):
        init_values = {"x_value": 0.0}

        def __init__(self, n_actions, **kwargs):
            super().__init__(n_actions=n_actions, **kwargs)
            self.submodules_rnn["x_value"] = self.setup_module(input_size=1)
            self.betas["x_value"] = self.setup_constant()

        def step(self, state, trial):
            value = self.call_module("x_value", "x_value", action=trial.action, inputs=trial.reward)
            return {"x_value": value}, self.betas["x_value"]() * value * value

    config = SpiceConfig(["x_value"], ["c_action", "c_reward"], {"x_value": ["c_reward"]})
    torch.manual_seed(0)
    network = Scaled.build(2, 1).double()
    proposal = {"x_value": Equation("x_value", ("c_reward",), {"x_value": 0.6, "c_reward": 0.8})}
    _, model, results = refine_generally(network, config, data, {0: proposal})
    assert model.betas["x_value"].parameter.item() == network.betas["x_value"].parameter.item()
    assert results[0].terms["se"].notna().all() and (results[0].terms["se"] > 0).any()


def test_the_criterion_is_the_one_asked_for(data):
    """Fewer terms under stricter criteria, each from the same start."""
    kept = {}
    for name in ("aic", "bic", "ebic"):
        found, _, _ = refine_generally(
            network_of(), LEARNING_RATE_RNN_CONFIG, data[:20], {0: equations(TERMS)}, criterion=name
        )
        kept[name] = sum(len(entry.coefficients) for entry in found[0].values())
    assert kept["aic"] >= kept["bic"] >= kept["ebic"]

"""Stage 3 behind the estimator: what a user sees of it, saves, and loads."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import brentq
from sklearn.exceptions import NotFittedError

from spice.equations import Equation, with_equations
from spice.errors import ConfigError, ConvergenceWarning, FileError, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.inference import refine_equations
from spice.precoded import (
    BANDIT_CONFIG,
    FORGETTING_RNN_CONFIG,
    LEARNING_RATE_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    BanditRNN,
    ForgettingRNN,
    LearningRateRNN,
    RescorlaWagnerRNN,
)
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.training import negative_log_likelihood

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
COLUMNS = ["participant", "module", "term", "estimate", "se", "ci_low", "ci_high", "inclusion", "sindy"]
PARAMETERS = ["beta", "alpha", "forgetting", "perseveration", "bias", "initial_value"]
TRUTH = {"alpha_reward": 0.4, "beta_reward": 4.0, "beta_choice": 1.0, "forget_rate": 0.3, "bias": (0.0, 0.5)}


def quietly(estimator, data):
    """Fit; so few epochs do not converge, and r² of binary rewards is r."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return estimator.fit(data)


@pytest.fixture(scope="module")
def data(helpers):
    return helpers.simulated(40, 50, seed=1, **TRUTH)


@pytest.fixture(scope="module")
def default(data):
    """For those who do not know the model."""
    return quietly(SpiceEstimator(epochs=60, random_state=0), data)


@pytest.fixture(scope="module")
def people_data(helpers):
    """Three people with names and different learning rates."""
    parts = [
        helpers.simulated(12, 60, seed=number, alpha_reward=rate, beta_reward=5.0, forget_rate=0.4)
        for number, rate in enumerate((0.2, 0.4, 0.6))
    ]
    for number, part in enumerate(parts):
        part.xs[..., -1] = number
    xs, ys = (torch.cat([getattr(part, name) for part in parts]) for name in ("xs", "ys"))
    return DatasetRNN(xs, ys, labels={"participant": ["anna", "ben", "cleo"]})


@pytest.fixture(scope="module")
def people(people_data):
    """Three people, each with equations of their own."""
    return quietly(SpiceEstimator(epochs=20, random_state=0, hidden_size=3, embedding_size=2), people_data)


# ---------------------------------------------------------------------- without a model of one's own


def test_the_default_is_the_bandits_model(default, data):
    assert isinstance(default.rnn_model_, BanditRNN) and default.rnn_class is None and default.spice_config is None
    assert list(default.equations_[0]) == list(BANDIT_CONFIG.rnn_modules)
    assert list(default.canonical_[0].parameters) == PARAMETERS and default.canonical_[0].unread == []


def test_its_canonical_form_is_the_agents(default):
    names = ["beta_reward", "alpha_reward", "forget_rate", "beta_choice", "bias", "start"]
    truth = dict(zip(PARAMETERS, [(TRUTH | {"bias": 0.5, "start": 0.5})[name] for name in names], strict=True))
    for name, entry in default.canonical_[0].estimates.items():
        assert abs(entry.value - truth[name]) < 4 * entry.se and 0 < entry.se < 1, name


def test_probabilities_are_those_of_the_canonical_agent(default, data):
    p = default.canonical_[0].parameters
    agent = AgentQ(
        alpha_reward=p["alpha"],
        beta_reward=p["beta"],
        beta_choice=p["perseveration"],
        forget_rate=p["forgetting"],
        bias=(0.0, p["bias"]),
        start=p["initial_value"],
    )
    predicted = default.predict(data)[1]
    for session in (0, 7, 39):
        for other in (agent, default.spice_agent):
            np.testing.assert_allclose(replay(other, data.xs[session]).probs[1:], predicted[session, :-1], atol=1e-9)


def test_the_score_is_the_refined_likelihood(default, data, helpers):
    """That of the equations printed: no worse than SINDy's, nor than the agent that made the choices."""
    coefficients = {name: entry.coefficients for name, entry in default.equations_[0].items()}
    biases = torch.tensor([0.0, default.canonical_[0].parameters["bias"]], dtype=torch.float64)
    logits = helpers.recursion(data, coefficients, biases, starts=(0.5, 0.0))
    assert default.score(data) == pytest.approx(-float(helpers.nll_of(logits, data).sum()) / data.n_scored, rel=1e-9)
    x0, b = 0.5, TRUTH["beta_reward"]
    known = {  # x = 4 (Q - 0.5) + 0.5
        LEARNT: {"1": 0.4 * (x0 - b * 0.5), LEARNT: 0.6, "c_reward": 0.4 * b},
        OTHERS: {"1": 0.3 * x0, OTHERS: 0.7},
        REPEATED: {"1": 1.0},
        NOT_REPEATED: {},
    }
    truth = helpers.nll_of(helpers.recursion(data, known, torch.tensor([0.0, 0.5]), starts=(0.5, 0.0)), data).sum()
    assert default.score(data) * data.n_scored >= -float(truth)


def test_what_is_printed(default):
    text = default.format_spice_model()
    lines = text.split("\n")
    assert lines[:4] == [str(entry) for entry in default.equations_[0].values()] and lines[4] == ""
    assert "Q ← Q + 0.40 (r − Q)   chosen option" in lines and "K = 1[last choice]" in lines
    assert [line for line in lines if line.startswith("forgetting = ")]


# ---------------------------------------------------------------------- tables


def test_the_summary_of_terms(default):
    table = default.summary()
    assert list(table.columns) == COLUMNS and list(table.index) == list(range(len(table)))
    assert set(table["participant"]) == {0}
    equations = default.equations_[0]
    expected = {(m, t): value for m, entry in equations.items() for t, value in entry.coefficients.items()}
    found = {(row.module, row.term): row.estimate for row in table.itertuples() if row.module != "bias"}
    assert found == pytest.approx(expected)
    first = default.sindy_equations_[0]
    for row in table.itertuples():
        if row.module != "bias":
            assert row.sindy == first[row.module].coefficients.get(row.term, 0.0)
            assert row.ci_low <= row.estimate <= row.ci_high and 0 <= row.inclusion <= 1 + 1e-12
    pd.testing.assert_frame_equal(table, default.summary("terms"))


def test_the_summary_of_terms_has_the_bias(default):
    assert "bias_1" in set(default.summary()["term"])


def test_the_canonical_summary(default):
    table = default.summary(form="canonical")
    assert list(table.columns) == COLUMNS and list(table["term"]) == PARAMETERS
    assert set(table["participant"]) == {0} and (table["module"] == "").all()
    assert dict(zip(table["term"], table["estimate"], strict=True)) == default.canonical_[0].parameters
    for row in table.itertuples():
        assert row.ci_low < row.estimate < row.ci_high and row.se > 0


def test_an_unknown_form(default):
    with pytest.raises(ConfigError, match="^form='latex' is unknown; choose 'terms' or 'canonical'.$"):
        default.summary("latex")


def test_undecided_terms_are_a_table_for_everyone(default, people):
    assert list(default.undecided_) == [0] and list(people.undecided_) == ["anna", "ben", "cleo"]
    for label, table in [*default.undecided_.items(), *people.undecided_.items()]:
        assert list(table.columns) == COLUMNS and (table["participant"] == label).all()
        for row in table.itertuples():
            assert row.module in BANDIT_CONFIG.rnn_modules or row.module == "bias"
            assert 0 < row.inclusion < 1


def test_the_stages_are_timed(default):
    parts = default.timing_
    assert set(parts) == {"network", "sindy", "refine", "total"}
    assert parts["refine"] > 0 and parts["total"] == pytest.approx(sum(parts.values()) - parts["total"], rel=0.01)


# ---------------------------------------------------------------------- several people


def test_everybody_has_a_form_of_their_own(people):
    assert list(people.canonical_) == list(people.equations_) == ["anna", "ben", "cleo"]
    for form in ("terms", "canonical"):
        table = people.summary(form=form)
        assert list(dict.fromkeys(table["participant"])) == ["anna", "ben", "cleo"]
        assert list(table.index) == list(range(len(table)))
    assert people.format_spice_model("ben").startswith("participant ben (one of 3):\n(x_value_reward_chosen)[k+1] = ")
    assert people.canonical_["anna"].parameters != people.canonical_["cleo"].parameters


def test_everybodys_form_predicts_what_their_equations_predict(people, people_data):
    predicted = people.predict(people_data)[1]
    for number, label in enumerate(people.participants_):
        p = people.canonical_[label].parameters
        assert set(p) <= {"beta", "alpha", "forgetting", "perseveration", "alpha_choice", "bias", "initial_value"}
        agent = AgentQ(
            alpha_reward=p.get("alpha", 0.0),
            beta_reward=p.get("beta", 0.0),
            beta_choice=p.get("perseveration", 0.0),
            alpha_choice=p.get("alpha_choice", 1.0),
            forget_rate=p.get("forgetting", 0.0),
            bias=(0.0, p.get("bias", 0.0)),
            start=p.get("initial_value", 0.0),
        )
        for session in np.flatnonzero(people_data.participants.numpy() == number):
            found = replay(agent, people_data.xs[session]).probs[1:]
            np.testing.assert_allclose(found, predicted[session, :-1], atol=1e-9)


def test_refined_biases_are_everybodys_own(helpers, people_data):
    """Two people with opposite biases: looked up by participant in one model."""
    data = [helpers.simulated(8, 40, seed=s, beta_reward=0.0, bias=(0.0, b)) for s, b in ((1, 1.0), (2, -1.0))]
    data[1].xs[..., -1] = 1
    both = data[0].replace(torch.cat([d.xs for d in data]), torch.cat([d.ys for d in data]))
    network = BanditRNN.build(2, 2, hidden_size=2).double()
    nothing = {name: Equation(name, BANDIT_CONFIG.inputs(name), {}) for name in BANDIT_CONFIG.rnn_modules}
    stage = refine_equations(network, BANDIT_CONFIG, both, {0: nothing, 1: nothing})
    with torch.no_grad():
        p = torch.softmax(stage.model(both.xs, batch_first=True)[0], -1)[..., 1]
    for person in (0, 1):
        share = float(data[person].ys[..., 1].mean())  # and a weak prior, normal with standard deviation 10
        expected = brentq(lambda b, share=share: 320 * (1 / (1 + np.exp(-b)) - share) + b / 100, -5.0, 5.0)
        assert stage.results[person].canonical.parameters == pytest.approx({"bias": expected}, abs=1e-5)
        np.testing.assert_allclose(p[8 * person : 8 * person + 8], 1 / (1 + np.exp(-expected)), atol=1e-5)


def test_one_participant_alone(people_data):
    only = quietly(
        SpiceEstimator(epochs=20, random_state=0, hidden_size=3, embedding_size=2, spice_participant_id="ben"),
        people_data,
    )
    assert list(only.equations_) == list(only.canonical_) == list(only.undecided_) == ["ben"]
    assert set(only.summary()["participant"]) == {"ben"}
    with pytest.warns(SpiceWarning, match="there are no equations for participant"):
        predicted = only.predict(people_data)[1]
    own = people_data.participants.numpy() == 1
    assert np.isfinite(predicted[own]).all() and np.isnan(predicted[~own]).all()


# ---------------------------------------------------------------------- without refinement


def test_without_refinement_the_equations_are_sindys(agent_data, fitted):
    plain = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, random_state=0, refine=False).fit(agent_data)
    assert plain.equations_ == plain.sindy_equations_ == fitted.sindy_equations_
    assert fitted.equations_ != fitted.sindy_equations_
    assert not hasattr(plain, "canonical_") and not hasattr(plain, "undecided_") and hasattr(fitted, "canonical_")
    with pytest.raises(NotFittedError, match="^there is no canonical_"):
        plain.canonical_  # noqa: B018
    for form in ("terms", "canonical"):
        with pytest.raises(NotFittedError, match="the equations were not refined"):
            plain.summary(form)
    assert plain.format_spice_model() == "\n".join(map(str, plain.equations_[0].values()))
    assert fitted.score(agent_data) >= plain.score(agent_data)
    assert plain.timing_["refine"] < 0.01


def test_an_earlier_refinement_is_forgotten(agent_data):
    estimator = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, random_state=0).fit(agent_data)
    assert hasattr(estimator, "canonical_")
    estimator.set_params(refine=False).fit(agent_data)
    assert not hasattr(estimator, "canonical_") and not hasattr(estimator, "undecided_")
    with pytest.raises(NotFittedError):
        estimator.summary()


def test_a_learning_rate_that_is_a_state_is_refined(agent_data):
    """It multiplies another state: no polynomial of single states."""
    estimator = SpiceEstimator(LearningRateRNN, LEARNING_RATE_RNN_CONFIG, hidden_size=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)  # of so few trials
        estimator.fit(agent_data)
    assert estimator.canonical_[0].unread == ["x_value_reward", "x_learning_rate_reward"]
    table = estimator.summary()
    rate = estimator.equations_[0]["x_learning_rate_reward"].coefficients
    assert rate.keys() <= estimator.sindy_equations_[0]["x_learning_rate_reward"].coefficients.keys()
    assert set(table.module) <= {"x_learning_rate_reward", "x_value_reward_not_chosen", "beta"}
    assert "no canonical form" in estimator.format_spice_model()
    assert np.isfinite(estimator.predict(agent_data)[1]).all()


def total_nll(model, data):
    with torch.no_grad():
        return float(negative_log_likelihood(model(data.xs, batch_first=True)[0].double(), data.ys.double()))


def proposal(config):
    return {0: {name: Equation(name, config.inputs(name), {name: 1.0}) for name in config.rnn_modules}}


class Multiplied(ForgettingRNN):
    """Logits that are no weighted sum of the states."""

    def step(self, state, trial):
        states, logits = super().step(state, trial)
        return states, logits * logits.abs()


class Shared(ForgettingRNN):
    """A module whose result is used twice."""

    def step(self, state, trial):
        states, _ = super().step(state, trial)
        states = {name: value + 0.1 * value.mean(-1, keepdim=True) for name, value in states.items()}
        return states, states["x_value_reward"]


def test_models_of_another_form_keep_sindys_terms(agent_data):
    """Refitted by code that is generated for them, or through torch where options read each other's values."""
    torch.manual_seed(0)
    terms = {LEARNT: {LEARNT: 0.7, "c_reward": 0.6}, OTHERS: {"1": 0.1, OTHERS: 0.8}}
    terms = {name: Equation(name, FORGETTING_RNN_CONFIG.inputs(name), entry) for name, entry in terms.items()}
    for model_class in (Multiplied, Shared):
        network = model_class.build(2, 1, hidden_size=2).double()
        arguments = (network, FORGETTING_RNN_CONFIG, agent_data, {0: terms})
        if model_class is Shared:
            with pytest.warns(SpiceWarning, match="the equations of Shared are refined by torch, slower than by comp"):
                stage = refine_equations(*arguments)
        else:
            stage = refine_equations(*arguments)
        assert all(set(stage.equations[0][name].coefficients) <= set(terms[name].coefficients) for name in terms)
        assert stage.results[0].canonical.unread == ["x_value_reward"]
        losses = [total_nll(m, agent_data) for m in (with_equations(network, {0: terms}), stage.model)]
        assert losses[1] <= losses[0]


def test_a_library_without_a_constant_is_refitted(agent_data):
    config = SpiceConfig(
        rnn_modules=[LEARNT],
        control_parameters=["c_action", "c_reward"],
        library_setup={LEARNT: ["c_reward"]},
        filter_setup={LEARNT: ["c_action", 1, True]},
        constant=False,
    )
    network = RescorlaWagnerRNN.build(2, 1, hidden_size=2).double()
    terms = {LEARNT: Equation(LEARNT, ("c_reward",), {LEARNT: 0.7, "c_reward": 0.6})}
    stage = refine_equations(network, config, agent_data, {0: terms})
    assert set(stage.equations[0][LEARNT].coefficients) == {LEARNT, "c_reward"}
    losses = [total_nll(m, agent_data) for m in (with_equations(network, {0: terms}), stage.model)]
    assert losses[1] < losses[0]


def test_a_maximum_that_was_not_reached_is_said(agent_data, monkeypatch):
    monkeypatch.setattr("spice.inference.refit.ITERATIONS", 1)
    network = RescorlaWagnerRNN.build(2, 1, hidden_size=2).double()
    with pytest.warns(ConvergenceWarning, match="the likelihood's maximum was not reached for participant.s. 0:"):
        refine_equations(network, RESCORLA_WAGNER_CONFIG, agent_data, proposal(RESCORLA_WAGNER_CONFIG))


def test_the_network_is_left_as_it_was(agent_data):
    torch.manual_seed(0)
    network = RescorlaWagnerRNN.build(2, 1, hidden_size=2).double()
    with torch.no_grad():
        before = network(agent_data.xs, batch_first=True)[0]
        stage = refine_equations(network, RESCORLA_WAGNER_CONFIG, agent_data, proposal(RESCORLA_WAGNER_CONFIG))
        assert torch.equal(before, network(agent_data.xs, batch_first=True)[0])
        assert not torch.equal(before, stage.model(agent_data.xs, batch_first=True)[0])


def test_single_precision(agent_data):
    """The same equations but for the network's rounding."""
    stages = []
    for dtype in (torch.float64, torch.float32):
        network = RescorlaWagnerRNN.build(2, 1, hidden_size=2).to(dtype)
        stages.append(refine_equations(network, RESCORLA_WAGNER_CONFIG, agent_data, proposal(RESCORLA_WAGNER_CONFIG)))
    one, other = (stage.results[0].canonical.parameters for stage in stages)
    assert one == pytest.approx(other, rel=1e-5)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("which", ["default", "people"])
def test_a_round_trip_keeps_all_that_was_refined(request, which, data, people_data, tmp_path):
    fit, used = (request.getfixturevalue(which), data if which == "default" else people_data)
    fit.save_spice(tmp_path / "rnn.pkl", tmp_path / "spice.pkl")
    settings = {} if which == "default" else {"hidden_size": 3, "embedding_size": 2}
    loaded = SpiceEstimator(**settings).load_spice(tmp_path / "rnn.pkl", tmp_path / "spice.pkl")
    for one, other in zip(loaded.predict(used), fit.predict(used), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.equations_ == fit.equations_ and loaded.sindy_equations_ == fit.sindy_equations_
    assert loaded.canonical_ == fit.canonical_ and list(loaded.undecided_) == list(fit.undecided_)
    assert loaded.format_spice_model() == fit.format_spice_model()
    for form in ("terms", "canonical"):
        pd.testing.assert_frame_equal(loaded.summary(form), fit.summary(form))
    for label, table in fit.undecided_.items():
        pd.testing.assert_frame_equal(loaded.undecided_[label], table, check_dtype=False)


def test_equations_alone_keep_it_too(default, data, tmp_path):
    default.save_spice(path_spice=tmp_path / "spice.pkl")
    loaded = SpiceEstimator().load_spice(path_spice=tmp_path / "spice.pkl")
    assert loaded.canonical_ == default.canonical_ and loaded.score(data) == default.score(data)
    np.testing.assert_array_equal(loaded.predict(data)[1], default.predict(data)[1])
    again = SpiceEstimator()  # a file of a file
    loaded.save_spice(path_spice=tmp_path / "again.pkl")
    again.load_spice(path_spice=tmp_path / "again.pkl")
    pd.testing.assert_frame_equal(again.summary(), default.summary())


def test_the_network_alone_has_no_canonical_form(default, tmp_path):
    default.save_spice(path_rnn=tmp_path / "rnn.pkl")
    loaded = SpiceEstimator().load_spice(path_rnn=tmp_path / "rnn.pkl")
    assert not hasattr(loaded, "canonical_") and not hasattr(loaded, "undecided_")


def test_equations_that_were_not_refined_have_none_after_loading(agent_data, tmp_path):
    plain = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, epochs=30, random_state=0, refine=False)
    quietly(plain, agent_data).save_spice(path_spice=tmp_path / "spice.pkl")
    loaded = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG).load_spice(path_spice=tmp_path / "spice.pkl")
    assert loaded.equations_ == plain.equations_ and not hasattr(loaded, "canonical_")
    with pytest.raises(NotFittedError):
        loaded.summary()


def test_a_changed_file_is_refused(default, tmp_path, monkeypatch):
    """One whose results lack a part."""
    whole = type(next(iter(default._results.values()))).to_plain
    monkeypatch.setattr(
        "spice.inference.results.Results.to_plain", lambda self: {k: v for k, v in whole(self).items() if k != "terms"}
    )
    default.save_spice(path_spice=tmp_path / "spice.pkl")
    with pytest.raises(FileError, match="damaged"):
        SpiceEstimator().load_spice(path_spice=tmp_path / "spice.pkl")

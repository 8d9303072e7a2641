"""Stage 2 on modules whose equations are known: what was put in must come out."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError, LibraryWarning, StabilityWarning
from spice.precoded import (
    FORGETTING_RNN_CONFIG,
    LEARNING_RATE_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    ForgettingRNN,
    LearningRateRNN,
    ParticipantEmbeddingRNN,
)
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.sindy import OPTIMIZERS, distil
from spice.sindy.probes import probe_sessions

CHOSEN, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
TRUTH = {"1": -0.3, CHOSEN: 0.7, "c_reward": 0.9}


def check(found, expected, atol=1e-6):
    assert found.coefficients == {term: pytest.approx(value, abs=atol) for term, value in expected.items()}


# ---------------------------------------------------------------------- recovery


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("gaps", [{}, {"missing": 0.1, "unknown": 0.2, "padding": True}])
def test_every_participants_equation_comes_out(random_data, optimizer, gaps, model_of):
    data = random_data(n_sessions=6, n_trials=30, n_participants=3, **gaps)
    chosen = [TRUTH, {"1": 0.2, CHOSEN: 0.5, "c_reward": -0.6}, {CHOSEN: 0.9, "c_reward": 0.4}]
    others = [{OTHERS: 1.0}, {"1": 0.1, OTHERS: 0.8}, {"1": 0.3, OTHERS: 0.5}]
    model = model_of({CHOSEN: chosen, OTHERS: others}, ForgettingRNN)
    found = distil(model, FORGETTING_RNN_CONFIG, data, [0, 1, 2], optimizer=optimizer, threshold=0.01)
    for person in range(3):
        check(found[person][CHOSEN], chosen[person])
        check(found[person][OTHERS], others[person])
        assert found[person][CHOSEN].controls == ("c_reward",) and found[person][OTHERS].controls == ()


def test_only_the_participants_asked_for(random_data, model_of):
    data = random_data(n_sessions=6, n_trials=30, n_participants=3)
    found = distil(model_of({CHOSEN: [TRUTH] * 3}), RESCORLA_WAGNER_CONFIG, data, [2])
    assert list(found) == [2]
    check(found[2][CHOSEN], TRUTH)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_unit_of_rewards_does_not_matter(random_data, optimizer, model_of):
    data = random_data(n_trials=40)
    points = DatasetRNN(data.xs.clone(), data.ys)
    points.xs[..., 2:4] *= 100
    truth = {"1": -0.3, CHOSEN: 0.7, "c_reward": 0.009}
    found = distil(model_of({CHOSEN: [truth]}), RESCORLA_WAGNER_CONFIG, points, [0], degree=2, optimizer=optimizer)
    check(found[0][CHOSEN], truth)


def test_binary_rewards_have_no_square(agent_data, model_of):
    model = model_of({CHOSEN: [TRUTH]})
    with pytest.warns(LibraryWarning) as caught:
        found = distil(model, RESCORLA_WAGNER_CONFIG, agent_data, [0], degree=2)
    assert [str(entry.message) for entry in caught] == [
        "the library of 'x_value_reward_chosen' holds terms that the data cannot tell from others; they were left out: "
        "c_reward^2 (= c_reward)."
    ]
    check(found[0][CHOSEN], TRUTH)


def test_a_reward_that_never_changes_is_the_constant(random_data, model_of):
    data = random_data(n_trials=30)
    data.xs[..., 2:4] = torch.where(data.xs[..., 2:4].isnan(), torch.nan, 1.0)
    with pytest.warns(LibraryWarning, match=r"they were left out: c_reward \(= 1\).$"):
        found = distil(model_of({CHOSEN: [TRUTH]}), RESCORLA_WAGNER_CONFIG, data, [0])
    check(found[0][CHOSEN], {"1": 0.6, CHOSEN: 0.7})


def test_a_reward_that_is_always_zero(random_data, model_of):
    data = random_data(n_trials=30)
    data.xs[..., 2:4] = 0 * data.xs[..., 2:4]
    with pytest.warns(LibraryWarning, match=r"they were left out: c_reward \(always 0\).$"):
        found = distil(model_of({CHOSEN: [TRUTH]}), RESCORLA_WAGNER_CONFIG, data, [0])
    check(found[0][CHOSEN], {"1": -0.3, CHOSEN: 0.7})


# ---------------------------------------------------------------------- filters, constants, degrees


def test_a_list_of_filters(agent_data, config, model_of):
    rewarded = config(filter_setup={CHOSEN: [["c_action", 1, True], ["c_reward", 1, True]]})
    found = distil(model_of({CHOSEN: [TRUTH]}), rewarded, agent_data, [0])
    check(found[0][CHOSEN], {"1": 0.6, CHOSEN: 0.7})
    assert found[0][CHOSEN].controls == ("c_reward",)  # the module is still called with it
    not_chosen = config(filter_setup={CHOSEN: ["c_action", 0, True]})
    with pytest.warns(LibraryWarning, match=r"c_reward \(always 0\)"):
        found = distil(model_of({CHOSEN: [TRUTH]}), not_chosen, agent_data, [0])
    check(found[0][CHOSEN], {"1": -0.3, CHOSEN: 0.7})


def test_a_module_without_a_constant(random_data, config, model_of):
    data = random_data(n_trials=40)
    truth = {CHOSEN: 0.7, "c_reward": 0.3}
    for constant in (False, {CHOSEN: False}):
        found = distil(model_of({CHOSEN: [truth]}), config(constant=constant), data, [0])
        check(found[0][CHOSEN], truth)
        found = distil(model_of({CHOSEN: [TRUTH]}), config(constant=constant), data, [0])
        assert "1" not in found[0][CHOSEN].coefficients


def test_a_degree_per_module(random_data, model_of):
    data = random_data(n_sessions=6, n_trials=40)
    chosen = {CHOSEN: 0.5, "c_reward": 0.4, f"{CHOSEN} c_reward": 0.2}
    others = {OTHERS: 0.6, f"{OTHERS}^2": 0.2}
    model = model_of({CHOSEN: [chosen], OTHERS: [others]}, ForgettingRNN)
    settings = {key: getattr(FORGETTING_RNN_CONFIG, key) for key in ("rnn_modules", "control_parameters")}
    settings |= {key: getattr(FORGETTING_RNN_CONFIG, key) for key in ("library_setup", "filter_setup")}
    mixed = SpiceConfig(**settings, polynomial_degree={CHOSEN: 2})
    found = distil(model, mixed, data, [0], degree=1, threshold=0.01)
    check(found[0][CHOSEN], chosen)
    assert set(found[0][OTHERS].coefficients) <= {"1", OTHERS}
    found = distil(model, FORGETTING_RNN_CONFIG, data, [0], degree=2, threshold=0.001)
    check(found[0][CHOSEN], chosen)
    check(found[0][OTHERS], others)


def test_thresholds_are_in_units_of_the_logits(random_data, model_of):
    """The same equation, the same threshold: with a larger inverse temperature a small term counts."""
    data = random_data(n_trials=60)
    terms = {CHOSEN: 0.7, "c_reward": 0.02}
    model = model_of({CHOSEN: [terms], OTHERS: [{OTHERS: 0.7}]}, ParticipantEmbeddingRNN)
    for parameter in model.betas.parameters():
        torch.nn.init.zeros_(parameter)
    for beta, kept in ((1.0, False), (10.0, True)):
        torch.nn.init.constant_(model.betas["x_value_reward"].parameter, beta)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = distil(model, FORGETTING_RNN_CONFIG, data, [0])
        assert ("c_reward" in found[0][CHOSEN].coefficients) == kept


def test_states_as_inputs(random_data, model_of):
    data = random_data(n_sessions=8, n_trials=60)
    rate = {"1": 0.4, "c_reward": 0.2, "c_value_reward": -0.3}
    model = model_of({"x_learning_rate_reward": [rate], OTHERS: [{"1": 0.1, OTHERS: 0.8}]}, LearningRateRNN)
    torch.nn.init.ones_(model.betas["x_value_reward"].parameter)
    found = distil(model, LEARNING_RATE_RNN_CONFIG, data, [0], threshold=0.01)
    check(found[0]["x_learning_rate_reward"], rate)


# ---------------------------------------------------------------------- probes


def test_probes_visit_everyone_with_outcomes_from_the_data(random_data):
    data = random_data(n_participants=3, n_actions=3, missing=0.2)
    data.xs[..., 3:6] += 10 * torch.arange(3)  # outcomes say whose they are
    probes = probe_sessions(data, n_trials=100)
    assert sorted(set(probes.participants.tolist())) == [0, 1, 2] and len(probes) % 3 == 0 and not probes.n_scored
    choice, reward = probes.xs[..., :3], probes.xs[..., 3:6]
    assert set(choice.unique().tolist()) == {0.0, 1.0} and (choice.sum(-1) == 1).all()
    assert torch.equal(~reward.isnan(), choice == 1)  # partial feedback stays partial
    met = data.xs[..., 3:6][~data.xs[..., 3:6].isnan()].tolist()
    assert set(reward[~reward.isnan()].tolist()) <= set(met)
    shares = choice.mean((0, 1))
    assert (abs(shares - 1 / 3) < 0.1).all()
    assert torch.equal(probe_sessions(data, n_trials=100).xs.nan_to_num(-9), probes.xs.nan_to_num(-9))  # seeded


def test_probes_recover_equations(agent_data, model_of):
    found = distil(model_of({CHOSEN: [TRUTH]}), RESCORLA_WAGNER_CONFIG, probe_sessions(agent_data), [0])
    check(found[0][CHOSEN], TRUTH)


# ---------------------------------------------------------------------- what does not fit


def test_swapped_names_are_refused(random_data, model_of):
    model = model_of({"x_learning_rate_reward": [{"1": 0.3}], OTHERS: [{OTHERS: 1.0}]}, LearningRateRNN)
    swapped = SpiceConfig(
        rnn_modules=["x_learning_rate_reward", OTHERS],
        control_parameters=["c_action", "c_reward", "c_value_reward"],
        library_setup={"x_learning_rate_reward": ["c_value_reward", "c_reward"], OTHERS: []},
    )
    with pytest.raises(ConfigError) as caught:
        distil(model, swapped, random_data(), [0])
    assert str(caught.value) == (
        "library_setup names input 0 of the module 'x_learning_rate_reward' 'c_value_reward', but the module is called "
        "with 'c_reward' there; list the names in the order of call_module(..., inputs=...), and record what is passed."
    )


def test_a_number_of_inputs_that_differs(random_data, config, model_of):
    wrong = config(library_setup={CHOSEN: []})
    with pytest.raises(ConfigError) as caught:
        distil(model_of({CHOSEN: [TRUTH]}), wrong, random_data(), [0])
    assert str(caught.value) == (
        "the module 'x_value_reward_chosen' is called with 1 input(s), but library_setup names 0 (none); name every "
        "input, in the order of call_module(..., inputs=...)."
    )


def test_a_signal_that_is_never_recorded(random_data, config, model_of):
    wrong = config(control_parameters=["c_time", "c_reward"], filter_setup={CHOSEN: ["c_time", 1, True]})
    with pytest.raises(ConfigError, match="^the signal 'c_time' is never recorded: call self.record_signal"):
        distil(model_of({CHOSEN: [TRUTH]}), wrong, random_data(), [0])


def test_a_filter_that_leaves_no_samples(random_data, config, model_of):
    wrong = config(filter_setup={CHOSEN: ["c_action", 2, True]})
    with pytest.raises(DataError) as caught:
        distil(model_of({CHOSEN: [TRUTH]}), wrong, random_data(), [0])
    assert str(caught.value) == (
        "the filter of the module 'x_value_reward_chosen' (c_action == 2) leaves no samples: no trial in the data "
        "fulfils it. Correct filter_setup, or leave the module out."
    )


def test_a_participant_without_samples(random_data, model_of):
    data = random_data(n_sessions=2, n_participants=2)
    data.xs[1, :, :2] = torch.nan
    data.xs[1, :, 2:4] = torch.nan
    data = DatasetRNN(data.xs, data.ys, labels={"participant": ["anna", "ben"]})
    with pytest.raises(DataError) as caught:
        distil(model_of({CHOSEN: [TRUTH] * 2}), RESCORLA_WAGNER_CONFIG, data, [0, 1])
    assert str(caught.value) == (
        "participant 'ben' has no samples for the module 'x_value_reward_chosen': its filter is never fulfilled in "
        "their trials. Leave the participant out, or correct filter_setup."
    )


def test_equations_that_grow_are_named_and_held(random_data, model_of):
    data = random_data(n_sessions=4, n_trials=40, n_participants=2)
    data = DatasetRNN(data.xs, data.ys, labels={"participant": ["anna", "ben"]})
    model = model_of({CHOSEN: [TRUTH, {CHOSEN: 1.25, "c_reward": 0.5}]})
    with pytest.warns(StabilityWarning) as caught:
        found = distil(model, RESCORLA_WAGNER_CONFIG, data, [0, 1])
    assert [str(entry.message) for entry in caught] == [
        "equations that grow without bound over a session: participant 'ben', module 'x_value_reward_chosen', "
        "multiplier 1.25. They were refitted with the multiplier held within [-1, 1]; compare their predictions with "
        "the network's, and fit more data or a smaller hidden_size if they differ."
    ]
    check(found[0][CHOSEN], TRUTH)
    assert found[1][CHOSEN].multiplier() <= 1 + 1e-6
    values = np.abs([found[1][CHOSEN].coefficients[CHOSEN]])
    assert values == pytest.approx(1, abs=1e-6)

"""What the data say nothing about is named: in a warning, in print, in the summary, and after loading."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import IdentificationWarning, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.inference import report as report_module
from spice.inference.uncertainty import Estimate
from spice.precoded import FORGETTING_RNN_CONFIG, RESCORLA_WAGNER_CONFIG, ForgettingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN

LEARNT = "x_value_reward_chosen"


def fit(data, model_class=None, config=None, **settings):
    """The estimator, and what it said about identification."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        estimator = SpiceEstimator(model_class, config, epochs=40, random_state=0, **settings).fit(data)
    assert all(issubclass(entry.category, SpiceWarning) for entry in said)
    return estimator, [str(e.message) for e in said if e.category is IdentificationWarning]


@pytest.fixture(scope="module")
def data(helpers):
    """Anna's rewards come and go, Ben's never came, Cleo's always."""
    parts = [helpers.simulated(12, 60, seed=s, alpha_reward=0.3, beta_reward=4.0, beta_choice=0.8) for s in range(3)]
    for number, (part, always) in enumerate(zip(parts, (None, 0.0, 1.0), strict=True)):
        part.xs[..., -1] = number
        rewards = part.xs[..., part.columns.reward]
        if always is not None:
            rewards[~rewards.isnan()] = always
    xs, ys = (torch.cat([getattr(part, name) for part in parts]) for name in ("xs", "ys"))
    return DatasetRNN(xs, ys, labels={"participant": ["anna", "ben", "cleo"]})


@pytest.fixture(scope="module")
def people(data):
    return fit(data, hidden_size=3, embedding_size=2)


def test_outcomes_that_never_varied_are_named(people, data):
    estimator, said = people
    assert len(said) == 1
    assert f"c_reward in {LEARNT} (always 0) of participant(s) ben; " in said[0]
    assert f"c_reward in {LEARNT} (always 1) of participant(s) cleo" in said[0]
    for label, always in (("ben", 0), ("cleo", 1)):
        line = f"not identified by the data: c_reward in {LEARNT} (always {always})"
        assert line in estimator.format_spice_model(label).splitlines()
        assert "beta" not in estimator.canonical_[label].parameters
    assert "not identified" not in estimator.format_spice_model("anna")


def test_it_is_still_named_after_loading(people, tmp_path):
    estimator, _ = people
    estimator.save_spice(path_spice=tmp_path / "spice.pkl")
    loaded = SpiceEstimator(embedding_size=2).load_spice(path_spice=tmp_path / "spice.pkl")
    assert loaded.format_spice_model("ben") == estimator.format_spice_model("ben")


def test_outcomes_of_others_that_are_never_shown_need_no_words(data):
    assert fit(data[:12], ForgettingRNN, FORGETTING_RNN_CONFIG)[1] == []
    assert fit(data[:12])[1] == []


def test_numbers_without_an_error_are_named(agent_data, monkeypatch):
    """As if the data said nothing about the start."""
    usual = report_module.delta_method

    def blind(*args):
        found, cov = usual(*args)
        lost = {name: Estimate(found[name].value, *[np.nan] * 3) for name in ("initial_value",) if name in found}
        return found | lost, cov

    monkeypatch.setattr(report_module, "delta_method", blind)
    estimator, said = fit(agent_data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
    assert len(said) == 1 and said[0].startswith("the data do not identify initial_value of participant(s) 0: ")
    row = estimator.summary(form="canonical").set_index("term").loc["initial_value"]
    assert np.isfinite(row["estimate"]) and row[["se", "ci_low", "ci_high"]].isna().all()
    lines = [line for line in estimator.format_spice_model().splitlines() if line.startswith("Q0 = ")]
    assert len(lines) == 1 and lines[0].endswith("(the data do not identify it)")

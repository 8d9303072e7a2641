"""Intervals that the estimator's summary offers, and that what they need is neither saved nor copied."""

import copy
import pickle
import warnings
from io import BytesIO

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from spice.errors import ConfigError, DataError, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

KEPT = ["participant", "module", "term", "estimate", "inclusion", "sindy"]
CHANGED = ["ci_low", "ci_high"]
FORMS = ["terms", "canonical"]
NEEDS_DATA = "needs the data of the fit, which a loaded or copied estimator does not have; call fit."


def fit(data, **settings):
    settings = {"rnn_class": RescorlaWagnerRNN, "spice_config": RESCORLA_WAGNER_CONFIG, "epochs": 30} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return SpiceEstimator(random_state=0, **settings).fit(data)


@pytest.fixture(scope="module")
def estimator(helpers):
    return fit(helpers.simulated(20, 50, seed=0, alpha_reward=0.3, beta_reward=3.0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["profile", "bootstrap"])
def test_only_intervals_change(estimator, form, kind):
    normal, found = estimator.summary(form), estimator.summary(form, intervals=kind)
    pd.testing.assert_frame_equal(found[KEPT], normal[KEPT])
    assert (found["ci_low"] <= found["estimate"]).all() and (found["estimate"] <= found["ci_high"]).all()
    widths = (found["ci_high"] - found["ci_low"]) / (normal["ci_high"] - normal["ci_low"])
    assert ((widths > 0.4) & (widths < 2.5) & (widths != 1)).all()  # of 20 sessions, nearly normal
    if kind == "profile":
        np.testing.assert_array_equal(found["se"], normal["se"])
    else:
        assert (found["se"] != normal["se"]).all()


def test_normal_intervals_are_the_default(estimator):
    for form in FORMS:
        pd.testing.assert_frame_equal(estimator.summary(form), estimator.summary(form, intervals="wald"))


def test_the_bootstrap_has_the_estimators_seed(estimator):
    first, second = (estimator.summary("canonical", "bootstrap") for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_everybody_has_intervals_of_their_own(default_people, people_data):
    """Where the model is the same for all it is refined once, and everybody has its intervals."""
    for estimator in (default_people, fit(people_data)):
        found = estimator.summary("canonical", intervals="profile")
        pd.testing.assert_frame_equal(found[KEPT], estimator.summary("canonical")[KEPT])
    of_person = [table[CHANGED].reset_index(drop=True) for _, table in found.groupby("participant")]
    assert len(of_person) == 3
    for table in of_person[1:]:
        pd.testing.assert_frame_equal(table, of_person[0])


def test_one_session(helpers):
    estimator = fit(helpers.simulated(1, 200, seed=1, alpha_reward=0.5, beta_reward=5.0))
    assert np.isfinite(estimator.summary("canonical", "profile")["se"]).all()
    with pytest.raises(DataError) as caught:
        estimator.summary("canonical", "bootstrap")
    assert str(caught.value) == (
        "the bootstrap draws whole sessions, but participant 0 has one session only: use intervals='profile', or tell "
        "the sessions (blocks) apart in the data."
    )


def test_unknown_intervals(estimator):
    with pytest.raises(ConfigError) as caught:
        estimator.summary(intervals="normal")
    assert str(caught.value) == "intervals='normal' is unknown; choose 'wald', 'profile' or 'bootstrap'."


def through_joblib(estimator):
    file = BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, lambda e: pickle.loads(pickle.dumps(e)), through_joblib])
def test_copies_and_pickles_hold_no_data(estimator, way):
    """And no threads: they predict and tell what they told, and say what they lack."""
    other = way(estimator)
    assert not {"_stage", "_dataset"} & set(vars(other))
    for form in FORMS:
        pd.testing.assert_frame_equal(other.summary(form), estimator.summary(form))
    with pytest.raises(NotFittedError) as caught:
        other.summary(intervals="profile")
    assert str(caught.value) == f"intervals='profile' {NEEDS_DATA}"
    assert "_stage" in vars(estimator)


def test_loaded_equations(estimator, tmp_path):
    estimator.save_spice(path_spice=tmp_path / "equations.spice")
    loaded = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
    loaded.load_spice(path_spice=tmp_path / "equations.spice")
    with pytest.raises(NotFittedError) as caught:
        loaded.summary("canonical", "bootstrap")
    assert str(caught.value) == f"intervals='bootstrap' {NEEDS_DATA}"


def test_loading_forgets_the_fit(helpers, estimator, tmp_path):
    estimator.save_spice(path_spice=tmp_path / "equations.spice")
    other = fit(helpers.simulated(3, 30, seed=2, alpha_reward=0.3, beta_reward=3.0))
    other.load_spice(path_spice=tmp_path / "equations.spice")
    with pytest.raises(NotFittedError, match="needs the data of the fit"):
        other.summary("canonical", "profile")


def test_unrefined(helpers):
    estimator = fit(helpers.simulated(3, 30, seed=2, alpha_reward=0.3, beta_reward=3.0), refine=False)
    with pytest.raises(NotFittedError) as caught:
        estimator.summary(intervals="profile")
    assert str(caught.value) == "there are no estimates: the equations were not refined (refine=True, and fit)."

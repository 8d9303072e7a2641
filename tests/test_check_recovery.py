"""check_recovery: data sets like the one that was fitted, and what is found in them."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from spice.errors import ConfigError, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, BanditsFixed, create_dataset
from spice.resources.dataset import DatasetRNN


def fit(data, **settings):
    settings = {"rnn_class": RescorlaWagnerRNN, "spice_config": RESCORLA_WAGNER_CONFIG, "epochs": 30} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return SpiceEstimator(**{"random_state": 0} | settings).fit(data)


def simulated(n_sessions=20, n_trials=50, n_participants=1, seed=0, **parameters):
    agent, task = AgentQ(**{"alpha_reward": 0.3, "beta_reward": 4.0} | parameters), BanditsDrift(sigma=0.2)
    return create_dataset(agent, task, n_trials, n_sessions, n_participants, seed=seed)[0]


@pytest.fixture(scope="module")
def estimator():
    return fit(simulated())


@pytest.fixture(scope="module")
def report(estimator):
    return estimator.check_recovery(12, random_state=1)


def test_the_truth_is_the_fitted_model(estimator, report):
    assert (report.n_data_sets, report.n_models) == (12, 12)
    truth = estimator.canonical_[0].parameters
    for term, rows in report.estimates.groupby("term"):
        assert set(rows["true"]) == {truth[term]} and len(rows) == 12
        assert rows["recovered"].nunique() == 12


def test_it_is_recovered(report):
    """Rescorla-Wagner of 1,000 choices is found, without bias (four standard errors), within its intervals."""
    assert report.n_right == 12
    spread = report.estimates.groupby("term")["recovered"].std()
    for row in report.accuracy.itertuples():
        assert abs(row.bias) < 4 * spread[row.term] / np.sqrt(12), row.term
        assert row.coverage_high > 0.95
    errors = report.estimates.groupby("term")["se"].mean()
    assert (np.abs(np.log(spread / errors)) < 4 / np.sqrt(2 * 11)).all()  # standard errors are those of the estimates


def test_the_seed_decides(estimator):
    tables = [estimator.check_recovery(2, random_state=seed).estimates for seed in (3, 3, 4)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_the_task_may_be_given(estimator, monkeypatch):
    seen = []
    own = SpiceEstimator.fit

    def watched(self, X, y=None):
        seen.append(X)
        return own(self, X, y)

    monkeypatch.setattr(SpiceEstimator, "fit", watched)
    estimator.check_recovery(1, environment=BanditsFixed([1.0, 0.0]), random_state=0)
    rewards = seen[0].xs[..., 2:4]
    assert (rewards[..., 0].nan_to_num(1.0) == 1).all() and (rewards[..., 1].nan_to_num(0.0) == 0).all()
    with pytest.raises(ConfigError, match="the environment has 3 options, the data have 2"):
        estimator.check_recovery(1, environment=BanditsFixed([0.1, 0.2, 0.3]))


def test_the_estimator_and_the_data_stay_as_they_are(monkeypatch):
    """Changes of the user's data after the fit do not show; refits keep the settings, and no file and no callback."""
    data = simulated(6, 40)
    told = []
    estimator = fit(data, callbacks=[told.append], sindy_threshold=0.04)
    before, n_told = estimator.summary(), len(told)
    data.xs[...] = torch.nan
    settings = []
    own = SpiceEstimator.fit

    def watched(self, X, y=None):
        settings.append(self.get_params())
        assert X.observed.all() and X.shape == data.shape
        return own(self, X, y)

    monkeypatch.setattr(SpiceEstimator, "fit", watched)
    estimator.check_recovery(2, random_state=0)
    pd.testing.assert_frame_equal(estimator.summary(), before)
    assert len(told) == n_told and estimator.callbacks is not None
    assert settings[0]["sindy_threshold"] == 0.04 and settings[0]["random_state"] != settings[1]["random_state"]


def test_everybody_is_recovered(people_data, default_people):
    """With labels, each with equations of their own; or one only, the others' data as they are."""
    report = default_people.check_recovery(1, random_state=0)
    assert report.n_models == 3 and set(report.estimates["participant"]) <= {"anna", "ben", "cleo"}
    own = {"rnn_class": None, "spice_config": None, "hidden_size": 2, "embedding_size": 2, "epochs": 10}
    report = fit(people_data, **own, spice_participant_id="ben").check_recovery(1, random_state=0)
    assert report.n_models == 1 and set(report.estimates["participant"]) <= {"ben"}


def test_one_model_for_all_counts_once(people_data):
    report = fit(people_data).check_recovery(2, random_state=0)
    assert report.n_models == 2


def test_missing_trials_and_lengths_stay(monkeypatch):
    data = simulated(6, 40)
    data.xs[0, 20:, :4], data.ys[0, 19:] = torch.nan, torch.nan
    data.xs[1, 5, :4], data.ys[1, 4] = torch.nan, torch.nan
    estimator = fit(DatasetRNN(data.xs, data.ys))
    seen = []
    own = SpiceEstimator.fit

    def watched(self, X, y=None):
        seen.append(X)
        return own(self, X, y)

    monkeypatch.setattr(SpiceEstimator, "fit", watched)
    estimator.check_recovery(1, random_state=0)
    assert torch.equal(seen[0].observed, data.observed) and torch.equal(seen[0].scored, data.scored)


def test_what_it_needs(estimator):
    with pytest.raises(ConfigError, match="n must be a whole number from 1 on, not 0."):
        estimator.check_recovery(0)
    with pytest.raises(NotFittedError, match="check_recovery needs the data of the fit, which a loaded or copied"):
        copy.deepcopy(estimator).check_recovery(1)
    with pytest.raises(NotFittedError, match="there are no estimates to recover: the equations were not refined"):
        fit(simulated(3, 20), refine=False).check_recovery(1)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SpiceEstimator().check_recovery(1)


def test_an_interrupt_ends_it(estimator, monkeypatch):
    """A fit keeps what it has when it is stopped; here that would be a wrong result."""
    own = SpiceEstimator._refine

    def stop(self, dataset):
        raise KeyboardInterrupt

    monkeypatch.setattr(SpiceEstimator, "_refine", stop)
    with pytest.raises(KeyboardInterrupt):
        estimator.check_recovery(1, random_state=0)
    monkeypatch.setattr(SpiceEstimator, "_refine", own)

"""Models behind scikit-learn's interface."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils import estimator_checks

from spice.errors import ConfigError, DataError
from spice.inference import fit
from spice.model_estimator import ModelEstimator
from spice.precoded import rescorla_wagner


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_valid_tag_types",
    ],
)
def test_scikit_learns_own_checks(check):
    getattr(estimator_checks, check)("ModelEstimator", ModelEstimator())


def test_it_is_fit_behind_another_face(agent_data):
    model = rescorla_wagner()
    estimator = ModelEstimator(model)
    assert estimator.fit(agent_data) is estimator
    expected = fit(model, agent_data)
    assert estimator.result_.parameters.equals(expected.parameters)
    np.testing.assert_array_equal(estimator.predict(agent_data), expected.predict())
    assert estimator.score(agent_data) == pytest.approx(-expected.nll.sum() / agent_data.n_scored, rel=1e-12)
    again = clone(estimator).fit(agent_data.xs.numpy(), agent_data.ys.numpy())
    assert again.score(agent_data.xs, agent_data.ys) == pytest.approx(estimator.score(agent_data), rel=1e-9)
    np.testing.assert_allclose(again.predict(agent_data.xs), estimator.predict(agent_data), rtol=1e-6)


def test_cross_validation_by_session(agent_data):
    """One participant of 20 sessions: each fold's score is that of a fit to the others."""
    data = agent_data[:8]
    estimator = ModelEstimator(rescorla_wagner(), method="map")
    found = cross_val_score(estimator, data, cv=KFold(2), error_score="raise")
    expected = [clone(estimator).fit(data[4:]).score(data[:4]), clone(estimator).fit(data[:4]).score(data[4:])]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_is_missing(agent_data, people_data):
    with pytest.raises(NotFittedError, match="call fit first"):
        ModelEstimator(rescorla_wagner()).predict(agent_data)
    with pytest.raises(ConfigError, match=r"ModelEstimator needs a model, e.g. ModelEstimator\(spice.precoded"):
        ModelEstimator().fit(agent_data)
    with pytest.raises(ConfigError, match="settings must be a mapping"):
        ModelEstimator(rescorla_wagner(), settings=3).fit(agent_data)
    with pytest.raises(ConfigError, match="no setting 'n_start' .did you mean 'n_starts'"):
        ModelEstimator(rescorla_wagner(), settings={"n_start": 3}).fit(agent_data)
    fitted = ModelEstimator(rescorla_wagner()).fit(people_data[:3])
    with pytest.raises(DataError, match="'ben', 'cleo' were not fitted: hold out some of a person's sessions"):
        fitted.score(people_data)

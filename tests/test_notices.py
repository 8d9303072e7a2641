"""What a fit says about its library: nothing about one that the user did not choose."""

import warnings

import pytest

from spice.errors import LibraryWarning
from spice.estimator import SpiceEstimator
from spice.precoded import BANDIT_CONFIG, BanditRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset


@pytest.fixture(scope="module")
def data():
    """Binary rewards, those of the chosen option only: r² = r, and no outcomes of others."""
    agent = AgentQ(n_actions=2, alpha_reward=0.3, beta_reward=3.0)
    return create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2), 60, 20, 1, seed=1)[0]


def said(data, *model, **settings):
    with warnings.catch_warnings(record=True) as entries:
        warnings.simplefilter("always")
        SpiceEstimator(*model, random_state=0, **settings).fit(data)
    return [str(entry.message) for entry in entries if issubclass(entry.category, LibraryWarning)], entries


def test_a_default_fit_says_nothing(data):
    assert said(data)[1] == []


@pytest.mark.parametrize(
    ("model", "settings"), [((BanditRNN, BANDIT_CONFIG), {}), ((), {"verbose": True}), ((), {"refine": False})]
)
def test_whoever_chose_the_library_or_asks_is_told(data, model, settings):
    """And whoever takes SINDy's equations as they are."""
    texts, _ = said(data[:5], *model, epochs=3, **settings)
    assert len(texts) == 2 and "c_reward^2 (= c_reward)" in texts[0] and "c_outcome (always 0)" in texts[1]

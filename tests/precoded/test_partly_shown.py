"""BanditRNN where outcomes of options not chosen are shown in some trials, to some people, in all trials, or never."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import BANDIT_CONFIG, BanditRNN
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

OTHERS = "x_value_reward_not_chosen"


class Alike(BanditRNN):
    """One network for everybody."""

    def __init__(self, n_actions, n_participants=1, **kwargs):
        super().__init__(n_actions, n_participants, embedding_size=0, **kwargs)


LEARNS = {"alpha_reward": 0.4, "beta_reward": 4.0, "alpha_counterfactual": 0.25}
FORGETS = {"alpha_reward": 0.4, "beta_reward": 4.0, "forget_rate": 0.3}


class Partly(BanditsDrift):
    """Outcomes of options not chosen are shown in about half of the trials."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self._hiding = np.random.default_rng(0)

    def step(self, choice):
        rewards = np.array(super().step(choice))
        hidden = self._hiding.random(rewards.shape) < 0.5
        rewards[hidden & (np.asarray(choice)[..., None] != np.arange(rewards.shape[-1]))] = np.nan
        return rewards


def simulated(parameters, task=BanditsDrift, n_sessions=30, seed=0, **settings):
    task = task(n_actions=2, sigma=0.2, **settings)
    return create_dataset(AgentQ(2, **parameters), task, 100, n_sessions, 1, seed=seed)[0]


def fit(data, **settings):
    """The estimator, and what it said about outcomes."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        estimator = SpiceEstimator(random_state=0, **{"epochs": 60} | settings).fit(data)
    return estimator, [str(entry.message) for entry in said if "shown in some trials" in str(entry.message)]


@pytest.fixture(scope="module")
def mixed():
    return simulated(LEARNS, Partly, counterfactual=True)


@pytest.fixture(scope="module")
def fitted_mixed(mixed):
    return fit(mixed)


def test_what_is_hidden_is_no_outcome_of_0(mixed, fitted_mixed):
    """The agent's rates are found, and only there: with hidden outcomes taken for 0 they are far off."""
    estimator, said = fitted_mixed
    hidden = mixed.xs[..., mixed.columns.reward].isnan().any(-1).double().mean()
    assert 0.4 < hidden < 0.6 and len(said) == 1 and "without forgetting" in said[0]
    found = estimator.canonical_[0].estimates
    assert set(found) == {"beta", "alpha", "alpha_counterfactual", "initial_value"}
    for name, value in {"beta": 4.0, "alpha": 0.4, "alpha_counterfactual": 0.25}.items():
        assert abs(found[name].value - value) < 4 * found[name].se


def test_hidden_outcomes_leave_values_as_they_are(mixed, fitted_mixed):
    model = fitted_mixed[0].rnn_model_
    with torch.no_grad():
        sessions = model.read_inputs(mixed.xs, batch_first=True)
        states = [state["x_value_reward"] for state in model.states_of_trials(sessions)]
    before, after = torch.stack(states[:-1]), torch.stack(states[1:])
    hidden = mixed.xs[..., mixed.columns.reward].isnan().transpose(0, 1)[:-1]
    assert hidden.any() and torch.equal(before[hidden], after[hidden])
    assert (before[~hidden] != after[~hidden]).any()


def test_agents_files_and_batches_agree(mixed, fitted_mixed, tmp_path):
    estimator = fitted_mixed[0]
    estimator.save_spice(tmp_path / "rnn.pkl", tmp_path / "spice.pkl")
    loaded = SpiceEstimator().load_spice(tmp_path / "rnn.pkl", tmp_path / "spice.pkl")
    expected = estimator.predict(mixed)
    for one, other in zip(loaded.predict(mixed), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    for agent, probabilities in zip((loaded.rnn_agent, loaded.spice_agent), expected, strict=True):
        told = replay(agent, mixed.xs[0]).probs
        np.testing.assert_allclose(told[1:], probabilities[0, : len(told) - 1], atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "shown", "name", "value"),
    [(FORGETS, False, "forgetting", 0.3), (LEARNS, True, "alpha_counterfactual", 0.25)],
)
def test_outcomes_hidden_throughout_or_shown_throughout(parameters, shown, name, value):
    estimator, said = fit(simulated(parameters, counterfactual=shown))
    entry = estimator.canonical_[0].estimates[name]
    assert said == [] and abs(entry.value - value) < 4 * entry.se
    assert bool(estimator.rnn_model_.saw_others) == shown


def test_everybody_by_themselves():
    """Anna never sees the others' outcomes, Ben always does, Cleo sometimes: only what was hidden from her is left."""
    parts = [simulated(FORGETS, n_sessions=2), simulated(LEARNS, n_sessions=2, counterfactual=True)]
    parts.append(simulated(LEARNS, Partly, n_sessions=2, counterfactual=True))
    for number, part in enumerate(parts):
        part.xs[..., -1] = number
    data = DatasetRNN(*(torch.cat([getattr(part, name) for part in parts]) for name in ("xs", "ys")))
    model = BanditRNN(2, 3, embedding_size=2).double()
    with pytest.warns(SpiceWarning, match="shown in some trials and hidden in others"):
        model.read_design(data)
    assert model.saw_others.tolist() == [False, True, True]
    with torch.no_grad(), model.recording() as record:
        model(data.xs, batch_first=True)
    seen = ~record.call(OTHERS).inputs.isnan().any(-1).transpose(0, 1)
    expected = ~data.xs[..., data.columns.reward].isnan() | (data.xs[..., data.columns.choice] == 1)
    assert seen[:4].all() and torch.equal(seen[4:], expected[4:])
    assert BANDIT_CONFIG.library(OTHERS) == ("c_reward", "c_outcome")


def test_one_model_for_all_knows_what_any_of_them_saw():
    """Anna was shown nothing, Ben was: equations that they share are about both."""
    data = simulated(LEARNS, n_sessions=4, counterfactual=True)
    data.xs[2:, :, -1] = 1
    rewards, choices = (data.xs[:2, :, part] for part in (data.columns.reward, data.columns.choice))
    rewards[choices == 0] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = SpiceEstimator(Alike, BANDIT_CONFIG, epochs=3, refine=False, random_state=0).fit(data)
    model = estimator.rnn_model_
    assert model.n_participants == 1 and bool(model.saw_others[0])
    with torch.no_grad(), model.recording() as record:
        model(estimator._aligned(data, None).xs, batch_first=True)
    skipped = record.call(OTHERS).inputs.isnan().any(-1).transpose(0, 1)
    assert torch.equal(skipped[:2], choices == 0) and not skipped[2:].any()

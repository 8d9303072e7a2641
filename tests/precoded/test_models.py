"""Ready hand-written models against plain loops, with lapses, biases and options that are not on offer."""

import numpy as np
import oracles
import pytest
from scipy.stats import binom

from spice import precoded
from spice.errors import ConfigError
from spice.inference.general.generated import GeneratedLikelihood
from spice.precoded import flat_aliens, rescorla_wagner, two_step, with_bias, with_lapse
from spice.resources.bandits import AlienTask, BanditsFixed, TwoStepTask, create_dataset
from spice.resources.dataset import DatasetRNN

VALUES = {
    "rescorla_wagner": {"alpha": 0.3, "beta": 2.5},
    "forgetting": {"alpha": 0.3, "forgetting": 0.2, "beta": 2.5},
    "two_learning_rates": {"alpha_reward": 0.4, "alpha_penalty": 0.15, "beta": 2.5},
    "choice_kernel": {"alpha": 0.3, "alpha_choice": 0.4, "beta": 2.5, "perseveration": -0.7},
    "counterfactual": {"alpha": 0.3, "alpha_counterfactual": 0.1, "beta": 2.5},
    "pearce_hall": {"kappa": 0.6, "eta": 0.3, "beta": 2.5},
    "win_stay_lose_shift": {"epsilon": 0.3},
}
RENAMED = {"forgetting": "forget"}  # as the loops call it


def session(n_actions: int, gaps: bool = True, offers: bool = False):
    """Choices, rewards and options on offer of one session of 60 trials."""
    rng = np.random.default_rng(n_actions)
    offered = rng.random((60, n_actions)) < (0.7 if offers else 1.0)
    offered[~offered.any(1)] = True
    choices = np.where(offered, rng.random((60, n_actions)), -1).argmax(1)
    chosen = choices[:, None] == np.arange(n_actions)
    rewards = np.where(chosen | (rng.random(chosen.shape) < 0.5), rng.integers(2, size=chosen.shape), np.nan)
    if gaps:
        rewards[rng.random(rewards.shape) < 0.1] = np.nan
        choices[rng.random(60) < 0.1] = -1
    return choices, rewards, offered


def as_dataset(choices, rewards, shown=None) -> DatasetRNN:
    """The session as data; shown columns with those of the next row."""
    one_hot = np.where(choices[:, None] >= 0, choices[:, None] == np.arange(rewards.shape[1]), np.nan)
    names, columns = [], []
    for name, values in (shown or {}).items():
        names += [name, f"next_{name}"]
        columns += [values[:-1], values[1:]]
    rewards = np.where(choices[:, None] >= 0, rewards, np.nan)
    tail = np.stack([*columns, np.zeros(len(choices) - 1)], -1)
    xs = np.concatenate([one_hot[:-1], rewards[:-1], tail], 1)
    return DatasetRNN(xs[None], one_hot[None, 1:], [*names, "participant"])


def compiled(model, dataset, values) -> np.ndarray:
    return GeneratedLikelihood(model, dataset).probabilities(np.array([list(values.values())]))[0]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("n_actions", [2, 3])
def test_ready_models_are_the_loops(name, n_actions):
    choices, rewards, _ = session(n_actions)
    values = VALUES[name]
    model = getattr(precoded, name)()
    assert list(model.parameters) == list(values)
    loop = getattr(oracles, name)(choices, rewards, **{RENAMED.get(k, k): v for k, v in values.items()})
    expected = oracles.probabilities(loop)[:-1]
    np.testing.assert_allclose(compiled(model, as_dataset(choices, rewards), values), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["rescorla_wagner", "win_stay_lose_shift"])
def test_lapses_biases_and_offers(name):
    choices, rewards, offered = session(3, offers=True)
    loop = getattr(oracles, name)(choices, rewards, **VALUES[name])
    expected = oracles.probabilities(loop, lapse=0.2, bias=(0.0, 0.5, -1.0), available=offered)[:-1]
    model = with_lapse(with_bias(getattr(precoded, name)(), 3))
    values = VALUES[name] | {"bias_1": 0.5, "bias_2": -1.0, "lapse": 0.2}
    dataset = as_dataset(choices, rewards, {f"available_{k}": offered[:, k] * 1.0 for k in range(3)})
    np.testing.assert_allclose(compiled(model, dataset, values), expected, rtol=1e-10)


TWO_STEP = dict(alpha_1=0.5, alpha_2=0.3, beta_1=3.0, beta_2=2.0, trace=0.6, weight=0.4, perseveration=0.2)


def rows_of(dataset: DatasetRNN, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choices, rewards and a shown column of the first session, the last row's, which has no outcome, included."""
    n = dataset.n_actions
    xs, ys = dataset.xs[0].double().numpy(), dataset.ys[0].double().numpy()
    choices = np.append(xs[:, :n].argmax(1), ys[-1].argmax())
    rewards = np.concatenate([xs[:, n : 2 * n], np.full((1, n), np.nan)])
    shown = dataset.columns.index(name)
    return choices, rewards, np.append(xs[:, shown], xs[-1, shown + 1]).astype(int)


def test_two_step_hybrid_is_the_loop():
    dataset = two_step().simulate(TwoStepTask(), 199, TWO_STEP, seed=1)
    choices, rewards, state = rows_of(dataset, "state")
    expected = oracles.probabilities(oracles.two_step(choices, rewards, state, **TWO_STEP))[:-1]
    np.testing.assert_allclose(compiled(two_step(), dataset, TWO_STEP), expected, rtol=1e-10)
    lapsed = oracles.probabilities(oracles.two_step(choices, rewards, state, **TWO_STEP), lapse=0.1)[:-1]
    found = compiled(with_lapse(two_step()), dataset, TWO_STEP | {"lapse": 0.1})
    np.testing.assert_allclose(found, lapsed, rtol=1e-10)


def test_flat_aliens_are_the_loop():
    values = dict(alpha=0.4, beta=3.0, forget=0.05)
    dataset = flat_aliens().simulate(AlienTask(), 150, values, seed=1)
    choices, rewards, season = rows_of(dataset, "season")
    alien = rows_of(dataset, "alien")[2]
    expected = oracles.probabilities(oracles.flat_aliens(choices, rewards, season, alien, **values))[:-1]
    np.testing.assert_allclose(compiled(flat_aliens(), dataset, values), expected, rtol=1e-10)


# ---------------------------------------------------------------------- simulation


def test_agents_choose_as_the_likelihood_says():
    """Of 400 sessions, the share that chooses an option is as the probabilities say: within 4 standard errors."""
    model = with_lapse(rescorla_wagner())
    values = {"alpha": 0.5, "beta": 4.0, "lapse": 0.2}
    dataset = model.simulate(BanditsFixed([0.9, 0.1, 0.5]), 20, values, n_sessions=400, seed=2)
    probabilities = GeneratedLikelihood(model, dataset).probabilities(np.array([list(values.values())]))
    chosen = dataset.ys.double().numpy()
    error = np.sqrt((probabilities * (1 - probabilities)).sum(0))
    assert (np.abs((chosen - probabilities).sum(0)) < 4 * error).all()


def test_simulation_is_seeded_and_by_participant():
    model, task = rescorla_wagner(), BanditsFixed([0.8, 0.2])
    values = {"alpha": np.array([0.5, 0.5]), "beta": np.array([0.0, 20.0])}
    one, other = (model.simulate(task, 300, values, seed=5) for _ in range(2))
    assert (one.xs.nan_to_num(-1) == other.xs.nan_to_num(-1)).all()
    assert one.participants.tolist() == [0, 1]
    first = int(one.ys[0, :, 0].sum())
    assert binom.cdf(first, 300, 0.5) > 1e-4 and binom.sf(first, 300, 0.5) > 1e-4
    assert one.ys[1, 20:, 0].mean() > 0.95


def test_agents_say_what_they_lack():
    with pytest.raises(ConfigError, match="values lack 'beta'; the parameters of the model are alpha, beta"):
        rescorla_wagner().agent({"alpha": 0.5})
    with pytest.raises(ConfigError, match="the parameter 'alpha' has no value"):
        rescorla_wagner().agent()
    agent = flat_aliens().agent(dict(alpha=0.4, beta=3.0, forget=0.05), 3)
    with pytest.raises(ConfigError, match="the model reads season, alien, shown before the choice"):
        agent.get_choice_probs()
    with pytest.raises(ConfigError, match="or simulate in a task that shows it"):
        create_dataset(agent, BanditsFixed([0.5, 0.2, 0.1]), 10, 1)
    with pytest.raises(ConfigError, match="the model reads 'next_season', which the task does not show"):
        agent.update(np.nan, np.full(3, np.nan), next_alien=1)
    with pytest.raises(ConfigError, match="n_actions must be a whole number from 2 on"):
        with_bias(rescorla_wagner(), 1)
    with pytest.raises(ConfigError, match="add biases first, then lapses"):
        with_bias(with_lapse(rescorla_wagner()), 2)

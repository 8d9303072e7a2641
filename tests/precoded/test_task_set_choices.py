"""Task sets with biases, lapses and actions that are not on offer: against plain NumPy and finite differences."""

import numpy as np
import pytest
from test_task_sets import COLUMNS, NAMES, Plain, softmax

from spice.equations.step_agent import StepAgent
from spice.errors import DataError
from spice.inference.fitting.likelihoods import likelihood_of
from spice.inference.fitting.particles import ParticleFilter
from spice.precoded import task_sets, with_bias, with_lapse
from spice.resources.agents import replay
from spice.resources.bandits import AlienTask, BanditsOnOffer
from spice.resources.dataset import DatasetRNN

OFFERS = ["available_0", "available_1", "available_2"]
VALUES = np.array([0.7, 8.0, 0.03, 0.8, 12.0, 0.6, -0.8, 0.15])  # biases and lapse are the last three


def whole():
    """The one model of these tests: it is compiled once."""
    return with_lapse(with_bias(task_sets(), 3))


def random_trials(n_sessions, n_trials, people, seed=0, missing=0.0, unknown=0.0):
    """Choices among the actions on offer, rewards and stimuli without any system."""
    rng = np.random.default_rng(seed)
    shape = (n_sessions, n_trials + 1)
    offered = rng.random((*shape, 3)) < 0.6
    offered[np.arange(n_sessions)[:, None], np.arange(n_trials + 1), rng.integers(3, size=shape)] = True
    choice = np.where(offered, rng.random((*shape, 3)), -1).argmax(-1)
    made = rng.random(shape) >= missing
    reward = np.where(np.eye(3)[choice] == 1, rng.uniform(0, 1, (*shape, 1)), np.nan)
    reward[~made | (rng.random(shape) < unknown)] = np.nan
    one_hot = np.where(made[..., None], np.eye(3)[choice], np.nan)
    season, alien = rng.integers(3, size=shape), rng.integers(4, size=shape)
    shown = [part for values in (season, alien) for part in (values[:, :-1], values[:, 1:])]
    people = np.broadcast_to(np.reshape(people, (-1, 1)), (n_sessions, n_trials))
    xs = np.dstack([one_hot[:, :-1], reward[:, :-1], *shown, offered[:, :-1], offered[:, 1:], people])
    columns = [*COLUMNS[:-1], *OFFERS, *(f"next_{name}" for name in OFFERS), COLUMNS[-1]]
    return DatasetRNN(xs, one_hot[:, 1:], columns)


# ---------------------------------------------------------------------- the model in plain NumPy


def expects(values, person, season, alien, offered):
    """Probability of each set, and of each action given it."""
    logits = person.beta * person.q_low[:, alien] + np.array([0.0, *values[5:7]])
    chances = softmax(np.where(offered, logits, -np.inf))
    lapse = values[7]
    return softmax(person.beta_high * person.q_high[season]), (1 - lapse) * chances + lapse * offered / offered.sum()


def trials_of(data, session):
    """Choice (None where there is none), reward, what there was to see, what comes, and the choice that follows."""
    for row, coming in zip(data.xs[session].double().numpy(), data.ys[session].numpy(), strict=True):
        choice = None if np.isnan(row[0]) else int(row[:3].argmax())
        season, next_season, alien, next_alien = row[6:10].astype(int)
        now, following = (season, alien, row[10:13] > 0), (next_season, next_alien, row[13:16] > 0)
        target = None if np.isnan(coming[0]) else int(coming.argmax())
        yield choice, np.nan if choice is None else row[3 + choice], now, following, target


def plain_probabilities(data, session, values):
    """Of all actions after each trial."""
    person, found = Plain(values[:5]), []
    for choice, reward, now, coming, _ in trials_of(data, session):
        if choice is not None:
            sets, actions = expects(values, person, *now)
            weights = sets * actions[:, choice] / (sets @ actions)[choice]
            person = person.learned(weights, *now[:2], choice, reward)
        sets, actions = expects(values, person, *coming)
        found.append(sets @ actions)
    return np.array(found)


def enumerated(data, session, values):
    """Exact log-likelihood where a set is sampled in each trial: over all sequences of sets."""
    courses, total = [(1.0, Plain(values[:5]))], 0.0
    for choice, reward, now, coming, target in trials_of(data, session):
        if choice is not None:
            after = []
            for weight, person in courses:
                sets, actions = expects(values, person, *now)
                after += [
                    (weight * sets[k] * actions[k, choice], person.learned(np.eye(3)[k], *now[:2], choice, reward))
                    for k in range(3)
                ]
            all_of_them = sum(weight for weight, _ in after)
            courses = [(weight / all_of_them, person) for weight, person in after]
        if target is not None:
            expected = [(weight, *expects(values, person, *coming)) for weight, person in courses]
            total += np.log(sum(weight * (sets @ actions[:, target]) for weight, sets, actions in expected))
    return total


# ---------------------------------------------------------------------- likelihood, agents, particles


def test_like_plain_numpy():
    """Sessions of three people in any order, with missing trials and unknown rewards."""
    data = random_trials(5, 30, people=[2, 0, 1, 0, 2], missing=0.15, unknown=0.15)
    values = VALUES * np.array([[1.0], [0.8], [1.2]])
    found = likelihood_of(whole(), data).probabilities(values)
    for session, person in enumerate([2, 0, 1, 0, 2]):
        expected = plain_probabilities(data, session, values[person])
        there = ~np.isnan(found[session, :, 0])
        assert there[data.scored[session].numpy()].all()
        np.testing.assert_allclose(found[session, there], expected[there], rtol=1e-10, atol=1e-300)


@pytest.mark.slow
def test_derivatives():
    """Against central differences, extrapolated from two steps; values are those of the choices' probabilities."""
    data = random_trials(3, 80, people=[0, 0, 1], missing=0.1)
    likelihood = likelihood_of(whole(), data)
    assert likelihood.names == (*NAMES, "bias_1", "bias_2", "lapse")
    group = np.zeros(8, int)
    found = likelihood(VALUES[None], group[:1])
    assert found.nll[0] == pytest.approx(-np.nansum(likelihood.log_probabilities(VALUES[None], group[:1])), rel=1e-12)

    def differences(step):
        up, down = (likelihood(VALUES + sign * step * np.eye(8), group) for sign in (1, -1))
        return (up.nll - down.nll) / (2 * step), (up.gradient - down.gradient) / (2 * step)

    coarse, fine = differences(2e-5), differences(1e-5)
    slopes, curves = ((4 * b - a) / 3 for a, b in zip(coarse, fine, strict=True))
    np.testing.assert_allclose(found.gradient[0], slopes, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(found.hessian[0], curves, rtol=1e-7, atol=1e-5)
    assert (np.abs(slopes) > 0.01).all() and (np.abs(np.diag(curves)) > 0.01).all()
    nll, gradient = likelihood.gradient(VALUES[None], group[:1])
    np.testing.assert_allclose(nll, found.nll, rtol=1e-13)
    np.testing.assert_allclose(gradient, found.gradient, rtol=1e-10)


def test_agents_replay_what_the_likelihood_says():
    data = random_trials(2, 30, people=[0, 1], missing=0.1, unknown=0.1)
    agent = StepAgent(whole(), dict(zip(whole().parameters, VALUES, strict=True)), rule="marginal")
    found = likelihood_of(whole(), data).probabilities(np.tile(VALUES, (2, 1)))
    for session in range(2):
        probs = replay(agent, data[session]).probs
        np.testing.assert_allclose(probs[1:], found[session, : len(probs) - 1], rtol=1e-12)


def test_sampled_sets_learn_as_far_as_biases_and_lapses_let_a_choice_tell_them():
    values, n = np.array([0.5, 4.0, 0.0, 0.5, 30.0, 1.0, -1.0, 0.3]), 40_000
    agent = StepAgent(whole(), dict(zip(whole().parameters, values, strict=True)))
    agent.new_sess(n, seed=3)
    agent._states[0][:, :, 2] += np.array([[0.5, 0.0, -0.1], [0.0, 0.4, 0.0], [-0.2, 0.0, 0.3]])[..., None]
    person = Plain(values[:5])
    person.q_low = agent.state("q_low")[0]
    coming = {f"next_{name}": value for name, value in zip(OFFERS, (1, 0, 1), strict=True)}
    agent.update(np.full(n, np.nan), np.full((n, 3), np.nan), next_season=1, next_alien=2, **coming)
    sets, actions = expects(values, person, 1, 2, np.array([True, False, True]))
    np.testing.assert_allclose(agent.get_choice_probs()[0], sets @ actions, rtol=1e-12)
    choice, before = agent.get_choice(), agent.state("q_low")
    now = dict(zip(OFFERS, (1, 0, 1), strict=True))
    agent.update(choice, np.eye(3)[choice], season=1, alien=2, next_season=1, next_alien=2, **now, **coming)
    learned = (agent.state("q_low") != before).any((2, 3)).argmax(1)
    joint, counts = sets[:, None] * actions, np.zeros((3, 3))
    np.add.at(counts, (learned, choice), 1)
    assert (np.abs(counts / n - joint) <= 4 * np.sqrt(joint * (1 - joint) / n)).all()


def test_simulated_people_choose_what_is_on_offer():
    values = dict(zip(whole().parameters, VALUES, strict=True))
    data = whole().simulate(BanditsOnOffer(AlienTask(), 2), 60, values | {"beta": [3.0, 6.0]}, seed=1)
    chosen = (data.ys.numpy() * np.stack([data.column(f"next_{name}") for name in OFFERS], -1)).sum(-1)
    assert (chosen == 1).all()
    nll = likelihood_of(whole(), data).gradient(np.tile(VALUES, (2, 1)))[0]
    assert np.isfinite(nll).all()


def test_particles_against_all_sequences_of_sets():
    data = random_trials(3, 6, people=[0, 1, 1], seed=4)
    values = np.tile([0.9, 8.0, 0.05, 0.8, 5.0, 0.6, -0.8, 0.15], (2, 1))
    exact = [enumerated(data, session, values[0]) for session in range(3)]
    exact = np.array([exact[0], exact[1] + exact[2]])
    filtered = ParticleFilter(whole(), data, n_particles=200, n_runs=50, seed=0)(values)
    assert ((filtered.standard_error > 0) & (filtered.standard_error < 0.02)).all()
    assert (np.abs(filtered.log_likelihood - exact) < 4 * filtered.standard_error).all()


# ---------------------------------------------------------------------- what can go wrong


def test_choices_of_what_is_not_on_offer():
    data = random_trials(1, 5, people=[0])
    data.xs[0, 2, 10 + int(data.xs[0, 2, :3].argmax())] = 0
    with pytest.raises(DataError, match="the choice is option"):
        likelihood_of(whole(), data)
    agent = StepAgent(whole(), dict(zip(whole().parameters, VALUES, strict=True)))
    now = dict(zip(OFFERS, (1, 0, 1), strict=True))
    with pytest.raises(DataError, match="option 1 was chosen in session 0, but it was not on offer"):
        agent.update(1, [np.nan, 1.0, np.nan], season=0, alien=0, **now)

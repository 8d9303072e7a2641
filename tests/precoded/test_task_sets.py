"""Task sets: against plain NumPy, exact enumeration over sets, and the parameters that people were simulated with."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from spice.equations.jets import compiled
from spice.equations.step_agent import StepAgent
from spice.errors import ConfigError
from spice.inference.fitting.likelihoods import likelihood_of
from spice.inference.fitting.particles import ParticleFilter
from spice.precoded import task_sets
from spice.resources.bandits import AlienTask
from spice.resources.dataset import DatasetRNN
from spice.utils.plotting import plot_session

COLUMNS = ["season", "next_season", "alien", "next_alien", "participant"]
NAMES = ["alpha", "beta", "forget", "alpha_high", "beta_high"]
PAYS = (
    np.array(  # of each action towards each alien in each season
        [
            [[1, 6, 1], [1, 1, 4], [5, 1, 1], [10, 1, 1]],
            [[1, 1, 2], [1, 8, 1], [1, 1, 7], [1, 3, 1]],
            [[1, 1, 7], [3, 1, 1], [1, 3, 1], [2, 1, 1]],
        ]
    )
    / 10.0
)


def simulate(values, n_trials, rule, seed, sessions=1):
    """People who play for `n_trials` scored choices per session; seasons change every 20 trials."""
    agent = StepAgent(task_sets(), dict(zip(NAMES, values.T, strict=True)), rule=rule)
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(len(values)), sessions)
    n = len(people)
    agent.new_sess(n, participants=people, seed=rng)
    season = (np.arange(n_trials + 1)[None] // 20 + rng.integers(3, size=(n, 1))) % 3
    alien = rng.integers(4, size=season.shape)
    choice, reward = np.zeros(season.shape, int), np.full((*season.shape, 3), np.nan)
    agent.update(np.full(n, np.nan), np.full((n, 3), np.nan), next_season=season[:, 0], next_alien=alien[:, 0])
    for t in range(n_trials + 1):
        choice[:, t] = agent.get_choice()
        reward[np.arange(n), t, choice[:, t]] = PAYS[season[:, t], alien[:, t], choice[:, t]]
        coming = min(t + 1, n_trials)
        agent.update(
            choice[:, t],
            reward[:, t],
            season=season[:, t],
            alien=alien[:, t],
            next_season=season[:, coming],
            next_alien=alien[:, coming],
        )
    return as_dataset(choice, reward, season, alien, people)


def as_dataset(choice, reward, season, alien, people):
    one_hot = np.where(choice[..., None] >= 0, np.eye(3)[choice], np.nan)
    people = np.broadcast_to(np.reshape(people, (-1, 1)), choice.shape)[:, :-1]
    shown = [season[:, :-1], season[:, 1:], alien[:, :-1], alien[:, 1:]]
    return DatasetRNN(np.dstack([one_hot[:, :-1], reward[:, :-1], *shown, people]), one_hot[:, 1:], COLUMNS)


def random_trials(n_sessions, n_trials, people, seed=0, missing=0.0, unknown=0.0):
    """Choices, rewards and stimuli without any system."""
    rng = np.random.default_rng(seed)
    shape = (n_sessions, n_trials + 1)
    choice = np.where(rng.random(shape) < missing, -1, rng.integers(3, size=shape))
    reward = np.where(np.eye(3)[choice] == 1, rng.uniform(0, 1, (*shape, 1)), np.nan)
    reward[rng.random(shape) < unknown] = np.nan
    reward[choice < 0] = np.nan
    return as_dataset(choice, reward, rng.integers(3, size=shape), rng.integers(4, size=shape), people)


# ---------------------------------------------------------------------- the model in plain NumPy


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Plain:
    """One person's values and what becomes of them."""

    def __init__(self, values):
        self.alpha, self.beta, self.forget, self.alpha_high, self.beta_high = values
        self.q_low, self.q_high = np.full((3, 4, 3), 0.12), np.full((3, 3), 0.12) + 0.02 * np.eye(3)

    def expects(self, season, alien):
        """Probability of each set, and of each action given it."""
        return softmax(self.beta_high * self.q_high[season]), softmax(self.beta * self.q_low[:, alien])

    def learned(self, weights, season, alien, choice, reward):
        after = Plain((self.alpha, self.beta, self.forget, self.alpha_high, self.beta_high))
        after.q_low = self.q_low + self.forget * (0.12 - self.q_low)
        after.q_high = self.q_high + self.forget * (0.12 - self.q_high)
        if not np.isnan(reward):
            low, high = after.q_low[:, alien, choice].copy(), after.q_high[season].copy()
            after.q_low[:, alien, choice] = low + self.alpha * weights * (reward - low)
            after.q_high[season] = high + self.alpha_high * weights * (reward - high)
        return after


def trials_of(data, session):
    """Choice (None where there is none), reward, stimuli now and next, and the choice that follows."""
    xs, ys = data.xs[session].double().numpy(), data.ys[session].numpy()
    for row, coming in zip(xs, ys, strict=True):
        choice = None if np.isnan(row[0]) else int(row[:3].argmax())
        reward = np.nan if choice is None else row[3 + choice]
        season, next_season, alien, next_alien = row[6:10].astype(int)
        yield (
            choice,
            reward,
            (season, alien),
            (next_season, next_alien),
            None if np.isnan(coming[0]) else coming.argmax(),
        )


def plain_log_probabilities(data, session, values, rule):
    person, found = Plain(values), []
    for choice, reward, now, coming, target in trials_of(data, session):
        if choice is not None:
            sets, actions = person.expects(*now)
            if rule == "marginal":
                weights = sets * actions[:, choice] / (sets @ actions)[choice]
            else:
                weights = np.eye(3)[sets.argmax()]
            person = person.learned(weights, *now, choice, reward)
        if target is not None:
            sets, actions = person.expects(*coming)
            sets = sets if rule == "marginal" else np.eye(3)[sets.argmax()]
            found.append(np.log(sets @ actions[:, target]))
    return np.array(found)


def enumerated(data, session, values):
    """Exact log-probabilities where a set is sampled in each trial: over all sequences of sets."""
    courses, found = [(1.0, Plain(values))], []
    for choice, reward, now, coming, target in trials_of(data, session):
        if choice is not None:
            after = []
            for weight, person in courses:
                sets, actions = person.expects(*now)
                for k in range(3):
                    course = weight * sets[k] * actions[k, choice], person.learned(np.eye(3)[k], *now, choice, reward)
                    after.append(course)
            total = sum(weight for weight, _ in after)
            courses = [(weight / total, person) for weight, person in after]
        if target is not None:
            expected = [(weight, *person.expects(*coming)) for weight, person in courses]
            found.append(np.log(sum(weight * (sets @ actions[:, target]) for weight, sets, actions in expected)))
    return np.array(found)


# ---------------------------------------------------------------------- the likelihood


@pytest.mark.parametrize("rule", ["marginal", "argmax"])
def test_like_plain_numpy(rule):
    """Sessions of three people in any order, with missing trials and unknown rewards."""
    data = random_trials(5, 30, people=[2, 0, 1, 0, 2], missing=0.15, unknown=0.15)
    values = np.array([[0.3, 4.0, 0.05, 0.4, 6.0], [0.7, 8.0, 0.2, 0.1, 3.0], [0.5, 2.0, 0.0, 0.9, 12.0]])
    found = likelihood_of(task_sets(rule=rule), data).log_probabilities(values)
    for person in range(3):
        sessions = np.flatnonzero(data.participants.numpy() == person)
        expected = [plain_log_probabilities(data, session, values[person], rule) for session in sessions]
        expected = np.concatenate(expected)
        np.testing.assert_allclose(found[person, : len(expected)], expected, rtol=1e-11)
        assert np.isnan(found[person, len(expected) :]).all()


def test_derivatives():
    """Against central differences, extrapolated from two steps."""
    data = random_trials(3, 120, people=[0, 0, 1], missing=0.1)
    likelihood = likelihood_of(task_sets(), data)
    values, group = np.array([0.7, 8.0, 0.03, 0.8, 12.0]), np.zeros(5, int)
    found = likelihood(values[None], group[:1])

    def differences(step):
        up, down = (likelihood(values + sign * step * np.eye(5), group) for sign in (1, -1))
        return (up.nll - down.nll) / (2 * step), (up.gradient - down.gradient) / (2 * step)

    coarse, fine = differences(2e-5), differences(1e-5)
    slopes, curves = ((4 * b - a) / 3 for a, b in zip(coarse, fine, strict=True))
    np.testing.assert_allclose(found.gradient[0], slopes, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(found.hessian[0], curves, rtol=1e-7, atol=1e-6)
    assert (np.abs(slopes) > 0.05).all() and (np.abs(curves) > 0.05).all()
    nll, gradient = likelihood.gradient(values[None], group[:1])
    np.testing.assert_allclose(nll, found.nll, rtol=1e-13)
    np.testing.assert_allclose(gradient, found.gradient, rtol=1e-10)


@pytest.mark.slow
def test_recovery():
    """People who follow the likelihood's own rule, where sets matter: within four standard errors of the truth."""
    truth = np.array([[0.3, 12, 0.005, 0.3, 20], [0.6, 10, 0.005, 0.1, 20], [0.4, 10, 0.003, 0.2, 15]])
    data = simulate(truth, 440, "marginal", seed=1, sessions=20)
    likelihood = likelihood_of(task_sets(), data)
    starts = [[0.5, 5, 0.02, 0.5, 10], [0.3, 8, 0.01, 0.2, 15], [0.4, 8, 0.02, 0.1, 30]]
    bounds = [(1e-3, 1 - 1e-3), (0.1, 30), (1e-4, 0.5), (1e-3, 1 - 1e-3), (0.1, 60)]
    for person, true in enumerate(truth):
        group = np.array([person])

        def objective(values, group=group):
            nll, gradient = likelihood.gradient(values[None], group)
            return nll[0], gradient[0]

        ends = [minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B") for start in starts]
        best = min(ends, key=lambda end: end.fun).x
        errors = np.sqrt(np.diag(np.linalg.inv(likelihood(best[None], group).hessian[0])))
        assert (np.abs(best - true) < 4 * errors).all()
        assert (errors < 0.25 * true).all()


def discontinuities(value_at, grid):
    """Which intervals hold a jump: halved 45 times, always keeping the half that changes more."""
    low, high = grid[:-1].copy(), grid[1:].copy()
    at_low, at_high = value_at(low), value_at(high)
    for _ in range(45):
        middle = (low + high) / 2
        at_middle = value_at(middle)
        left = np.abs(at_middle - at_low) > np.abs(at_high - at_middle)
        low, at_low = np.where(left, low, middle), np.where(left, at_low, at_middle)
        high, at_high = np.where(left, middle, high), np.where(left, at_middle, at_high)
    return np.abs(at_high - at_low) > 1e-6


def test_the_hard_rule_makes_the_likelihood_jump():
    truth = np.array([[0.4, 6.0, 0.02, 0.3, 8.0]])
    data = simulate(truth, 440, "argmax", seed=2)
    counts = {}
    for rule in ("argmax", "marginal"):
        likelihood = likelihood_of(task_sets(rule=rule), data)

        def value_at(alpha_high, likelihood=likelihood):
            values = np.repeat(truth, len(alpha_high), 0)
            values[:, 3] = alpha_high
            return np.nansum(likelihood.log_probabilities(values, np.zeros(len(alpha_high), int)), 1)

        counts[rule] = discontinuities(value_at, np.linspace(0.05, 0.95, 61)).sum()
    assert counts["marginal"] == 0 and counts["argmax"] >= 15


# ---------------------------------------------------------------------- simulation


def play_once(rule, values, n_sessions, seed):
    """After one rewarded trial: choices, and the sets whose values have learned from it."""
    agent = StepAgent(task_sets(), dict(zip(NAMES, values, strict=True)), rule=rule)
    agent.new_sess(n_sessions, seed=seed)
    agent._states[0][:, 0, 2] += np.array([0.5, 0.0, -0.1])[:, None]  # sets that suggest different actions
    agent._states[0][:, 1, 2] += np.array([0.0, 0.4, 0.0])[:, None]
    agent._states[0][:, 2, 2] += np.array([-0.2, 0.0, 0.3])[:, None]
    start = agent.state("q_low")
    agent.update(np.full(n_sessions, np.nan), np.full((n_sessions, 3), np.nan), next_season=1, next_alien=2)
    probs = agent.get_choice_probs()[0]
    choice = agent.get_choice()
    reward = np.where(np.eye(3)[choice] == 1, 1.0, np.nan)
    agent.update(choice, reward, season=1, alien=2, next_season=1, next_alien=2)
    learned = np.take_along_axis(agent.state("q_low")[:, :, 2], choice[:, None, None], 2)[..., 0]
    return probs, choice, start, learned - np.take_along_axis(start[:, :, 2], choice[:, None, None], 2)[..., 0]


def test_a_sampled_set_learns_alone_and_is_as_frequent_as_it_should_be():
    values, n = np.array([0.5, 4.0, 0.0, 0.5, 30.0]), 40_000
    probs, choice, start, learned = play_once("sample", values, n, seed=3)
    assert ((learned != 0).sum(1) == 1).all()
    sets = softmax(30.0 * (0.12 + 0.02 * np.eye(3)[1]))
    actions = softmax(4.0 * start[0][:, 2])
    joint = sets[:, None] * actions
    np.testing.assert_allclose(probs, joint.sum(0), rtol=1e-12)
    counts = np.zeros((3, 3))
    np.add.at(counts, ((learned != 0).argmax(1), choice), 1)
    assert (np.abs(counts / n - joint) < 4 * np.sqrt(joint * (1 - joint) / n)).all()


def test_responsibilities_share_what_is_learned():
    values = np.array([0.5, 4.0, 0.0, 0.5, 30.0])
    _, choice, start, learned = play_once("marginal", values, 50, seed=3)
    sets, actions = softmax(30.0 * (0.12 + 0.02 * np.eye(3)[1])), softmax(4.0 * start[0][:, 2])
    for own, gained in zip(choice, learned, strict=True):
        weights = sets * actions[:, own] / (sets @ actions[:, own])
        np.testing.assert_allclose(gained, 0.5 * weights * (1 - start[0][:, 2, own]), rtol=1e-9)


def test_the_hard_rule_takes_the_best_set():
    _, choice, start, learned = play_once("argmax", np.array([0.5, 4.0, 0.0, 0.5, 30.0]), 5000, seed=3)
    assert (learned[:, 1] != 0).all() and (learned[:, [0, 2]] == 0).all()
    expected = softmax(4.0 * start[0][1, 2])
    share = np.bincount(choice, minlength=3) / 5000
    assert (np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 5000)).all()


def test_simulations_repeat():
    values = np.tile([0.4, 6.0, 0.02, 0.3, 8.0], (31, 1))
    one, again, other = (simulate(values, 20, None, seed=seed).xs.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert len(one) == 31 and not np.array_equal(np.nan_to_num(one), np.nan_to_num(other))


@pytest.mark.parametrize("rule", [None, "argmax"])
def test_agents_are_pickled_in_the_middle_of_a_session(rule):
    agent = StepAgent(task_sets(), dict(zip(NAMES, [0.4, 6.0, 0.02, 0.3, 8.0], strict=True)), rule, seed=1)
    agent.new_sess(5)

    def play(agent, n_trials, rng):
        for _ in range(n_trials):
            choice, season, alien = agent.get_choice(), rng.integers(3, size=(2, 5)), rng.integers(4, size=(2, 5))
            shown = {"season": season[0], "next_season": season[1], "alien": alien[0], "next_alien": alien[1]}
            agent.update(choice, rng.random((5, 3)), **shown)
        return [choice, agent.get_choice_probs(), agent.state("q_low"), agent.state("q_high")]

    play(agent, 5, np.random.default_rng(0))
    stored = pickle.dumps(agent)
    assert b"spice_generated" not in stored and b"learn_all" not in stored
    one, again = (play(player, 20, np.random.default_rng(1)) for player in (agent, pickle.loads(stored)))
    for expected, found in zip(one, again, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pickled_steps_name_functions_that_can_be_imported():
    """Else another process would compile them anew, for seconds."""
    step = task_sets().step
    stored = pickle.dumps(step)
    assert b"numba" not in stored and pickle.loads(stored) == step

    @compiled
    def learn(states, weights, parameters, trial, work, n):
        pass

    own = replace(step, learn=learn)
    stored = pickle.dumps(own)
    assert b"numba" in stored and pickle.loads(stored) == own


def test_arguments_that_do_not_fit():
    with pytest.raises(ConfigError, match="rule must be one of marginal, argmax, not 'sample'"):
        task_sets(rule="sample")
    values = dict.fromkeys(NAMES, 0.5)
    with pytest.raises(ConfigError, match="rule must be one of sample, marginal, argmax"):
        StepAgent(task_sets(), values, rule="hard")
    agent = StepAgent(task_sets(), values)
    with pytest.raises(ConfigError, match="'season' must be a level from 0 to 2, not 3"):
        agent.update(0, [1.0, np.nan, np.nan], season=3, alien=0)
    with pytest.raises(ConfigError, match="no state 'q_hihg'.*'q_high'"):
        agent.state("q_hihg")


# ---------------------------------------------------------------------- the particle filter


def test_particles_against_all_sequences_of_sets():
    """3 to the power of 6 of them per session; with a missing trial and an unknown reward."""
    data = random_trials(4, 6, people=[0, 1, 2, 2], seed=4)
    data.xs[0, 2, :6], data.ys[0, 1] = np.nan, np.nan
    data.xs[1, 3, 3:6] = np.nan
    values = np.array([[0.8, 6.0, 0.1, 0.7, 6.0], [0.9, 10.0, 0.05, 0.8, 3.0], [0.6, 8.0, 0.0, 0.9, 9.0]])
    exact = [enumerated(data, session, values[person]) for session, person in enumerate([0, 1, 2, 2])]
    exact = [exact[0], exact[1], np.concatenate(exact[2:])]
    filtered = ParticleFilter(task_sets(), data, n_particles=200, n_runs=50, seed=0)(values)
    marginal = likelihood_of(task_sets(), data).log_probabilities(values)
    for person in range(3):
        error, n = filtered.standard_error[person], len(exact[person])
        assert 0 < error < 0.02
        assert abs(filtered.log_likelihood[person] - exact[person].sum()) < 4 * error
        assert (~np.isnan(filtered.log_probabilities[person])).sum() == n
        assert abs(np.nansum(marginal[person]) - exact[person].sum()) > 10 * error  # the test tells them apart


def test_one_set_leaves_nothing_to_chance():
    data = random_trials(2, 40, people=[0, 1])
    data.xs[..., 6:8] = 0
    values = np.array([[0.4, 3.0, 0.1, 0.3, 5.0], [0.2, 6.0, 0.0, 0.3, 5.0]])
    filtered = ParticleFilter(task_sets(n_seasons=1), data, n_particles=7, n_runs=2)(values)
    expected = likelihood_of(task_sets(n_seasons=1), data)(values).nll
    np.testing.assert_allclose(filtered.log_likelihood, -expected, rtol=1e-12)
    assert (filtered.standard_error < 1e-9).all()


# ---------------------------------------------------------------------- what people see of it


@pytest.mark.parametrize("rule", ["marginal", "argmax"])
def test_it_prints_and_typesets(rule):
    text, latex = str(task_sets(rule=rule)), task_sets(rule=rule).latex()
    n_lines = len(text.splitlines())
    assert n_lines == 10 and len(latex.splitlines()) == n_lines + 2
    assert all(line.count("&") == 3 and line.count("{") == line.count("}") for line in latex.splitlines()[1:-1])
    used = {"marginal": ["beta_high", "p_set*p_act/probability"], "argmax": ["largest q_high", "rho = p_set"]}[rule]
    for part in [*used, "beta*q_low", "alpha*rho", "alpha_high*rho", "forget*", "0.12", "0.14"]:
        assert part in text


def test_a_session_is_drawn():
    values = {"alpha": 0.4, "beta": 6.0, "forget": 0.02, "alpha_high": 0.3, "beta_high": 8.0}
    model = task_sets()
    data = model.simulate(AlienTask(), 15, values, seed=0)
    _, axs = plot_session({"groundtruth": model.agent(values, rule="marginal")}, data)
    probabilities = likelihood_of(model, data).probabilities(np.array([list(values.values())]))[0]
    drawn = axs[0].lines[0].get_ydata()  # of option 0, before each choice but the first
    np.testing.assert_allclose(drawn[-14:], probabilities[:14, 0], atol=1e-7)
    with pytest.raises(ConfigError, match="no agent has a state 'q_low'; they have none with one value per option"):
        plot_session({"groundtruth": model.agent(values)}, data, ["q_low"])

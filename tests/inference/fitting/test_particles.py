"""The particle filter, on people who either think or follow a habit: against all sequences of these."""

import numpy as np
import pandas as pd
import pytest

from spice.equations import Parameter
from spice.equations.compiled_model import CompiledModel, HiddenStep, Step
from spice.equations.jets import affine, compiled, log, log_softmax, multiply, relax
from spice.errors import ConfigError, DataError
from spice.inference.fitting.likelihoods import likelihood_of
from spice.inference.fitting.particles import ParticleFilter


@compiled
def weigh(log_w, states, parameters, shown, work, n):
    log(log_w[0], parameters[0], n)
    affine(work[0], parameters[0], -1.0, 1.0)
    log(log_w[1], work[0], n)


@compiled
def act(log_p, states, parameters, shown, work, n):
    for hidden in range(2):
        for option in range(log_p.shape[1]):
            multiply(log_p[hidden, option], parameters[1], states[hidden][option], n)
        log_softmax(log_p[hidden], work[0], n)


@compiled
def learn(states, weights, parameters, trial, work, n):
    value, habit = states
    if trial.reward == trial.reward:
        multiply(work[0], parameters[2], weights[0], n)
        relax(value[trial.choice], work[0], trial.reward, n)
    for option in range(len(habit)):
        relax(habit[option], weights[1], 1.0 if option == trial.choice else 0.0, n)


def thinking_or_habit():
    return CompiledModel(
        parameters={"thinks": Parameter(0, 1), "beta": Parameter(0), "alpha": Parameter(0, 1)},
        states={"value": [0.5, 0.5], "habit": [0.0, 0.0]},
        step=HiddenStep(2, weigh, act, learn, work=1),
        n_actions=2,
    )


def enumerated(data, session, thinks, beta, alpha):
    """Log-probabilities of the scored choices, over all sequences of hidden values."""
    courses, found = [(1.0, np.array([[0.5, 0.5], [0.0, 0.0]]))], []
    sets = np.array([thinks, 1 - thinks])
    for row, coming in zip(data.xs[session].double().numpy(), data.ys[session].numpy(), strict=True):
        if not np.isnan(row[0]):
            choice, after = int(row[:2].argmax()), []
            for weight, states in courses:
                actions = np.exp(beta * states) / np.exp(beta * states).sum(1, keepdims=True)
                for hidden in range(2):
                    new = states.copy()
                    if hidden:
                        new[1] = np.eye(2)[choice]
                    elif not np.isnan(row[2 + choice]):
                        new[0, choice] += alpha * (row[2 + choice] - new[0, choice])
                    after.append((weight * sets[hidden] * actions[hidden, choice], new))
            total = sum(weight for weight, _ in after)
            courses = [(weight / total, states) for weight, states in after]
        if not np.isnan(coming[0]):
            expected = 0.0
            for weight, states in courses:
                actions = np.exp(beta * states) / np.exp(beta * states).sum(1, keepdims=True)
                expected += weight * (sets @ actions[:, coming.argmax()])
            found.append(np.log(expected))
    return np.array(found)


VALUES = np.array([[0.6, 3.0, 0.7], [0.3, 5.0, 0.9]])


def test_all_sequences(random_data):
    """2 to the power of 10 of them. Means over seeds, within four of their standard errors."""
    data = random_data(2, 10, n_participants=2, missing=0.1, unknown=0.1)
    exact = [enumerated(data, person, *VALUES[person]) for person in range(2)]
    runs = [ParticleFilter(thinking_or_habit(), data, 300, 5, seed=seed)(VALUES) for seed in range(20)]
    for person in range(2):
        n = len(exact[person])
        by_trial = np.array([run.log_probabilities[person, :n] for run in runs])
        total = np.array([run.log_likelihood[person] for run in runs])
        error = total.std(ddof=1) / np.sqrt(20)
        assert 0 < error < 0.01
        assert abs(total.mean() - exact[person].sum()) < 4 * error
        errors = by_trial.std(0, ddof=1) / np.sqrt(20)
        assert (np.abs(by_trial.mean(0) - exact[person]) < 4 * errors + 1e-12).all()  # the first is known exactly
        told = np.mean([run.standard_error[person] for run in runs])
        # a standard error from 5 runs has a relative error of 1 / sqrt(8), that from 20 of 1 / sqrt(38)
        assert told / total.std(ddof=1) == pytest.approx(1.0, abs=4 * np.hypot(1 / np.sqrt(8 * 20), 1 / np.sqrt(38)))


def test_rows_seeds_and_threads(random_data):
    data = random_data(4, 30, n_participants=2)
    group = np.array([1, 0, 1])
    values = VALUES[group]
    one, again, threads, other = (
        ParticleFilter(thinking_or_habit(), data, 400, 4, seed=seed, n_threads=n)(values, group)
        for seed, n in ((1, 1), (1, 1), (1, 3), (2, 1))
    )
    for a, b, c in zip(one, again, threads, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert (one.log_likelihood != other.log_likelihood).all()
    assert one.log_likelihood[0] != one.log_likelihood[2]  # rows are independent
    assert one.runs.shape == (3, 4) and one.log_probabilities.shape == (3, 60)
    np.testing.assert_allclose(one.log_probabilities.sum(1), one.log_likelihood, rtol=1e-12)
    expected = np.log(np.exp(one.runs - one.runs.max()).mean(1)) + one.runs.max()
    np.testing.assert_allclose(one.log_likelihood, expected, rtol=1e-12)
    assert np.isnan(ParticleFilter(thinking_or_habit(), data, 50, 1)(VALUES).standard_error).all()


def test_more_particles_know_more(random_data):
    data = random_data(1, 100)
    few, many = (ParticleFilter(thinking_or_habit(), data, n, 40)(VALUES[:1]).runs.std() for n in (20, 2000))
    assert many < few / 4  # a tenth is expected


def test_the_marginal_is_approximate(random_data):
    """By more than the filter's error."""
    data = random_data(1, 100)
    filtered = ParticleFilter(thinking_or_habit(), data, 2000, 10)(VALUES[:1])
    difference = filtered.log_likelihood[0] + likelihood_of(thinking_or_habit(), data)(VALUES[:1]).nll[0]
    assert 4 * filtered.standard_error[0] < abs(difference)


def test_wrong_use(random_data):
    data = random_data(1, 10)
    model = thinking_or_habit()
    plain = CompiledModel(model.parameters, model.states, Step(learn, act), 2)
    with pytest.raises(ConfigError, match="no hidden variable"):
        ParticleFilter(plain, data)
    for arguments, words in (
        ({"n_particles": 0}, "n_particles must be"),
        ({"n_runs": 1.5}, "n_runs must be"),
        ({"seed": -1}, "seed must be"),
        ({"threshold": 2}, "threshold must be"),
    ):
        with pytest.raises(ConfigError, match=words):
            ParticleFilter(model, data, **arguments)


@pytest.mark.parametrize(
    ("values", "group", "message"),
    [
        (VALUES[:, :2], None, "values must be rows of 3 numbers, for thinks, beta, alpha; their shape is"),
        (VALUES[0], None, "values must be rows of 3 numbers"),
        ("some", None, "values must be numbers"),
        (VALUES * [1, np.nan, 1], None, "beta of row 0 is nan; values must be finite"),
        (pd.DataFrame(VALUES, columns=["thinks", "b", "alpha"]), None, "values lack 'beta'"),
        (np.tile(VALUES, (2, 1)), None, "rows, but 2 participants; say whose they are by group"),
        (VALUES[:1], [2], "group must name a participant for each of 1 rows, from 0 to 1"),
        (VALUES[:1], [-1], "group must name a participant"),
        (VALUES[:2], [0], "group must name a participant"),
        (VALUES[:1], [0.5], "group must name a participant"),
    ],
)
def test_rows_that_do_not_fit(random_data, values, group, message):
    data = random_data(2, 10, n_participants=2)
    with pytest.raises((ConfigError, DataError)) as caught:
        ParticleFilter(thinking_or_habit(), data, 10, 1)(values, group)
    assert message in str(caught.value)


def test_tables_are_read_by_name(random_data):
    data = random_data(2, 10, n_participants=2)
    filtered = ParticleFilter(thinking_or_habit(), data, 50, 1)
    table = pd.DataFrame(VALUES, columns=list(filtered.names))
    assert np.array_equal(filtered(table[table.columns[::-1]]).runs, filtered(VALUES).runs)


def test_tables_are_read_by_label(random_data):
    data = random_data(2, 10, n_participants=2)
    data.labels = {"participant": ("ben", "anna")}
    filtered = ParticleFilter(thinking_or_habit(), data, 50, 2)
    table = pd.DataFrame(VALUES, ["ben", "anna"], columns=list(filtered.names))
    assert np.array_equal(filtered(table[::-1]).runs, filtered(VALUES[::-1], np.array([1, 0])).runs)
    assert np.array_equal(filtered(table[1:]).runs, filtered(VALUES[1:], np.array([1])).runs)
    assert np.array_equal(filtered(table, np.array([1, 1])).runs, filtered(VALUES, np.array([1, 1])).runs)
    both = pd.DataFrame(VALUES[[0, 0]], columns=list(filtered.names))
    assert np.array_equal(filtered(both[:1].set_axis(["everybody"])).runs, filtered(both.to_numpy()).runs)
    with pytest.raises(ConfigError, match="values have rows of 'carl', who are no participants of the data: index"):
        filtered(table.rename({"anna": "carl"}))


def test_no_data(random_data):
    data = random_data(1, 10)
    with pytest.raises(DataError, match="ParticleFilter needs a DatasetRNN"):
        ParticleFilter(thinking_or_habit(), data.xs)


def test_overflow_is_impossible_not_certain(random_data):
    data = random_data(1, 60)
    wild = VALUES[:1] * [1, 1, 0] + [0, 0, -1e200]
    with np.errstate(all="ignore"):
        assert ParticleFilter(thinking_or_habit(), data, 20, 2)(wild).log_likelihood == -np.inf

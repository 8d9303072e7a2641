"""Models written by hand: the compiled likelihood of all of the grammar against plain NumPy and differences."""

import numpy as np
import pytest
import torch

from spice.equations import Parameter, State, SymbolicModel
from spice.equations.evaluate import run_symbolic
from spice.errors import ConfigError, DataError
from spice.inference.general.generated import GeneratedLikelihood
from spice.resources.bandits import BanditsDrift
from spice.resources.dataset import DatasetRNN

SHOWN = {"season": 3, "alien": 2}


def parameters(**values) -> dict[str, Parameter]:
    bounds = {"lapse": (0, 1)}
    return {name: Parameter(*bounds.get(name, ()), value=value) for name, value in values.items()}


FLAT = SymbolicModel(
    shown=SHOWN,
    states={"q": State(initial="start", by=["season", "alien"])},
    updates=[
        ("q", "everywhere", "(1 - forget) * q + forget * start"),
        ("q", "chosen", "q + alpha * (reward - q)"),
    ],
    logits="beta * q",
    parameters=parameters(start=0.1, forget=0.05, alpha=0.3, beta=2.0),
)
TWO_STEP = SymbolicModel(
    shown={"season": 3},
    states={"q1": State(), "q2": State(by="season")},
    let={"found": "sum_actions(chosen * q2)", "error": "reward - found"},
    updates=[
        ("q1", "everywhere", "q1 + chosen_lag1 * alpha * (found - q1 + trace * error)", "season > 0"),
        ("q2", "chosen", "q2 + alpha * error", "season > 0 and not (season > 5)"),
    ],
    logits={
        "season == 0": (
            "beta * (w * (0.7 * max_actions(q2[1]) + 0.3 * max_actions(q2[2])) + (1 - w) * q1) + stick * chosen_lag1",
            "beta * (w * (0.3 * max_actions(q2[1]) + 0.7 * max_actions(q2[2])) + (1 - w) * q1) + stick * chosen_lag1",
        ),
        "season == 1": "beta_2 * q2",
    },
    parameters=parameters(alpha=0.4, trace=0.6, beta=3.0, beta_2=2.0, w=0.4, stick=0.3),
)
LAPSE = SymbolicModel(
    states={"q": State(0.5), "k": State()},
    let={"miss": "abs(reward - sum_actions(q * softmax(beta * q)))"},
    updates=[
        ("k", "everywhere", "0.7 * k + 0.3 * miss * chosen * (option + 1)"),
        ("q", "cell", "q + alpha * chosen * (reward - q) * (1 + k)"),
        ("q", "unchosen", "q + 0.5 * alpha * (outcome - max_actions(q))"),
    ],
    probabilities="(1 - lapse) * softmax(beta * q + where(option == 1, bias, 0)) + lapse / n_actions",
    parameters=parameters(alpha=0.3, beta=2.0, lapse=0.1, bias=0.4),
)
OFFERED = SymbolicModel(
    states={"q": State(0.5)},
    updates=[("q", "chosen", "q + alpha * (reward - previous_q)")],
    logits="beta * q / n_actions",
    parameters=parameters(alpha=0.3, beta=2.0),
)
OFFERED_LAPSE = SymbolicModel(
    states={"q": State(0.5)},
    updates=[("q", "chosen", "q + alpha * (reward - q)")],
    probabilities="(1 - lapse) * softmax(beta * q) + lapse / n_actions",
    parameters=parameters(alpha=0.3, beta=2.0, lapse=0.1),
)
CELLS = SymbolicModel(
    shown=SHOWN,
    inputs=["effort"],
    states={"q": State(0.2, by="season"), "v": State(0.1, by=["alien"]), "m": State(by=["season"])},
    updates=[
        ("m", "everywhere", "m + 0.2 * (chosen - m) + 0.1 * outcome + 0.05 * v + 0.1 * previous_q"),
        ("v", "unchosen", "v + 0.1 * (outcome - reward - v) * effort", "reward < 0.9"),
        ("q", "cell", "q + alpha * (outcome - q) + 0.1 * sum_actions(m)", "effort > 0.5 and season != 2"),
        ("q", "everywhere", "q * (1 - kappa * effort_lag1) + 0.05 * q[1]"),
    ],
    logits=["beta * q + v", "beta * q + m[1] + 0.3 * season * season_lag1", "beta * q - m"],
    parameters=parameters(alpha=0.3, beta=2.0, kappa=0.1),
)
MODELS = {  # with the number of options
    "flat": (FLAT, 3),
    "two-step": (TWO_STEP, 2),
    "lapse": (LAPSE, 3),
    "offered": (OFFERED, 3),
    "offered, lapse": (OFFERED_LAPSE, 3),
    "cells": (CELLS, 3),
}


def data(
    n_actions: int, offers: bool = False, gaps: bool = True, n_sessions: int = 4, n_trials: int = 30
) -> DatasetRNN:
    """Random choices of two people; some trials are missing, some rewards unknown."""
    rng = np.random.default_rng(1)
    size = (n_sessions, n_trials + 1)
    shown = {name: rng.integers(levels, size=size) for name, levels in SHOWN.items()}
    offered = rng.random((*size, n_actions)) < (0.7 if offers else 1)
    offered[..., 0] |= ~offered.any(-1)
    if offers:
        shown |= {f"available_{k}": offered[..., k] for k in range(n_actions)}
    names = [entry for name in shown for entry in (name, f"next_{name}")]
    columns = [part for values in shown.values() for part in (values[:, :-1], values[:, 1:])]
    choice = np.where(offered, rng.random(offered.shape), -1).argmax(-1)
    one_hot = np.eye(n_actions)[choice]
    outcomes = np.where((one_hot == 1) | (rng.random(one_hot.shape) < 0.5), rng.random(one_hot.shape), np.nan)
    if gaps:
        outcomes[rng.random(outcomes.shape) < 0.1] = np.nan
        missing = rng.random(choice.shape) < 0.1
        one_hot[missing], outcomes[missing] = np.nan, np.nan
    person = np.arange(n_sessions) % 2
    tail = np.stack([*columns, rng.random((n_sessions, n_trials)), np.repeat(person[:, None], n_trials, 1)], -1)
    xs = np.concatenate([one_hot[:, :-1], outcomes[:, :-1], tail], -1)
    return DatasetRNN(xs, one_hot[:, 1:], [*names, "effort", "participant"])


def plain(model: SymbolicModel, dataset: DatasetRNN, values: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of all options, by session and trial."""
    people = dataset.participants.numpy()
    rows = {name: values[people, k] for k, name in enumerate(model.parameters)}
    found = run_symbolic(model, dataset, rows)
    n_actions = dataset.n_actions
    if dataset.columns.has("available_0"):
        first = dataset.columns.index("next_available_0")
        offered = dataset.xs.numpy()[..., first : first + 2 * n_actions : 2] > 0
        found = np.where(offered, found, 0 if model.probabilities is not None else -np.inf)
    with np.errstate(all="ignore"):
        if model.probabilities is not None:
            return np.log(found)
        top = found.max(-1, keepdims=True)
        return found - top - np.log(np.exp(found - top).sum(-1, keepdims=True))


def total(model: SymbolicModel, dataset: DatasetRNN, values: np.ndarray) -> np.ndarray:
    every = plain(model, dataset, values)
    scored = (dataset.ys.numpy() == 1) & ~np.isnan(every)
    by_session = -np.where(scored, every, 0).sum((1, 2))
    return np.bincount(dataset.participants.numpy(), by_session)


def some_values(model: SymbolicModel) -> np.ndarray:
    start = np.array(list(model.values().values()))
    return np.stack([start, start * 1.3 + 0.05])


# those whose parts are in others too take long to compile
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in ("lapse", "offered") else n for n in MODELS]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_is_plain(name):
    model, n_actions = MODELS[name]
    dataset = data(n_actions, offers=name.startswith("offered"))
    likelihood, values = GeneratedLikelihood(model, dataset, 1), some_values(model)
    expected = total(model, dataset, values)
    found = likelihood(values)
    np.testing.assert_allclose(found.nll, expected, rtol=1e-12)
    nll, gradient = likelihood.gradient(values)
    np.testing.assert_allclose(nll, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, found.gradient, rtol=1e-10, atol=1e-12)
    every = plain(model, dataset, values)
    found = likelihood.probabilities(values)
    made = ~np.isnan(found)
    modelled = ~np.isnan(every)
    assert (made | ~modelled)[dataset.scored.numpy()].all()
    np.testing.assert_allclose(found[made], np.exp(every)[made], rtol=1e-9, atol=1e-15)
    pointwise = likelihood.log_probabilities(values)
    np.testing.assert_allclose(-np.nansum(pointwise, 1), expected, rtol=1e-12)
    assert ((~np.isnan(pointwise)).sum(1) == likelihood.n_scored()).all()


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_differences(name):
    """Central differences of steps h are off by h^2 / 6 of a third derivative, and by rounding over h."""
    model, n_actions = MODELS[name]
    dataset = data(n_actions, offers=name.startswith("offered"))
    likelihood, values = GeneratedLikelihood(model, dataset, 1), some_values(model)
    found, h = likelihood(values), 1e-5
    for k in range(len(model.parameters)):
        step = h * np.eye(len(model.parameters))[k]
        above, below = likelihood(values + step), likelihood(values - step)
        slope = (total(model, dataset, values + step) - total(model, dataset, values - step)) / (2 * h)
        np.testing.assert_allclose(found.gradient[:, k], slope, rtol=1e-6, atol=1e-6)
        curve = (above.gradient - below.gradient) / (2 * h)
        np.testing.assert_allclose(found.hessian[:, k], curve, rtol=1e-6, atol=1e-6 * np.abs(found.hessian).max())


@pytest.mark.parametrize(
    ("update", "logits"),
    [
        ("q + alpha * (reward**rho - q)", "beta * q"),
        ("q + alpha * (where(reward >= 0.5, (reward - 0.5)**rho, -2 * (0.5 - reward)**rho) - q)", "beta * q"),
        ("q + alpha * (reward - q)", "beta * q**rho"),
        ("q + alpha * (reward - q)", "beta * sqrt(q) * rho"),
        ("q + alpha * abs(reward - q)**(rho + 0.5)", "beta * q"),
    ],
)
def test_powers_of_0_have_slopes(update, logits):
    """Utilities of no reward, values before anything is learned: 0 whatever the parameters are."""
    model = SymbolicModel(
        states={"q": State()},
        updates=[("q", "chosen", update)],
        logits=logits,
        parameters=parameters(alpha=0.3, beta=2.0, rho=0.7),
    )
    dataset = data(2)
    first = slice(2, 4)  # of the columns: rewards
    dataset.xs[..., first] = torch.where(dataset.xs[..., first] < 0.5, 0.0, dataset.xs[..., first])
    likelihood, values, h = GeneratedLikelihood(model, dataset, 1), some_values(model), 1e-5
    found = likelihood(values)
    np.testing.assert_allclose(found.nll, total(model, dataset, values), rtol=1e-12)
    for k in range(3):
        step = h * np.eye(3)[k]
        above, below = likelihood(values + step), likelihood(values - step)
        np.testing.assert_allclose(found.gradient[:, k], (above.nll - below.nll) / (2 * h), rtol=1e-6, atol=1e-6)
        curve = (above.gradient - below.gradient) / (2 * h)
        np.testing.assert_allclose(found.hessian[:, k], curve, rtol=1e-6, atol=1e-6 * np.abs(found.hessian).max())


def test_what_is_shown_is_that_of_the_coming_trial():
    """By hand: each season pays for one option only; the choice that follows is predicted in its own season."""
    rng = np.random.default_rng(0)
    season, choice = rng.integers(3, size=41), rng.integers(3, size=41)
    one_hot, q, expected = np.eye(3)[choice], np.full((3, 3), 0.2), []
    for t in range(40):
        q[season[t], choice[t]] += 0.5 * ((season[t] == choice[t]) - q[season[t], choice[t]])
        weights = np.exp(3 * q[season[t + 1]])
        expected.append(np.log(weights[choice[t + 1]] / weights.sum()))
    reward = np.where(one_hot == 1, (season == choice)[:, None], np.nan)
    tail = np.stack([season[:-1], season[1:], np.zeros(40)], -1)
    xs = np.concatenate([one_hot[:-1], reward[:-1], tail], -1)[None]
    dataset = DatasetRNN(xs, one_hot[None, 1:], ["season", "next_season", "participant"])
    model = SymbolicModel(
        shown={"season": 3},
        states={"q": State(0.2, by="season")},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters=parameters(alpha=0.5, beta=3.0),
    )
    found = GeneratedLikelihood(model, dataset).log_probabilities(np.array([[0.5, 3.0]]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


def test_levels_outside_the_declared_range():
    dataset = data(2)
    model = SymbolicModel(
        shown={"season": 2},
        states={"q": State(by="season")},
        updates=[("q", "chosen", "q + a * (reward - q)")],
        logits="q",
        parameters=parameters(a=0.1),
    )
    with pytest.raises(DataError, match=r"column 'season' is 2 for participant 0, session \d, trial \d.*has 2 levels"):
        GeneratedLikelihood(model, dataset)


def test_shown_inputs_need_their_pair():
    model = SymbolicModel(
        shown={"effort": None},
        states={"q": State()},
        updates=[("q", "chosen", "q + a * (reward - q)")],
        logits="q * effort",
        parameters=parameters(a=0.1),
    )
    with pytest.raises(DataError, match=r"no column 'next_effort'.*named in shown="):
        GeneratedLikelihood(model, data(2))


def test_choices_of_what_was_not_on_offer():
    dataset = data(3, offers=True, gaps=False)
    place = [dataset.columns.index(f"next_available_{k}") for k in range(3)]
    dataset.xs[1, 5, place] = 1 - dataset.ys[1, 5]
    with pytest.raises(DataError, match="available"):
        GeneratedLikelihood(OFFERED, dataset)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ("(1 - lapse) * softmax(q) + lapse", r"session 0, trial 0 are .*, which add up to 1\.2 \(with lapse=0\.2\)"),
        (("q + lapse", "1 - q - lapse"), "must lie between 0 and 1"),
        ("softmax(q) + where(option == 1, lapse, -lapse)", "must lie between 0 and 1"),
    ],
)
def test_probabilities_must_be_normalised(probabilities, message):
    model = SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "q + 2 * reward")],
        probabilities=probabilities,
        parameters={"lapse": Parameter(0, 1)},
    )
    with pytest.raises(ConfigError, match=message):
        GeneratedLikelihood(model, data(2))


def test_probabilities_are_checked_wherever_something_else_is_shown():
    dataset = data(3, gaps=False)
    for name in ("season", "next_season"):
        dataset.xs[..., dataset.columns.index(name)] = 0
    dataset.xs[3, 20, dataset.columns.index("next_season")] = 1  # one trial of the last session
    model = SymbolicModel(
        shown={"season": 3},
        states={"q": State(0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        probabilities={"season == 0": "softmax(q)", "season == 1": "3 * softmax(q)"},
        parameters={"alpha": Parameter(0, 1)},
    )
    with pytest.raises(ConfigError, match=r"after session 3, trial 20 are .*, which add up to 3 \(with alpha=0\.2\)"):
        GeneratedLikelihood(model, dataset)


def test_probabilities_are_checked_where_choices_are_scored():
    """Data are of single precision, and what stands in padding is nothing that was shown."""
    dataset = data(3, gaps=False)
    for name in ("season", "next_season"):
        dataset.xs[..., dataset.columns.index(name)] = 0.1
    dataset.ys[2, 20:], dataset.xs[2, 21:, :6] = np.nan, np.nan
    dataset.xs[2, 20:, dataset.columns.index("next_season")] = np.nan
    odds = "(1 - exp(-beta)) / (10 * season)"
    model = SymbolicModel(
        shown={"season": None},
        states={"q": State(0.5)},
        updates=[("q", "chosen", "reward")],
        probabilities=(f"1 - {odds}", f"0.75 * {odds}", f"0.25 * {odds}"),
        parameters={"beta": Parameter(0)},
    )
    GeneratedLikelihood(model, dataset)


def test_options_without_a_value_are_no_probabilities():
    model = SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "reward")],
        probabilities=("sqrt(q - 2)", "where(q > 5, beta, 0.5)", "0.5"),
        parameters={"beta": Parameter(0)},
    )
    with pytest.raises(ConfigError, match=r"session 0, trial 0 are nan, 0\.5, 0\.5, which add up to nan"):
        GeneratedLikelihood(model, data(3))
    with pytest.raises(ConfigError, match=r"in session 0 are nan, 0\.5, 0\.5"):
        model.simulate(BanditsDrift(0.2, n_actions=3), 20, {"beta": 1.0}, seed=1)


def test_simulated_probabilities_must_be_normalised():
    model = SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        probabilities="1.5 * softmax(q)",
        parameters={"alpha": Parameter(0, 1)},
    )
    with pytest.raises(ConfigError, match=r"in session 0 are 0\.75, 0\.75, which add up to 1\.5 \(with alpha=0\.3\)"):
        model.simulate(BanditsDrift(0.2), 20, {"alpha": 0.3}, seed=1)


def test_nothing_is_predicted_after_the_end():
    dataset = data(3, gaps=False)
    dataset.ys[0, -1] = np.nan  # the end: nothing is known of what comes
    dataset.xs[1, 20:, :6], dataset.ys[1, 19:] = np.nan, np.nan  # padding
    written = SymbolicModel(states={"q": State()}, updates=[("q", "chosen", "reward")], logits="q", parameters={})
    found = np.isnan(GeneratedLikelihood(written, dataset).probabilities(np.zeros((2, 0)))).any(-1)
    assert found[1, 20:].all() and found.sum() == 10  # the choice after the last trial can be predicted
    found = np.isnan(GeneratedLikelihood(FLAT, dataset).probabilities(some_values(FLAT))).any(-1)
    assert found[1, 19:].all() and found[0, -1] and found.sum() == 12  # not so if it depends on what will be shown

"""Posteriors by NUTS: against quadrature, warnings, interruptions, and what cannot be drawn."""

import dataclasses
import itertools
import math
import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from spice.errors import ConfigError, ConvergenceWarning, DataError
from spice.inference.fitting.bayes import nuts
from spice.inference.fitting.bayes.nuts import fit_nuts
from spice.inference.fitting.bayes.sampling import most_draws
from spice.inference.general.generated import GeneratedLikelihood

PRIORS = ({"prior": "beta(1, 1)"}, {"prior": "half_normal(10)"})
SURE = 4.0  # standard errors: 6 of 100,000 true values lie beyond
HAPPENS = "ignore:The draws are not to be trusted yet"  # of a few draws


@pytest.fixture(scope="module")
def two_armed(cases):
    return fit_nuts(cases.rescorla_wagner(*PRIORS), cases.example_two(), "none", seed=2, n_threads=1)


def moments_of(draws):
    """Mean and standard deviation with their standard errors, from the effective sample sizes of x and (x - mean)²."""
    from spice.inference.fitting.bayes.sampling import import_extra

    arviz = import_extra("arviz")
    squares = (draws - draws.mean()) ** 2
    n_mean, n_square = (float(arviz.ess(values, method="mean")) for values in (draws, squares))
    sd = draws.std()
    return (draws.mean(), sd / np.sqrt(n_mean)), (sd, squares.std() / np.sqrt(n_square) / (2 * sd))


def by_quadrature(cases, n=700):
    """Posterior moments of example 2 on a grid: midpoints, far beyond what the posterior reaches."""
    alpha, beta = (np.arange(n) + 0.5) / n, 25.0 * (np.arange(n) + 0.5) / n
    grid = np.stack(np.meshgrid(alpha, beta, indexing="ij"), axis=-1).reshape(-1, 2)
    likelihood = GeneratedLikelihood(cases.rescorla_wagner(), cases.example_two(), 1)
    nll, _ = likelihood.gradient(grid, np.zeros(len(grid), int))
    log_density = -nll - grid[:, 1] ** 2 / (2 * 10**2)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    mean = weights @ grid
    return mean, np.sqrt(weights @ (grid - mean) ** 2)


def test_example_two_has_the_moments_of_quadrature(cases, two_armed):
    wanted = by_quadrature(cases)
    for k, name in enumerate(("alpha", "beta")):
        (mean, mean_error), (sd, sd_error) = moments_of(two_armed.posterior[name][..., 0])
        assert abs(mean - wanted[0][k]) < SURE * mean_error, name
        assert abs(sd - wanted[1][k]) < SURE * sd_error, name


def test_what_a_fit_returns(two_armed):
    draws = two_armed.posterior["beta"].ravel()
    assert two_armed.posterior["beta"].shape == (4, 1000, 1)
    assert two_armed.parameters["beta"].iloc[0] == pytest.approx(draws.mean())
    assert two_armed.se["beta"].iloc[0] == pytest.approx(draws.std(ddof=1))
    assert two_armed.intervals["beta", "low"].iloc[0] == pytest.approx(np.quantile(draws, 0.025))
    assert two_armed.converged.all() and two_armed.reason.tolist() == ["converged"]
    assert two_armed.n_trials.tolist() == [149] and two_armed.n_divergences == 0
    assert two_armed.predict().shape == (1, 149, 2)
    assert list(two_armed.diagnostics.index) == ["alpha[0]", "beta[0]"]
    assert "Full Bayes" in two_armed.summary()


@pytest.fixture
def small(cases):
    """Short runs."""

    def fit(pooling, data=None, model=None, **settings):
        model, data = model or cases.rescorla_wagner(*PRIORS), data or cases.several()
        return fit_nuts(model, data, pooling, **({"draws": 100, "tune": 300, "chains": 2, "n_threads": 1} | settings))

    return fit


@pytest.mark.filterwarnings(HAPPENS)
def test_the_same_seed_gives_the_same_draws(small):
    one, two, other = (small("complete", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.posterior["alpha"], two.posterior["alpha"])
    assert (one.posterior["alpha"] != other.posterior["alpha"]).any()


@pytest.mark.filterwarnings(HAPPENS)
@pytest.mark.parametrize("scale", ["natural", "unconstrained"])
def test_a_population_has_its_variables(small, cases, scale):
    labels = ["ann", "bob", "cy", "dee", "eve", "flo"]
    table = pd.DataFrame({"age": [20.0, 30, 25, 41, 38, 22], "group": ["a", "b"] * 3}, index=labels)
    model = cases.rescorla_wagner({"scale": scale}, {"scale": scale})
    result = small("partial", cases.several(labels=labels), model, regressors=table)
    shapes = {name: values.shape[2:] for name, values in result.posterior.items()}
    wanted = {"alpha": (6,), "beta": (6,), "alpha_mean": (), "beta_mean": (), "alpha_sd": (), "beta_sd": ()}
    assert shapes == wanted | {"alpha_effect": (2,), "beta_effect": (2,)}
    assert list(result.parameters.index) == labels
    assert list(result.population.coefficients.index) == ["intercept", "age", "group[b]"]
    assert "effect of group[b]" in result.summary()
    typical = result.population.typical["alpha"]
    assert 0 < typical < 1
    assert {"alpha[bob]", "alpha_mean", "beta_effect[age]"} <= set(result.diagnostics.index)


@pytest.mark.filterwarnings(HAPPENS)
@pytest.mark.parametrize("prior", ["uniform(2, 3)", "uniform(1, 1.5)"])
def test_a_mean_may_lie_beyond_the_bounds_of_people(small, cases, prior):
    """Who are truncated normal; nothing but the mean's prior says where it is, if there are few of them."""
    model = cases.rescorla_wagner({"scale": "natural", "mean_prior": prior}, {})
    result = small("partial", model=model)
    low, high = (float(end) for end in prior[8:-1].split(","))
    draws = result.posterior["alpha_mean"]
    assert draws.min() > low and draws.max() < high
    assert result.posterior["alpha"].max() < 1


@pytest.mark.slow
@pytest.mark.filterwarnings(HAPPENS)
@pytest.mark.parametrize("scale", ["natural", "unconstrained"])
def test_both_parametrisations_have_the_same_posterior(small, cases, scale):
    model = cases.rescorla_wagner({"scale": scale}, {"scale": scale})
    found = [
        small("partial", model=model, draws=2000, tune=1000, chains=4, parametrisation=entry)
        for entry in ("whitened", "noncentred")
    ]
    for name in ("alpha_mean", "alpha_sd", "beta_mean", "beta_sd"):
        (one, one_error), _ = moments_of(found[0].posterior[name])
        (two, two_error), _ = moments_of(found[1].posterior[name])
        assert abs(one - two) < SURE * np.hypot(one_error, two_error), name


@pytest.mark.filterwarnings(HAPPENS)
def test_people_without_trials_have_their_prior_and_disturb_nobody(small, cases):
    data = cases.several()
    data.ys[2] = np.nan
    alone, rest = small("none", data), small("none", cases.several())
    assert alone.reason.iloc[2].startswith("no scored choices")
    assert alone.n_trials.iloc[2] == 0 and alone.nll.iloc[2] == 0
    draws = alone.posterior["alpha"][..., 2]  # beta(1, 1)
    (mean, mean_error), _ = moments_of(draws)
    assert abs(mean - 0.5) < SURE * mean_error
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(alone.posterior["alpha"][..., others], rest.posterior["alpha"][..., others])


@pytest.mark.filterwarnings(HAPPENS)
@pytest.mark.parametrize("pooling", ["none", "partial", "complete"])
def test_people_with_little_data_are_named(small, cases, pooling):
    data = cases.several()
    data.ys[1, 1:] = np.nan
    data.ys[4] = data.xs[4, :, :2] = torch.tensor([1.0, 0.0])
    result = small(pooling, data)
    own = pooling != "complete"  # parameters of everybody's are everybody's choices'
    assert result.reason.str.contains("there is one scored choice").tolist() == [k == 1 and own for k in range(6)]
    assert result.reason.str.contains("only one option was").tolist() == [k == 4 and own for k in range(6)]


@pytest.mark.filterwarnings(HAPPENS)
@pytest.mark.parametrize("pooling, whose", [("none", "prior's"), ("partial", "population's"), ("complete", "others'")])
def test_whose_draws_people_without_trials_have(small, cases, pooling, whose):
    data = cases.several()
    data.ys[2] = np.nan
    result = small(pooling, data)
    assert result.reason.iloc[2].startswith(f"no scored choices: the draws are the {whose}")
    assert not result.reason.drop(result.reason.index[2]).str.contains("no scored choices").any()


def test_few_draws_are_told(small):
    with pytest.warns(ConvergenceWarning, match=r"effective sample size is below 400 for .*Raise\s+draws to some"):
        result = small("complete", draws=20)
    assert not result.converged.all()
    assert "few effective draws" in result.reason.iloc[0]


def test_problems_say_what_to_do(two_armed):
    table = two_armed.diagnostics.copy()
    table.loc["alpha[0]", "r_hat"] = 1.3
    diverging = two_armed.statistics["diverging"].copy()
    diverging[0, :7] = True
    statistics = two_armed.statistics | {"diverging": diverging}
    bad = dataclasses.replace(two_armed, diagnostics=table, statistics=statistics, n_divergences=7)
    first, second = bad.problems()
    assert first.startswith("R-hat is above 1.01 for alpha[0] (1.30)") and "Raise tune and draws" in first
    assert second.startswith("7 of 4,000 draws diverged") and "target_accept from 0.8 to 0.95" in second
    with pytest.warns(ConvergenceWarning, match="(?s)alpha.*diverged"):
        bad.warn()
    assert two_armed.problems() == []


def test_divergences_are_counted(small, cases):
    """A likelihood that is no number beyond a wall: trajectories that meet it diverge."""

    class Wall(cases.Bowls):
        def gradient(self, values, group=None):
            nll, gradient = super().gradient(values, group)
            return np.where(values[:, 0] > 0.55, np.inf, nll), gradient

    with pytest.warns(ConvergenceWarning, match="draws diverged"):
        result = small("none", cases.several(1), likelihood=Wall(["alpha", "beta"], [[0.5, 2.0]], [0.1, 0.5]))
    assert result.n_divergences == result.statistics["diverging"].sum() > 0
    assert result.posterior["alpha"].max() <= 0.55


@pytest.mark.filterwarnings(HAPPENS)
def test_an_interrupt_keeps_finished_draws(small, cases):
    class Stopped(cases.Bowls):
        calls = itertools.count(1)  # each number is had by one of the two threads

        def gradient(self, values, group=None):
            time.sleep(1e-3)  # so that both chains get on
            if next(self.calls) == 1500:  # long after the 20 draws of tuning, of a few steps each
                os.kill(os.getpid(), signal.SIGINT)
            return super().gradient(values, group)

    likelihood = Stopped(["alpha", "beta"], [[0.5, 2.0]], [0.1, 0.5])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    try:
        with pytest.warns(ConvergenceWarning, match=r"sampling was interrupted: \d+ draws of 2 chains are kept"):
            result = small("none", cases.several(1), likelihood=likelihood, draws=100_000, tune=20, n_threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 1 <= result.posterior["alpha"].shape[1] < 100_000
    assert np.isfinite(result.posterior["alpha"]).all()


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ((4000, 205, 0, 0), ([0], 4000)),
        ((1047, 4000, 4000, 0), ([1, 2], 4000)),
        ((500, 480, 490, 470), ([0, 1, 2, 3], 470)),
        ((0, 100, 50), ([1, 2], 50)),  # as many draws, of more chains
        ((0, 0), ([0, 1], 0)),
    ],
)
def test_an_interrupt_keeps_as_many_draws_as_chains_of_one_length_can(lengths, kept):
    assert most_draws(lengths) == kept


@pytest.mark.filterwarnings(HAPPENS)
def test_an_interrupt_keeps_a_chain_that_is_done(small, cases):
    class Counted(cases.Bowls):
        last = math.inf

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.calls = itertools.count(1)

        def gradient(self, values, group=None):
            time.sleep(5e-4)  # so that the interrupt comes in time
            if next(self.calls) == self.last:
                os.kill(os.getpid(), signal.SIGINT)
            return super().gradient(values, group)

    def draw(likelihood):
        return small("none", cases.several(1), likelihood=likelihood, draws=300, tune=50, n_threads=1, chains=2)

    whole, stopped = (Counted(["alpha", "beta"], [[0.5, 2.0]], [0.1, 0.5]) for _ in range(2))
    draw(whole)
    stopped.last = int(0.7 * next(whole.calls))  # within the second chain
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.warns(ConvergenceWarning, match="sampling was interrupted: 300 draws of 1 chain are kept"):
            result = draw(stopped)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.posterior["alpha"].shape[:2] == (1, 300)


@pytest.mark.filterwarnings(HAPPENS)
def test_an_interrupt_keeps_people_who_are_done(small, monkeypatch):
    done, drawn = [], nuts.sample

    def until_the_third(density, settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(density)
        return drawn(density, settings)

    monkeypatch.setattr(nuts, "sample", until_the_third)
    with pytest.warns(ConvergenceWarning, match="2 of 6 people are kept"):
        result = small("none")
    assert result.parameters.notna().all(axis=1).tolist() == [True, True, False, False, False, False]
    assert result.reason.iloc[3] == "interrupted before there were draws"
    assert not result.converged.iloc[3] and np.isnan(result.nll.iloc[3])


def test_without_any_draw_an_interrupt_is_one(small, monkeypatch):
    def stop(density, settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(nuts, "sample", stop)
    with pytest.raises(KeyboardInterrupt):
        small("none")


def test_a_start_without_slopes_is_named(small, cases):
    class Kinked(cases.Bowls):
        def gradient(self, values, group=None):
            nll, gradient = super().gradient(values, group)
            return nll, np.where((np.asarray(group) == 1)[:, None] & [False, True], np.nan, gradient)

    likelihood = Kinked(["alpha", "beta"], [[0.5, 2.0]] * 3, [0.1, 0.5])
    with pytest.raises(DataError, match=r"not finite at the start.*participant bob: its slope by beta, with alpha = "):
        small("none", cases.several(3, labels=["ann", "bob", "cy"]), likelihood=likelihood)


def test_a_start_without_likelihood_names_person_choice_and_values(small, cases):
    class Broken(cases.Bowls):
        def gradient(self, values, group=None):
            nll, gradient = super().gradient(values, group)
            return np.where(group == 1, np.inf, nll), gradient

        def log_probabilities(self, values, group=None):
            return np.array([[-0.5, -0.7, -np.inf, np.nan]])

    likelihood = Broken(["alpha", "beta"], [[0.5, 2.0]] * 3, [0.1, 0.5])
    with pytest.raises(
        DataError, match=r"not finite at the start.*participant bob, first in session 1, trial 3, with alpha = 0"
    ):
        small("none", cases.several(3, labels=["ann", "bob", "cy"]), likelihood=likelihood)


def test_the_search_for_a_start_begins_where_it_is_told(small, cases, monkeypatch):
    begun = []

    def search(likelihood, scale, starts, regressors, prior):
        begun.append(np.stack(starts))
        raise KeyboardInterrupt

    monkeypatch.setattr(nuts, "find_population", search)
    data, alpha = cases.several(3, labels=["ann", "bob", "cy"]), np.array([0.1, 0.5, 0.9])
    for start in (None, {"alpha": alpha, "beta": 2.0}):
        with pytest.raises(KeyboardInterrupt):
            small("partial", data, start=start)
    theta = np.log(alpha / (1 - alpha))
    np.testing.assert_allclose(begun[1][0], [[theta.mean(), np.log(2.0)], [theta.std(), 0.5]], rtol=1e-12, atol=1e-12)
    assert (begun[0][0] != begun[1][0]).any() and [len(starts) for starts in begun] == [2, 1]
    with pytest.raises(ConfigError, match='start is of a population: it needs pooling="partial"'):
        small("none", data, start={"alpha": 0.5, "beta": 2.0})
    with pytest.raises(ConfigError, match="'beta' is missing"):
        small("partial", data, start={"alpha": 0.5})


def test_settings_that_cannot_be_are_listed(small):
    with pytest.raises(ConfigError) as error:
        small("some", draws=0, target_accept=1.5, parametrisation="centred", regressors=pd.DataFrame())
    for part in (
        "pooling must be",
        "draws must be",
        "target_accept must lie",
        "parametrisation must",
        "regressors are",
    ):
        assert part in str(error.value)


def test_the_call_that_fits_knows_the_settings(cases):
    from inspect import signature

    from spice.inference.fitting.front import OWN, fit

    assert set(OWN["nuts"]) == set(signature(fit_nuts).parameters) - {"model", "dataset", "pooling"}
    with pytest.raises(ConfigError, match=r"no setting 'draw' \(did you mean 'draws'\?\)"):
        fit(cases.rescorla_wagner(), cases.several(), method="nuts", draw=5)


@pytest.mark.parametrize("name", ["nutpie", "arviz"])
def test_a_missing_extra_is_named(monkeypatch, name):
    from spice.inference.fitting.bayes.sampling import import_extra

    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf'{name}.*pip install "spice\[bayes\]"'):
        import_extra(name)


def test_a_home_folder_that_cannot_be_written_to(monkeypatch):
    from spice.inference.fitting.bayes.sampling import import_extra

    def fail(name):
        raise PermissionError(13, "Permission denied", "/nowhere")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ConfigError, match="posteriors need arviz.*'/nowhere'.*a home folder that may be written to"):
        import_extra("arviz")

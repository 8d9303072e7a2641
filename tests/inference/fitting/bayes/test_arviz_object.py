"""Posteriors as ArviZ objects, of both of its forms; log-likelihoods, predictions and draws from the prior."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray
from scipy import stats

from spice.errors import ConfigError, ConvergenceWarning
from spice.inference.fitting.bayes.arviz_object import from_groups
from spice.inference.fitting.bayes.nuts import fit_nuts
from spice.inference.fitting.bayes.predictive import log_likelihoods, prior_draws, thinned
from spice.inference.fitting.bayes.sampling import import_extra
from spice.resources.dataset import DatasetRNN

LABELS = ["ann", "bob", "cy", "dee", "eve", "flo"]
GROUPS = ["posterior", "sample_stats", "log_likelihood", "posterior_predictive", "prior", "prior_predictive"]
HAPPENS = "ignore:The draws are not to be trusted yet"
SURE = 4.0  # standard errors


@pytest.fixture(scope="module")
def population(cases):
    table = pd.DataFrame({"age": [20.0, 30, 25, 41, 38, 22]}, index=LABELS)
    data = cases.several(labels=LABELS)
    data.ys[1, 25:] = np.nan  # bob made fewer choices
    model = cases.rescorla_wagner({"scale": "natural"})
    with pytest.warns(UserWarning, match="not to be trusted"):
        return fit_nuts(model, data, "partial", draws=120, tune=300, chains=2, n_threads=1, regressors=table)


@pytest.fixture(scope="module")
def single(cases):
    priors = ({"prior": "beta(1, 1)"}, {"prior": "half_normal(10)"})
    return fit_nuts(
        cases.rescorla_wagner(*priors), cases.example_two(), "complete", draws=600, tune=400, chains=4, n_threads=1
    )


def check(data, result):
    """Whatever ArviZ made of it."""
    groups = {name.strip("/").split("/")[-1] for name in (data.groups() if callable(data.groups) else data.groups)}
    assert {*GROUPS, "observed_data", "constant_data"} <= groups
    posterior = data["posterior"]
    assert posterior["alpha"].dims == ("chain", "draw", "participant")
    assert posterior["alpha_mean"].dims == ("chain", "draw")
    assert posterior["alpha_effect"].dims == ("chain", "draw", "regressor")
    assert posterior["participant"].values.tolist() == LABELS
    assert posterior["regressor"].values.tolist() == ["age"]
    np.testing.assert_array_equal(posterior["beta"].values, result.posterior["beta"])
    assert data["sample_stats"]["diverging"].dims == ("chain", "draw")
    assert data["prior"]["alpha"].dims == ("chain", "draw", "participant")
    for group in ("log_likelihood", "posterior_predictive", "prior_predictive"):
        assert data[group]["choice"].dims == ("chain", "draw", "trial"), group
        assert data[group]["choice"].sizes["trial"] == result.n_trials.sum(), group
    assert data["observed_data"]["choice"].dims == ("trial",)
    assert data["constant_data"]["choice_participant"].dims == ("trial",)


def test_the_installed_arviz_takes_it(population):
    data = population.to_arviz(predictive=20)
    check(data, population)
    who = data["constant_data"]["choice_participant"].values
    assert {label: int((who == label).sum()) for label in LABELS} == dict(population.n_trials)
    session, trial = (data["constant_data"][f"choice_{name}"].values for name in ("session", "trial"))
    targets = population.dataset.ys.numpy()[session, trial - 1]
    np.testing.assert_array_equal(data["observed_data"]["choice"].values, targets.argmax(-1))


def new_from_dict(data, *, name=None, sample_dims=None, save_warmup=None, coords=None, dims=None, attrs=None):
    """As ArviZ 1.x: one dictionary of groups; groups of data have no sample dimensions."""
    found = {}
    for group, variables in data.items():
        first = [] if "data" in group else list(sample_dims or ["chain", "draw"])
        arrays = {}
        for variable, values in variables.items():
            axes = first + list((dims or {}).get(variable, []))
            axes += [f"{variable}_dim_{k}" for k in range(np.ndim(values) - len(axes))]
            own = {
                axis: (coords or {}).get(axis, np.arange(size)) for axis, size in zip(axes, values.shape, strict=True)
            }
            arrays[variable] = xarray.DataArray(values, dims=axes, coords=own)
        found[f"/{group}"] = xarray.Dataset(arrays)
    return xarray.DataTree.from_dict(found)


def old_from_dict(posterior=None, *, coords=None, dims=None, attrs=None, **groups):
    """As ArviZ 0.x: a keyword for each group."""
    return new_from_dict({"posterior": posterior} | groups, coords=coords, dims=dims)


@pytest.mark.filterwarnings(HAPPENS)
def test_labels_that_are_numbers_become_text(cases):
    """Coordinates are text, as nutpie wants them: numbers would be taken for positions."""
    result = fit_nuts(cases.rescorla_wagner(), cases.several(labels=[30, 10, 20, 5, 7, 1]), draws=10, tune=20, chains=1)
    assert result.parameters.index.tolist() == [30, 10, 20, 5, 7, 1]
    data = result.to_arviz(predictive=2)
    assert data["posterior"]["participant"].values.tolist() == ["30", "10", "20", "5", "7", "1"]
    assert set(data["constant_data"]["choice_participant"].values.tolist()) == {"30", "10", "20", "5", "7", "1"}


@pytest.mark.parametrize("from_dict", [new_from_dict, old_from_dict])
def test_both_forms_of_from_dict_get_what_they_take(population, monkeypatch, from_dict):
    from spice.inference.fitting.bayes import arviz_object

    monkeypatch.setattr(arviz_object, "import_extra", lambda name: SimpleNamespace(from_dict=from_dict))
    check(population.to_arviz(predictive=20), population)


def test_the_wrong_form_would_make_wrong_variables():
    """Why there is a wrapper: ArviZ 0.x takes a dictionary of groups for one of variables, and says nothing."""
    groups = {"posterior": {"alpha": np.zeros((2, 5))}}
    assert list(from_groups(groups, {}, {})["posterior"].data_vars) == ["alpha"]
    arviz = import_extra("arviz")
    if "posterior" not in inspect.signature(arviz.from_dict).parameters:
        pytest.skip("this ArviZ takes a dictionary of groups")
    assert list(arviz.from_dict(groups)["posterior"].data_vars) == ["posterior"]


def test_log_likelihoods_are_those_of_the_draws(population):
    found = log_likelihoods(population, 1e8)
    assert found.shape == (2, 120, population.n_trials.sum()) and found.dtype == np.float32
    values = np.column_stack([population.posterior[name][1, 77] for name in ("alpha", "beta")])
    nll = population.likelihood.gradient(values)[0]
    ends = np.cumsum(population.n_trials)[:-1]
    sums = [-part.sum(dtype=float) for part in np.split(found[1, 77], ends)]
    np.testing.assert_allclose(sums, nll, rtol=1e-6)  # 4-byte numbers


def test_memory_is_bounded(population):
    n = int(population.n_trials.sum())
    most = 4 * 2 * n * 41
    found = log_likelihoods(population, most)
    assert found.nbytes <= most and found.shape[1] == 40  # every third draw: 41 do not divide 120
    np.testing.assert_array_equal(found, log_likelihoods(population, 1e8)[:, ::3])
    with pytest.raises(ConfigError, match="need more memory: set memory="):
        thinned(2, 120, n, 4, 1000)


def test_predictions_are_one_step_ahead_of_the_observed_history(single):
    """The share of predictions that are the observed choice is that choice's probability, draw by draw."""
    data = single.to_arviz(predictive=400)
    ahead, observed = data["posterior_predictive"]["choice"].values, data["observed_data"]["choice"].values
    places = np.arange(0, 600, 600 // ahead.shape[1])
    right = np.exp(data["log_likelihood"]["choice"].values[:, places].astype(float))
    hits = (ahead == observed).sum()
    assert abs(hits - right.sum()) < SURE * np.sqrt((right * (1 - right)).sum())
    each = (ahead == observed).sum((0, 1)) - right.sum((0, 1))
    errors = np.sqrt((right * (1 - right)).sum((0, 1)))
    assert (np.abs(each) < 5 * errors).all()  # 149 choices


def test_draws_from_the_prior_have_its_distribution(population):
    regressors = population.design - population.design.mean(0)
    found = prior_draws(population, 4000, np.random.default_rng(1), regressors)
    for name, wanted in {
        "alpha_mean": stats.uniform(0, 1),
        "alpha_sd": stats.halfnorm(0, 0.25),
        "beta_mean": stats.norm(np.log(2), 1.25),
        "beta_sd": stats.halfnorm(0, 1),
        "beta_effect": stats.norm(0, 1 / regressors.std()),
    }.items():
        assert stats.kstest(found[name].ravel(), wanted.cdf).pvalue > 1e-3, name
    assert found["alpha"].shape == (1, 4000, 6)
    theta = np.log(found["beta"][0])
    around = found["beta_mean"][0][:, None] + found["beta_effect"][0] @ regressors.T
    z = (theta - around) / found["beta_sd"][0][:, None]
    assert stats.kstest(z[:, 0], stats.norm.cdf).pvalue > 1e-3
    assert ((found["alpha"] >= 0) & (found["alpha"] <= 1)).all()


def test_loo_and_waic_agree(single):
    loo, waic = single.loo(), single.waic()
    assert list(loo.index) == ["elpd_loo", "se", "p_loo", "n_bad"]
    assert 1 < loo["p_loo"] < 4  # two parameters
    assert loo["elpd_loo"] == pytest.approx(waic["elpd_waic"], abs=0.3)
    assert waic["p_waic"] == pytest.approx(loo["p_loo"], abs=0.3)
    own = log_likelihoods(single, 1e8).reshape(-1, 149).astype(float)
    wanted = np.log(np.exp(own).mean(0)) - own.var(0, ddof=1)
    assert waic["elpd_waic"] == pytest.approx(wanted.sum(), rel=1e-6)
    assert waic["se"] == pytest.approx(np.sqrt(149 * wanted.var()), rel=1e-5)
    each, parts = single.loo(pointwise=True), single.waic(pointwise=True)
    np.testing.assert_allclose(parts["elpd_waic"], wanted, rtol=1e-5)
    np.testing.assert_allclose(each["p_loo"], np.log(np.exp(own).mean(0)) - each["elpd_loo"], rtol=0, atol=1e-9)
    sums = [each["elpd_loo"].sum(), np.sqrt(149 * each["elpd_loo"].var(ddof=0)), each["p_loo"].sum()]
    np.testing.assert_allclose(loo[["elpd_loo", "se", "p_loo"]], sums, rtol=1e-12)


def test_leaving_one_out_is_that_of_quadrature(single):
    """Sum over choices of log p(choice | the others), by a product rule over both parameters."""
    golden = json.loads((Path(__file__).parents[2] / "example_two.json").read_text())["posterior"]["elpd_loo"]
    without = np.exp(-log_likelihoods(single, 1e8).reshape(-1, 149).astype(float))
    influence = (without / without.mean(0)).sum(1)  # of a draw, to first order
    error = influence.std() / np.sqrt(single.diagnostics["ess_mean"].min())
    assert error < 0.1
    assert abs(single.loo()["elpd_loo"] - golden) < 4 * error


def test_pointwise_values_name_their_choices(population):
    each = population.waic(pointwise=True)
    assert each.groupby("participant").size().to_dict() == dict(population.n_trials)
    assert set(each.loc[each["participant"] == "bob", "session"]) == {1}
    assert each["trial"].min() == 1 and not each.duplicated(["session", "trial"]).any()


def test_large_pareto_k_are_counted_and_warned_of(single, monkeypatch):
    from spice.inference.fitting.bayes import pointwise

    def loo(data, **settings):
        k = np.zeros(data["log_likelihood"]["choice"].shape[-1])
        k[[3, 7]] = 0.71
        return SimpleNamespace(elpd_i=np.full(len(k), -0.5), pareto_k=k, good_k=0.7)  # as ArviZ 1.x names them

    monkeypatch.setattr(pointwise, "import_extra", lambda name: SimpleNamespace(loo=loo))
    with pytest.warns(ConvergenceWarning, match=r"above 0.70 for 2 of 149 choices: .* Draw more") as caught:
        assert single.loo()["n_bad"] == 2
    assert caught[0].filename == __file__


def test_choices_that_no_parameter_changes_need_no_tail(cases):
    """The first choice of a session from equal values: probability one half in every draw."""
    data = cases.several()
    xs, ys = data.xs.numpy(), data.ys.numpy()
    xs = np.concatenate([np.full((6, 1, 5), np.nan), xs], axis=1)
    xs[:, 0, -1] = np.arange(6)
    first = np.nan_to_num(xs[:, 1:2, :2])
    padded = DatasetRNN(xs, np.concatenate([first, ys], axis=1))
    model = cases.rescorla_wagner({"prior": "beta(2, 2)"}, {"prior": "gamma(3, 1)"})
    result = fit_nuts(model, padded, "complete", draws=600, tune=400, chains=4, n_threads=1)
    loo = result.loo(pointwise=True)
    choice = np.flatnonzero(result.to_arviz(predictive=0)["constant_data"]["choice_trial"].values == 1)
    assert len(choice) == 6
    np.testing.assert_array_equal(loo["pareto_k"].to_numpy()[choice], 0.0)
    np.testing.assert_allclose(loo["elpd_loo"].to_numpy()[choice], -np.log(2), rtol=1e-7)  # of numbers of 4 bytes
    assert result.loo()["n_bad"] == 0

"""Mistakes that users make with fits: one clear error each, none from inside a library."""

import pickle
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from spice.equations import Parameter
from spice.errors import ConfigError, ConvergenceWarning, DataError, IdentificationWarning
from spice.inference import fit, objective
from spice.precoded import RescorlaWagnerRNN, rescorla_wagner, task_sets
from spice.resources.environments import BanditsDrift
from spice.resources.splits import split_by_block
from spice.utils.convert_dataset import convert_dataset


@pytest.fixture(scope="module")
def data(tools, people):
    return tools.dataset_of(people[3:6], ["anna", "ben", "cleo"])


# ---------------------------------------------------------------------- what is given in place of model and data


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RescorlaWagnerRNN, "must be a SymbolicModel or a CompiledModel, not the class RescorlaWagnerRNN."),
        (rescorla_wagner, "not an object of function: call it, rescorla_wagner()."),
    ],
)
def test_no_model(data, model, message):
    for call in (fit, objective):
        with pytest.raises(ConfigError) as caught:
            call(model, data)
        assert message in str(caught.value)


def test_an_estimator_in_place_of_its_model(data):
    from spice.estimator import SpiceEstimator

    with pytest.raises(ConfigError, match=r"not SpiceEstimator\(\): give its symbolic_model\(\)"):
        fit(SpiceEstimator(), data)


def test_model_and_data_swapped(tools, data):
    model = tools.rescorla_wagner()
    for call in (fit, objective):
        order = rf"first argument of {call.__name__} is the model and the second the dataset, "
        order += rf"{call.__name__}\(model, dataset\), but a model was given as the second"
        for first in (data, pd.DataFrame({"choice": [1]})):
            with pytest.raises(ConfigError, match=order + r": are they swapped\?$"):
                call(first, model)
        with pytest.raises(ConfigError, match=order + r"\.$"):
            call(model, model)


def test_methods_in_capitals(tools, data):
    with pytest.raises(ConfigError, match=r"no method 'MAP' \(did you mean 'map'\?\)"):
        fit(tools.rescorla_wagner(), data, "MAP")


@pytest.mark.parametrize("table", ["choices.csv", pd.DataFrame({"choice": [1]})])
def test_tables_in_place_of_data(tools, table):
    with pytest.raises(DataError, match="fit needs a DatasetRNN: files and tables are read by spice.utils.convert"):
        fit(tools.rescorla_wagner(), table)


@pytest.mark.parametrize("method", ["mle", "map", "em", "nuts"])
def test_nothing_to_predict(tools, data, method):
    nothing = data.replace(data.xs, torch.full_like(data.ys, torch.nan))
    with pytest.raises(DataError, match="there is no choice to predict"):
        fit(tools.rescorla_wagner(), nothing, method)


@pytest.mark.filterwarnings("ignore:The draws are not to be trusted")  # so few
def test_a_population_of_one(tools, data):
    ys = data.ys.clone()
    ys[1:] = np.nan
    with pytest.warns(IdentificationWarning, match='one participant with choices.* use pooling="none"'):
        fit(tools.rescorla_wagner(), data.replace(data.xs, ys), "nuts", "partial", draws=20, tune=100)


def test_a_forgotten_task(tools, data):
    values = {"alpha": 0.3, "beta": 3.0}
    for call in (
        lambda task: fit(tools.rescorla_wagner(), data).simulate(task, 2),
        lambda task: tools.rescorla_wagner().simulate(task, 100, values),
        lambda task: task_sets().simulate(task, 100, {}),
    ):
        for task, given in ((100, "100"), (values, str(values)), (BanditsDrift, "the class BanditsDrift")):
            with pytest.raises(ConfigError, match=re.escape(f"e.g. BanditsDrift(sigma=0.2), not {given}.")) as caught:
                call(task)
            assert str(caught.value).startswith("the first argument of simulate is the task: environment must be a")


# ---------------------------------------------------------------------- held-out data whose codes mean something else


@pytest.fixture(scope="module")
def labelled():
    """A table of labels; a fit that reads choices, cues and blocks; and how to convert other tables like it."""
    rng = np.random.default_rng(0)
    n = 2 * 3 * 40
    table = pd.DataFrame(
        {
            "who": np.repeat(["x", "y"], n // 2),
            "block": np.tile(np.repeat(["day 1", "day 2", "day 3"], 40), 2),
            "choice": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
            "points": rng.random(n).round(),
            "cue": rng.choice(["k", "l", "m"], n),
        }
    )
    table["trial"] = table.groupby(["who", "block"]).cumcount()
    model = rescorla_wagner()
    logits = ("beta * q", "beta * q + bias", "beta * q + tilt * where(cue == 1, 1, 0) + late * block")
    free = {name: Parameter(prior="normal(0, 1)") for name in ("bias", "tilt", "late")}
    model = model.replace(logits=logits, parameters=model.parameters | free, shown={"cue": 3}, inputs=["block"])

    def convert(table, **others):
        columns = {"participant": "who", "block": "block", "trial": "trial", "choice": "choice", "reward": "points"}
        return convert_dataset(table, **columns, shown=["cue"], **others)

    train, test = split_by_block(convert(table), ["day 3"])
    return SimpleNamespace(table=table, convert=convert, test=test, result=fit(model, train, "map", n_threads=1))


def test_held_out_sessions_keep_their_codes(labelled):
    found, labels = labelled.result.log_likelihood(labelled.test), labelled.test.labels
    assert labels["block"] == ("day 1", "day 2", "day 3") and labels["choice"] == ("a", "b", "c")
    probabilities = labelled.result.predict(labelled.test)
    chosen = (probabilities * labelled.test.ys.nan_to_num(0.0).numpy()).sum(-1)
    np.testing.assert_allclose(found, np.log(chosen[labelled.test.scored.numpy()]).reshape(2, -1).sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"choice": {"c": "Z"}},
            "labels of 'choice' are ['Z', 'a', 'b'], the model was fitted to ['a', 'b', 'c'] (con",
        ),
        ({"choice": {"c": "b"}}, "the data have 2 actions, the model has 3."),
        ({"cue": {"k": "l"}}, "the labels of 'cue' are ['l', 'm'], the model was fitted to ['k', 'l', 'm'] (convert"),
        ({"block": {"day 3": "day 4"}}, "the labels of 'block' are ['day 1', 'day 2', 'day 4'], the model was fitted"),
    ],
)
def test_held_out_tables_with_other_labels(labelled, change, message):
    other = labelled.convert(labelled.table.replace(change))
    for call in (labelled.result.predict, labelled.result.log_likelihood):
        with pytest.raises(DataError) as caught:
            call(other)
        assert message in str(caught.value)


def test_what_a_model_does_not_read_may_be_labelled_otherwise(labelled):
    plain = fit(rescorla_wagner(), labelled.convert(labelled.table), "map", n_threads=1)
    other = labelled.convert(labelled.table.replace({"cue": {"k": "z"}, "block": {"day 3": "day 0"}}))
    np.testing.assert_allclose(plain.log_likelihood(other), plain.log_likelihood(), rtol=1e-12)
    with pytest.raises(DataError, match=r"convert with choices=\['a', 'b', 'c'\]"):
        plain.predict(labelled.convert(labelled.table, choices=["c", "b", "a"]))


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"covariance": "diag"}, "covariance must be 'full' or 'diagonal', not 'diag'"),
        ({"tolerance": -1}, "tolerance must be a number above 0, not -1"),
        ({"tolerance": "1e-4"}, "tolerance must be a number above 0"),
        ({"max_iterations": 0}, "max_iterations must be a whole number from 1 on, not 0"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"skewness": "yes"}, "skewness must be True or False, not 'yes'"),
    ],
)
def test_settings_of_em(tools, data, settings, message):
    with pytest.raises(ConfigError) as caught:
        fit(tools.rescorla_wagner(), data, "em", **settings)
    assert str(caught.value).startswith("EM cannot begin: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"alpha": 0.3}, "'beta' is missing"),
        ([0.3, 1.0, 2.0], "it needs 2 values, one for each of alpha, beta"),
        ([1.5, 2.0], "alpha is 1.5 for participant"),
    ],
)
def test_starts_of_em(tools, data, start, message):
    with pytest.raises(ConfigError, match=f"The start cannot be used: {message}"):
        fit(tools.rescorla_wagner(), data, "em", start=start)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"draws": 1}, "there are 4 of 1"), ({"draws": 3}, "there are 4 of 3"), ({"chains": 1}, "there is one of 500")],
)
def test_too_little_for_diagnostics(tools, data, settings, told, caplog):
    settings = {"draws": 500, "tune": 100} | settings
    with pytest.warns(ConvergenceWarning, match=f"R-hat is unknown.*{told}") as caught:
        result = fit(tools.rescorla_wagner(), data, "nuts", "complete", **settings)
    assert not result.converged.any() and result.reason.str.startswith("R-hat unknown").all()
    assert not caplog.records  # of ArviZ
    assert [warning.filename for warning in caught] == [__file__]


def test_warnings_of_em_point_to_the_call(tools, people):
    data = tools.dataset_of(people)
    with pytest.warns(ConvergenceWarning, match="EM did not converge") as caught:
        fit(tools.rescorla_wagner(), data, "em", max_iterations=1, importance=False)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("participant", [None, "ben"])
def test_objectives_are_pickled(tools, data, participant):
    """Optimisers of other processes get them, compiled or not."""
    fresh = objective(tools.rescorla_wagner(), data, participant)
    again = pickle.loads(pickle.dumps(fresh))
    assert minimize(fresh, fresh.start, jac=True).fun == minimize(again, again.start, jac=True).fun
    used = pickle.loads(pickle.dumps(fresh))
    np.testing.assert_array_equal(used.hessian(used.start), fresh.hessian(fresh.start))

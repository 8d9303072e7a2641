"""Reports of recovery: what they count, against counts by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from spice.inference import CanonicalForm, Results
from spice.inference.recovery import RecoveryReport, share
from spice.inference.results import COLUMNS
from spice.inference.uncertainty import Estimate


def results_of(parameters, terms=(), unread=()):
    """A model with these parameters (value, half-width of the interval) and terms (module, term)."""
    estimates = {name: Estimate(v, w / 2, v - w, v + w) for name, (v, w) in parameters.items()}
    table = pd.DataFrame([["", m, t, *[1.0] * (len(COLUMNS) - 3)] for m, t in terms], columns=COLUMNS)
    return Results({}, CanonicalForm(estimates, {}, list(unread)), table, table[:0])


@pytest.fixture(scope="module")
def report():
    """Two people, three data sets; ben does not forget."""
    start = {"initial_value": (0.5, 0.1)}
    truth = {
        "anna": results_of(
            {"beta": (3.0, 1), "alpha": (0.3, 1), "forgetting": (0.2, 1)} | start, [("m", "x"), ("m", "r")]
        ),
        "ben": results_of({"beta": (5.0, 1), "alpha": (0.6, 1)} | start, [("m", "x")]),
    }
    anna = [
        {"beta": (3.5, 0.6), "alpha": (0.2, 0.05), "forgetting": (0.25, 0.1)} | start,
        {"beta": (2.5, 0.6), "alpha": (0.4, 0.2)} | start,
        {"beta": (3.3, 0.2), "alpha": (0.3, 0.1), "forgetting": (0.2, np.nan)},
    ]
    ben = [
        {"beta": (5.5, 1.0), "alpha": (0.5, 0.2)} | start,
        {"beta": (4.5, 1.0), "alpha": (0.7, 0.2), "bias": (0.1, 0.2)} | start,
        {},
    ]
    terms = [([("m", "x"), ("m", "r")], [("m", "x")]), ([("m", "x")], [("m", "x"), ("m", "r")]), ([("m", "x")], [])]
    found = [
        {"anna": results_of(a, t[0]), "ben": results_of(b, t[1])} for a, b, t in zip(anna, ben, terms, strict=True)
    ]
    return RecoveryReport.of(truth, found)


def test_structures_exactly_right(report):
    """Whatever becomes of the initial value."""
    assert (report.n_data_sets, report.n_models, report.n_right) == (3, 6, 3)
    interval = binomtest(3, 6).proportion_ci(method="wilson")
    assert report.exactly_right == (0.5, interval.low, interval.high)


def test_a_state_that_cannot_be_read_is_not_right():
    truth = {0: results_of({"beta": (3.0, 1)})}
    assert RecoveryReport.of(truth, [{0: results_of({"beta": (3.0, 1)}, unread=["x"])}]).n_right == 0


def test_pairs_of_true_and_recovered(report):
    table = report.estimates.set_index(["data_set", "participant", "term"])
    assert table.loc[0, "anna", "beta"].tolist() == [3.0, 3.5, 0.3, 2.9, 4.1, True]
    missed = table.loc[1, "anna", "forgetting"]
    assert missed["true"] == 0.2 and missed[["recovered", "se", "ci_low", "ci_high", "covered"]].isna().all()
    false = table.loc[1, "ben", "bias"]
    assert np.isnan(false["true"]) and false["recovered"] == 0.1 and false[["covered"]].isna().all()
    assert table.loc[2, "anna", "forgetting"][["covered"]].isna().all()  # it has no interval
    assert not table.loc[0, "anna", "alpha"]["covered"]
    assert len(report.estimates) == 4 + 3 + 4 + 4 + 4 + 3


def test_detection(report):
    table = report.detection.set_index(["kind", "module", "term"])
    expected = {  # models that have it, in how many it was found; models without it, in how many it was
        ("parameter", "", "beta"): (6, 5, 0, 0),
        ("parameter", "", "alpha"): (6, 5, 0, 0),
        ("parameter", "", "forgetting"): (3, 2, 3, 0),
        ("parameter", "", "bias"): (0, 0, 6, 1),
        ("term", "m", "x"): (6, 5, 0, 0),
        ("term", "m", "r"): (3, 1, 3, 1),
    }
    assert list(table.index) == list(expected)
    for key, (there, hits, absent, false) in expected.items():
        row = table.loc[key]
        assert (row["n_there"], row["n_absent"]) == (there, absent)
        np.testing.assert_array_equal(row[["found", "found_low", "found_high"]].astype(float), share(hits, there))
        np.testing.assert_array_equal(row[["false", "false_low", "false_high"]].astype(float), share(false, absent))


def test_shares():
    interval = binomtest(2, 7).proportion_ci(method="wilson")
    assert share(2, 7) == (2 / 7, interval.low, interval.high)
    assert np.isnan(share(0, 0)).all()


def test_accuracy(report):
    table = report.accuracy.set_index("term")
    assert list(table.index) == ["beta", "alpha", "forgetting", "initial_value"]
    true, recovered = np.array([3.0, 5.0, 3.0, 5.0, 3.0]), np.array([3.5, 5.5, 2.5, 4.5, 3.3])
    row = table.loc["beta"]
    assert row["n"] == 5 and row["true"] == pytest.approx(true.mean())
    assert row["bias"] == pytest.approx((recovered - true).mean())
    assert row["rmse"] == pytest.approx(np.sqrt(((recovered - true) ** 2).mean()))
    assert row["correlation"] == pytest.approx(np.corrcoef(true, recovered)[0, 1])
    np.testing.assert_array_equal(row[["coverage", "coverage_low", "coverage_high"]].astype(float), share(4, 5))
    assert np.isnan(table.loc["forgetting", "correlation"])  # one true value: there is nothing to correlate
    assert table.loc["forgetting", "n"] == 2 and table.loc["forgetting", "coverage"] == 1.0


def test_the_table_can_be_read(report):
    lines = str(report).splitlines()
    assert lines[:2] == [
        "3 simulated data sets of 2 participants",
        "exactly the right structure: 3 of 6 models (50%; 95% interval 19% to 81%)",
    ]
    cells = {line.split()[0]: line.split()[1:] for line in lines[4:9]}
    assert lines[3].split() == ["true", "bias", "RMSE", "correlation", "covered", "found", "false"]
    assert cells["bias"] == ["–", "–", "–", "–", "–", "–", "17%"]
    assert cells["forgetting"] == ["0.2", "0.025", "0.0354", "–", "100%", "67%", "0%"]
    assert cells["beta"][5:] == ["83%", "–"] and cells["initial_value"][5:] == ["–", "–"]
    assert len({len(line) for line in lines[3:9]}) == 1

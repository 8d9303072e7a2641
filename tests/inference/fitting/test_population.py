"""Regressors as numbers, and what cannot be used."""

import numpy as np
import pandas as pd
import pytest

from spice.errors import DataError
from spice.inference.fitting.population import design_matrix
from spice.inference.fitting.uncertainty import Uncertainty, precisions


def test_without_regressors_there_is_an_intercept():
    design = design_matrix(None, ["a", "b"])
    assert design.names == ("intercept",)
    np.testing.assert_array_equal(design.matrix, [[1.0], [1.0]])


def test_levels_are_coded_against_the_first():
    table = pd.DataFrame(
        {
            "age": [30, 20, 50, 40, 33, 21, 52, 47, 99],
            "group": ["patient", "control", "control", "relative"] * 2 + ["unheard of"],
            "site": pd.Categorical(["b", "a", "b", "a", "a", "b", "a", "a", "b"], categories=["b", "empty", "a"]),
            "medicated": [True, False, False, True, False, False, True, True, True],
            "dose": [0.5, 0.0, 1.0, -1.5, 0.0, 2.0, 0.0, 1.0, 0.0],
        },
        index=["p2", "p1", "p4", "p3", "p5", "p6", "p7", "p8", "absent"],
    )
    design = design_matrix(table, [f"p{k}" for k in range(1, 9)])
    assert design.names == (
        "intercept",
        "age",
        "group[patient]",
        "group[relative]",
        "site[a]",
        "medicated[True]",
        "dose",
    )
    expected = [[1, 20, 0, 0, 1, 0, 0.0], [1, 30, 1, 0, 0, 1, 0.5], [1, 40, 0, 1, 1, 1, -1.5], [1, 50, 0, 0, 0, 0, 1.0]]
    np.testing.assert_array_equal(design.matrix[:4], expected)


def test_numbers_as_labels():
    table = pd.DataFrame({"x": [1.0, 2.0, 5.0]}, index=[3, 1, 2])
    np.testing.assert_array_equal(design_matrix(table, [1, 2, 3]).matrix[:, 1], [2.0, 5.0, 1.0])


def test_all_problems_at_once():
    table = pd.DataFrame(
        {
            "age": [30.0, np.nan, np.nan],
            "group": ["a", None, "b"],
            "dose": [1.0, np.inf, 0.0],
            "fine": [0.0, 1.0, 2.0],
        },
        index=["p1", "p2", "p3"],
    )
    with pytest.raises(DataError) as caught:
        design_matrix(table, ["p1", "p2", "p3"])
    for text in (
        "'age' is missing for participants p2, p3",
        "'group' is missing for participant p2",
        "'dose' is infinite",
    ):
        assert text in str(caught.value)
    assert "fine" not in str(caught.value)


def test_people_must_have_one_row():
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0]}, index=["p1", "p2", "p2"])
    with pytest.raises(DataError, match="several rows for participant p2.*\n.*no row for participants q1, p3"):
        design_matrix(table, ["p1", "p2", "q1", "p3"])
    with pytest.raises(DataError, match=r"no row for participant p01 \(did you mean 'p1'\?\)"):
        design_matrix(table[:1], ["p01"])
    with pytest.raises(DataError, match="must be a DataFrame indexed by participant label"):
        design_matrix(np.ones((2, 1)), ["p1", "p2"])


def test_columns_that_tell_nothing_of_their_own():
    x = np.array([0.0, 1.0, 2.0, 4.0])
    table = pd.DataFrame({"x": x, "constant": 7, "site": ["a"] * 4, "double": 3 - 2 * x, "zero": 0.0})
    with pytest.raises(DataError) as caught:
        design_matrix(table, range(4))
    for text in (
        "'constant' is the same for everybody",
        "'site' is the same for everybody",
        "'double' follows from 'x'",
        "'zero' is the same",
    ):
        assert text in str(caught.value)
    assert "\n  - 'x'" not in str(caught.value)


def test_large_numbers_are_no_constants():
    table = pd.DataFrame({"year": [2001.0, 2002.0, 2003.0], "time": [1e9, 1e9 + 1, 1e9 + 3]})
    assert design_matrix(table, range(3)).matrix.shape == (3, 3)


def test_precisions_are_none_where_posteriors_are_as_wide_as_the_population():
    """Up to rounding: else there are standard errors of millions."""
    told = 1.0 - np.array([1e-13, -1e-13, 1e-3])
    posterior = 4.0 * told[:, None, None] * np.eye(2)
    found = precisions(2.0 * np.eye(2), posterior)
    np.testing.assert_array_equal(found[:2], 0.0)
    np.testing.assert_allclose(found[2], np.eye(2) * 1e-3 / 4)


def test_errors_are_nan_only_where_the_choices_say_nothing():
    precisions = np.tile(np.diag([4.0, 0.0, 2.0]), (50, 1, 1))
    found = Uncertainty.of(np.ones((50, 1)), precisions, True, (np.zeros(3), np.zeros(3))).errors(np.eye(3))
    np.testing.assert_allclose(found.mean, [1 / np.sqrt(200), np.nan, 0.1])
    np.testing.assert_allclose(
        found.sd, [1 / 4 / np.sqrt(50) * np.sqrt(2) / 2, np.nan, 1 / 2 / np.sqrt(50) * np.sqrt(2) / 2]
    )
    # a direction between two parameters
    precisions = np.tile([[1.0, -1.0, 0], [-1.0, 1.0, 0], [0, 0, 1.0]], (50, 1, 1))
    found = Uncertainty.of(np.ones((50, 1)), precisions, True, (np.zeros(3), np.zeros(3))).errors(np.eye(3))
    np.testing.assert_allclose(found.mean, [np.nan, np.nan, 1 / np.sqrt(50)])

"""Sparse regression on known polynomials, with tolerances from their standard errors."""

import numpy as np
import pysindy
import pytest

from spice.equations.terms import evaluate_terms, polynomial_exponents
from spice.errors import ConfigError
from spice.sindy import OPTIMIZERS
from spice.sindy.regression import make_optimizer, sparse_regression
from spice.sindy.stability import hold_stable, multiplier_rows

TRUTH = {"rescorla_wagner": {0: -0.3, 1: 0.7, 2: 0.9}, "interaction": {1: 0.6, 2: 0.5, 4: 0.4}, "empty": {}}


def make_library(n_samples=400, seed=0):
    """Constant, x, r, x^2, x r, r^2 of a state and a continuous reward."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.normal(0, 1, n_samples), rng.normal(0.5, 0.5, n_samples)])
    return evaluate_terms(features, polynomial_exponents(2, 2)), rng


def coefficients(terms, n_terms=6):
    vector = np.zeros(n_terms)
    vector[list(terms)] = list(terms.values())
    return vector


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("truth", sorted(TRUTH))
def test_known_polynomials_without_noise(optimizer, truth):
    library, _ = make_library()
    expected = coefficients(TRUTH[truth])
    found = sparse_regression(library, library @ expected, optimizer, 0.05)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert (found != 0).tolist() == (expected != 0).tolist()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("truth", ["rescorla_wagner", "interaction"])
@pytest.mark.parametrize("seed", range(5))
def test_known_polynomials_with_noise(optimizer, truth, seed):
    library, rng = make_library(seed=seed)
    expected = coefficients(TRUTH[truth])
    noise = 0.1
    found = sparse_regression(library, library @ expected + noise * rng.normal(size=len(library)), optimizer, 0.05)
    present = expected != 0
    assert (found != 0).tolist() == present.tolist()
    errors = noise * np.sqrt(np.diag(np.linalg.inv(library[:, present].T @ library[:, present])))
    assert (np.abs(found - expected)[present] < 4 * errors).all()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_units_do_not_matter(optimizer):
    """A reward of 0 to 100 points leaves the same terms, their coefficients in the new unit."""
    library, rng = make_library()
    target = library @ coefficients(TRUTH["interaction"]) + 0.1 * rng.normal(size=len(library))
    units = np.array([1, 1, 100, 1, 100, 10000.0])
    found = sparse_regression(library, target, optimizer, 0.05)
    np.testing.assert_allclose(sparse_regression(library * units, target, optimizer, 0.05) * units, found, atol=1e-8)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_threshold_is_a_contribution_to_the_target(optimizer):
    library, _ = make_library(n_samples=4000)
    library = library[:, 1:3] / np.sqrt(np.mean(library[:, 1:3] ** 2, axis=0)) * [1.0, 10.0]
    for small, kept in ((0.09, False), (0.11, True)):
        found = sparse_regression(library, library @ [0.7, small / 10], optimizer, 0.1)
        assert found[0] != 0 and (found[1] != 0) == kept


def test_a_single_term():
    column = np.random.default_rng(0).normal(size=(50, 1))
    for optimizer in OPTIMIZERS:
        assert sparse_regression(column, 0.7 * column[:, 0], optimizer, 0.05) == pytest.approx([0.7])
        assert sparse_regression(column, 0.01 * column[:, 0], optimizer, 0.05) == pytest.approx([0.0])


def test_an_optimizer_of_the_users_own_is_copied():
    own = pysindy.STLSQ(threshold=0.05, alpha=1e-10)
    library, _ = make_library()
    expected = coefficients(TRUTH["rescorla_wagner"])
    np.testing.assert_allclose(sparse_regression(library, library @ expected, own, 0.05), expected, atol=1e-6)
    assert not hasattr(own, "coef_") and make_optimizer(own, 0.05) is not own


def test_unknown_optimizers():
    with pytest.raises(ConfigError) as caught:
        make_optimizer("STLQ", 0.05)
    assert str(caught.value) == (
        "sindy_optimizer='STLQ' is unknown (did you mean 'STLSQ'?); choose one of STLSQ, SR3, SSR, FROLS, or give a "
        "pysindy optimizer."
    )
    with pytest.raises(ConfigError, match="^sindy_optimizer must be a name or a pysindy optimizer, not int.$"):
        make_optimizer(3, 0.05)


# ---------------------------------------------------------------------- stability


def test_multipliers_at_every_input_met():
    exponents = polynomial_exponents(2, 2)  # 1, x, r, x^2, x r, r^2
    features = np.column_stack([np.linspace(-1, 1, 6), [0, 1, 0, 1, 2, 2]])
    rows = multiplier_rows(features, exponents)
    expected = [[0, 1, 0, 0, reward, 0] for reward in (0, 1, 2)]
    np.testing.assert_array_equal(rows, expected)
    alike = multiplier_rows(features, exponents[[0, 1, 2, 3, 5]])  # no input has a part in it
    np.testing.assert_array_equal(alike, [[0, 1, 0, 0, 0]])


def test_stable_equations_are_left_alone():
    library, _ = make_library()
    found = coefficients(TRUTH["rescorla_wagner"])
    rows = multiplier_rows(library[:, 1:3], polynomial_exponents(2, 2))
    assert hold_stable(library, library @ found, found, rows) is found


def test_growing_equations_are_held_at_the_best_stable_fit():
    rng = np.random.default_rng(0)
    x, r = rng.normal(0, 1, 500), rng.integers(0, 2, 500).astype(float)
    library = np.column_stack([np.ones(500), x, r, x * r])
    exponents = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    target = library @ [0.1, 0.6, 0.3, 0.8] + 0.05 * rng.normal(size=500)  # multiplier 1.4 after a reward
    rows = multiplier_rows(np.column_stack([x, r]), exponents)
    free = np.linalg.lstsq(library, target, rcond=None)[0]
    held = hold_stable(library, target, free, rows)
    multipliers = rows @ held
    assert np.abs(multipliers).max() <= 1 + 1e-6 and multipliers.max() == pytest.approx(1, abs=1e-6)
    # oracle: with the limit active, x r = (1 - x) r, so regress target - x r on the others
    expected = np.linalg.lstsq(library[:, :3] - np.outer(x * r, [0, 1, 0]), target - x * r, rcond=None)[0]
    np.testing.assert_allclose(held, [*expected, 1 - expected[1]], atol=1e-4)
    sparse = hold_stable(library, target, free * [0, 1, 1, 1], rows)
    assert sparse[0] == 0  # terms that were dropped stay out

"""Libraries: what compressed rows keep, and columns that depend on one another."""

import numpy as np
import pytest

from spice.equations.terms import evaluate_terms, polynomial_exponents
from spice.sindy import OPTIMIZERS
from spice.sindy.library import compress, independent_columns
from spice.sindy.regression import make_optimizer, sparse_regression
from spice.sindy.stability import hold_stable


@pytest.fixture
def people():
    """Libraries of degree 2 of four people with 300, 40, 300 and 5 samples, in a row, and where each one's are."""
    rng = np.random.default_rng(0)
    bounds = np.cumsum([0, 300, 40, 300, 5])
    features = np.column_stack([rng.normal(0.5, 1, bounds[-1]), rng.normal(0.5, 0.5, bounds[-1])])
    library = evaluate_terms(features, polynomial_exponents(2, 2))
    target = library @ [-0.3, 0.7, 0.9, 0.0, 0.02, 0.0] + 0.1 * rng.normal(size=bounds[-1])
    return library, target, [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def test_terms_are_products_of_powers():
    features = np.random.default_rng(0).normal(size=(7, 3))
    exponents = polynomial_exponents(3, 3)
    expected = [
        [np.prod([x ** int(p) for x, p in zip(row, powers, strict=True)]) for powers in exponents] for row in features
    ]
    np.testing.assert_allclose(evaluate_terms(features, exponents), expected, rtol=1e-14)


def test_compressed_rows_keep_every_mean_product(people):
    library, target, parts = people
    tables = compress(library, target, parts)
    assert [len(table) for table in tables] == [7, 7, 7, 5]  # the last has no more samples than columns
    for part, table in zip(parts, tables, strict=True):
        samples = np.column_stack([library[part], target[part]])
        expected = samples.T @ samples / len(samples)
        np.testing.assert_allclose(table.T @ table / len(table), expected, rtol=0, atol=1e-13 * expected.max())


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_compressed_rows_give_the_same_regressions(people, optimizer):
    library, target, parts = people
    rows = np.array([[0, 1, 0, 0, reward, 0] for reward in (0.0, 1.0)])
    for part, table in zip(parts[:3], compress(library, target, parts), strict=False):
        values = sparse_regression(library[part], target[part], optimizer, 0.05)
        found = sparse_regression(table[:, :-1], table[:, -1], optimizer, 0.05)
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)
        for limit in (1.0, 0.5):
            held = hold_stable(library[part], target[part], values, rows, limit)
            np.testing.assert_allclose(hold_stable(table[:, :-1], table[:, -1], found, rows, limit), held, atol=1e-9)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.5, 5.0])
def test_stlsq_is_pysindys_own(people, threshold):
    """Whether or not there is anything to drop, and with least squares on what is left."""
    library, target, parts = people
    for part in parts[:3]:
        scale = np.sqrt(np.mean(library[part] ** 2, axis=0))
        n_samples = part.stop - part.start
        method = make_optimizer("STLSQ", threshold)
        method.unbias = True
        if threshold == 5:
            with pytest.warns(UserWarning, match="Sparsity parameter is too big"):
                method.fit(library[part] / scale / np.sqrt(n_samples), target[part][:, None] / np.sqrt(n_samples))
        else:
            method.fit(library[part] / scale / np.sqrt(n_samples), target[part][:, None] / np.sqrt(n_samples))
        found = sparse_regression(library[part], target[part], "STLSQ", threshold)
        np.testing.assert_allclose(found, method.coef_[0] / scale, rtol=0, atol=1e-8)


def test_dependent_columns_are_found():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    library = np.column_stack([np.ones(50), a, b, 2 * a - b, np.zeros(50), np.full(50, 3.0), 1e6 * rng.normal(size=50)])
    kept, dependent = independent_columns(library, np.arange(7))
    assert kept.tolist() == [0, 1, 2, 6] and dependent == {3: [1, 2], 4: [], 5: [0]}
    kept, dependent = independent_columns(library, np.arange(7)[::-1])
    assert kept.tolist() == [2, 3, 5, 6] and dependent == {4: [], 1: [3, 2], 0: [5]}
    table = compress(library, a, [slice(0, 50)])[0][:, :-1]
    kept, dependent = independent_columns(table, np.arange(7))
    assert kept.tolist() == [0, 1, 2, 6] and dependent == {3: [1, 2], 4: [], 5: [0]}


@pytest.mark.parametrize(("share", "n_kept"), [(0.9e-3, 2), (1.1e-3, 3)])
def test_a_column_depends_when_less_than_a_thousandth_of_it_is_its_own(share, n_kept):
    columns = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 3)))[0]
    mixed = np.sqrt(1 - share**2) * (0.6 * columns[:, 0] + 0.8 * columns[:, 1]) + share * columns[:, 2]
    library = np.column_stack([columns[:, :2], 100 * mixed])
    assert len(independent_columns(library, np.arange(3))[0]) == n_kept


def test_fewer_samples_than_terms():
    library = np.random.default_rng(0).normal(size=(2, 4))
    kept, dependent = independent_columns(library, np.arange(4))
    assert kept.tolist() == [0, 1] and dependent == {2: [0, 1], 3: [0, 1]}

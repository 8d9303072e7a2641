"""What damped Newton steps and standard errors of both kinds of models have in common."""

import numpy as np

from spice.inference.damping import DAMPING, foretold_gain, next_damping
from spice.inference.uncertainty import invert_where_known


def random_curvatures(n_rows, n, seed=0):
    roots = np.random.default_rng(seed).normal(size=(n_rows, n, n))
    return roots @ roots.transpose(0, 2, 1) + np.eye(n)


def test_quadratics_keep_what_they_promise():
    rng = np.random.default_rng(1)
    curvature, here, step = random_curvatures(5, 3), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))

    def value(x):
        return np.einsum("ri,rij,rj->r", x, curvature, x) / 2

    gradient = np.einsum("rij,rj->ri", curvature, here)
    np.testing.assert_allclose(foretold_gain(gradient, curvature, step), value(here) - value(here + step), rtol=1e-12)


def test_steps_are_trusted_as_far_as_they_foretold_the_gain():
    gain, better = np.array([0.9, 0.5, 0.1, -1.0, 0.9]), np.array([True, True, True, False, False])
    found = next_damping(np.full(5, 1e-3), gain, np.ones(5), better)
    np.testing.assert_allclose(found, [1e-4, 1e-3, 1e-2, 1e-2, 1e-2])
    assert next_damping(np.array([DAMPING[0]]), np.ones(1), np.ones(1), np.ones(1, bool))[0] == DAMPING[0]


def test_inverse_of_what_is_known():
    full = random_curvatures(1, 4)[0]
    inverse, lost = invert_where_known(full, full, 1e-6)
    np.testing.assert_allclose(inverse, np.linalg.inv(full), rtol=1e-9)
    assert not lost.any()


def test_a_direction_that_nothing_tells_of():
    """Of the second and third number only the sum is known; a prior on all of them does not change what is told."""
    told = np.diag([2.0, 0.0, 0.0])
    told[1:, 1:] = 3.0
    for prior in (0.0, 1.0):
        inverse, lost = invert_where_known(told + prior * np.eye(3), told, 1e-6)
        np.testing.assert_array_equal(lost, [False, True, True])
        along = np.array([0.0, 1.0, 1.0]) / np.sqrt(2)
        expected = np.diag([1 / (2 + prior), 0.0, 0.0]) + np.outer(along, along) / (6 + prior)
        np.testing.assert_allclose(inverse, expected, atol=1e-12)

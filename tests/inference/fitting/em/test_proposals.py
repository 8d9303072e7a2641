"""Mixtures from which parameters are drawn: their densities, and how many draws there are."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from spice.inference.fitting.em.modes import Laplace, Points
from spice.inference.fitting.em.proposals import Proposal

N_PEOPLE, N = 3, 2


@pytest.fixture
def across():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(N_PEOPLE, N, N))
    covariance = spread @ spread.swapaxes(1, 2) + np.eye(N)
    root = np.array([[0.5, 0.0], [0.3, 2.0]])
    return Proposal.across(rng.normal(size=(N_PEOPLE, N)), root, rng.normal(size=(N_PEOPLE, N)), covariance)


def around(n_people):
    """Of people who are all alike, with a standard normal posterior and prior."""
    points = Points(np.zeros(n_people, int), *(np.zeros((n_people,) + shape) for shape in ((1,), (), (1,), (1, 1))))
    return Proposal.around_modes(points, Laplace.of(points, np.zeros((n_people, 1)), np.eye(1)))


def test_density_is_that_of_the_mixture(across):
    theta, log_density = across.draw(0)
    for person in range(N_PEOPLE):
        parts = [
            np.log(share) + multivariate_normal(mean[person], root[person] @ root[person].T).logpdf(theta[person])
            for share, mean, root in zip(across.shares, across.means, across.roots, strict=True)
        ]
        constant = N * np.log(2 * np.pi) / 2
        np.testing.assert_allclose(log_density[person], logsumexp(parts, axis=0) + constant, rtol=1e-10, atol=1e-10)


def test_draws_have_the_moments_of_the_mixture(across):
    """1,024 draws that are spread evenly: within the standard error of as many independent ones."""
    theta, _ = across.draw(0)
    weights = across.shares
    mean = np.einsum("k,kpi->pi", weights, across.means)
    away = across.means - mean
    second = across.roots @ across.roots.swapaxes(2, 3) + away[..., :, None] * away[..., None, :]
    covariance = np.einsum("k,kpij->pij", weights, second)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    error = 1 / np.sqrt(across.size)
    assert (np.abs(theta.mean(1) - mean) < 2 * error * sd).all()
    for person in range(N_PEOPLE):
        found = np.cov(theta[person].T)
        scale = np.outer(sd[person], sd[person])
        assert (np.abs(found - covariance[person]) < 4 * np.sqrt(2) * error * scale).all()


def test_as_many_draws_as_are_of_use():
    assert [around(n).size for n in (2, 500, 4000)] == [256, 128, 64]
    one = np.zeros((4000, 1)), np.ones((4000, 1, 1))
    sizes = [Proposal.across(one[0][:n], np.eye(1), one[0][:n], one[1][:n]).size for n in (2, 200, 4000)]
    assert sizes == [1024, 512, 256]


def test_everybody_has_draws_of_their_own_and_a_seed_repeats_them(across):
    theta, _ = across.draw(0)
    np.testing.assert_array_equal(theta, across.draw(0)[0])
    assert not np.array_equal(theta, across.draw(1)[0])
    z = np.linalg.solve(across.roots[1], (theta - across.means[1][:, None]).swapaxes(1, 2))
    assert not np.allclose(z[0], z[1])

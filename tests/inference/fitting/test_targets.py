"""What is minimised, and by what: targets with priors, Newton steps, the likelihood of all participants together."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from spice.inference.fitting.descent import newton_steps
from spice.inference.fitting.likelihoods import Together, likelihood_of
from spice.inference.fitting.targets import Target


@pytest.mark.parametrize("priors", ["none", "mode", "density"])
def test_derivatives_of_targets(tools, bandit, priors):
    model = tools.rescorla_wagner({"prior": "beta(2, 3)"}, {"prior": "gamma(2, 0.5)"})
    likelihood = likelihood_of(model, tools.dataset_of([bandit]))
    target = Target(likelihood, model.parameters, priors)
    theta, step = np.array([[0.3, 1.1]]), 1e-5
    found = target(theta)
    value = tools.recursion(expit(0.3), np.exp(1.1), *bandit)[0]
    if priors != "none":
        value -= stats.beta(2, 3).logpdf(expit(0.3)) + stats.gamma(2, scale=2).logpdf(np.exp(1.1))
    if priors == "density":
        value -= np.log(expit(0.3) * expit(-0.3)) + 1.1
    assert found.value[0] == pytest.approx(value, rel=1e-12)
    for k, unit in enumerate(np.eye(2) * step):
        ahead, back = target(theta + unit), target(theta - unit)
        assert (ahead.value - back.value)[0] / (2 * step) == pytest.approx(found.gradient[0, k], rel=1e-6, abs=1e-6)
        curve = (ahead.gradient - back.gradient)[0] / (2 * step)
        np.testing.assert_allclose(curve, found.hessian[0, k], rtol=1e-6, atol=1e-6)
    first = target.first_order(theta)
    np.testing.assert_allclose(first[0], found.value, rtol=1e-14)
    np.testing.assert_allclose(first[1], found.gradient, rtol=1e-10)


@pytest.mark.parametrize("prior", ["gamma(2, 3)", "inverse_gamma(2, 3)"])
def test_a_value_that_overflows_is_no_mode(tools, bandit, prior):
    model = tools.rescorla_wagner({"prior": "beta(2, 3)"}, {"prior": prior})
    likelihood = likelihood_of(model, tools.dataset_of([bandit]))
    for priors in ("mode", "density"):
        assert Target(likelihood, model.parameters, priors)(np.array([[0.3, 720.0]])).value[0] == np.inf


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_newton_steps(n):
    """The inverse of the curvature's size times the slope, shortened axis by axis; nothing that is held moves."""
    rng = np.random.default_rng(n)
    root, slope = rng.normal(size=(6, n, n)), rng.normal(size=(6, n))
    matrix = root + root.transpose(0, 2, 1)
    values, vectors = np.linalg.eigh(matrix)
    lengths = -np.einsum("rij,ri->rj", vectors, slope) / np.abs(values)
    steps, promised = newton_steps(slope, matrix, np.ones((6, n), bool), np.full((6, n), np.inf))
    np.testing.assert_allclose(steps, np.einsum("rij,rj->ri", vectors, lengths), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(promised, (lengths**2 * np.abs(values)).sum(1) / 2, rtol=1e-6)
    most = np.abs(vectors).max(1) * np.abs(lengths)
    shorter, same = newton_steps(slope, matrix, np.ones((6, n), bool), np.full((6, n), 0.2))
    limited = lengths * np.minimum(1.0, 0.2 / most)
    np.testing.assert_allclose(shorter, np.einsum("rij,rj->ri", vectors, limited), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(same, promised)
    if n > 1:
        free = np.arange(n) > 0
        part, _ = newton_steps(slope, matrix, np.tile(free, (6, 1)), np.full((6, n), np.inf))
        alone, _ = newton_steps(
            slope[:, 1:].copy(), matrix[:, 1:, 1:].copy(), np.ones((6, n - 1), bool), np.full((6, n - 1), np.inf)
        )
        np.testing.assert_allclose(part[:, 1:], alone, rtol=1e-9)
        assert (part[:, 0] == 0).all()


def test_all_participants_together(tools, people):
    """Choices in order, one participant after the other; sessions of different lengths."""
    some = [people[0], tuple(part[:50] for part in people[1]), (np.array([0]), np.array([1.0])), people[2]]
    own = likelihood_of(tools.rescorla_wagner(), tools.dataset_of(some))
    together = Together(own)
    values = np.array([[0.3, 2.0], [0.6, 4.0]])
    expected = [sum(tools.recursion(*row, *person)[0] for person in some) for row in values]
    np.testing.assert_allclose(together(values).nll, expected, rtol=1e-12)
    np.testing.assert_allclose(together.gradient(values)[1], together(values).gradient, rtol=1e-9)
    found = together.log_probabilities(values)
    assert found.shape == (2, 119 + 49 + 119) and together.n_scored().tolist() == [287]
    np.testing.assert_allclose(found.sum(1), -np.array(expected), rtol=1e-10)
    np.testing.assert_allclose(found[1, 119:168].sum(), -tools.recursion(0.6, 4.0, *some[1])[0], rtol=1e-10)
    np.testing.assert_allclose(together.probabilities(values[0]), own.probabilities(np.tile(values[0], (4, 1))))

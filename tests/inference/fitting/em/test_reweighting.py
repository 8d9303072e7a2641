"""Importance sampling in place of Laplace's approximation, against quadrature."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

from spice.equations import Parameter
from spice.errors import ConvergenceWarning
from spice.inference import fit
from spice.inference.fitting.em import reweighting, steps
from spice.inference.fitting.em.fit_em import fit_em
from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.modes import Points, climb
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.em.proposals import Proposal
from spice.inference.fitting.em.reweighting import Draws, Posterior, refined
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact
from spice.precoded import choice_kernel
from spice.resources.bandits import BanditsDrift

GRID = np.linspace(-12, 14, 1001)
FREE = Scale({"theta": Parameter()})
WIDE = 9.0  # variance of the default prior of a parameter without bounds


class Binomial:
    """Choices of which each person's share was 1; theta is the logit of its probability."""

    def __init__(self, share, n_trials):
        self.share, self.n_trials, self.participants = share, n_trials, list(range(len(share)))

    def n_scored(self):
        return np.full(len(self.share), self.n_trials)

    def __call__(self, values, group=None):
        theta, k = values[:, 0], self.share[group] * self.n_trials
        p = 1 / (1 + np.exp(-theta))
        nll = self.n_trials * np.logaddexp(0, theta) - k * theta
        return Exact(nll, (self.n_trials * p - k)[:, None], (self.n_trials * p * (1 - p))[:, None, None])

    def gradient(self, values, group=None):
        return self(values, group)[:2]

    def joint(self, mean, sd):
        """Log of likelihood times prior on the grid, (n_people, n_grid), times the grid's width."""
        nll = self.n_trials * np.logaddexp(0, GRID) - (self.share * self.n_trials)[:, None] * GRID
        return norm.logpdf(GRID, mean, sd) - nll + np.log(GRID[1] - GRID[0])

    def best(self):
        """Mean and standard deviation at the maximum of the exact evidence and the spread's prior."""

        def cost(v):
            return -logsumexp(self.joint(v[0], np.exp(v[1])), axis=1).sum() - v[1] + np.log(np.exp(2 * v[1]) + WIDE)

        found = minimize(cost, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
        return found[0], np.exp(found[1])


def draws_around(likelihood, points, found, tempered=False):
    return Draws(likelihood, FREE, points.group, Proposal.around_modes(points, found), tempered, 0)


@pytest.fixture(scope="module")
def few_trials():
    """Four choices each, of people who differ: Laplace's approximation is poor."""
    rng = np.random.default_rng(0)
    return Binomial(rng.binomial(4, 1 / (1 + np.exp(-rng.normal(0.7, 1.2, 200)))) / 4, 4)


def test_em_ends_at_the_maximum_of_the_exact_evidence(few_trials):
    """Within four standard errors of means over seeds, where Laplace's approximation is far away."""
    mean, sd = few_trials.best()
    fits = [fit_em(few_trials, FREE, seed=seed) for seed in range(12)]
    found = np.array([[one.coefficients[0, 0], np.sqrt(one.covariance[0, 0])] for one in fits])
    error = found.std(0, ddof=1) / np.sqrt(12)
    assert (np.abs(found.mean(0) - [mean, sd]) < 4 * error + 2e-3).all()  # to the order of 1 / draws^2 biased
    assert (found.std(0) < 0.1 * fits[0].population.mean_se["theta"]).all()  # draws tell enough
    laplace = fit_em(few_trials, FREE, importance=False)
    assert abs(np.sqrt(laplace.covariance[0, 0]) - sd) > 10 * np.abs(found[:, 1] - sd).max()


def test_posteriors_are_those_of_quadrature(few_trials):
    one = fit_em(few_trials, FREE)
    joint = few_trials.joint(one.coefficients[0, 0], np.sqrt(one.covariance[0, 0]))
    evidence = logsumexp(joint, axis=1)
    weights = np.exp(joint - evidence[:, None])
    mean = weights @ GRID
    variance = weights @ GRID**2 - mean**2
    sd = np.sqrt(variance)
    # independent draws that are half as effective would leave 1 / sqrt(128) = .09
    assert np.abs((one.theta[:, 0] - mean) / sd).max() < 0.09
    assert np.sqrt((((one.theta[:, 0] - mean) / sd) ** 2).mean()) < 0.03
    np.testing.assert_allclose(one.conditional[:, 0, 0], variance, rtol=4 * 0.09)
    np.testing.assert_allclose(one.log_evidence, evidence, atol=4 * 0.09)
    assert abs(one.log_evidence.sum() - evidence.sum()) < 4 * 0.09 * np.sqrt(200)


def test_a_population_that_draws_keep_moving_has_not_converged(monkeypatch):
    """Draws from the population begin anew: that EM had come to rest with Laplace's approximation does not count."""

    def swing(draws, rough, guess, *_):
        return Guess(np.where(guess.coefficients > 0, -1.0, 1.0), guess.root), True

    monkeypatch.setattr(steps, "refined", swing)
    monkeypatch.setattr(steps, "FEW", 0.0)  # as if people had several modes
    likelihood = Binomial(np.random.default_rng(0).binomial(20, 0.6, 20) / 20, 20)
    with pytest.warns(ConvergenceWarning, match="by importance sampling the population kept moving"):
        found = fit_em(likelihood, FREE)
    assert not found.converged.any() and set(found.reason) == {"EM did not converge"}


def test_people_without_effective_draws_keep_laplaces_approximation():
    """Draws that are all impossible but the mode's neighbourhood."""
    likelihood = Binomial(np.full(3, 0.5), 40_000)
    points = Points.at(likelihood, np.zeros((3, 1)), np.arange(3))
    found = climb(likelihood, points, np.zeros((3, 1)), np.eye(1), 1e-10, 50)
    found.information[1] /= 1e6  # as if it were flat: draws far too wide
    draws, rough = draws_around(likelihood, points, found), Posterior.of_laplace(points, found)
    guess, matrix = Guess(np.zeros((1, 1)), np.eye(1)), np.ones((3, 1))
    posterior = draws.posterior(guess, matrix, rough)
    np.testing.assert_array_equal(posterior.covariance[1], found.covariances()[1])
    np.testing.assert_allclose(posterior.covariance[[0, 2], 0, 0], 1 / 10_001, rtol=0.1)
    np.testing.assert_array_equal(posterior.rough, [False, True, False])
    new, ended = refined(draws, rough, guess, matrix, PopulationPrior({"theta": Parameter()}), True, np.ones(1), 1e-4)
    assert ended and np.isfinite(new.root).all()


def test_people_at_the_limit_of_enough_draws_do_not_keep_em_from_its_end(tools, recwarn):
    """Whose draws do once do not while EM goes on, or it goes back and forth for ever.

    Four parameters, 14 people with 25 choices each: with all draws as they come EM ended at none, and where it stopped
    log evidences were 1.2 nats apart.
    """
    rng = np.random.default_rng(2)
    alpha, beta = 1 / (1 + np.exp(-rng.normal(0, 0.7, 14))), np.exp(rng.normal(1, 0.35, 14))
    data = tools.dataset_of([tools.play(a, b, 25, rng) for a, b in zip(alpha, beta, strict=True)])
    fits = [fit(choice_kernel(), data, "em", seed=seed, n_threads=1) for seed in range(4)]
    assert all(found.converged.all() for found in fits)
    assert not [entry for entry in recwarn if issubclass(entry.category, ConvergenceWarning)]
    assert np.ptp([found.log_evidence.sum() for found in fits]) < 0.6
    means = np.array([found.population.mean for found in fits])
    assert (np.ptp(means, axis=0) < fits[0].population.mean_se).all()


def test_laplaces_approximation_of_people_is_that_of_the_population_in_the_end(few_trials, monkeypatch):
    """Of everybody, as if no draws did."""
    monkeypatch.setattr(reweighting, "TRUSTED", np.inf)
    found = fit_em(few_trials, FREE)
    everybody, mean, root = np.arange(200), np.tile(found.coefficients, (200, 1)), np.sqrt(found.covariance)
    points = Points.at(few_trials, found.theta.copy(), everybody)
    there = climb(few_trials, points, mean, root, 1e-10, 50)
    np.testing.assert_allclose(found.theta, points.theta, atol=1e-5)
    np.testing.assert_allclose(found.log_evidence, there.log_evidence(), atol=1e-8)
    np.testing.assert_allclose(found.conditional, there.covariances(), rtol=1e-4)


class Cliffs:
    """A likelihood that is 0 but in a small square around each person's best parameters."""

    participants = list(range(12))
    best = np.random.default_rng(0).normal(size=(12, 2)) * 0.02

    def n_scored(self):
        return np.full(12, 20)

    def __call__(self, values, group=None):
        away = values - self.best[group]
        inside = (np.abs(away) < 0.05).all(1)
        curve = np.tile(0.1 * np.eye(2), (len(away), 1, 1))
        return Exact(np.where(inside, 5 + 0.05 * (away**2).sum(1), np.inf), 0.1 * away, curve)

    def gradient(self, values, group=None):
        return self(values, group)[:2]


@pytest.mark.filterwarnings("ignore::spice.errors.SpiceWarning")
def test_people_with_fewer_possible_draws_than_make_a_covariance_keep_laplaces_approximation():
    found = fit_em(Cliffs(), Scale({"a": Parameter(), "b": Parameter()}))
    assert (np.linalg.eigvalsh(found.conditional) > 0).all()


def test_intervals_of_weakly_identified_parameters_hold_the_truth(tools):
    """Learning rates of 30 people with 60 choices each; Laplace's spread is too small, and so are its intervals."""
    model, rng, inside = tools.rescorla_wagner(), np.random.default_rng(3), {True: [], False: []}
    for seed in range(10):
        theta = rng.normal([-0.5, 1.0], [0.8, 0.4], (30, 2))
        truth = Scale(model.parameters).natural(theta)
        values = dict(zip(model.parameters, truth.T, strict=True))
        data = model.simulate(BanditsDrift(sigma=0.2), 60, values, seed=seed)
        for importance, shares in inside.items():
            found = fit(model, data, "em", importance=importance, n_threads=1).intervals
            low, high = (found.xs(end, axis=1, level=1).to_numpy() for end in ("low", "high"))
            shares.append(((truth > low) & (truth < high)).mean())
    with_it, without = (np.array(inside[importance]) for importance in (True, False))
    gain = with_it - without
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(10) or gain.mean() > 0.02
    assert abs(with_it.mean() - 0.95) < abs(without.mean() - 0.95)
    # 600 intervals: .0089; not independent within groups, whence the groups' own spread
    assert abs(with_it.mean() - 0.95) < 0.02 + 3 * with_it.std(ddof=1) / np.sqrt(10)

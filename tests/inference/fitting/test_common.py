"""Where fits begin, and modes at kinks."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from spice.equations import Parameter
from spice.inference.fitting.common import FARTHEST, common_start
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.em.fit_em import fit_em
from spice.inference.fitting.em.modes import LOST, Points, climb
from spice.inference.fitting.starts import value_starts
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact

FREE = {"x": Parameter(), "y": Parameter()}


class Written:
    """A likelihood that is a function of x and y and of the person, with its derivatives."""

    names = ("x", "y")

    def __init__(self, function, n_people, n_trials=50):
        self._function, self._n_trials = function, n_trials
        self.participants = list(range(n_people))

    def n_scored(self):
        return np.full(len(self.participants), self._n_trials)

    def __call__(self, values, group=None):
        group = np.arange(len(self.participants)) if group is None else group
        return Exact(*self._function(values, group))

    def gradient(self, values, group=None):
        return self(values, group)[:2]


def wells(depths, places, width=0.15):
    """In x wells at places, the depths times a person's trials deep; in y a parabola."""

    def function(values, group):
        x, y = values.T
        z = (x[:, None] - places) / width
        bump = np.exp(-(z**2) / 2) * depths
        nll = 100 + 5 * (y - 1) ** 2 - bump.sum(1)
        gradient = np.stack([(bump * z / width).sum(1), 10 * (y - 1)], axis=1)
        hessian = np.zeros((len(x), 2, 2))
        hessian[:, 0, 0] = (bump * (1 - z**2) / width**2).sum(1)
        hessian[:, 1, 1] = 10
        return nll, gradient, hessian

    return function


def kinked(kinks, centres, slope):
    """Everybody's larger of two slopes in x + y meets in a kink; elsewhere parabolas."""

    def function(values, group):
        x, y = values.T
        ahead = x + y - kinks[group]
        sign = np.where(ahead > 0, 1.0, -1.0)
        away = y - centres[group]
        nll = 40 + slope * np.abs(ahead) + 8 * away**2
        gradient = np.stack([slope * sign, slope * sign + 16 * away], axis=1)
        hessian = np.zeros((len(x), 2, 2))
        hessian[:, 1, 1] = 16
        return nll, gradient, hessian

    return function


def test_one_set_of_parameters_for_all_finds_the_deepest_of_several_modes():
    function = wells(np.array([5.0, 40.0]), np.array([-1.0, 2.5]), width=1.0)
    model, likelihood = SimpleNamespace(parameters=FREE), Written(function, 40)
    np.testing.assert_allclose(common_start(model, likelihood, range(40)), [2.5, 1.0], atol=0.02)


def test_values_that_parameters_have_are_starts():
    """The deepest well is too narrow for any other start to fall into."""
    function = wells(np.array([5.0, 40.0]), np.array([-1.0, 3.377]), width=0.01)
    known = {"x": Parameter(value=3.376), "y": Parameter()}
    likelihood = Written(function, 40)
    found = common_start(SimpleNamespace(parameters=known), likelihood, range(40))
    np.testing.assert_allclose(found, [3.377, 1.0], atol=1e-4)
    assert abs(common_start(SimpleNamespace(parameters=FREE), likelihood, range(40))[0] - 3.377) > 0.05


def test_a_start_is_not_far_from_the_default_priors():
    """One set of parameters may have no finite optimum."""

    def downhill(values, group):
        slope = np.tile([-1.0, 0.0], (len(values), 1))
        return 1e6 - values[:, 0], slope, np.zeros((len(values), 2, 2))

    mean, sd = theta_moments(FREE)
    found = common_start(SimpleNamespace(parameters=FREE), Written(downhill, 3), range(3))
    assert found[0] == pytest.approx(mean[0] + FARTHEST * sd[0])


def test_without_trials_the_start_is_the_default():
    likelihood = Written(wells(np.array([5.0]), np.array([0.0])), 3, n_trials=0)
    found = common_start(SimpleNamespace(parameters=FREE), likelihood, range(3))
    np.testing.assert_array_equal(found, theta_moments(FREE)[0])


def test_values_are_by_participant_or_for_all():
    parameters = {
        "alpha": Parameter(low=0, high=1, value={"anna": 0.25, "cleo": 1.0}),
        "beta": Parameter(low=0, value=3),
        "bias": Parameter(),
    }
    theta = value_starts(parameters, ["anna", "ben", "cleo"])
    natural = Scale(parameters).natural(theta)
    np.testing.assert_allclose(natural[:, 0], [0.25, 0.5, 0.5])  # none of ben's; that of cleo is on a bound
    np.testing.assert_allclose(natural[:, 1], 3)
    np.testing.assert_allclose(natural[:, 2], 0)
    assert value_starts(FREE, ["anna"]) is None


@pytest.mark.parametrize("slope", [0.05, 6.0])
def test_modes_at_kinks_are_found(slope):
    """Slopes do not vanish there; where they are small, the mode is as good as that of a search without slopes."""
    rng = np.random.default_rng(0)
    kinks, centres = rng.normal(size=(2, 20))
    likelihood, root = Written(kinked(kinks, centres, slope), 20), np.linalg.cholesky([[1.0, 0.3], [0.3, 0.5]])
    mean, people = np.tile([0.2, -0.1], (20, 1)), np.arange(20)
    points = Points.at(likelihood, mean.copy(), people)
    found = climb(likelihood, points, mean, root, 1e-10, 100)
    assert (found.converged if slope < 1 else found.stuck).all()
    assert not (found.converged & found.stuck).any()
    for person in range(20):

        def energy(z, person=person):
            return likelihood((mean[0] + root @ z)[None], np.array([person])).nll[0] + z @ z / 2

        settings = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
        best = min(
            minimize(energy, start, method="Nelder-Mead", options=settings).fun
            for start in (found.z[person], np.zeros(2), np.ones(2))
        )
        if found.converged[person]:
            assert found.energy[person] - best < LOST


def test_em_settles_where_likelihoods_have_kinks():
    """A thin layer of kinks: a share of people has its mode there."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(60, 2))

    def function(values, group):
        away = values - centres[group]
        sign = np.where(away[:, 0] > 0, 1.0, -1.0)
        nll = 30 + 0.2 * np.abs(away[:, 0]) + 4 * (away**2).sum(1)
        gradient = 8 * away
        gradient[:, 0] += 0.2 * sign
        return nll, gradient, np.tile(8 * np.eye(2), (len(values), 1, 1))

    found = fit_em(Written(function, 60), Scale(FREE), covariance="diagonal")
    assert found.converged.all()
    # of single estimates the variance is 1/8 along y, and the mean's standard error sqrt((1 + 1/8) / 60)
    np.testing.assert_allclose(found.population.mean, centres.mean(0), atol=0.2 * np.sqrt(1.125 / 60))

"""Where a sampler's population is begun, and whom it scales by a normal approximation."""

import numpy as np
import pytest

from spice.equations import Parameter
from spice.inference import fit
from spice.inference.fitting.bayes.whitening import find_population
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact
from spice.precoded import task_sets
from spice.resources.bandits import AlienTask

FREE = {"theta": Parameter()}
USUAL, NONE = (np.zeros(1), np.ones(1)), np.zeros((20, 0))


class Wells:
    """Two normal likelihoods added up: of width .15 around y, and around y + 1, where it is ``depth`` nats higher."""

    def __init__(self, y, depth):
        self.y, self.depth, self.participants = y, depth, list(range(len(y)))

    def __call__(self, values, group=None):
        x = values[:, 0] - self.y[group]
        parts = np.stack([-22 * x**2, self.depth[group] - 22 * (x - 1) ** 2])
        total = np.logaddexp(*parts)
        weight = np.exp(parts - total)
        slopes = np.stack([44 * x, 44 * (x - 1)])
        slope = (weight * slopes).sum(0)
        curve = 44 - (weight * slopes**2).sum(0) + slope**2
        return Exact(-total, slope[:, None], curve[:, None, None])


def found(depth, starts):
    y = np.random.default_rng(0).normal(0, 0.5, 20)
    return find_population(Wells(y, depth), Scale(FREE), starts, NONE, PopulationPrior(FREE))[0]


def test_who_has_several_modes_is_not_scaled_by_one_of_them():
    """Eight searches find the other mode of most of the ten people who have one."""
    depth = np.where(np.arange(20) < 10, -1000.0, 0.0)
    sites = found(depth, [USUAL])
    known = sites.curvature[:, 0, 0] > 0
    assert known[:10].all() and known[10:].mean() < 0.5
    np.testing.assert_allclose(sites.curvature[:10], 44.0, rtol=1e-6)
    assert not sites.pull[~known].any() and np.isfinite(sites.theta).all()


def test_a_spread_is_kept_where_its_prior_has_mass():
    """Narrower than the least spread that the search begins with otherwise, a tenth of people's prior."""
    narrow = {"theta": Parameter(sd_prior="uniform(0.01, 0.05)")}
    y = np.random.default_rng(0).normal(0, 0.5, 20)
    depth = np.full(20, -1000.0)
    sites, _ = find_population(Wells(y, depth), Scale(narrow), [USUAL], NONE, PopulationPrior(narrow))
    assert 0.01 < sites.sd[0] < 0.05


def test_the_best_of_several_populations_is_taken_where_there_are_several_modes():
    poor, good = (np.zeros(1), np.full(1, 0.3)), (np.ones(1), np.full(1, 0.3))
    depth = np.full(20, 4.0)
    ends = [found(depth, starts).mean[0] for starts in ([poor], [good], [poor, good], [good, poor])]
    assert ends[0] < ends[1] - 0.2 and ends[2] == ends[3] == ends[1]


def test_a_second_start_is_not_tried_where_there_is_one_mode():
    class Counted(Wells):
        calls = 0

        def __call__(self, values, group=None):
            type(self).calls += 1
            return super().__call__(values, group)

    y, depth = np.random.default_rng(0).normal(0, 0.5, 20), np.full(20, -1000.0)
    calls = []
    for starts in ([USUAL], [USUAL, (np.full(1, 6.0), np.ones(1))]):
        Counted.calls = 0
        find_population(Counted(y, depth), Scale(FREE), starts, NONE, PopulationPrior(FREE))
        calls.append(Counted.calls)
    assert calls[0] == calls[1]


def test_task_sets_are_within_reach_of_the_sampler():
    """Scaled by modes of so rugged a likelihood, steps were .002 long and trees as deep as they may be."""
    rng, model = np.random.default_rng(0), task_sets()
    truth = {"alpha": 0.4, "beta": 6.0, "forget": 0.1, "alpha_high": 0.3, "beta_high": 6.0}
    values = {name: value * rng.uniform(0.8, 1.2, 5) for name, value in truth.items()}
    data = model.simulate(AlienTask(), 60, values, seed=0)
    with pytest.warns(match="effective sample size"):
        result = fit(model, data, "nuts", draws=50, tune=100, chains=1, n_threads=1)
    assert (result.statistics["step_size"] > 0.05).all()
    assert result.statistics["n_steps"].mean() < 127
    assert result.n_divergences < 10

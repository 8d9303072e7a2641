"""Profile intervals, against profiles of a likelihood of the test's own, at bounds, and by their coverage."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import binom, chi2

from spice.inference.profile import profile_intervals
from spice.inference.refine import Refinement
from spice.inference.uncertainty import delta_method
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]
RISE = chi2.isf(0.05, 1) / 2


def refinement_of(data, estimation="mle", n_participants=1):
    """Rescorla-Wagner, by maximum likelihood."""
    torch.manual_seed(0)
    network = RescorlaWagnerRNN.build(data.n_actions, n_participants, hidden_size=2).double()
    network.n_participants = n_participants
    return Refinement(network, RESCORLA_WAGNER_CONFIG, data, 1, estimation)


def fits_of(refinement, helpers):
    """The delta rule for every participant."""
    layout, n = refinement.layout, refinement.problem.trials.n_groups
    begin = np.zeros((n, layout.n_numbers))
    begin[:, [helpers.number_of(layout, *key) for key in DELTA]] = 0.6, 1.0
    row = helpers.structure(layout, DELTA, tied=())
    return refinement._refit(row[[0] * n], np.arange(n), begin)


def reading_of(refinement, helpers, fit):
    group = int(fit.group[0])
    return lambda numbers: helpers.read(refinement.problem, refinement.layout, fit.rows, numbers, group)[0]


def loss_of(data, beta, alpha, start, forgetting=0.0):
    """Negative log-likelihood of Rescorla-Wagner with forgetting, for one participant."""
    xs, ys = data.xs.double().numpy(), data.ys.double().numpy()
    q, total = np.full((len(xs), 2), start), 0.0
    for t in range(xs.shape[1]):
        chosen = xs[:, t, :2] == 1
        q = q + np.where(chosen, alpha * (np.nan_to_num(xs[:, t, 2:4]) - q), forgetting * (start - q))
        logits = beta * q
        total -= (ys[:, t] * (logits - np.logaddexp(logits[:, :1], logits[:, 1:]))).sum()
    return total


def penalised_loss_of(data, beta, alpha, start, forgetting=0.0):
    """With the priors on what an outcome adds, beta alpha (standard deviation 10), and on the start, beta Q0 (5)."""
    return loss_of(data, beta, alpha, start, forgetting) + (beta * alpha / 10) ** 2 / 2 + (beta * start / 5) ** 2 / 2


def assert_ends(loss, best, which, end, tolerance):
    """That one parameter's interval ends there within the tolerance, by minimising over the others on either side."""
    others, side = [i for i in range(len(best)) if i != which], np.sign(end - best[which])
    least, begin = loss(*best), np.array(best)[others]
    for value, is_beyond in ((end - side * tolerance, False), (end + side * tolerance, True)):
        found = minimize(
            lambda rest, value=value: loss(*np.insert(rest, which, value)),
            begin,
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000},
        )
        begin = found.x
        assert (found.fun - least > RISE) == is_beyond, (which, end, value, found.fun - least)


@pytest.fixture(scope="module")
def small(helpers):
    """Few choices: the likelihood is skewed."""
    data = helpers.simulated(4, 50, seed=3, alpha_reward=0.3, beta_reward=3.0)
    refinement = refinement_of(data)
    fit = fits_of(refinement, helpers)
    return data, refinement, fit, reading_of(refinement, helpers, fit)


def test_intervals_are_those_of_an_independent_profile(small):
    data, refinement, fit, reading = small
    intervals, normal = profile_intervals(refinement._refit, fit, [reading])[0], delta_method(reading, fit)[0]
    best = [reading(fit.numbers[0])[name] for name in ("beta", "alpha", "initial_value")]
    loss = partial(loss_of, data)
    assert loss(*best) == pytest.approx(fit.loss[0], rel=1e-9)
    for which, name in enumerate(("beta", "alpha", "initial_value")):
        entry = intervals[name]
        assert (entry.value, entry.se) == (normal[name].value, normal[name].se)
        assert entry.low < best[which] < entry.high
        for end in (entry.low, entry.high):
            assert_ends(loss, best, which, end, 2e-3 * (entry.high - entry.low))


def test_they_are_skewed_where_the_likelihood_is(small):
    """At the ends the loss is what it should be, which that of normal intervals is not."""
    _, refinement, fit, reading = small
    entry, normal = (
        profile_intervals(refinement._refit, fit, [reading])[0]["beta"],
        delta_method(reading, fit)[0]["beta"],
    )
    assert entry.high - entry.value > 1.2 * (entry.value - entry.low)
    assert normal.high - normal.value == pytest.approx(normal.value - normal.low)


def test_priors_are_part_of_the_profile(helpers):
    data = helpers.simulated(2, 40, seed=3, alpha_reward=0.3, beta_reward=3.0)
    refinement = refinement_of(data, "map")
    fit = fits_of(refinement, helpers)
    reading = reading_of(refinement, helpers, fit)
    best = [reading(fit.numbers[0])[name] for name in ("beta", "alpha", "initial_value")]
    entry = profile_intervals(refinement._refit, fit, [reading])[0]["initial_value"]
    assert entry.low < best[2] < entry.high
    for end in (entry.low, entry.high):
        assert_ends(partial(penalised_loss_of, data), best, 2, end, 2e-3 * (entry.high - entry.low))


def test_what_the_data_do_not_bound_has_no_end(helpers):
    """The choices of a person who does not learn: where all values start is open, were beta 0."""
    data = helpers.simulated(4, 50, seed=0, alpha_reward=0.3, beta_reward=0.0)
    refinement = refinement_of(data)
    fit = fits_of(refinement, helpers)
    found = profile_intervals(refinement._refit, fit, [reading_of(refinement, helpers, fit)])[0]
    assert found["beta"].low < 0 < found["beta"].high and found["initial_value"].high == np.inf


def test_a_rate_that_may_be_one_ends_there(helpers):
    data = helpers.simulated(6, 50, seed=0, alpha_reward=0.97, beta_reward=3.0)
    refinement = refinement_of(data)
    fit = fits_of(refinement, helpers)
    reading = reading_of(refinement, helpers, fit)
    entry = profile_intervals(refinement._refit, fit, [reading])[0]["alpha"]
    assert 0.5 < entry.low < entry.value < 1 == entry.high
    best = [reading(fit.numbers[0])[name] for name in ("beta", "alpha", "initial_value")]
    assert_ends(partial(loss_of, data), best, 1, entry.low, 1e-3)
    fixed = minimize(lambda rest: loss_of(data, rest[0], 1.0, rest[1]), [best[0], best[2]], method="Nelder-Mead")
    assert fixed.fun - fit.loss[0] < RISE  # 1 is no worse than it may be


def test_a_number_at_its_bound_ends_there(helpers):
    """Values of the other options that are kept, in a structure that lets them decay: no more than all is kept."""
    data = helpers.simulated(8, 50, seed=1, alpha_reward=0.3, beta_reward=3.0)
    posed = helpers.pose_problem(data)
    free = [*DELTA, (OTHERS, OTHERS)]
    at = [helpers.number_of(posed.layout, *key) for key in free]
    numbers = np.zeros((1, posed.layout.n_numbers))
    numbers[0, at] = 0.6, 1.0, 0.95
    fit = posed.refit(helpers.structure(posed.layout, free), np.zeros(1, int), numbers)
    entry = profile_intervals(posed.refit, fit, [lambda values: {"kept": values[at[2]]}])[0]["kept"]
    assert entry.value == entry.high == 1.0 and 0.5 < entry.low < 1.0
    read = reading_of(posed, helpers, fit)(np.where(np.arange(posed.layout.n_numbers) == at[2], 0.9, fit.numbers[0]))
    best = [read["beta"], read["alpha"], read["initial_value"], 0.0]
    assert_ends(partial(penalised_loss_of, data), best, 3, 1 - entry.low, 2e-3 * (1 - entry.low))


def test_what_no_number_changes_keeps_its_value(small):
    _, refinement, fit, reading = small
    found = profile_intervals(refinement._refit, fit, [lambda numbers: reading(numbers) | {"fixed": 1.0}])[0]
    assert (found["fixed"].low, found["fixed"].value, found["fixed"].high) == (1.0, 1.0, 1.0)


def test_the_fit_is_left_as_it_was(small):
    _, refinement, fit, reading = small
    before = fit.numbers.copy(), fit.nll.copy()
    profile_intervals(refinement._refit, fit, [reading])
    np.testing.assert_array_equal(before[0], fit.numbers)
    np.testing.assert_array_equal(before[1], fit.nll)


def test_people_at_once_have_what_they_have_alone(helpers):
    data = helpers.simulated(9, 40, seed=6, alpha_reward=0.4, beta_reward=4.0)
    data.xs[..., -1] = torch.arange(3).repeat_interleave(3)[:, None]
    refinement = refinement_of(data, n_participants=3)
    fits = fits_of(refinement, helpers)
    readings = [reading_of(refinement, helpers, fits[[person]]) for person in range(3)]
    together = profile_intervals(refinement._refit, fits, readings)
    for person in range(3):
        alone = profile_intervals(refinement._refit, fits[[person]], [readings[person]])[0]
        for name, entry in alone.items():
            assert together[person][name].low == pytest.approx(entry.low, abs=1e-3 * entry.se)
            assert together[person][name].high == pytest.approx(entry.high, abs=1e-3 * entry.se)


def test_coverage(helpers):
    """Of 60 people's parameters, at rates near 1; the number covered is binomial (checked at its 0.1 % points)."""
    n_people, truth = 60, {"beta": 4.0, "alpha": 0.9, "initial_value": 0.5}
    data = helpers.simulated(4 * n_people, 40, seed=5, alpha_reward=0.9, beta_reward=4.0)
    data.xs[..., -1] = torch.arange(n_people).repeat_interleave(4)[:, None]
    refinement = refinement_of(data, n_participants=n_people)
    fits = fits_of(refinement, helpers)
    covered = dict.fromkeys(truth, 0)
    readings = [reading_of(refinement, helpers, fits[[person]]) for person in range(n_people)]
    for found in profile_intervals(refinement._refit, fits, readings):
        for name, value in truth.items():
            covered[name] += found[name].low <= value <= found[name].high
    low, high = binom.ppf([0.001, 0.999], n_people, 0.95)
    assert all(low <= count <= high for count in covered.values()), covered

"""Refits against SciPy on independent likelihoods, and within their bounds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize

from spice.inference.refit import LARGEST, newton_steps
from spice.inference.structure import Structures
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]
CROSSED = (LEARNT, f"{LEARNT} c_reward")


def rescorla_wagner(parameters, data):
    """Negative log posterior of alpha, beta and the start value, sessions side by side.

    Weak priors: alpha beta, what an outcome adds, is normal with standard deviation 10, beta start with 5.
    """
    alpha, beta, start = parameters
    xs, ys = data.xs.double().numpy(), data.ys.numpy()
    q, total = np.full((len(xs), 2), float(start)), (alpha * beta / 10) ** 2 / 2 + (beta * start / 5) ** 2 / 2
    for t in range(xs.shape[1]):
        chosen = xs[:, t, :2] == 1
        q = np.where(chosen, q + alpha * (np.nan_to_num(xs[:, t, 2:4]) - q), q)
        logits = beta * q
        total -= (logits[ys[:, t] == 1] - np.logaddexp(logits[:, 0], logits[:, 1])).sum()
    return total


def hessian(function, x, step=1e-3):
    n = len(x)
    unit = step * np.eye(n)
    return np.array(
        [
            [
                (function(x + a + b) - function(x + a - b) - function(x - a + b) + function(x - a - b)) / (4 * step**2)
                for b in unit
            ]
            for a in unit
        ]
    )


def fitted(posed, row, numbers, group=0):
    return posed.refit(row, np.full(len(row), group), numbers)


def begin(posed, helpers, n_rows=1, **values):
    """First estimates: of the delta rule, and others by name."""
    numbers = np.zeros((n_rows, posed.layout.n_numbers))
    numbers[:, helpers.number_of(posed.layout, LEARNT, LEARNT)] = values.get("own", 0.6)
    numbers[:, helpers.number_of(posed.layout, LEARNT, "c_reward")] = values.get("reward", 1.0)
    return numbers


def multipliers(posed, helpers, fit, module, signal, extremes):
    own, term = (helpers.number_of(posed.layout, module, name) for name in (module, f"{module} {signal}"))
    values, _ = posed.layout.coefficients(fit.numbers, fit.rows)
    return np.array([values[:, own] + value * values[:, term] for value in extremes])


def prior_slopes(helpers, posed, fit, step=1e-4):
    """Derivatives of the priors' part by each number, (n_rows, n_numbers)."""
    ends = [
        helpers.penalty(posed.layout, SimpleNamespace(rows=fit.rows, numbers=fit.numbers + sign * step * unit))
        for unit in np.eye(posed.layout.n_numbers)
        for sign in (1, -1)
    ]
    return ((np.array(ends[::2]) - np.array(ends[1::2])) / (2 * step)).T


@pytest.fixture(scope="module")
def simulation(helpers):
    data = helpers.simulated(20, 60, seed=3, alpha_reward=0.4, beta_reward=3.0, start=0.3)
    return helpers.pose_problem(data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)


def growing(helpers, without, rewarded, shown=False):
    """Short sessions of people whose value is multiplied by these, without and with reward, before what it learns."""
    rng, n_sessions, n_trials = np.random.default_rng(0), 300, 6
    x, choices, rewards = np.zeros((n_sessions, 2)), [], []
    for _ in range(n_trials + 1):
        second = rng.random(n_sessions) < 1 / (1 + np.exp(x[:, 0] - x[:, 1]))
        choice = np.eye(2)[second.astype(int)]
        outcomes = (rng.random((n_sessions, 2)) < 0.6).astype(float)
        x = np.where(choice == 1, np.where(outcomes == 1, rewarded * x + 0.8, without * x - 0.1), x)
        choices.append(choice)
        rewards.append(outcomes if shown else np.where(choice == 1, outcomes, np.nan))
    choices, rewards = np.stack(choices, 1), np.stack(rewards, 1)
    xs = np.concatenate([choices, rewards, np.zeros((n_sessions, n_trials + 1, 1))], -1)[:, :-1]
    return helpers.pose_problem(DatasetRNN(xs, choices[:, 1:]))


@pytest.fixture(scope="module")
def unstable(helpers):
    return growing(helpers, 0.5, 1.4)


# ---------------------------------------------------------------------- the maximum


def test_the_maximum_is_scipys(helpers, simulation):
    fit = fitted(simulation, helpers.structure(simulation.layout, DELTA), begin(simulation, helpers))
    other = minimize(rescorla_wagner, [0.3, 2.0, 0.5], args=(simulation.data,), method="BFGS", jac="3-point")
    own, outcome = (fit.numbers[0, helpers.number_of(simulation.layout, *key)] for key in DELTA)
    start = fit.numbers[0, simulation.layout.starts[0]]
    found = np.array([1 - own, outcome / (1 - own), start * (1 - own) / outcome])
    errors = np.sqrt(np.diag(np.linalg.inv(hessian(lambda x: rescorla_wagner(x, simulation.data), other.x))))
    assert fit.converged.all()
    assert fit.loss[0] == pytest.approx(other.fun, abs=1e-5)
    np.testing.assert_array_less(np.abs(found - other.x), 1e-3 * errors)
    assert (np.abs(found - [0.4, 3.0, 0.3]) < 4 * errors).all()  # and that is near the truth


def test_the_maximum_has_no_slope(helpers):
    """Of many structures at once, by autograd through the recursion; numbers at bounds may have one."""
    posed = helpers.pose_problem(helpers.simulated(30, 40, seed=4, n_actions=3, alpha_counterfactual=0.2))
    rows = Structures.concatenate(
        [
            helpers.structure(posed.layout, [(REPEATED, "1"), 1, 2]),
            helpers.structure(posed.layout, DELTA),
            helpers.structure(posed.layout, [*DELTA, (OTHERS, OTHERS), 1]),
            helpers.structure(posed.layout, [*DELTA, (OTHERS, OTHERS), (REPEATED, "1")], [NOT_REPEATED, OTHERS]),
        ]
    )
    fit = fitted(posed, rows, begin(posed, helpers, len(rows)))
    assert fit.converged.all()
    values, jacobian = posed.layout.coefficients(fit.numbers, fit.rows)
    for row in range(len(rows)):
        leaf = torch.tensor(values[row], requires_grad=True)
        terms, biases = helpers.terms_of(posed.problem, leaf), leaf[posed.library.n_terms :]
        nll = helpers.nll_of(helpers.recursion(posed.data, terms, biases), posed.data).sum()
        nll.backward()
        assert fit.loss[row] == pytest.approx(float(nll.detach()) + helpers.penalty(posed.layout, fit)[row], rel=1e-12)
        slope = leaf.grad.numpy() @ jacobian[row] + prior_slopes(helpers, posed, fit)[row]
        inside = fit.rows.free[row] & (np.abs(fit.numbers[row]) < LARGEST)
        inside[posed.library.own] &= np.abs(fit.numbers[row][posed.library.own]) < 1
        error = np.sqrt(np.diag(np.linalg.pinv(fit.fisher[row][np.ix_(inside, inside)])))
        np.testing.assert_array_less(np.abs(slope[inside]) * error, 5e-3)  # in units of standard errors


def test_numbers_that_are_not_free_are_0_and_have_no_information(helpers, simulation):
    fit = fitted(simulation, helpers.structure(simulation.layout, DELTA), begin(simulation, helpers))
    fixed = ~fit.rows.free[0]
    assert fit.rows.free[0].sum() == 3 and (fit.numbers[0][fixed] == 0).all()
    assert (fit.fisher[0][fixed] == 0).all() and (fit.fisher[0][:, fixed] == 0).all()


def test_the_information_is_about_the_numbers(helpers, simulation):
    """Expected information against the curvature of the independent likelihood: equal up to sampling error."""
    fit = fitted(simulation, helpers.structure(simulation.layout, DELTA), begin(simulation, helpers))
    at = [helpers.number_of(simulation.layout, *key) for key in DELTA] + [simulation.layout.starts[0]]

    def nll(numbers):
        a, b, s = numbers
        return rescorla_wagner([1 - a, b / (1 - a), s * (1 - a) / b], simulation.data)

    expected = np.linalg.inv(hessian(nll, fit.numbers[0, at]))
    found = np.linalg.inv(fit.fisher[0][np.ix_(at, at)])
    np.testing.assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(expected)), rtol=0.1)


@pytest.fixture(scope="module")
def many_fits(helpers, random_data):
    """Of random choices, from random numbers: problem, structures, starts, fits."""
    found = []
    for seed in range(4):
        posed = helpers.pose_problem(helpers.with_outcomes(random_data(8, 20, seed=seed)))
        rows = Structures.concatenate(
            [
                helpers.structure(posed.layout, [*DELTA, CROSSED, 1]),
                helpers.structure(posed.layout, [*DELTA, (OTHERS, OTHERS)], [NOT_REPEATED, OTHERS]),
                helpers.structure(posed.layout, [(REPEATED, "1"), (REPEATED, REPEATED)]),
                helpers.structure(posed.layout, [*DELTA, (LEARNT, "c_reward^2")]),
            ]
            * 5
        )
        numbers = np.random.default_rng(seed).uniform(-0.4, 0.4, (len(rows), posed.layout.n_numbers))
        found.append((posed, rows, numbers, fitted(posed, rows, numbers)))
    return found


def test_never_worse_than_the_start(helpers, many_fits):
    for posed, rows, numbers, fit in many_fits:
        values, _ = posed.layout.coefficients(numbers, rows)
        first = posed.likelihood(values, np.zeros(values.shape, bool), np.zeros(len(rows), int)).nll
        first += helpers.penalty(posed.layout, SimpleNamespace(rows=rows, numbers=numbers))
        assert np.isfinite(first).all() and (fit.loss <= first).all()
        again = fitted(posed, rows, fit.numbers)
        assert (again.loss <= fit.loss + 1e-9).all()


def test_nothing_is_gained_once_it_has_converged(many_fits):
    for posed, rows, _, fit in many_fits:
        again = fitted(posed, rows, fit.numbers)
        np.testing.assert_allclose(again.loss[fit.converged], fit.loss[fit.converged], atol=1e-6)


def test_rows_do_not_mix(helpers, random_data):
    posed = helpers.pose_problem(random_data(6, 20, n_participants=2), n_participants=2)
    rows = Structures.concatenate(
        [
            helpers.structure(posed.layout, DELTA),
            helpers.structure(posed.layout, [*DELTA, CROSSED]),
            helpers.structure(posed.layout, [(REPEATED, "1"), 1]),
            helpers.structure(posed.layout, []),
        ]
    )
    group, numbers = np.array([0, 1, 1, 0]), begin(posed, helpers, 4)
    together = posed.refit(rows, group, numbers)
    for row in range(4):
        own = posed.refit(rows[[row]], group[[row]], numbers[[row]])
        np.testing.assert_allclose(own.loss[0], together.loss[row], rtol=1e-12)
        np.testing.assert_allclose(own.numbers[0], together.numbers[row], rtol=1e-8, atol=1e-10)
    assert together.loss[3] == pytest.approx(posed.problem.trials.n_scored()[0] * np.log(2))


# ---------------------------------------------------------------------- bounds


def objective(helpers, posed, build, weak):
    """Negative log posterior and its gradient; ``build`` makes terms of a tensor, whose entries have weak priors."""
    precisions = np.array([0.0 if sd is None else sd**-2.0 for sd in weak])

    def function(x):
        leaf = torch.tensor(x, requires_grad=True)
        nll = helpers.nll_of(helpers.recursion(posed.data, build(leaf)), posed.data).sum()
        nll.backward()
        return float(nll.detach()) + precisions @ x**2 / 2, leaf.grad.numpy() + precisions * x

    return function


def constrained(helpers, posed, build, weak, first, bounds):
    """The best within bounds, by L-BFGS-B on the independent recursion."""
    function = objective(helpers, posed, build, weak)
    return minimize(function, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-7})


def test_a_multiplier_stays_within_its_bounds(helpers):
    """The maximum lies above 1; the best within the bounds is found."""
    posed = growing(helpers, 1.3, 1.3)
    fit = fitted(posed, helpers.structure(posed.layout, DELTA), begin(posed, helpers))

    def build(x):
        a, b, s = x
        return {LEARNT: {"1": -(1 - a) * s, LEARNT: a, "c_reward": b}}

    wide = (-LARGEST, LARGEST)
    free = constrained(helpers, posed, build, [None, 10, 5], [0.6, 1.0, 0.0], [(None, None)] * 3)
    best = constrained(helpers, posed, build, [None, 10, 5], [0.6, 1.0, 0.0], [(-1, 1), wide, wide])
    assert free.x[0] > 1.05 and free.fun < best.fun - 0.1
    assert fit.numbers[0, helpers.number_of(posed.layout, LEARNT, LEARNT)] == pytest.approx(1.0, abs=1e-12)
    assert fit.loss[0] == pytest.approx(best.fun, abs=1e-4) and fit.converged[0]


def test_multipliers_with_an_interaction_stay_within_their_bounds(helpers, unstable):
    fit = fitted(unstable, helpers.structure(unstable.layout, [*DELTA, CROSSED]), begin(unstable, helpers))

    def build(x):  # multipliers without and with reward
        least, most, b, s = x
        return {LEARNT: {"1": -(1 - least) * s, LEARNT: least, "c_reward": b, CROSSED[1]: most - least}}

    first, wide = [0.6, 0.6, 1.0, 0.0], (-LARGEST, LARGEST)
    free = constrained(helpers, unstable, build, [None, None, 10, 5], first, [(None, None)] * 4)
    best = constrained(helpers, unstable, build, [None, None, 10, 5], first, [(-1, 1), (-1, 1), wide, wide])
    assert free.x[1] > 1.2 and free.fun < best.fun - 0.5
    found = multipliers(unstable, helpers, fit, LEARNT, "c_reward", (0.0, 1.0))
    assert (np.abs(found) <= 1 + 1e-9).all() and found[1, 0] == pytest.approx(1.0)
    assert fit.loss[0] == pytest.approx(best.fun, abs=1e-4)


STUCK = pytest.mark.xfail(strict=True, reason="steps are shortened at such limits, but never go along them")


@pytest.mark.parametrize("first", [-0.9, -0.4, -0.01])
def test_an_interaction_without_a_free_multiplier_is_fitted_within_its_bounds(helpers, unstable, first):
    """Kept whole without reward, so that the multiplier with reward is 1 + e: e lies in [-1, 0]."""
    row = helpers.structure(unstable.layout, [(LEARNT, "c_reward"), CROSSED])
    numbers = begin(unstable, helpers)
    numbers[:, helpers.number_of(unstable.layout, *CROSSED)] = first
    fit = fitted(unstable, row, numbers)

    def build(x):
        e, b = x
        return {LEARNT: {LEARNT: 1.0, "c_reward": b, CROSSED[1]: e}}

    best = constrained(helpers, unstable, build, [None, 10], [-0.4, 1.0], [(-2, 0), (-LARGEST, LARGEST)])
    assert fit.loss[0] == pytest.approx(best.fun, abs=1e-4)


BOTH = [(OTHERS, f"{OTHERS} c_reward"), (OTHERS, f"{OTHERS} c_outcome")]


@pytest.fixture(scope="module")
def two_interactions(helpers):
    """Fits from several starts of a model in which reward and own outcome both change what the others keep."""
    posed = growing(helpers, 0.5, 1.4, shown=True)
    row = helpers.structure(posed.layout, [*DELTA, CROSSED, (OTHERS, OTHERS), *BOTH])
    numbers = begin(posed, helpers, 4)
    numbers[:, helpers.number_of(posed.layout, OTHERS, OTHERS)] = [0.5, 0.9, 0.0, -0.5]
    return posed, posed.refit(row[[0, 0, 0, 0]], np.zeros(4, int), numbers)


def test_multipliers_with_two_interactions_stay_within_their_bounds(helpers, two_interactions):
    """At every combination of extremes."""
    posed, fit = two_interactions
    a, e, f = (fit.numbers[:, helpers.number_of(posed.layout, *key)] for key in [(OTHERS, OTHERS), *BOTH])
    assert np.abs([a, a + e, a + f, a + e + f]).max() <= 1 + 1e-9


@pytest.fixture(scope="module")
def best_of_two_interactions(helpers, two_interactions):
    """By SLSQP on the independent recursion."""
    posed, _ = two_interactions

    def build(x):
        least, most, b, s, a, e, f = x
        chosen = {"1": -(1 - least) * s, LEARNT: least, "c_reward": b, CROSSED[1]: most - least}
        return {LEARNT: chosen, OTHERS: {"1": -(1 - a) * s, OTHERS: a, BOTH[0][1]: e, BOTH[1][1]: f}}

    function = objective(helpers, posed, build, [None, None, 10, 5, None, None, None])
    extremes = np.array([[0, 0, 0, 0, 1, e, f] for e in (0, 1) for f in (0, 1)], float)
    extremes = np.concatenate([extremes, np.eye(7)[:2]])
    limits = {"type": "ineq", "fun": lambda x: 1 - np.concatenate([extremes, -extremes]) @ x}
    first, options = [0.5, 0.9, 1, 0, 0.5, 0, 0], {"ftol": 1e-10}
    return minimize(function, first, jac=True, method="SLSQP", constraints=limits, options=options).fun


@STUCK
def test_two_interactions_are_fitted_within_their_bounds(two_interactions, best_of_two_interactions):
    np.testing.assert_allclose(two_interactions[1].loss, best_of_two_interactions, atol=1e-3)


def test_what_was_not_reached_does_not_count_as_converged(two_interactions, best_of_two_interactions):
    fit = two_interactions[1]
    assert (fit.loss > best_of_two_interactions - 1e-3).all()
    assert not fit.converged[fit.loss > best_of_two_interactions + 1e-3].any()


def test_separated_choices_end_where_the_prior_holds_them(helpers):
    """Option 1 is chosen throughout: the likelihood of its bias alone has no maximum."""
    xs = np.tile([0.0, 1.0, np.nan, 1.0, 0.0], (4, 10, 1))
    posed = helpers.pose_problem(DatasetRNN(xs, xs[..., :2]))
    fit = fitted(posed, helpers.structure(posed.layout, [1]), np.zeros((1, posed.layout.n_numbers)))
    expected = brentq(lambda bias: bias / 100 - 40 / (1 + np.exp(bias)), 0.0, LARGEST)
    assert fit.numbers[0, posed.layout.biases[1]] == pytest.approx(expected, abs=1e-3)
    assert fit.loss[0] == pytest.approx(40 * np.log1p(np.exp(-expected)) + expected**2 / 200, abs=1e-6)


# ---------------------------------------------------------------------- what the data do not tell


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_an_input_that_never_varies_does_not_crash(helpers, simulation, reward):
    data = simulation.data.replace(simulation.data.xs.clone(), simulation.data.ys)
    rewards = data.xs[..., 2:4]
    rewards[~rewards.isnan()] = reward
    posed = helpers.pose_problem(data)
    rows = Structures.concatenate(
        [helpers.structure(posed.layout, free) for free in (DELTA, [*DELTA, CROSSED], [*DELTA, (LEARNT, "c_reward^2")])]
    )
    numbers = begin(posed, helpers, len(rows))
    fit = fitted(posed, rows, numbers)
    assert np.isfinite(fit.loss).all() and np.isfinite(fit.numbers).all() and np.isfinite(fit.fisher).all()
    np.testing.assert_allclose(fit.loss, fit.loss[0], atol=1e-4)  # the further terms say nothing new
    _, told_apart = posed.problem.met()
    assert not told_apart[0, helpers.number_of(posed.layout, *DELTA[1])]


def test_newton_steps_are_those_of_the_quadratic():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 5, 5)) * 10.0 ** rng.uniform(-3, 3, (3, 1, 5))
    information, gradient = root.transpose(0, 2, 1) @ root, rng.normal(size=(3, 5))
    free = np.ones((3, 5), bool)
    free[1, 2], free[2, :2] = False, False
    steps = newton_steps(gradient, information, np.zeros(3), free)
    for row in range(3):
        at = free[row]
        np.testing.assert_allclose(
            steps[row, at], -np.linalg.solve(information[row][np.ix_(at, at)], gradient[row, at]), rtol=1e-6
        )
        assert (steps[row, ~at] == 0).all()


def test_newton_steps_leave_alone_what_has_no_curvature():
    information = np.diag([2.0, 0.0, 3.0])[None]
    steps = newton_steps(np.array([[1.0, 0.0, 1.0]]), information, np.zeros(1), np.ones((1, 3), bool))
    np.testing.assert_allclose(steps, [[-0.5, 0.0, -1 / 3]], rtol=1e-12)

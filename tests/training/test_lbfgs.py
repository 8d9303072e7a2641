"""L-BFGS on functions whose minimum is known, against SciPy's, and stopped and gone on with at any point."""

import copy

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from spice.training.lbfgs import MEMORY, LBFGSState, lbfgs

SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9  # Nocedal & Wright (2006), section 3.1: values for quasi-Newton methods


def drive(function, start, first_step=1e-2, tolerance=1e-14, most=3000, state=None, on_answer=None):
    """Answer until it ends; returns its state, the points it asked for, and why it ended."""
    state = LBFGSState(np.array(start, dtype=float)) if state is None else state
    dialogue, asked = lbfgs(state, first_step, tolerance), []
    point = next(dialogue)
    while len(asked) < most:
        asked.append(point.copy())
        try:
            point = dialogue.send(function(point))
        except StopIteration as end:
            return state, asked, end.value
        if on_answer is not None:
            on_answer(state)
    return state, asked, "not ended"


def rosenbrock(x):
    return float(rosen(x)), rosen_der(x)


def quadratic(n=12, decades=4, seed=0):
    """A quadratic form with eigenvalues over several decades, in directions of no axis."""
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    matrix = axes @ np.diag(np.logspace(-decades / 2, decades / 2, n)) @ axes.T
    minimum = np.arange(n) / n

    def function(x):
        return float(0.5 * (x - minimum) @ matrix @ (x - minimum)), matrix @ (x - minimum)

    return function, minimum, matrix


def logistic(seed=0):
    """A regression of 300 choices on 5 predictors, with a normal prior."""
    rng = np.random.default_rng(seed)
    predictors = rng.normal(size=(300, 5))
    chosen = rng.random(300) < 1 / (1 + np.exp(-predictors @ np.arange(-2, 3)))

    def function(x):
        z = predictors @ x
        slope = predictors.T @ (1 / (1 + np.exp(-z)) - chosen) + x
        return float(np.logaddexp(0, z).sum() - z[chosen].sum() + 0.5 * x @ x), slope

    return function


# ---------------------------------------------------------------------- minima


@pytest.mark.parametrize("n", [2, 10, 40])
def test_rosenbrocks_valley(n):
    start = np.tile([-1.2, 1.0], n // 2)
    state, asked, reason = drive(rosenbrock, start)
    options = {"maxcor": MEMORY, "ftol": 0, "gtol": 1e-8}
    other = minimize(rosenbrock, start, jac=True, method="L-BFGS-B", options=options)
    assert state.loss < 1e-10 and reason in ("the loss no longer changes", "the gradient is zero")
    np.testing.assert_allclose(state.parameters, 1.0, atol=1e-4)
    assert len(asked) <= 1.6 * other.nfev  # no more than its share of work


@pytest.mark.parametrize("decades", [0, 2, 4])
def test_a_quadratic(decades):
    function, minimum, _ = quadratic(decades=decades)
    state, _, _ = drive(function, np.ones(12))
    assert state.loss < 1e-10
    np.testing.assert_allclose(state.parameters, minimum, atol=1e-4)


def test_a_regression_equals_scipys():
    other = minimize(logistic(), np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9})
    state, asked, _ = drive(logistic(), np.zeros(5))
    assert state.loss == pytest.approx(other.fun, rel=1e-12)
    np.testing.assert_allclose(state.parameters, other.x, atol=1e-5)
    assert len(asked) <= 40


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_loss_does_not_matter(scale):
    function, minimum, _ = quadratic(decades=1)
    state, _, _ = drive(lambda x: tuple(scale * part for part in function(x)), np.ones(12), tolerance=1e-14 * scale)
    np.testing.assert_allclose(state.parameters, minimum, atol=1e-3)


def test_a_start_at_the_minimum_stays_there():
    state, asked, reason = drive(rosenbrock, np.ones(4))
    assert len(asked) == 1 and state.iterations == 0 and reason == "the gradient is zero"
    np.testing.assert_array_equal(state.parameters, 1.0)


@pytest.mark.parametrize("beyond", [(np.inf, np.nan), (np.nan, np.nan), (np.inf, 0.0)])
def test_a_boundary_beyond_which_there_is_nothing(beyond):
    """-log of a distance, and a pull towards the boundary: the minimum lies shortly before it."""

    def function(x):
        distance = 1 - x.sum()
        if distance <= 0:
            return beyond[0], np.full_like(x, beyond[1])
        return float(-np.log(distance) - 50 * x.sum() + x @ x), 1 / distance - 50 + 2 * x

    first = drive(function, np.zeros(3), first_step=10.0, most=1)  # the first step would reach beyond
    assert np.isfinite(first[0].loss)
    for first_step in (1e-2, 10.0):
        state, asked, _ = drive(function, np.zeros(3), first_step=first_step)
        s = state.parameters.sum()
        assert 1 / (1 - s) - 50 + 2 * s / 3 == pytest.approx(0, abs=1e-2)  # the slope along the sum, of up to 2,500
        np.testing.assert_allclose(state.parameters, s / 3, atol=1e-5)
        assert len(asked) < 100


def well(width):
    """A hollow 10 away: nearly flat at the start, and steeper with every step until halfway."""

    def function(x):
        z = (x - 10) / width
        depth = np.exp(-0.5 * z @ z)
        return float(1 - depth), depth * z / width

    return function


def plateau(x):
    """Steps down from 1 at 5, with a weak pull: the loss of a saturated network."""
    up = 1 / (1 + np.exp(x - 5))
    return float((1 - up).sum() + 1e-4 * x @ x), up * (1 - up) + 2e-4 * x


@pytest.mark.parametrize(("function", "start"), [(well(3.0), 0.0), (well(5.0), 0.0), (plateau, 9.0)])
def test_a_way_down_that_gets_steeper_is_walked_in_long_strides(function, start):
    other = minimize(function, np.full(2, start), jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-8})
    state, asked, _ = drive(function, np.full(2, start), most=300)
    assert state.loss == pytest.approx(other.fun, abs=1e-8)
    assert len(asked) <= 4 * other.nfev


def test_rounding_errors_end_the_search():
    """A loss known to seven digits: no endless search for what cannot be seen."""

    def function(x):
        loss, gradient = rosenbrock(x.astype(np.float32))
        return float(np.float32(loss + 1.0)), gradient.astype(np.float32).astype(float)

    state, asked, reason = drive(function, [-1.2, 1.0, -1.2, 1.0], tolerance=1e-9)
    assert reason != "not ended" and len(asked) < 200
    np.testing.assert_allclose(state.parameters, 1.0, atol=0.02)


# ---------------------------------------------------------------------- what is promised of each step


@pytest.mark.parametrize("start", [[-1.2, 1.0], [3.0, -4.0, 5.0, 0.0], [0.0] * 10])
def test_every_step_has_the_strong_wolfe_conditions(start):
    steps = []

    def watch(state):
        if not steps or state.iterations != steps[-1][0]:
            steps.append((state.iterations, state.parameters.copy(), state.loss, state.gradient.copy()))

    drive(rosenbrock, start, tolerance=1e-8, on_answer=watch)
    assert len(steps) > 10
    for (_, x, loss, gradient), (_, next_x, next_loss, next_gradient) in zip(steps, steps[1:], strict=False):
        step = next_x - x
        assert step @ gradient < 0  # downhill
        assert next_loss <= loss + SUFFICIENT_DECREASE * step @ gradient + 1e-15
        assert abs(next_gradient @ step) <= -CURVATURE * gradient @ step * (1 + 1e-9)


def test_the_state_belongs_to_a_point_that_was_asked_for():
    def check(state):
        loss, gradient = rosenbrock(state.parameters)
        assert state.loss == loss
        np.testing.assert_array_equal(state.gradient, gradient)

    state, asked, _ = drive(rosenbrock, [-1.2, 1.0, 0.5, 2.0], on_answer=check)
    assert any((point == state.parameters).all() for point in asked)
    assert len(state.steps) == len(state.changes) <= MEMORY


@pytest.mark.parametrize("first_step", [1e-3, 1e-2, 0.5])
def test_the_first_step_is_the_learning_rate_at_most(first_step):
    for scale in (1e-3, 1.0, 1e3):
        _, asked, _ = drive(lambda x: (scale * x.sum() ** 2, 2 * scale * x.sum() * np.ones(3)), np.ones(3), first_step)  # noqa: B023
        length = np.linalg.norm(asked[1] - asked[0])
        assert 0 < length <= first_step
        gradient = 6 * scale  # of each of three parameters
        assert length == pytest.approx(first_step * np.sqrt(3) * min(gradient, 1 / 3), rel=1e-9)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_it_ends_at_the_first_decrease_below_the_tolerance(tolerance):
    losses = []

    def watch(state):
        if not losses or state.loss != losses[-1]:
            losses.append(state.loss)

    state, _, reason = drive(rosenbrock, [-1.2, 1.0], tolerance=tolerance, on_answer=watch)
    decreases = -np.diff([*losses, state.loss])
    assert reason == "the loss no longer changes"
    assert (decreases[:-1] > tolerance).all() and 0 <= decreases[-1] <= tolerance


# ---------------------------------------------------------------------- going on


def test_a_state_goes_on_after_any_iteration():
    states = {}

    def keep(state):
        states.setdefault(state.iterations, copy.deepcopy(state))

    end, asked, reason = drive(rosenbrock, [-1.2, 1.0, -1.2, 1.0], on_answer=keep)
    assert len(states) > 20
    for state in states.values():
        again, more, why = drive(rosenbrock, None, state=state)
        assert why == reason and again.loss == end.loss and again.iterations == end.iterations
        np.testing.assert_array_equal(again.parameters, end.parameters)
        np.testing.assert_array_equal(more, asked[-len(more) :])

"""Intervals by the likelihood ratio: profiles by SciPy, bounds, several optima, people who tell nothing."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq, minimize_scalar

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConvergenceWarning, SpiceWarning
from spice.inference import fit
from spice.precoded import choice_kernel

RISE = stats.chi2.ppf(0.95, 1) / 2  # nats
# of the distance from the estimate: the root of twice the rise is 1e-3 from the end at most, before a last step of
# Newton's method, whose error is of second order
CLOSE = 1e-5


def quietly(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return fit(*arguments)


def half_normal(beta):
    return (beta / 10) ** 2 / 2


def profile(loss, k, value):
    """Least loss with one of (alpha, beta) held."""
    if k == 0:
        return min(
            minimize_scalar(lambda b: loss(value, b), bounds=(low, high), options={"xatol": 1e-9}).fun
            for low, high in ((0, 5), (5, 60))
        )
    return minimize_scalar(lambda a: loss(a, value), bounds=(0, 1), options={"xatol": 1e-9}).fun


def ends_by_scipy(loss, found):
    """Where profiles have risen: by bisection between the estimates and the bounds, or a large beta."""
    least = loss(*found)
    ends = {}
    for k, (name, bounds) in enumerate({"alpha": (0, 1), "beta": (0, 60)}.items()):
        for side, bound in zip(("low", "high"), bounds, strict=True):

            def excess(value, k=k):
                return profile(loss, k, value) - least - RISE

            ends[name, side] = brentq(excess, found.iloc[k], bound, xtol=1e-8) if excess(bound) > 0 else bound
    return ends


@pytest.mark.parametrize("method", ["mle", "map"])
def test_profiles_by_scipy(tools, people, method):
    """Half-normal on the natural scale: profiles are the same on every scale."""
    priors = ({"prior": "beta(1, 1)"}, {"prior": "half_normal(10)"}) if method == "map" else ()
    some = [people[0], people[11]]
    result = fit(tools.rescorla_wagner(*priors), tools.dataset_of(some), method)
    intervals = result.intervals
    assert intervals.columns.tolist() == [(n, e) for n in ("alpha", "beta") for e in ("low", "high")]
    for row, person in enumerate(some):

        def loss(alpha, beta, person=person):
            return tools.recursion(alpha, beta, *person)[0] + (half_normal(beta) if method == "map" else 0.0)

        found = result.parameters.iloc[row]
        for (name, side), end in ends_by_scipy(loss, found).items():
            distance = abs(end - found[name])
            assert intervals.loc[row, (name, side)] == pytest.approx(end, abs=CLOSE * distance), (row, name, side)


def test_where_nothing_is_excluded_they_end_at_the_bound(tools):
    """Thirty random choices: any learning rate does with some beta, and any beta with some learning rate."""
    rng = np.random.default_rng(0)
    person = rng.integers(2, size=30), rng.integers(2, size=30).astype(float)
    result = fit(tools.rescorla_wagner(), tools.dataset_of([person]))
    assert not result.at_bound.any().any()

    def loss(alpha, beta):
        return tools.recursion(alpha, beta, *person)[0]

    for alpha, beta in ((0.0, 0.0), (1.0, 0.0), (1e-9, 1e6)):  # the last one learns slowly, and chooses steeply
        assert loss(alpha, beta) - result.nll[0] < RISE
    assert result.intervals["alpha"].iloc[0].tolist() == [0.0, 1.0]
    assert result.intervals["beta"].iloc[0].tolist() == [0.0, np.inf]


def test_a_bound_holds_one_estimate_and_the_other_has_an_interval(tools):
    """With alpha at 1, where it stays as beta moves, the profile of beta is one curve."""
    person = tools.play(1.0, 3.0, 200, np.random.default_rng(4))
    result = fit(tools.rescorla_wagner(), tools.dataset_of([person]))
    assert result.at_bound.alpha[0] and result.intervals["alpha"].isna().all().all()
    ends = ends_by_scipy(lambda a, b: tools.recursion(a, b, *person)[0], result.parameters.iloc[0])
    for side in ("low", "high"):
        distance = abs(ends["beta", side] - result.parameters.beta[0])
        assert result.intervals["beta", side][0] == pytest.approx(ends["beta", side], abs=CLOSE * distance)


def test_one_set_of_parameters_for_all(tools, people):
    result = fit(tools.rescorla_wagner(), tools.dataset_of(people[:2]), pooling="complete")

    def loss(alpha, beta):
        return sum(tools.recursion(alpha, beta, *person)[0] for person in people[:2])

    assert result.intervals.index.tolist() == ["everybody"]
    for (name, side), end in ends_by_scipy(loss, result.parameters.iloc[0]).items():
        distance = abs(end - result.parameters[name].iloc[0])
        assert result.intervals[name, side].iloc[0] == pytest.approx(end, abs=CLOSE * distance)


def test_without_bounds(tools, bandit):
    """The same profile of the inverse temperature, whatever the scale that it is moved on."""

    def ends(**bounds):
        model = SymbolicModel(
            states={"q": State(initial=0.5)},
            updates=[("q", "chosen", "q + alpha * (reward - q)")],
            logits="beta * q",
            parameters={"alpha": Parameter(low=0, high=1), "beta": Parameter(**bounds)},
        )
        return fit(model, tools.dataset_of([bandit])).intervals.iloc[0].to_numpy()

    np.testing.assert_allclose(ends(), ends(low=0), rtol=CLOSE)
    np.testing.assert_allclose(ends(low=-1, high=50), ends(low=0), rtol=CLOSE)


def test_they_reach_over_several_optima(tools):
    """A parameter that counts by its absolute value alone: two optima, of which none is better."""
    model = SymbolicModel(
        states={"q": State(initial=0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="abs(beta) * q",
        parameters={"alpha": Parameter(low=0, high=1), "beta": Parameter(low=-20, high=20)},
    )
    person = tools.play(0.4, 3.0, 150, np.random.default_rng(6))
    result, plain = (fit(m, tools.dataset_of([person])) for m in (model, tools.rescorla_wagner()))
    assert result.nll[0] == pytest.approx(plain.nll[0], abs=1e-6)
    high = plain.intervals["beta", "high"][0]
    np.testing.assert_allclose(result.intervals["beta"].iloc[0], [-high, high], rtol=CLOSE)
    np.testing.assert_allclose(result.intervals["alpha"].iloc[0], plain.intervals["alpha"].iloc[0], atol=CLOSE)


def test_they_hold_every_branch_of_a_profile(tools):
    """Few choices: slow learning with steep choices is another way to explain them. All points of a grid are tried."""
    rng = np.random.default_rng(2)
    some = [tools.play(0.5, 3.0, 20, rng) for _ in range(12)]
    result = quietly(tools.rescorla_wagner(), tools.dataset_of(some))
    alpha, beta = np.meshgrid(np.linspace(0, 1, 301), np.geomspace(1e-3, 1e4, 400), indexing="ij")
    far = 0
    for row, (choices, rewards) in enumerate(some):
        q, loss = np.full((2, *alpha.shape), 0.5), np.zeros(alpha.shape)
        for t, (choice, reward) in enumerate(zip(choices, rewards, strict=True)):
            if t:
                loss += np.logaddexp(0, beta * (q[1 - choice] - q[choice]))
            q[choice] += alpha * (reward - q[choice])
        inside = loss < result.nll[row] + RISE - 0.01
        for name, values in (("alpha", alpha[inside]), ("beta", beta[inside])):
            if not result.at_bound.loc[row, name]:
                low, high = result.intervals[name].loc[row]
                assert low <= values.min() and values.max() <= high, (row, name)
                far += name == "beta" and values.max() > 1e3
    assert far  # or no profile has such a branch


def test_units_do_not_matter(tools, bandit):
    """Of rewards a million times as large, inverse temperatures are a millionth."""
    choices, rewards = bandit

    def ends(unit):
        model = SymbolicModel(
            states={"q": State(initial=0.5 * unit)},
            updates=[("q", "chosen", "q + alpha * (reward - q)")],
            logits="beta * q",
            parameters={"alpha": Parameter(low=0, high=1), "beta": Parameter(low=0)},
        )
        found = fit(model, tools.dataset_of([(choices, rewards * unit)])).intervals.iloc[0].to_numpy()
        return found * [1, 1, unit, unit]

    np.testing.assert_allclose(ends(1e6), ends(1), rtol=CLOSE)
    np.testing.assert_allclose(ends(1e-5), ends(1), rtol=CLOSE)


def test_an_estimate_that_is_not_the_best(tools, bandit):
    """From its one start x runs to -1, where x ** 3 - 3 * x is 2; it could be larger."""
    model = SymbolicModel(
        states={"q": State(initial=0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="(x ** 3 - 3 * x) * q",
        parameters={"alpha": Parameter(low=0, high=1), "x": Parameter()},
    )
    data = tools.dataset_of([bandit], ["anna"])
    poor, plain = fit(model, data, n_starts=1), fit(tools.rescorla_wagner(), data)
    assert poor.converged["anna"] and poor.nll["anna"] > plain.nll["anna"] + 1
    message = r"better optima than the estimates of 1 participant\(s\): 'anna' \([0-9.]+ nats\).* more n_starts="
    with pytest.warns(ConvergenceWarning, match=message):
        found = poor.intervals["x"].loc["anna"].to_numpy()
    np.testing.assert_allclose(found**3 - 3 * found, plain.intervals["beta"].loc["anna"], rtol=CLOSE)


def test_people_with_two_choices(tools):
    """States and likelihoods overflow on the way to bounds that nothing excludes: no warning."""
    person = np.array([0, 1, 0]), np.array([1.0, 1.0, 1.0])
    result = quietly(choice_kernel(), tools.dataset_of([person]))
    held = result.at_bound.iloc[0].to_numpy()
    ends = result.intervals.iloc[0].to_numpy().reshape(-1, 2)[~held]
    assert (ends[:, 0] <= ends[:, 1]).all()


def test_people_who_tell_nothing(tools, people):
    """No trials: no interval by maximum likelihood, and the priors' by maximum a posteriori. Others' are as before."""
    data = tools.dataset_of([*people[:2], (np.zeros(1, int), np.zeros(1)), (np.zeros(40, int), np.ones(40))])
    alone = fit(tools.rescorla_wagner(), tools.dataset_of(people[:2])).intervals
    mle, found = (quietly(tools.rescorla_wagner(), data, method) for method in ("mle", "map"))
    np.testing.assert_allclose(mle.intervals.iloc[:2], alone, rtol=1e-6)
    assert mle.intervals.iloc[2].isna().all() and mle.intervals["beta"].iloc[3].isna().all()
    z = stats.norm.ppf(0.975)  # the defaults are normal, and the profile of a normal density is its own
    theta = np.log(2) + np.array([-z, z]) * 1.25
    np.testing.assert_allclose(found.intervals["beta"].iloc[2], np.exp(theta), rtol=2 * CLOSE)
    assert np.isfinite(found.intervals.iloc[3]).all()


def test_they_are_found_once_and_survive_pickling(tools, people):
    result = fit(tools.rescorla_wagner(), tools.dataset_of(people[:2]))
    again = pickle.loads(pickle.dumps(result))
    assert result.intervals is result.intervals
    np.testing.assert_array_equal(again.intervals, result.intervals)

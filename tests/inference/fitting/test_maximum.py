"""Maximum likelihood and MAP: published numbers, SciPy per person, bounds, starts, and people who tell nothing."""

import time
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit, logit

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConvergenceWarning
from spice.inference import fit
from spice.inference.fitting.optima import optima
from spice.inference.fitting.targets import Target
from spice.inference.general.generated import Exact

REPEATS = (np.zeros(40, int), np.ones(40))  # one option, always rewarded
UNIFORM = {"alpha": {"prior": "beta(1, 1)"}, "beta": {"prior": "half_normal(10)"}}


def quietly(*args, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(*args, **settings)


# ---------------------------------------------------------------------- published numbers


def test_the_published_bandit(tools, bandit):
    """PyMC's example gallery: a finite-difference optimiser stopped at these numbers."""
    result = fit(tools.rescorla_wagner(), tools.dataset_of([bandit]))
    assert result.n_trials[0] == 149 and result.converged[0] and result.reason[0] == "converged"
    assert result.nll[0] == pytest.approx(47.050814541102895, abs=1e-8)
    assert result.parameters.alpha[0] == pytest.approx(0.50473117, abs=1e-5)
    assert result.parameters.beta[0] == pytest.approx(5.7073849, abs=1e-5)
    assert result.starts[0] == 1.0
    assert result.aic[0] == pytest.approx(2 * 47.0508145411 + 4)
    assert result.bic[0] == pytest.approx(2 * 47.0508145411 + 2 * np.log(149))
    assert result.log_evidence is None and result.population is None


def test_standard_errors(tools, bandit):
    result = fit(tools.rescorla_wagner(), tools.dataset_of([bandit]))
    theta = np.array([logit(result.parameters.alpha[0]), np.log(result.parameters.beta[0])])
    hessian = tools.numeric_hessian(lambda t: tools.recursion(expit(t[0]), np.exp(t[1]), *bandit)[0], theta)
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    slope = [expit(theta[0]) * expit(-theta[0]), np.exp(theta[1])]
    # differences of numbers of 47 nats, rounded to 1e-14, over (1e-4) ** 2
    np.testing.assert_allclose(result.se.iloc[0], errors * slope, rtol=1e-5)


# ---------------------------------------------------------------------- against SciPy


def best_by_scipy(function, bounds):
    """The least of some runs."""
    starts = [(a, b) for a in (0.1, 0.3, 0.6, 0.9) for b in (1.0, 4.0)]
    runs = [minimize(function, start, jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-12) for start in starts]
    return min(runs, key=lambda run: run.fun)


@pytest.mark.parametrize("method", ["mle", "map"])
def test_people_one_by_one_by_scipy(tools, people, method):
    """With uniform and half-normal priors, and without: a box of natural values, no transforms."""
    settings = UNIFORM if method == "map" else {}
    result = fit(tools.rescorla_wagner(**settings), tools.dataset_of(people), method=method)
    for person, (choices, rewards) in enumerate(people):

        def loss(x, choices=choices, rewards=rewards):
            value, gradient = tools.recursion(*x, choices, rewards)
            if method == "map":
                value, gradient = value + (x[1] / 10) ** 2 / 2, gradient + [0, x[1] / 100]
            return value, gradient

        best = best_by_scipy(loss, [(0, 1), (0, None)])
        found = result.parameters.loc[person].to_numpy()
        assert loss(found)[0] <= best.fun + 1e-7
        np.testing.assert_allclose(found, best.x, rtol=1e-3)
        assert result.nll[person] == pytest.approx(tools.recursion(*found, choices, rewards)[0], rel=1e-12)


def test_map_under_the_default_priors(tools, people):
    """Normal on the unconstrained scale, no Jacobian (Huys et al. 2011)."""
    result = fit(tools.rescorla_wagner(), tools.dataset_of(people), method="map")
    assert result.converged.all()
    for person in (0, 5, 11):

        def loss(theta, person=person):
            prior = stats.norm([0, np.log(2)], [1.5, 1.25]).logpdf(theta).sum()
            return tools.recursion(expit(theta[0]), np.exp(theta[1]), *people[person])[0] - prior

        best = minimize(loss, [0.0, 1.0], method="BFGS", options={"gtol": 1e-6})
        found = result.parameters.loc[person]
        np.testing.assert_allclose([logit(found.alpha), np.log(found.beta)], best.x, atol=1e-4)
        hessian = tools.numeric_hessian(loss, best.x)
        evidence = -best.fun + np.log(2 * np.pi) - np.log(np.linalg.det(hessian)) / 2
        assert result.log_evidence[person] == pytest.approx(evidence, abs=1e-4)


def test_evidence_of_priors_on_the_natural_scale(tools, bandit):
    """Laplace at the mode of the density of theta, Jacobian included; near the integral over the natural scale."""
    result = fit(tools.rescorla_wagner(**UNIFORM), tools.dataset_of([bandit]), method="map")

    def loss(theta):
        alpha, beta = expit(theta[0]), np.exp(theta[1])
        density = stats.halfnorm(scale=10).logpdf(beta) + np.log(alpha * (1 - alpha) * beta)
        return tools.recursion(alpha, beta, *bandit)[0] - density

    mode = minimize(loss, [0.0, 1.5], method="BFGS", options={"gtol": 1e-6}).x
    determinant = np.linalg.det(tools.numeric_hessian(loss, mode))
    expected = -loss(mode) + np.log(2 * np.pi) - np.log(determinant) / 2
    assert result.log_evidence[0] == pytest.approx(expected, abs=1e-4)
    grid = [(a, b) for a in np.linspace(0.02, 0.98, 25) for b in np.linspace(0.25, 19.75, 40)]
    density = [np.exp(-tools.recursion(a, b, *bandit)[0] + stats.halfnorm(scale=10).logpdf(b)) for a, b in grid]
    # 1 / (number of trials) is the order of Laplace's error
    assert result.log_evidence[0] == pytest.approx(np.log(sum(density) * 0.04 * 0.5), abs=0.1)
    # the estimates are the mode on the natural scale, another place than that of the density of theta
    found = result.parameters.iloc[0].to_numpy()
    _, gradient = tools.recursion(*found, *bandit)
    np.testing.assert_allclose(gradient + [0, found[1] / 100], 0.0, atol=1e-6)
    assert abs(np.exp(mode[1]) / found[1] - 1) > 1e-3


def test_one_set_of_parameters_for_all(tools, people):
    result = fit(tools.rescorla_wagner(), tools.dataset_of(people), pooling="complete")

    def loss(x):
        found = [tools.recursion(*x, *person) for person in people]
        return sum(value for value, _ in found), sum(gradient for _, gradient in found)

    best = best_by_scipy(loss, [(0, 1), (0, None)])
    assert result.parameters.index.tolist() == ["everybody"] and len(result.nll) == 12
    np.testing.assert_allclose(result.parameters.iloc[0], best.x, rtol=1e-4)
    assert result.nll.sum() == pytest.approx(best.fun, abs=1e-6)
    assert result.nll[4] == pytest.approx(tools.recursion(*result.parameters.iloc[0], *people[4])[0])
    assert result.aic == pytest.approx(2 * best.fun + 4) and isinstance(result.bic, float)
    assert result.bic == pytest.approx(2 * best.fun + 2 * np.log(12 * 119))
    priors = fit(tools.rescorla_wagner(), tools.dataset_of(people), method="map", pooling="complete")
    assert isinstance(priors.log_evidence, float) and -priors.log_evidence > best.fun


# ---------------------------------------------------------------------- bounds


@pytest.fixture(scope="module")
def at_one(tools):
    """Someone who remembers nothing but the last outcome."""
    return tools.play(1.0, 3.0, 200, np.random.default_rng(4))


def test_an_estimate_on_the_edge(tools, at_one):
    result = fit(tools.rescorla_wagner(), tools.dataset_of([at_one]))

    def loss(x):
        return tools.recursion(*x, *at_one)

    best = best_by_scipy(loss, [(0, 1), (0, None)])
    assert best.x[0] == 1.0  # or the test is of no use
    assert result.parameters.alpha[0] == 1.0 and result.at_bound.alpha[0] and not result.at_bound.beta[0]
    assert result.parameters.beta[0] == pytest.approx(best.x[1], rel=1e-4)
    assert result.nll[0] == pytest.approx(best.fun, abs=1e-8)
    assert np.isnan(result.se.alpha[0]) and result.intervals["alpha"].isna().all().all()
    assert result.converged[0] and result.reason[0] == "at a bound: alpha"
    # that of beta is the one with alpha held
    value = result.parameters.beta[0]
    curve = (loss([1, value + 1e-4])[1][1] - loss([1, value - 1e-4])[1][1]) / 2e-4
    assert result.se.beta[0] == pytest.approx(1 / np.sqrt(curve), rel=1e-5)


def test_a_flat_prior_gives_the_mle(tools, at_one, bandit):
    data = tools.dataset_of([at_one, bandit])
    model = tools.rescorla_wagner({"prior": "beta(1, 1)"}, {"prior": "gamma(1, 1e-9)"})
    one, other = fit(tools.rescorla_wagner(), data), fit(model, data, method="map")
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-6)
    assert other.at_bound.alpha.tolist() == [True, False]


def test_a_prior_that_is_nothing_at_the_bound(tools, at_one):
    result = fit(tools.rescorla_wagner({"prior": "beta(2, 2)"}), tools.dataset_of([at_one]), method="map")
    assert 0.8 < result.parameters.alpha[0] < 1 and not result.at_bound.any().any() and np.isfinite(result.se.alpha[0])


def test_a_prior_that_is_infinite_at_the_bound(tools):
    """Of random choices: the mode is where the prior is infinite."""
    rng = np.random.default_rng(0)
    data = tools.dataset_of([(rng.integers(2, size=100), rng.integers(2, size=100).astype(float))])
    model = tools.rescorla_wagner({"prior": "beta(1, 1)"}, {"prior": "gamma(mean=1, sd=2)"})
    result = fit(model, data, method="map")
    assert result.parameters.beta[0] == 0 and result.at_bound.beta[0] and "at a bound: beta" in result.reason[0]
    assert result.nll[0] == pytest.approx(99 * np.log(2)) and np.isfinite(result.log_evidence[0])


@pytest.mark.parametrize(("low", "high"), [(None, 1.5), (-4.0, 1.5), (-4.0, None), (None, None)])
def test_every_kind_of_bound(tools, bandit, low, high):
    """The inverse temperature as a number below, above, between and without bounds."""
    model = tools.rescorla_wagner()
    model.parameters["beta"] = Parameter(low, high)
    result = fit(model, tools.dataset_of([bandit]))

    def loss(x):
        return tools.recursion(*x, *bandit)

    best = best_by_scipy(loss, [(0, 1), (low, high)])
    assert result.nll[0] == pytest.approx(best.fun, abs=1e-7)
    assert result.at_bound.beta[0] == (high is not None) and result.parameters.beta[0] == pytest.approx(
        best.x[1], rel=1e-4
    )


# ---------------------------------------------------------------------- people who tell nothing


def test_who_always_repeats_one_option(tools, people):
    """The likelihood rises for ever: said so, without a standard error; the others are as without this one."""
    data = tools.dataset_of([REPEATS, *people[:2]], ["anna", "ben", "cleo"])
    message = r"no optimum was reached for 1 of 3 participants: 'anna': .*only one option was ever chosen"
    with pytest.warns(ConvergenceWarning, match=message):
        result = fit(tools.rescorla_wagner(), data)
    assert result.converged.tolist() == [False, True, True]
    assert "runs to infinity: beta" in result.reason["anna"] and result.at_bound.beta["anna"]
    assert result.se.loc["anna"].isna().all() and np.isfinite(result.parameters.beta["anna"])
    assert result.nll["anna"] < 0.01
    alone = fit(tools.rescorla_wagner(), tools.dataset_of(people[:2]))
    np.testing.assert_array_equal(result.parameters.iloc[1:], alone.parameters)
    np.testing.assert_array_equal(result.se.iloc[1:], alone.se)
    priors = fit(tools.rescorla_wagner(), data, method="map")
    assert priors.converged.all() and priors.reason["anna"] == "only one option was ever chosen"
    assert np.isfinite(priors.se.to_numpy()).all()


def test_who_made_no_choice_or_one(tools, people):
    nobody, once = (np.array([0]), np.array([1.0])), (np.array([0, 0]), np.array([1.0, 0.0]))
    data = tools.dataset_of([people[0], nobody, once])
    result = quietly(tools.rescorla_wagner(), data)
    assert result.n_trials.tolist() == [119, 0, 1]
    assert result.parameters.loc[1].isna().all() and result.nll[1] == 0 and np.isnan(result.aic[1])
    assert (
        result.reason[1] == "no scored choices" and not result.converged[1] and "one scored choice" in result.reason[2]
    )
    assert result.converged[0] and result.parameters.loc[0].equals(
        fit(tools.rescorla_wagner(), tools.dataset_of(people[:1])).parameters.loc[0]
    )
    priors = fit(tools.rescorla_wagner(), data, method="map")
    np.testing.assert_allclose(priors.parameters.loc[1], [0.5, 2.0])
    assert priors.reason[1] == "no scored choices: the estimates are the priors' modes"
    assert priors.log_evidence[1] == pytest.approx(0.0, abs=1e-12)  # the prior's integral
    np.testing.assert_allclose(priors.se.loc[1], [1.5 * 0.25, 1.25 * 2.0])


def test_two_parameters_that_are_one(tools, people):
    """A free reward scale and the inverse temperature: their product alone is seen."""
    model = SymbolicModel(
        states={"q": State(initial=0.0)},
        updates=[("q", "chosen", "q + alpha * (rho * reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0), "rho": Parameter(0)},
    )
    result = fit(model, tools.dataset_of(people[4:6]))
    assert result.reason.tolist() == ["not identified: beta, rho"] * 2
    assert result.se.notna().to_numpy().tolist() == [[True, False, False]] * 2
    single = SymbolicModel(
        states={"q": State(initial=0.0)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)},
    )
    plain = fit(single, tools.dataset_of(people[4:6]))
    np.testing.assert_allclose(result.nll, plain.nll, rtol=1e-9)
    np.testing.assert_allclose(result.se.alpha, plain.se.alpha, rtol=1e-4)


def test_a_saddle_is_no_optimum(tools, bandit):
    """A squared weight: at 0, where the first start is, the slope is 0."""
    model = SymbolicModel(
        states={"q": State(initial=0.5)},
        updates=[("q", "chosen", "q + 0.5 * (reward - q)")],
        logits="root * root * q",
        parameters={"root": Parameter()},
    )
    data = tools.dataset_of([bandit])
    with pytest.warns(ConvergenceWarning, match="the likelihood rises in a direction from there: try other starts"):
        assert not fit(model, data, n_starts=1).converged[0]
    result = fit(model, data)
    assert result.converged[0] and result.parameters.root[0] ** 2 == pytest.approx(5.7, abs=0.1)


# ---------------------------------------------------------------------- starts


class Wells:
    """Two wells in place of a likelihood, of each person: the deeper one at -1 for persons 0 and 1, else at 1."""

    names, participants = ("x",), [0, 1, 2, 3]

    def n_scored(self):
        return np.full(4, 10)

    def __call__(self, values, group):
        x, tilt = values[:, 0], np.where(group < 2, 0.3, -0.3)
        value = 5 * ((x * x - 1) ** 2 + tilt * x)
        return Exact(value, 5 * (4 * x * (x * x - 1) + tilt)[:, None], 5 * (12 * x * x - 4)[:, None, None])


def test_several_starts_find_the_deeper_well():
    target = Target(Wells(), {"x": Parameter()})
    starts = np.repeat(np.array([-2.0, -0.9, 0.8, 1.7, 0.9])[None, :, None], 4, 0)
    found = optima(target, starts, np.arange(4))
    roots = np.roots([4, 0, -4, 0.3])
    np.testing.assert_allclose(found.theta[:, 0], np.array([1, 1, -1, -1]) * roots.min(), rtol=1e-9)
    np.testing.assert_allclose(found.starts, [0.4, 0.4, 0.6, 0.6])
    assert found.converged.all()
    one = optima(target, starts[:, 2:3], np.arange(4))  # from the other side of the hill
    assert (one.theta > 0).all() and (one.starts == 1).all()


def test_the_users_start(tools, people):
    data = tools.dataset_of(people[:3], ["anna", "ben", "cleo"])
    first = fit(tools.rescorla_wagner(), data)
    given = fit(tools.rescorla_wagner(), data, start=first.parameters, n_starts=1)
    np.testing.assert_allclose(given.parameters, first.parameters, rtol=1e-6)
    for start in ({"beta": 2.0, "alpha": [0.2, 0.3, 0.4]}, [0.3, 2.0], np.full((3, 2), 0.4)):
        again = fit(tools.rescorla_wagner(), data, start=start)
        np.testing.assert_allclose(again.parameters, first.parameters, rtol=1e-5)


def test_batches_change_nothing(tools, people, monkeypatch):
    data = tools.dataset_of(people)
    whole = fit(tools.rescorla_wagner(), data)
    monkeypatch.setattr("spice.inference.fitting.optima.MOST_ROWS", 20)
    parts = fit(tools.rescorla_wagner(), data)
    np.testing.assert_array_equal(whole.parameters, parts.parameters)
    np.testing.assert_array_equal(whole.starts, parts.starts)


# ---------------------------------------------------------------------- speed


@pytest.mark.slow
def test_speed(tools):
    """MAP of 1,000 / 10,000 people x 200 trials in 0.1 / 1 s of one quiet core; here thrice as long is let pass."""
    rng = np.random.default_rng(0)
    n, n_trials = 10_000, 201
    alpha, beta = expit(rng.normal(-0.5, 1, n)), np.exp(rng.normal(1, 0.5, n))
    q, everybody = np.full((n, 2), 0.5), np.arange(n)
    choices, rewards = np.zeros((n, n_trials), int), np.zeros((n, n_trials))
    for t in range(n_trials):
        choices[:, t] = rng.random(n) < expit(beta * (q[:, 1] - q[:, 0]))
        rewards[:, t] = rng.random(n) < np.array([0.4, 0.6])[choices[:, t]]
        q[everybody, choices[:, t]] += alpha * (rewards[:, t] - q[everybody, choices[:, t]])
    data = tools.dataset_of(list(zip(choices, rewards, strict=True)))
    for people, limit in ((1000, 0.3), (10_000, 3.0)):
        fit(tools.rescorla_wagner(), data[:20], method="map")
        times = []
        for _ in range(3):
            started = time.process_time()
            result = fit(tools.rescorla_wagner(), data[:people], method="map", n_threads=1)
            times.append(time.process_time() - started)
        assert min(times) < limit and result.converged.all()

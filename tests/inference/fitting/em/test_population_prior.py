"""What a model says of its population, in EM: derivatives by differences, and against general optimisers."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import gamma, halfnorm, multivariate_normal, norm

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError, IdentificationWarning
from spice.inference import fit
from spice.inference.fitting.em.fit_em import fit_em
from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.transforms import Scale
from spice.inference.general.generated import Exact
from spice.resources.bandits import BanditsDrift

STATED = {
    "a": Parameter(mean_prior="normal(1, 0.5)", sd_prior="half_normal(0.3)"),
    "b": Parameter(0, 1, mean_prior="student_t(4, 0, 1)"),
    "c": Parameter(0, 1, scale="natural", mean_prior="beta(2, 3)", sd_prior="half_normal(0.1)"),
    "d": Parameter(0, scale="natural", mean_prior="gamma(mean=1, sd=2)", sd_prior="exponential(2)"),
    "e": Parameter(2, None, scale="natural", sd_prior="half_cauchy(0.5)"),
}


@pytest.fixture
def guess():
    rng = np.random.default_rng(0)
    root = np.tril(0.3 * rng.normal(size=(5, 5)))
    np.fill_diagonal(root, [0.5, 0.8, 0.4, 0.6, 0.7])
    return Guess(rng.normal(size=(2, 5)), root)


def differences(function, n, step=1e-5):
    """First and second derivatives of a function of n numbers, each by itself, at 0."""
    moves = step * np.eye(n)
    ahead, here, behind = np.array([function(m) for m in moves]), function(moves[0] * 0), [function(-m) for m in moves]
    return (ahead - behind) / (2 * step), (ahead - 2 * here + behind) / step**2


@pytest.mark.parametrize("name", STATED)
def test_densities_are_those_of_scipy(name, guess):
    """Differences between two populations: constants of the density do not count."""
    parameters = {name: STATED[name]}
    prior = PopulationPrior(parameters)

    def stated(mean, sd):
        x, slope, _ = (part[0, 0] for part in Scale(parameters).derivatives([[mean]]))
        return {
            "a": lambda: norm.logpdf(mean, 1, 0.5) + halfnorm.logpdf(sd, scale=0.3),
            "b": lambda: -2.5 * np.log1p(mean**2 / 4),
            "c": lambda: 2 * np.log(x) + 3 * np.log(1 - x) + halfnorm.logpdf(sd * slope, scale=0.1) + np.log(slope),
            "d": lambda: gamma.logpdf(x, 0.25, scale=4) + 2 * np.log(x) - 2 * sd * x,
            "e": lambda: np.log(slope) - np.log(0.5**2 + (sd * slope) ** 2),
        }[name]()

    def everything(mean, sd):
        return stated(mean, sd) + np.log(sd) - np.log(sd**2 + prior.wide[0])

    one, other = (0.3, 0.6), (-0.8, 1.1)
    found = [prior.log_density(Guess(np.array([[mean]]), np.array([[sd]]))) for mean, sd in (one, other)]
    assert found[0] - found[1] == pytest.approx(everything(*one) - everything(*other), rel=1e-10)


def test_slopes_and_curvatures_against_differences(guess):
    prior, coefficients, sd = PopulationPrior(STATED), guess.coefficients, np.sqrt((guess.root**2).sum(1))
    default = PopulationPrior({name: Parameter(p.low, p.high) for name, p in STATED.items()})

    def of_means(move):
        return prior.log_density(Guess(coefficients + [move, np.zeros(5)], guess.root))

    slope, curve = differences(of_means, 5, 1e-4)
    found_slope, found_curve = prior.of_means(guess)
    np.testing.assert_allclose(found_slope, slope, atol=1e-6)
    np.testing.assert_allclose(found_curve, np.maximum(-curve, 0), atol=1e-5)

    def of_log_sds(move):
        scaled = Guess(coefficients, guess.root * np.exp(move)[:, None])
        return prior.log_density(scaled) - default.log_density(scaled)

    curve = differences(of_log_sds, 5, 1e-4)[1]
    np.testing.assert_allclose(prior.information(guess)[1], np.maximum(-curve, 0), atol=1e-5)
    assert (sd > 0).all()

    pull = np.zeros((5, 5))
    for i in range(5):
        for j in range(i + 1):
            change = np.zeros((5, 5))
            change[i, j] = change[j, i] = 1e-5
            ends = [
                prior.log_density(Guess(coefficients, guess.root @ np.linalg.cholesky(np.eye(5) + sign * change)))
                for sign in (1, -1)
            ]
            pull[i, j] = pull[j, i] = (ends[0] - ends[1]) / 1e-5 / (1 if i == j else 2)
    np.testing.assert_allclose(prior.pull(guess), pull, atol=1e-6)


def test_nothing_is_said_of_means_by_default():
    prior, one = PopulationPrior({"a": Parameter(0, 1)}), Guess(np.array([[3.0]]), np.eye(1))
    assert not prior.stated and not np.concatenate([*prior.of_means(one), *prior.information(one)]).any()
    assert prior.inside(one) is one


# ---------------------------------------------------------------- EM


class Normal:
    """Estimates y (n_people, n) with errors of known covariance."""

    def __init__(self, y, covariance):
        self.y, self.precision, self.participants = y, np.linalg.inv(covariance), list(range(len(y)))

    def n_scored(self):
        return np.full(len(self.y), 10)

    def __call__(self, values, group=None):
        rest, precision = values - self.y[group], self.precision[group]
        slope = np.einsum("rij,rj->ri", precision, rest)
        return Exact((rest * slope).sum(1) / 2, slope, precision.copy())

    def gradient(self, values, group=None):
        return self(values, group)[:2]


def two_parameters(n_people=25):
    rng = np.random.default_rng(4)
    errors = 0.4 * rng.normal(size=(n_people, 2, 2))
    covariance = errors @ errors.swapaxes(1, 2) + 0.1 * np.eye(2)
    y = rng.multivariate_normal([1.0, -0.5], [[0.8, 0.3], [0.3, 0.5]], n_people)
    return y + np.einsum("pij,pj->pi", np.linalg.cholesky(covariance), rng.normal(size=(n_people, 2))), covariance


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_em_ends_at_the_best_population_under_its_prior(diagonal, importance):
    """A linear mixed model with strong priors of means and spreads, by a general optimiser."""
    y, covariance = two_parameters()
    stated = {
        "a": Parameter(mean_prior="normal(-1, 0.2)", sd_prior="half_normal(0.2)"),
        "b": Parameter(mean_prior="student_t(5, 1, 0.1)", sd_prior="exponential(20)"),
    }
    prior = PopulationPrior(stated)

    def guess(v):
        root = np.array([[np.exp(v[2]), 0.0], [0.0 if diagonal else v[4], np.exp(v[3])]])
        return Guess(v[None, :2], root)

    def cost(v):
        one = guess(v)
        return -prior.log_density(one) - sum(
            multivariate_normal.logpdf(a, one.coefficients[0], one.covariance + c)
            for a, c in zip(y, covariance, strict=True)
        )

    best = guess(minimize(cost, [0.0, 0.0, -0.5, -0.5, 0.0], method="BFGS", options={"gtol": 1e-6}).x)
    found = fit_em(
        Normal(y, covariance),
        Scale(stated),
        covariance="diagonal" if diagonal else "full",
        prior=prior,
        importance=importance,
        tolerance=1e-7,
    )
    # importance sampling: 256 draws of each of 25 people, spread evenly; errors of a mean are .01 of its scatter
    close = 0.02 if importance else 1e-4
    np.testing.assert_allclose(found.coefficients, best.coefficients, atol=close)
    np.testing.assert_allclose(found.covariance, best.covariance, atol=close)
    assert found.converged.all()
    without = fit_em(Normal(y, covariance), Scale(stated), importance=False)
    assert np.abs(without.coefficients - best.coefficients).max() > 0.5


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_em_ends_under_priors_that_all_but_fix_the_spreads(diagonal, importance):
    """Of ten people: priors worth many more, at which steps that forget them swing to and fro."""
    y, covariance = two_parameters(10)
    stated = {"a": Parameter(sd_prior="gamma(mean=1.5, sd=0.05)"), "b": Parameter(sd_prior="gamma(mean=0.2, sd=0.01)")}
    prior, settings = PopulationPrior(stated), {"covariance": "diagonal" if diagonal else "full"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_em(Normal(y, covariance), Scale(stated), prior=prior, importance=importance, **settings)
    assert found.converged.all() and found.n_iterations < 30

    def value(mean, root):
        people = zip(y, covariance, strict=True)
        both = sum(multivariate_normal.logpdf(one, mean, root @ root.T + error) for one, error in people)
        return prior.log_density(Guess(mean[None], root)) + both

    mean, root = found.coefficients[0], np.linalg.cholesky(found.covariance)
    best = value(mean, root)
    moves = [(k, move) for k in range(4 if diagonal else 5) for move in (-0.02, 0.02)]
    for k, move in moves:  # of means, logarithms of the root's diagonal, and its lower element
        one, other = mean.copy(), root.copy()
        if k < 2:
            one[k] += 5 * move
        elif k < 4:
            other[k - 2] *= np.exp(move)
        else:
            other[1, 0] += move
        assert value(one, other) < best


def test_errors_that_go_together_do_not_bend_a_diagonal_covariance():
    """Spreads by importance sampling, with posteriors whose correlation is -0.9, under priors that narrow them."""
    error = np.tile([[1.0, 0.9], [0.9, 1.0]], (40, 1, 1))
    y = np.random.default_rng(1).multivariate_normal([0.0, 0.0], np.eye(2) + error[0], 40)
    stated = {name: Parameter(sd_prior="half_normal(0.15)") for name in "ab"}
    fits = [
        fit_em(
            Normal(y, error),
            Scale(stated),
            prior=PopulationPrior(stated),
            covariance="diagonal",
            importance=importance,
            skewness=False,
            tolerance=1e-6,
        )
        for importance in (False, True)
    ]
    np.testing.assert_allclose(fits[1].population.sd, fits[0].population.sd, rtol=0.01)


def test_standard_errors_know_of_the_prior():
    """Of a mean: information of people, and of the normal prior; a prior alone where choices say nothing."""
    rng = np.random.default_rng(0)
    y, covariance = rng.normal(1, 1, (30, 2)), np.tile(np.diag([0.25, 1e12]), (30, 1, 1))
    stated = {name: Parameter(mean_prior="normal(0, 0.3)", sd_prior="half_normal(0.5)") for name in "ab"}
    found = fit_em(
        Normal(y, covariance), Scale(stated), covariance="diagonal", prior=PopulationPrior(stated), importance=False
    )
    people = 30 / (found.covariance[0, 0] + 0.25)
    assert found.population.mean_se["a"] == pytest.approx((people + 1 / 0.3**2) ** -0.5, rel=1e-6)
    assert found.population.mean_se["b"] == pytest.approx(0.3, rel=1e-3)
    assert abs(found.population.mean["b"]) < 1e-3
    # sd: d^2/d(log sd)^2 of -sd^2 / (2 tau^2), at sd
    sd = found.population.sd["b"]
    assert found.population.sd_se["b"] == pytest.approx(sd / np.sqrt(2 * sd**2 / 0.5**2), rel=1e-3)


def test_a_population_begins_and_stays_where_its_priors_have_mass():
    stated = {
        "a": Parameter(0, 1, scale="natural", mean_prior="uniform(0.6, 0.8)", sd_prior="uniform(0.02, 0.05)"),
        "b": Parameter(sd_prior="uniform(0, 0.5)"),
    }
    prior, scale = PopulationPrior(stated), Scale(stated)
    far = Guess(np.array([[-3.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 3.0]]))
    assert prior.log_density(far) == -np.inf
    near = prior.inside(far)
    assert np.isfinite(prior.log_density(near))
    assert scale.natural(near.coefficients)[0, 0] == pytest.approx(0.602)
    y = np.random.default_rng(0).normal(-1, 1, (20, 2))
    likelihood = Normal(y, np.tile(0.1 * np.eye(2), (20, 1, 1)))
    found = fit_em(likelihood, scale, prior=prior, covariance="diagonal")
    assert found.converged.all() and scale.natural(found.coefficients)[0, 0] == pytest.approx(0.602)
    assert np.sqrt(found.covariance[1, 1]) == pytest.approx(0.495)


@pytest.mark.parametrize(
    ("parameter", "mean", "sd"),
    [
        (Parameter(0, 1, scale="natural", mean_prior="uniform(0, 1)"), -6.0, 0.3),  # natural .0025
        (Parameter(0, scale="natural", mean_prior="uniform(0, 100)"), -2.0, 0.3),
        (Parameter(sd_prior="uniform(0, 100)"), 1.0, 0.3),
        (Parameter(scale="natural", mean_prior="gamma(2, 1)"), 1.0, 0.4),  # EM would begin at 0, where it has no mass
    ],
)
def test_a_support_does_not_keep_a_population_from_its_bounds(parameter, mean, sd):
    prior = PopulationPrior({"a": parameter})
    one = Guess(np.array([[mean]]), np.array([[sd]]))
    assert prior.inside(one).coefficients[0, 0] == mean and prior.inside(one).root[0, 0] == pytest.approx(sd)
    begin = prior.inside(Guess(np.zeros((1, 1)), np.eye(1)))
    assert np.isfinite([prior.log_density(begin), *prior.of_means(begin)[0], *prior.of_means(begin)[1]]).all()


def test_a_mean_that_cannot_be_is_an_error():
    with pytest.raises(ConfigError, match=r"mean_prior uniform\(2, 3\) of 'a' has no mass between its bounds, 0 and 1"):
        PopulationPrior({"a": Parameter(0, 1, scale="natural", mean_prior="uniform(2, 3)")}).check_mass()


@pytest.mark.parametrize("importance", [False, True])
def test_the_spread_is_that_around_a_mean_that_its_prior_holds(importance):
    """Everybody around -1, and a mean that cannot be less than 0.51: a general optimiser of the spread alone."""
    stated = {"a": Parameter(scale="natural", mean_prior="uniform(0.5, 1.5)")}
    prior, y = PopulationPrior(stated), np.random.default_rng(0).normal(-1, 0.5, 30)

    def cost(log_sd):
        one = Guess(np.array([[0.51]]), np.exp(log_sd).reshape(1, 1))
        return -prior.log_density(one) - norm.logpdf(y, 0.51, np.sqrt(one.covariance[0, 0] + 0.05)).sum()

    best = np.exp(minimize(cost, [0.0]).x[0])
    found = fit_em(Normal(y[:, None], np.full((30, 1, 1), 0.05)), Scale(stated), prior=prior, importance=importance)
    assert found.converged.all() and found.coefficients[0, 0] == pytest.approx(0.51)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(best, rel=2e-3)


def test_em_arrives_from_far_away():
    """Many times what people scatter from where it begins: steps of means are short, and spreads wait for them."""
    y = np.random.default_rng(0).normal(-12, 0.3, 20)
    found = fit_em(Normal(y[:, None], np.full((20, 1, 1), 0.05)), Scale({"a": Parameter()}), importance=False)
    assert found.converged.all()


def test_what_choices_do_not_tell_follows_from_the_prior(tools):
    """The size of rewards and beta are one parameter: EM alone leaves it anywhere, and says so."""
    model = SymbolicModel(
        states={"q": State(0.0)},
        updates=[("q", "chosen", "q + alpha * (rho * reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0), "rho": Parameter(0, mean_prior="normal(0.5, 0.1)")},
    )
    plain, rng = tools.rescorla_wagner(), np.random.default_rng(1)
    values = Scale(plain.parameters).natural(rng.normal([-0.5, 1.2], [0.8, 0.4], (40, 2)))
    data = plain.simulate(BanditsDrift(sigma=0.2), 150, dict(zip(plain.parameters, values.T, strict=True)), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentificationWarning)
        found = fit(model, data, "em", covariance="diagonal", n_threads=1)
    # within the prior's own reach, which the data cannot narrow
    assert found.population.mean["rho"] == pytest.approx(0.5, abs=0.02)
    assert found.population.mean_se["rho"] > 0.07


# ---------------------------------------------------------------- likelihoods with many modes


class Ripples:
    """Normal likelihoods under ripples of many nats, so that everybody has a dozen modes, each somewhere else."""

    def __init__(self, y, height=6.0, frequency=9.0):
        self.y, self.height, self.frequency, self.participants = y, height, frequency, list(range(len(y)))

    def n_scored(self):
        return np.full(len(self.y), 10)

    def __call__(self, values, group=None):
        y, w = self.y[group], self.frequency
        rest, phase = values[:, 0] - y, w * (values[:, 0] - 10 * y)
        nll = rest**2 / 2 + self.height * np.sin(phase) ** 2
        slope = rest + self.height * w * np.sin(2 * phase)
        curve = 1 + 2 * self.height * w**2 * np.cos(2 * phase)
        return Exact(nll, slope[:, None], curve[:, None, None])

    def gradient(self, values, group=None):
        return self(values, group)[:2]


def test_em_with_many_modes_ends_at_the_maximum_of_the_exact_evidence():
    rng, free = np.random.default_rng(2), {"theta": Parameter()}
    likelihood, prior = Ripples(rng.normal(0.5, 1.2, 60) + rng.normal(size=60)), PopulationPrior(free)
    grid = np.linspace(-8, 9, 20_001)
    nll = np.array([likelihood(grid[:, None], np.full(len(grid), person))[0] for person in range(60)])

    def evidences(mean, sd):
        return logsumexp(norm.logpdf(grid, mean, sd) - nll + np.log(grid[1] - grid[0]), axis=1)

    def cost(v):
        sd = np.exp(v[1])
        return -evidences(v[0], sd).sum() - prior.log_density(Guess(np.array([[v[0]]]), np.array([[sd]])))

    best = minimize(cost, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = [fit_em(likelihood, Scale(free), seed=seed) for seed in range(6)]
    found = np.array([[one.coefficients[0, 0], np.sqrt(one.covariance[0, 0])] for one in fits])
    error = found.std(0, ddof=1) / np.sqrt(6)
    assert (np.abs(found.mean(0) - [best[0], np.exp(best[1])]) < 4 * error + 5e-3).all()
    assert (found.std(0) < 0.2 * fits[0].population.mean_se["theta"]).all()
    assert all(one.converged.all() for one in fits)
    exact = evidences(fits[0].coefficients[0, 0], np.sqrt(fits[0].covariance[0, 0]))
    assert abs(fits[0].log_evidence.sum() - exact.sum()) < 0.5
    # the mean's standard error: the curvature of the exact evidence, not of single modes
    step, log_sd = 1e-3, np.log(np.sqrt(fits[0].covariance[0, 0]))
    ends = [cost([fits[0].coefficients[0, 0] + move, log_sd]) for move in (-step, 0, step)]
    exact = (ends[0] - 2 * ends[1] + ends[2]) / step**2
    assert fits[0].population.mean_se["theta"] == pytest.approx(exact**-0.5, rel=0.1)


@pytest.mark.parametrize(
    ("mean_prior", "centre", "sd"), [("gamma(mean=1000, sd=10)", 1000, 10), ("normal(0.1, 0.01)", 0.1, 0.01)]
)
def test_a_population_far_from_its_priors_begins_where_these_are(mean_prior, centre, sd):
    stated = {"a": Parameter(0, scale="natural", mean_prior=mean_prior, sd_prior="half_normal(0.5)")}
    prior, scale = PopulationPrior(stated), Scale(stated)
    at = Guess(np.array([[1.0]]), np.eye(1))
    begun = prior.begin(at)
    assert abs(scale.natural(begun.coefficients)[0, 0] - centre) < 5 * sd
    away = abs(begun.coefficients[0, 0] - 1)
    assert begun.root[0, 0] == pytest.approx(max(1, away / 2))  # where people were is two standard deviations away
    near = Guess(scale.unconstrained(np.array([[centre + 8 * sd]])), np.array([[0.1]]))
    assert prior.begin(near).coefficients[0, 0] == near.coefficients[0, 0] and prior.begin(near).root[0, 0] == 0.1


def test_a_mean_that_is_hardly_within_its_bounds_stays_where_it_was():
    """No draw of a thousand is, but the prior is no more than unlikely there."""
    stated = {"a": Parameter(0, 1, scale="natural", mean_prior="normal(1.3, 0.05)")}
    prior, scale = PopulationPrior(stated), Scale(stated)
    for start in (-2.0, 1.0):
        begun = prior.begin(Guess(np.array([[start]]), np.eye(1)))
        assert 0 < scale.natural(begun.coefficients)[0, 0] < 1
        assert np.isfinite(prior.log_density(begun))

"""Group-level model selection against direct formulas and sampling; likelihood-ratio tests against closed forms."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma, gammaln
from scipy.stats import binom, chi2, dirichlet, kstest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError, ConvergenceWarning, DataError, IdentificationWarning
from spice.inference import fit
from spice.inference.fitting.selection import exceedance_probabilities, likelihood_ratio_test, select_models


def spm(lme):
    """Counts, frequencies and omnibus risk, written after spm_BMS.m (Stephan 2009; Rigoux 2014), loops and all."""
    n, k = lme.shape
    alpha0 = np.ones(k)
    alpha = alpha0.copy()
    for _ in range(2000):
        g = np.zeros((n, k))
        for i in range(n):
            log_u = lme[i] + digamma(alpha) - digamma(alpha.sum())
            u = np.exp(log_u - log_u.max())
            g[i] = u / u.sum()
        alpha = alpha0 + g.sum(0)
    e_log_r = digamma(alpha) - digamma(alpha.sum())
    e_qp = gammaln(alpha0.sum()) - gammaln(alpha0).sum() + ((alpha0 - 1) * e_log_r).sum()
    e_qp += sum(g[i, j] * (e_log_r[j] + lme[i, j]) for i in range(n) for j in range(k))
    entropy_r = gammaln(alpha).sum() - gammaln(alpha.sum()) - ((alpha - 1) * e_log_r).sum()
    entropy_m = -sum(g[i, j] * np.log(g[i, j] + 1e-300) for i in range(n) for j in range(k))
    f1 = e_qp + entropy_r + entropy_m
    f0 = 0.0
    for i in range(n):
        p = np.exp(lme[i] - lme[i].max())
        p /= p.sum()
        f0 += sum(p[j] * (lme[i, j] - np.log(k) - np.log(p[j] + 1e-300)) for j in range(k))
    return alpha, f1, f0, g


def evidences(n_people=20, n_models=3, size=2.0, best=0.5, seed=0):
    rng = np.random.default_rng(seed)
    values = -100 + size * rng.normal(size=(n_people, n_models))
    values[: int(best * n_people), 1] += 3
    return pd.DataFrame(values, index=[f"p{i}" for i in range(n_people)], columns=[f"m{j}" for j in range(n_models)])


@pytest.mark.parametrize(("n_people", "n_models", "size"), [(20, 3, 2.0), (7, 2, 1.0), (40, 5, 6.0)])
def test_equals_the_published_scheme(n_people, n_models, size):
    table = evidences(n_people, n_models, size)
    found = select_models(table)
    counts, f1, f0, assignments = spm(table.to_numpy())
    np.testing.assert_allclose(found.counts, counts, rtol=1e-6)  # ours stops at relative changes of 1e-10
    np.testing.assert_allclose(found.frequencies, counts / counts.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.assignments, assignments, atol=1e-6)
    assert found.omnibus_risk == pytest.approx(1 / (1 + np.exp(f1 - f0)), rel=1e-6)
    np.testing.assert_allclose(
        found.protected, found.exceedance * (1 - found.omnibus_risk) + found.omnibus_risk / n_models, rtol=1e-12
    )
    assert found.protected.sum() == pytest.approx(1)


def test_free_energy_is_a_bound_on_the_evidence_of_different_frequencies():
    """So the omnibus risk is at least that of exact integration over frequencies, here by sampling them."""
    for seed in range(4):
        table = evidences(10, 3, seed=seed, size=1.0, best=0.8)
        values = table.to_numpy()
        r = np.random.default_rng(seed).dirichlet(np.ones(3), 200_000)
        likelihood = np.prod(np.exp(values - values.max(1, keepdims=True)) @ r.T, axis=0)
        equal = np.prod(np.exp(values - values.max(1, keepdims=True)).mean(1))
        error = 4 * likelihood.std() / np.sqrt(len(r))
        least = equal / (equal + likelihood.mean() + error)
        risk = select_models(table).omnibus_risk
        assert least < risk
        assert np.log(risk / (1 - risk)) - np.log(equal / likelihood.mean()) < 1.5  # nats: the bound is not far


def test_equal_evidences_decide_nothing():
    for n_models in (2, 3, 6):
        found = select_models(pd.DataFrame(np.full((25, n_models), -80.0)))
        for column in (found.frequencies, found.exceedance, found.protected):
            np.testing.assert_allclose(column, 1 / n_models, rtol=1e-9)
        assert found.omnibus_risk > 0.8


def test_chance_differences_are_protected_against():
    """With evidences that differ by nothing but noise, exceedance claims what protected exceedance does not."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame(-100 + 0.3 * rng.normal(size=(12, 2)))
    found = select_models(table)
    assert found.omnibus_risk > 0.5
    assert abs(found.protected - 0.5).max() < abs(found.exceedance - 0.5).max() / 2


def test_strong_evidence_decides():
    table = evidences(20, 4, size=0.1, best=0.0)
    table["m2"] += 12
    found = select_models(table)
    assert found.protected["m2"] > 0.999 and found.omnibus_risk < 1e-3
    assert found.frequencies["m2"] == pytest.approx(21 / 24, abs=0.01)
    assert (found.assignments["m2"] > 0.99).all()
    assert "protected exceedance" in found.summary()


def test_only_differences_within_a_person_count():
    table = evidences()
    shift = np.random.default_rng(1).normal(size=len(table)) * 1000
    one, other = select_models(table), select_models(table.add(shift, axis=0))
    np.testing.assert_allclose(other.protected, one.protected, atol=1e-8)


@pytest.mark.parametrize(
    "counts", [[3.0, 5.0], [1.0, 1.0, 1.0], [4.0, 2.5, 7.0], [60.0, 55.0, 3.0, 1.2], [1e4, 1.01e4, 9e3]]
)
def test_exceedance_probabilities_are_those_of_samples(counts):
    n = 400_000
    found = exceedance_probabilities(np.array(counts))
    largest = np.random.default_rng(0).dirichlet(counts, n).argmax(1)
    share = np.bincount(largest, minlength=len(counts)) / n
    assert (np.abs(share - found) < 4 * np.sqrt(found * (1 - found) / n) + 1 / n).all()
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_exceedance_by_quadrature_equals_a_closed_form():
    """P(g1 > max(g2, g3)) for exponential variates is 1/3; for gamma(2) against two exponentials 1 - 2/4 + 1/9."""
    np.testing.assert_allclose(exceedance_probabilities(np.ones(3)), 1 / 3, rtol=1e-10)
    # 1 - 2 E[exp(-g)] + E[exp(-2 g)] with E[exp(-s g)] = (1 + s)^-2
    assert exceedance_probabilities(np.array([2.0, 1.0, 1.0]))[0] == pytest.approx(1 - 2 / 4 + 1 / 9, rel=1e-9)
    assert dirichlet(np.array([2.0, 1.0, 1.0])).mean()[0] == 0.5  # not the same thing


def test_wrong_evidences():
    table = evidences(3)
    table.iloc[1, 2] = np.nan
    table.iloc[2, 0] = -np.inf
    with pytest.raises(DataError, match="'m2' of participant 'p1' is nan.*\n.*'m0' of participant 'p2' is -inf"):
        select_models(table)
    with pytest.raises(ConfigError, match="at least two"):
        select_models(evidences()[["m0"]])
    with pytest.raises(ConfigError, match="DataFrame, participant x model, or a dict"):
        select_models([1.0, 2.0])
    with pytest.raises(ConfigError, match=r"what fit\(model, dataset\) returns: 'b' is \[1.0\]"):
        select_models({"a": coin([30, 20], 50, True), "b": [1.0]})
    with pytest.raises(DataError, match="evidences must be numbers"):
        select_models(pd.DataFrame({"a": ["x"], "b": [1.0]}))


# ---------------------------------------------------------------- fits


def coin(counts, n_trials, fitted, pooling="none"):
    """Fits of a coin: fair, or with a probability by maximum likelihood; as a `FitResult` would hold them."""
    counts, n_trials = np.asarray(counts, float), np.broadcast_to(n_trials, np.shape(counts))
    with np.errstate(all="ignore"):
        p = counts.sum() / n_trials.sum() if pooling == "complete" else np.where(n_trials > 0, counts / n_trials, 0.5)
    p = np.broadcast_to(p if fitted else 0.5, counts.shape)
    index = pd.Index([f"p{k}" for k in range(len(counts))], name="participant")
    with np.errstate(all="ignore"):
        nll = -np.nan_to_num(counts * np.log(p)) - np.nan_to_num((n_trials - counts) * np.log(1 - p))
    rows = index if pooling == "none" else pd.Index(["everybody"])
    columns = ["beta", "p"] if fitted else ["beta"]
    values = np.column_stack([np.ones(len(rows)), p[: len(rows)]])[:, : len(columns)]
    nll, n_trials = pd.Series(nll, index), pd.Series(n_trials, index)
    return SimpleNamespace(
        method="mle",
        pooling=pooling,
        parameters=pd.DataFrame(values, rows, columns),
        at_bound=pd.DataFrame((values == 0) | (values == 1), rows, columns) & [False, True][: len(columns)],
        nll=nll,
        n_trials=n_trials,
        converged=pd.Series(True, rows),
        log_evidence=None,
        bic=2 * nll + len(columns) * np.log(np.maximum(n_trials, 1)),
        dataset=SimpleNamespace(ys=np.arange(len(counts))),
    )


def test_likelihood_ratios_are_those_of_a_coin():
    counts = np.array([30, 25, 40, 0])
    n_trials = np.array([50, 50, 60, 0])
    test = likelihood_ratio_test(coin(counts, n_trials, False), coin(counts, n_trials, True))
    n, k = n_trials[:3], counts[:3]
    statistic = 2 * (binom.logpmf(k, n, k / n) - binom.logpmf(k, n, 0.5))
    np.testing.assert_allclose(test.table["statistic"][:3], statistic, atol=1e-10)
    np.testing.assert_allclose(test.table["p"][:3], chi2.sf(statistic, 1), atol=1e-10)
    assert test.table.loc["p3"].isna().all()  # nothing scored
    assert test.statistic == pytest.approx(statistic.sum()) and test.df == 3
    assert test.p == pytest.approx(chi2.sf(statistic.sum(), 3))
    assert "chi2(3)" in test.summary() and "of 4 people" in test.summary()


def test_likelihood_ratios_with_shared_parameters():
    counts, n_trials = np.array([30, 25, 40]), np.array([50, 50, 60])
    test = likelihood_ratio_test(*(coin(counts, n_trials, fitted, "complete") for fitted in (False, True)))
    statistic = 2 * (binom.logpmf(95, 160, 95 / 160) - binom.logpmf(95, 160, 0.5))
    assert test.statistic == pytest.approx(statistic) and test.df == 1 and not len(test.table)


def test_p_values_are_uniform_where_the_smaller_model_is_true():
    n_trials = 4000
    counts = np.random.default_rng(0).binomial(n_trials, 0.5, 500)
    test = likelihood_ratio_test(coin(counts, n_trials, False), coin(counts, n_trials, True))
    assert kstest(test.table["p"], "uniform").pvalue > 1e-3
    assert 1e-3 < test.p < 1 - 1e-3


def test_bounds_and_bad_fits_are_told():
    small, large = coin([30, 0, 50], 50, False), coin([30, 0, 50], 50, True)
    with pytest.warns(IdentificationWarning, match="p at a bound for participants p1, p2: .* mixture"):
        likelihood_ratio_test(small, large)
    small, large = coin([30, 20], 50, False), coin([30, 20], 50, True)
    large.nll["p1"] = small.nll["p1"] + 0.5
    with pytest.warns(ConvergenceWarning, match="larger model fits worse for participant p1: its optimum was missed"):
        test = likelihood_ratio_test(small, large)
    assert test.table.loc["p1", "statistic"] == 0 and test.table.loc["p1", "p"] == 1
    small, large = coin([30, 20], 50, False), coin([30, 20], 50, True)
    small.converged["p0"] = False
    with pytest.warns(ConvergenceWarning, match="the smaller model has not converged for participant p0"):
        likelihood_ratio_test(small, large)


def test_models_must_be_nested_and_data_the_same():
    small, large = coin([30, 20], 50, False), coin([30, 20], 50, True)
    with pytest.raises(ConfigError, match="must have more parameters, but 2 and 1"):
        likelihood_ratio_test(large, small)
    with pytest.raises(ConfigError, match=r"what fit\(model, dataset\) returns: 'large' is 'two'"):
        likelihood_ratio_test(small, "two")
    other = coin([30, 20], 50, False)
    other.parameters.columns = other.at_bound.columns = ["gamma"]
    other.method = "map"
    with pytest.raises(ConfigError) as caught:
        likelihood_ratio_test(other, large)
    assert "method='map'" in str(caught.value) and "'gamma' of the smaller" in str(caught.value)
    other.method = "mle"
    assert likelihood_ratio_test(other, large, assume_nested=True).df == 2
    with pytest.raises(DataError, match="different participants"):
        likelihood_ratio_test(coin([30, 20, 10], 50, False), large)
    with pytest.raises(DataError, match="different numbers of choices"):
        likelihood_ratio_test(coin([30, 20], 60, False), large)
    small.dataset.ys = small.dataset.ys + 1
    with pytest.raises(DataError, match="different choices"):
        likelihood_ratio_test(small, large)


def test_models_are_selected_from_fits():
    counts, n_trials = np.array([45, 44, 46, 25, 0]), np.array([50, 50, 50, 50, 0])
    fits = {"fair": coin(counts, n_trials, False), "free": coin(counts, n_trials, True)}
    with pytest.raises(ConfigError, match="'fair' has no evidence for each participant .*\n.*criterion='bic'"):
        select_models(fits)
    found = select_models(fits, criterion="bic")
    table = pd.DataFrame({name: -fit.bic / 2 for name, fit in fits.items()})[:4]
    pd.testing.assert_series_equal(found.protected, select_models(table).protected)
    assert list(found.assignments.index) == ["p0", "p1", "p2", "p3"]  # the last made no choice
    assert found.assignments.loc["p3", "fair"] > 0.5 > found.assignments.loc["p0", "fair"]
    unsure = coin(counts, n_trials, True)
    unsure.converged["p1"] = False
    with pytest.warns(ConvergenceWarning, match="'free' has not converged for participant p1"):
        select_models(fits | {"free": unsure}, criterion="bic")
    fits["free"] = coin(counts, n_trials + 1, True)
    with pytest.raises(DataError, match="'fair' and 'free' are of different numbers of choices"):
        select_models(fits, criterion="bic")
    with pytest.raises(ConfigError, match="not 'waic'"):
        select_models(fits, criterion="waic")


def test_fits_of_different_methods_are_refused():
    fits = {"fair": coin([30, 20], 50, False), "free": coin([30, 20], 50, True), "other": coin([30, 20, 9], 50, True)}
    fits["free"].method = "map"
    with pytest.raises(ConfigError) as caught:
        select_models(fits, criterion="bic")
    assert "different methods ('fair' by 'mle', 'free' by 'map', 'other' by 'mle')" in str(caught.value)
    assert "'fair' and 'other' are of different participants" in str(caught.value)


def test_fits_of_choices_are_compared(tools, people):
    """Nobody repeats choices for their own sake: the larger model gains no more than chance."""
    data = tools.dataset_of(people[3:])
    sticky = SymbolicModel(
        states={"q": State(0.5), "k": State(0.0)},
        updates=[("q", "chosen", "q + alpha * (reward - q)"), ("k", "cell", "1.0 * chosen")],
        logits="beta * q + stick * k",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0), "stick": Parameter()},
    )
    models = {"plain": tools.rescorla_wagner(), "sticky": sticky}
    single = [fit(model, data, pooling="complete") for model in models.values()]
    test = likelihood_ratio_test(*single)
    assert test.df == 1 and test.p > 1e-3  # one in a thousand by chance
    assert test.statistic == pytest.approx(2 * (single[0].nll.sum() - single[1].nll.sum()))
    for method in ("map", "em"):
        fits = {name: fit(model, data, method=method) for name, model in models.items()}
        selected = select_models(fits)
        # of EM's evidences 5 and 9 numbers (means, spreads, correlations) are shared by nine people
        share = {"plain": 5 / 9, "sticky": 9 / 9} if method == "em" else {"plain": 0.0, "sticky": 0.0}
        table = pd.DataFrame({name: found.log_evidence - share[name] for name, found in fits.items()})
        pd.testing.assert_frame_equal(selected.assignments, select_models(table).assignments)
        assert selected.protected["plain"] > 0.5
    with pytest.raises(ConfigError, match="fit by method='map' or 'em'"):
        select_models(dict(zip(models, single, strict=True)))

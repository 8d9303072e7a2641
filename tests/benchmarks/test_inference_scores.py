"""Errors, coverage and uniformity of ranks in the benchmark of fitting methods."""

from types import SimpleNamespace

import inference_scores as scores
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spice.equations import Parameter


def test_proportion_has_a_binomial_error():
    found = scores.proportion(np.array([True] * 90 + [False] * 10))
    assert found["share"] == 0.9 and found["n"] == 100
    assert found["se"] == pytest.approx(0.03)
    assert found["low"] < 0.9 < found["high"]
    assert np.isnan(scores.proportion([])["share"])


def test_people_without_an_interval_are_counted_apart():
    truth, nan = np.array([1.0, 2.0, 3.0]), np.nan
    found = scores.covered(truth, np.array([0.5, nan, 3.5]), np.array([1.5, nan, 4.0]))
    assert (found["share"], found["n"], found["without"]) == (0.5, 2, 1)
    both = scores.pooled([found, scores.covered(truth, truth, truth)])
    assert (both["share"], both["n"], both["without"]) == (0.8, 5, 1)


def test_errors_of_logarithms_survive_estimates_that_run_away():
    truth = np.array([1.0, 2.0, 4.0])
    same = scores.recovered(truth, truth, logarithm=True)
    assert same["r"] == pytest.approx(1) and same["rmse"] == same["rmse_log"] == same["bias"] == 0
    twice = scores.recovered(truth, 2 * truth, logarithm=True)
    assert twice["rmse_log"] == pytest.approx(np.log(2)) and twice["bias"] == pytest.approx(7 / 3)
    away = scores.recovered(truth, np.array([1.0, 2.0, np.inf]), logarithm=True)
    assert away["rmse"] == np.inf and away["rmse_log"] == pytest.approx(np.log(1000 / 4) / np.sqrt(3))
    assert away["r_rank"] == pytest.approx(1)


def test_a_fit_is_compared_by_parameter():
    truth = np.array([[0.1, 2.0], [0.4, 3.0], [0.6, 5.0]])
    model = SimpleNamespace(parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)})
    parameters = pd.DataFrame(truth + [0.1, 0.0], columns=list(model.parameters))
    ends = {(n, e): parameters[n] + w for n in model.parameters for e, w in (("low", -0.05), ("high", 0.05))}
    intervals, at_bound = pd.DataFrame(ends), parameters > 4
    found = scores.compare(SimpleNamespace(**{k: v for k, v in locals().items() if k != "truth"}), truth)
    assert found["alpha"]["rmse"] == pytest.approx(0.1) and "rmse_log" not in found["alpha"]
    assert found["alpha"]["coverage"]["share"] == 0 and found["beta"]["coverage"]["share"] == 1
    assert found["beta"]["rmse_log"] == 0 and found["beta"]["at_bound"] == 1


def test_rank_counts_kept_draws_below_the_truth():
    draws = np.arange(1000.0)
    assert scores.rank(-1.0, draws, 99) == 0 and scores.rank(2000.0, draws, 99) == 99
    assert scores.rank(499.5, draws, 99) in (49, 50)


def test_uniform_ranks_pass_and_others_do_not():
    rng = np.random.default_rng(3)
    p = [scores.uniform(rng.integers(0, 100, 200), 99, seed=s)["p_ecdf"] for s in range(30)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    narrow = np.clip(rng.normal(50, 15, 200), 0, 99).astype(int)  # posteriors that are too wide
    shifted = rng.integers(0, 100, 200) ** 2 // 99
    for ranks in (narrow, shifted):
        found = scores.uniform(ranks, 99)
        assert found["p"] < 1e-3 and found["p_ecdf"] < 1e-3
        assert sum(found["histogram"]) == 200


def test_extremity_is_that_of_the_plain_loop():
    rng = np.random.default_rng(4)
    ranks = rng.integers(0, 10, (3, 20))
    expected = []
    for row in ranks:
        tails = []
        for k in range(9):
            below, share = int((row <= k).sum()), (k + 1) / 10
            tails += [stats.binom.cdf(below, 20, share), 1 - stats.binom.cdf(below - 1, 20, share)]
        expected.append(min(tails))
    np.testing.assert_allclose(scores._extremity(ranks, 9), expected, rtol=1e-9)

"""The parts of the benchmark of fitting methods, tiny."""

import inference_coverage
import inference_example3a
import inference_example3b
import inference_models as models
import inference_recovery
import inference_sbc
import inference_speed
import numpy as np
import pytest
import torch
from scipy import stats

SHORT = {"draws": 60, "tune": 100}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", models.READY)
def test_people_of_every_ready_model_lie_within_its_bounds(name):
    ready = models.READY[name]
    model = ready.model()
    assert set(ready.population) == set(model.parameters)
    values = models.draw(model, ready.population, 500, np.random.default_rng(0))
    for k, (parameter, entry) in enumerate(model.parameters.items()):
        low, high = -np.inf if entry.low is None else entry.low, np.inf if entry.high is None else entry.high
        assert ((low <= values[:, k]) & (values[:, k] <= high)).all()
        mean, sd = ready.population[parameter]
        middle = np.median(values[:, k])
        if entry.scale == "natural":
            expected = stats.truncnorm.median((low - mean) / sd, (high - mean) / sd, mean, sd)
        else:
            expected = mean if entry.low is None else np.exp(mean) if entry.high is None else 1 / (1 + np.exp(-mean))
        assert abs(middle - expected) < 5 * 1.2533 * values[:, k].std() / np.sqrt(500)


def test_trials_of_several_rows_are_counted_whole():
    _, values, dataset = models.simulate("two_step", 2, 10, seed=0)
    assert values.shape == (2, 7) and dataset.shape[:2] == (2, 19)  # 20 choices, the first is not scored


@pytest.mark.slow
def test_recovery_has_every_method_and_says_where_hierarchies_lose(capsys):
    out = inference_recovery.run(4, 40, 1, ("rescorla_wagner",), **SHORT)
    found = out["models"]["rescorla_wagner"]
    assert set(found) == {*inference_recovery.METHODS, "not_better"}
    for method in inference_recovery.METHODS:
        assert set(found[method]["parameters"]) == {"alpha", "beta"}
        assert np.shape(found[method]["estimates"]) == np.shape(found[method]["truth"]) == (4, 2)
    assert found["nuts"]["sampler"]["ess"] > 0 and found["mle"]["sampler"] is None
    worse = {m: {"parameters": {"alpha": {"rmse": e}}} for m, e in (("mle", 0.2), ("em", 0.1), ("nuts", 0.3))}
    assert inference_recovery.judge(worse) == ["nuts alpha rmse: 0.3 against 0.2"]
    assert "95 % intervals cover" in capsys.readouterr().out


@pytest.mark.slow
def test_coverage_pools_groups_of_the_same_people():
    out = inference_coverage.run(2, (6, 40), 1, ("rescorla_wagner",), **SHORT)
    found = out["models"]["rescorla_wagner"]["methods"]
    assert set(found) == set(inference_coverage.METHODS)
    for entry in found.values():
        assert entry["n"] + entry["without"] == 2 * 6 * 2
        assert entry["se_of_groups"] is not None
    low, high = inference_coverage.NOMINAL
    assert all(entry["reached"] == (low <= entry["share"] <= high) for entry in found.values())


@pytest.mark.slow
def test_calibration_ranks_every_truth(tmp_path):
    sizes = {"example 2": {"n_trials": 30}, "small 3a": {"n_trials": 20, "n_people": 2}}
    out = inference_sbc.run(2, sizes, 1, 60, tmp_path / "ranks.png")
    assert set(out["cases"]["example 2"]["parameters"]) == {"alpha", "beta"}
    expected = {f"{n}{end}" for n in ("alpha", "beta", "forget") for end in ("_mean", "_sd", "[0]")}
    assert set(out["cases"]["small 3a"]["parameters"]) == expected
    for case in out["cases"].values():
        assert all(0 <= rank <= inference_sbc.KEPT for run in case["runs"] for rank in run["ranks"].values())
    assert out["tests"] == 22 and (tmp_path / "ranks.png").stat().st_size > 1000


def test_the_third_example_says_which_targets_it_missed():
    sampler = {"divergences": 1, "r_hat": 1.01, "ess": 500.0}
    missed = inference_example3a.missed({"seconds": 200.0, "peak_mb": 2000.0, "sampler": sampler})
    assert [entry.split()[0] for entry in missed] == ["peak_mb", "divergences", "r_hat"]
    assert inference_example3a.peak_mb() > 10


@pytest.mark.parametrize("rule", inference_example3b.RULES)
def test_people_with_task_sets_are_of_one_table(rule):
    model, truth, dataset = inference_example3b.people({"size": (3, 20), "seed": 1, "rule": rule})
    assert list(model.parameters) == list(inference_example3b.POPULATION)
    assert truth.shape == (3, 5) and int(dataset.scored.sum()) == 3 * 20
    other = {"marginal": "sample", "sample": "marginal"}[rule]
    np.testing.assert_array_equal(truth, inference_example3b.people({"size": (3, 20), "seed": 1, "rule": other})[1])


def test_weighted_draws_are_the_posterior():
    """Of a normal mean with a standard normal prior, seen once with unit variance: half of it, variance one half."""
    n, seen = 20_000, np.array([-1.0, 0.0, 1.0, 0.5])
    draws = [np.random.default_rng(person).normal(size=(n, 1)) for person in range(4)]
    logs = np.stack([-((x - own[:, 0]) ** 2) / 2 for x, own in zip(seen, draws, strict=True)])
    found = inference_example3b.weighted(["mu"], draws, logs, seen[:, None] / 2)
    means = np.array(found["means"])[:, 0]
    assert (np.abs(means - seen / 2) < 4 * np.sqrt(0.5 / found["ess"])).all()
    inside = inference_example3b.weighted(["mu"], draws, logs, seen[:, None] / 2 + 1.9 * np.sqrt(0.5))
    outside = inference_example3b.weighted(["mu"], draws, logs, seen[:, None] / 2 + 2.1 * np.sqrt(0.5))
    assert inside["parameters"]["mu"]["coverage"]["share"] == 1.0 and found["people"] == 4
    assert outside["parameters"]["mu"]["coverage"]["share"] == 0.0


@pytest.mark.slow
def test_task_sets_are_fitted_and_filtered(capsys):
    out = inference_example3b.run(**inference_example3b.QUICK, rules=("sample",))
    alone, em, filtered = out["runs"]
    assert em["method"] == "em"
    assert alone["population"] is None and em["population"]["sd"]["alpha"] > 0 and em["peak_mb"] > 100
    assert len(filtered["gap"]) == 6
    assert set(filtered["given_population"]) == {"marginal", "marginal (few)", "filter's (few)"}
    assert "people: sample, map" in capsys.readouterr().out


def rounds(*seconds):
    """Rounds of a job that takes so many seconds, beside a peer that takes ten times as many."""
    peer = [{"pymc": {"gallery": {"seconds": 10 * s, "cpu_seconds": 4 * s, "ess_per_second": 2.0}}} for s in seconds]
    own = [{"seconds": s, "cpu_seconds": s / 2, "ess_per_second": 30.0} for s in seconds]
    return [{"new model": a, "peers": b} for a, b in zip(own, peer, strict=True)]


def test_speed_is_told_in_medians_beside_targets_and_peers(capsys):
    found = inference_speed.nuts_row(rounds(1.0, 9.0, 2.0), "new model")
    assert found["seconds"] == 2.0 and found["cpu_seconds"] == 1.0 and found["reached"]
    gallery = found["peers"]["PyMC"]
    assert gallery["seconds"] == 20.0 and gallery["times"] == 10.0 and gallery["ess_times"] == 15.0
    assert gallery["cpu_times"] == 8.0
    assert set(found["peers"]) == {"PyMC"}  # the others did not run
    assert not inference_speed.nuts_row(rounds(6.0), "new model")["reached"]
    inference_speed.show(found)
    assert "15 x that of PyMC" in capsys.readouterr().out


def test_monte_carlo_estimates_are_compared_in_their_errors():
    ours, theirs = {"mean": 1.0, "mcse_mean": 0.3}, {"mean": 2.0, "mcse_mean": 0.4}
    assert inference_speed.apart(ours, theirs, "mean") == pytest.approx(-2.0)

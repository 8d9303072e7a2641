"""The third example's task sets: whether parameters come back, and what the marginal rule costs.

31 simulated people with 440 scored choices each, one session of `AlienTask`, of two kinds: some follow the marginal
rule, for which the likelihood is exact; others sample a set in each trial and learn in it alone, for which it is an
approximation. Both are drawn from `POPULATION` and fitted with the marginal likelihood by MAP and by EM. Compared with
the truth, and with what is possible given the true population: draws from it, weighted by the marginal likelihood (for
everybody) and by the particle filter's, which is exact in the limit for those who sample (for a few people). Each fit
runs in a fresh process on one thread. ``inference.py --only example3b``.

The posterior has a second mode, in which sets are not used (beta_high near 0); from the means of the default priors EM
ends there, 150 nats and more below; so it begins at the best of 20 fits of one set of parameters to everybody. NUTS is
left out for the time it takes.

    python benchmarks/inference_example3b.py JOB

JOB is a JSON text; the answer is a line of JSON on standard output.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fit_speed import load_average, run_job
from inference_scores import covered, pooled, recovered

COMMAND = [sys.executable, str(Path(__file__).resolve())]
PEOPLE, TRIALS, FEW = 31, 440, 6
RULES = ("marginal", "sample")
# Means and standard deviations, natural scale, truncated to the bounds. Not where the model's priors have most of their
# mass: with forgetting of .05 and inverse temperatures of 6 to 8 the standard errors of one person's alpha_high and
# beta_high from 440 choices exceed the parameters themselves. Here they are .09 (alpha), 1.4 (beta), .004 (forget), .03
# (alpha_high) and 2 (beta_high). Spreads of inverse temperatures are two scales of the model's prior of them.
POPULATION = {
    "alpha": (0.4, 0.1),
    "beta": (8.0, 1.0),
    "forget": (0.01, 0.005),
    "alpha_high": (0.3, 0.1),
    "beta_high": (15.0, 1.0),
}
FILTER = {"n_particles": 1000, "n_runs": 10, "draws": 400, "particles_of_draws": 400, "marginal_draws": 4000}
QUICK: dict[str, Any] = {
    "size": (6, 60),
    "n_few": 2,
    "particles": {"n_particles": 50, "n_runs": 3, "draws": 40, "particles_of_draws": 50, "marginal_draws": 100},
}


def run(
    size: tuple[int, int] = (PEOPLE, TRIALS),
    n_few: int = FEW,
    methods: tuple[str, ...] = ("map", "em", "filter"),
    rules: tuple[str, ...] = RULES,
    seed: int = 0,
    particles: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Simulate and fit both kinds of people, print tables.

    Parameters
    ----------
    size : (int, int)
        People, and scored choices of each.
    n_few : int
        People whose parameters are estimated by the particle filter.
    methods, rules : tuple of str
        What to run.
    seed : int
        Of everything.
    particles : dict, optional
        Settings of the filter that differ from `FILTER`.
    """
    out: dict[str, Any] = {"people": size[0], "trials": size[1], "population": POPULATION, "runs": []}
    print(f"\nexample 3b, task sets, {size[0]} people x {size[1]} choices, one thread")
    common = {"size": size, "seed": seed, "few": n_few, "particles": FILTER | (particles or {})}
    for rule in rules:
        for method in methods:
            job = {"job": "example 3b", "rule": rule, "method": method} | common
            entry = run_job(COMMAND, job)["fitted"] | {"load_after": load_average()}
            out["runs"].append(entry)
            (show_filter if method == "filter" else show)(entry)
    return out


def show(entry: dict[str, Any]) -> None:
    """A few lines for one fit."""
    share = entry["coverage"]
    notes = f"{entry['converged']} converged, log evidence {entry['log_evidence']:.1f}"
    print(
        f"people: {entry['rule']}, {entry['method']}: {entry['seconds']:.0f} s (CPU {entry['cpu_seconds']:.0f}), peak "
        f"{entry['peak_mb']:.0f} MB, {notes}; covered {share['share']:.3f} of {share['n']}"
    )
    show_parameters(entry["parameters"])


def show_filter(entry: dict[str, Any]) -> None:
    """The filter beside the marginal likelihood."""
    gap = np.array(entry["gap"])
    print(
        f"people: {entry['rule']}, particle filter: {entry['seconds']:.0f} s (CPU {entry['cpu_seconds']:.0f}); its "
        f"log-likelihood at the truth minus the marginal one: mean {gap.mean():.2f} nats per person (from "
        f"{gap.min():.2f} to {gap.max():.2f}, standard errors up to {max(entry['gap_error']):.2f}), "
        f"{gap.mean() / entry['trials']:.4f} per choice"
    )
    for name, found in entry["given_population"].items():
        ess = f"effective draws {found['ess']:.0f} (median {found['median_ess']:.0f})"
        print(f"  {found['people']} people given the true population, weighted by the {name} likelihood: {ess}")
        show_parameters(found["parameters"])


def show_parameters(parameters: dict[str, Any]) -> None:
    """A line for each."""
    for name, found in parameters.items():
        print(
            f"    {name:<11} r {found['r']:.3f}, RMSE {found['rmse']:.4f}, bias {found['bias']:+.4f}, "
            f"covered {found['coverage']['share']:.3f}"
        )
    sys.stdout.flush()


# ---------------------------------------------------------------------- in a process of its own


def people(job: dict[str, Any]) -> tuple[Any, np.ndarray, Any]:
    """The model, people's parameters, and their choices."""
    from inference_models import draw

    from spice.precoded import task_sets
    from spice.resources.bandits import AlienTask

    rng, model = np.random.default_rng(job["seed"]), task_sets()
    n_people, n_trials = job["size"]
    truth = draw(model, POPULATION, n_people, rng)
    named = dict(zip(model.parameters, truth.T, strict=True))
    return model, truth, model.simulate(AlienTask(), n_trials, named, seed=rng, rule=job["rule"])


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """By MAP or EM; ``job`` has ``rule``, ``method``, ``size`` (people, choices), ``seed``."""
    from inference_example3a import peak_mb
    from inference_peer_jobs import clock
    from inference_recovery import fitted
    from inference_scores import compare

    model, truth, dataset = people(job)
    took, settings = clock(), {"covariance": "diagonal"} if job["method"] == "em" else {}
    result, notes = fitted(model, dataset, job["method"], job["seed"], n_threads=1, **settings)
    figures = took()
    parameters = compare(result, truth)
    found = result.population
    population = None if found is None else {"typical": found.typical.to_dict(), "sd": found.sd.to_dict()}
    return (
        notes
        | figures
        | {
            "peak_mb": peak_mb(),
            "log_evidence": float(result.log_evidence.sum()),
            "converged": int(result.converged.sum()),
            "parameters": parameters,
            "coverage": pooled([entry["coverage"] for entry in parameters.values()]),
            "population": population,
            "truth": truth.tolist(),
            "estimates": result.parameters.to_numpy(float).tolist(),
        }
    )


def filter_people(job: dict[str, Any]) -> dict[str, Any]:
    """The filter at the truth for everybody, and for a few people at draws from the population that they are from."""
    from inference_models import draw
    from inference_peer_jobs import clock

    from spice.inference.fitting.likelihoods import likelihood_of
    from spice.inference.fitting.particles import ParticleFilter

    model, truth, dataset = people(job)
    took, few, sizes = clock(), job["few"], job["particles"]
    settings = {"seed": job["seed"], "n_threads": 1}
    marginal = likelihood_of(model, dataset, 1)
    at_truth = ParticleFilter(model, dataset, sizes["n_particles"], sizes["n_runs"], **settings)(truth)
    rng, names, found = np.random.default_rng([job["seed"], 1]), list(model.parameters), {}
    one_run = ParticleFilter(model, dataset, sizes["particles_of_draws"], 1, **settings)
    likelihoods = {"marginal": lambda *rows: -marginal.gradient(*rows)[0]}
    likelihoods["filter's"] = lambda *rows: one_run(*rows).log_likelihood
    for name, n_people, n_draws in (
        ("marginal", len(truth), sizes["marginal_draws"]),
        ("marginal", few, sizes["marginal_draws"]),
        ("filter's", few, sizes["draws"]),
    ):
        draws = [draw(model, POPULATION, n_draws, rng) for _ in range(n_people)]
        logs = likelihoods[name](np.concatenate(draws), np.repeat(np.arange(n_people), n_draws))
        key = name if n_people == len(truth) else f"{name} (few)"
        found[key] = weighted(names, draws, logs.reshape(n_people, -1), truth[:n_people])
    return took() | {
        "gap": (at_truth.log_likelihood + marginal.gradient(truth)[0]).tolist(),
        "gap_error": at_truth.standard_error.tolist(),
        "trials": job["size"][1],
        "given_population": found,
    }


def weighted(names: list[str], draws: list[np.ndarray], logs: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Posterior means and 95 % intervals from draws of the prior, weighted by the likelihood.

    An unbiased estimate of the likelihood serves as well as its value (Andrieu & Roberts 2009, Annals of Statistics 37:
    697): the noise only costs effective draws.

    Parameters
    ----------
    names : list of str
        Parameters.
    draws : list of np.ndarray, each (n_draws, n_parameters)
        Of each person.
    logs : np.ndarray, shape (n_people, n_draws)
        Log-likelihoods.
    truth : np.ndarray, shape (n_people, n_parameters)
        Parameters.
    """
    weights = np.exp(logs - logs.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    mean, low, high = (np.empty_like(truth) for _ in range(3))
    for person, (own, weight) in enumerate(zip(draws, weights, strict=True)):
        mean[person] = weight @ own
        for k, values in enumerate(own.T):
            order = values.argsort()
            places = np.cumsum(weight[order]) - 0.5 * weight[order]
            low[person, k], high[person, k] = np.interp([0.025, 0.975], places, values[order])
    parameters = {
        name: recovered(truth[:, k], mean[:, k], False) | {"coverage": covered(truth[:, k], low[:, k], high[:, k])}
        for k, name in enumerate(names)
    }
    ess = 1 / (weights**2).sum(1)
    return {
        "people": len(draws),
        "ess": float(ess.min()),
        "median_ess": float(np.median(ess)),
        "parameters": parameters,
        "means": mean.tolist(),
    }


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers
        answer = filter_people(job) if job["method"] == "filter" else fit(job)
    print(json.dumps({"event": "fitted", "rule": job["rule"], "method": job["method"]} | answer), flush=True)


if __name__ == "__main__":
    main()

"""Do 95 % intervals hold the truth in 95 % of people? People drawn from a fitted population.

A hundred people are simulated and their population fitted by EM; new groups of people are drawn from *that* population,
simulated, and every method fits each group. Compared with the nominal 95 %: shares are pooled over people and
parameters, with binomial standard errors (the intervals of one person are not independent, those of a group's people
share its population: the spread over groups is told too). ``inference.py --only coverage``.

- mle: by the likelihood ratio; people whose estimate is at a bound have none, and are counted.
- map: by the ratio of posterior densities, under the default priors, which are wider than the population.
- map, own prior: the same, of people who are drawn from these priors: that is what such intervals promise.
- em: posteriors by importance sampling, widened by what is not known of the population; nuts: central 95 % of draws.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from inference_models import READY, draw, play, simulate
from inference_recovery import fitted, of_sampler
from inference_scores import covered, pooled
from joblib import Parallel, delayed

from spice.inference.fitting.defaults import theta_moments

MODELS = tuple(name for name in READY if name != "task_sets")  # 200 trials do not identify it, and ten fits take hours
METHODS = ("mle", "map", "map, own prior", "em", "nuts")
NOMINAL = (0.93, 0.97)  # between which the share shall be


def of_ready(name: str) -> Any:
    """A ready model whose people are normal on the unconstrained scale, as EM has them, with the default priors."""
    model = READY[name].model()
    same = {"scale": "unconstrained", "mean_prior": None, "sd_prior": None}
    return model.replace(parameters={k: replace(own, **same) for k, own in model.parameters.items()})


def population_of(name: str, n_people: int, n_trials: int, seed: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each parameter, fitted to simulated people."""
    _, _, dataset = simulate(name, n_people, n_trials, seed)
    model = of_ready(name)
    found = fitted(model, dataset, "em", covariance="diagonal")[0].population
    return {name: (float(found.mean[name]), float(found.sd[name])) for name in model.parameters}


def of_group(
    name: str, method: str, population: dict[str, tuple[float, float]], size: tuple[int, int], seed: int, sampler: dict
) -> dict[str, Any]:
    """Coverage in one group of people, by parameter.

    Parameters
    ----------
    name : str
        Of `READY`.
    method : str
        Of `METHODS`.
    population : mapping of str to (float, float)
        Of the group, on the unconstrained scale.
    size : (int, int)
        People and trials.
    seed : int
        Of the group: the same for all methods.
    sampler : dict
        Settings of NUTS.
    """
    torch.set_num_threads(1)
    ready, model, rng = READY[name], of_ready(name), np.random.default_rng([7, seed])
    if method == "map, own prior":
        population = dict(zip(model.parameters, zip(*theta_moments(model.parameters), strict=True), strict=True))
    truth = draw(model, population, size[0], rng)
    dataset = play(model, ready.task(), truth, ready.rows * size[1], rng)
    settings = {"n_threads": 1, **sampler} if method == "nuts" else {}
    result, notes = fitted(model, dataset, method.partition(",")[0], seed=seed, **settings)
    by_parameter = {
        parameter: covered(truth[:, k], *(result.intervals[parameter, end].to_numpy(float) for end in ("low", "high")))
        for k, parameter in enumerate(model.parameters)
    }
    return notes | {
        "parameters": by_parameter,
        "all": pooled(list(by_parameter.values())),
        "sampler": of_sampler(result) if method == "nuts" else None,
    }


def run(
    n_groups: int, size: tuple[int, int], jobs: int, models: tuple[str, ...] = MODELS, seed: int = 2, **sampler: Any
) -> dict[str, Any]:
    """Count, pool, print a table.

    Parameters
    ----------
    n_groups : int
        Groups that are drawn from the fitted population.
    size : (int, int)
        People of a group, and trials of each.
    jobs : int
        Processes, of one thread each.
    models : tuple of str
        Keys of `READY`.
    seed : int
        Of the people whose population is fitted.
    **sampler
        Settings of NUTS.
    """
    out: dict[str, Any] = {"groups": n_groups, "people_of_a_group": size[0], "trials": size[1], "models": {}}
    print(f"\n95 % intervals of {n_groups * size[0]} people from the fitted population, {size[1]} trials each")
    for name in models:
        population = population_of(name, *size, seed)
        entry: dict[str, Any] = {"population": population, "methods": {}}
        for method in METHODS:
            works = [delayed(of_group)(name, method, population, size, group, sampler) for group in range(n_groups)]
            entry["methods"][method] = together(Parallel(n_jobs=jobs)(works))
            show(name, method, entry["methods"][method])
        out["models"][name] = entry
    return out


def together(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """All groups of one method."""
    shares = [group["all"]["share"] for group in groups]
    whole = pooled([group["all"] for group in groups])
    names = groups[0]["parameters"]
    return whole | {
        "se_of_groups": float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else None,
        "parameters": {name: pooled([group["parameters"][name] for group in groups]) for name in names},
        "reached": bool(NOMINAL[0] <= whole["share"] <= NOMINAL[1]),
        "groups": groups,
    }


def all_models(models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Intervals of all models together, by method; printed."""
    found = {method: pooled([entry["methods"][method] for entry in models.values()]) for method in METHODS}
    for method, entry in found.items():
        print(f"{f'{len(models)} models':<20}{method:<16}{entry['share']:.4f} of {entry['n']}")
    return found


def show(name: str, method: str, found: dict[str, Any]) -> None:
    """One line."""
    each = ", ".join(f"{parameter} {entry['share']:.3f}" for parameter, entry in found["parameters"].items())
    spread = found["se_of_groups"]
    print(
        f"{name:<20}{method:<16}{found['share']:.4f} (s.e. {found['se']:.4f}"
        + (f", of groups {spread:.4f}" if spread is not None else "")
        + f") of {found['n']}, {found['without']} without; {each}" + ("" if found["reached"] else "   missed"),
        flush=True,
    )  # fmt: skip

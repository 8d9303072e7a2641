"""Do parameters come back? Every ready model, its simulated people, and all methods side by side.

Compared with the truth, and hierarchical methods (EM, NUTS) with maximum likelihood. ``inference.py --only recovery``.
"""

import time
import warnings
from typing import Any

import torch
from inference_models import READY, simulate
from inference_scores import compare, pooled
from joblib import Parallel, delayed

from spice.errors import SpiceWarning
from spice.inference import fit

METHODS = ("mle", "map", "em", "nuts")
HIERARCHICAL = ("em", "nuts")


def fitted(model: Any, dataset: Any, method: str, seed: int = 0, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A fit on one thread; its seconds and what it warned of."""
    torch.set_num_threads(1)
    settings |= {"seed": seed} if method in ("em", "nuts") else {}
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpiceWarning)
        result = fit(model, dataset, method, **settings)
    notes = sorted({f"{type(entry.message).__name__}: {str(entry.message)[:300]}" for entry in caught})
    return result, {"seconds": time.perf_counter() - begin, "warnings": notes}


def of_sampler(result: Any) -> dict[str, Any]:
    """Diagnostics of a posterior."""
    table = result.diagnostics
    return {
        "divergences": result.n_divergences,
        "r_hat": float(table["r_hat"].max()),
        "ess": float(table[["ess_bulk", "ess_tail"]].min(axis=None)),
    }


def run_one(name: str, method: str, n_people: int, n_trials: int, seed: int, sampler: dict[str, Any]) -> dict[str, Any]:
    """One model by one method: errors, correlations and coverage by parameter, and every estimate."""
    torch.set_num_threads(1)
    model, truth, dataset = simulate(name, n_people, n_trials, seed)
    settings = {"n_threads": 1, **sampler} if method == "nuts" else {}
    result, notes = fitted(model, dataset, method, **settings)
    parameters = compare(result, truth)
    return notes | {
        "parameters": parameters,
        "coverage": pooled([entry["coverage"] for entry in parameters.values()]),
        "converged": int(result.converged.sum()),
        "sampler": of_sampler(result) if method == "nuts" else None,
        "truth": truth.tolist(),
        "estimates": result.parameters.to_numpy(float).tolist(),
    }


def judge(found: dict[str, Any]) -> list[str]:
    """Where a hierarchical method does not beat maximum likelihood, in words."""
    losses = []
    for method in [method for method in HIERARCHICAL if method in found]:
        for name, own in found[method]["parameters"].items():
            other = found["mle"]["parameters"][name]
            losses += [
                f"{method} {name} {key}: {own[key]:.3g} against {other[key]:.3g}"
                for key in ("rmse", "rmse_log")
                if key in own and not own[key] < other[key]
            ]
    return losses


def run(
    n_people: int, n_trials: int, jobs: int, models: tuple[str, ...] = tuple(READY), seed: int = 1, **sampler: Any
) -> dict[str, Any]:
    """Fit every model by every method, print a table.

    Parameters
    ----------
    n_people, n_trials : int
        Of each model.
    jobs : int
        Processes, of one thread each.
    models : tuple of str
        Keys of `READY`.
    seed : int
        Of the simulation.
    **sampler
        Settings of NUTS.
    """
    out: dict[str, Any] = {"people": n_people, "trials": n_trials, "models": {}}
    for name in models:
        works = [delayed(run_one)(name, method, n_people, n_trials, seed, sampler) for method in reversed(METHODS)]
        found = dict(zip(METHODS, reversed(Parallel(n_jobs=jobs)(works)), strict=True))
        out["models"][name] = found | {"not_better": judge(found)}
        show(name, out["models"][name])
    return out


def show(name: str, found: dict[str, Any]) -> None:
    """A table of one model: correlation and error of every parameter by every method."""
    methods = [method for method in METHODS if method in found]
    print(f"\n{name:<24}" + "".join(f"{method + ': r, rmse (log)':>28}" for method in methods))
    for parameter in found["mle"]["parameters"]:
        cells = [found[method]["parameters"][parameter] for method in methods]
        print(f"  {parameter:<22}" + "".join(f"{errors(cell):>28}" for cell in cells))
    shares = [found[method]["coverage"] for method in methods]
    print(f"  {'95 % intervals cover':<22}" + "".join(f"{c['share']:>28.3f}" for c in shares))
    print(f"  {'seconds':<22}" + "".join(f"{found[method]['seconds']:>28.1f}" for method in methods))
    if "nuts" in found:
        print(f"  NUTS: {found['nuts']['sampler']}")
    print(f"  hierarchical not better: {'; '.join(found['not_better']) or 'nowhere'}", flush=True)


def errors(entry: dict[str, Any]) -> str:
    """Correlation and error of one parameter, for the table."""
    return f"{entry['r']:.2f} {entry['rmse']:9.3g}" + (f" ({entry['rmse_log']:.3f})" if "rmse_log" in entry else "")

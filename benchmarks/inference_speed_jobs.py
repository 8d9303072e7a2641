"""What ``inference_speed.py`` times, each in a process of its own with one thread.

    python benchmarks/inference_speed_jobs.py JOB

JOB is a JSON text with ``job`` and the job's arguments; the answer is a line of JSON on standard output.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from inference_data import TRUE, example_two, tables
from inference_peer_jobs import clock

AT = (0.4, 3.0)  # alpha and beta at which the likelihood is timed: those of the peer's job


def median_seconds(work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Median and all of the seconds that a call takes, after one that does not count."""
    work()
    seconds, cpu = [], []
    for _ in range(repeats):
        took = clock()
        work()
        figures = took()
        seconds.append(figures["seconds"])
        cpu.append(figures["cpu_seconds"])
    return {"seconds": float(np.median(seconds)), "cpu_seconds": float(np.median(cpu)), "all_seconds": seconds}


def people(path: str, number: int) -> Any:
    """The first people of a file, as a DatasetRNN."""
    from spice.resources.dataset import DatasetRNN

    with np.load(path) as data:
        return DatasetRNN(*tables(data["choices"][:number], data["rewards"][:number]))


# ---------------------------------------------------------------------- jobs


def likelihood(job: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihood, gradient and Hessian of many people and of one; value and gradient alone.

    Parameters
    ----------
    job : dict
        ``data`` (npz file of ``choices`` and ``rewards``), ``people``, ``repeats``.
    """
    from spice.inference.fitting.likelihoods import likelihood_of
    from spice.precoded import rescorla_wagner

    answer: dict[str, Any] = {}
    for number, repeats in ((job["people"], job["repeats"]), (1, 200 * job["repeats"])):
        found = likelihood_of(rescorla_wagner(), people(job["data"], number), 1)
        values = np.tile(AT, (number, 1))
        answer[f"exact {number}"] = median_seconds(lambda f=found, v=values: f(v), repeats)
        answer[f"gradient {number}"] = median_seconds(lambda f=found, v=values: f.gradient(v), repeats)
        if number > 1:
            answer |= {"nll": float(found(values).nll.sum()), "gradient": found(values).gradient.sum(0).tolist()}
    return answer


def fits(job: dict[str, Any]) -> dict[str, Any]:
    """MAP and EM of so many people, from data to tables, after a fit that compiles.

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``people`` (list), ``methods``, ``repeats``.
    """
    from spice.inference import fit
    from spice.precoded import rescorla_wagner

    answer: dict[str, Any] = {}
    for method in job["methods"]:
        for number in job["people"]:
            dataset = people(job["data"], number)

            def once(d: Any = dataset, m: str = method) -> Any:
                return fit(rescorla_wagner(), d, m)

            figures, result = median_seconds(once, job["repeats"]), once()
            answer[f"{method} {number}"] = figures | {
                "alpha": float(result.parameters["alpha"].mean()),
                "beta": float(result.parameters["beta"].mean()),
                "converged": int(result.converged.sum()),
            }
            if result.population is not None:
                answer[f"{method} {number}"]["population"] = {
                    "mean": result.population.mean.to_dict(),
                    "sd": result.population.sd.to_dict(),
                }
    return answer


def nuts(job: dict[str, Any]) -> dict[str, Any]:
    """The second example by NUTS, as a user's script does it: imports, data, compilation, draws, diagnostics.

    Parameters
    ----------
    job : dict
        ``draws`` (warm-up and kept, each), ``chains``, ``seed``.
    """
    took = clock()
    from spice.equations import Parameter
    from spice.inference import fit
    from spice.precoded import rescorla_wagner
    from spice.resources.dataset import DatasetRNN

    choices, rewards = example_two()
    dataset = DatasetRNN(*tables(choices[None], rewards[None]))
    own = {"alpha": Parameter(0, 1, prior="beta(1, 1)"), "beta": Parameter(0, prior="half_normal(10)")}
    model = rescorla_wagner().replace(parameters=own)
    imported = took()["seconds"]
    settings = {"draws": job["draws"], "tune": job["draws"], "chains": job["chains"], "seed": job["seed"]}
    result = fit(model, dataset, "nuts", n_threads=1, **settings)
    answer: dict[str, Any] = took() | {"import_seconds": imported}
    answer["fit_seconds"] = answer["seconds"] - imported
    again = clock()
    fit(model, dataset, "nuts", n_threads=1, **settings)
    answer["warm_seconds"] = again()["seconds"]
    answer |= {"parameters": figures(result), "divergences": result.n_divergences, "true": TRUE}
    answer["ess"] = min(entry["ess_bulk"] for entry in answer["parameters"].values())
    answer["elpd_loo"] = float(result.loo()["elpd_loo"])
    return answer | {"ess_per_second": answer["ess"] / answer["seconds"]}


def figures(result: Any) -> dict[str, dict[str, float]]:
    """Means and standard deviations of draws with their Monte-Carlo errors, and diagnostics, as the peers' job has."""
    import xarray

    from spice.inference.fitting.bayes.sampling import import_extra

    ess = import_extra("arviz").ess
    answer = {}
    for name in result.parameters.columns:
        draws, row = result.posterior[name][..., 0], result.diagnostics.loc[f"{name}[0]"]
        mean, sd, squares = draws.mean(), draws.std(ddof=1), (draws - draws.mean()) ** 2
        data = xarray.Dataset({name: (("chain", "draw"), part) for name, part in (("x", draws), ("square", squares))})
        worth = ess(data, method="mean")
        answer[name] = {"mean": float(mean), "mcse_mean": float(sd / np.sqrt(worth["x"]))}
        answer[name] |= {"sd": float(sd), "mcse_sd": float(squares.std() / np.sqrt(worth["square"]) / (2 * sd))}
        answer[name] |= {key: float(row[key]) for key in ("ess_bulk", "ess_tail", "r_hat")}
    return answer


def small_data(job: dict[str, Any]) -> dict[str, Any]:
    """A few trials of every ready model, as files for `compile`.

    Parameters
    ----------
    job : dict
        ``folder``.
    """
    from inference_models import READY, simulate

    for name in READY:
        dataset = simulate(name, 2, 10, seed=0)[2]
        np.savez(f"{job['folder']}/{name}.npz", xs=dataset.xs, ys=dataset.ys, names=list(dataset.columns.names))
    return {"models": list(READY)}


def compile(job: dict[str, Any]) -> dict[str, Any]:  # noqa: A001
    """From a ready model to its first likelihood: with Hessian (maximum likelihood, MAP, EM), and gradient (NUTS).

    Parameters
    ----------
    job : dict
        ``model`` (its name in `spice.precoded`), ``data`` (npz file).
    """
    took = clock()
    import numba  # noqa: F401
    import sympy  # noqa: F401

    from spice import precoded
    from spice.equations import codegen, step_source  # noqa: F401
    from spice.inference.fitting.likelihoods import likelihood_of
    from spice.resources.dataset import DatasetRNN

    with np.load(job["data"]) as data:
        dataset = DatasetRNN(data["xs"], data["ys"], [str(name) for name in data["names"]])
    answer: dict[str, Any] = {"import_seconds": took()["seconds"]}
    took = clock()
    model = getattr(precoded, job["model"])()
    found = likelihood_of(model, dataset, 1)
    values = np.full((2, len(model.parameters)), 0.3)
    answer["model_seconds"] = took()["seconds"]
    found(values)
    answer["exact_seconds"] = took()["seconds"]
    found.gradient(values)
    return answer | took()


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    work.__name__: work for work in (likelihood, fits, nuts, small_data, compile)
}


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    for variable, folder in job.get("environment", {}).items():
        os.environ[variable] = folder  # before numba is imported
    begin = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answer
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = JOBS[job["job"]](job)
    print(json.dumps({"event": "done", "job_seconds": time.perf_counter() - begin} | answer), flush=True)


if __name__ == "__main__":
    main()

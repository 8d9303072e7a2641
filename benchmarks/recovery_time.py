"""How long stage 3 takes (``recovery.py --only time``): refitting and search beside network and SINDy.

    python benchmarks/recovery_time.py JOB

Each fit runs in a fresh process with two threads; seconds are medians over the repeats. "cold": the cache of compiled
code is an empty folder, so that numba compiles; "warm": the next process finds it filled, as every user's does from the
second fit on. JOB is a JSON text; the answer is a line of JSON on standard output.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from fit_speed import run_job

COMMAND = [sys.executable, str(Path(__file__).resolve())]
THREADS, REPEATS = 2, 3
AGENTS = {"rescorla-wagner": {}, "forgetting": {"forget_rate": 0.2}}  # 100 sessions of 100 trials, one participant
TARGETS = {"rescorla-wagner": 5.0, "forgetting": 5.0, "protocol": 120.0}  # seconds of stage 3, warm
STAGES = ("refine", "network", "sindy", "total")


def run(n_people: int, repeats: int = REPEATS, works: tuple[str, ...] = tuple(TARGETS)) -> list[dict[str, Any]]:
    """Time every work, cold and warm, and print a table.

    Parameters
    ----------
    n_people : int
        People of the protocol's data.
    repeats : int
        Fresh caches, each with a cold and a warm fit.
    works : tuple of str
        Keys of `TARGETS`.

    Returns
    -------
    list of dict
        One per work: median seconds by stage, cold and warm, all runs, and whether the target was met.
    """
    print(
        f"\nseconds of each stage, {THREADS} threads, medians of {repeats} fresh processes, compiled code warm and cold"
    )
    print(f"{'':<32}{'refine':>8}{'cold':>8}{'network':>9}{'sindy':>8}{'total':>8}{'target':>8}")
    rows = []
    for work in works:
        runs: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
        for seed in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                job = {"job": work, "people": n_people, "seed": seed, "cache": cache, "threads": THREADS}
                for fits in runs.values():  # cold, then warm
                    fits.append(run_job(COMMAND, job)["fitted"])
        medians = {
            state: {stage: float(np.median([fit["timing"][stage] for fit in fits])) for stage in STAGES}
            for state, fits in runs.items()
        }
        name = f"protocol, {n_people} people" if work == "protocol" else f"{work}, 100 x 100 trials"
        warm = medians["warm"]
        rows.append({"work": name, "median": medians, "runs": runs, "target": TARGETS[work]})
        rows[-1]["met"] = warm["refine"] < TARGETS[work]
        print(
            f"{name:<32}{warm['refine']:>8.1f}{medians['cold']['refine']:>8.1f}{warm['network']:>9.1f}"
            f"{warm['sindy']:>8.1f}{warm['total']:>8.1f}{'<' + format(TARGETS[work], '.0f'):>8}",
            flush=True,
        )
    return rows


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Simulate, fit once, and say how long each stage took.

    Parameters
    ----------
    job : dict
        ``job`` (a key of `TARGETS`), ``people`` of the protocol's data, ``seed``, ``threads``.
    """
    import torch

    from spice.errors import SpiceWarning
    from spice.estimator import SpiceEstimator
    from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

    torch.set_num_threads(job["threads"])
    if job["job"] == "protocol":
        from protocol_data import simulate

        dataset = simulate(job["people"], job["seed"]).train
    else:
        agent = AgentQ(2, alpha_reward=0.3, beta_reward=3.0, **AGENTS[job["job"]])
        dataset = create_dataset(agent, BanditsDrift(sigma=0.2), 100, 100, 1, seed=job["seed"])[0]
    begin_cpu = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator = SpiceEstimator(random_state=job["seed"]).fit(dataset)
    cpu_seconds = time.process_time() - begin_cpu
    parameters = estimator.canonical_[estimator.participants_[0]].parameters
    return {"timing": estimator.timing_, "cpu_seconds": cpu_seconds, "parameters": parameters}


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    os.environ["NUMBA_CACHE_DIR"] = job["cache"]  # before numba is imported
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers
        answer = fit(job)
    print(json.dumps({"event": "fitted"} | answer), flush=True)


if __name__ == "__main__":
    main()

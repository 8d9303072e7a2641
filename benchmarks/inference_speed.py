"""How fast models are fitted, beside peers in the same run and beside targets. ``inference.py --only speed``.

Every job runs in a fresh process with one thread; project and peers take turns, round by round, and seconds are medians
over rounds. CPU seconds and their ratios stand beside them: where they differ much, the machine was busy.

- Likelihood, MAP and EM: Rescorla-Wagner, 200 scored choices per person; fits from data to tables, after one that
  compiles. Peers: torch's autograd (value and gradient), SciPy without gradients, cpm-toolbox and pyEM.
- NUTS: the second example. "new installation": nothing is compiled yet; "new model": the package is, this model is
  not; "known model": both are. ESS per second counts everything from the first import on, as for PyMC.
- Compilation: from a ready model to its first likelihood with Hessian and its first gradient, imports left out.
"""

import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import inference_peers
import numpy as np
from fit_speed import load_average, run_job
from inference_data import simulate
from inference_peers import EM_PEOPLE, SEED, TRIALS

COMMAND = [sys.executable, str(Path(__file__).resolve().with_name("inference_speed_jobs.py"))]
MANY, SOME = 10_000, 1_000
STATES = ("new installation", "new model", "known model")
Round = dict[str, Any]  # what one round found, by name of the job


def run(
    repeats: int, peers: Sequence[str], folder: Path, pyem: str | None = None, quick: bool = False
) -> dict[str, Any]:
    """Time everything, print a table.

    Parameters
    ----------
    repeats : int
        Rounds.
    peers : sequence of str
        Beside which the project is timed.
    folder : Path
        Under which their environments are or shall be built.
    pyem : str, optional
        What pip installs as pyEM.
    quick : bool
        Whether everything is small.
    """
    many = 50 if quick else MANY
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as name:
        data, works = Path(name), Path(name) / "small"
        works.mkdir()
        np.savez(data / "many.npz", **simulate(many, TRIALS, SEED))
        models = own({"job": "small_data", "folder": str(works)})["models"]
        for _ in range(repeats):
            rounds.append(one_round(data, works, models, many, quick))
            found = inference_peers.benchmark(peers, folder, 1, pyem, quick)
            rounds[-1] |= {"peers": found, "load": load_average()}
    rows = table(rounds, many)
    for row in rows:
        show(row)
    return {"rows": rows, "agreement": agreement(rounds), "rounds": rounds}


def own(job: dict[str, Any]) -> dict[str, Any]:
    """Run one of the project's jobs."""
    return run_job(COMMAND, job)["done"]


def one_round(data: Path, works: Path, models: list[str], many: int, quick: bool) -> Round:
    """The project's jobs, once each."""
    file, repeats = str(data / "many.npz"), 3 if quick else 15
    found: Round = {"likelihood": own({"job": "likelihood", "data": file, "people": many, "repeats": repeats})}
    numbers = [5, many] if quick else [EM_PEOPLE, SOME, MANY]
    found["fits"] = own({"job": "fits", "data": file, "people": numbers, "methods": ["map", "em"], "repeats": 3})
    draws = {"job": "nuts", "draws": 100 if quick else 1000, "chains": 4, "seed": 598}
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as package:
        folders = {"SPICE_CACHE": empty, "NUMBA_CACHE_DIR": package}
        found["new installation"] = own(draws | {"environment": folders})
    with tempfile.TemporaryDirectory() as empty:
        for state in STATES[1:]:
            found[state] = own(draws | {"environment": {"SPICE_CACHE": empty}})
    for model in models[:1] if quick else models:
        with tempfile.TemporaryDirectory() as empty:
            job = {"job": "compile", "model": model, "data": str(works / f"{model}.npz")}
            for state in ("uncached", "cached"):
                found[f"{model}, {state}"] = own(job | {"environment": {"SPICE_CACHE": empty}})
    return found


# ---------------------------------------------------------------------- the table


def median(rounds: list[Round], *path: str) -> float | None:
    """Median over rounds of what is at the end of a path; None where a round lacks it."""
    values = []
    for found in rounds:
        entry: Any = found
        for key in path:
            entry = entry.get(key) if isinstance(entry, dict) else None
        if entry is None:
            return None
        values.append(entry)
    return statistics.median(values)


def row(
    work: str, rounds: list[Round], at: tuple[str, ...], limit: float | None, peers: dict[str, tuple] | None = None
) -> dict[str, Any]:
    """One line: seconds, CPU seconds, target, and peers with how many times as long they take.

    Parameters
    ----------
    work : str
        What is done.
    rounds : list of dict
        Figures.
    at : tuple of str
        Path to the project's entry, which holds ``seconds`` and ``cpu_seconds``.
    limit : float, optional
        Seconds at most.
    peers : dict of str to (path, key)
        Where the peers' medians are: a path in ``inference_peers.benchmark``'s answer, and the name of the seconds.
    """
    seconds, cpu = (median(rounds, *at, key) for key in ("seconds", "cpu_seconds"))
    found: dict[str, Any] = {"work": work, "seconds": seconds, "cpu_seconds": cpu, "at_most": limit}
    found["reached"] = None if limit is None or seconds is None else bool(seconds <= limit)
    found["peers"] = {}
    for name, (path, key) in (peers or {}).items():
        theirs = median(rounds, "peers", *path, key)
        if theirs is not None and seconds:
            found["peers"][name] = {"seconds": theirs, "times": theirs / seconds}
            busy = median(rounds, "peers", *path, key.replace("seconds", "cpu_seconds"))
            found["peers"][name]["cpu_times"] = busy / cpu if busy and cpu else None
    return found


def table(rounds: list[Round], many: int) -> list[dict[str, Any]]:
    """All lines."""
    exact, gradient = ("likelihood", f"exact {many}"), ("likelihood", f"gradient {many}")
    torch = {"torch, gradient only": (("torch", "gradient"), "seconds")}
    size = f"{many:,} people x {TRIALS} trials"
    rows = [
        row(f"log-likelihood, gradient, Hessian, {size}", rounds, exact, 0.05, torch),
        row(f"log-likelihood, gradient, {size}", rounds, gradient, None, torch),
        row("log-likelihood, gradient, Hessian, one person", rounds, ("likelihood", "exact 1"), 20e-6),
    ]
    limits = {"map": {SOME: 0.1, MANY: 1.0}, "em": {SOME: 0.5, MANY: 5.0}}
    numbers = [int(name.split()[1]) for name in rounds[0]["fits"] if name.startswith("map ")]
    for method in ("map", "em"):
        for number in numbers:
            title, limit = f"{method.upper()} of {number:,} people", limits[method].get(number)
            rows.append(row(title, rounds, ("fits", f"{method} {number}"), limit, fit_peers(method, number)))
    rows += [nuts_row(rounds, state) for state in STATES]
    compiled = [name for name in rounds[0] if name.endswith("cached")]
    rows += [row(f"compile {name}", rounds, (name,), None if name.endswith(" uncached") else 1.0) for name in compiled]
    return rows


def fit_peers(method: str, number: int) -> dict[str, tuple]:
    """Peers of a fit, where theirs has as many people."""
    if method == "map":
        keys = {f"SciPy {name}": f"{name} {number} seconds" for name in ("Nelder-Mead", "L-BFGS-B")}
        return {name: (("scipy", "map"), key) for name, key in keys.items()}
    if number != EM_PEOPLE:
        return {}
    return {name: ((work, "em"), "seconds") for name, work in (("cpm-toolbox", "cpm"), ("pyEM", "pyem"))}


def nuts_row(rounds: list[Round], state: str) -> dict[str, Any]:
    """NUTS: seconds, and effective samples per second beside PyMC's."""
    jobs = {"PyMC": "gallery", "PyMC, pointwise": "gallery, pointwise", "PyMC by nutpie": "nutpie"}
    peers = {name: (("pymc", job), "seconds") for name, job in jobs.items()}
    found = row(f"example 2 by NUTS, 4 x 1000, {state}", rounds, (state,), 5.0, peers)
    more = ("import_seconds", "fit_seconds", "warm_seconds", "since_start", "ess", "ess_per_second")
    found |= {key: median(rounds, state, key) for key in more}
    for name, job in jobs.items():
        theirs = median(rounds, "peers", "pymc", job, "ess_per_second")
        if theirs is not None:
            found["peers"][name] |= {"ess_per_second": theirs, "ess_times": found["ess_per_second"] / theirs}
    return found


def agreement(rounds: list[Round]) -> dict[str, Any]:
    """How far project and peers are apart: of NUTS in Monte-Carlo errors, of the likelihood relatively."""
    found: dict[str, Any] = {}
    last = rounds[-1]
    for job, entry in last["peers"].get("pymc", {}).items():
        if isinstance(entry, dict) and "runs" in entry:
            theirs, ours = entry["runs"][0]["answer"]["parameters"], last["new model"]["parameters"]
            both = [(name, of) for name in ours for of in ("mean", "sd")]
            found[f"NUTS, {job}"] = {f"{name} {of}": apart(ours[name], theirs[name], of) for name, of in both}
    runs = last["peers"].get("torch", {}).get("gradient", {}).get("runs")
    if runs:
        theirs, ours = runs[0]["answer"], last["likelihood"]
        found["likelihood"] = ours["nll"] / theirs["nll"] - 1
    for name, value in found.items():
        print(f"agreement, {name}: {json.dumps(value)}")
    return found


def apart(ours: dict[str, float], theirs: dict[str, float], of: str) -> float:
    """Difference of two Monte-Carlo estimates in its standard errors."""
    return (ours[of] - theirs[of]) / math.hypot(ours[f"mcse_{of}"], theirs[f"mcse_{of}"])


def show(entry: dict[str, Any]) -> None:
    """Print one line."""
    judged = "reached" if entry["reached"] else "missed"
    limit = "" if entry["at_most"] is None else f" (asked for {entry['at_most']:g}: {judged})"
    peers = [f"{name} {p['seconds']:.3g} s = {p['times']:.0f} x{busy(p)}" for name, p in entry["peers"].items()]
    ess = [f"ESS/s {entry['ess_per_second']:.0f}"] if "ess_per_second" in entry else []
    ess += [f"{p['ess_times']:.0f} x that of {name}" for name, p in entry["peers"].items() if "ess_times" in p]
    figures = f"{entry['seconds']:.3g} s, CPU {entry['cpu_seconds']:.3g}{limit}"
    print("; ".join([f"{entry['work']:<58}{figures}", *peers, *ess]), flush=True)


def busy(entry: dict[str, Any]) -> str:
    """The ratio of CPU seconds, which other work on the machine lengthens less."""
    return "" if entry["cpu_times"] is None else f" (CPU {entry['cpu_times']:.0f} x)"

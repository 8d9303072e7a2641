"""Fitting methods that SPICE's are compared with: builds the peers' environments, and runs their timed jobs.

    python benchmarks/inference_peers.py --json OUT

- ``pymc``: the second example (a two-armed bandit, 150 trials) in PyMC 5 as in its gallery, by its own NUTS and by
  nutpie; every repeat compiles anew (a fresh PyTensor cache), and ESS per second counts all of it, imports
  included.
- ``scipy``: MAP of 100 and of 1,000 people, one after the other, without gradients (Nelder-Mead, and L-BFGS-B with
  finite differences), on the plain trial loop that people write; ``mle``: the second example's published numbers.
- ``cpm``: hierarchical EM of 100 people with cpm-toolbox; ``pyem``: with pyEM, which is on no package index: name a
  checkout of github.com/shawnrhoads/pyEM with ``--pyem``, else it is left out.
- ``torch``: log-likelihood and gradient of 10,000 people by autograd.

Jobs run one after the other, each in a process of its own with one thread. ``seconds`` are medians over the repeats
(``cpu_seconds`` beside them tell whether the machine was busy); all repeats are in the file. Environments are built
once by pip under ``--environments`` (PyMC's takes 1 GB). `benchmark` is what ``inference.py`` calls.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from inference_data import simulate
from peer import PeerError

JOBS = Path(__file__).resolve().with_name("inference_peer_jobs.py")
DEFAULT_FOLDER = Path.home() / ".cache" / "spice-benchmarks" / "inference"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
PACKAGES = {  # what pip installs, and whose versions are told; the others run in this Python
    "pymc": ("pymc>=5.20,<6", "arviz<1", "nutpie", "numba"),
    "cpm": ("cpm-toolbox==0.26.0", "numba>=0.64"),
    "pyem": ("pyem",),
}
WORKS = ("mle", "scipy", "torch", "cpm", "pyem", "pymc")
PYEM_ITERATIONS = 30  # minutes; its criterion, a change of the sum over people, can take it to 200
EM_PEOPLE, PEOPLE, GRADIENT_PEOPLE, TRIALS, SEED = 100, (100, 1000), 10_000, 200, 1


# ---------------------------------------------------------------------- environments


def python_of(work: str, folder: Path) -> str:
    """The Python that runs a peer's jobs."""
    if work not in PACKAGES:
        return sys.executable
    return str(folder / work / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def ensure_environment(work: str, folder: Path, source: str | None = None) -> dict[str, str]:
    """Build a peer's environment unless it is there, and tell its versions.

    Parameters
    ----------
    work : str
        One of `WORKS`.
    folder : Path
        Under which the environments are.
    source : str, optional
        What pip installs instead of the package's name: a folder or an address.

    Returns
    -------
    dict
        Versions of Python and of the packages that matter.

    Raises
    ------
    PeerError
        If pip cannot build it, or what is in the folder does not work.
    """
    own = folder / work
    if work in PACKAGES and not own.exists():
        print(f"building the environment of {work} in {own} (once; takes minutes)", flush=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            venv.create(own, with_pip=True)
            packages = [source] if source else PACKAGES[work]
            pip = [python_of(work, folder), "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(pip, env=environment, capture_output=True, text=True, check=True)
        except BaseException as error:
            shutil.rmtree(own, ignore_errors=True)  # half an environment would be taken for a whole one
            if isinstance(error, subprocess.CalledProcessError):
                raise PeerError(f"pip could not build the environment of {work}:\n{_tail(error.stderr)}") from None
            raise
    named = {"pymc": ["pymc", "pytensor", "arviz", "nutpie"], "cpm": ["cpm-toolbox"], "pyem": ["pyem"]}
    packages = ["numpy", "scipy", *named.get(work, ["torch"] if work == "torch" else [])]
    return run(work, folder, {"job": "versions", "packages": packages})["answer"]


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


# ---------------------------------------------------------------------- jobs


def run(work: str, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a process of its own with one thread, with an empty compilation cache.

    Returns
    -------
    dict
        ``answer`` of the job; ``wall_seconds`` from the start of the process to its end.

    Raises
    ------
    PeerError
        If it ends with an error.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
        environment |= {"PYTENSOR_FLAGS": f"base_compiledir={cache}", "NUMBA_CACHE_DIR": cache}
        begin = time.perf_counter()
        command = [python_of(work, folder), "-I", str(JOBS), json.dumps(job)]
        try:
            found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = _tail(getattr(error, "stderr", str(error)))
            raise PeerError(f"the job {job['job']} failed in {folder / work}:\n{reason}") from None
        return {"wall_seconds": time.perf_counter() - begin, "answer": json.loads(found.stdout)}


def jobs(work: str, data: Path, quick: bool) -> dict[str, dict[str, Any]]:
    """A peer's jobs by name."""
    if work == "pymc":
        settings = {"job": "pymc", "draws": 100 if quick else 1000, "chains": 4, "seed": 598}
        return {
            "gallery": settings | {"sampler": "pymc", "pointwise": False},
            "gallery, pointwise": settings | {"sampler": "pymc", "pointwise": True},
            "nutpie": settings | {"sampler": "nutpie", "pointwise": False},
        }
    if work == "cpm":
        settings = {"data": str(data / "people.npz"), "people": 5 if quick else EM_PEOPLE}
        return {"em": settings | {"job": "cpm", "tolerance": 1e-3, "iterations": 3 if quick else 200}}
    if work == "pyem":
        settings = {"data": str(data / "people.npz"), "people": 5 if quick else EM_PEOPLE}
        return {"em": settings | {"job": "pyem", "iterations": 3 if quick else PYEM_ITERATIONS}}
    if work == "scipy":
        people = [5] if quick else list(PEOPLE)
        methods = ["Nelder-Mead", "L-BFGS-B"]
        return {"map": {"job": "scipy", "data": str(data / "people.npz"), "people": people, "methods": methods}}
    if work == "torch":
        return {"gradient": {"job": "torch", "data": str(data / "many.npz"), "repeats": 5}}
    return {"second example": {"job": "mle"}}


def benchmark(
    works: Iterable[str], folder: Path, repeats: int = 3, pyem: str | None = None, quick: bool = False
) -> dict[str, Any]:
    """Run the jobs of some peers.

    Parameters
    ----------
    works : iterable of str
        From `WORKS`.
    folder : Path
        Under which the environments are or shall be.
    repeats : int
        Of every job; ``seconds`` of the first level are medians.
    pyem : str, optional
        What pip installs as pyEM, where its environment is not there.
    quick : bool
        Whether everything is small: it shows that the jobs run, its figures mean nothing.

    Returns
    -------
    dict
        By peer: ``versions``, and by job the repeats (``wall_seconds`` and ``answer`` each); ``error`` where a peer
        cannot be built or run.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        for file, people in (("people", max(PEOPLE)), ("many", 100 if quick else GRADIENT_PEOPLE)):
            np.savez(data / f"{file}.npz", **simulate(people, TRIALS, SEED))
        for work in works:
            if work == "pyem" and not pyem and not (folder / work).exists():
                found[work] = {"error": "left out: it is on no package index; --pyem names a checkout"}
                continue
            try:
                found[work] = {"versions": ensure_environment(work, folder, pyem if work == "pyem" else None)}
                for title, job in jobs(work, data, quick).items():
                    runs = [run(work, folder, job) for _ in range(repeats)]
                    found[work][title] = {"job": job, "runs": runs} | _medians(runs)
                    print(f"{work:6} {title:20} {json.dumps(_medians(runs))}", flush=True)
            except PeerError as error:
                found.setdefault(work, {})["error"] = str(error)
                print(f"{work:6} {error}", flush=True)
    return found


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of what the repeats took, by name; of jobs with several parts those of the parts."""
    flat = []
    for entry in runs:
        row = {"wall_seconds": entry["wall_seconds"]}
        for name, value in entry["answer"].items():
            if isinstance(value, dict) and "seconds" in value:
                row |= {f"{name} {key}": value[key] for key in ("seconds", "cpu_seconds")}
            elif isinstance(value, float) and name.endswith("seconds") or name in ("ess_per_second", "ess"):
                row[name] = value
        flat.append(row)
    return {name: round(statistics.median(row[name] for row in flat), 4) for name in flat[0]}


def main() -> None:
    """Run the peers, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=WORKS, help="which peers")
    parser.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="folder of the peers' environments")
    parser.add_argument("--repeats", type=int, default=3, help="of every job")
    parser.add_argument("--pyem", help="what pip installs as pyEM: a checkout or an address")
    parser.add_argument("--quick", action="store_true", help="small: does it run at all")
    arguments = parser.parse_args()
    found = benchmark(arguments.only, arguments.environments, arguments.repeats, arguments.pyem, arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Time fits: SPICE beside autospice 0.2.0 on the same data and in the same run, and how SPICE's time and memory grow.

    python benchmarks/fit_speed.py --json OUT

Peer and project take turns, each in a fresh process with one thread; seconds are medians over the repeats. The data
are simulated by the project with fixed seeds; the networks start elsewhere in each repeat.

- Steady state: a fit of both stages in a process that has fitted before. The peer's fits are long and nearly all of it
  is computing, so the one fit of its process stands for the later ones; so does a fit of SPICE above one minute.
- Cold: from the start of the process to the end of its first fit, imports included, as seen from outside.
- Predictions: of the tutorial's equations for its training sessions, in the tutorial's processes.
- ``nll`` and ``peer_nll``, the headline, are those of the *equations* on the training data, in nats per trial, since
  they are what a fit is for; those of the networks, and on fresh sessions, stand beside them. They are of the repeat
  in the middle. Differences are paired by session; "no worse beyond noise" is at most two standard errors.
- Scaling, SPICE alone: seconds are those of the network's fit per evaluation of loss and gradient; the number of
  evaluations is capped (``--scaling-epochs``), so that the table takes minutes: where it says "not converged" there is
  no time to convergence. The exponent is the slope of log seconds over log size; that of the last step alone shows
  what is left once overheads no longer matter. Memory is the peak of the process above that before the fit.

The peer is built once by pip into a folder of its own (``--peer-env``); ``peer.py`` says how it is called. The file is
written after every repeat and size: a run that is stopped keeps what it has.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import peer
from fit_speed_rows import (
    Results,
    Work,
    aim,
    comparison_rows,
    count_warnings,
    print_case,
    print_growth,
    print_header,
    print_notes,
    print_rows,
    scaling_case,
    scaling_row,
    shown,
)

# This process imports neither torch nor spice: on Linux a child's peak memory starts from that of its parent.
JOBS = [sys.executable, str(Path(__file__).resolve().with_name("fit_speed_jobs.py"))]
COMPARED = ("tutorial", "forgetting", "choice")
WORKS = (*COMPARED, "scaling", "dezfouli")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
WARM_FITS = 3
LEARNING_RATE = 1e-2
DEZFOULI_SECONDS = 60.0
DEZFOULI_THREADS = 2


class JobError(RuntimeError):
    """A process ended with an error."""


def comparisons(quick: bool) -> dict[str, Work]:
    """The works to compare, or tiny ones of the same kinds."""
    one = {"participants": 1, "sessions": 100, "fresh": 100, "trials": 100, "actions": 2, "pooled": True, "seed": 1}
    people = one | {"participants": 16, "sessions": 4, "fresh": 4, "trials": 200, "seed": 2}
    if quick:
        one |= {"sessions": 20, "fresh": 5, "trials": 20}
        people |= {"participants": 2, "trials": 20}
    tutorial = one | {"agent": {"alpha_reward": 0.3, "beta_reward": 3.0}}
    learner = {"alpha_reward": [0.15, 0.6], "beta_reward": [1.5, 5.0], "forget_rate": [0.0, 0.4]}
    repeater = learner | {"beta_choice": [0.0, 1.5], "alpha_choice": [0.3, 1.0]}
    size = "{participants} x {sessions} x {trials} trials".format(**people)
    title = "tutorial fit, {sessions} x {trials} trials".format(**one)
    epochs = 8 if quick else 1024
    return {
        "tutorial": Work(
            title,
            "RescorlaWagnerRNN",
            "RESCOLA_WAGNER_CONFIG",
            tutorial,
            epochs,
            50,
            cold_target=10,
            predictions_target=1000,
        ),
        # ForgettingRNN knows no participants, in either package: it gets all sessions as one participant's
        "forgetting": Work(
            f"ForgettingRNN, {size}", "ForgettingRNN", "FORGETTING_RNN_CONFIG", people | {"agent": learner}, epochs, 30
        ),
        "choice": Work(
            f"ChoiceRNN, {size}",
            "ChoiceRNN",
            "CHOICE_CONFIG",
            people | {"pooled": False, "agent": repeater},
            epochs,
            30,
        ),
    }


def scaling_axes(quick: bool) -> dict[str, tuple[str, str, dict[str, Any], list[int]]]:
    """Model, configuration, data and sizes of each axis; with participants the data grow, 4 sessions for each."""
    one: dict[str, Any] = {"participants": 1, "sessions": 100, "fresh": 0, "trials": 100, "actions": 2}
    one |= {"pooled": False, "seed": 3, "agent": {"alpha_reward": 0.3, "beta_reward": 3.0}}
    people = one | {"sessions": 4, "agent": {"alpha_reward": [0.15, 0.6], "beta_reward": [1.5, 5.0]}}
    if quick:
        one, people = ({**data, "sessions": 4, "trials": 20} for data in (one, people))
    simple = ("RescorlaWagnerRNN", "RESCOLA_WAGNER_CONFIG", one)
    embedded = ("ParticipantEmbeddingRNN", "PARTICIPANT_EMBEDDING_RNN_CONFIG", people)
    return {
        "sessions": (*simple, [10, 40] if quick else [100, 316, 1000, 3162, 10000]),
        "trials": (*simple, [10, 40] if quick else [100, 215, 464, 1000]),
        "participants": (*embedded, [1, 4] if quick else [1, 10, 100, 1000]),
        "actions": (*simple, [2, 4] if quick else [2, 4, 6, 8, 10]),
    }


# ---------------------------------------------------------------------- processes


def run_job(command: list[str], job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run a job in a fresh process.

    Parameters
    ----------
    command : list of str
        What to run; the job follows as JSON.
    job : dict
        The job; ``threads`` (default 1) also goes to the libraries' environment variables.

    Returns
    -------
    dict
        What the process answered, by event; each answer with ``since_start``, the seconds from the start of the
        process until the answer came, and ``load``, the machine's load average before it.

    Raises
    ------
    JobError
        If the process fails.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(job.get("threads", 1)))
    load, answers = load_average(), {}
    with tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        with subprocess.Popen(
            [*command, json.dumps(job)], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process:
            try:
                for line in process.stdout or ():
                    answer = json.loads(line)
                    event = answer.pop("event")
                    answers[event] = answer | {"since_start": time.perf_counter() - begin, "load": load}
                process.wait()
            finally:
                process.kill()
        if process.returncode:
            errors.seek(0)
            raise JobError(f"{Path(command[-1]).name}, job {job['job']!r}, failed:\n{errors.read()[-2000:]}")
    return answers


def run_peer(folder: Path, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run a job of the peer; if even its process fails, that is the answer."""
    load = load_average()
    try:
        return run_job(peer.command(folder), job)
    except JobError as error:
        return {"failed": {"error": str(error), "load": load}}


def load_average() -> float | None:
    """Load of the machine over the last minute, where it can be known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine(versions: dict[str, Any], peer_versions: dict[str, Any] | None) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "threads": {"dezfouli": DEZFOULI_THREADS, "all others": 1},
        "python": versions["python"],
        "torch": versions["torch"],
        "gpu": versions["gpu"],
        "project": {name: versions[name] for name in ("spice", "numpy", "pysindy", "scikit-learn")},
        "peer": peer_versions,
    }


# ---------------------------------------------------------------------- the works


class Benchmark:
    """The works of one run.

    Parameters
    ----------
    arguments : argparse.Namespace
        As given.
    devices : list of str
        Where to fit.
    folder : Path
        For simulated data.
    results : Results
        Where figures go.
    """

    def __init__(self, arguments: argparse.Namespace, devices: list[str], folder: Path, results: Results):
        self.arguments, self.devices, self.folder, self.results = arguments, devices, folder, results

    def simulate(self, data: list[dict[str, Any]]) -> list[str]:
        """Simulate data sets and return their files."""
        paths = [str(self.folder / f"{number}.npz") for number in range(len(data))]
        jobs = [entry | {"path": path} for entry, path in zip(data, paths, strict=True)]
        run_job(JOBS, {"job": "simulate", "data": jobs})
        return paths

    def compare(self, name: str, work: Work) -> None:
        """Fit with peer and project in turn."""
        job = {
            "job": "fit",
            "data": self.simulate([work.data])[0],
            "model": work.model,
            "config": work.config,
            "epochs": work.epochs,
            "learning_rate": LEARNING_RATE,
            "threads": 1,
            "warm_fits": WARM_FITS,
            "participants": 1 if work.data["pooled"] else work.data["participants"],
            "predictions": work.predictions_target is not None,
        }
        peer_runs: list[dict] = []
        runs: dict[str, list[dict]] = {device: [] for device in self.devices}
        for seed in range(self.arguments.repeats):
            peer_runs.append(run_peer(self.arguments.peer_env, job | {"seed": seed}))
            for device in self.devices:
                runs[device].append(run_job(JOBS, job | {"seed": seed, "device": device}))
                rows = comparison_rows(work, peer_runs, runs[device], device)
                self.results.put(f"comparison {name} {device}", rows)
        for device in self.devices:
            print_rows(self.results.rows[f"comparison {name} {device}"])
            sys.stdout.flush()

    def scale(self, device: str) -> None:
        """Fit along all axes and print the table."""
        print(f"\nscaling on {device}, at most {self.arguments.scaling_epochs} evaluations")
        print(f"{'axis':<14}{'size':>8}{'s/eval':>10}{'evals':>7}{'s to conv.':>16}{'SINDy s':>9}{'peak MB':>9}")
        for axis, (model, config, data, sizes) in scaling_axes(self.arguments.quick).items():
            paths = self.simulate([data | {axis: size} for size in sizes])
            cases: list[dict[str, Any]] = []
            for size, path in zip(sizes, paths, strict=True):
                job = {"job": "scale", "data": path, "model": model, "config": config, "seed": 0, "threads": 1}
                job |= {"device": device, "epochs": self.arguments.scaling_epochs, "repeats": self.arguments.repeats}
                cases.append(scaling_case(size, run_job(JOBS, job)["scaled"]))
                self.results.put(f"scaling {axis} {device}", [scaling_row(axis, model, device, data, cases)])
                print_case(axis, cases[-1])
            row = self.results.rows[f"scaling {axis} {device}"][0]
            print_growth(row)

    def dezfouli(self, device: str) -> None:
        """Fit the training blocks of Dezfouli et al. (2019), as ``dezfouli2019.py`` does, and print the figures."""
        job = {
            "job": "dezfouli",
            "table": self.arguments.dezfouli,
            "model": "ChoiceRNN",
            "config": "CHOICE_CONFIG",
            "sindy_degree": 2,
            "seed": 0,
            "device": device,
            "threads": DEZFOULI_THREADS,
            "people": 3 if self.arguments.quick else None,
            "epochs": 10 if self.arguments.quick else None,
        }
        answers = run_job(JOBS, job)
        row: dict[str, Any] = {"work": "Dezfouli 2019" + ("" if device == "cpu" else f" on {device}"), "device": device}
        row |= answers["fitted"] | {"nll": answers["equations"]["nll"], "nll_network": answers["networks"]["nll"]}
        row["warnings"] = count_warnings([row])
        limit = aim(f"seconds of both stages on {DEZFOULI_THREADS} threads", row["seconds"], DEZFOULI_SECONDS)
        row["targets"] = [limit] if device == "cpu" else []
        self.results.put(f"dezfouli {device}", [row])
        print(
            f"\n{row['work']}, {row['participants']} people, {row['scored_choices']} choices, {job['threads']} threads:"
        )
        print(
            f"    {row['seconds']:.1f} s (network {row['network_seconds']:.1f}, SINDy {row['sindy_seconds']:.1f}), "
            f"{row['epochs']} evaluations, {row['reason']}; NLL of network {row['nll_network']:.4f}, equations "
            f"{row['nll']:.4f}",
            flush=True,
        )
        print_notes(row)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the results")
    parser.add_argument("--repeats", type=int, help="fits of peer and project (default 3; quick: 1)")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=WORKS, help="only these works")
    parser.add_argument("--quick", action="store_true", help="tiny works, to see that the script runs")
    parser.add_argument(
        "--peer-env", type=Path, default=peer.DEFAULT_FOLDER, metavar="DIR", help=f"default {peer.DEFAULT_FOLDER}"
    )
    parser.add_argument(
        "--dezfouli", metavar="CSV", help="training blocks of Dezfouli et al. (2019), to time them, too"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: SPICE on CPU and on GPU")
    parser.add_argument("--scaling-epochs", type=int, help="evaluations at most (default 200; quick: 5)")
    arguments = parser.parse_args()
    arguments.repeats = arguments.repeats or (1 if arguments.quick else 3)
    arguments.scaling_epochs = arguments.scaling_epochs or (5 if arguments.quick else 200)
    return arguments


def prepare(arguments: argparse.Namespace) -> tuple[list[str], Results]:
    """See to the peer's environment, look at the machine and open the file; say what is skipped.

    Returns
    -------
    devices : list of str
        Where the project fits.
    results : Results
        Still empty.
    """
    load = load_average()
    compares = any(name in arguments.only for name in COMPARED)
    peer_versions = peer.ensure_environment(arguments.peer_env) if compares else None
    versions = run_job(JOBS, {"job": "versions"})["versions"]
    machine = describe_machine(versions, peer_versions) | {"load_average": load}
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    results = Results(arguments.json, machine, settings)
    results.write()
    print(f"{machine['cpu']}, {machine['cores']} cores, load {shown(load)}; torch {machine['torch']}")
    devices = ["cpu"]
    if arguments.device == "cuda" and machine["gpu"]:
        devices.append("cuda")
    elif arguments.device == "cuda":
        print("--device cuda: skipped, torch.cuda.is_available() is False; the fits are on the CPU alone")
    if "dezfouli" in arguments.only and not arguments.dezfouli:
        print("Dezfouli 2019: skipped, no table is given (--dezfouli CSV)")
    return devices, results


def run_all(arguments: argparse.Namespace) -> None:
    """Run the works, print and write."""
    devices, results = prepare(arguments)
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(arguments, devices, Path(folder), results)
        compared = {name: work for name, work in comparisons(arguments.quick).items() if name in arguments.only}
        if compared:
            print_header()
        for name, work in compared.items():
            benchmark.compare(name, work)
        for device in devices:
            if "scaling" in arguments.only:
                benchmark.scale(device)
            if "dezfouli" in arguments.only and arguments.dezfouli:
                benchmark.dezfouli(device)
    results.print_targets()


def main() -> None:
    """Read the arguments and run; what cannot be done is said in a few lines."""
    try:
        run_all(parse_arguments())
    except (peer.PeerError, JobError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

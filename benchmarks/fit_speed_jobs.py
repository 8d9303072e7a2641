"""What ``fit_speed.py`` runs in processes of their own: simulations, and timed fits with SPICE.

    python benchmarks/fit_speed_jobs.py JOB

JOB is a JSON text; the answers are lines of JSON on standard output. The first fit of a process ends before anything
is imported or computed that a user's own script would not need.
"""

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spice import precoded
from spice.estimator import SpiceEstimator
from spice.resources.dataset import DatasetRNN

LONG_FIT = 60.0  # seconds from which a first fit stands for the following ones
SHORT_FITS = 5.0  # seconds within which the fits of the scaling table are repeated
PREDICTIONS = 20  # calls of predict, after the first


def emit(event: str, **content: Any) -> None:
    """Answer with one line of JSON."""
    print(json.dumps({"event": event, **content}), file=sys.__stdout__, flush=True)


def versions(job: dict[str, Any]) -> None:
    """Say which versions run, and whether there is a GPU."""
    from importlib import metadata

    import spice

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    packages = {name: metadata.version(name) for name in ("numpy", "pysindy", "scikit-learn")}
    emit(
        "versions", python=sys.version.split()[0], spice=spice.__version__, torch=torch.__version__, gpu=gpu, **packages
    )


# ---------------------------------------------------------------------- data


def simulate(job: dict[str, Any]) -> None:
    """Simulate participants with a drifting bandit and write ``train_*`` and ``fresh_*`` of xs and ys as npz files.

    Parameters
    ----------
    job : dict
        ``data``: list of dict with ``path``, ``agent`` (parameters of AgentQ; a pair is a range to draw from, for
        each participant), ``participants``, ``sessions`` and ``fresh`` (sessions per participant, to fit and to test
        on), ``trials``, ``actions``, ``pooled`` (whether all sessions are given as one participant's), ``seed``.
    """
    from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

    for data in job["data"]:
        agent = AgentQ(n_actions=data["actions"], **{name: _drawn(value) for name, value in data["agent"].items()})
        per_person = data["sessions"] + data["fresh"]
        dataset = create_dataset(
            agent,
            BanditsDrift(sigma=0.2, n_actions=data["actions"]),
            n_trials=data["trials"],
            n_sessions=per_person,
            n_participants=data["participants"],
            seed=data["seed"],
        )[0]
        xs, ys = dataset.xs.numpy(), dataset.ys.numpy()
        if data["pooled"]:
            xs[..., -1] = 0
        to_fit = np.arange(len(xs)) % per_person < data["sessions"]
        np.savez(data["path"], train_xs=xs[to_fit], train_ys=ys[to_fit], fresh_xs=xs[~to_fit], fresh_ys=ys[~to_fit])
    emit("simulated")


def _drawn(value: Any) -> Any:
    """A parameter of the agent: a number, or a uniform distribution over a range."""
    if not isinstance(value, list):
        return value
    return lambda generator, size: generator.uniform(*value, size)


def read(path: str, part: str) -> DatasetRNN:
    """Read one part of the simulated data."""
    with np.load(path) as data:
        return DatasetRNN(data[f"{part}_xs"], data[f"{part}_ys"])


# ---------------------------------------------------------------------- fits


def make_estimator(job: dict[str, Any]) -> SpiceEstimator:
    """The estimator that a job asks for, with the package's defaults for all that it leaves open."""
    names = ("epochs", "learning_rate", "sindy_degree")
    settings = {name: job[name] for name in names if job.get(name) is not None}
    model, config = getattr(precoded, job["model"]), getattr(precoded, job["config"])
    settings = {"refine": False} | settings  # the peer has no such stage
    return SpiceEstimator(model, config, random_state=job["seed"], device=job["device"], **settings)


def fit_once(job: dict[str, Any], dataset: DatasetRNN) -> tuple[SpiceEstimator, dict[str, Any]]:
    """Fit both stages.

    Returns
    -------
    estimator : SpiceEstimator
        Fitted.
    record : dict
        Wall and CPU seconds, seconds per stage, epochs (evaluations of the loss), how the fit ended, warnings.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = make_estimator(job).fit(dataset)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    history = estimator.history_
    return estimator, {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "network_seconds": estimator.timing_["network"],
        "sindy_seconds": estimator.timing_["sindy"],
        "epochs": len(history.loss),
        "converged": history.converged,
        "reason": history.reason,
        "warnings": [f"{entry.category.__name__}: {entry.message}" for entry in caught],
    }


def fit(job: dict[str, Any]) -> None:
    """Fit once cold and some times warm; then the likelihoods, and if wanted the time that predictions take.

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``model`` and ``config`` (names in ``spice.precoded``), ``epochs``, ``learning_rate``,
        ``seed``, ``threads``, ``device``, ``warm_fits``, ``predictions`` (whether to time them).
    """
    train = read(job["data"], "train")
    estimator, first = fit_once(job, train)
    emit("fitted", **first)
    count = job["warm_fits"] if first["seconds"] < LONG_FIT else 0
    emit("warm", fits=[fit_once(job, train)[1] for _ in range(count)])
    if job["predictions"]:
        emit("predicted", **time_predictions(estimator, job, train))
    parts = {part: read(job["data"], part) for part in ("train", "fresh")}
    predicted = {part: estimator.predict(dataset) for part, dataset in parts.items()}
    for index, kind in enumerate(("networks", "equations")):
        emit(kind, **{part: session_nll(dataset, predicted[part][index]) for part, dataset in parts.items()})


def session_nll(dataset: DatasetRNN, probabilities: np.ndarray) -> list[float]:
    """Negative log-likelihood per trial of each session, in nats; the simulated data have no missing trials."""
    return (-np.log((probabilities * dataset.ys.numpy()).sum(-1))).mean(-1).tolist()


def time_predictions(estimator: SpiceEstimator, job: dict[str, Any], dataset: DatasetRNN) -> dict[str, Any]:
    """Time the equations' half of ``predict`` (of an estimator that has loaded nothing else), and the agent's way.

    Returns
    -------
    dict
        ``first_seconds`` of the first call, ``seconds`` the median of those after it, ``agent_seconds`` of leading
        the equations' agent through all sessions, trial by trial.
    """
    import tempfile

    from spice.resources.agents import replay

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "equations.pkl"
        estimator.save_spice(path_spice=path)
        equations = make_estimator(job).load_spice(path_spice=path)
    seconds = []
    for _ in range(PREDICTIONS + 1):
        begin = time.perf_counter()
        equations.predict(dataset)
        seconds.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    for session in dataset.xs:
        replay(equations.spice_agent, session)
    by_agent = time.perf_counter() - begin
    return {"first_seconds": seconds[0], "seconds": float(np.median(seconds[1:])), "agent_seconds": by_agent}


# ---------------------------------------------------------------------- growth


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def scale(job: dict[str, Any]) -> None:
    """Fit one size: time per evaluation and peak memory; short fits several times.

    Parameters
    ----------
    job : dict
        As for `fit`; ``repeats`` is the number of fits at most.
    """
    dataset = read(job["data"], "train")
    with warnings.catch_warnings():  # two epochs on two sessions, so that torch has started when time and memory count
        warnings.simplefilter("ignore")
        make_estimator(job | {"epochs": 2}).fit(dataset[:2])
    before = peak_mb()
    fits = [fit_once(job, dataset)[1]]
    while len(fits) < job["repeats"] and sum(record["seconds"] for record in fits) < SHORT_FITS:
        fits.append(fit_once(job, dataset)[1])
    peak = peak_mb()
    gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
    emit("scaled", fits=fits, peak_mb=peak - before, peak_mb_absolute=peak, gpu_peak_mb=gpu)


# ---------------------------------------------------------------------- a real data set


def dezfouli(job: dict[str, Any]) -> None:
    """Fit ChoiceRNN to a table of choices as ``dezfouli2019.py`` reads it, all of it.

    Parameters
    ----------
    job : dict
        As for `fit`, with ``table`` (CSV file) for the data; ``people``: only the first so many, or None.
    """
    from dezfouli2019 import held_out
    from dezfouli2019 import read as read_table

    dataset = read_table(job["table"], job["people"])
    estimator, record = fit_once(job, dataset)
    emit(
        "fitted",
        **record,
        participants=estimator.n_participants_,
        sessions=len(dataset),
        scored_choices=dataset.n_scored,
    )
    for kind, probabilities in zip(("networks", "equations"), estimator.predict(dataset), strict=True):
        emit(kind, nll=held_out(dataset, probabilities)["nll_per_trial"])


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job.get("threads", 1))
    jobs = {work.__name__: work for work in (versions, simulate, fit, scale, dezfouli)}
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers
        jobs[job["job"]](job)


if __name__ == "__main__":
    main()

"""The package that SPICE is compared with, autospice 0.2.0: its environment, and fits with it.

Imported, it builds the peer's environment. Both packages are named ``spice``, so the peer's jobs run in processes of
their own: this file is then the script, the Python is the peer's, isolated from ours (``-I``), and the answers are
lines of JSON on standard output.

How the peer is called, and why:

- ``xs`` has the columns of ours, but an outcome that was not seen is -1; participants are numbers from 0.
- ``n_participants`` must be given to models with an embedding; the others look up the equations of participant 0
  whoever the participant is, so they get all sessions as one participant's.
- ``predict`` raises IndexError with models without an embedding as soon as there are two sessions: their equations
  know one row only. The equations' likelihood is therefore computed session by session.
- Fits are long and nearly all of it is computing, so one fit per process stands for the later ones too.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

VERSION = "0.2.0"
REQUIREMENTS = (  # with newer ones it cannot be imported, or cannot fit
    "numpy<2",
    "pysindy<2",
    "scikit-learn<1.8",
    "scipy",
    "matplotlib",
    "tqdm",
    "optuna<5",
    "dill",
    "pandas<2.3",
    "setuptools<80",
)
DEFAULT_FOLDER = Path.home() / ".cache" / "spice-benchmarks" / f"autospice-{VERSION}"


class PeerError(RuntimeError):
    """The peer's environment cannot be built or used."""


# ---------------------------------------------------------------------- its environment


def command(folder: Path) -> list[str]:
    """The command that runs a job of this file in the peer's environment; a JSON text of the job follows."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return [str(python), "-I", str(Path(__file__).resolve())]


def ensure_environment(folder: Path) -> dict[str, str]:
    """Build the peer's environment unless it is there, and check that it works.

    Parameters
    ----------
    folder : Path
        Where the environment is or shall be.

    Returns
    -------
    dict
        Versions of Python and of the packages that matter.

    Raises
    ------
    PeerError
        If pip cannot build it, or what is in the folder does not work.
    """
    if not folder.exists() or not any(folder.iterdir()):
        _build(folder)
    try:
        job = [*command(folder), '{"job": "versions"}']
        return json.loads(subprocess.run(job, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = _tail(getattr(error, "stderr", str(error)))
        raise PeerError(
            f"{folder} holds no working environment of autospice {VERSION}:\n{reason}\n"
            "Name another folder with --peer-env, or remove this one, so that it is built anew."
        ) from None


def _build(folder: Path) -> None:
    """Make a virtual environment and install the peer beside the torch version that the project runs."""
    print(f"building the environment of autospice {VERSION} in {folder} (once; takes minutes)", flush=True)
    torch = f"torch=={metadata.version('torch').partition('+')[0]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        venv.create(folder, with_pip=True, clear=False)
        pip = [command(folder)[0], "-m", "pip", "install", "--quiet"]
        for packages in ([torch, *REQUIREMENTS], ["--no-deps", f"autospice=={VERSION}"]):
            subprocess.run([*pip, *packages], env=environment, capture_output=True, text=True, check=True)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # half an environment would be taken for a whole one
        if isinstance(error, subprocess.CalledProcessError):
            raise PeerError(
                f"pip could not build the environment of autospice {VERSION}:\n{_tail(error.stderr)}\n"
                "It needs a Python that numpy 1.26 has wheels for (3.11 or 3.12) and access to a package index; "
                "an environment made by hand can be named with --peer-env."
            ) from None
        raise


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


# ---------------------------------------------------------------------- its jobs, in its own process


def emit(event: str, **content: Any) -> None:
    """Answer with one line of JSON."""
    print(json.dumps({"event": event, **content}), file=sys.__stdout__, flush=True)


def versions() -> None:
    """Say which versions run; importing the estimator is the test that they go together."""
    import numpy
    import torch

    import spice.estimator  # noqa: F401

    if metadata.version("autospice") != VERSION:
        raise PeerError(f"autospice {metadata.version('autospice')} instead of {VERSION}")
    found = {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": numpy.__version__}
    names = ("autospice", "pysindy", "scikit-learn")
    print(json.dumps(found | {name: metadata.version(name) for name in names}), file=sys.__stdout__)


def read(path: str, part: str) -> tuple[Any, Any]:
    """Read ``xs`` and ``ys`` of one part of the data, unseen outcomes as -1."""
    import numpy as np

    with np.load(path) as data:
        return np.nan_to_num(data[f"{part}_xs"], nan=-1.0), data[f"{part}_ys"]


def fit(job: dict[str, Any]) -> None:
    """Fit once, both stages; then the likelihoods, and if wanted the time that predictions take.

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``model`` and ``config`` (names in ``spice.precoded``), ``participants``, ``epochs``,
        ``learning_rate``, ``seed``, ``threads``, ``predictions`` (whether to time them); ``terms`` (whether to give
        every participant's coefficients), ``degree`` (of libraries with which the fitted network is distilled once
        more: those answers' names end in it).
    """
    import numpy as np
    import torch

    from spice import precoded
    from spice.estimator import SpiceEstimator

    torch.set_num_threads(job["threads"])
    np.random.seed(job["seed"])  # the peer draws from the global generators
    torch.manual_seed(job["seed"])
    xs, ys = read(job["data"], "train")
    begin, begin_cpu = time.perf_counter(), time.process_time()
    try:
        estimator = SpiceEstimator(
            getattr(precoded, job["model"]),
            getattr(precoded, job["config"]),
            n_actions=ys.shape[-1],
            n_participants=job["participants"],
            epochs=job["epochs"],
            learning_rate=job["learning_rate"],
        )
        estimator.fit(xs, ys)
    except Exception as error:
        emit("failed", error=_describe(error))
        return
    emit("fitted", seconds=time.perf_counter() - begin, cpu_seconds=time.process_time() - begin_cpu)
    if job["predictions"]:
        emit("predicted", **time_predictions(estimator, xs))
    for kind, likelihood in (("networks", network_nll), ("equations", equations_nll)):
        emit(kind, **_likelihoods(estimator, job, likelihood))
    if job.get("terms"):
        emit("terms", people=[terms(estimator, participant) for participant in range(job["participants"])])
    if degree := job.get("degree"):
        estimator.epochs, estimator.spice_library_polynomial_degree = 0, degree
        estimator.fit(xs, ys)
        emit(f"equations_{degree}", **_likelihoods(estimator, job, equations_nll))
        emit(f"terms_{degree}", people=[terms(estimator, participant) for participant in range(job["participants"])])


def _likelihoods(estimator: Any, job: dict[str, Any], likelihood: Any) -> dict[str, Any]:
    """Likelihood of training and fresh sessions, or why there is none."""
    try:
        return {part: likelihood(estimator, *read(job["data"], part)) for part in ("train", "fresh")}
    except Exception as error:
        return {"error": _describe(error)}


def terms(estimator: Any, participant: int) -> dict[str, dict[str, float]]:
    """One participant's coefficients by module and term, and the inverse temperatures by state under ``betas``."""
    agent = estimator.spice_agent
    agent.new_sess(participant_id=participant)
    found = {"betas": {name: float(value) for name, value in agent.get_betas().items()}}
    for name, models in agent.get_modules().items():
        model = models[participant]
        values = model.coefficients()[0].tolist()
        found[name] = dict(zip(model.get_feature_names(), values, strict=True))
    return found


def _describe(error: Exception) -> str:
    traceback.print_exc()
    return f"{type(error).__name__}: {error}"


def _session_nll(logits: Any, ys: Any) -> list[float]:
    """Negative log-likelihood per trial of each session, in nats; shapes (n_sessions, n_trials, n_actions)."""
    import torch

    log_probs = torch.log_softmax(logits.double(), dim=-1)
    return (-(log_probs * torch.as_tensor(ys)).sum(-1)).mean(-1).tolist()


def network_nll(estimator: Any, xs: Any, ys: Any) -> list[float]:
    """Likelihood by the network, per session."""
    import torch

    with torch.no_grad():
        return _session_nll(estimator.rnn_model(torch.as_tensor(xs), batch_first=True)[0], ys)


def equations_nll(estimator: Any, xs: Any, ys: Any) -> list[float]:
    """Likelihood by the equations, per session."""
    import torch

    with torch.no_grad():
        logits = [estimator.spice_agent._model(torch.as_tensor(x)[None], batch_first=True)[0] for x in xs]
    return _session_nll(torch.cat(logits), ys)


def time_predictions(estimator: Any, xs: Any) -> dict[str, Any]:
    """Time the equations' predictions of all sessions, each way that there is.

    Returns
    -------
    dict
        ``predict``: what ``predict`` says (it also runs the network); ``agent_seconds``: the equations' agent led
        through the sessions by the package's own function; ``model_seconds``: the model with equations, called
        session by session.
    """
    import torch

    from spice.resources.bandits import get_update_dynamics

    begin = time.perf_counter()
    try:
        estimator.predict(xs)
        said = f"{time.perf_counter() - begin:.3f} s"
    except Exception as error:
        said = _describe(error)
    begin = time.perf_counter()
    for session in xs:
        get_update_dynamics(session, estimator.spice_agent)
    by_agent = time.perf_counter() - begin
    begin = time.perf_counter()
    with torch.no_grad():
        for session in xs:
            torch.softmax(estimator.spice_agent._model(torch.as_tensor(session)[None], batch_first=True)[0], dim=-1)
    return {"predict": said, "agent_seconds": by_agent, "model_seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers
        versions() if given["job"] == "versions" else fit(given)

"""The third example's flat model by NUTS: 31 simulated people, 440 choices each, 4 chains x 1000 draws, one thread.

Compared with the targets (seconds, memory, divergences, R-hat) and with people's true parameters. Each parametrisation
runs in a fresh process. ``inference.py --only example3a``.

    python benchmarks/inference_example3a.py JOB

JOB is a JSON text; the answer is a line of JSON on standard output.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from fit_speed import load_average, run_job

COMMAND = [sys.executable, str(Path(__file__).resolve())]
PARAMETRISATIONS = ("whitened", "noncentred")
PEOPLE, TRIALS = 31, 440
TARGETS = {"seconds": 300.0, "peak_mb": 1000.0, "divergences": 0, "r_hat": 1.01}  # at most; R-hat below


def run(size: tuple[int, int] = (PEOPLE, TRIALS), repeats: int = 1, **sampler: int) -> dict[str, Any]:
    """Run both parametrisations, print a table.

    Parameters
    ----------
    size : (int, int)
        People, and choices of each.
    repeats : int
        Data sets, each with its own seeds.
    **sampler
        Settings of NUTS.
    """
    out: dict[str, Any] = {"people": size[0], "trials": size[1], "targets": TARGETS, "runs": []}
    print(f"\nexample 3a, {size[0]} people x {size[1]} trials, NUTS 4 x {sampler.get('draws', 1000)}, one thread")
    for seed in range(repeats):
        for parametrisation in PARAMETRISATIONS:
            job = {"job": "example 3a", "size": size, "seed": seed, "parametrisation": parametrisation}
            entry = run_job(COMMAND, job | {"sampler": sampler})["fitted"] | {"load_after": load_average()}
            entry["missed"] = missed(entry)
            out["runs"].append(entry)
            show(entry)
    return out


def missed(entry: dict[str, Any]) -> list[str]:
    """Targets that a run does not reach."""
    found = {"seconds": entry["seconds"], "peak_mb": entry["peak_mb"]} | entry["sampler"]
    return [
        f"{name} {found[name]:.4g}, asked for {'below' if name == 'r_hat' else 'at most'} {limit:g}"
        for name, limit in TARGETS.items()
        if found[name] > limit or (name == "r_hat" and found[name] == limit)
    ]


def show(entry: dict[str, Any]) -> None:
    """A few lines for one run."""
    sampler, share = entry["sampler"], entry["coverage"]
    print(
        f"{entry['parametrisation']:<12} seed {entry['seed']}: {entry['seconds']:.0f} s (CPU "
        f"{entry['cpu_seconds']:.0f}), peak {entry['peak_mb']:.0f} MB, {sampler['divergences']} divergences, "
        f"R-hat {sampler['r_hat']:.4f}, least ESS {sampler['ess']:.0f}; covered {share['share']:.3f} of {share['n']}; "
        f"missed: {'; '.join(entry['missed']) or 'nothing'}"
    )
    for name, found in entry["parameters"].items():
        print(f"    {name:<8} r {found['r']:.3f}, RMSE {found['rmse']:.3f}, covered {found['coverage']['share']:.3f}")
    sys.stdout.flush()


# ---------------------------------------------------------------------- in a process of its own


def peak_mb() -> float:
    """Peak memory of this process, MB; on Linux not that of its parent, from which ``getrusage`` starts."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if lines:
            return int(lines[0].split()[1]) / 1e3
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Simulate, draw, compare.

    Parameters
    ----------
    job : dict
        ``size`` (people, trials), ``seed``, ``parametrisation``, ``sampler``.
    """
    from inference_models import simulate
    from inference_peer_jobs import clock
    from inference_recovery import fitted, of_sampler
    from inference_scores import compare, pooled

    model, truth, dataset = simulate("flat_aliens", *job["size"], seed=job["seed"])
    took = clock()
    settings = {"n_threads": 1, "parametrisation": job["parametrisation"]} | job["sampler"]
    result, notes = fitted(model, dataset, "nuts", seed=job["seed"], **settings)
    figures = took()
    parameters = compare(result, truth)
    population = {name: values.to_dict() for name, values in vars(result.population).items() if values.ndim == 1}
    return (
        notes
        | figures
        | {
            "peak_mb": peak_mb(),
            "seed": job["seed"],
            "parametrisation": job["parametrisation"],
            "sampler": of_sampler(result),
            "parameters": parameters,
            "coverage": pooled([entry["coverage"] for entry in parameters.values()]),
            "population": population,
        }
    )


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers
        answer = fit(job)
    print(json.dumps({"event": "fitted"} | answer), flush=True)


if __name__ == "__main__":
    main()

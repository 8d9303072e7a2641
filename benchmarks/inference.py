"""Fitting methods: how fast they are, whether parameters come back, and whether their uncertainty can be trusted.

    python benchmarks/inference.py --json OUT

Parts (``--only``), each says in its own file what it compares with:

- ``speed`` (``inference_speed.py``): likelihood, MAP, EM, NUTS and compilation beside peers in the same run, and
  targets.
- ``example3a`` (``inference_example3a.py``): 31 people with 440 trials by NUTS: seconds, memory, diagnostics, recovery.
- ``example3b`` (``inference_example3b.py``): the same with task sets, by MAP and EM, and what the marginal rule costs.
- ``recovery`` (``inference_recovery.py``): every ready model by maximum likelihood, MAP, EM and NUTS, beside the truth.
- ``coverage`` (``inference_coverage.py``): how many 95 % intervals hold the truth, by method.
- ``sbc`` (``inference_sbc.py``): simulation-based calibration of NUTS.

The file is written after each part, and after each model of a part; what it holds of parts and models that were not run
again is kept.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference_peers
from fit_speed import cpu_model, load_average

PARTS = ("speed", "example3a", "example3b", "recovery", "coverage", "sbc")
SHORT = {"draws": 100, "tune": 100}  # of NUTS where it shall only be seen to run
ENOUGH = {"draws": 500, "tune": 500}  # for means and intervals of many fits; effective samples are told
Figures = Iterator[dict[str, Any]]


def speed(arguments: argparse.Namespace) -> Figures:
    """Seconds, beside peers."""
    import inference_speed

    yield inference_speed.run(
        arguments.repeats, arguments.peers, arguments.environments, arguments.pyem, arguments.quick
    )


def example3a(arguments: argparse.Namespace) -> Figures:
    """The third example."""
    import inference_example3a

    yield inference_example3a.run((3, 40), **SHORT) if arguments.quick else inference_example3a.run()


def example3b(arguments: argparse.Namespace) -> Figures:
    """The third example's task sets."""
    import inference_example3b

    yield inference_example3b.run(**inference_example3b.QUICK if arguments.quick else {})


def recovery(arguments: argparse.Namespace) -> Figures:
    """True and estimated parameters, model by model."""
    import inference_recovery
    from inference_models import READY

    size, sampler = ((4, 40), SHORT) if arguments.quick else ((100, 200), ENOUGH)
    for name in arguments.models or READY:
        yield inference_recovery.run(*size, arguments.jobs, (name,), **sampler)


def coverage(arguments: argparse.Namespace) -> Figures:
    """Shares of intervals, model by model."""
    import inference_coverage

    groups, size, sampler = (2, (8, 40), SHORT) if arguments.quick else (10, (100, 200), ENOUGH)
    for name in arguments.models or inference_coverage.MODELS:
        yield inference_coverage.run(groups, size, arguments.jobs, (name,), **sampler)


def sbc(arguments: argparse.Namespace) -> Figures:
    """Ranks."""
    import inference_sbc

    runs, trials, people, draws = (4, 20, 2, 100) if arguments.quick else (200, 100, 5, 500)
    sizes = {"example 2": {"n_trials": 150}, "small 3a": {"n_trials": trials, "n_people": people}}
    yield inference_sbc.run(runs, sizes, arguments.jobs, draws, arguments.figure)


WORKS = {work.__name__: work for work in (speed, example3a, example3b, recovery, coverage, sbc)}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    parser.add_argument("--quick", action="store_true", help="tiny works, to see that it runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes of recovery, coverage and sbc (default 2)")
    parser.add_argument("--models", nargs="+", help="ready models of recovery and coverage (default all)")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="file for the histograms of sbc")
    parser.add_argument("--repeats", type=int, default=3, help="of everything timed (default 3)")
    peers = inference_peers.WORKS
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers, help="beside which speed is measured")
    parser.add_argument("--environments", type=Path, default=inference_peers.DEFAULT_FOLDER, help="of the peers")
    parser.add_argument("--pyem", help="what pip installs as pyEM: a checkout or an address")
    return parser.parse_args()


def main() -> None:
    """Run the parts, print a table each, write the JSON file."""
    arguments = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # of all that is started here
    out: dict[str, Any] = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    out["machine"] = {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.platform()}
    for part in [part for part in PARTS if part in arguments.only]:
        before, begin = load_average(), time.perf_counter()
        for figures in WORKS[part](arguments):
            figures |= {"quick": arguments.quick, "seconds_of_part": time.perf_counter() - begin}
            figures["load_averages"] = [before, load_average()]
            out[part] = merged(out.get(part, {}), figures)
            arguments.json.write_text(json.dumps(out, indent=1) + "\n")
    if "coverage" in arguments.only:
        import inference_coverage

        out["coverage"]["all_models"] = inference_coverage.all_models(out["coverage"]["models"])
        arguments.json.write_text(json.dumps(out, indent=1) + "\n")


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New figures; of models that are not among them the old ones."""
    return new | ({"models": old.get("models", {}) | new["models"]} if "models" in new else {})


if __name__ == "__main__":
    main()

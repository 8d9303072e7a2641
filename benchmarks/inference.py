"""Fitting methods: how fast they are, whether parameters come back, and whether their uncertainty can be trusted.

    python benchmarks/inference.py --json OUT

Parts (``--only``), each says in its own file what it compares with:

- ``speed`` (``inference_speed.py``): likelihood, MAP, EM, NUTS and compilation beside peers in the same run, and
  targets.
- ``example3a`` (``inference_example3a.py``): 31 people with 440 trials by NUTS: seconds, memory, diagnostics, recovery.
- ``recovery`` (``inference_recovery.py``): every ready model by maximum likelihood, MAP, EM and NUTS, beside the truth.
- ``coverage`` (``inference_coverage.py``): how many 95 % intervals hold the truth, by method.
- ``sbc`` (``inference_sbc.py``): simulation-based calibration of NUTS.

The file is written after each part; figures of parts that were not run again are kept if it is there.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import inference_peers
from fit_speed import cpu_model, load_average

PARTS = ("speed", "example3a", "recovery", "coverage", "sbc")
SHORT = {"draws": 100, "tune": 100}  # of NUTS where it shall only be seen to run


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds, beside peers."""
    import inference_speed

    return inference_speed.run(
        arguments.repeats, arguments.peers, arguments.environments, arguments.pyem, arguments.quick
    )


def example3a(arguments: argparse.Namespace) -> dict[str, Any]:
    """The third example."""
    import inference_example3a

    return inference_example3a.run((3, 40), **SHORT) if arguments.quick else inference_example3a.run()


def recovery(arguments: argparse.Namespace) -> dict[str, Any]:
    """True and estimated parameters."""
    import inference_recovery
    from inference_models import READY

    models = tuple(arguments.models or READY)
    if arguments.quick:
        return inference_recovery.run(4, 40, arguments.jobs, models, **SHORT)
    return inference_recovery.run(100, 200, arguments.jobs, models)


def coverage(arguments: argparse.Namespace) -> dict[str, Any]:
    """Shares of intervals."""
    import inference_coverage

    models = tuple(arguments.models or inference_coverage.MODELS)
    if arguments.quick:
        return inference_coverage.run(2, (8, 40), arguments.jobs, models, **SHORT)
    return inference_coverage.run(10, (100, 200), arguments.jobs, models)


def sbc(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ranks."""
    import inference_sbc

    runs, trials, people, draws = (4, 20, 2, 100) if arguments.quick else (200, 100, 5, 500)
    sizes = {"example 2": {"n_trials": 150}, "small 3a": {"n_trials": trials, "n_people": people}}
    return inference_sbc.run(runs, sizes, arguments.jobs, draws, arguments.figure)


WORKS = {work.__name__: work for work in (speed, example3a, recovery, coverage, sbc)}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    parser.add_argument("--quick", action="store_true", help="tiny works, to see that it runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes of recovery, coverage and sbc (default 2)")
    parser.add_argument("--models", nargs="+", help="ready models of recovery and coverage (default all; two)")
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
        out[part] = WORKS[part](arguments)
        out[part] |= {"quick": arguments.quick, "seconds_of_part": time.perf_counter() - begin}
        out[part]["load_averages"] = [before, load_average()]
        arguments.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()

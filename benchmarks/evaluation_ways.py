"""Time one evaluation of loss and gradient, all ways there are: the measurements behind the choice between them.

SPICE chooses by itself (``spice.training.method.choose_evaluation``): trial by trial with back-propagation through the
loop; all trials at once with states found by Newton sweeps; all trials at once with states found trial by trial. Every
line is one shape; times are medians of evaluations at parameters that move a little, as an optimiser's do, and ratios
are those of one run. ``--compile`` also compiles what is called at once (``torch.compile``) and times that.

    python benchmarks/evaluation_ways.py --json OUT
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from spice.precoded import ChoiceRNN, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN
from spice.resources.parallel import TrialsAtOnce
from spice.resources.rnn import BaseRNN
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective
from spice.training.parameters import ParameterVector

WAYS = {
    "loop": Evaluation(),
    "sweeps": Evaluation(at_once=True, sweeps=True, coupled=False),
    "states in loop": Evaluation(at_once=True, sweeps=False, coupled=False),
}
SHAPES = [
    (100, 3),
    (100, 8),
    (100, 30),
    (100, 100),
    (1, 1000),
    (16, 1000),
    (64, 200),
    (300, 200),
    (1000, 200),
    (5000, 100),
]
MOVE = 1e-3  # standard deviation of the parameters' change between two evaluations


def simulate(n_sessions: int, n_trials: int, n_participants: int) -> DatasetRNN:
    """Sessions of drifting bandits."""
    data = create_dataset(AgentQ(2), BanditsDrift(0.2), n_trials=n_trials, n_sessions=n_sessions, seed=0)[0]
    data.xs[..., -1] = torch.arange(n_sessions).unsqueeze(1) % n_participants
    return data


def seconds_per_evaluation(objective: Objective, start: torch.Tensor, repeats: int) -> float:
    """Median seconds of an evaluation."""
    generator, times = torch.Generator().manual_seed(0), []
    for _ in range(repeats + 2):  # the first ones begin from nothing
        start = start + MOVE * torch.randn(start.shape, generator=generator, dtype=start.dtype)
        begun = time.perf_counter()
        objective(start)
        times.append(time.perf_counter() - begun)
    return float(np.median(times[2:]))


def time_shape(model: BaseRNN, data: DatasetRNN, repeats: int) -> dict[str, float]:
    """Seconds per evaluation of each way."""
    start = ParameterVector(model).read().unsqueeze(0)
    return {name: seconds_per_evaluation(Objective(model, data, way), start, repeats) for name, way in WAYS.items()}


def time_compiled(repeats: int) -> dict[str, float]:
    """What compiling costs and saves on 100 x 100 trials, in seconds."""
    model, data = RescorlaWagnerRNN(2).double(), simulate(100, 100, 1)
    start = ParameterVector(model).read().unsqueeze(0)
    plain = seconds_per_evaluation(Objective(model, data, WAYS["sweeps"]), start, repeats)
    forward = TrialsAtOnce.forward
    try:
        TrialsAtOnce.forward = torch.compile(forward)  # type: ignore[method-assign]
        objective, begun = Objective(model, data, WAYS["sweeps"]), time.perf_counter()
        objective(start)
        first = time.perf_counter() - begun
        return {"plain": plain, "first": first, "compiled": seconds_per_evaluation(objective, start, repeats)}
    finally:
        TrialsAtOnce.forward = forward  # type: ignore[method-assign]


def main() -> None:
    """Time all shapes, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="evaluations per way (default 7)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well (minutes)")
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    print(f"{'model':<20}{'sessions':>9}{'trials':>8}" + "".join(f"{name + ' ms':>19}" for name in WAYS) + "   fastest")
    for name, make, people in (
        ("RescorlaWagnerRNN", lambda: RescorlaWagnerRNN(2), 1),
        ("ChoiceRNN", lambda: ChoiceRNN(2, 16), 16),
    ):
        for n_sessions, n_trials in SHAPES:
            seconds = time_shape(make().double(), simulate(n_sessions, n_trials, people), arguments.repeats)
            rows.append({"model": name, "sessions": n_sessions, "trials": n_trials, "seconds": seconds})
            figures = "".join(f"{1e3 * value:>19.1f}" for value in seconds.values())
            print(
                f"{name:<20}{n_sessions:>9}{n_trials:>8}{figures}   {min(seconds, key=seconds.__getitem__)}", flush=True
            )
    out: dict = {"torch": torch.__version__, "rows": rows}
    if arguments.compile:
        out["compile"] = time_compiled(arguments.repeats)
        print("torch.compile: " + ", ".join(f"{name} {value:.3f} s" for name, value in out["compile"].items()))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()

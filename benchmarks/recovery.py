"""Do the equations come back? Simulated people whose mechanism is known, ``SpiceEstimator()`` that is told nothing.

Compared with: the truth (structure, intervals, likelihood on fresh sessions) and maximum likelihood that knows the
structure (``recovery_oracle.py``, NumPy and SciPy alone).

    python benchmarks/recovery.py --json OUT

Parts (``--only``): ``structure`` (100 sessions of 100 trials; every mechanism, more options, continuous rewards),
``amount`` (false terms at 1, 10 and 100 sessions), ``protocol`` (people with different mechanisms:
``recovery_protocol.py``), ``time`` (``recovery_time.py``).
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peer
import recovery_oracle as oracle
import recovery_protocol
import recovery_time
import torch
from joblib import Parallel, delayed
from recovery_scores import share

from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

BASE = {"alpha_reward": 0.3, "beta_reward": 3.0, "start": 0.5}
MECHANISMS: dict[str, tuple[dict[str, float], dict[str, float]]] = {  # arguments of AgentQ; parameters to be found
    "rescorla-wagner": ({}, {"beta": 3.0, "alpha": 0.3}),
    "forgetting": ({"forget_rate": 0.2}, {"beta": 3.0, "alpha": 0.3, "forgetting": 0.2}),
    "asymmetric rates": (
        {"alpha_reward": 0.5, "alpha_penalty": 0.15},
        {"beta": 3.0, "alpha_reward": 0.5, "alpha_penalty": 0.15},
    ),
    "perseveration": ({"beta_choice": 0.8}, {"beta": 3.0, "alpha": 0.3, "perseveration": 0.8}),
    "slow choice trace": (
        {"beta_choice": 1.0, "alpha_choice": 0.3},
        {"beta": 3.0, "alpha": 0.3, "perseveration": 1.0, "alpha_choice": 0.3},
    ),
    "counterfactual": ({"alpha_counterfactual": 0.25}, {"beta": 3.0, "alpha": 0.3, "alpha_counterfactual": 0.25}),
    "choices at random": ({"beta_reward": 0.0}, {}),
}
# Terms of the truth by module of BanditRNN, for states that the canonical form cannot read: "x" is the state itself.
LEARNING = {"x_value_reward_chosen": "1 x c_reward", "x_value_reward_not_chosen": "x"}
TERMS = {
    "rescorla-wagner": LEARNING,
    "forgetting": LEARNING | {"x_value_reward_not_chosen": "1 x"},
    "asymmetric rates": LEARNING | {"x_value_reward_chosen": "1 x c_reward x*c_reward"},
    "perseveration": LEARNING | {"x_value_choice_chosen": "1"},
    "slow choice trace": LEARNING | {"x_value_choice_chosen": "1 x", "x_value_choice_not_chosen": "x"},
    "counterfactual": LEARNING | {"x_value_reward_not_chosen": "1 x c_outcome"},
    "choices at random": {},
}
NOTHING = "choices at random"  # nothing is to be found
FURTHER = ("rescorla-wagner", "forgetting", "perseveration", "counterfactual")  # with more options, other rewards
# of runs exactly right; of the others 0.9
AT_LEAST = dict.fromkeys(("rescorla-wagner", "forgetting", "asymmetric rates"), 0.95)
FRESH = 50  # sessions to score
PARTS = ("structure", "amount", "protocol", "time")


def simulate(mechanism: str, seed: int, n_sessions: int, n_actions: int, reward: str):
    """One participant's sessions, and fresh ones; the agent."""
    agent = AgentQ(n_actions, **(BASE | MECHANISMS[mechanism][0]))
    task = BanditsDrift(
        sigma=0.2, n_actions=n_actions, counterfactual=mechanism == "counterfactual", reward=reward, reward_sd=0.3
    )
    data, sessions, _ = create_dataset(agent, task, n_trials=100, n_sessions=n_sessions + FRESH, seed=seed)
    data.xs[..., -1] = 0
    return data[:n_sessions], data[n_sessions:], sessions


def run(mechanism: str, seed: int, n_sessions: int, n_actions: int = 2, reward: str = "binary") -> dict[str, Any]:
    """Fit one simulated participant and compare with the truth."""
    torch.set_num_threads(1)
    train, fresh, sessions = simulate(mechanism, seed, n_sessions, n_actions, reward)
    truth = MECHANISMS[mechanism][1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpiceWarning)
        estimator = SpiceEstimator(random_state=seed).fit(train)
    form = estimator.canonical_[0]
    found = {name: entry for name, entry in form.estimates.items() if name != "initial_value"}
    right = not form.unread and set(found) == set(truth)
    false = false_terms_of(mechanism, set(found), form.unread, estimator.equations_[0])
    choices = np.array([session.choices for session in sessions])
    outcomes = np.array([session.rewards for session in sessions])
    true_nll = -oracle.log_likelihood(truth | {"initial_value": 0.5}, choices[n_sessions:], outcomes[n_sessions:])
    record: dict[str, Any] = {
        "mechanism": mechanism, "seed": seed, "sessions": n_sessions, "actions": n_actions, "reward": reward,
        "right": right, "false": false, "parameters": form.parameters, "unread": form.unread,
        "undecided": len(estimator.undecided_[0]), "weakly_identified": form.weakly_identified,
        "seconds": estimator.timing_,
        "nll_minus_true": -estimator.score(fresh) - true_nll / fresh.n_scored,
        "warnings": sorted({type(entry.message).__name__ for entry in caught}),
    }  # fmt: skip
    if right:
        full = truth | {"initial_value": 0.5}
        record["covered"] = {name: bool(e.low <= full[name] <= e.high) for name, e in form.estimates.items()}
        record["oracle"] = oracle.fit(tuple(truth), full, choices[:n_sessions], outcomes[:n_sessions])
    return record


def false_terms_of(mechanism: str, found: set[str], unread: list[str], equations: Mapping[str, Any]) -> list[str]:
    """What is in the model and not in the truth: parameters, and terms of states that have no canonical form."""
    truth = set(MECHANISMS[mechanism][1])
    false = sorted(found - truth - {"alpha", "alpha_reward", "alpha_penalty"})
    false += ["asymmetry"] if "alpha_reward" in found and "alpha_reward" not in truth else []
    for module, equation in equations.items():
        if any(module.startswith(state) for state in unread):
            known = TERMS[mechanism].get(module, "").split()
            terms = [term.replace(module, "x").replace(" ", "*") for term in equation.coefficients]
            false += [f"{term} in {module}" for term in terms if term not in known]
    return false


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates with their 95 % binomial intervals; efficiency and coverage of the runs that are exactly right."""
    n, right, mechanism = len(records), [record for record in records if record["right"]], records[0]["mechanism"]
    truth, rate = MECHANISMS[mechanism][1], share(np.array([record["right"] for record in records]))
    errors = {
        name: [
            np.sqrt(np.mean([(source(record)[name] - truth[name]) ** 2 for record in right]))
            for source in (lambda record: record["parameters"], lambda record: record["oracle"])
        ]
        for name in truth
        if right
    }
    return {
        "runs": n,
        "right": rate["rate"],
        "right_ci": rate["ci"],
        "asked_for": AT_LEAST.get(mechanism, 0.9) if records[0]["sessions"] == 100 else None,
        "with_false_terms": sum(bool(record["false"]) for record in records) / n,
        "unread": sum(bool(record["unread"]) for record in records) / n,
        "rmse": {name: values[0] for name, values in errors.items()},
        "rmse_over_oracle": {name: values[0] / values[1] for name, values in errors.items()},
        "weakly_identified": dict(Counter(name for record in records for name in record["weakly_identified"])),
        "nll_minus_true": float(np.mean([record["nll_minus_true"] for record in records])),
        "seconds": {k: float(np.median([r["seconds"][k] for r in records])) for k in records[0]["seconds"]},
    }


def coverage(records: list[dict[str, Any]]) -> dict[str, float]:
    """Share of 95 % intervals that hold the truth, of runs with 100 sessions that are exactly right."""
    usable = [record for record in records if record["right"] and record["sessions"] == 100]
    hits = [hit for record in usable for hit in record["covered"].values()]
    return {"intervals": len(hits), "covered": float(np.mean(hits)) if hits else float("nan")}


def false_terms(records: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """By number of sessions (two options, binary rewards): share of runs with any false term."""
    found = {}
    for n_sessions in sorted({record["sessions"] for record in records}):
        runs = [r for r in records if (r["sessions"], r["actions"], r["reward"]) == (n_sessions, 2, "binary")]
        if runs:
            found[n_sessions] = share(np.array([bool(record["false"]) for record in runs]))
    return found


def show(name: str, summary: dict[str, Any]) -> None:
    """One line of the table."""
    ratios = summary["rmse_over_oracle"].values()
    (low, high), seconds = summary["right_ci"], summary["seconds"]["refine"]
    missed = summary["asked_for"] is not None and summary["right"] < summary["asked_for"]
    print(
        f"{name:<48}{summary['right']:>7.2f} [{low:.2f}, {high:.2f}]{summary['with_false_terms']:>8.2f}"
        f"{max(ratios, default=float('nan')):>9.3f}{summary['nll_minus_true']:>11.5f}{seconds:>8.1f}"
        + (f"   missed: {summary['asked_for']:.2f}" if missed else ""),
        flush=True,
    )


def cases(part: str) -> list[tuple[str, int, int, str]]:
    """Mechanism, sessions, options, rewards."""
    known = [name for name in MECHANISMS if name != NOTHING]
    if part == "structure":
        return (
            [(name, 100, 2, "binary") for name in known]
            + [(name, 100, n, "binary") for n in (3, 4) for name in FURTHER]
            + [(name, 100, 2, "continuous") for name in FURTHER]
        )
    return [(name, n, 2, "binary") for n in (1, 10) for name in MECHANISMS] + [(NOTHING, 100, 2, "binary")]


def run_all(case: tuple[str, int, int, str], seeds: int, jobs: int) -> list[dict[str, Any]]:
    """All seeds of a case, over processes of one thread each."""
    mechanism, *design = case
    return list(Parallel(n_jobs=jobs)(delayed(run)(mechanism, seed, *design) for seed in range(seeds)))


def main() -> None:
    """Run the parts, print a table each, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the results")
    parser.add_argument("--seeds", type=int, default=40, help="runs of each case (default 40)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=2, help="processes of the first two parts (default 2)")
    parser.add_argument("--mechanisms", nargs="+", choices=list(MECHANISMS), default=list(MECHANISMS))
    parser.add_argument("--people", type=int, default=128, help="people of the protocol (default 128)")
    parser.add_argument("--peer-people", type=int, default=16, help="of them for the peer (default 16; 0: without it)")
    parser.add_argument(
        "--peer-env", type=Path, default=peer.DEFAULT_FOLDER, metavar="DIR", help=f"default {peer.DEFAULT_FOLDER}"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out: dict[str, Any] = {"torch": torch.__version__, "cases": [], "runs": []}
    started = time.perf_counter()

    def write() -> None:
        out["seconds"] = time.perf_counter() - started
        arguments.json.write_text(json.dumps(out, indent=1) + "\n")

    for part in [part for part in ("structure", "amount") if part in arguments.only]:
        print(f"{part:<48}{'exactly right':>20}{'false':>8}{'RMSE/ML':>9}{'NLL-true':>11}{'refine':>8}")
        for case in cases(part):
            if case[0] not in arguments.mechanisms:
                continue
            mechanism, n_sessions, n_actions, reward = case
            records = run_all(case, arguments.seeds, arguments.jobs)
            name = f"{mechanism}, {n_sessions} sessions, {n_actions} options, {reward}"
            summary = summarise(records)
            show(name, summary)
            out["cases"].append({"case": name} | summary)
            out["runs"] += records
            out["coverage"], out["false_terms"] = coverage(out["runs"]), false_terms(out["runs"])
            write()
    if out["runs"]:
        covered = out["coverage"]
        print(f"95 % intervals (100 sessions, right structure): {covered['covered']:.3f} of {covered['intervals']}")
        for n_sessions, entry in out["false_terms"].items():
            rate, (low, high), runs = entry["rate"], entry["ci"], entry["n"]
            print(f"{n_sessions} sessions: {rate:.3f} [{low:.3f}, {high:.3f}] of {runs} with false terms")
    if "protocol" in arguments.only:
        out["protocol"] = recovery_protocol.run(arguments.people, arguments.peer_people, arguments.peer_env)
        write()
    if "time" in arguments.only:
        out["time"] = recovery_time.run(arguments.people)
    write()


if __name__ == "__main__":
    main()

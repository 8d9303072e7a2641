"""Print the equations of ForgettingRNN and ChoiceRNN beside the truth, for agents that forget and that perseverate.

Compared with: the generating agents, by equation and by negative log-likelihood (NLL) on fresh sessions. States are
printed multiplied by their scaling parameter, and measured from their start: choices show no more than that.

    python benchmarks/mechanism_recovery.py --seeds 5 --json OUT
"""

import argparse
import json

import numpy as np
import torch
from tutorial_recovery import agent_nll

from spice.estimator import SpiceEstimator
from spice.precoded import CHOICE_CONFIG, FORGETTING_RNN_CONFIG, ChoiceRNN, ForgettingRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

ALPHA, BETA, FORGETTING, PERSEVERATION = 0.3, 3.0, 0.2, 0.8
STATES = {"x_value_reward": 0.5, "x_value_choice": 0.0}  # start values


def summarise(estimator: SpiceEstimator) -> dict[str, float]:
    """Return what choices can show of the equations: rates, gains and differences of constants, in logits.

    With z = beta (x - start), a module z' = c + a z + b r has the constant c = beta (c_x + (a - 1) start).
    """
    with torch.no_grad():
        betas = {name: value.item() for name, value in estimator.spice_model_.scaling_values(torch.tensor([0])).items()}
    found: dict[str, float] = {}
    for state, start in STATES.items():
        modules = {kind: estimator.equations_[0].get(f"{state}_{kind}") for kind in ("chosen", "not_chosen")}
        if modules["chosen"] is None:
            continue
        constants = {}
        for kind, equation in modules.items():
            carried = equation.coefficients.get(equation.module, 0.0)
            found[f"{state}_{kind} carried"] = carried
            constants[kind] = betas.get(state, 1.0) * (equation.coefficients.get("1", 0.0) + (carried - 1) * start)
            if "c_reward" in equation.controls:
                found[f"{state}_{kind} reward"] = betas.get(state, 1.0) * equation.coefficients.get("c_reward", 0.0)
        found[f"{state} constant, chosen - not chosen"] = constants["chosen"] - constants["not_chosen"]
    return found


def cases() -> list[tuple]:
    """Name, network, configuration, agent and truth of each case."""
    value = {
        "x_value_reward_chosen carried": 1 - ALPHA,
        "x_value_reward_chosen reward": ALPHA * BETA,
        "x_value_reward constant, chosen - not chosen": -ALPHA * BETA * 0.5,
    }
    forgets = value | {"x_value_reward_not_chosen carried": 1 - FORGETTING}
    repeats = value | {
        "x_value_reward_not_chosen carried": 1.0,
        "x_value_choice_chosen carried": 0.0,
        "x_value_choice_not_chosen carried": 0.0,
        "x_value_choice constant, chosen - not chosen": PERSEVERATION,
    }
    common = {"alpha_reward": ALPHA, "beta_reward": BETA}
    return [
        ("forgetting 0.2", ForgettingRNN, FORGETTING_RNN_CONFIG, common | {"forget_rate": FORGETTING}, forgets),
        ("perseveration 0.8", ChoiceRNN, CHOICE_CONFIG, common | {"beta_choice": PERSEVERATION}, repeats),
    ]


def main() -> None:
    """Run all cases and seeds, print the tables, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = []
    for name, rnn_class, config, parameters, truth in cases():
        rows = []
        for seed in range(arguments.seeds):
            agent = AgentQ(n_actions=2, **parameters)
            train, fresh = (
                create_dataset(agent, BanditsDrift(sigma=0.2), n_trials=100, n_sessions=n, seed=[seed, n])[0]
                for n in (100, 50)
            )
            train.xs[..., -1] = 0
            fresh.xs[..., -1] = 0
            estimator = SpiceEstimator(rnn_class, config, random_state=seed).fit(train)
            gap = -estimator.score(fresh) - agent_nll(agent, fresh)
            rows.append({"seed": seed, "found": summarise(estimator), "nll_minus_agent": gap})
            if seed == 0:
                print(f"\n{name}, {rnn_class.__name__}, seed 0:\n{estimator.format_spice_model()}")
        print(f"\n{'':46s} {'truth':>6s}   found, seeds 0 to {arguments.seeds - 1}")
        for key, true in truth.items():
            print(f"{key:46s} {true:6.2f}   " + "  ".join(f"{row['found'][key]:5.2f}" for row in rows))
        print(
            f"{'NLL - agent, fresh sessions':46s} {0:6.3f}  " + " ".join(f"{r['nll_minus_agent']:6.4f}" for r in rows)
        )
        results.append({"case": name, "truth": truth, "rows": rows})
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1, default=np.ndarray.tolist)


if __name__ == "__main__":
    main()

"""Fit the tutorial on many seeds: are the three terms found, and how close are they to the best possible estimates.

Each seed simulates the tutorial's agent (Rescorla-Wagner, learning rate 0.3, inverse temperature 3; 100 sessions of
100 trials), fits network and SINDy at their defaults, and prints the equation beside the maximum-likelihood estimate
that is told the three terms. Compared with: the generating agent, on fresh sessions.

    python benchmarks/tutorial_recovery.py --seeds 20 --json OUT
"""

import argparse
import json
import time
import warnings

import numpy as np
import torch
from scipy.optimize import minimize

from spice.estimator import SpiceEstimator
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

MODULE = "x_value_reward_chosen"
TERMS = ("1", MODULE, "c_reward")
TRUTH = np.array(
    [-0.3, 0.7, 0.9]
)  # of learning rate 0.3, inverse temperature 3, start value 0.5, in the network's gauge
TOLERANCE = np.array([0.17, 0.05, 0.10])
NLL_TOLERANCE = 0.002  # nats per trial, on fresh sessions


def maximum_likelihood(dataset: DatasetRNN) -> np.ndarray:
    """The best estimator there is: it knows the three terms. Gradient by forward sensitivities."""
    n_actions = dataset.n_actions
    xs, ys = dataset.xs.numpy().astype(float), dataset.ys.numpy().astype(float)
    actions, rewards = xs[..., :n_actions], np.nan_to_num(xs[..., n_actions : 2 * n_actions])

    def objective(theta):
        constant, carry, gain = theta
        value, slope = np.full(ys[:, 0].shape, 0.5), np.zeros((3, *ys[:, 0].shape))
        loss, gradient = 0.0, np.zeros(3)
        for action, reward, chosen in zip(*(np.swapaxes(a, 0, 1) for a in (actions, rewards, ys)), strict=True):
            new_slope = carry * slope + np.stack([np.ones_like(value), value, reward])
            value = np.where(action == 1, constant + carry * value + gain * reward, value)
            slope = np.where(action == 1, new_slope, slope)
            log_probs = value - np.logaddexp.reduce(value, axis=1, keepdims=True)
            loss -= (chosen * log_probs).sum()
            gradient -= ((chosen - np.exp(log_probs)) * slope).sum((1, 2))
        return loss / ys[..., 0].size, gradient / ys[..., 0].size

    return minimize(objective, TRUTH, jac=True, method="BFGS", options={"gtol": 1e-8}).x


def agent_nll(agent: AgentQ, dataset: DatasetRNN) -> float:
    """Negative log-likelihood per trial of the generating agent, in nats."""
    n_actions = dataset.n_actions
    xs, ys = dataset.xs.numpy().astype(float), dataset.ys.numpy()
    agent.new_sess(len(dataset))
    loss = 0.0
    for trial in range(xs.shape[1]):
        agent.update(xs[:, trial, :n_actions].argmax(-1), xs[:, trial, n_actions : 2 * n_actions])
        loss -= np.log((agent.get_choice_probs() * ys[:, trial]).sum(-1)).sum()
    return loss / dataset.n_scored


def run_seed(seed: int, epochs: int) -> dict:
    """One row of the table."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    agent, environment = AgentQ(n_actions=2, alpha_reward=0.3), BanditsDrift(sigma=0.2, n_actions=2)
    train, fresh = (create_dataset(agent, environment, n_trials=100, n_sessions=n)[0] for n in (100, 50))
    train.xs[..., -1] = 0
    fresh.xs[..., -1] = 0
    estimator = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, learning_rate=1e-2, epochs=epochs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(train.xs, train.ys)
    found = estimator.equations_[0][MODULE].coefficients
    coefficients = np.array([found.get(term, 0.0) for term in TERMS])
    nll, true_nll = -estimator.score(fresh), agent_nll(agent, fresh)
    return {
        "seed": seed,
        "coefficients": coefficients.tolist(),
        "maximum_likelihood": maximum_likelihood(train).tolist(),
        "terms_right": set(found) == set(TERMS),
        "within_tolerance": bool((np.abs(coefficients - TRUTH) <= TOLERANCE).all()),
        "nll_equations": nll,
        "nll_agent": true_nll,
        "nll_within_tolerance": bool(nll - true_nll <= NLL_TOLERANCE),
        "epochs_used": len(estimator.history_.loss),
        "converged": estimator.history_.converged,
        "seconds": estimator.timing_,
        "warnings": [str(entry.message) for entry in caught],
    }


def main() -> None:
    """Run all seeds, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds, from 0 (default 20)")
    parser.add_argument("--epochs", type=int, default=1024, help="epochs at most (default 1024, as in the tutorial)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"truth {TRUTH}, tolerance {TOLERANCE}; order: {', '.join(TERMS)}")
    print(
        "seed  equations                maximum likelihood       terms  near  NLL - agent's   epochs  network s  "
        "SINDy s"
    )
    rows, started = [], time.perf_counter()
    for seed in range(arguments.seeds):
        row = run_seed(seed, arguments.epochs)
        rows.append(row)
        estimate, best = (
            "  ".join(f"{value:6.3f}" for value in row[key]) for key in ("coefficients", "maximum_likelihood")
        )
        marks = ["yes" if row[key] else "NO" for key in ("terms_right", "within_tolerance")]
        print(
            f"{seed:4d}  {estimate}   {best}   {marks[0]:5s}  {marks[1]:4s}  "
            f"{row['nll_equations'] - row['nll_agent']:+.5f}       "
            f"{row['epochs_used']:6d}  {row['seconds']['network']:9.2f}  {row['seconds']['sindy']:7.3f}",
            flush=True,
        )
    keys = ("terms_right", "within_tolerance", "nll_within_tolerance", "converged")
    summary = {key: sum(row[key] for row in rows) for key in keys} | {"seeds": len(rows)}
    print(", ".join(f"{key}: {value}" for key, value in summary.items()), f"in {time.perf_counter() - started:.0f} s")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"truth": TRUTH.tolist(), "summary": summary, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()

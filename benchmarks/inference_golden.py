"""Golden numbers of the second example (PyMC's two-armed bandit) by brute force, for tests of samplers.

    python benchmarks/inference_golden.py --peers PEERS --json tests/inference/example_two.json

NumPy and SciPy alone: the maximum of the likelihood and that of the posterior density, and by adaptive two-dimensional
quadrature the evidence, the posterior's means, standard deviations and correlation, and the exact leave-one-out
predictive density, under alpha ~ Beta(1, 1) and beta ~ HalfNormal(10). The quadrature is repeated with another rule;
the differences are written beside the numbers. PEERS is a file that ``inference_peers.py --only pymc`` wrote: PyMC's
means and standard deviations, with their Monte-Carlo errors, are then written beside them too.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from inference_data import PUBLISHED_NLL, TRUE, example_two, log_probabilities, nll
from scipy import integrate, optimize

SCALE = 10.0  # of the half-normal prior
UPPER = 80.0  # of beta: 8 standard deviations of the prior; beyond it lies less than 1e-15 of the prior's mass
TOLERANCE = 1e-10


def mode(choices: np.ndarray, rewards: np.ndarray, prior: bool) -> dict[str, float]:
    """Maximum of the likelihood, or of likelihood times prior density: where five-point differences are 0."""
    steps, weights, step = (-2, -1, 1, 2), np.array([1, -8, 8, -1]) / 12, 1e-3

    def value(x: np.ndarray) -> float:
        return float(nll(x[0], x[1], choices, rewards) + prior * 0.5 * (x[1] / SCALE) ** 2)

    def gradient(x: np.ndarray) -> np.ndarray:
        around = [[value(x + k * step * axis) for k in steps] for axis in np.eye(2)]
        return np.array(around) @ weights / step

    rough = optimize.minimize(value, TRUE, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    x = optimize.root(gradient, rough.x, tol=1e-14).x
    return {"alpha": float(x[0]), "beta": float(x[1]), "nll": float(nll(x[0], x[1], choices, rewards))}


def integrands(points: np.ndarray, choices: np.ndarray, rewards: np.ndarray, offset: float) -> np.ndarray:
    """Posterior density up to exp(offset), times 1, the moments, and 1 / p(y_t) of every choice.

    Parameters
    ----------
    points : np.ndarray, shape (n_points, 2)
        Alpha and beta.
    choices, rewards : np.ndarray of int, shape (n_choices,)
        The data.
    offset : float
        Negative log-likelihood that is taken as 0.

    Returns
    -------
    np.ndarray, shape (n_points, 5 + n_choices)
    """
    alpha, beta = points.T
    each = log_probabilities(alpha, beta, choices, rewards)
    log_prior = 0.5 * np.log(2 / np.pi) - np.log(SCALE) - 0.5 * (beta / SCALE) ** 2
    density = np.exp(each.sum(0) + log_prior + offset)
    moments = [np.ones_like(alpha), alpha, beta, alpha**2, beta**2, alpha * beta]
    return density[:, None] * np.column_stack([*moments, np.exp(-each).T])


def posterior(choices: np.ndarray, rewards: np.ndarray, rule: str, tolerance: float) -> dict[str, float]:
    """Moments of the posterior, log evidence and exact leave-one-out density by quadrature."""
    offset = mode(choices, rewards, prior=False)["nll"]
    found = integrate.cubature(
        integrands,
        [0.0, 0.0],
        [1.0, UPPER],
        rule=rule,
        rtol=tolerance,
        atol=0.0,
        max_subdivisions=100_000,
        args=(choices, rewards, offset),
    )
    if found.status != "converged":
        raise RuntimeError(f"the quadrature with rule {rule} did not converge to {tolerance:g}.")
    mass, *moments = found.estimate[:6]
    alpha, beta, alpha_2, beta_2, product = (moment / mass for moment in moments)
    sd_alpha, sd_beta = np.sqrt(alpha_2 - alpha**2), np.sqrt(beta_2 - beta**2)
    return {
        "alpha_mean": alpha,
        "alpha_sd": sd_alpha,
        "beta_mean": beta,
        "beta_sd": sd_beta,
        "correlation": (product - alpha * beta) / (sd_alpha * sd_beta),
        "log_evidence": np.log(mass) - offset,
        # p(y_t | others) = integral of p(y) prior / integral of p(y) prior / p(y_t)
        "elpd_loo": float((np.log(mass) - np.log(found.estimate[6:])).sum()),
    }


def main() -> None:
    """Compute, compare two rules, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--peers", type=Path, help="file that inference_peers.py wrote")
    arguments = parser.parse_args()
    choices, rewards = example_two()
    at_truth = float(nll(*TRUE, choices, rewards))
    golden = posterior(choices, rewards, "gk21", TOLERANCE)
    again = posterior(choices, rewards, "genz-malik", 1e-8)
    content: dict[str, Any] = {
        "nll_at_truth": at_truth,
        "relative_to_published": at_truth / PUBLISHED_NLL - 1,
        "mle": mode(choices, rewards, prior=False),
        "map": mode(choices, rewards, prior=True),
        "posterior": {name: float(value) for name, value in golden.items()},
        "by_another_rule": {name: float(abs(value - again[name])) for name, value in golden.items()},
    }
    if arguments.peers:
        peer = json.loads(arguments.peers.read_text())["pymc"]
        answer = peer["gallery, pointwise"]["runs"][0]["answer"]
        names = ("divergences", "elpd_loo", "p_loo", "parameters")
        content["pymc"] = {"version": peer["versions"]["pymc"]} | {name: answer[name] for name in names}
    print(json.dumps(content, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

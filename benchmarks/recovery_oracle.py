"""Maximum likelihood that knows the structure, apart from the package: NumPy for the model, SciPy for the fit."""

import numpy as np
from scipy.optimize import minimize

RATES = ("alpha", "alpha_reward", "alpha_penalty", "forgetting", "alpha_choice", "alpha_counterfactual")


def log_likelihood(parameters: dict[str, float], choices: np.ndarray, outcomes: np.ndarray) -> float:
    """Log-likelihood of all choices but each session's first.

    Parameters
    ----------
    parameters : dict
        By the field's names; those left out have no effect.
    choices : np.ndarray of int, shape (n_sessions, n_trials)
        The choices.
    outcomes : np.ndarray, shape (n_sessions, n_trials, n_actions)
        Outcomes, NaN where not shown.
    """
    p = parameters
    n_sessions, n_trials, n_actions = outcomes.shape
    start = p.get("initial_value", 0.5)
    q, k = np.full((n_sessions, n_actions), start), np.zeros((n_sessions, n_actions))
    up, down = p.get("alpha_reward", p.get("alpha", 0.0)), p.get("alpha_penalty", p.get("alpha", 0.0))
    rows, total = np.arange(n_sessions), 0.0
    for t in range(n_trials - 1):
        chosen = choices[:, t, None] == np.arange(n_actions)
        shown = ~np.isnan(outcomes[:, t])
        r = np.where(shown, outcomes[:, t], 0.0)
        rate = np.where(chosen, down + (up - down) * r, p.get("alpha_counterfactual", 0.0)) * shown
        target = p.get("forgetting_target", start)
        q = q + rate * (r - q) + p.get("forgetting", 0.0) * ~chosen * (target - q)
        k = k + p.get("alpha_choice", 1.0) * (chosen - k)
        logits = p.get("beta", 0.0) * q + p.get("perseveration", 0.0) * k
        largest = logits.max(1)
        total += (logits[rows, choices[:, t + 1]] - largest - np.log(np.exp(logits - largest[:, None]).sum(1))).sum()
    return float(total)


def fit(names: tuple[str, ...], truth: dict[str, float], choices: np.ndarray, outcomes: np.ndarray) -> dict[str, float]:
    """Maximum-likelihood estimates of these parameters, and of the start value, from the truth on."""
    names = (*names, "initial_value")

    def natural(theta: np.ndarray) -> dict[str, float]:
        return {
            n: float(1 / (1 + np.exp(-value)) if n in RATES else value) for n, value in zip(names, theta, strict=True)
        }

    start = [np.log(truth[n] / (1 - truth[n])) if n in RATES else truth[n] for n in names]
    result = minimize(
        lambda theta: -log_likelihood(natural(theta), choices, outcomes), start, method="BFGS", options={"gtol": 1e-3}
    )
    return natural(result.x)

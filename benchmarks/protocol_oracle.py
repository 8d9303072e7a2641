"""What could be found: maximum likelihood of every sub-model of the family that simulated the people, apart from SPICE.

The family has two options, and outcomes 0 and 1 of the chosen one. Values start at Q0 = 0.5; the oracle knows that, or
estimates it free of charge, as SPICE does.

    chosen   Q <- Q + alpha (r - Q), alpha_reward after 1, alpha_penalty after 0
    other    Q <- Q + forgetting (Q0 - Q)
    both     K <- K + alpha_choice (chosen - K)
    logits   beta Q + perseveration K
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.optimize import minimize

NAMES = ("beta", "alpha_reward", "alpha_penalty", "forgetting", "perseveration", "alpha_choice")
MECHANISMS = ("reward", "forgetting", "choice", "slow choice", "asymmetry")
START = 0.5
FARTHEST = 5.0  # of the start from 0, where it is estimated
LARGEST = 20.0  # of the inverse temperatures, whose maximum may lie at infinity
NEUTRAL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # parameters of mechanisms that are off
# where fits start from: learning rate after 1 and after 0, forgetting, choice rate; the best end is taken
STARTS = ((0.2, 0.2, 0.1, 0.5), (0.7, 0.7, 0.1, 0.9), (0.6, 0.2, 0.4, 0.2), (0.2, 0.6, 0.6, 0.6))


@njit(cache=True, error_model="numpy")
def nll_and_gradient(parameters, choices, rewards):
    """Negative log-likelihood of all choices but each session's first, and its gradient.

    Parameters
    ----------
    parameters : np.ndarray, shape (6,) or (7,)
        In the order of `NAMES`; then the start, if it is not `START`.
    choices : np.ndarray of int, shape (n_sessions, n_trials)
        0 or 1.
    rewards : np.ndarray, shape (n_sessions, n_trials)
        Outcome of the choice, 0 or 1.

    Returns
    -------
    nll : float
        In nats.
    gradient : np.ndarray, of the parameters' shape
    """
    beta, forgetting, perseveration, alpha_choice = parameters[0], parameters[3], parameters[4], parameters[5]
    nll, gradient = 0.0, np.zeros(len(parameters))
    start = parameters[6] if len(parameters) > 6 else START
    q, slopes = np.empty(2), np.empty((2, 4))  # values; derivatives by learning rates, forgetting and start
    for session in range(choices.shape[0]):
        q[:], slopes[:], slopes[:, 3] = start, 0.0, 1.0
        trace, trace_slope = 0.0, 0.0  # option 1 minus option 0
        for t in range(choices.shape[1] - 1):
            chosen, r = choices[session, t], rewards[session, t]
            other, which = 1 - chosen, 0 if r > 0 else 1
            error, away = r - q[chosen], start - q[other]
            slopes[chosen] *= 1 - parameters[1 + which]
            slopes[chosen, which] += error
            q[chosen] += parameters[1 + which] * error
            slopes[other] *= 1 - forgetting
            slopes[other, 2] += away
            slopes[other, 3] += forgetting
            q[other] += forgetting * away
            surprise = 2.0 * chosen - 1.0 - trace
            trace_slope = (1 - alpha_choice) * trace_slope + surprise
            trace += alpha_choice * surprise
            sign = 2.0 * choices[session, t + 1] - 1.0
            margin = sign * (beta * (q[1] - q[0]) + perseveration * trace)
            small = np.exp(-abs(margin))
            nll += np.log1p(small) + max(-margin, 0.0)
            by_logit = -sign * (small if margin > 0 else 1.0) / (1 + small)
            gradient[0] += by_logit * (q[1] - q[0])
            for k in range(3):
                gradient[1 + k] += by_logit * beta * (slopes[1, k] - slopes[0, k])
            if len(parameters) > 6:
                gradient[6] += by_logit * beta * (slopes[1, 3] - slopes[0, 3])
            gradient[4] += by_logit * trace
            gradient[5] += by_logit * perseveration * trace_slope
    return nll, gradient


def sub_models() -> list[frozenset[str]]:
    """All sets of mechanisms that make sense: the others need reward or choice to act on."""
    of_reward = [(), ("reward",)] + [("reward", "forgetting"), ("reward", "asymmetry")]
    of_reward += [("reward", "forgetting", "asymmetry")]
    of_choice = [(), ("choice",), ("choice", "slow choice")]
    return [frozenset((*values, *traces)) for values in of_reward for traces in of_choice]


def free(model: frozenset[str]) -> np.ndarray:
    """Which parameters each free number of a sub-model sets, shape (n_free, 6): 0 or 1."""
    rates = [[1], [2]] if "asymmetry" in model else [[1, 2]]
    groups = [[0], *rates] if "reward" in model else []
    groups += [[k] for name, k in (("forgetting", 3), ("choice", 4), ("slow choice", 5)) if name in model]
    spread = np.zeros((len(groups), len(NAMES)))
    for row, places in zip(spread, groups, strict=True):
        row[places] = 1.0
    return spread


def fit(
    model: frozenset[str], choices: np.ndarray, rewards: np.ndarray, start_known: bool = True
) -> tuple[float, np.ndarray]:
    """Maximum likelihood of one sub-model for one person: the negative log-likelihood, and all seven parameters."""
    spread = np.pad(free(model), ((0, 0), (0, 1)))
    bounds = [(0.0, LARGEST if row[[0, 4]].any() else 1.0) for row in spread]
    if not start_known and "reward" in model:
        spread = np.vstack([spread, np.eye(7)[-1]])
        bounds.append((-FARTHEST, FARTHEST))
    base = np.where(spread.any(0), 0.0, np.append(NEUTRAL, START))
    if not len(spread):
        return nll_and_gradient(base, choices, rewards)[0], base

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        nll, gradient = nll_and_gradient(base + numbers @ spread, choices, rewards)
        return nll, spread @ gradient

    best = None
    for up, down, forgetting, choice in STARTS:
        start = spread @ np.array([3.0, up, down, forgetting, 1.0, choice, START]) / spread.sum(1)
        result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        best = result if best is None or result.fun < best.fun else best
    return float(best.fun), base + best.x @ spread


@dataclass(frozen=True)
class Pick:
    """What the Bayesian information criterion picks for one person.

    Attributes
    ----------
    mechanisms : frozenset of str
        Of the best sub-model.
    parameters : np.ndarray, shape (7,)
        Its estimates; the last one is the start.
    inclusion : dict of str to float
        Probability of each mechanism, from the weights exp(-BIC / 2) of all sub-models.
    """

    mechanisms: frozenset[str]
    parameters: np.ndarray
    inclusion: dict[str, float]


def pick(choices: np.ndarray, rewards: np.ndarray, start_known: bool = True) -> Pick:
    """Fit all sub-models to one person and let the Bayesian information criterion choose."""
    models = sub_models()
    fits = [fit(model, choices, rewards, start_known) for model in models]
    n_scored = choices.shape[0] * (choices.shape[1] - 1)
    bic = np.array([2 * nll for nll, _ in fits]) + np.log(n_scored) * np.array([len(free(model)) for model in models])
    weights = np.exp(-(bic - bic.min()) / 2)
    weights /= weights.sum()
    inclusion = {name: float(sum(weights[[name in model for model in models]])) for name in MECHANISMS}
    best = int(bic.argmin())
    return Pick(models[best], fits[best][1], inclusion)

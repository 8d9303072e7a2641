"""Data of the benchmark of fitting methods: plain NumPy, so that peers' environments can import it too.

Two options, rewards 0 or 1, values from 0.5, softmax; the first choice is not scored.
"""

from typing import Any

import numpy as np

TRUE = (0.5, 5.0)  # alpha and beta of the second example
PUBLISHED_NLL = 47.418936097207016  # at these, in PyMC's example gallery
PUBLISHED_MLE = (0.50473117, 5.7073849, 47.050814541102895)  # alpha, beta, where a finite-difference optimiser stopped
# What people are drawn from: logit(alpha) and log(beta), mean and standard deviation
POPULATION = ((-0.5, 0.8), (np.log(3.0), 0.5))
# The prior of MAP fits, of the same two: weakly informative
PRIOR = ((0.0, 1.5), (np.log(2.0), 1.25))
REVERSAL = 50  # choices after which the better option changes


def example_two() -> tuple[np.ndarray, np.ndarray]:
    """Choices and rewards of the second example, shape (150,) each, by its published recipe."""
    rng = np.random.default_rng(sum(map(ord, "RL_PyMC")))
    alpha, beta = TRUE
    choices, rewards = np.zeros(150, dtype=int), np.zeros(150, dtype=int)
    q = np.array([0.5, 0.5])
    for trial in range(150):
        weight = np.exp(beta * q)
        choices[trial] = rng.choice([0, 1], p=weight / weight.sum())
        rewards[trial] = rng.random() < (0.4, 0.6)[choices[trial]]
        q[choices[trial]] += alpha * (rewards[trial] - q[choices[trial]])
    return choices, rewards


def simulate(n_people: int, n_trials: int, seed: int) -> dict[str, np.ndarray]:
    """Simulate people with Rescorla-Wagner on a reversing bandit (rewarded with .8 and .2).

    Parameters
    ----------
    n_people, n_trials : int
        ``n_trials`` counts scored choices.
    seed : int
        Seed of the random generator.

    Returns
    -------
    dict
        ``choices`` and ``rewards``, shape (n_people, n_trials + 1); ``alpha`` and ``beta``, shape (n_people,).
    """
    rng = np.random.default_rng(seed)
    theta = [mean + sd * rng.standard_normal(n_people) for mean, sd in POPULATION]
    alpha, beta = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
    shape = (n_people, n_trials + 1)
    choices, rewards = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    q, people = np.full((n_people, 2), 0.5), np.arange(n_people)
    for trial in range(n_trials + 1):
        second = 1 / (1 + np.exp(-beta * (q[:, 1] - q[:, 0])))
        choice = (rng.random(n_people) < second).astype(int)
        better = trial // REVERSAL % 2
        reward = (rng.random(n_people) < np.where(choice == better, 0.8, 0.2)).astype(int)
        q[people, choice] += alpha * (reward - q[people, choice])
        choices[:, trial], rewards[:, trial] = choice, reward
    return {"choices": choices, "rewards": rewards, "alpha": alpha, "beta": beta}


def tables(choices: np.ndarray, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as ``xs`` and ``ys`` of a DatasetRNN, one session per person.

    Parameters
    ----------
    choices, rewards : np.ndarray of int, shape (n_people, n_trials + 1)
        As `simulate` returns them.

    Returns
    -------
    xs : np.ndarray, shape (n_people, n_trials, 5)
        One-hot choice, reward of each option (NaN where not chosen), participant.
    ys : np.ndarray, shape (n_people, n_trials, 2)
        One-hot choice that follows.
    """
    one_hot = np.eye(2)[choices]
    brought = np.where(one_hot == 1, rewards[..., None], np.nan)
    participant = np.broadcast_to(np.arange(len(choices))[:, None, None], (*choices.shape, 1))
    return np.concatenate([one_hot, brought, participant], axis=2)[:, :-1], one_hot[:, 1:]


def nll(alpha: Any, beta: Any, choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of one person's choices at many points at once, in nats.

    Parameters
    ----------
    alpha, beta : array_like, shape (n_points,)
        Points.
    choices, rewards : np.ndarray of int, shape (n_choices,)
        One person's; the first choice is not scored.

    Returns
    -------
    np.ndarray, shape (n_points,)
    """
    return -log_probabilities(alpha, beta, choices, rewards).sum(0)


def log_probabilities(alpha: Any, beta: Any, choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Log-probability of each scored choice, shape (n_choices - 1, n_points); arguments as for `nll`."""
    alpha, beta = np.asarray(alpha, dtype=float), np.asarray(beta, dtype=float)
    q = [np.full(alpha.shape, 0.5), np.full(alpha.shape, 0.5)]
    found = np.empty((len(choices) - 1, *alpha.shape))
    for trial in range(len(choices) - 1):
        choice = choices[trial]
        q[choice] = q[choice] + alpha * (rewards[trial] - q[choice])
        following = choices[trial + 1]
        found[trial] = -np.logaddexp(0.0, beta * (q[1 - following] - q[following]))
    return found

"""Models, data and an independent likelihood that the tests of fitting share."""

from types import SimpleNamespace

import numpy as np
import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.resources.dataset import DatasetRNN

CHANCES = np.array([0.4, 0.6])


def rescorla_wagner(alpha=None, beta=None) -> SymbolicModel:
    """With further settings of the parameters, such as priors."""
    return SymbolicModel(
        states={"q": State(initial=0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(low=0, high=1, **alpha or {}), "beta": Parameter(low=0, **beta or {})},
    )


def play(alpha, beta, n_trials, rng):
    """Choices and rewards of one person in a two-armed bandit."""
    q, choices, rewards = np.array([0.5, 0.5]), [], []
    for _ in range(n_trials):
        p = np.exp(beta * (q - q.max()))
        choice = int(rng.choice([0, 1], p=p / p.sum()))
        reward = float(rng.random() < CHANCES[choice])
        q[choice] += alpha * (reward - q[choice])
        choices.append(choice)
        rewards.append(reward)
    return np.array(choices), np.array(rewards)


def dataset_of(people, labels=None) -> DatasetRNN:
    """Of (choices, rewards) of each person: one session, the first choice not scored; shorter ones end in NaN."""
    most = max(len(choices) for choices, _ in people)
    xs, ys = np.full((len(people), most - 1, 5), np.nan), np.full((len(people), most - 1, 2), np.nan)
    for person, (choices, rewards) in enumerate(people):
        one_hot, n = np.eye(2)[choices], len(choices)
        outcome = np.where(one_hot == 1, np.asarray(rewards)[:, None], np.nan)
        xs[person, : n - 1] = np.concatenate([one_hot, outcome, np.zeros((n, 1))], 1)[: most - 1][: n - 1]
        ys[person, : n - 1] = one_hot[1:]
        xs[person, :, -1] = person
    return DatasetRNN(xs, ys, labels=labels and {"participant": labels})


def recursion(alpha, beta, choices, rewards):
    """Negative log-likelihood of the choices after the first, and its derivatives by alpha and beta, in plain NumPy."""
    q, dq = np.array([0.5, 0.5]), np.zeros(2)
    value, gradient = 0.0, np.zeros(2)
    for t, (choice, reward) in enumerate(zip(choices, rewards, strict=True)):
        if t:
            logits = beta * q
            p = np.exp(logits - logits.max())
            p /= p.sum()
            value -= np.log(p[choice])
            gradient += [beta * (p @ dq - dq[choice]), p @ q - q[choice]]
        dq[choice] = (1 - alpha) * dq[choice] + reward - q[choice]
        q[choice] += alpha * (reward - q[choice])
    return value, gradient


def numeric_hessian(function, x, step=1e-4):
    """Second derivatives by central differences."""
    n, units = len(x), np.eye(len(x)) * step
    ends = [
        [function(x + a * u + b * v) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))] for u in units for v in units
    ]
    ends = np.array(ends).reshape(n, n, 4)
    return (ends @ [1, -1, -1, 1]) / (4 * step**2)


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    return SimpleNamespace(
        rescorla_wagner=rescorla_wagner,
        play=play,
        dataset_of=dataset_of,
        recursion=recursion,
        numeric_hessian=numeric_hessian,
    )


@pytest.fixture(scope="session")
def bandit():
    """The two-armed bandit of PyMC's example gallery: (choices, rewards)."""
    return play(0.5, 5.0, 150, np.random.default_rng(598))


@pytest.fixture(scope="session")
def people():
    """Twelve persons with different parameters, 120 trials each."""
    rng = np.random.default_rng(3)
    return [play(alpha, beta, 120, rng) for alpha in (0.15, 0.3, 0.5, 0.7) for beta in (2.0, 3.5, 5.0)]

"""Models, data and stand-ins that tests of posteriors share."""

from types import SimpleNamespace

import numpy as np
import pytest

from spice.inference.general.generated import Exact
from spice.resources.dataset import DatasetRNN


def simulate(alphas, betas, n_trials, seed, chances=(0.4, 0.6), labels=None):
    """A two-armed bandit, written plainly; the first choice is not scored."""
    rng, n = np.random.default_rng(seed), len(alphas)
    choices, rewards = np.zeros((n, n_trials), int), np.zeros((n, n_trials))
    for person, (alpha, beta) in enumerate(zip(alphas, betas, strict=True)):
        q = np.array([0.5, 0.5])
        for t in range(n_trials):
            weights = np.exp(beta * q)
            action = rng.choice([0, 1], p=weights / weights.sum())
            reward = float(rng.random() < chances[action])
            q[action] += alpha * (reward - q[action])
            choices[person, t], rewards[person, t] = action, reward
    one_hot = np.eye(2)[choices]
    outcome = np.where(one_hot == 1, rewards[..., None], np.nan)
    who = np.broadcast_to(np.arange(n)[:, None, None], (n, n_trials, 1))
    xs = np.concatenate([one_hot, outcome, who], axis=2)[:, :-1]
    return DatasetRNN(xs, one_hot[:, 1:], labels=None if labels is None else {"participant": labels})


def example_two():
    """The data of the two-armed bandit of PyMC's example gallery."""
    return simulate([0.5], [5.0], 150, 598)


def several(n_people=6, n_trials=40, labels=None):
    """A few people."""
    rng = np.random.default_rng(3)
    return simulate(rng.beta(3, 6, n_people), np.exp(rng.normal(1, 0.4, n_people)), n_trials, 4, labels=labels)


class Bowls:
    """A likelihood with a known posterior: of each person normal on the natural scale, with any numbers of trials."""

    def __init__(self, names, centre, sd, n_scored=None):
        self.names, self._centre, self._sd = tuple(names), np.asarray(centre, float), np.asarray(sd, float)
        self.participants = list(range(len(self._centre)))
        self._n_scored = np.full(len(self._centre), 10) if n_scored is None else np.asarray(n_scored)

    def n_scored(self):
        return self._n_scored

    def _parts(self, values, group):
        group = np.arange(len(values)) if group is None else group
        return (values - self._centre[group]) / self._sd, group

    def gradient(self, values, group=None):
        z, _ = self._parts(np.asarray(values), group)
        return (z**2).sum(1) / 2, z / self._sd

    def __call__(self, values, group=None):
        nll, gradient = self.gradient(values, group)
        curvature = np.broadcast_to(np.diag(np.ones(len(self.names)) / self._sd**2), (len(nll), *[len(self.names)] * 2))
        return Exact(nll, gradient, curvature.copy())


@pytest.fixture(scope="session")
def cases(tools) -> SimpleNamespace:
    return SimpleNamespace(rescorla_wagner=tools.rescorla_wagner, example_two=example_two, several=several, Bowls=Bowls)

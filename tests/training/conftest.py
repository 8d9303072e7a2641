"""Networks and fits that several test modules share."""

import warnings
from collections.abc import Callable

import pytest
import torch

from spice.errors import ConvergenceWarning
from spice.precoded import RescorlaWagnerRNN
from spice.resources.rnn import BaseRNN
from spice.training import fit_network, negative_log_likelihood


@pytest.fixture(scope="session")
def make() -> Callable[..., BaseRNN]:
    """A small network with seeded weights."""

    def make(seed=0, model_class=RescorlaWagnerRNN, n_participants=3, **settings):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return model_class.build(2, n_participants, hidden_size=3, **settings).double()

    return make


@pytest.fixture(scope="session")
def fit() -> Callable:
    """Fit without a word about convergence."""

    def fit(model, data, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return fit_network(model, data, **settings)

    return fit


@pytest.fixture(scope="session")
def nll_of() -> Callable[..., float]:
    """Negative log-likelihood per scored choice."""

    def nll_of(model, data):
        with torch.no_grad():
            logits = model(data.xs, batch_first=True)[0]
            return float(negative_log_likelihood(logits, data.ys.double())) / data.n_scored

    return nll_of

"""Networks and fits that several test modules share."""

import warnings
from collections.abc import Callable

import pytest
import torch

from spice.errors import ConvergenceWarning
from spice.precoded import RescorlaWagnerRNN
from spice.resources.rnn import BaseRNN
from spice.training import fit_network, negative_log_likelihood
from spice.training.parameters import ParameterVector


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


@pytest.fixture(scope="session")
def weighted() -> Callable[..., BaseRNN]:
    """A model with weights far from their start, so that every part of it shows."""

    def weighted(model_class, n_actions=2, dtype=torch.float64, seed=0, scale=0.4):
        model = model_class.build(n_actions, 3, hidden_size=3).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        return model

    return weighted


class Map(torch.nn.Module):
    """An update that no small network would learn."""

    def __init__(self, update, *numbers):
        super().__init__()
        self.update, self.numbers = update, torch.nn.Parameter(torch.tensor(numbers, dtype=torch.float64))

    def forward(self, value, inputs, embedding=None, participant=None):
        return self.update(value, inputs[..., 0], *self.numbers)


@pytest.fixture(scope="session")
def with_map() -> Callable[..., BaseRNN]:
    """A Rescorla-Wagner model with this update and these numbers in its module's place."""

    def with_map(update, *numbers):
        model = RescorlaWagnerRNN(2).double()
        model.submodules_rnn["x_value_reward_chosen"] = Map(update, *numbers)
        return model

    return with_map


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., torch.Tensor]:
    """Parameter vectors of models, one a row."""
    return lambda *models: torch.stack([ParameterVector(model).read() for model in models])


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Losses by row; gradients relative to their norm, and to their largest entry."""

    def assert_same(found, expected, tolerance=1e-5):
        (nll, gradient), (other_nll, other_gradient) = found, expected
        assert nll.shape == other_nll.shape and gradient.shape == other_gradient.shape
        assert nll.dtype == gradient.dtype == torch.float64
        assert bool(((nll - other_nll).abs() <= tolerance * other_nll.abs()).all())
        for one, other in zip(gradient, other_gradient, strict=True):
            assert float((one - other).norm()) <= tolerance * float(other.norm())
            assert float((one - other).abs().max()) <= tolerance * float(other.abs().max())

    return assert_same

"""Small data and fitted estimators that several test modules share."""

import os
import signal
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import threadpoolctl
import torch

from spice.equations import Equation, with_equations
from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import (
    PARTICIPANT_EMBEDDING_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    ParticipantEmbeddingRNN,
    RescorlaWagnerRNN,
)
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

CHOSEN = "x_value_reward_chosen"


def random_dataset(
    n_sessions: int = 4,
    n_trials: int = 12,
    n_actions: int = 2,
    missing: float = 0.0,
    unknown: float = 0.0,
    padding: bool = False,
    n_participants: int = 1,
    seed: int = 0,
) -> DatasetRNN:
    """Random choices and continuous rewards; shares of trials without a choice and of choices without a reward."""
    rng = np.random.default_rng(seed)
    choice = rng.integers(n_actions, size=(n_sessions, n_trials + 1))
    one_hot = np.eye(n_actions)[choice]
    reward = np.where(one_hot == 1, rng.normal(0.5, 0.5, one_hot.shape), np.nan)
    reward[rng.random(choice.shape) < unknown] = np.nan
    gone = rng.random(choice.shape) < missing
    if padding:  # session s ends s trials earlier
        gone |= np.arange(n_trials + 1) > (n_trials - np.arange(n_sessions))[:, None]
    one_hot[gone], reward[gone] = np.nan, np.nan
    participant = np.broadcast_to((np.arange(n_sessions) % n_participants)[:, None, None], (*choice.shape, 1))
    return DatasetRNN(np.concatenate([one_hot, reward, participant], axis=2)[:, :-1], one_hot[:, 1:])


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """On so few values several threads wait for each other, of torch and of NumPy; a fit sees to that itself."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """A folder for generated code that is empty at first; processes that share the tests share it."""
    folder = tmp_path_factory.getbasetemp()
    cache = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    cache.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPICE_CACHE", str(cache))
        yield


@pytest.fixture(scope="session")
def random_data() -> Callable[..., DatasetRNN]:
    return random_dataset


@pytest.fixture(scope="session")
def agent_data() -> DatasetRNN:
    """A Rescorla-Wagner agent (learning rate 0.3, inverse temperature 3): 20 sessions of 40 scored choices."""
    agent = AgentQ(n_actions=2, alpha_reward=0.3, beta_reward=3.0)
    data, _, _ = create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2), n_trials=40, n_sessions=20, seed=1)
    data.xs[..., -1] = 0
    return data


@pytest.fixture(scope="session")
def fitted(agent_data) -> SpiceEstimator:
    """A fitted Rescorla-Wagner network with its equations; not to be changed by a test."""
    return SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, random_state=0).fit(agent_data)


@pytest.fixture(scope="session")
def people_data() -> DatasetRNN:
    """Three people with names; 3 sessions of 40 scored choices each."""
    xs, ys = [], []
    for number, rate in enumerate((0.2, 0.5, 0.8)):
        agent = AgentQ(n_actions=2, alpha_reward=rate, beta_reward=4.0, forget_rate=0.2)
        data, _, _ = create_dataset(agent, BanditsDrift(n_actions=2, sigma=0.2), n_trials=40, n_sessions=3, seed=number)
        data.xs[..., -1] = number
        xs.append(data.xs)
        ys.append(data.ys)
    return DatasetRNN(torch.cat(xs), torch.cat(ys), labels={"participant": ["anna", "ben", "cleo"]})


@pytest.fixture(scope="session")
def fitted_people(people_data) -> SpiceEstimator:
    """A fitted network with participant embeddings; not to be changed by a test."""
    estimator = SpiceEstimator(
        ParticipantEmbeddingRNN,
        PARTICIPANT_EMBEDDING_RNN_CONFIG,
        hidden_size=3,
        embedding_size=2,
        epochs=30,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)  # so few epochs do not converge
        return estimator.fit(people_data)


@pytest.fixture(scope="session")
def default_people(people_data) -> SpiceEstimator:
    """The model for those who do not know theirs, with equations for each; not to be changed by a test."""
    estimator = SpiceEstimator(hidden_size=2, embedding_size=2, epochs=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return estimator.fit(people_data)


@pytest.fixture(scope="session")
def config() -> Callable[..., SpiceConfig]:
    """A Rescorla-Wagner configuration with some entries changed."""

    def make(**changes) -> SpiceConfig:
        settings = {
            "rnn_modules": [CHOSEN],
            "control_parameters": ["c_action", "c_reward"],
            "library_setup": {CHOSEN: ["c_reward"]},
            "filter_setup": {CHOSEN: ["c_action", 1, True]},
        }
        return SpiceConfig(**settings | changes)

    return make


@pytest.fixture(scope="session")
def model_of() -> Callable[..., BaseRNN]:
    """A model whose modules are these equations: for each module a list of coefficients, one entry per participant."""
    controls = {CHOSEN: ("c_reward",), "x_learning_rate_reward": ("c_reward", "c_value_reward")}

    def make(terms, model_class=RescorlaWagnerRNN, n_actions=2) -> BaseRNN:
        n_participants = len(next(iter(terms.values())))
        equations = {
            person: {name: Equation(name, controls.get(name, ()), entries[person]) for name, entries in terms.items()}
            for person in range(n_participants)
        }
        return with_equations(model_class.build(n_actions, n_participants, hidden_size=2).double(), equations)

    return make


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt: a process in the background of a shell script begins with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

"""Wrong arguments of agents, tasks and simulations: each a sentence of ours, none a traceback from inside."""

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError
from spice.estimator import SpiceEstimator
from spice.resources.agents import make_generator
from spice.resources.arguments import in_words, is_flag, is_number, is_whole, plain_scalar
from spice.resources.bandits import AgentQ, BanditsDrift, BanditsFixed, BanditsReversal, BanditsSwitch, create_dataset
from spice.resources.resimulation import simulate_again
from spice.resources.splits import split_by_participant, split_by_trial_fraction

AGENT, TASK = AgentQ(), BanditsDrift(0.2)
SEED = "a seed must be a whole number from 0 on or a numpy.random.Generator, not "
TWO_SETS = [[0.1, 0.9], [0.9, 0.1]]


def test_what_is_a_number():
    assert is_whole(np.int64(2), 2) and not is_whole(1, 2) and not is_whole(True) and not is_whole(2.5)
    assert is_number(0.5, 0, 1) and is_number(np.float32(1), 0, 1) and is_number(1)
    assert not any(is_number(value) for value in ("1", None, True, np.nan, np.inf, [1.0], 1j))
    assert not is_number(1.5, 0, 1)
    for value in (2, 2.0, np.float32(2), np.array(2), np.array(2.0), torch.tensor(2), torch.tensor(2.0)):
        assert is_whole(value, 2) and is_number(value, 2, 2) and plain_scalar(value) == 2
    assert all(map(is_flag, (True, False, 0, 1, np.True_, np.array(False), torch.tensor(True))))
    assert not any(map(is_flag, (2, "1", None, [True], np.ones(1))))


def test_how_values_are_shown():
    assert in_words("a") == "'a'"
    assert in_words(AgentQ) == "the class AgentQ"
    assert in_words(AGENT) == "an object of AgentQ"
    assert in_words(np.zeros((30, 30))) == "an object of ndarray"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            lambda: create_dataset(AgentQ, BanditsDrift, 10, 3),
            "create_dataset cannot simulate:\n"
            "  - agent must be an agent, e.g. AgentQ() or estimator.spice_agent, not the class AgentQ.\n"
            "  - environment must be a task, e.g. BanditsDrift(sigma=0.2), not the class BanditsDrift.",
        ),
        (
            lambda: create_dataset(TASK, AGENT, 10, 3),
            "create_dataset cannot simulate:\n"
            "  - agent must be an agent, e.g. AgentQ() or estimator.spice_agent, not an object of BanditsDrift.\n"
            "  - environment must be a task, e.g. BanditsDrift(sigma=0.2), not an object of AgentQ.",
        ),
        (
            lambda: create_dataset(SpiceEstimator(), TASK, 10, 3),
            "create_dataset cannot simulate: agent must be an agent, e.g. AgentQ() or estimator.spice_agent, not "
            "SpiceEstimator().",
        ),
        (
            lambda: create_dataset(AGENT, TASK, True, 3),
            "create_dataset cannot simulate: n_trials must be a whole number from 1 on, not True.",
        ),
        (lambda: create_dataset(AGENT, TASK, 10, 3, seed="a"), SEED + "'a'."),
        (lambda: create_dataset(AGENT, TASK, 10, 3, seed=-1), SEED + "-1."),
        (lambda: AgentQ(seed=1.5), SEED + "1.5."),
        (lambda: make_generator([1, -1]), SEED + "[1, -1]."),
        (
            lambda: AgentQ(alpha_reward=lambda generator, size: ["a"] * size),
            "the distribution of alpha_reward gives no numbers (could not convert string to float: 'a'); give a frozen "
            "one, e.g. scipy.stats.beta(2, 2), or a function (generator, size) -> array.",
        ),
        (lambda: AgentQ().new_sess("a"), "n_sessions must be a whole number from 1 on, not 'a'."),
        (lambda: AgentQ().new_sess(2.5), "n_sessions must be a whole number from 1 on, not 2.5."),
        (
            lambda: BanditsDrift(sigma="0.2", reward_sd="a", counterfactual="no"),
            "BanditsDrift cannot be used:\n"
            "  - sigma must be a number from 0 on, not '0.2'.\n"
            "  - reward_sd must be a number from 0 on, not 'a'.\n"
            "  - counterfactual must be True or False, not 'no'.",
        ),
        (lambda: BanditsDrift(None), "BanditsDrift cannot be used: sigma must be a number from 0 on, not None."),
        (lambda: BanditsDrift(0.2).new_sess("a"), "n_sessions must be a whole number from 1 on, not 'a'."),
        (lambda: BanditsFixed(["a", "b"]), "reward_probs must be numbers in a regular array, not ['a', 'b']."),
        (lambda: BanditsReversal("ab", 0.1), "reward_probs must be numbers in a regular array, not 'ab'."),
        (
            lambda: BanditsSwitch([[0.1, 0.2], [0.3]], hazard=0.1),
            "reward_probs must be numbers in a regular array, not [[0.1, 0.2], [0.3]].",
        ),
        (lambda: BanditsSwitch(TWO_SETS, "a"), "BanditsSwitch cannot be used: hazard must lie in [0, 1], not 'a'."),
        (
            lambda: BanditsSwitch(TWO_SETS, block_length=2.5),
            "BanditsSwitch cannot be used: block_length must be a whole number from 1 on, not 2.5.",
        ),
        (
            lambda: simulate_again(AGENT, create_dataset(AGENT, TASK, 10, 3)[0], environment=AGENT),
            "environment must be a task, e.g. BanditsDrift(sigma=0.2), not an object of AgentQ.",
        ),
    ],
)
def test_settings(call, problem):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: AGENT.update("left", [0, 1]), "choices must be numbers in a regular array, not 'left'."),
        (lambda: AGENT.update(0, ["a", "b"]), "rewards must be numbers in a regular array, not ['a', 'b']."),
        (lambda: TASK.step("left"), "choices must be numbers in a regular array, not 'left'."),
    ],
)
def test_what_happens_in_a_trial(call, problem):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == problem


@pytest.mark.parametrize("scalar", [np.array, np.float64, torch.tensor])
def test_numbers_of_numpy_and_torch(scalar):
    def simulated(number, count, flag):
        task = BanditsSwitch(TWO_SETS, block_length=count(4), counterfactual=flag, reward_sd=number(0.1), seed=1)
        drift = BanditsDrift(number(0.2), n_actions=count(2), seed=1)
        agent = AgentQ(count(2), beta_reward=number(3.0), bias=[number(0.5), number(0.0)], seed=count(3))
        made = [create_dataset(agent, each, count(10), count(3), count(2), seed=count(0))[0] for each in (task, drift)]
        return [split_by_trial_fraction(dataset, number(0.5))[0].xs for dataset in made]

    for usual, found in zip(simulated(float, int, True), simulated(scalar, scalar, scalar(1.0)), strict=True):
        torch.testing.assert_close(usual, found, rtol=0, atol=0, equal_nan=True)


def test_biases_as_tensor():
    assert AgentQ(bias=torch.tensor([0.5, 0.0])).parameters["bias"] == AgentQ(bias=[0.5, 0]).parameters["bias"]


@pytest.mark.parametrize(
    "seed", [[1, 2], (1, 2), np.array([1, 2]), np.random.SeedSequence([1, 2]), np.random.PCG64([1, 2])]
)
def test_seeds_of_any_kind(seed):
    assert make_generator(seed).random() == np.random.default_rng([1, 2]).random()


def test_own_kinds_of_agents_and_tasks_are_subclasses():
    class Own:
        n_actions = 2

        def get_choice(self):
            return 0

        def step(self, choice):
            return np.zeros(2)

    with pytest.raises(ConfigError) as caught:
        create_dataset(Own(), Own(), 10, 3)
    assert str(caught.value) == (
        "create_dataset cannot simulate:\n"
        "  - agent must be an agent, e.g. AgentQ() or estimator.spice_agent, not an object of Own; let an agent of "
        "your own be a subclass of spice.resources.agents.Agent.\n"
        "  - environment must be a task, e.g. BanditsDrift(sigma=0.2), not an object of Own; let a task of your own be "
        "a subclass of spice.resources.environments.Bandits."
    )


@pytest.mark.parametrize("scalar", [np.array, np.float32, torch.tensor])
def test_participants_as_scalars(scalar):
    dataset = create_dataset(AgentQ(), TASK, 10, 3, seed=0)[0]
    assert split_by_participant(dataset, scalar(1))[1].participants.tolist() == [1]
    assert AgentQ().new_sess(participants=scalar(1.0)) is None
    with pytest.raises(ConfigError, match="participants must be one whole number"):
        AgentQ().new_sess(participants=scalar(0.5))

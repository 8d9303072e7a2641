"""Tasks that show something before each choice, and simulations that carry it: against counts and oracles by hand."""

import numpy as np
import pytest
import scipy.stats
import torch

from spice.errors import ConfigError, DataError
from spice.resources.agents import Agent, replay
from spice.resources.bandits import (
    AgentQ,
    AlienTask,
    BanditsDrift,
    BanditSession,
    BanditsFixed,
    BanditsOnOffer,
    BanditsReversal,
    BanditsSwitch,
    TwoStepTask,
    create_dataset,
)
from spice.resources.dataset import DatasetRNN
from spice.resources.model_agent import ModelAgent
from spice.resources.resimulation import simulate_again
from spice.resources.rnn import BaseRNN
from spice.utils.convert_dataset import to_table


class Shown(Agent):
    """Chooses the shown input's value modulo the number of options; tells what it heard."""

    def __init__(self, n_actions, name):
        super().__init__(n_actions)
        self.name = name

    states = ()

    def _start(self, participants):
        self._next, self.heard = None, []

    def _learn(self, choice, reward, inputs):
        self._next = inputs["next_" + self.name]
        self.heard = [*self.heard, inputs]

    def _logits(self):
        return np.where(self._next[:, None] % self.n_actions == np.arange(self.n_actions), 0.0, -np.inf)

    def _state(self, state, multiply_with_beta):
        raise KeyError(state)


TASKS = [TwoStepTask, AlienTask, lambda: BanditsOnOffer(AlienTask(), 2), lambda: BanditsOnOffer(BanditsDrift(0.1), 1)]


@pytest.mark.parametrize("make", TASKS)
def test_next_columns_are_those_of_the_next_row(make):
    task = make()
    data, sessions, _ = create_dataset(AgentQ(task.n_actions, beta_reward=0.0), task, 63, 4, seed=1)
    assert data.columns.shown == task.shown_names == tuple(sessions[0].shown) != ()
    assert data.columns.names[-1] == "participant"
    for name in task.shown_names:
        recorded = np.stack([session.shown[name] for session in sessions])
        assert recorded.shape == (4, 64) and len(np.unique(recorded)) > 1
        np.testing.assert_array_equal(data.column(name), recorded[:, :-1])
        np.testing.assert_array_equal(data.column("next_" + name), recorded[:, 1:])
    assert torch.equal(data.participants, torch.arange(4))


def test_what_is_played_is_what_is_recorded():
    """The task's own values, read between the steps of a loop by hand."""
    task = AlienTask(reward_sd=0.0, block_length=2)
    data, sessions, _ = create_dataset(AgentQ(3, beta_reward=0.0), task, 8, 2, seed=5)
    for session in sessions:
        season, alien = session.shown["season"], session.shown["alien"]
        np.testing.assert_array_equal(session.reward_probabilities, task.rewards[season, alien])
        got = session.rewards[np.arange(9), session.choices]
        np.testing.assert_array_equal(got, task.rewards[season, alien, session.choices])


@pytest.mark.parametrize("name", ["alien", "season"])
def test_an_agent_knows_the_coming_stimulus(name):
    task = AlienTask(block_length=3)
    data, sessions, _ = create_dataset(Shown(3, name), task, 40, 6, seed=2)
    for session in sessions:
        np.testing.assert_array_equal(session.choices, session.shown[name] % 3)
    coming = data.column("next_" + name).numpy() % 3
    np.testing.assert_array_equal(data.ys.numpy().argmax(2), coming)
    # a replay of it, from the record as well as from the array, foretells every choice
    for session in (sessions[4], data[4]):
        seen = replay(Shown(3, name), session)
        np.testing.assert_array_equal(seen.probs.argmax(1), sessions[4].choices[: len(seen.probs)])
        assert (seen.probs.max(1) == 1).all()


def test_an_agent_hears_this_trial_and_the_next():
    agent = Shown(3, "alien")
    _, sessions, _ = create_dataset(agent, AlienTask(block_length=2), 9, 1, seed=3)
    replay(agent, sessions[0])
    shown = sessions[0].shown
    assert set(agent.heard[0]) == {"next_season", "next_alien"}
    for name in shown:
        assert [heard[name][0] for heard in agent.heard[1:]] == shown[name].tolist()
        # nothing is known of what comes after the last trial
        assert [heard["next_" + name][0] for heard in agent.heard] == [*shown[name].tolist(), 0]


class Flat(BaseRNN):
    """Reads nothing."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        return {}, state["x_value"]


class StateRNN(BaseRNN):
    """Logits are the state shown before the choice."""

    init_values = {"x_value": 0.0}

    def step(self, state, trial):
        return {}, 100 * (trial.next_shown["state"] - 1) * torch.tensor([-1.0, 1.0])


def test_a_network_knows_the_coming_state():
    model = StateRNN(2)
    model.columns = create_dataset(AgentQ(), TwoStepTask(), 3, 1, seed=1)[0].columns
    _, sessions, _ = create_dataset(ModelAgent(model), TwoStepTask(), 50, 5, seed=1)
    for session in sessions:
        state = session.shown["state"]
        assert (session.choices[state == 0] == 0).all() and (session.choices[state == 2] == 1).all()
    with pytest.raises(ConfigError, match="^the model has no input 'next_state'; its inputs are none.$"):
        create_dataset(ModelAgent(Flat(2)), TwoStepTask(), 3, 1, seed=1)


def test_agent_and_task_stay_as_they_are():
    for task in (TwoStepTask(seed=1), AlienTask(seed=1), BanditsOnOffer(AlienTask(seed=3), 2, seed=1)):
        before = task.shown, task.reward_probs
        create_dataset(AgentQ(task.n_actions), task, 30, 3, seed=1)
        assert task.shown == before[0] and (task.reward_probs == before[1]).all()


@pytest.mark.parametrize("make", TASKS)
def test_seeds_and_shapes(make):
    task = make()
    first, again, other = (create_dataset(AgentQ(task.n_actions), task, 20, 3, seed=s)[0] for s in (1, 1, 2))
    assert first.xs.nan_to_num(9).equal(again.xs.nan_to_num(9))
    assert not first.xs.nan_to_num(9).equal(other.xs.nan_to_num(9))
    np.random.seed(4)
    first = create_dataset(AgentQ(task.n_actions), task, 20, 3)[0]
    np.random.seed(4)
    assert torch.equal(first.ys, create_dataset(AgentQ(task.n_actions), task, 20, 3)[0].ys)
    assert all(value.shape == () for value in task.shown.values())
    task.new_sess(5, seed=1)
    assert all(value.shape == (5,) for value in task.shown.values())
    task.shown[task.shown_names[0]][:] = 99  # a copy
    assert (task.shown[task.shown_names[0]] < 99).all()
    table = to_table(create_dataset(AgentQ(task.n_actions), task, 20, 3, seed=1)[0])
    assert set(task.shown_names) < set(table.columns)


GOLDEN = {
    "drift": (BanditsDrift(0.2, 3), "1200112222222220002222222212222"),
    "switch": (BanditsSwitch([[0.1, 0.5, 0.9], [1, 0, 0.3]], hazard=0.2), "1200222222121220001000120001122"),
    "reversal": (
        BanditsReversal((0.8, 0.5, 0.2), block_length=4, counterfactual=True),
        "1100112022000120002111220001122",
    ),
    "fixed": (BanditsFixed([0.2, 0.5, 0.7], reward="continuous"), "1100112122222220001111221112222"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_tasks_that_show_nothing_play_as_they_always_did(name):
    """Choices of seeded simulations as they were before tasks could show anything."""
    task, expected = GOLDEN[name]
    agent = AgentQ(3, alpha_reward=scipy.stats.beta(2, 2), beta_choice=0.5, forget_rate=0.1, lapse=0.1)
    data, sessions, _ = create_dataset(agent, task, 30, 2, n_participants=3, seed=7)
    assert "".join(map(str, sessions[0].choices)) == expected
    assert task.shown == {} and task.shown_names == () and sessions[0].shown == {} and data.shape[2] == 7


# ---------------------------------------------------------------- the two-step task


def test_two_step_transitions_and_rewards():
    n_sessions, n_trials = 200, 50
    data, sessions, _ = create_dataset(AgentQ(beta_reward=0.0), TwoStepTask(), 2 * n_trials - 1, n_sessions, seed=1)
    state = np.stack([session.shown["state"] for session in sessions])
    choice = np.stack([session.choices for session in sessions])
    reward = np.stack([np.nansum(session.rewards, 1) for session in sessions])
    probs = np.stack([session.reward_probabilities for session in sessions])
    assert (state[:, ::2] == 0).all() and np.isin(state[:, 1::2], (1, 2)).all()
    assert (reward[:, ::2] == 0).all() and (probs[:, ::2] == 0).all()
    n = n_sessions * n_trials
    common = state[:, 1::2] == 1 + choice[:, ::2]
    for option in (0, 1):
        here = common[choice[:, ::2] == option]
        assert abs(here.mean() - 0.7) < 4 * np.sqrt(0.21 / here.size)
    second = probs[:, 1::2]
    assert second.min() >= 0.25 and second.max() <= 0.75
    expected = np.take_along_axis(second, choice[:, 1::2, None], 2)[..., 0]
    residual = reward[:, 1::2] - expected
    assert abs(residual.mean()) < 4 * np.sqrt((expected * (1 - expected)).mean() / n)
    assert set(np.unique(reward)) == {0, 1}
    # better options pay more: the reward belongs to the state and option chosen, not to any other
    assert np.cov(reward[:, 1::2].ravel(), expected.ravel())[0, 1] > 0.5 * expected.var()


def test_two_step_drift_is_gaussian_and_reflected():
    task = TwoStepTask(common=1.0, sigma=0.025)
    task.new_sess(20_000, seed=1)
    values = []
    for _ in range(2):  # state 1 twice in a row
        task.step(np.zeros(20_000))
        values.append(task.reward_probs)
        task.step(np.zeros(20_000))
    first, second = values
    assert abs(first.mean() - 0.5) < 4 * np.sqrt(0.25 / 12 / first.size)
    inner = (first > 0.4) & (first < 0.6)  # four standard deviations from the bounds
    steps = (second - first)[inner]
    assert abs(steps.std() - 0.025) < 4 * 0.025 / np.sqrt(2 * steps.size)
    assert abs(steps.mean()) < 4 * 0.025 / np.sqrt(steps.size)
    # reflected, not clipped: nothing piles up at the bounds, and a uniform start stays uniform
    assert not np.isin(second, (0.25, 0.75)).any()
    edge = (second < 0.26).mean()
    assert abs(edge - 0.02) < 4 * np.sqrt(0.02 * 0.98 / (2 * second.shape[0]) * 2)


def test_a_wide_step_is_folded_back_as_often_as_it_takes():
    task = TwoStepTask(sigma=5.0)
    _, sessions, _ = create_dataset(AgentQ(), task, 200, 5, seed=1)
    second = np.concatenate([session.reward_probabilities[1::2] for session in sessions])
    assert second.min() >= 0.25 and second.max() <= 0.75
    fixed = create_dataset(AgentQ(), TwoStepTask(low=0.4, high=0.4), 5, 1, seed=1)[1][0]
    assert (fixed.reward_probabilities[1::2] == 0.4).all()


def test_a_missed_first_choice_leads_to_either_state():
    task = TwoStepTask()
    task.new_sess(10_000, seed=1)
    assert np.isnan(task.step(np.full(10_000, np.nan))).all()
    assert abs((task.shown["state"] == 1).mean() - 0.5) < 4 * 0.5 / 100


# ---------------------------------------------------------------- aliens


def test_seasons_come_in_blocks_and_aliens_at_random():
    _, sessions, _ = create_dataset(AgentQ(3), AlienTask(), 439, 31, seed=1)
    season = np.stack([session.shown["season"] for session in sessions])
    alien = np.stack([session.shown["alien"] for session in sessions])
    blocks = season.reshape(31, 11, 40)
    assert (blocks == blocks[..., :1]).all()
    blocks = blocks[..., 0]
    assert (blocks[:, 1:] != blocks[:, :-1]).all()
    assert (np.sort(blocks[:, :9].reshape(31, 3, 3), axis=2) == [0, 1, 2]).all()
    assert len(np.unique(blocks[:, 0])) == 3  # in random order
    counts = np.bincount(alien.ravel(), minlength=4)
    assert np.abs(counts / alien.size - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / alien.size)
    follows = (alien[:, 1:] == alien[:, :-1]).mean()
    assert abs(follows - 0.25) < 4 * np.sqrt(0.25 * 0.75 / alien[:, 1:].size)


def test_alien_rewards_are_gaussian_around_the_table():
    task = AlienTask(reward_sd=0.2, counterfactual=True)
    task.new_sess(50_000, seed=1)
    season, alien = task.shown["season"], task.shown["alien"]
    residual = task.step(np.zeros(50_000)) - task.rewards[season, alien]
    assert np.abs(residual.mean(0)).max() < 4 * 0.2 / np.sqrt(50_000)
    assert np.abs(residual.std(0) - 0.2).max() < 4 * 0.2 / np.sqrt(100_000)


def test_the_default_table_is_as_documented():
    table = AlienTask().rewards
    assert table.shape == (3, 4, 3) and ((table > 0.1).sum(2) == 1).all()
    assert (np.sort(table.argmax(2), axis=0) == [[0], [1], [2]]).all()  # another action in each season


def test_a_table_of_ones_own():
    table = np.arange(2 * 1 * 4).reshape(2, 1, 4)
    task = AlienTask(table, block_length=1, reward_sd=0.0)
    data, sessions, _ = create_dataset(AgentQ(4), task, 9, 2, seed=1)
    assert data.n_actions == 4
    np.testing.assert_array_equal(np.diff(sessions[0].shown["season"]) != 0, True)
    np.testing.assert_array_equal(sessions[0].reward_probabilities, table[sessions[0].shown["season"], 0])


# ---------------------------------------------------------------- options on offer


class Stubborn(AgentQ):
    """Wants option 2 whatever is on offer."""

    def _probs(self):
        return np.tile([1e-9, 1e-9, 1 - 2e-9], (self._n_sessions, 1))


class Greedy(AgentQ):
    """Logits so far apart that the softmax of all options underflows for those on offer."""

    def _logits(self):
        return np.tile([0.0, -50.0, 2000.0], (self._n_sessions, 1))


@pytest.mark.parametrize("agent", [AgentQ(3, lapse=0.3), Stubborn(3), Greedy(3)])
def test_nobody_chooses_what_is_not_on_offer(agent):
    data, sessions, _ = create_dataset(agent, BanditsOnOffer(BanditsDrift(0.1, 3), 2), 200, 50, seed=1)
    available = np.stack([[session.shown[f"available_{k}"] for k in range(3)] for session in sessions])
    assert (available.sum(1) == 2).all()
    assert np.abs(available.mean((0, 2)) - 2 / 3).max() < 4 * np.sqrt(2 / 9 / 10_050)
    for session, offered in zip(sessions, available, strict=True):
        assert (offered[session.choices, np.arange(201)] == 1).all()
    assert all((data.column(f"next_available_{k}")[data.ys[..., k] == 1] == 1).all() for k in range(3))
    seen = replay(agent, sessions[3])
    np.testing.assert_allclose(seen.probs.sum(1), 1, rtol=0, atol=1e-12)
    assert (seen.probs[available[3].T == 0] == 0).all() and np.isneginf(seen.logits[available[3].T == 0]).all()
    assert np.isfinite(seen.logits[available[3].T == 1]).all()


def test_probabilities_among_the_options_on_offer():
    """Softmax over what is on offer, and lapses spread over that only."""
    agent = AgentQ(3, beta_reward=2.0, bias=[0.3, -0.2, 0.5], lapse=0.2)
    agent.new_sess(2)
    nothing = np.full((2, 3), np.nan)
    offer = {"next_available_0": [1, 0], "next_available_1": [0, 0], "next_available_2": [1, 1]}
    agent.update(nothing[:, 0], nothing, **offer)
    weights = np.exp([0.3, 0.5])
    two = 0.8 * weights / weights.sum() + 0.1
    np.testing.assert_allclose(agent.get_choice_probs(), [[two[0], 0, two[1]], [0, 0, 1]], rtol=1e-14)
    agent.update([0, 2], [[1, np.nan, np.nan], [np.nan, np.nan, 0]])  # the next trial offers everything
    assert (agent.get_choice_probs() > 0).all()
    agent.update(nothing[:, 0], nothing, **offer)
    agent.new_sess(2)
    assert (agent.get_choice_probs() > 0).all()
    # nothing at all is on offer after a session's last trial only, whose following choice is not scored
    agent.update(nothing[:, 0], nothing, **dict.fromkeys(offer, [0, 0]))
    assert (agent.get_choice_probs() > 0).all()
    with pytest.raises(DataError, match="^there is no 'next_available_2': what is on offer needs one column for each"):
        agent.update(nothing[:, 0], nothing, next_available_0=1, next_available_1=1)


def test_rounding_never_leads_to_an_option_that_is_not_on_offer():
    class Last(Agent):
        states = ()

        def _start(self, participants):
            pass

        def _learn(self, choice, reward, inputs):
            pass

        def _logits(self):
            return np.log(np.tile([0.1] * 10 + [1e-3], (self._n_sessions, 1)))

        def _state(self, state, multiply_with_beta):
            raise KeyError(state)

    agent = Last(11)
    agent.new_sess(2)
    nothing = np.full((2, 11), np.nan)
    agent.update(nothing[:, 0], nothing, **{f"next_available_{k}": [k < 10, k > 0] for k in range(11)})

    class Edge:
        """Draws the largest number below 1 and the smallest."""

        def random(self, shape):
            return np.array([[np.nextafter(1.0, 0.0)], [0.0]])

    agent._generator = Edge()
    assert agent.get_choice_probs().cumsum(1)[0, 9] < 1  # the trap: without care this draw falls behind the last sum
    assert agent.get_choice().tolist() == [9, 1]


def test_a_choice_that_was_not_on_offer():
    task = BanditsOnOffer(BanditsFixed([1, 1, 1]), 1)
    task.new_sess(3, seed=1)
    offered = np.stack([task.shown[f"available_{k}"] for k in range(3)], 1)
    reward = task.step(offered.argmax(1))
    np.testing.assert_array_equal(np.nan_to_num(reward), offered)
    offered = np.stack([task.shown[f"available_{k}"] for k in range(3)], 1).argmax(1)
    wrong = offered.copy()
    wrong[1] = (offered[1] + 1) % 3
    with pytest.raises(DataError) as caught:
        task.step(wrong)
    assert str(caught.value) == (f"option {wrong[1]} is not on offer in trial 1 of session 1; there are {offered[1]}.")
    assert np.isnan(task.step([np.nan] * 3)).all()


def test_outcomes_of_what_is_not_on_offer_are_hidden():
    task = BanditsOnOffer(BanditsFixed([1, 1, 1], counterfactual=True), 2)
    task.new_sess(50, seed=1)
    assert task.counterfactual
    offered = np.stack([task.shown[f"available_{k}"] for k in range(3)], 1)
    np.testing.assert_array_equal(np.nan_to_num(task.step(offered.argmax(1))), offered)


def test_share_of_trials_with_fewer_options():
    _, sessions, _ = create_dataset(AgentQ(4), BanditsOnOffer(BanditsDrift(0.1, 4), 3, share=0.25), 99, 100, seed=1)
    n_offered = np.stack([sum(session.shown.values()) for session in sessions])
    assert set(np.unique(n_offered)) == {3, 4}
    assert abs((n_offered == 3).mean() - 0.25) < 4 * np.sqrt(0.1875 / n_offered.size)


def test_a_network_without_such_columns_chooses_among_what_is_on_offer():
    _, sessions, _ = create_dataset(ModelAgent(Flat(3)), BanditsOnOffer(BanditsDrift(0.1, 3), 1), 50, 5, seed=1)
    for session in sessions:
        offered = np.stack([session.shown[f"available_{k}"] for k in range(3)], 1)
        np.testing.assert_array_equal(session.choices, offered.argmax(1))


# ---------------------------------------------------------------- simulated again, and what is wrong


def test_simulated_again_the_task_shows_what_it_does():
    data, _, _ = create_dataset(AgentQ(beta_reward=0.0), TwoStepTask(common=1.0), 41, 20, seed=1)
    again = simulate_again(AgentQ(bias=[1.0, 0.0]), data, TwoStepTask(common=1.0), seed=2)
    choice, state = again.xs[..., 1].numpy(), again.column("state").numpy()
    assert again.columns == data.columns and not torch.equal(again.ys, data.ys)
    np.testing.assert_array_equal(state[:, 1::2][:, :20], 1 + choice[:, ::2][:, :20])  # that of the new choices
    np.testing.assert_array_equal(again.column("next_state")[:, :-1], state[:, 1:])
    assert (state[:, ::2] == 0).all() and (np.nansum(again.xs[..., 2:4], -1)[:, ::2] == 0).all()
    plain, _, _ = create_dataset(AgentQ(), BanditsDrift(0.1), 10, 2, seed=1)
    with pytest.raises(ConfigError, match="^the environment shows 'state' before each choice, but the data have no"):
        simulate_again(AgentQ(), plain, TwoStepTask(), seed=1)


def test_simulated_again_without_a_task_the_offers_of_the_data_hold():
    data, _, _ = create_dataset(AgentQ(3), BanditsOnOffer(BanditsDrift(0.1, 3), 2), 60, 20, seed=1)
    again = simulate_again(AgentQ(3, lapse=0.5), data, seed=2)
    assert not torch.equal(again.ys, data.ys)
    for prefix, chosen in (("available", again.xs[..., :3]), ("next_available", again.ys)):
        assert all((again.column(f"{prefix}_{k}")[chosen[..., k] == 1] == 1).all() for k in range(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TwoStepTask(common=1.5, low=0.8, high=0.2, sigma=-1),
            "TwoStepTask cannot be used:\n  - common must lie in [0, 1], not 1.5.\n"
            "  - low and high must lie in [0, 1] in this order, not 0.8 and 0.2.\n"
            "  - sigma must be a number from 0 on, not -1.",
        ),
        (
            lambda: AlienTask([[1, 2], [3, 4]], block_length=0),
            "AlienTask cannot be used:\n"
            "  - rewards must be finite numbers of shape (n_seasons, n_aliens, n_actions).\n"
            "  - block_length must be a whole number from 1 on, not 0.",
        ),
        (
            lambda: AlienTask("table"),
            "AlienTask cannot be used: rewards must be finite numbers of shape (n_seasons, n_aliens, n_actions).",
        ),
        (
            lambda: AlienTask(np.ones((3, 4, 1))),
            "AlienTask cannot be used: n_actions must be a whole number from 2 on, not 1.",
        ),
        (
            lambda: BanditsOnOffer(BanditsDrift(0.1), 3, share=2),
            "BanditsOnOffer cannot be used:\n  - n_offered must be a whole number from 1 to 2 options, not 3.\n"
            "  - share must lie in [0, 1], not 2.",
        ),
        (
            lambda: BanditsOnOffer("bandit", 1),
            "BanditsOnOffer cannot be used: task must be a task, e.g. BanditsDrift(sigma=0.2), not 'bandit'.",
        ),
        (
            lambda: BanditsOnOffer(BanditsOnOffer(BanditsDrift(0.1), 1), 1),
            "BanditsOnOffer cannot be used: task offers only some of its options already.",
        ),
    ],
)
def test_bad_tasks(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message


def test_an_agent_that_cannot_choose():
    class Sure(Stubborn):
        def _probs(self):
            return np.tile([0.0, 0.0, 1.0], (self._n_sessions, 1))

    with pytest.raises(DataError, match="^Sure gives every option on offer the probability 0, so it cannot choose"):
        create_dataset(Sure(3), BanditsOnOffer(BanditsDrift(0.1, 3), 1), 20, 5, seed=1)


def test_records_without_shown_inputs_are_as_before():
    record = BanditSession(0, 0, np.array([0, 1]), np.eye(2), np.ones((2, 2)), {})
    assert record.shown == {}
    assert replay(AgentQ(), record).probs.shape == (2, 2)
    assert DatasetRNN(np.zeros((1, 2, 5)), np.eye(2)[None]).columns.shown == ()

"""Simulation with the design of given data: what stays, and where outcomes come from."""

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError
from spice.resources.agents import Agent
from spice.resources.bandits import AgentQ, BanditsDrift, BanditsFixed, create_dataset
from spice.resources.dataset import DatasetRNN
from spice.resources.resimulation import simulate_again


def design(n_sessions=12, n_trials=60, counterfactual=False, reward="continuous", n_participants=3, seed=0):
    """Sessions of a drifting task, with missing trials, unknown outcomes, padding, and choices that are not scored."""
    task = BanditsDrift(sigma=0.05, counterfactual=counterfactual, reward=reward, reward_sd=0.02)
    data, _, _ = create_dataset(AgentQ(beta_reward=2.0), task, n_trials, n_sessions // n_participants, n_participants)
    data.ys[1, 10:20] = torch.nan  # not scored
    data.xs[2, 30:, :4], data.ys[2, 29:] = torch.nan, torch.nan  # padding
    data.xs[3, 7, :4], data.ys[3, 6] = torch.nan, torch.nan  # missing
    data.xs[4, 5, 2:4] = torch.nan  # outcome unknown
    return data


@pytest.mark.parametrize("counterfactual", [False, True])
@pytest.mark.parametrize("task", [None, BanditsFixed([0.3, 0.7])])
def test_the_design_stays(counterfactual, task):
    if task is not None and counterfactual:
        task = BanditsFixed([0.3, 0.7], counterfactual=True)
    np.random.seed(0)
    data = design(counterfactual=counterfactual)
    before = data.xs.clone(), data.ys.clone()
    found = simulate_again(AgentQ(beta_reward=2.0), data, task, seed=1)
    for now, then in zip((data.xs, data.ys), before, strict=True):
        assert torch.equal(now.nan_to_num(9.0), then.nan_to_num(9.0))
    assert found.columns == data.columns and found.labels == data.labels
    assert torch.equal(found.participants, data.participants)
    assert torch.equal(found.observed, data.observed) and torch.equal(found.scored, data.scored)
    choices, rewards = found.xs[..., :2], found.xs[..., 2:4]
    assert torch.equal(choices.sum(-1)[found.observed], torch.ones(int(found.observed.sum())))
    both = found.scored[:, :-1] & found.observed[:, 1:]
    assert torch.equal(found.ys[:, :-1][both], choices[:, 1:][both])
    unknown = torch.zeros(found.observed.shape, dtype=torch.bool)
    unknown[4, 5] = True
    known = found.observed & ~unknown
    assert not rewards[known][choices[known] == 1].isnan().any() and rewards[unknown][choices[unknown] == 1].isnan()
    assert rewards[~found.observed].isnan().all()
    assert rewards[known][choices[known] == 0].isnan().all() != counterfactual
    assert (choices != data.xs[..., :2])[found.observed].any()


def test_outcomes_are_those_seen_close_in_time():
    """Each reward names its trial; the option was seen in every third trial."""
    n_sessions, n_trials = 6, 90
    option = (np.arange(n_trials)[None] % 3 == 0).astype(int) * np.ones((n_sessions, 1), int)
    one_hot = np.eye(2)[option]
    number = 1000.0 * np.arange(n_sessions)[:, None] + np.arange(n_trials)
    rewards = np.where(one_hot == 1, number[..., None], np.nan)
    xs = np.concatenate([one_hot, rewards, np.zeros((n_sessions, n_trials, 1))], 2)
    data = DatasetRNN(xs, one_hot)
    picks = {0: set(), 1: set()}
    for seed in range(5):
        found = simulate_again(AgentQ(beta_reward=0.0), data, seed=seed)
        session, trial, chosen = np.nonzero(found.xs[..., :2].numpy())
        source = found.xs[..., 2:4].numpy()[session, trial, chosen]
        assert (source // 1000 == session).all()
        distance = np.abs(source % 1000 - trial)
        assert (option[session, (source % 1000).astype(int)] == chosen).all()
        # five of every third trial reach 6 to 8 trials away, 14 at an edge; of two in three 4, 7 at an edge
        inner = (trial > 20) & (trial < 70)
        assert distance[(chosen == 1) & inner].max() <= 8 and distance[(chosen == 0) & inner].max() <= 4
        assert distance[chosen == 1].max() <= 14
        for k in (0, 1):
            picks[k] |= set((source % 1000 - trial)[(chosen == k) & inner].tolist())
    assert len(picks[1]) >= 10 and len(picks[0]) >= 5  # not the closest alone


def test_outcomes_are_independent_of_the_choices_made():
    """The mean outcome of an option is that of the data whoever chooses, up to its standard error."""
    np.random.seed(0)
    task = BanditsFixed([0.3, 0.7])
    data, _, _ = create_dataset(AgentQ(beta_reward=1.0), task, 200, 40, seed=1)
    greedy = AgentQ(beta_reward=8.0, alpha_reward=0.5)
    found = simulate_again(greedy, data, seed=2).xs[..., :4].numpy()
    for option, mean in enumerate((0.3, 0.7)):
        paid = found[..., 2 + option][found[..., option] == 1]
        assert abs(paid.mean() - mean) < 4 * np.sqrt(mean * (1 - mean) * 5 / len(paid))  # draws repeat outcomes


def test_outcomes_that_were_all_shown_are_shown_again():
    np.random.seed(0)
    data = design(counterfactual=True)
    found = simulate_again(AgentQ(beta_reward=2.0), data, seed=1)
    shown = found.observed.clone()
    shown[4, 5] = False
    assert torch.equal(found.xs[..., 2:4][shown], data.xs[..., 2:4][shown])


def test_an_option_not_seen_in_a_session_pays_as_in_others():
    """Of the same person, if there are any."""
    xs = np.zeros((4, 20, 5))
    xs[..., 0], xs[..., 3] = 1, np.nan
    xs[..., 2] = 1.0
    xs[[1, 3], ::2, :4] = 0.0, 1.0, np.nan, 5.0
    xs[3, ::2, 3] = 7.0
    xs[2:, :, 4] = 1
    found = simulate_again(AgentQ(beta_reward=0.0), DatasetRNN(xs, xs[..., :2]), seed=0).xs.numpy()
    for session, paid in ((0, 5.0), (1, 5.0), (2, 7.0), (3, 7.0)):
        assert (found[session, :, 3][found[session, :, 1] == 1] == paid).all()


def test_the_agent_plays_as_it_is():
    """Shares of choices that follow a win or a loss are those of the agent in its own task (four standard errors)."""
    agent, task = AgentQ(alpha_reward=0.6, beta_reward=4.0), BanditsFixed([0.4, 0.6])
    data, _, _ = create_dataset(agent, task, 100, 100, seed=1)
    data.xs[..., -1] = 0
    shares = []
    for sessions in (data, simulate_again(agent, data, seed=2), simulate_again(agent, data, task, seed=3)):
        choice, reward = sessions.xs[..., 0].numpy(), np.nansum(sessions.xs[..., 2:4].numpy(), -1)
        stay = choice[:, 1:] == choice[:, :-1]
        shares.append([stay[reward[:, :-1] == outcome].mean() for outcome in (0, 1)])
    error = np.sqrt(2 * 0.25 / 5000)
    assert np.abs(np.array(shares[1:]) - shares[0]).max() < 4 * error


class Shown(Agent):
    """Chooses what a shown input says."""

    states = ()

    def _start(self, participants):
        self._next = np.zeros(len(participants))

    def _learn(self, choice, reward, inputs):
        self._next = inputs["next_cue"]

    def _logits(self):
        return 1000.0 * (self._next[:, None] == np.arange(2))

    def _state(self, state, multiply_with_beta):
        raise KeyError(state)


def test_shown_inputs_come_before_the_choice():
    """Also before the first one of a session."""
    generator = np.random.default_rng(0)
    cues = generator.integers(2, size=(5, 31))
    choice = np.eye(2)[generator.integers(2, size=(5, 31))]
    rewards = np.where(choice == 1, 1.0, np.nan)
    further = np.stack([cues[:, :-1], cues[:, 1:], np.zeros((5, 30))], 2)
    xs = np.concatenate([choice[:, :-1], rewards[:, :-1], further], 2)
    data = DatasetRNN(xs, choice[:, 1:], columns=["cue", "next_cue", "participant"])
    found = simulate_again(Shown(2), data, seed=0)
    assert (found.xs[..., 1].numpy() == cues[:, :-1]).all() and (found.ys[..., 1].numpy() == cues[:, 1:]).all()


def test_the_seed_decides():
    np.random.seed(0)
    data = design()
    found = [simulate_again(AgentQ(beta_reward=1.0), data, seed=seed).xs.nan_to_num(9.0) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_an_option_that_was_never_seen():
    xs = np.concatenate([np.tile([1.0, 0.0, 1.0, np.nan], (2, 9, 1)), np.zeros((2, 9, 1))], 2)
    data = DatasetRNN(xs, xs[..., :2])
    with pytest.raises(DataError) as caught:
        simulate_again(AgentQ(), data, seed=0)
    assert str(caught.value) == (
        "option 1 was never chosen with a known outcome, so nothing says what it pays: give the task (environment=...)."
    )
    assert simulate_again(AgentQ(), data, BanditsFixed([0.2, 0.8]), seed=0).xs[..., 1].any()


def test_numbers_of_options_must_agree():
    np.random.seed(0)
    data = design()
    with pytest.raises(ConfigError, match="the environment has 3 options, the data have 2."):
        simulate_again(AgentQ(), data, BanditsFixed([0.1, 0.2, 0.3]))
    with pytest.raises(ConfigError, match="the agent has 3 options, the data have 2."):
        simulate_again(AgentQ(n_actions=3), data)

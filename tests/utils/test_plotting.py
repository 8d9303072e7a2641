"""The session plot shows the agents' own numbers and leaves global settings alone."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from spice.errors import ConfigError
from spice.precoded import rescorla_wagner
from spice.resources.agents import Agent, replay
from spice.resources.bandits import AgentQ, AlienTask, BanditsDrift, BanditsFixed, BanditsOnOffer, create_dataset
from spice.utils.plotting import GREEN, GREY, RED, plot_session


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def simulated():
    agent = AgentQ(alpha_reward=0.3, beta_choice=0.5, seed=1)
    dataset, experiments, _ = create_dataset(agent, BanditsDrift(0.2, seed=1), n_trials=30, n_sessions=2)
    return agent, dataset, experiments


def ticks(ax):
    """Trials and colours of the ticks at the upper and at the lower edge."""
    found = []
    for lines in ax.collections:
        trials = [int(segment[0, 0]) for segment in lines.get_segments()]
        found.append(dict(zip(trials, map(tuple, lines.get_colors()), strict=True)))
    return found


def legend(fig):
    return [text.get_text() for part in fig.legends for text in part.get_texts()]


def test_tutorial_call_and_global_settings(simulated):
    agent, dataset, _ = simulated
    dataset.xs[..., -1] = 0
    before = dict(matplotlib.rcParams)
    fig, axs = plot_session(agents={"groundtruth": agent}, experiment=dataset.xs[0], signals_to_plot=["x_value_reward"])
    assert dict(matplotlib.rcParams) == before
    assert axs.shape == (3,) and list(fig.axes) == list(axs)
    assert legend(fig) == ["truth", "rewarded", "not rewarded"]


def test_lines_are_the_agents_values(simulated):
    _, dataset, _ = simulated
    agents = {
        "groundtruth": AgentQ(alpha_reward=0.3, beta_choice=0.5),
        "rnn": AgentQ(start=0.1, bias=(2.0, 2.0)),
        "spice": AgentQ(alpha_reward=0.5),
        "mine": AgentQ(alpha_reward=0.9),
    }
    fig, axs = plot_session(agents, dataset.xs[1], ["x_value_reward", "x_learning_rate_reward"], display_choice=1)
    assert legend(fig) == ["truth", "network", "equations", "mine", "rewarded", "not rewarded"]
    looks = {(line.get_color(), str(line.get_linestyle())) for line in axs[0].lines}
    assert len(looks) == 4
    for line, agent in enumerate(agents.values()):
        played = replay(agent, dataset.xs[1], signals=["x_value_reward", "x_learning_rate_reward"])
        value = played.signals["x_value_reward"][:, 1]
        expected = [
            played.probs[:, 1],
            (played.logits[:, 1] - played.logits[:, 0]) / 2,
            value - value[0],
            played.signals["x_learning_rate_reward"][:, 1],
        ]
        for ax, values in zip(axs, expected, strict=True):
            np.testing.assert_array_equal(ax.lines[line].get_xdata(), np.arange(1, 31))
            np.testing.assert_allclose(ax.lines[line].get_ydata(), values, atol=1e-12)


def test_ticks_show_choices_and_outcomes(simulated):
    agent, _, experiments = simulated
    record = experiments[0]
    _, axs = plot_session({"groundtruth": agent}, record, display_choice=1)
    upper, lower = ticks(axs[0])
    for t, choice in enumerate(record.choices):
        color = to_rgba(GREEN if record.rewards[t, choice] == 1 else RED)
        here, there = (upper, lower) if choice == 1 else (lower, upper)
        assert here[t + 1] == color and t + 1 not in there


def test_missing_trials_and_outcomes(simulated):
    agent, dataset, _ = simulated
    xs = dataset.xs[0]
    xs[3, :2] = np.nan
    xs[5, 2:4] = np.nan
    fig, axs = plot_session({"groundtruth": agent}, xs)
    upper, lower = ticks(axs[1])
    assert 4 not in upper and 4 not in lower
    assert (upper | lower)[6] == to_rgba(GREY)
    assert legend(fig)[-1] == "outcome missing"


def test_continuous_rewards_are_shaded_from_red_to_green():
    environment = BanditsFixed([0.4, 0.6, 0.5], reward="continuous", reward_sd=0.2)
    _, experiments, _ = create_dataset(AgentQ(3), environment, 30, 1, seed=1)
    fig, axs = plot_session({"q": AgentQ(3)}, experiments[0])
    upper, lower = ticks(axs[0])
    colors, rewards = upper | lower, np.nanmax(experiments[0].rewards, axis=1)
    assert colors[rewards.argmin() + 1] == to_rgba(RED) and colors[rewards.argmax() + 1] == to_rgba(GREEN)
    assert len(set(colors.values())) > 10
    assert legend(fig)[1:] == [f"lowest reward ({rewards.min():.2g})", f"highest reward ({rewards.max():.2g})"]


def test_nothing_overlaps(simulated):
    agent, dataset, _ = simulated
    agents = {"groundtruth": agent, "rnn": AgentQ(), "spice": AgentQ(), "a longer name": AgentQ()}
    fig, axs = plot_session(agents, dataset.xs[0], agent.states)
    fig.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in axs] + [part.get_window_extent() for part in fig.legends]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0 and one.x1 <= fig.bbox.x1 and one.y0 >= -1 and one.y1 <= fig.bbox.y1 + 1
        assert not any(one.shrunk(0.99, 0.99).overlaps(other) for other in boxes[i + 1 :])
    for ax in axs:  # lines keep clear of the ticks
        low, high = ax.get_ylim()
        for line in ax.lines:
            share = (line.get_ydata() - low) / (high - low)
            assert share.min() > 0.07 and share.max() < 0.93


def test_labels_as_list_and_by_name(simulated):
    agent, dataset, _ = simulated
    agents = {"groundtruth": agent, "rnn": AgentQ()}
    fig, _ = plot_session(agents, dataset.xs[0], labels=np.array(["a", "b"]))
    assert legend(fig)[:2] == ["a", "b"]
    fig, _ = plot_session(agents, dataset.xs[0], labels={"rnn": "LSTM"})
    assert legend(fig)[:2] == ["truth", "LSTM"]


def test_an_agent_without_the_state_is_named(simulated):
    class Plain(AgentQ):
        states = ("x_value_reward",)

    agent, dataset, _ = simulated
    _, axs = plot_session({"groundtruth": agent, "spice": Plain()}, dataset.xs[0], ["x_value_choice"])
    assert len(axs[2].lines) == 1 and axs[2].get_title(loc="right") == "no such state: equations"


def test_same_agent_can_be_drawn_again(simulated):
    agent, dataset, _ = simulated
    first = plot_session({"groundtruth": agent}, dataset.xs[0])[1][0].lines[0].get_ydata()
    second = plot_session({"groundtruth": agent}, dataset.xs[0])[1][0].lines[0].get_ydata()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("agents", "arguments", "message"),
    [
        ({}, {}, "plot_session needs at least one agent: agents={'groundtruth': agent}."),
        (
            {"a": AgentQ(), "b": AgentQ(3)},
            {"display_choice": 2, "labels": {"c": "C"}, "signals_to_plot": ["x_value"]},
            "plot_session cannot draw:\n  - the agents have different numbers of options: {'a': 2, 'b': 3}.\n"
            "  - display_choice must be an option from 0 to 1, not 2.\n"
            "  - no agent has a state 'x_value'; states are x_value_reward, x_value_choice, x_learning_rate_reward.\n"
            "  - labels names 'c'; the agents are a, b.",
        ),
        ({"a": AgentQ()}, {"labels": ["x", "y"]}, "plot_session cannot draw: labels has 2 names for 1 agents."),
    ],
)
def test_bad_arguments(simulated, agents, arguments, message):
    with pytest.raises(ConfigError) as error:
        plot_session(agents, simulated[1].xs[0], **arguments)
    assert str(error.value) == message


def test_sessions_that_show_something_before_each_choice():
    """Values of the stimulus that is shown, and no action value for what is not on offer."""
    task = BanditsOnOffer(AlienTask(block_length=4), 2)
    dataset, experiments, _ = create_dataset(Cells(3), task, n_trials=30, n_sessions=2, seed=1)
    shown = experiments[1].shown
    for session in (experiments[1], dataset[1]):
        _, axs = plot_session({"mine": Cells(3)}, session, ["x_value"], display_choice=2)
        drawn = [ax.lines[0].get_ydata() for ax in axs]
        n_trials = len(drawn[0])
        assert n_trials == (31 if session is experiments[1] else 30)
        values = np.zeros((4, 3))
        for t in range(n_trials):  # the value of the alien that is shown, learned with rate 1/2
            alien, offered = int(shown["alien"][t]), [shown[f"available_{k}"][t] == 1 for k in range(3)]
            assert drawn[2][t] == values[alien, 2]
            if offered[2]:
                np.testing.assert_allclose(drawn[1][t], values[alien, 2] - values[alien, offered].mean(), atol=1e-12)
            else:
                assert np.isnan(drawn[1][t]) and drawn[0][t] == 0
            choice = experiments[1].choices[t]
            values[alien, choice] += (np.float32(experiments[1].rewards[t, choice]) - values[alien, choice]) / 2
    never = dict(experiments[1].shown) | {f"available_{k}": np.float64([k < 2] * 31) for k in range(3)}
    session = replace(experiments[1], shown=never, choices=np.minimum(experiments[1].choices, 1))
    _, axs = plot_session({"mine": AgentQ(3)}, session, display_choice=2)
    assert np.isnan(axs[1].lines[0].get_ydata()).all()


class Cells(Agent):
    """A value per alien and action."""

    states = ("x_value",)

    def _start(self, participants):
        self._alien, self._value = np.zeros(len(participants), int), np.zeros((len(participants), 4, 3))

    def _learn(self, choice, reward, inputs):
        rows = np.arange(len(choice))
        if not np.isnan(choice).any():
            at, value = (rows, inputs["alien"].astype(int), choice.astype(int)), self._value.copy()
            value[at] += (np.float32(reward[rows, at[2]]) - value[at]) / 2
            self._value = value
        self._alien = inputs["next_alien"].astype(int)

    def _logits(self):
        return self._value[np.arange(len(self._alien)), self._alien]

    def _state(self, state, multiply_with_beta):
        return self._logits()


def test_states_of_hand_written_models_are_drawn_as_they_are():
    model, task = rescorla_wagner(), BanditsFixed([0.8, 0.3])
    values = {"alpha": 0.3, "beta": 4.0}
    dataset = model.simulate(task, 20, values, seed=1)
    _, axs = plot_session({"own": model.agent(values)}, dataset, ["q"])
    (line,) = axs[2].lines
    q, before = 0.5, []
    for chosen, reward in dataset.xs[0].numpy()[:, [0, 2]]:
        before.append(q)
        q += 0.3 * (reward - q) if chosen else 0.0
    np.testing.assert_allclose(line.get_ydata(), np.array(before) - 0.5, atol=1e-6)
    assert "β" not in axs[2].get_ylabel()
    _, axs = plot_session({"agent": AgentQ(alpha_reward=0.3)}, dataset, ["x_value_reward"])
    assert "× β" in axs[2].get_ylabel()

"""Figures of what the other rooms return; the only code that imports matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spice.errors import ConfigError, join_problems
from spice.resources.agents import Agent, Replay, agent_problems, replay
from spice.resources.arguments import in_words, is_whole
from spice.resources.columns import Columns
from spice.resources.sessions import Trials, read_session
from spice.utils.posterior_plot import plot_posterior
from spice.utils.recovery_plot import plot_recovery

__all__ = ["plot_posterior", "plot_recovery", "plot_session"]

# Okabe & Ito's colours, told apart by colour-blind readers; those of the agents differ in lightness too.
GREEN, RED, GREY = "#009E73", "#CC3311", "#999999"
STYLES = {
    "groundtruth": ("truth", {"color": "#000000", "linestyle": "-", "linewidth": 2.6, "alpha": 0.75}),
    "rnn": ("network", {"color": "#0072B2", "linestyle": (0, (5, 2)), "linewidth": 1.8}),
    "spice": ("equations", {"color": "#E69F00", "linestyle": (0, (1.2, 1.2)), "linewidth": 2.2}),
}
OTHER_COLORS = ("#56B4E9", "#CC79A7", "#7A5195", "#8C564B", "#666666")
OTHER_LINES = ((0, (4, 1.5, 1, 1.5)), (0, (7, 1.5)), (0, (2.5, 1.5)), (0, (4, 1.5, 1, 1.5, 1, 1.5)))
BAND = 0.07  # share of a panel's height that the ticks take at either edge


def plot_session(
    agents: Mapping[str, Agent],
    experiment: Any,
    signals_to_plot: Sequence[str] = (),
    labels: Mapping[str, str] | Sequence[str] | None = None,
    display_choice: int = 0,
    columns: Columns | Sequence[str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw what agents make of one session, trial by trial.

    Each agent is led through the session's choices and outcomes; all values are those before the choice of the
    trial. Panels, for the displayed option: choice probability; action value (logit minus the mean over options on
    offer, since choices fix logits only up to a constant); each signal times its inverse temperature (those of
    hand-written models as they are), as change from its value in the first trial (states may be shifted freely, changes
    may not). Where trials show something before
    the choice, agents know it, and a state with a value per stimulus is drawn at the one that is shown; an option that
    is not on offer has no action value. Ticks at the upper edge are choices of the displayed option, at the lower edge
    choices of another; green: rewarded, red: not; grey: outcome missing.

    Parameters
    ----------
    agents : mapping of str to Agent
        Agents by name; ``"groundtruth"``, ``"rnn"`` and ``"spice"`` appear as truth, network and equations.
    experiment : BanditSession, DatasetRNN of one session, or array_like of shape (n_trials, n_features)
        The session, e.g. ``dataset.xs[0]``.
    signals_to_plot : sequence of str
        States to draw, one panel each, e.g. ``["x_value_reward"]``. An agent without that state has no line there,
        and the panel says so.
    labels : mapping of str to str, or sequence of str, optional
        Names for the legend: by agent, or one per agent in order.
    display_choice : int
        Option whose values are drawn.
    columns : Columns or sequence of str, optional
        Names of the columns of an array with more than ``2 * n_actions + 1`` of them.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure; it is not shown or saved.
    axs : numpy.ndarray of matplotlib.axes.Axes, shape (2 + number of signals,)
        Its panels, from top to bottom.

    Raises
    ------
    ConfigError
        If there are no agents, they do not fit together, or none has a requested state; all problems are named.
    DataError
        If the session cannot be read.
    """
    if isinstance(signals_to_plot, str) or not isinstance(signals_to_plot, Iterable):
        signals_to_plot = [] if signals_to_plot is None else [signals_to_plot]
    signals = list(signals_to_plot)
    if isinstance(labels, Iterable) and not isinstance(labels, (str, Mapping)):
        labels = list(labels)
    _check(agents, signals, labels, display_choice)
    display_choice = int(display_choice)
    n_actions = next(iter(agents.values())).n_actions
    trials = read_session(experiment, n_actions, columns)
    styles = _styles(agents, labels)
    replays = {
        key: replay(agent, experiment, columns, [name for name in signals if name in agent.states])
        for key, agent in agents.items()
    }
    panels = [
        (f"P(choose option {display_choice})", lambda played: played.probs[:, display_choice]),
        ("action value\n(logit − mean)", lambda played: _centred(played.logits)[:, display_choice]),
        *((_signal_label(name, agents), _signal_line(name, display_choice)) for name in signals),
    ]
    fig, axs = _draw_panels(panels, replays, styles)
    marks = _draw_ticks(axs, trials, display_choice)
    axs[-1].set_xlabel("trial")
    axs[-1].set_xlim(0, len(trials.choices) + 1)
    _add_legends(fig, styles, marks, display_choice, n_actions)
    return fig, axs


def _draw_panels(
    panels: Sequence[tuple[str, Any]], replays: Mapping[str, Replay], styles: Mapping[str, Any]
) -> tuple[Figure, np.ndarray]:
    """One panel for each label and what it draws of a replay, with room for ticks at the edges."""
    fig, axs = plt.subplots(
        len(panels), 1, sharex=True, squeeze=False, figsize=(9, 1.2 + 1.9 * len(panels)), layout="constrained"
    )
    axs = axs[:, 0]
    for ax, (label, line) in zip(axs, panels, strict=True):
        _draw_lines(ax, replays, styles, line)
        ax.set_ylabel(label)
    _make_room(axs[0], (0.0, 1.0))
    for ax in axs[1:]:
        _make_room(ax, ax.dataLim.intervaly)
    return fig, axs


def _add_legends(
    fig: Figure, styles: Mapping[str, Any], marks: tuple[list[Line2D], list[str]], display_choice: int, n_actions: int
) -> None:
    """Who is who above the panels; what the ticks mean below."""
    handles = [Line2D([], [], **style) for _, style in styles.values()]
    names = [name for name, _ in styles.values()]
    fig.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
    others = f"option {1 - display_choice}" if n_actions == 2 else "another option"
    edges = f"ticks: choices (upper edge: option {display_choice}, lower edge: {others})"
    fig.legend(*marks, title=edges, loc="outside lower center", ncols=len(marks[1]), frameon=False)


def _check(agents: Mapping[str, Agent], signals: Sequence[str], labels: Any, display_choice: int) -> None:
    if not isinstance(agents, Mapping) or not agents:
        given = "" if agents is None or isinstance(agents, Mapping) else f", by name, not {in_words(agents)}"
        raise ConfigError(f"plot_session needs at least one agent{given}: agents={{'groundtruth': agent}}.")
    problems = [problem for key, agent in agents.items() for problem in agent_problems(agent, f"agents[{key!r}]")]
    if problems:
        raise ConfigError(join_problems("plot_session cannot draw", problems))
    counts = {key: agent.n_actions for key, agent in agents.items()}
    if len(set(counts.values())) > 1:
        problems.append(f"the agents have different numbers of options: {counts}.")
    if not is_whole(display_choice, 0) or display_choice >= min(counts.values()):
        last = min(counts.values()) - 1
        problems.append(f"display_choice must be an option from 0 to {last}, not {in_words(display_choice)}.")
    states = {name: None for agent in agents.values() for name in agent.states}
    for name in signals:
        if name not in states:
            known = f"states are {', '.join(states)}" if states else "they have none with one value per option to draw"
            problems.append(f"no agent has a state {name!r}; {known}.")
    if isinstance(labels, Mapping):
        if unknown := [key for key in labels if key not in agents]:
            problems.append(f"labels names {', '.join(map(repr, unknown))}; the agents are {', '.join(agents)}.")
    elif labels is not None and (isinstance(labels, str) or not isinstance(labels, Sequence)):
        problems.append(f"labels must be a list of names, or names by agent, not {in_words(labels)}.")
    elif labels is not None and len(labels) != len(agents):
        problems.append(f"labels has {len(labels)} names for {len(agents)} agents.")
    if problems:
        raise ConfigError(join_problems("plot_session cannot draw", problems))


def _styles(
    agents: Mapping[str, Agent], labels: Mapping[str, str] | Sequence[str] | None
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name and line style of each agent, always the same for the known three."""
    if labels is not None and not isinstance(labels, Mapping):
        labels = dict(zip(agents, labels, strict=True))
    styles, n_other = {}, 0
    for key in agents:
        if key in STYLES:
            name, style = STYLES[key]
        else:
            color, line = OTHER_COLORS[n_other % len(OTHER_COLORS)], OTHER_LINES[n_other % len(OTHER_LINES)]
            name, style = str(key), {"color": color, "linestyle": line, "linewidth": 1.8}
            n_other += 1
        styles[key] = ((labels or {}).get(key, name), style)
    return styles


def _centred(logits: np.ndarray) -> np.ndarray:
    offered = np.where(np.isneginf(logits), np.nan, logits)  # no line where the option is not on offer
    return offered - np.nanmean(offered, axis=1, keepdims=True)


def _signal_label(name: str, agents: Mapping[str, Agent]) -> str:
    # No inverse temperature multiplies a learning rate, nor states of models that say themselves how logits follow.
    scaled = any(agent.scales_states for agent in agents.values() if name in agent.states)
    return f"{name}\n({'× β, ' if scaled and 'learning_rate' not in name else ''}change\nfrom trial 1)"


def _signal_line(name: str, option: int) -> Any:
    def line(played: Replay) -> np.ndarray | None:
        values = played.signals.get(name)
        return None if values is None else values[:, option] - values[0, option]

    return line


def _draw_lines(ax: Axes, replays: Mapping[str, Replay], styles: Mapping[str, Any], line: Any) -> None:
    absent = []
    for key, played in replays.items():
        name, style = styles[key]
        values = line(played)
        if values is None:
            absent.append(name)
        else:
            ax.plot(np.arange(1, len(values) + 1), values, **style)
    if absent:
        ax.set_title(f"no such state: {', '.join(absent)}", loc="right", fontsize="small", style="italic")


def _make_room(ax: Axes, limits: Sequence[float]) -> None:
    """Widen the y-axis so that ticks at either edge and lines do not meet."""
    low, high = limits if np.isfinite(limits).all() else (0.0, 0.0)  # there may be no line at all
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    margin = (high - low) * 1.6 * BAND / (1 - 3.2 * BAND)
    ax.set_ylim(low - margin, high + margin)


def _draw_ticks(axs: np.ndarray, trials: Trials, display_choice: int) -> tuple[list[Line2D], list[str]]:
    """Draw a tick per choice in all panels; returns handles and names for the legend."""
    rows = np.flatnonzero(~np.isnan(trials.choices))
    chosen = trials.choices[rows].astype(int)
    colors, key = _tick_colors(trials.rewards[rows, chosen])
    for ax in axs:
        for at_top, low in ((True, 1 - BAND), (False, 0.0)):
            here = (chosen == display_choice) == at_top
            ax.vlines(rows[here] + 1, low, low + BAND, colors[here], transform=ax.get_xaxis_transform(), linewidth=1.4)
    style: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 9, "markeredgewidth": 2}
    return [Line2D([], [], color=color, **style) for color in key.values()], list(key)


def _tick_colors(reward: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Colour of each tick, and what the colours mean; reward has the shape (n_choices,), NaN where missing."""
    known = reward[~np.isnan(reward)]
    levels = np.unique(known)
    colors = np.full(len(reward), GREY, dtype=object)
    if len(levels) <= 2:
        good = levels.max() if len(levels) == 2 else 0.5
        colors[reward >= good], colors[reward < good] = GREEN, RED
        key = {"rewarded": GREEN, "not rewarded": RED}
    else:
        scale = LinearSegmentedColormap.from_list("reward", [RED, "#F2D16B", GREEN])
        low, high = levels[0], levels[-1]
        shades = scale((np.nan_to_num(reward) - low) / (high - low))
        colors[:] = [tuple(shade) if seen else GREY for shade, seen in zip(shades, ~np.isnan(reward), strict=True)]
        key = {f"lowest reward ({low:.2g})": RED, f"highest reward ({high:.2g})": GREEN}
    if len(known) < len(reward):
        key["outcome missing"] = GREY
    return colors, key

"""The figure of a recovery report."""

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from spice.errors import ConfigError
from spice.inference import RecoveryReport
from spice.resources.arguments import in_words

if TYPE_CHECKING:
    import pandas as pd

# Okabe & Ito's colours, as in plot_session
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#999999"
NAMES = {
    "beta": "β",
    "alpha": "α",
    "alpha_reward": "α (better outcome)",
    "alpha_penalty": "α (worse outcome)",
    "alpha_choice": "α (choice)",
    "alpha_counterfactual": "α (counterfactual)",
    "initial_value": "Q0",
}
MARKS = {"recovered, 95 % interval": BLUE, "interval misses the truth": ORANGE, "not in the truth": GREY}
TRUTH: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0, "label": "_truth"}
COLUMNS = 3
SPREAD = 0.6  # of the points of one data set
PANEL = (2.9, 2.5)  # inches
BAR: dict[str, Any] = {"markersize": 4, "elinewidth": 0.9}


def _name(term: str) -> str:
    return NAMES.get(term, term.replace("_", " "))


def plot_recovery(report: RecoveryReport) -> tuple[Figure, np.ndarray]:
    """Draw what is recovered: a panel per parameter, recovered against true, and one with how often each was found.

    Bars are 95 % intervals, in orange where they miss the truth. Where a parameter has one true value, the recovered
    ones stand side by side in the order of the data sets, with the truth as a line; else against the true ones, with
    the line on which they are equal. In the last panel, the share of models in which a parameter was found when it is
    in the truth (filled) and when it is not (open), with binomial 95 % intervals.

    Parameters
    ----------
    report : RecoveryReport
        What ``SpiceEstimator.check_recovery`` returns.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure; it is not shown or saved.
    axs : numpy.ndarray of matplotlib.axes.Axes, shape (number of parameters + 1,)
        Its panels, that of the shares last.

    Raises
    ------
    ConfigError
        If it is no report, or holds no parameter.
    """
    if not isinstance(report, RecoveryReport):
        raise ConfigError(f"plot_recovery draws what check_recovery returns, not {in_words(report)}.")
    terms = list(dict.fromkeys(report.estimates["term"]))
    if not terms:
        raise ConfigError("there is nothing to draw: the report holds no parameter, neither true nor recovered.")
    n_columns = min(COLUMNS, len(terms) + 1)
    n_rows = -(-(len(terms) + 1) // n_columns)
    size = (PANEL[0] * n_columns, PANEL[1] * n_rows + 0.4)
    fig, grid = plt.subplots(n_rows, n_columns, squeeze=False, figsize=size, layout="constrained")
    axs = grid.ravel()[: len(terms) + 1]
    for ax in grid.ravel()[len(terms) + 1 :]:
        ax.remove()
    for ax, term in zip(axs, terms, strict=False):
        _draw_parameter(ax, term, report.estimates[report.estimates["term"] == term], report.n_data_sets)
    _draw_shares(axs[-1], report.detection[report.detection["kind"] == "parameter"])
    shown = [key for key, rows in zip(MARKS, _marks(report.estimates), strict=True) if rows.any()]
    handles = [Line2D([], [], linestyle="none", marker="o", markersize=4, color=MARKS[key]) for key in shown]
    handles.append(Line2D([], [], **TRUTH))
    fig.legend(handles, [*shown, "truth"], loc="outside upper left", ncols=2, frameon=False)
    return fig, axs


def _marks(rows: "pd.DataFrame") -> list[np.ndarray]:
    """Rows of each kind of mark, in the order of `MARKS`; what was not found has none."""
    found, there = rows["recovered"].notna().to_numpy(), rows["true"].notna().to_numpy()
    missed = ~rows["covered"].fillna(True).to_numpy(bool)
    return [found & there & ~missed, found & there & missed, found & ~there]


def _side_by_side(rows: "pd.DataFrame") -> np.ndarray:
    """Numbers of the data sets from 1 on, those of one data set spread around its number."""
    place, of_data_set = rows["data_set"].to_numpy() + 1.0, rows.groupby("data_set")["term"]
    rank, number = of_data_set.cumcount().to_numpy(), of_data_set.transform("size").to_numpy()
    return place + SPREAD * ((rank + 0.5) / number - 0.5)


def _draw_parameter(ax: Axes, term: str, rows: "pd.DataFrame", n_data_sets: int) -> None:
    """Recovered against true values, or side by side where there is one true value at most."""
    levels = rows["true"].dropna().unique()
    by_data_set = len(levels) <= 1
    place = _side_by_side(rows) if by_data_set else rows["true"].fillna(rows["recovered"]).to_numpy()
    value = rows["recovered"].to_numpy()
    ends = np.stack([value - rows["ci_low"].to_numpy(), rows["ci_high"].to_numpy() - value])
    ends = np.where(np.isfinite(ends), np.maximum(ends, 0.0), 0.0)  # without an interval there is no bar
    for at, color in zip(map(np.flatnonzero, _marks(rows)), MARKS.values(), strict=True):
        if len(at):
            ax.errorbar(place[at], value[at], yerr=ends[:, at], fmt="o", color=color, **BAR)
    if by_data_set:
        for level in levels:
            ax.axhline(level, **TRUTH)
        ax.set_xlabel("data set")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlim(0.3, n_data_sets + 0.7)
    else:
        ax.axline((levels[0], levels[0]), slope=1, **TRUTH)
        ax.set_xlabel("true")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylabel("recovered")
    ax.set_title(_name(term) + ("" if len(levels) else "\n(not in the truth)"), fontsize="medium")


def _draw_shares(ax: Axes, rows: "pd.DataFrame") -> None:
    """Share of models in which each parameter was found, where it is in the truth and where it is not."""
    height = np.arange(len(rows))[::-1]
    kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("in the truth", "found", {"fmt": "o", "color": BLUE}),
        ("not in it", "false", {"fmt": "s", "color": GREY, "markerfacecolor": "white"}),
    )
    kinds = tuple(kind for kind in kinds if rows[kind[1]].notna().any())
    shifts = (0.12, -0.12) if len(kinds) == 2 else (0.0,)
    for (label, name, style), shift in zip(kinds, shifts, strict=False):
        middle, low, high = (rows[part].to_numpy() for part in (name, f"{name}_low", f"{name}_high"))
        at = np.flatnonzero(~np.isnan(middle))
        ends = np.maximum([middle[at] - low[at], high[at] - middle[at]], 0.0)
        ax.errorbar(middle[at], height[at] + shift, xerr=ends, label=label, **style, **BAR)
    ax.set_yticks(height, [_name(term) for term in rows["term"]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(-0.04, 1.04)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel("share of models")
    ax.set_title("how often found", fontsize="medium")
    if kinds:
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.24),
            ncols=2,
            columnspacing=1.0,
            handletextpad=0.3,
            fontsize="small",
            frameon=False,
        )

"""Figures of a posterior: traces, forests, pairs, distributions."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from spice.errors import ConfigError, did_you_mean, join_problems
from spice.inference.fitting.bayes.posterior import PosteriorResult
from spice.inference.fitting.bayes.variables import EFFECT, MEAN, SD, element_names, population_ending
from spice.inference.fitting.result import participant_labels
from spice.resources.arguments import as_numbers, in_words
from spice.utils.recovery_plot import BLUE, GREY, NAMES, ORANGE

KINDS = ("trace", "forest", "pair", "posterior")
CHAINS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#7A5195")
MOST = {"trace": 12, "posterior": 12, "pair": 6}  # variables drawn unless the user names some
POINTS = 1000  # draws in a panel of pairs, at most
BINS = 40
LETTER = 0.07  # inches, of a participant's label
LINE = 20  # letters of a panel's title
ROWS = 40  # participants with a label in a forest, at most
REFERENCE: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.1}
MEANINGS = {MEAN: " (mean)", SD: " (sd)", EFFECT: ": effect"}
Elements = dict[str, np.ndarray]


def plot_posterior(
    result: PosteriorResult,
    kind: str = "trace",
    reference: Mapping[str, Any] | None = None,
    parameters: Sequence[str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw a posterior.

    Parameters
    ----------
    result : PosteriorResult
        What ``fit(model, dataset, method="nuts")`` returns.
    kind : {"trace", "forest", "pair", "posterior"}, default "trace"
        ``"trace"``: of each variable the distribution of each chain, and its draws one after the other, with divergent
        ones marked. ``"forest"``: of each participant mean, central 50 % and 95 % intervals, a panel per parameter.
        ``"pair"``: each variable against each other. ``"posterior"``: distribution, mean and central 95 % interval.
    reference : mapping of str to float, or to one number per participant, or pandas.DataFrame, optional
        Values to compare with, by variable (``"alpha"``, ``"alpha_mean"``, ``"alpha[anna]"``); a series or a table,
        such as the true ``parameters``, by participants' labels.
    parameters : sequence of str, optional
        Variables: ``"alpha"`` (everybody's), ``"alpha[anna]"``, ``"alpha_mean"``. By default the population's numbers
        where there is a population, else all; of many those with the largest R-hat, and the title says so. A forest
        shows the model's parameters.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure; it is not shown or saved.
    axs : numpy.ndarray of matplotlib.axes.Axes
        Its panels: (n_variables, 2) of a trace, (n_variables, n_variables) of pairs (None above the diagonal), else
        (n_panels,).

    Raises
    ------
    ConfigError
        If it is no posterior, or the kind, a variable or a reference is not known; all problems are listed.
    DataError
        If a reference is no number.
    """
    if not isinstance(result, PosteriorResult):
        raise ConfigError(f'plot_posterior draws what fit(..., method="nuts") returns, not {in_words(result)}.')
    every = _elements(result)
    problems = []
    if kind not in KINDS:
        problems.append(f"kind must be one of {', '.join(KINDS)}, not {in_words(kind)}.")
    asked = [parameters] if isinstance(parameters, str) else parameters
    if asked is not None and (not isinstance(asked, Iterable) or not (asked := list(asked))):
        problems.append(f"parameters must be names of variables, not {in_words(parameters)}.")
        asked = None
    given: Mapping[str, Any] = {}
    if reference is not None and (isinstance(reference, Mapping) or hasattr(reference, "columns")):
        given = {name: reference[name] for name in reference}
    elif reference is not None:
        problems.append(f"reference must be values by variable, e.g. {{'alpha': 0.5}}, not {in_words(reference)}.")
    for name in [*(asked or []), *given]:
        if not _matching(name, every):
            known = [*dict.fromkeys(entry.split("[")[0] for entry in every)]
            problems.append(f"there is no variable {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}.")
    if problems:
        raise ConfigError(join_problems("plot_posterior cannot draw", problems))
    marks = _references(given, every, list(result.parameters.index))
    if kind == "forest":
        return _forest(result, asked, marks)
    shown, note = _chosen(result, kind, asked, every)
    drawn = {"trace": _trace, "pair": _pair, "posterior": _posterior}[kind](result, shown, marks)
    if note:
        drawn[0].suptitle(note, fontsize="medium", x=0.01, ha="left")
    return drawn


def _elements(result: PosteriorResult) -> Elements:
    """Draws of each number by name, (n_chains, n_draws)."""
    labels = participant_labels(result.likelihood, result.dataset)
    found: Elements = {}
    for name, entries in element_names(result.posterior, labels, result.regressors).items():
        columns = result.posterior[name].reshape(*result.posterior[name].shape[:2], -1)
        found |= {entry: columns[:, :, k] for k, entry in enumerate(entries)}
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def _matching(name: str, every: Elements) -> list[str]:
    """The elements of a variable, or one by its own name."""
    return [entry for entry in every if entry == name or entry.split("[")[0] == name]


def _references(reference: Mapping[str, Any], every: Elements, people: list[Any]) -> dict[str, float]:
    """A value for each element, where there is one; a series goes by its labels."""
    found: dict[str, float] = {}
    for name, values in reference.items():
        names = _matching(name, every)
        if hasattr(values, "index") and hasattr(values, "loc"):
            lacking = [label for label in people if label not in values.index]
            if lacking:
                raise ConfigError(f"the reference of {name!r} has no value of participant {lacking[0]!r}.")
            values = values.loc[people]
        numbers = as_numbers(values, f"the reference of {name!r}").ravel()
        if len(numbers) not in (1, len(names)):
            raise ConfigError(f"the reference of {name!r} has {len(numbers)} numbers, but there are {len(names)}.")
        found |= dict(zip(names, np.broadcast_to(numbers, len(names)).tolist(), strict=True))
    return found


def _chosen(result: PosteriorResult, kind: str, asked: list[str] | None, every: Elements) -> tuple[Elements, str]:
    """What to draw, and a note if it is not all."""
    if asked is not None:
        return {entry: every[entry] for name in asked for entry in _matching(name, every)}, ""
    own = list(every)
    if result.pooling == "partial":
        own = [name for name in own if population_ending(name.partition("[")[0], result.posterior.keys())]
    if len(own) <= MOST[kind]:
        return {name: every[name] for name in own}, ""
    hats = result.diagnostics.loc[own, "r_hat"].sort_values(ascending=False, kind="stable")
    worst = set(hats.index[: MOST[kind]])
    note = f"{MOST[kind]} of {len(own)} variables, those with the largest R-hat"
    return {name: every[name] for name in own if name in worst}, note


def _title(element: str, result: PosteriorResult) -> str:
    """A name for readers: ``alpha_mean`` is α (mean)."""
    name, _, rest = element.partition("[")
    ending = population_ending(name, result.posterior.keys())
    base = name.removesuffix(ending)
    text = NAMES.get(base, base.replace("_", " ")) + MEANINGS.get(ending, "")
    return text + (f" of\n{rest[:-1]}" if ending == EFFECT and rest else f" [{rest}" if rest else "")


def _wrapped(element: str, result: PosteriorResult) -> str:
    return "\n".join(fill(line, LINE) for line in _title(element, result).split("\n"))


def _divergent(result: PosteriorResult, element: str) -> np.ndarray:
    """Which draws of an element's run diverged, (n_chains, n_draws)."""
    diverging = result.statistics["diverging"]
    if diverging.ndim == 2:
        return diverging
    labels = list(map(str, result.parameters.index))
    return diverging[..., labels.index(element.partition("[")[2][:-1])]


def _trace(result: PosteriorResult, shown: Elements, marks: Mapping[str, float]) -> tuple[Figure, np.ndarray]:
    size = (9.0, 1.6 * len(shown) + 0.8)
    fig, axs = plt.subplots(len(shown), 2, squeeze=False, figsize=size, layout="constrained", width_ratios=(1, 1.7))
    some = False
    for (left, right), (name, draws) in zip(axs, shown.items(), strict=True):
        edges = np.histogram_bin_edges(draws, BINS)
        diverged = _divergent(result, name)
        for chain, values in enumerate(draws):
            color = CHAINS[chain % len(CHAINS)]
            left.hist(values, edges, density=True, histtype="step", color=color, linewidth=1.2)
            right.plot(values, color=color, linewidth=0.5, alpha=0.75)
        at = np.flatnonzero(diverged.any(0))
        some |= len(at) > 0
        if len(at):
            low = np.full(len(at), 0.05)
            right.plot(at, low, "|", color="black", markersize=6, transform=right.get_xaxis_transform())
        if name in marks:
            left.axvline(marks[name], **REFERENCE)
            right.axhline(marks[name], **REFERENCE)
        left.set_yticks([])
        left.set_title(_title(name, result).replace("\n", " "), fontsize="medium", loc="left")
        right.set_xlim(0, max(draws.shape[1] - 1, 1))
        left.xaxis.set_major_locator(MaxNLocator(5))
        right.yaxis.set_major_locator(MaxNLocator(4))
    axs[-1, 0].set_xlabel("value")
    axs[-1, 1].set_xlabel("draw")
    for ax in axs[:-1, 1]:
        ax.tick_params(labelbottom=False)
    handles = [Line2D([], [], color=CHAINS[k % len(CHAINS)]) for k in range(next(iter(shown.values())).shape[0])]
    names = [f"chain {k + 1}" for k in range(len(handles))]
    if some:
        handles.append(Line2D([], [], linestyle="none", marker="|", markersize=9, color="black"))
        names.append("divergent draw")
    _legend(fig, handles, names, any(name in marks for name in shown))
    return fig, axs


def _legend(fig: Figure, handles: list[Line2D], names: list[str], with_reference: bool) -> None:
    """Below the panels; nothing if there is nothing to say."""
    if with_reference:
        handles, names = [*handles, Line2D([], [], **REFERENCE)], [*names, "reference"]
    if handles:
        fig.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)


def _grid(n: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """Panels, at most three in a row."""
    n_columns = min(n, 3)
    n_rows = -(-n // n_columns)
    size = (max(width * n_columns, 4.0), height * n_rows + 0.5)
    fig, grid = plt.subplots(n_rows, n_columns, squeeze=False, figsize=size, layout="constrained")
    for ax in grid.ravel()[n:]:
        ax.remove()
    return fig, grid.ravel()[:n]


def _posterior(result: PosteriorResult, shown: Elements, marks: Mapping[str, float]) -> tuple[Figure, np.ndarray]:
    fig, axs = _grid(len(shown), 3.0, 2.5)
    for ax, (name, draws) in zip(axs, shown.items(), strict=True):
        values = draws.ravel()
        low, high = np.quantile(values, [0.025, 0.975])
        ax.hist(values, BINS, density=True, color=BLUE, alpha=0.35)
        ax.plot([low, high], [0, 0], color=BLUE, linewidth=4, solid_capstyle="butt", clip_on=False)
        ax.plot(values.mean(), 0, "o", color=BLUE, markersize=7, clip_on=False, zorder=3)
        text = f"mean {values.mean():.3g}, 95 % {low:.3g} to {high:.3g}"
        if name in marks:
            ax.axvline(marks[name], **REFERENCE)
            text += f"\n{np.mean(values < marks[name]):.0%} below {marks[name]:.3g}"
        ax.set_title(f"{_title(name, result)}\n".replace("of\n", "of ") + text, fontsize="small")
        ax.set_yticks([])
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
    _legend(fig, [], [], any(name in marks for name in shown))
    return fig, axs


def _pair(result: PosteriorResult, shown: Elements, marks: Mapping[str, float]) -> tuple[Figure, np.ndarray]:
    names, n = list(shown), len(shown)
    flat = {name: draws.ravel() for name, draws in shown.items()}
    total = len(next(iter(flat.values())))
    kept = np.arange(0, total, -(-total // POINTS))
    side = max(1.9 * n + 0.6, 3.4)
    fig, axs = plt.subplots(n, n, squeeze=False, figsize=(side, side), layout="constrained", sharex="col")
    diverged = {name: _divergent(result, name).ravel() for name in names}
    for row in range(n):
        for column in range(n):
            ax = axs[row, column]
            x = flat[names[column]]
            if column > row:
                ax.remove()
                axs[row, column] = None
                continue
            if column == row:
                ax.hist(x, BINS, color=BLUE, alpha=0.35)
                ax.set_yticks([])
            else:
                y = flat[names[row]]
                ax.plot(x[kept], y[kept], ".", color=BLUE, alpha=0.25, markersize=3, markeredgewidth=0)
                bad = diverged[names[row]] | diverged[names[column]]
                ax.plot(x[bad], y[bad], ".", color=ORANGE, markersize=5)
                if names[row] in marks:
                    ax.axhline(marks[names[row]], **REFERENCE)
                ax.yaxis.set_major_locator(MaxNLocator(4))
                ax.tick_params(labelleft=column == 0)
            if names[column] in marks:
                ax.axvline(marks[names[column]], **REFERENCE)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            if row == n - 1:
                ax.set_xlabel(_wrapped(names[column], result))
            if column == 0:
                ax.set_ylabel(_wrapped(names[row], result))
    bad = any(values.any() for values in diverged.values())
    dots = [Line2D([], [], linestyle="none", marker=".", color=ORANGE)] if bad else []
    _legend(fig, dots, ["divergent draw"] * len(dots), any(name in marks for name in names))
    return fig, axs


def _forest(result: PosteriorResult, asked: list[str] | None, marks: Mapping[str, float]) -> tuple[Figure, np.ndarray]:
    every = _elements(result)
    names = list(result.parameters.columns) if asked is None else asked
    panels = {name: _matching(name, every) for name in names}
    most = max(map(len, panels.values()))
    labels = {entry: entry.partition("[")[2][:-1] or _title(entry, result) for own in panels.values() for entry in own}
    longest = max(len(line) for label in labels.values() for line in label.split("\n"))
    fig, axs = _grid(len(panels), 2.6 + LETTER * longest, min(max(0.9 + 0.22 * most, 1.9), 9.0))
    for ax, (name, entries) in zip(axs, panels.items(), strict=True):
        draws = np.stack([every[entry].ravel() for entry in entries], axis=1)
        height = np.arange(len(entries))[::-1]
        ends = np.quantile(draws, [0.025, 0.25, 0.75, 0.975], axis=0)
        ax.hlines(height, ends[0], ends[3], color=BLUE, linewidth=1.0)
        ax.hlines(height, ends[1], ends[2], color=BLUE, linewidth=2.8)
        ax.plot(draws.mean(0), height, "o", color="white", markeredgecolor=BLUE, markersize=4)
        if result.population is not None and name in result.population.typical:
            ax.axvline(result.population.typical[name], color=GREY, linewidth=1.2, zorder=0)
        known = [k for k, entry in enumerate(entries) if entry in marks]
        ax.plot([marks[entries[k]] for k in known], height[known], "x", color="black", markersize=5)
        step = -(-len(entries) // ROWS)
        ax.set_yticks(height[::step], [labels[entry] for entry in entries[::step]], fontsize="small")
        ax.set_ylim(-0.7, len(entries) - 0.3)
        ax.set_title(_wrapped(name, result), fontsize="medium")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    handles = [Line2D([], [], color=BLUE, linewidth=1.0, marker="o", markerfacecolor="white", markersize=4)]
    text = ["mean, 50 % and 95 %"]
    if result.population is not None:
        handles.append(Line2D([], [], color=GREY, linewidth=1.2))
        text.append("population's middle")
    if marks:
        handles.append(Line2D([], [], linestyle="none", marker="x", color="black", markersize=5))
        text.append("reference")
    fig.legend(handles, text, loc="outside lower center", ncols=len(text), frameon=False)
    return fig, axs

"""The recovery plot shows the report's own numbers and leaves global settings alone."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from spice.errors import ConfigError
from spice.inference import CanonicalForm, RecoveryReport, Results
from spice.inference.results import COLUMNS
from spice.inference.uncertainty import Estimate
from spice.utils.plotting import plot_recovery
from spice.utils.recovery_plot import BLUE, GREY, ORANGE


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def results_of(parameters):
    """A model with these parameters (value, half-width of the interval)."""
    estimates = {name: Estimate(v, w / 2, v - w, v + w) for name, (v, w) in parameters.items()}
    table = pd.DataFrame([], columns=COLUMNS)
    return Results({}, CanonicalForm(estimates, {}, []), table, table)


@pytest.fixture
def one():
    """One participant: an interval that misses, one that is unknown, a parameter not found, one that is not there."""
    truth = {0: results_of({"beta": (3.0, 1.0), "forgetting": (0.2, 1.0)})}
    found = [
        {"beta": (3.5, 0.6), "forgetting": (0.25, 0.1)},
        {"beta": (2.5, 0.2), "forgetting": (0.3, np.nan)},
        {"beta": (3.1, 0.2), "bias": (0.1, 0.05)},
    ]
    return RecoveryReport.of(truth, [{0: results_of(entry)} for entry in found])


@pytest.fixture
def people():
    """Two people with different values."""
    truth = {"anna": results_of({"alpha": (0.2, 1.0)}), "ben": results_of({"alpha": (0.6, 1.0)})}
    found = [{"anna": (0.25, 0.1), "ben": (0.5, 0.2)}, {"anna": (0.15, 0.1), "ben": (0.8, 0.1)}]
    return RecoveryReport.of(
        truth, [{label: results_of({"alpha": entry}) for label, entry in pair.items()} for pair in found]
    )


def bars(ax):
    """Points with their intervals, by colour."""
    return {
        to_hex(part[0].get_color()).upper(): (part[0].get_xydata(), np.array(part[2][0].get_segments()))
        for part in ax.containers
    }


def titles(axs):
    return [ax.get_title() for ax in axs]


def test_one_participant(one):
    before = dict(matplotlib.rcParams)
    fig, axs = plot_recovery(one)
    assert dict(matplotlib.rcParams) == before
    assert titles(axs) == ["β", "forgetting", "bias\n(not in the truth)", "how often found"]
    assert list(fig.axes) == list(axs)
    found = bars(axs[0])
    np.testing.assert_allclose(found[BLUE][0], [[1, 3.5], [3, 3.1]])
    np.testing.assert_allclose(found[ORANGE][0], [[2, 2.5]])
    np.testing.assert_allclose(found[BLUE][1][:, :, 1], [[2.9, 4.1], [2.9, 3.3]])
    (line,) = [line for line in axs[0].lines if line.get_label() == "_truth"]
    assert set(line.get_ydata()) == {3.0} and axs[0].get_xlabel() == "data set"
    unknown = bars(axs[1])[BLUE]
    np.testing.assert_allclose(unknown[0], [[1, 0.25], [2, 0.3]])
    assert np.ptp(unknown[1][1][:, 1]) == 0  # no interval, no bar
    assert list(bars(axs[2])) == [GREY] and not [line for line in axs[2].lines if line.get_label() == "_truth"]
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert names == ["recovered, 95 % interval", "interval misses the truth", "not in the truth", "truth"]


def test_shares(one):
    *_, ax = plot_recovery(one)[1]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["β", "forgetting", "bias"]
    rates = one.detection.set_index("term")
    found = bars(ax)
    np.testing.assert_allclose(found[BLUE][0][:, 0], [1.0, 2 / 3])
    np.testing.assert_allclose(found[GREY][0][:, 0], [1 / 3])
    expected = rates.loc[["beta", "forgetting"], ["found_low", "found_high"]]
    np.testing.assert_allclose(found[BLUE][1][:, :, 0], expected)
    np.testing.assert_allclose(found[GREY][1][0, :, 0], rates.loc["bias", ["false_low", "false_high"]].astype(float))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["in the truth", "not in it"]


def test_several_people(people):
    """Recovered against true values, with the line on which they are equal."""
    fig, axs = plot_recovery(people)
    found = bars(axs[0])
    np.testing.assert_allclose(found[BLUE][0], [[0.2, 0.25], [0.6, 0.5], [0.2, 0.15]])
    np.testing.assert_allclose(found[ORANGE][0], [[0.6, 0.8]])
    (line,) = [line for line in axs[0].lines if line.get_label() == "_truth"]
    assert line.get_slope() == 1 and line.get_xy1()[0] == line.get_xy1()[1]
    assert axs[0].get_xlabel() == "true" and len(axs) == 2


def test_people_alike_stand_side_by_side():
    truth = {name: results_of({"alpha": (0.3, 1.0)}) for name in ("anna", "ben")}
    report = RecoveryReport.of(truth, [truth, truth])
    points = bars(plot_recovery(report)[1][0])[BLUE][0]
    np.testing.assert_allclose(points[:, 0], [0.85, 1.15, 1.85, 2.15])


def test_nothing_to_draw():
    with pytest.raises(ConfigError, match="there is nothing to draw: the report holds no parameter"):
        plot_recovery(RecoveryReport.of({0: results_of({})}, [{0: results_of({})}]))


def test_no_text_overlaps(one):
    """Titles, axis labels and tick labels of all panels keep clear of each other."""
    fig, axs = plot_recovery(one)
    fig.canvas.draw()
    texts = [text for ax in axs for text in (ax.title, ax.xaxis.label, ax.yaxis.label) if text.get_text()]
    texts += [label for ax in axs for label in ax.get_yticklabels() if label.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i]), texts[i].get_text()

"""Figures of posteriors."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError, DataError
from spice.inference.fitting.bayes.nuts import fit_nuts
from spice.resources.dataset import DatasetRNN
from spice.utils.plotting import plot_posterior

LABELS = ["ann", "bob", "cy", "dee", "eve", "flo"]
QUICK = {"draws": 60, "tune": 150, "chains": 2, "n_threads": 1}


def fitted(pooling):
    """A model of six people who choose and are rewarded at random."""
    model = SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(low=0, high=1), "beta": Parameter(low=0)},
    )
    rng = np.random.default_rng(0)
    one_hot = np.eye(2)[rng.integers(2, size=(6, 41))]
    reward = np.where(one_hot == 1, rng.integers(2, size=(6, 41, 1)), np.nan)
    xs = np.concatenate([one_hot, reward, np.broadcast_to(np.arange(6)[:, None, None], (6, 41, 1))], axis=2)
    data = DatasetRNN(xs[:, :-1], one_hot[:, 1:], labels={"participant": LABELS})
    with pytest.warns(UserWarning, match="not to be trusted"):
        return fit_nuts(model, data, pooling, **QUICK)


@pytest.fixture(scope="module")
def population():
    return fitted("partial")


@pytest.fixture(scope="module")
def alone():
    return fitted("none")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def check_no_overlaps(fig, axs):
    """All texts are on the figure; titles, labels, legend and the tick labels that can be seen keep clear."""
    fig.canvas.draw()
    panels = [ax for ax in axs.ravel() if ax is not None]
    texts = [t for ax in panels for t in (ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    texts += [text for legend in fig.legends for text in legend.get_texts()]
    for ax in panels:
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            seen = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in seen if tick.label1.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]
    width, height = fig.canvas.get_width_height()
    for place, (text, box) in enumerate(boxes):
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text
        for other, second in boxes[:place]:
            assert not box.shrunk(0.98, 0.98).overlaps(second), (text, other)


@pytest.mark.parametrize(
    ("kind", "shape"), [("trace", (4, 2)), ("pair", (4, 4)), ("posterior", (4,)), ("forest", (2,))]
)
def test_panels_of_a_population(population, kind, shape):
    fig, axs = plot_posterior(population, kind, reference={"alpha_mean": 0.2, "alpha": np.full(6, 0.3)})
    assert axs.shape == shape
    check_no_overlaps(fig, axs)


def test_a_trace_draws_each_chain_and_the_reference(population):
    _, axs = plot_posterior(population, "trace", reference={"alpha_mean": -0.7}, parameters=["alpha_mean"])
    lines = axs[0, 1].get_lines()
    np.testing.assert_array_equal(lines[1].get_ydata(), population.posterior["alpha_mean"][1])
    assert any(np.allclose(line.get_ydata(), -0.7) for line in lines)


def test_a_posterior_tells_mean_and_interval(population):
    _, axs = plot_posterior(population, "posterior", parameters=["alpha[bob]"], reference={"alpha": 0.3})
    draws = population.posterior["alpha"][..., 1]
    text = axs[0].get_title()
    assert f"mean {draws.mean():.3g}" in text and f"{np.mean(draws < 0.3):.0%} below 0.3" in text


def test_a_forest_has_a_row_for_each_participant(alone):
    _, axs = plot_posterior(alone, "forest")
    assert [tick.get_text() for tick in axs[0].get_yticklabels()] == LABELS
    middles = axs[0].get_lines()[0].get_xdata()
    np.testing.assert_allclose(middles, alone.parameters["alpha"])


def test_of_many_variables_the_worst_are_drawn(alone, monkeypatch):
    from spice.utils import posterior_plot

    monkeypatch.setitem(posterior_plot.MOST, "trace", 3)
    fig, axs = plot_posterior(alone, "trace")
    assert len(axs) == 3 and "3 of 12 variables" in fig.get_suptitle()
    worst = alone.diagnostics["r_hat"].nlargest(3).index
    assert {ax.get_title(loc="left")[-4:-1].strip("[ ") for ax in axs[:, 0]} == {n[-4:-1].strip("[") for n in worst}


def test_divergent_draws_are_marked(population):
    population.statistics["diverging"][0, 5] = True
    try:
        _, axs = plot_posterior(population, "pair", parameters=["alpha_mean", "beta_mean"])
        dots = axs[1, 0].get_lines()[1]
        assert dots.get_xdata().tolist() == [population.posterior["alpha_mean"][0, 5]]
    finally:
        population.statistics["diverging"][0, 5] = False


def test_wrong_arguments_are_listed(population):
    with pytest.raises(ConfigError) as error:
        plot_posterior(population, "traces", reference={"gamma": 1}, parameters=["alpha_men"])
    for part in ("kind must be one of", "no variable 'gamma'", "did you mean 'alpha_mean'"):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="reference of 'alpha' has 2 numbers, but there are 6"):
        plot_posterior(population, "forest", reference={"alpha": [0.1, 0.2]})
    with pytest.raises(ConfigError, match="plot_posterior draws what"):
        plot_posterior("posterior")


def test_references_by_participant(alone):
    """In whatever order a table has them."""
    labels = alone.parameters.index
    table = pd.DataFrame({"alpha": np.linspace(0.1, 0.6, len(labels)), "beta": 1.0}, index=labels)
    _, axs = plot_posterior(alone, "forest", reference=table[::-1])
    crosses = axs[0].get_lines()[1]
    assert crosses.get_xdata().tolist() == table["alpha"].tolist()
    assert crosses.get_ydata().tolist() == list(range(len(labels)))[::-1]
    with pytest.raises(ConfigError, match=f"the reference of 'alpha' has no value of participant {labels[0]!r}"):
        plot_posterior(alone, "forest", reference={"alpha": table["alpha"].iloc[1:]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": []}, "parameters must be names of variables, not []"),
        ({"parameters": 3}, "parameters must be names of variables, not 3"),
        ({"reference": [0.5]}, "reference must be values by variable, e.g. {'alpha': 0.5}, not [0.5]"),
    ],
)
def test_arguments_of_another_kind(population, arguments, message):
    with pytest.raises(ConfigError) as error:
        plot_posterior(population, **arguments)
    assert message in str(error.value)


def test_references_that_are_text(population):
    with pytest.raises(DataError, match="the reference of 'alpha' must be numbers"):
        plot_posterior(population, reference={"alpha": "x"})

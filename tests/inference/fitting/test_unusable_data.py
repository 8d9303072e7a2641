"""Data that no model can be fitted to: said so before anything is computed."""

import re

import numpy as np
import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import DataError, SpiceWarning
from spice.inference import fit, objective
from spice.resources.dataset import DatasetRNN


def both(xs, ys):
    xs[0, 3, :2] = 1


def neither(xs, ys):
    xs[0, 3, :2] = 0


def half(xs, ys):
    ys[0, 3] = 0.5


def padded(xs, ys):
    xs[1, 40:, :4] = ys[1, 40:] = -1


def unobserved(xs, ys):
    xs[..., 2:4] = np.nan_to_num(xs[..., 2:4], nan=-1)


def infinite(xs, ys):
    xs[0, 3, 2] = np.inf


def enormous(xs, ys):
    xs[0, 3, 2] = -1e30
    xs[1, 2, 3] = 2e6
    xs[0, 5, :2] = np.nan  # is not used
    xs[0, 5, 2:4] = 1e30


def somebody_else(xs, ys):
    xs[1, 30:, 4] = 0


def nobody(xs, ys):
    xs[1, :, 4] = np.nan


WRONG = {
    both: "the choice columns of xs must be one-hot, but session 0, trial 3 has [1.0, 1.0]",
    neither: "the choice columns of xs must be one-hot, but session 0, trial 3 has [0.0, 0.0]",
    half: "ys must be one-hot, but session 0, trial 3 has [0.5, 0.5]",
    padded: "ys are -1 in session 1, trial 40: code missing and padded trials as NaN",
    unobserved: "every reward of an option not chosen is -1",
    infinite: "reward_0 is infinite in session 0, trial 3",
    enormous: "reward_0 is -1e+30 in session 0, trial 3 (and 1 more), beyond 1e+06; correct it, set it to NaN",
    somebody_else: "the participant changes within session 1, at trial 30",
    nobody: "the participant of session 1 is nan",
}


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_one_error(tools, people, change):
    good = tools.dataset_of(people[:2])
    xs, ys = good.xs.numpy().copy(), good.ys.numpy().copy()
    change(xs, ys)
    model, data = tools.rescorla_wagner(), DatasetRNN(xs, ys)
    for use in (fit, objective, lambda model, data: fit(model, good).predict(data)):
        with pytest.raises(DataError, match=re.escape(WRONG[change])):
            use(model, data)


def test_choices_of_the_same_row(tools, people):
    xs = tools.dataset_of(people[:2]).xs
    data = DatasetRNN(xs, xs[..., :2])
    for use in (fit, objective):
        with pytest.warns(SpiceWarning, match="ys of session 0, trial .* is not the choice in row") as caught:
            use(tools.rescorla_wagner(), data)
        assert caught[0].filename == __file__


def test_what_is_shown_next_must_be_that_of_the_next_row(tools, people):
    good = tools.dataset_of(people[:1])
    n_trials = good.shape[1]
    shown = np.random.default_rng(0).integers(0, 2, (1, n_trials + 1)).astype(float)
    names = ["choice_0", "choice_1", "reward_0", "reward_1", "cue", "next_cue", "participant"]
    model = SymbolicModel(
        shown={"cue": 2},
        states={"q": State(0.5, by="cue")},
        updates=[("q", "chosen", "q + alpha * (reward - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)},
    )

    def with_cues(coming):
        parts = [good.xs[..., :4], shown[:, :-1, None], coming[..., None], good.xs[..., 4:]]
        return DatasetRNN(np.concatenate(parts, -1), good.ys, names)

    fit(model, with_cues(shown[:, 1:]))  # warns of nothing
    with pytest.warns(SpiceWarning, match="next_cue of session 0, trial 0 is not cue in row 1"):
        fit(model, with_cues(1 - shown[:, 1:]))

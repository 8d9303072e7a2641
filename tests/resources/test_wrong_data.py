"""Things that are no data: each a sentence of ours, none a traceback from inside."""

import re

import numpy as np
import pytest

from spice.errors import ConfigError, DataError
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN
from spice.resources.splits import split_by_block, split_by_participant, split_by_trial_fraction
from spice.utils.convert_dataset import to_table

MADE = create_dataset(AgentQ(), BanditsDrift(0.2), n_trials=10, n_sessions=3, seed=0)
DATA, RECORDS = MADE[:2]
XS, YS = DATA.xs, DATA.ys
NO_SESSION = (
    "a session is a record of create_dataset, a DatasetRNN of one session, or an array such as dataset.xs[0], not "
)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            lambda: DatasetRNN.of(MADE),
            "one DatasetRNN is needed, or xs and ys as two arguments, not a tuple of 3; create_dataset returns "
            "dataset, experiments, parameters.",
        ),
        (
            lambda: DatasetRNN.of([DATA, DATA]),
            "one DatasetRNN is needed, or xs and ys as two arguments, not a list of 2; create_dataset returns dataset, "
            "experiments, parameters.",
        ),
        (
            lambda: DatasetRNN.of(None),
            "xs must have three dimensions (n_sessions, n_trials, n_features), but has shape ().",
        ),
        (
            lambda: DatasetRNN.of(XS[0]),
            "xs must have three dimensions (n_sessions, n_trials, n_features), but has shape (10, 5).",
        ),
        (
            lambda: DatasetRNN(XS, YS, labels=["anna"]),
            "labels must be given by column, e.g. {'participant': ['anna', 'ben']}, not ['anna'].",
        ),
        (
            lambda: DatasetRNN(XS, YS, labels={"participant": "anna", "choice": ["left"]}),
            "labels do not fit the data:\n"
            "  - those of 'participant' must be a list, one label per code, not 'anna'.\n"
            "  - there are 1 of 'choice' for 2 actions.",
        ),
        (
            lambda: DatasetRNN(XS, YS, labels={"participant": ["anna", "ben", "anna"]}),
            "labels do not fit the data: 'anna' stands for 2 codes of 'participant'; give each code a label of its "
            "own.",
        ),
        (
            lambda: split_by_block(XS, 3),
            "split_by_block needs a DatasetRNN, e.g. DatasetRNN(xs, ys), not an object of Tensor.",
        ),
        (
            lambda: split_by_participant(None, 3),
            "split_by_participant needs a DatasetRNN, e.g. DatasetRNN(xs, ys), not None.",
        ),
        (
            lambda: split_by_trial_fraction(MADE[1], 0.5),
            "split_by_trial_fraction needs a DatasetRNN, e.g. DatasetRNN(xs, ys), not an object of list.",
        ),
        (
            lambda: to_table("a.csv"),
            "to_table needs a DatasetRNN: files and tables are read by spice.utils.convert_dataset.convert_dataset, "
            "which is told the names of their columns.",
        ),
        (lambda: replay(AgentQ(), "a"), NO_SESSION + "'a'."),
        (lambda: replay(AgentQ(), RECORDS), NO_SESSION + "an object of list."),
        (lambda: replay(AgentQ(), (XS[0], YS[0])), NO_SESSION + "an object of tuple."),
    ],
)
def test_data(call, problem):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            lambda: DatasetRNN(XS, YS, columns="participant"),
            "columns must be a list of names, e.g. ['participant'], not 'participant'.",
        ),
        (lambda: DatasetRNN(XS, YS, columns=3), "columns must be a list of names, e.g. ['participant'], not 3."),
        (
            lambda: split_by_trial_fraction(DATA, "half"),
            "fraction must lie between 0 and 1, not 'half'; 0.7 trains on the first 70 %.",
        ),
        (lambda: split_by_participant(DATA, [[1]]), "there is no participant [1]; there are 0, 1, 2."),
    ],
)
def test_settings(call, problem):
    with pytest.raises(ConfigError, match="^" + re.escape(problem) + "$"):
        call()


def test_labels_of_any_kind_of_list():
    labels = {"participant": np.array(["anna", "ben", "cleo"]), "choice": ("left", "right")}
    assert DatasetRNN(XS, YS, labels=labels).label("participant", 1) == "ben"


def test_labels_of_a_column_that_is_gone():
    labels = {"participant": ["anna", "ben", "cleo"], "stimulus": ["house", "face"]}
    assert DatasetRNN(XS, YS, labels=labels).labels["stimulus"] == ("house", "face")


def test_sessions_in_a_tuple():
    np.testing.assert_array_equal(DatasetRNN.of(tuple(XS.numpy()), tuple(YS.numpy())).xs, XS)

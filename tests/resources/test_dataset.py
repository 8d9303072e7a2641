"""DatasetRNN and its columns: storage, names, labels, indexing as scikit-learn does it, and errors by their text."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils import _safe_indexing

from spice.errors import ConfigError, DataError
from spice.resources.columns import Columns
from spice.resources.dataset import DatasetRNN

NAMES = ["stimulus", "next_stimulus", "rt", "trial", "block", "participant"]


def make_dataset(n_sessions: int = 6, n_trials: int = 4) -> DatasetRNN:
    """Session s: participant s // 2, block s % 2; the last row of each session has no target."""
    rng = np.random.default_rng(0)
    choices = np.eye(2)[rng.integers(0, 2, (n_sessions, n_trials))]
    xs = np.zeros((n_sessions, n_trials, 10))
    xs[..., :2] = choices
    xs[..., 2:4] = np.where(choices == 1, 1.0, np.nan)
    xs[..., 8] = (np.arange(n_sessions) % 2)[:, None]
    xs[..., 9] = (np.arange(n_sessions) // 2)[:, None]
    ys = np.full(choices.shape, np.nan)
    ys[:, :-1] = choices[:, 1:]
    labels = {"participant": ["anna", "ben", "cleo"], "block": [1, 2]}
    return DatasetRNN(xs, ys, NAMES, labels, {"choice": "arm"})


def test_arrays_are_stored_as_writable_float32_copies():
    for make in (np.array, torch.tensor):
        xs, ys = make([[[1, 0, 1, 0, 3]]]), make([[[0, 1]]])
        data = DatasetRNN(xs, ys)
        assert data.xs.dtype == data.ys.dtype == torch.float32
        data.xs[..., -1] = 0
        assert int(xs[0, 0, -1]) == 3 and data.participants.tolist() == [0]
    assert data.shape == (1, 1, 5) and len(data) == 1 and data.n_actions == 2


def test_a_tensor_that_needs_a_gradient_is_detached():
    xs = torch.ones(1, 2, 5, requires_grad=True)
    assert not DatasetRNN(xs, torch.zeros(1, 2, 2)).xs.requires_grad


def test_columns_by_name():
    data = make_dataset()
    assert data.columns.names[:4] == ("choice_0", "choice_1", "reward_0", "reward_1")
    assert data.columns.inputs == ("rt",) and data.columns.shown == ("stimulus",)
    assert data.columns.choice == slice(0, 2) and data.columns.reward == slice(2, 4)
    assert data.columns.participant == 9 and data.columns.has("rt") and not data.columns.has("age")
    assert torch.equal(data.column("block"), data.xs[..., 8])
    assert Columns.make(2, 10, data.columns.names) == data.columns
    assert Columns.make(3, 7).names[-1] == "participant"


def test_masks_follow_from_the_arrays():
    data = make_dataset()
    assert data.observed.all() and data.n_scored == 6 * 3 and not data.scored[:, -1].any()
    data.xs[0, 1, 0] = torch.nan
    data.ys[0, 0] = torch.nan
    assert not data.observed[0, 1] and data.n_scored == 17


def test_labels():
    data = make_dataset()
    assert data.label("participant", 1) == "ben" and data.code("participant", "ben") == 1
    assert data.label("rt", 7) == 7 and data.label("participant", 99) == 99 and data.code("rt", 7) == 7
    with pytest.raises(ConfigError, match="^there is no participant 'zoe'; there are 'anna', 'ben', 'cleo'.$"):
        data.code("participant", "zoe")


@pytest.mark.parametrize(
    ("index", "sessions"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [5, 3, 1]),
        (torch.tensor(4), [4]),
        (2, [2]),
        (-1, [5]),
        (np.int64(3), [3]),
        ([4, 0], [4, 0]),
        (np.array([5, 1, 1]), [5, 1, 1]),
        (torch.tensor([0, 2]), [0, 2]),
        (np.arange(6) > 3, [4, 5]),
        ([True, False, False, False, True, False], [0, 4]),
        (torch.arange(6) < 2, [0, 1]),
        ((np.array([1, 2]), Ellipsis), [1, 2]),
    ],
)
def test_indexing_returns_a_dataset_with_columns_and_labels(index, sessions):
    data = make_dataset()
    data.xs[:, 0, 6] = torch.arange(6)
    part = data[index]
    assert isinstance(part, DatasetRNN) and part.column("rt")[:, 0].tolist() == sessions
    assert torch.equal(part.ys.nan_to_num(), data.ys[sessions].nan_to_num())
    assert (part.columns, part.labels, part.table_columns) == (data.columns, data.labels, data.table_columns)
    part.xs[:] = 0
    assert data.xs[:, 0, 6].tolist() == list(range(6))


def test_an_index_beyond_the_sessions():
    data = make_dataset()
    for index in (6, [0, 6], np.ones(5, dtype=bool)):
        with pytest.raises(IndexError):
            data[index]
    assert len(list(data)) == 6
    for nothing in ([], np.zeros(6, dtype=bool)):
        with pytest.raises(DataError, match="^the data are empty: 0 sessions of 4 trials.$"):
            data[nothing]


def test_trials_are_not_indexed_by_accident():
    with pytest.raises(IndexError) as error:
        make_dataset()[0, 1]
    assert str(error.value) == "a dataset is indexed by session, not by (0, 1); for trials index its xs and ys."


def test_scikit_learn_splitters_cut_by_session():
    data = make_dataset()
    seen = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(data):
        part = _safe_indexing(data, test)
        assert isinstance(part, DatasetRNN) and len(part) == 2 and len(_safe_indexing(data, train)) == 4
        seen += test.tolist()
    assert sorted(seen) == list(range(6))
    for train, test in GroupKFold(3).split(data, groups=data.participants):
        overlap = set(_safe_indexing(data, train).participants.tolist()) & set(data[test].participants.tolist())
        assert not overlap


def test_copies_and_pickles_are_equal():
    data = make_dataset()
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert torch.equal(other.xs.nan_to_num(), data.xs.nan_to_num()) and other.labels == data.labels


def test_of_takes_datasets_and_arrays():
    data = make_dataset()
    assert DatasetRNN.of(data) is data
    xs = np.ones((2, 3, 5))
    assert DatasetRNN.of(xs, np.ones((2, 3, 2))).n_scored == 6
    assert DatasetRNN.of(xs, n_actions=2).n_scored == 0
    with pytest.raises(DataError, match="^ys is missing: give the one-hot choice of the following trial"):
        DatasetRNN.of(xs)


def test_repr_says_what_is_in_it():
    expected = "DatasetRNN(6 sessions x 4 trials, 2 actions, 3 participants, 18 scored choices)"
    assert repr(make_dataset()) == expected


@pytest.mark.parametrize(
    ("xs", "ys", "message"),
    [
        (
            np.zeros((3, 5)),
            np.zeros((3, 2)),
            "xs must have three dimensions (n_sessions, n_trials, n_features), but has shape (3, 5).",
        ),
        (
            np.zeros((1, 3, 5)),
            np.zeros((3, 2)),
            "ys must have three dimensions (n_sessions, n_trials, n_actions), but has shape (3, 2).",
        ),
        (
            np.zeros((1, 3, 5)),
            np.zeros((1, 2, 2)),
            "xs has 1 sessions of 3 trials, ys has 1 of 2: row t of ys is the choice that follows row t of xs, so "
            "both need the same shape.",
        ),
        (np.zeros((0, 3, 5)), np.zeros((0, 3, 2)), "the data are empty: 0 sessions of 3 trials."),
        (np.zeros((2, 0, 5)), np.zeros((2, 0, 2)), "the data are empty: 2 sessions of 0 trials."),
        (
            np.zeros((1, 3, 3)),
            np.zeros((1, 3, 1)),
            "ys has 1 action column(s); a choice needs at least two (one-hot).",
        ),
    ],
)
def test_arrays_that_do_not_fit(xs, ys, message):
    with pytest.raises(DataError) as error:
        DatasetRNN(xs, ys)
    assert str(error.value) == message


def test_text_is_no_array_of_numbers():
    with pytest.raises(DataError, match="^xs must be an array of numbers: "):
        DatasetRNN([[["left"]]], np.zeros((1, 1, 2)))


@pytest.mark.parametrize(
    ("n_features", "columns", "message"),
    [
        (
            6,
            None,
            "xs has 6 columns, but 2 actions need 2 * 2 + 1 = 5 (one-hot choice, reward per action, participant). If "
            "there are further columns, name them: DatasetRNN(xs, ys, columns=[..., 'block', 'experiment', "
            "'participant']).",
        ),
        (
            6,
            ["participant"],
            "columns names 1 columns after the choices and rewards of 2 actions, but xs has 2 of them. Name every "
            "column of xs, or every one after the first 4.",
        ),
        (
            6,
            ["participant", "participant"],
            "columns names 'participant' more than once; give each its own name.",
        ),
        (5, ["rt"], "columns has no 'participant'; name the column that holds the participant's number."),
    ],
)
def test_columns_that_do_not_fit(n_features, columns, message):
    with pytest.raises(ConfigError) as error:
        Columns.make(2, n_features, columns)
    assert str(error.value) == message


def test_a_column_that_is_not_there():
    data = make_dataset()
    with pytest.raises(ConfigError) as error:
        data.column("age")
    assert str(error.value) == f"there is no column 'age'; the columns are {', '.join(data.columns.names)}."


def test_places_are_told_as_the_table_has_them():
    columns = ["trial", "block", "participant"]
    xs = torch.zeros(2, 3, 7)
    xs[..., 0], xs[..., 4], xs[1, :, 5] = 1, torch.tensor([10.0, 11.0, torch.nan]), 1
    data = DatasetRNN(xs, torch.zeros(2, 3, 2), columns, {"block": ["pre", "post"]})
    assert data.place(1, 1) == "session 1, trial 1 (block 'post', trial 11)"
    assert data.place(0, 3) == "session 0, trial 3"  # that only ys knows
    assert DatasetRNN(xs, data.ys, columns).place(1, 2) == "session 1, trial 2"

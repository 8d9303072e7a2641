"""Splits: every choice is scored once, nothing of the test part reaches the training part, errors by their text."""

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError, SpiceWarning
from spice.resources.dataset import DatasetRNN
from spice.resources.splits import split_by_block, split_by_participant, split_by_trial_fraction

NAMES = ["rt", "cue", "next_cue", "trial", "block", "participant"]
LENGTHS = np.array([10, 7, 10, 1, 2, 8])


def make_dataset(seed: int = 0, same_until: np.ndarray | None = None) -> DatasetRNN:
    """Three people with blocks "a" and "b" of unequal length; rows before ``same_until`` do not depend on the seed."""
    fixed, free = np.random.default_rng(99), np.random.default_rng(seed)
    row = np.arange(10)
    same = row < (np.full(6, 10) if same_until is None else same_until)[:, None]

    def draw(make):
        one, other = make(fixed), make(free)
        return np.where(same if one.ndim == 2 else same[..., None], one, other)

    choices = draw(lambda rng: np.eye(2)[rng.integers(0, 2, (6, 10))])
    cue, rt = draw(lambda rng: rng.normal(size=(6, 10))), draw(lambda rng: rng.normal(size=(6, 10)))
    padding = row >= LENGTHS[:, None]
    choices[padding] = np.nan
    choices[0, 4] = np.nan  # a missing trial
    rewards = np.where(choices == 1, 1.0, np.nan)
    cue, rt = np.where(padding, 0, cue), np.where(padding, 0, rt)
    trial = np.where(padding, np.nan, row + 1.0)
    block, who = (np.broadcast_to(codes[:, None], (6, 10)) for codes in (np.arange(6) % 2, np.arange(6) // 2))
    following = np.hstack([cue[:, 1:], np.zeros((6, 1))])
    xs = np.dstack([choices, rewards, rt, cue, following, trial, block, who])
    ys = np.full(choices.shape, np.nan)
    ys[:, :-1] = choices[:, 1:]
    return DatasetRNN(xs, ys, NAMES, {"block": ["a", "b"], "participant": [7, 8, 9]}, {"choice": "arm"})


def assert_same_kind(data: DatasetRNN, *parts: DatasetRNN) -> None:
    for part in parts:
        assert (part.columns, part.labels, part.table_columns) == (data.columns, data.labels, data.table_columns)


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("blocks", ["b", ["b"], ("b",), np.array(["b"])])
def test_by_block(blocks):
    data = make_dataset()
    train, test = split_by_block(data, blocks)
    assert equal(train.xs, data.xs[::2]) and equal(test.xs, data.xs[1::2])
    assert train.n_scored + test.n_scored == data.n_scored
    assert_same_kind(data, train, test)


def test_by_block_of_a_part_and_without_labels():
    data = make_dataset()
    plain = DatasetRNN(data.xs, data.ys, NAMES)
    train, test = split_by_block(plain, 1)
    assert test.column("block").unique().tolist() == [1] and len(train) == 3
    with pytest.raises(ConfigError, match="^there is no block 'b'; there are 'a'.$"):
        split_by_block(data[::2], ["b"])


def test_by_block_names_people_without_training_blocks():
    with pytest.warns(SpiceWarning) as notices:
        split_by_block(make_dataset()[[0, 2, 3, 5]], "b")
    assert [str(notice.message) for notice in notices] == ["participant(s) 9 have test blocks only: nothing to fit."]


def test_by_participant():
    data = make_dataset()
    train, test = split_by_participant(data, [7, np.int64(9)])
    assert train.participants.tolist() == [1, 1] and test.participants.tolist() == [0, 0, 2, 2]
    assert_same_kind(data, train, test)
    assert split_by_participant(data, 8)[1].participants.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("split", "held_out", "message"),
    [
        (split_by_block, ["a", "c", "d"], "there is no block 'c', 'd'; there are 'a', 'b'."),
        (split_by_block, ["a", "b"], "the training part would be empty: 2 of 2 blocks are held out."),
        (split_by_block, [], "the test part would be empty: 0 of 2 blocks are held out."),
        (split_by_participant, "7", "there is no participant '7'; there are 7, 8, 9."),
        (split_by_participant, [7, 8, 9], "the training part would be empty: 3 of 3 participants are held out."),
    ],
)
def test_labels_that_cannot_be_held_out(split, held_out, message):
    with pytest.raises(ConfigError) as error:
        split(make_dataset(), held_out)
    assert str(error.value) == message


def test_by_block_needs_blocks():
    data = DatasetRNN(np.zeros((2, 3, 5)), np.zeros((2, 3, 2)))
    with pytest.raises(ConfigError) as error:
        split_by_block(data, 1)
    assert str(error.value) == "the data have no column 'block'; name it with convert_dataset(..., block=...)."
    data = make_dataset()
    data.xs[2, 5:, data.columns.index("block")] = 1
    with pytest.raises(DataError) as error:
        split_by_block(data, "b")
    assert str(error.value) == "session 2 runs over several blocks; a session is one block, so cut it there."


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.65, 0.8])
def test_by_trial_fraction_scores_every_choice_once(fraction):
    data = make_dataset()
    train, test = split_by_trial_fraction(data, fraction)
    assert equal(test.xs, data.xs)
    in_train = torch.zeros_like(data.scored)
    in_train[:, : train.shape[1]] = train.scored
    assert not (in_train & test.scored).any() and torch.equal(in_train | test.scored, data.scored)
    assert equal(train.ys[train.scored], data.ys[in_train]) and equal(test.ys[test.scored], data.ys[test.scored])
    assert_same_kind(data, train, test)


def test_by_trial_fraction_takes_the_first_part_of_each_session():
    data = make_dataset()
    train, test = split_by_trial_fraction(data, 0.5)
    assert train.shape[1] == 5
    assert train.observed.sum(1).tolist() == [4, 4, 5, 1, 1, 4]  # one of session 0 is missing
    assert train.scored.sum(1).tolist() == [3, 3, 4, 0, 0, 3]
    assert test.scored.sum(1).tolist() == [5, 3, 5, 0, 1, 4]


def test_nothing_of_the_test_part_reaches_the_training_part():
    cut = np.maximum(np.round(0.5 * LENGTHS), 1)
    one, other = (split_by_trial_fraction(make_dataset(seed, cut), 0.5) for seed in (1, 2))
    assert not equal(one[1].xs, other[1].xs)
    assert equal(one[0].xs, other[0].xs) and equal(one[0].ys, other[0].ys)


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (0, "fraction must lie between 0 and 1, not 0; 0.7 trains on the first 70 %."),
        (1.0, "fraction must lie between 0 and 1, not 1.0; 0.7 trains on the first 70 %."),
        (0.01, "fraction=0.01 leaves no choice to score in the training part; choose another."),
        (0.99, "fraction=0.99 leaves no choice to score in the test part; choose another."),
    ],
)
def test_fractions_that_do_not_fit(fraction, message):
    with pytest.raises(ConfigError) as error:
        split_by_trial_fraction(make_dataset(), fraction)
    assert str(error.value) == message


def test_the_data_given_are_left_alone():
    data = make_dataset()
    train, test = split_by_trial_fraction(data, 0.5)
    train.xs[:], test.ys[:] = 0, 0
    assert equal(data.xs, make_dataset().xs) and equal(data.ys, make_dataset().ys)

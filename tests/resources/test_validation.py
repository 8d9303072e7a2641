"""Checks of choice data: what passes, and every problem by its full text."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import DataError, SpiceWarning
from spice.resources.dataset import DatasetRNN
from spice.resources.validation import check_dataset, check_several_sessions

NAN = float("nan")


def make(further=()):
    """Three sessions of four trials, unobserved rewards NaN, with these further columns before the participant."""
    rng = np.random.default_rng(0)
    one_hot = np.eye(2)[rng.integers(2, size=(3, 5))]
    reward = np.where(one_hot == 1, rng.integers(0, 2, (3, 5, 1)), np.nan)
    inputs = rng.normal(size=(3, 5, len(further)))
    for k, name in enumerate(further):
        if name.startswith("next_"):  # the coming trial's
            inputs[:, :-1, k] = inputs[:, 1:, further.index(name.removeprefix("next_"))]
    person = np.broadcast_to(np.arange(3.0)[:, None, None], (3, 5, 1))
    xs = np.concatenate([one_hot, reward, inputs, person], axis=2)[:, :-1]
    return DatasetRNN(xs, one_hot[:, 1:], [*further, "participant"])


def message(data, **settings):
    with pytest.raises(DataError) as caught:
        check_dataset(data, **settings)
    return str(caught.value)


def test_good_data_pass_silently(random_data):
    check_dataset(make(), n_participants=3)
    check_dataset(make(["effort"]))
    check_dataset(random_data(missing=0.3, padding=True))
    check_dataset(random_data(unknown=0.3, missing=0.3), missing_reward="skip")
    data = random_data(n_actions=3)
    data.xs[..., 3:6] = 100 * data.xs[..., 3:6].nan_to_num(-0.5)  # counterfactual, continuous
    check_dataset(data)


def test_choices_that_are_not_one_hot():
    data = make()
    data.xs[1, 2, :4] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert message(data) == (
        "The data cannot be used: the choice columns of xs must be one-hot, but session 1, trial 2 has [1.0, 1.0]; use "
        "one column per action with a single 1, np.eye(n_actions)[choice], and NaN in all of them where the trial is "
        "missing."
    )


@pytest.mark.parametrize("row", [[0.0, 0.0], [0.5, 0.5], [2.0, -1.0], [NAN, 1.0], [np.inf, 0.0]])
def test_targets_that_are_not_one_hot(row):
    data = make()
    data.ys[0, 1] = data.ys[2, 3] = torch.tensor(row)
    assert message(data).startswith(
        f"The data cannot be used: ys must be one-hot, but session 0, trial 1 has {row} (and 1 more);"
    )


def test_missing_trials_coded_minus_one():
    data = make()
    data.xs[2, 3, :2] = -1
    assert message(data) == (
        "The data cannot be used: the choice columns of xs are -1 in session 2, trial 3: code missing and padded "
        "trials as NaN (xs[xs == -1] = np.nan), not -1."
    )


def test_infinite_rewards():
    data = make()
    data.xs[1, 0, 3] = torch.inf
    assert message(data) == (
        "The data cannot be used: reward_1 is infinite in session 1, trial 0; correct it, or set it to NaN if "
        "unobserved."
    )


def test_unobserved_rewards_coded_minus_one():
    data = make()
    data.xs[..., 2:4] = data.xs[..., 2:4].nan_to_num(-1.0)
    assert message(data) == (
        "The data cannot be used: every reward of an option not chosen is -1 and no reward of a chosen one is: "
        "unobserved rewards are coded NaN here, not -1. Set them with rewards[rewards == -1] = np.nan."
    )
    data.xs[0, 0, 2:4] = -1.0  # losses: -1 is a reward like any other
    check_dataset(data)


def test_a_missing_reward_of_the_chosen_option():
    data = make()
    choice = int(data.xs[2, 1, 1])
    data.xs[2, 1, 2 + choice] = torch.nan
    assert message(data) == (
        f"The data cannot be used: reward_{choice} is missing (NaN) in session 2, trial 1 although option {choice} was "
        "chosen; fill it in, or use missing_reward='skip' (the choice is scored, the outcome updates nothing)."
    )
    check_dataset(data, missing_reward="skip")
    with pytest.raises(DataError, match="^missing_reward='drop' is unknown; choose 'error' or 'skip'.$"):
        check_dataset(data, missing_reward="drop")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_inputs_that_are_not_finite(value):
    data = make(["effort", "cue", "next_cue"])
    data.xs[1, 2, data.columns.index("effort")] = value
    assert message(data) == (
        "The data cannot be used: the column 'effort' is NaN or infinite in session 1, trial 2; fill it in, or mark "
        "the trial as missing (NaN in its choice columns)."
    )
    data.xs[1, 2, :2] = torch.nan
    data.ys[1, 1] = torch.nan
    check_dataset(data)


@pytest.mark.parametrize("column", ["cue", "next_cue"])
def test_shown_inputs_that_are_not_finite(column):
    data = make(["cue", "next_cue"])
    data.xs[1, 2, data.columns.index(column)] = torch.nan
    assert f"the column {column!r} is NaN or infinite in session 1, trial 2" in message(data)


def test_what_is_shown_after_the_last_choice_may_be_unknown():
    data = make(["cue", "next_cue"])
    data.xs[:, -1, data.columns.index("next_cue")] = torch.nan
    assert "the column 'next_cue'" in message(data)
    data.ys[:, -1] = torch.nan
    check_dataset(data)


@pytest.mark.parametrize("number", [-1.0, 0.5, NAN])
def test_participants_that_are_no_numbers(number):
    data = make()
    data.xs[1, :, -1] = number
    assert message(data) == (
        f"The data cannot be used: the participant of session 1 is {number:g}; number participants 0, 1, 2, ..."
    )


def test_participants_beyond_the_model():
    assert message(make(), n_participants=2) == (
        "The data cannot be used: the participant of session 2 is 2, but n_participants=2 allows 0 to 1; raise "
        "n_participants, or leave it out."
    )


def test_a_participant_who_changes():
    data = make()
    data.xs[1, 2:, -1] = 0
    assert message(data) == (
        "The data cannot be used: the participant changes within session 1, at trial 2; a session is one participant's "
        "uninterrupted run of trials, so split it."
    )


def test_all_problems_at_once():
    data = make(["effort"])
    data.xs[0, 0, :2] = 0
    data.ys[1, 1] = 0
    data.xs[1, 2, 4] = torch.nan
    data.xs[2, :, -1] = -3
    lines = message(data).split("\n")
    assert lines[0] == "The data cannot be used:" and len(lines) == 5
    assert all(line.startswith("  - ") for line in lines[1:])


def test_shifted_targets():
    data = make()
    data.ys[1, 0] = 1 - data.ys[1, 0]
    with pytest.warns(SpiceWarning) as caught:
        check_dataset(data)
    assert str(caught[0].message) == (
        "ys of session 1, trial 0 is not the choice in row 1 of xs: ys[:, t] must be the choice of trial t + 1. If "
        "rows were left out, put missing trials (NaN) in their place."
    )
    data.ys[1, 0] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(data)


def test_people_with_one_session():
    data = make()
    data.xs[1, :, -1] = 0
    data.labels["participant"] = ("anna", "ben", "zoe")
    check_several_sessions(data[:2], "this draws", "do that")
    with pytest.raises(DataError) as caught:
        check_several_sessions(data, "this draws", "do that")
    assert str(caught.value) == (
        "this draws whole sessions, but participant 'zoe' has one session only: do that, or tell the sessions (blocks) "
        "apart in the data."
    )

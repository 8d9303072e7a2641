"""Shown inputs against the levels that a model declares, and choices against what was on offer."""

import numpy as np
import pytest
import torch

from spice.errors import DataError
from spice.resources.bandits import AgentQ, AlienTask, BanditsDrift, BanditsOnOffer, create_dataset
from spice.resources.dataset import DatasetRNN
from spice.resources.levels import check_levels, check_offers

LEVELS = {"season": 3, "alien": 4}


def aliens() -> DatasetRNN:
    data, _, _ = create_dataset(AgentQ(3), AlienTask(block_length=2), 20, 3, seed=1)
    return DatasetRNN(data.xs, data.ys, data.columns.names, {"participant": ["anna", "ben", "cleo"]})


def offers() -> DatasetRNN:
    data, _, _ = create_dataset(AgentQ(3), BanditsOnOffer(BanditsDrift(0.1, 3), 2), 20, 3, seed=1)
    return DatasetRNN(data.xs, data.ys, data.columns.names, {"participant": ["anna", "ben", "cleo"]})


def message(check, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        check(*arguments)
    return str(caught.value)


def test_levels_within_their_range():
    check_levels(aliens(), LEVELS)
    check_levels(aliens(), {})
    check_offers(aliens())
    check_offers(offers())


@pytest.mark.parametrize("value", [3.0, -1.0, 0.5, np.nan])
def test_levels_outside_are_named(value):
    data = aliens()
    data.column("season")[1, 7] = value
    data.column("next_season")[1, 6] = value
    data.column("alien")[2, 3:5] = 4
    assert message(check_levels, data, LEVELS) == (
        "What the data show does not fit the model:\n"
        f"  - the column 'season' is {value:g} for participant 'ben', session 1, trial 7; the model has 3 levels, so "
        "codes must be whole numbers from 0 to 2.\n"
        "  - the column 'alien' is 4 for participant 'cleo', session 2, trial 3 (and 1 more); the model has 4 levels, "
        "so codes must be whole numbers from 0 to 3."
    )


def test_what_the_last_trial_shows_next_is_checked_too():
    data = aliens()
    data.column("next_alien")[0, 19] = 9
    assert message(check_levels, data, LEVELS) == (
        "What the data show does not fit the model: the column 'next_alien' is 9 for participant 'anna', session 0, "
        "trial 19; the model has 4 levels, so codes must be whole numbers from 0 to 3."
    )
    data.ys[0, 19] = torch.nan  # where nothing is predicted it does not matter
    check_levels(data, LEVELS)


def test_missing_trials_may_show_anything():
    data = aliens()
    data.xs[1, 7, :6] = torch.nan
    data.ys[1, 6] = torch.nan
    for name in ("season", "next_season"):
        data.column(name)[1, 7 if name == "season" else 6] = torch.nan
    check_levels(data, LEVELS)


def test_labels_are_named():
    data = aliens()
    labelled = DatasetRNN(data.xs, data.ys, data.columns.names, {"season": ["autumn", "spring", "summer"]})
    session, trial = (labelled.column("season") == 2).nonzero()[0].tolist()
    n_more = int((labelled.column("season") == 2).sum()) - 1
    assert message(check_levels, labelled, {"season": 2}) == (
        f"What the data show does not fit the model: the column 'season' is 2 for participant {session}, session "
        f"{session}, trial {trial} (and {n_more} more); the model has 2 levels, the data 3: 'autumn', 'spring', "
        "'summer'."
    )


def test_inputs_that_are_not_shown():
    data = aliens()
    names = [*data.columns.names[6:8], "alien", "colour", "participant"]
    data = DatasetRNN(data.xs, data.ys, names)
    assert message(check_levels, data, {"seasons": 3, "alien": 4}) == (
        "What the data show does not fit the model:\n"
        "  - the data have no shown input 'seasons' (did you mean 'season'?); they have season.\n"
        "  - the column 'alien' has no partner 'next_alien' (what the coming trial shows); name it in shown= where the "
        "data are converted."
    )


def test_choices_that_were_not_on_offer():
    data = offers()
    option = int(data.xs[1, 5, :3].argmax())
    data.column(f"available_{option}")[1, 5] = 0
    data.column("available_0")[2, 4] = 2
    found = message(check_offers, data)
    assert f"the column 'available_{option}' is 0, but the choice is option {option} for participant 'ben'" in found
    assert "session 1, trial 5; correct it, or mark the trial as missing" in found
    assert "the column 'available_0' is 2 for participant 'cleo', session 2, trial 4; it must be 1 (on offer)" in found
    data = offers()
    option = int(data.ys[0, 19].argmax())
    data.column(f"next_available_{option}")[0, 19] = 0
    assert message(check_offers, data).startswith(
        f"What is on offer does not fit the choices: the column 'next_available_{option}' is 0, but the following "
        f"choice is option {option} for participant 'anna', session 0, trial 19; correct it"
    )


def test_offers_of_some_options_only():
    data = offers()
    names = [name.replace("available_1", "spare") for name in data.columns.names]
    assert message(check_offers, DatasetRNN(data.xs, data.ys, names)).startswith(
        "What is on offer cannot be read: the data have no shown input 'available_1'"
    )


def test_offers_by_labels_or_beyond_the_options():
    """Which nobody would read, were it not said."""
    data = offers()
    labels = [f"arm{k}" for k in range(data.n_actions)]
    data = DatasetRNN(data.xs, data.ys, data.columns.names, {"choice": labels})
    for strange in ("available_7", "available_arm1"):
        names = [name.replace("available_1", strange) for name in data.columns.names]
        found = message(check_offers, DatasetRNN(data.xs, data.ys, names, data.labels))
        assert found.startswith(f"What is on offer cannot be read: the column {strange!r} is of no option: name each")
    names = [name.replace("available_", "available_time_") for name in data.columns.names]
    check_offers(DatasetRNN(data.xs, data.ys, names, data.labels))  # something else
    names = [name.replace("available_", "available_arm") for name in data.columns.names]
    check_offers(DatasetRNN(data.xs, data.ys, names, data.labels), [f"available_{label}" for label in labels])

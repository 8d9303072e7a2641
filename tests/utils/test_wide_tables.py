"""Tables of trials x people: against tidy tables written by hand, and every error by its text."""

import numpy as np
import pandas as pd
import pytest
import torch

from spice.errors import ConfigError, DataError
from spice.resources.levels import check_levels, check_offers
from spice.utils.convert_dataset import convert_dataset, to_table
from spice.utils.wide_tables import from_wide_tables

# four trials of three people; the second one missed trial 1, the third stopped after trial 1
ACTIONS = "0,2,1\n1,,2\n2,1,\n0,0,\n"
REWARDS = "0.5,1,0.25\n0,,2\n1,0.5,\n0.125,3,\n"
SEASONS = "1,1,3\n1,3,3\n3,3,\n3,1,\n"
ALIENS = "0,3,2\n1,2,1\n2,1,\n3,0,\n"
HEADER = "anna,ben,cleo\n"


def by_hand(people=(0, 1, 2)) -> pd.DataFrame:
    nan = np.nan
    rows = [
        (people[0], 0, 0, 0.5, 1, 0),
        (people[0], 1, 1, 0.0, 1, 1),
        (people[0], 2, 2, 1.0, 3, 2),
        (people[0], 3, 0, 0.125, 3, 3),
        (people[1], 0, 2, 1.0, 1, 3),
        (people[1], 1, nan, nan, 3, 2),
        (people[1], 2, 1, 0.5, 3, 1),
        (people[1], 3, 0, 3.0, 1, 0),
        (people[2], 0, 1, 0.25, 3, 2),
        (people[2], 1, 2, 2.0, 3, 1),
    ]
    return pd.DataFrame(rows, columns=["participant", "trial", "choice", "reward", "season", "alien"])


def write(folder, header="", **changes) -> dict:
    """The four files, and the arguments that name them."""
    texts = {"actions": ACTIONS, "rewards": REWARDS, "seasons": SEASONS, "aliens": ALIENS} | changes
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(header + text)
    files = {name: folder / f"{name}.csv" for name in texts}
    return {
        "actions": files["actions"],
        "rewards": files["rewards"],
        "shown": {"season": files["seasons"], "alien": files["aliens"]},
    }


def message(error, **arguments) -> str:
    with pytest.raises(error) as caught:
        from_wide_tables(**arguments)
    return str(caught.value)


def assert_same(data, other) -> None:
    np.testing.assert_array_equal(data.xs, other.xs)
    np.testing.assert_array_equal(data.ys, other.ys)
    assert data.columns == other.columns


@pytest.mark.parametrize(("header", "people"), [("", (0, 1, 2)), (HEADER, ("anna", "ben", "cleo"))])
def test_as_the_tidy_table_written_by_hand(tmp_path, header, people):
    data = from_wide_tables(**write(tmp_path, header))
    table = by_hand(people)
    codes = table.assign(season=table["season"].map({1: 0, 3: 1}))
    names = {"participant": "participant", "choice": "choice", "reward": "reward", "trial": "trial"}
    assert_same(data, convert_dataset(codes, **names, shown=["season", "alien"]))
    assert data.labels == {
        "participant": people, "choice": (0, 1, 2), "season": (1, 3), "alien": (0, 1, 2, 3)
    }  # fmt: skip
    back = to_table(data)[list(table.columns)]
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    check_levels(data, {"season": 2, "alien": 4})


def test_every_cell_of_xs_and_ys(tmp_path):
    """Written out: a trial shows what its own row shows, and ``next_`` what the next row shows."""
    data = from_wide_tables(**write(tmp_path))
    names = ("season", "next_season", "alien", "next_alien", "trial", "participant")
    assert data.columns.names[6:] == names
    nan = np.nan
    expected = [
        [[0, 0, 0, 1, 0, 0], [0, 1, 1, 2, 1, 0], [1, 1, 2, 3, 2, 0], [1, 0, 3, 0, 3, 0]],
        [[0, 1, 3, 2, 0, 1], [1, 1, 2, 1, 1, 1], [1, 0, 1, 0, 2, 1], [0, 0, 0, 0, 3, 1]],
        [[1, 1, 2, 1, 0, 2], [1, 0, 1, 0, 1, 2], [0, 0, 0, 0, nan, 2], [0, 0, 0, 0, nan, 2]],
    ]
    np.testing.assert_array_equal(data.xs[..., 6:], expected)
    choice = np.where(data.ys.isnan().any(-1), nan, data.ys.nan_to_num().argmax(-1))
    np.testing.assert_array_equal(choice, [[1, 2, 0, nan], [nan, 1, 0, nan], [2, nan, nan, nan]])
    np.testing.assert_array_equal(data.xs[1, :, 3:6], [[nan, nan, 1], [nan] * 3, [nan, 0.5, nan], [3, nan, nan]])


def test_wherever_a_choice_is_scored_the_next_columns_are_those_of_the_next_row():
    rng = np.random.default_rng(0)
    shape = (50, 20)
    actions = np.where(rng.random(shape) < 0.2, np.nan, rng.integers(3, size=shape))
    actions[:3] = [[0], [1], [2]]
    for person in range(20):
        actions[50 - 2 * person :, person] = np.nan
    rewards = np.where(np.isnan(actions), np.nan, rng.normal(size=shape))
    alien = rng.integers(4, size=shape).astype(float)
    alien[np.isnan(actions) & (rng.random(shape) < 0.5)] = np.nan
    alien[0] = np.arange(20) % 4
    data = from_wide_tables(actions=actions, rewards=rewards, shown={"alien": alien})
    for person in range(20):
        for row in range(data.shape[1]):
            if data.observed[person, row]:
                assert data.column("alien")[person, row] == alien[row, person]
            if data.scored[person, row]:
                assert data.column("next_alien")[person, row] == alien[row + 1, person]
                assert data.ys[person, row].argmax() == actions[row + 1, person]
    assert data.n_scored == (~np.isnan(actions[1:])).sum()


def test_arrays_tables_and_files_alike(tmp_path):
    files = write(tmp_path, HEADER)
    frames = {"actions": pd.read_csv(files["actions"]), "rewards": pd.read_csv(files["rewards"])}
    frames["shown"] = {name: pd.read_csv(path) for name, path in files["shown"].items()}
    data = from_wide_tables(**files)
    assert_same(from_wide_tables(**frames), data)
    assert from_wide_tables(**frames).labels == data.labels
    mixed = files | {"rewards": frames["rewards"].to_numpy()}
    assert from_wide_tables(**mixed).labels == data.labels
    arrays = {name: frames[name].to_numpy() for name in ("actions", "rewards")}
    arrays["shown"] = {name: table.to_numpy() for name, table in frames["shown"].items()}
    named = from_wide_tables(**arrays, participants=["anna", "ben", "cleo"])
    assert_same(named, data)
    assert named.labels == data.labels


def test_people_are_told_by_their_names(tmp_path):
    """Columns in another order belong to the same people."""
    files = write(tmp_path, HEADER)
    data = from_wide_tables(**files)
    table = pd.read_csv(files["shown"]["alien"])[["cleo", "anna", "ben"]]
    table.to_csv(files["shown"]["alien"], index=False)
    assert_same(from_wide_tables(**files), data)


def test_row_numbers_that_pandas_wrote(tmp_path):
    files = write(tmp_path, HEADER)
    data = from_wide_tables(**files)
    for path in (files["actions"], files["rewards"], *files["shown"].values()):
        pd.read_csv(path).to_csv(path)
    assert_same(from_wide_tables(**files), data)
    frames = {name: pd.read_csv(files[name]) for name in ("actions", "rewards")}
    frames["shown"] = {name: pd.read_csv(path) for name, path in files["shown"].items()}
    assert list(frames["actions"].columns)[0] == "Unnamed: 0"
    assert_same(from_wide_tables(**frames), data)


def test_headers_that_are_numbers(tmp_path):
    data = from_wide_tables(**write(tmp_path, "7,4,012\n"))
    assert data.labels["participant"] == ("012", 4, 7)  # numbers beside text sort as text
    data = from_wide_tables(**write(tmp_path, "31,7,12\n"))
    assert data.labels["participant"] == (7, 12, 31) and data.shape[1] == 4
    assert data.xs[2, 0, :3].tolist() == [1, 0, 0]  # person 31 is the first column
    alike = {name: "0,1,2\n" + "0,1,2\n" * 3 for name in ("actions", "rewards", "seasons", "aliens")}
    files = write(tmp_path, **alike)
    assert message(ConfigError, **files) == (
        "the first row of all files is 0, 1, 2, which may be names of people or the first trial; say which: "
        "header=True or header=False."
    )
    assert from_wide_tables(**files, header=True).shape[1] == 3
    assert from_wide_tables(**files, header=False).shape[1] == 4


def test_text_labels(tmp_path):
    words = {"0": "left", "1": "up", "2": "right"}
    actions = "\n".join(",".join(words.get(cell, "") for cell in row.split(",")) for row in ACTIONS.split())
    files = write(tmp_path, actions=actions, seasons=SEASONS.replace("1", "spring").replace("3", "autumn"))
    data = from_wide_tables(**files, choices=["left", "up", "right"], header=False)
    numbers = from_wide_tables(**write(tmp_path))
    assert torch.equal(data.observed, numbers.observed)
    np.testing.assert_array_equal(data.ys, numbers.ys)
    assert data.labels["season"] == ("autumn", "spring")
    present = data.observed
    assert torch.equal(data.column("season")[present], 1 - numbers.column("season")[present])
    (tmp_path / "actions.csv").write_text(HEADER + actions)
    for name, text in {"rewards": REWARDS, "seasons": SEASONS, "aliens": ALIENS}.items():
        (tmp_path / f"{name}.csv").write_text(HEADER + text)
    assert from_wide_tables(**files).labels["participant"] == ("anna", "ben", "cleo")


def test_blocks(tmp_path):
    (tmp_path / "blocks.csv").write_text("1,1,1\n1,1,1\n2,2,\n2,2,\n")
    data = from_wide_tables(**write(tmp_path), blocks=tmp_path / "blocks.csv")
    assert len(data) == 5 and data.shape[1] == 2
    assert data.column("trial")[:, 0].tolist() == [0, 2, 0, 2, 0]
    assert data.column("next_alien")[:, 0].tolist() == [1, 3, 2, 0, 1]
    assert not data.scored[:, 1].any()
    assert data.labels["block"] == (1, 2)


def test_people_without_trials_stay():
    actions = np.array([[0, np.nan, 1], [1, np.nan, 0], [1, np.nan, np.nan]])
    rewards = np.where(np.isnan(actions), np.nan, 1.0)
    data = from_wide_tables(actions=actions, rewards=rewards)
    assert data.labels["participant"] == (0, 1, 2) and len(data) == 3
    assert data.scored.sum(1).tolist() == [2, 0, 1]


def test_one_person_whose_empty_lines_are_missing_cells(tmp_path):
    (tmp_path / "actions.csv").write_text("who\n0\n\n1\n0\n")
    (tmp_path / "rewards.csv").write_text("who\n1\n\n0\n0\n")
    data = from_wide_tables(actions=tmp_path / "actions.csv", rewards=tmp_path / "rewards.csv")
    assert data.observed.tolist() == [[True, False, True, True]]


def test_options_on_offer():
    """A column that is 1 all through stays 1, be it written as 1 or as True."""
    actions = np.array([[0, 1], [1, 0], [2, 0]])
    shown = {"available_0": np.ones((3, 2)), "available_1": actions != 2, "available_2": actions * 0 + (actions == 2)}
    data = from_wide_tables(actions=actions, rewards=actions * 1.0, shown=shown)
    check_offers(data)
    assert "available_0" not in data.labels
    for option in range(3):
        np.testing.assert_array_equal(data.column(f"available_{option}").T, np.float32(shown[f"available_{option}"]))
    shown["available_1"] = shown["available_1"] * 2
    assert message(DataError, actions=actions, rewards=actions * 1.0, shown=shown) == (
        "the table cannot be used: column 'available_1' (on offer) holds 2 at participant 0, trial 0 (and 4 more); it "
        "must be 1 where the option is on offer, and 0 where not. ('available_1' is shown['available_1'])"
    )


def test_options_on_offer_in_a_tidy_table():
    table = pd.DataFrame(
        {"who": [1] * 3, "t": [0, 1, 2], "arm": [0, 1, 0], "points": [1, 0, 1], "available_0": True, "available_1": 1}
    )
    names = {"participant": "who", "trial": "t", "choice": "arm", "reward": "points"}
    data = convert_dataset(table, **names, shown=["available_0", "available_1"])
    check_offers(data)
    assert data.column("next_available_0").tolist() == [[1, 1, 0]]
    with pytest.raises(DataError, match="^the table cannot be used: column 'available_0' .on offer. holds 'yes' at"):
        convert_dataset(table.assign(available_0="yes"), **names, shown=["available_0", "available_1"])


# ---------------------------------------------------------------- bad input


def test_shapes_that_disagree(tmp_path):
    files = write(tmp_path, rewards=REWARDS + "1,1,1\n", aliens="1,2\n3,4\n1,2\n1,1\n")
    assert message(DataError, **files) == (
        "the tables differ in their number of trials x people: actions.csv has 4 x 3, rewards.csv has 5 x 3, "
        "seasons.csv has 4 x 3, aliens.csv has 4 x 2; each needs one row per trial and one column per person (is "
        "there a header in some only? then say header=True or header=False)."
    )
    files = write(tmp_path)
    (tmp_path / "rewards.csv").write_text(HEADER + REWARDS)
    assert "actions.csv has 3 x 3, rewards.csv has 4 x 3, seasons.csv has 3 x 3" in message(DataError, **files)


def test_people_that_disagree(tmp_path):
    files = write(tmp_path, HEADER)
    (tmp_path / "aliens.csv").write_text("anna,ben,dora\n" + ALIENS)
    (tmp_path / "seasons.csv").write_text("anna,ben,ben\n" + SEASONS)
    assert message(DataError, **files) == (
        "the people of the tables do not fit together:\n  - seasons.csv names 'ben' twice.\n"
        "  - seasons.csv lacks 'cleo', whom actions.csv has.\n  - aliens.csv lacks 'cleo', whom actions.csv has."
    )
    files = write(tmp_path, "anna,,cleo\n")
    assert "actions.csv has a column without a name." in message(DataError, **files, header=True)


@pytest.mark.parametrize("header", ["", HEADER])
def test_levels_that_are_no_whole_numbers(tmp_path, header):
    files = write(
        tmp_path, header, aliens=ALIENS.replace("3,0,", "2.5,0,"), seasons=SEASONS.replace("1,3,3", "1,0.5,3")
    )
    anna, ben = ("'anna'", "'ben'") if header else ("0", "1")
    assert message(DataError, **files) == (
        "the tables cannot be used:\n"
        f"  - seasons.csv ('season') holds 0.5 for participant {ben} at trial 1; levels of what is shown must be whole "
        "numbers or text.\n"
        f"  - aliens.csv ('alien') holds 2.5 for participant {anna} at trial 3; levels of what is shown must be whole "
        "numbers or text."
    )


def test_cells_that_lack_or_are_no_numbers(tmp_path):
    files = write(
        tmp_path,
        HEADER,
        rewards=REWARDS.replace("0.125,3", "0.125,").replace("0,,2", "much,,2"),
        seasons=SEASONS.replace("3,1,", "3,,"),
    )
    found = message(DataError, **files)
    assert found.startswith(
        "the table cannot be used:\n  - column 'reward' (reward) holds 'much' at participant 'anna', "
    )
    assert "trial 1; rewards must be finite numbers" in found
    assert "column 'reward' (reward) is empty for the chosen option at participant 'ben', trial 3;" in found
    assert "column 'season' (input) is empty at participant 'ben', trial 3;" in found
    assert found.endswith("('reward' is rewards.csv, 'season' is seasons.csv)")
    files = write(tmp_path, HEADER, aliens=ALIENS.replace("3,0,", "blue,0,"))
    assert "column 'alien' (input) holds 'blue' at participant 'anna', trial 3 among numbers" in message(
        DataError, **files
    )


def test_a_typing_error_in_the_first_row_is_no_header(tmp_path):
    files = write(tmp_path, rewards=REWARDS.replace("0.5,1,0.25", "0.5,x,0.25"))
    assert "column 'reward' (reward) holds 'x' at participant 1, trial 0" in message(DataError, **files)


def test_missing_reward_may_be_skipped(tmp_path):
    files = write(tmp_path, rewards=REWARDS.replace("0.125,3", "0.125,"))
    data = from_wide_tables(**files, missing_reward="skip")
    assert data.scored[1, 2] and data.xs[1, 3, 3:6].isnan().all()


def test_codes_for_missing_choices(tmp_path):
    files = write(tmp_path, actions=ACTIONS.replace("1,,2", "1,-1,2"))
    assert message(DataError, **files) == (
        "the tables cannot be used: actions.csv holds -1 for participant 1 at trial 1, which looks like a code for a "
        "missing choice; leave such cells empty, or state the options that are meant with choices=[...]."
    )
    centred = np.array([[-1, 0], [1, -1], [0, 1]])
    data = from_wide_tables(actions=centred, rewards=centred * 1.0, choices=[-1, 0, 1])
    assert data.labels["choice"] == (-1, 0, 1)


def test_levels_beyond_those_of_the_model(tmp_path):
    data = from_wide_tables(**write(tmp_path, HEADER))
    with pytest.raises(DataError) as caught:
        check_levels(data, {"season": 3, "alien": 3})
    assert str(caught.value) == (
        "What the data show does not fit the model: the column 'alien' is 3 for participant 'anna', session 0, trial 3 "
        "(and 1 more); the model has 3 levels, the data 4: 0, 1, 2, 3."
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"actions": 3}, "actions must be the name of a CSV file, a DataFrame, or an array of trials x people, not 3."),
        (
            {"rewards": np.zeros(4)},
            "rewards must be the name of a CSV file, a DataFrame, or an array of trials x people, not an array of "
            "shape (4,).",
        ),
        (
            {"shown": ["seasons.csv"]},
            "shown must be tables by name, e.g. {'season': 'seasons.csv'}, not ['seasons.csv'].",
        ),
        (
            {"shown": {"reward": np.zeros((4, 3)), 3: np.zeros((4, 3))}},
            "'reward', 3 cannot name a shown input: names are text, and block, choice, experiment, participant, "
            "reward, trial have columns already.",
        ),
        (
            {"actions": pd.DataFrame()},
            "actions must be the name of a CSV file, a DataFrame, or an array of trials x people, not an array of "
            "shape (0, 0).",
        ),
        ({"participants": "abc"}, "participants must be a list of labels, not 'abc'."),
        ({"participants": [1, 1, 2]}, "participants must be 3 different labels, one per column, not [1, 1, 2]."),
        ({"missing_reward": "drop"}, "the arguments do not fit: missing_reward must be 'error' or 'skip', not 'drop'."),
    ],
)
def test_bad_arguments(changes, text):
    arguments = {"actions": np.eye(3)[[0, 1, 2, 0]], "rewards": np.ones((4, 3))}
    assert message(ConfigError, **arguments | changes) == text


def test_files_that_are_none(tmp_path):
    files = write(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        from_wide_tables(**files | {"rewards": tmp_path / "prizes.csv"})
    (tmp_path / "rewards.csv").write_text("")
    assert message(DataError, **files).endswith("rewards.csv' is empty.")
    (tmp_path / "rewards.csv").write_text("1;2;3\n1;2;3\n")
    assert "does not separate its columns by commas" in message(DataError, **files)
    (tmp_path / "rewards.csv").write_text(HEADER)
    assert message(DataError, **files, header=True) == "rewards.csv has no rows below its header."

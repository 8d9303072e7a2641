"""Tables and names that cannot be read: each a sentence of ours, none a traceback from inside."""

import numpy as np
import pandas as pd
import pytest

from spice.errors import ConfigError, DataError
from spice.utils.convert_dataset import convert_dataset

NAMES = {"participant": "who", "block": "run", "trial": "t", "choice": "arm", "reward": "points"}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "who": np.repeat(["ann", "ben"], 20),
            "run": np.tile(np.repeat([1, 2], 10), 2),
            "t": np.tile(np.arange(10), 4),
            "arm": rng.choice(["left", "right"], 40),
            "points": rng.integers(2, size=40),
        }
    )


def refusal(table, kind=DataError, **names):
    with pytest.raises(kind) as caught:
        convert_dataset(table, **NAMES | names)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"participant": ["who"]}, "participant must be the name of a column, not ['who']."),
        ({"block": ["run"]}, "block must be the name of a column, not ['run']."),
        ({"reward": {"points": 1}}, "reward must be the name of a column, not {'points': 1}."),
        ({"inputs": {"points": 1}}, "an input must be the name of a column, not {'points': 1}."),
        ({"trial": pd.Series([1, 2])}, "trial must be the name of a column, not an object of Series."),
        ({"choices": "ab"}, "choices must be a list of labels, e.g. ['left', 'right'], not 'ab'."),
        ({"choices": 2}, "choices must be a list of labels, e.g. ['left', 'right'], not 2."),
        ({"choices": {"a": 1}}, "choices must be a list of labels, e.g. ['left', 'right'], not {'a': 1}."),
    ],
)
def test_names(table, names, problem):
    assert refusal(table, ConfigError, **names) == f"the arguments do not fit: {problem}"


def test_several_names_at_once(table):
    lines = refusal(table, ConfigError, participant=["who"], choices=2).split("\n")
    assert lines[0] == "the arguments do not fit:" and len(lines) == 3


@pytest.mark.parametrize("left_out", [{}, {"participant": None}])
def test_a_table_of_one_person(table, tmp_path, left_out):
    table = table.drop(columns="who")
    table.to_csv(tmp_path / "one.csv", index=False)
    names = {role: name for role, name in NAMES.items() if role != "participant"} | left_out
    add = "If all trials are one person's, add such a column: table['participant'] = 1."
    for given in (table, tmp_path / "one.csv"):
        with pytest.raises(ConfigError) as caught:
            convert_dataset(given, **names)
        assert str(caught.value) == (
            "the columns of participants, choices and rewards must be named: give participant=...; the columns are "
            f"'run', 't', 'arm', 'points'. {add}"
        )
    assert refusal(table, ConfigError, participant="subject").endswith(f"'run', 't', 'arm', 'points'. {add}")
    one = convert_dataset(table[:20].assign(participant=1), **names | {"participant": "participant"})
    assert one.labels["participant"] == (1,) and one.shape[0] == 2


def test_no_names_at_all(table):
    with pytest.raises(ConfigError, match="give participant=... and choice=... and reward=...; the columns are 'who'"):
        convert_dataset(table)


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal("none.csv", FileNotFoundError) == f"there is no file 'none.csv'; the folder is {str(tmp_path)!r}."
    (tmp_path / "folder").mkdir()
    assert refusal("folder") == "'folder' is a folder; give the CSV file in it."
    (tmp_path / "latin.csv").write_bytes("who,arm\nJürgen,left\n".encode("latin1"))
    (tmp_path / "ragged.csv").write_text("who,arm\nann,left\nann,left,1,2\n")
    for name in ("latin.csv", "ragged.csv"):
        problem = refusal(name)
        assert problem.startswith(f"the file {name!r} cannot be read as a table (") and "\n" not in problem
        assert problem.endswith("); save it as comma-separated text in UTF-8, or give a DataFrame, e.g. "
                                "pandas.read_excel(...).")  # fmt: skip
    for separator in ";\t":
        (tmp_path / "other.csv").write_text(separator.join(["who", "arm", "points"]) + "\n")
        assert refusal("other.csv") == (
            "the file 'other.csv' does not separate its columns by commas; give a DataFrame, e.g. "
            f"pandas.read_csv('other.csv', sep={separator!r})."
        )


def test_cells_that_are_no_labels(table):
    assert refusal(table.assign(arm=[["left"]] * 40)) == (
        "column 'arm' holds lists or the like; labels must be text or numbers."
    )


@pytest.mark.parametrize("value", [pd.Timestamp("2020"), 1j])
def test_rewards_that_are_no_numbers(table, value):
    assert refusal(table.assign(points=value)).startswith("the table cannot be used: column 'points' (reward) holds ")


def test_sessions_of_one_trial(table):
    assert refusal(table.groupby(["who", "run"]).head(1)) == (
        "the table cannot be used: no choice follows another one, since every session (a participant's block) has one "
        "at most; name the column of whole blocks, or leave block out."
    )


@pytest.mark.parametrize(
    "kind", [pd.Index, np.array, iter, pd.Series, tuple, lambda names: dict.fromkeys(names).keys()]
)
def test_names_in_any_kind_of_list(table, kind):
    table = table.assign(other=1 - table["points"], speed=1.0, hint=0.0)
    usual = {"reward": ["points", "other"], "inputs": ["speed"], "shown": ["hint"], "choices": ["left", "right"]}
    found = convert_dataset(table, **NAMES | {name: kind(value) for name, value in usual.items()})
    expected = convert_dataset(table, **NAMES | usual)
    np.testing.assert_array_equal(found.xs, expected.xs)
    assert found.columns == expected.columns and found.table_columns == expected.table_columns
    assert all(type(name) is str for name in found.columns.names)


@pytest.mark.parametrize("names", [{"speed"}, frozenset(["speed"]), {"speed": 1}])
def test_names_without_order(table, names):
    problem = refusal(table.assign(speed=1.0), ConfigError, inputs=names)
    assert problem == f"the arguments do not fit: an input must be the name of a column, not {names!r}."


def test_one_trial_of_everybody(table):
    dataset = convert_dataset(table.groupby("who").head(1), **NAMES | {"choices": ["left", "right"]})
    assert len(dataset) == 2 and not dataset.n_scored


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("person,choice,reward,rt", ["anna,0,1,0,5", "anna,1,0,1,2"]),  # a decimal comma in rt
        ("person,block,choice,reward", ["anna,0,1,0,5", "anna,0,0,1,5"]),
        ("trial,choice,reward", ["0,0,0,5", "1,1,1,5"]),
    ],
)
def test_rows_with_more_fields_than_the_header(tmp_path, header, rows):
    """Of which pandas would take the first column as the rows' names, and all others for their neighbours."""
    path = tmp_path / "choices.csv"
    path.write_text("\n".join([header, *rows]))
    with pytest.raises(DataError, match="rows of .*choices.csv' have more fields than its header: is there a decimal"):
        convert_dataset(path, participant=header.split(",")[0], choice="choice", reward="reward")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_decimal_commas(tmp_path, separator):
    path = tmp_path / "choices.csv"
    path.write_text("\n".join(separator.join(row) for row in (["who", "arm", "rt"], ["ann", "0", "0,5"])))
    with pytest.raises(DataError, match="does not separate its columns by commas; .*sep="):
        convert_dataset(path, participant="who", choice="arm", reward="rt")


def test_commas_at_the_end_of_lines(tmp_path):
    path = tmp_path / "choices.csv"
    path.write_text("person,trial,choice,reward\nanna,0,0,1,\nanna,1,1,0,\n")
    found = convert_dataset(path, participant="person", trial="trial", choice="choice", reward="reward")
    assert found.labels["participant"] == ("anna",) and found.xs[0, 0, :2].tolist() == [1, 0]

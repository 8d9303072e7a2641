"""Mistakes in models written by hand: one clear error each."""

import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError

NAN = float("nan")
PARAMETERS = {"alpha": Parameter(0, 1), "beta": Parameter(0)}


def written(**changes):
    parts = {
        "states": {"q": State(0.5)},
        "updates": [("q", "chosen", "q + alpha * (reward - q)")],
        "logits": "beta * q",
        "parameters": PARAMETERS,
    }
    return SymbolicModel(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": ["alpha", "beta"]}, "parameters must be a dict by name, not ['alpha', 'beta']."),
        ({"states": ["q"]}, "states must be a dict by name, not ['q']."),
        (
            {"parameters": PARAMETERS | {"alpha": (0, 1)}},
            "the parameter 'alpha' is (0, 1); write Parameter(low, high)",
        ),
        ({"parameters": PARAMETERS | {"beta": Parameter("0")}}, "'beta' has the bound '0'; give a number, or None"),
        ({"parameters": PARAMETERS | {"beta": Parameter(float("nan"))}}, "'beta' has the bound nan; give a number"),
        ({"states": None}, "states must be a dict by name, not None."),
        ({"updates": None}, "updates must be a list of (state, where, expression), not None."),
        ({"updates": {"q": "q + 1"}}, "updates must be a list of (state, where, expression), not {'q': 'q + 1'}."),
        ({"updates": ("q", "chosen", "q + 1")}, "also where there is one: [('q', 'chosen', 'q + 1')]."),
        ({"updates": [("q", "chosen", None)]}, "the update of 'q': None is no expression: give text, a finite number"),
        ({"updates": [3]}, "3 is no update; write (state, where, expression)"),
        ({"logits": None}, "give either logits or probabilities."),
        ({"logits": [None, "beta * q"]}, "logits: None is no expression"),
        ({"states": {"q": State(None)}}, "the start value of 'q': None is no expression"),
        ({"let": ["pe"]}, "let must be a dict by name, not ['pe']."),
        ({"let": []}, "let must be a dict by name, not []."),
        ({"let": {"pe": None}}, "let (pe): None is no expression"),
        ({"shown": ["cue"]}, "shown must be a dict by name, not ['cue']."),
        ({"shown": {1: 2}}, "1 cannot be the name of a shown input"),
        ({"parameters": PARAMETERS | {1: Parameter()}}, "1 cannot be the name of a parameter"),
        ({"parameters": PARAMETERS | {"beta": Parameter(0, value="x")}}, "'beta' has the value 'x'; give a number, or"),
        ({"parameters": PARAMETERS | {"beta": Parameter(0, value=NAN)}}, "'beta' has the value nan; give a number, or"),
        (
            {"parameters": PARAMETERS | {"alpha": Parameter(0, 1, value=1.5)}},
            "'alpha' has the value 1.5, but must lie between 0 and 1: change the value or the bounds.",
        ),
        (
            {"parameters": PARAMETERS | {"beta": Parameter(0, value={"anna": 2, "ben": -1.0})}},
            "'beta' has the value -1 for participant 'ben', but must lie between 0 and inf: change",
        ),
        (
            {"parameters": PARAMETERS | {"beta": Parameter(0, value={"anna": 2, "ben": NAN})}},
            "'beta' has the value nan for participant 'ben'; give a number, or leave the participant out.",
        ),
        ({"inputs": 3}, "inputs must be a list of names, not 3."),
        ({"logits": lambda q: q}, "is no expression: give text, a finite number, or a sympy expression."),
        ({"logits": "beta * q^2"}, "has a ^: powers are written **."),
        ({"logits": "lambda * q"}, "'lambda' is a word of Python; choose another name."),
        ({"logits": "beta * q * rt"}, "'rt' in the updates or logits is not known (a column of the data? name it in"),
        (
            {"updates": [("q", "chosen", "q + alpha * (reward - q)", "cue == 'red'")], "shown": {"cue": 2}},
            "'red' in \"cue == 'red'\" is text; levels are codes 0, 1, ... in the order of dataset.labels.",
        ),
    ],
)
def test_one_error(changes, message):
    with pytest.raises(ConfigError) as caught:
        written(**changes)
    assert message in str(caught.value)


def test_values_at_bounds():
    """Also as 4-byte numbers know them."""
    parameters = {"alpha": Parameter(0, 1, value={"anna": 0, "ben": 1 + 1e-7}), "beta": Parameter(0, value=None)}
    assert written(parameters=parameters).parameters == parameters


def test_whatever_cannot_be_read_is_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        written(
            states={"q": State("0.5 +"), "k": State()},
            updates=[("q", "chosen", "q + alpha * ((reward - q)"), ("k", "others", "k^2"), ("z", "cell", "1", "cue =")],
            logits={"cue == 1": "beta * q *", "cue": "beta * q"},
            let={"pe": "reward -"},
            shown={"cue": 2},
        )
    title, *problems = str(caught.value).split("\n")
    assert title == "This model cannot be used:"
    starts = [  # and nobody says that alpha, which stands in what cannot be read, is never used
        "the update of 'q': 'q + alpha * ((reward - q)' cannot be read as an expression: check its parentheses",
        "the update of 'k': 'k^2' in 'k^2' has a ^",
        "the update of 'z': 'cue =' cannot be read as an expression",
        "let (pe): 'reward -' cannot be read",
        "logits: 'beta * q *' cannot be read",
        "logits: 'cue' is no condition",
        "the start value of 'q': '0.5 +' cannot be read",
        "an update of 'k' is for 'others'",
        "an update sets 'z', which is no state",
    ]
    assert len(problems) == len(starts)
    for problem, start in zip(problems, starts, strict=True):
        assert problem.startswith(f"  - {start}"), problem


def test_whole_parts_that_are_missing_are_listed_with_what_cannot_be_read():
    with pytest.raises(ConfigError) as caught:
        written(updates=None, logits="beta *", shown=3)
    assert len(str(caught.value).split("\n")) == 4


def test_levels_of_a_state():
    assert State(by=None).by == () and State(by="cue").by == ("cue",)
    with pytest.raises(ConfigError, match="by of a state must be names of shown inputs, not 3"):
        State(by=3)


def test_the_name_of_one_input():
    assert written(logits="beta * q + rt", inputs="rt").inputs == ("rt",)

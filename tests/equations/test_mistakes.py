"""Mistakes in models written by hand: one clear error each."""

import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import ConfigError

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
        ({"updates": [3]}, "3 is no update; write (state, where, expression)"),
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


def test_the_name_of_one_input():
    assert written(logits="beta * q + rt", inputs="rt").inputs == ("rt",)

"""What counts as a false term in the recovery benchmark."""

import pytest
from recovery import false_terms_of

from spice.equations import Equation

CHOSEN, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
CASES = {  # mechanism, parameters found, unread states, terms by module, what is false
    "right": ("forgetting", {"beta", "alpha", "forgetting"}, [], {}, []),
    "less": ("forgetting", {"beta", "alpha"}, [], {}, []),
    "one more": ("rescorla-wagner", {"beta", "alpha", "bias"}, [], {}, ["bias"]),
    "rates apart": ("rescorla-wagner", {"beta", "alpha_reward", "alpha_penalty"}, [], {}, ["asymmetry"]),
    "one rate for two": ("asymmetric rates", {"beta", "alpha"}, [], {}, []),
    "a sum of rewards": ("rescorla-wagner", set(), ["x_value_reward"], {CHOSEN: [CHOSEN, "c_reward"]}, []),
    "a square": (
        "rescorla-wagner",
        set(),
        ["x_value_reward"],
        {CHOSEN: [CHOSEN, "c_reward", "c_reward^2"]},
        ["c_reward^2 in x_value_reward_chosen"],
    ),
    "an interaction that is there": (
        "asymmetric rates",
        set(),
        ["x_value_reward"],
        {CHOSEN: [CHOSEN, "c_reward", f"{CHOSEN} c_reward"]},
        [],
    ),
    "others that drift": (
        "counterfactual",
        {"bias"},
        ["x_value_reward"],
        {OTHERS: ["c_reward"]},
        ["bias", "c_reward in x_value_reward_not_chosen"],
    ),
    "learning of nothing": ("choices at random", set(), ["x_value_reward"], {CHOSEN: [CHOSEN]}, [f"x in {CHOSEN}"]),
}


@pytest.mark.parametrize("name", CASES)
def test_false_terms(name):
    mechanism, found, unread, terms, false = CASES[name]
    equations = {module: Equation(module, (), dict.fromkeys(names, 1.0)) for module, names in terms.items()}
    assert false_terms_of(mechanism, found, unread, equations) == false

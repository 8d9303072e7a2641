"""SpiceConfig: what it answers, and what it says when names do not fit together."""

import pytest

from spice.errors import ConfigError
from spice.resources.config import Filter, SpiceConfig, did_you_mean


def make(**changes):
    settings = {
        "rnn_modules": ["x_value_chosen", "x_value_not_chosen"],
        "control_parameters": ["c_action", "c_reward", "c_time"],
        "library_setup": {"x_value_chosen": ["c_reward", "c_time"], "x_value_not_chosen": []},
        "filter_setup": {"x_value_chosen": ["c_action", 1, True]},
    }
    return SpiceConfig(**settings | changes)


def test_filters_are_one_triplet_or_a_list_of_them():
    assert make().filters("x_value_chosen") == (Filter("c_action", 1, True),)
    assert make().filters("x_value_not_chosen") == ()
    config = make(filter_setup={"x_value_chosen": [["c_action", 1, True], ["c_time", 0, False]]})
    assert config.filters("x_value_chosen") == (Filter("c_action", 1, True), Filter("c_time", 0, False))
    assert make(filter_setup={"x_value_chosen": ("c_action", 1)}).filters("x_value_chosen") == (
        Filter("c_action", 1, True),
    )


def test_a_removed_signal_leaves_the_library():
    config = make(filter_setup={"x_value_chosen": [["c_time", 0, True], ["c_reward", 1, False]]})
    assert config.inputs("x_value_chosen") == ("c_reward", "c_time")
    assert config.library("x_value_chosen") == ("c_reward",)


def test_degree_and_constant_for_all_or_per_module():
    assert make().degree("x_value_chosen", 2) == 2 and make().has_constant("x_value_chosen")
    assert make(polynomial_degree=3).degree("x_value_chosen", 1) == 3
    config = make(polynomial_degree={"x_value_chosen": 2}, constant={"x_value_chosen": False})
    assert [config.degree(name, 1) for name in config.rnn_modules] == [2, 1]
    assert [config.has_constant(name) for name in config.rnn_modules] == [False, True]
    assert not make(constant=False).has_constant("x_value_chosen")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"library_setup": {"x_value_chosen": ["c_rewards"], "x_value_not_chosen": []}},
            "SpiceConfig does not fit together: library_setup of 'x_value_chosen' names the signal 'c_rewards', which "
            "is not in control_parameters (c_action, c_reward, c_time) (did you mean 'c_reward'?).",
        ),
        (
            {"library_setup": {"x_value_chosen": ["c_reward"]}},
            "SpiceConfig does not fit together: rnn_modules names 'x_value_not_chosen', but library_setup has no entry "
            "for it (use [] for none).",
        ),
        (
            {"filter_setup": {"x_value": ["c_action", 1, True]}},
            "SpiceConfig does not fit together: filter_setup names 'x_value', which is no module in rnn_modules "
            "(x_value_chosen, x_value_not_chosen) (did you mean 'x_value_chosen'?).",
        ),
        (
            {"filter_setup": {"x_value_chosen": ["q", 1, True]}},
            "SpiceConfig does not fit together: filter_setup of 'x_value_chosen' names the signal 'q', which is not in "
            "control_parameters (c_action, c_reward, c_time).",
        ),
        (
            {"filter_setup": {"x_value_chosen": ["c_action", 1, True, 5]}},
            "SpiceConfig does not fit together: filter_setup of 'x_value_chosen' must be [signal, value, True] or a "
            "list of such triplets.",
        ),
        (
            {"polynomial_degree": {"q": 2}, "constant": {"p": True}},
            "SpiceConfig does not fit together:\n"
            "  - polynomial_degree names 'q', which is no module in rnn_modules (x_value_chosen, x_value_not_chosen).\n"
            "  - constant names 'p', which is no module in rnn_modules (x_value_chosen, x_value_not_chosen).",
        ),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    assert str(caught.value) == message


def test_suggestions():
    assert did_you_mean("c_rewrad", ["c_reward", "c_action"]) == " (did you mean 'c_reward'?)"
    assert did_you_mean("zzz", ["c_reward"]) == ""

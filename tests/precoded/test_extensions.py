"""Models that cannot be extended by lapses and biases."""

import pytest

from spice.errors import ConfigError
from spice.precoded import rescorla_wagner, task_sets, with_bias, with_lapse


@pytest.mark.parametrize("extend", [with_lapse, lambda model: with_bias(model, 3)])
def test_what_is_no_model(extend):
    with pytest.raises(ConfigError, match="added to a SymbolicModel or a CompiledModel, not to 3"):
        extend(3)


def test_models_with_a_step_of_their_own():
    with pytest.raises(ConfigError, match="3 options have 2 biases, not 1"):
        with_bias(task_sets(), 2)
    with pytest.raises(ConfigError, match="'task sets' has a lapse rate: add biases first, then lapses"):
        with_bias(with_lapse(task_sets()), 3)
    with pytest.raises(ConfigError, match="'task sets' has biases already"):
        with_bias(with_bias(task_sets(), 3), 3, name="other")
    with pytest.raises(ConfigError, match="has a lapse rate already: 'slip'"):
        with_lapse(with_lapse(task_sets(), name="slip"))
    with pytest.raises(ConfigError, match="has a parameter 'alpha' already"):
        with_lapse(task_sets(), name="alpha")
    with pytest.raises(ConfigError, match="'gone' is no parameter"):
        task_sets().replace(lapse="gone")


def test_names_that_are_taken():
    """A second lapse would be the first one's parameter."""
    once = with_lapse(with_bias(rescorla_wagner(), 2))
    with pytest.raises(ConfigError, match="has a parameter 'lapse' already; give another name="):
        with_lapse(once)
    with pytest.raises(ConfigError, match="has a parameter 'bias_1' already"):
        with_bias(with_bias(rescorla_wagner(), 2), 2)
    assert {"lapse", "slip"} <= set(with_lapse(once, "slip").parameters)

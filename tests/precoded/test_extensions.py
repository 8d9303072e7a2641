"""Models that cannot be extended by lapses and biases."""

import pytest

from spice.errors import ConfigError
from spice.precoded import rescorla_wagner, task_sets, with_bias, with_lapse


@pytest.mark.parametrize("extend", [with_lapse, lambda model: with_bias(model, 3)])
@pytest.mark.parametrize("model", [task_sets(), 3])
def test_models_with_a_step_of_their_own(extend, model):
    with pytest.raises(ConfigError, match="added to a SymbolicModel, not to .*must have them in the step"):
        extend(model)


def test_names_that_are_taken():
    """A second lapse would be the first one's parameter."""
    once = with_lapse(with_bias(rescorla_wagner(), 2))
    with pytest.raises(ConfigError, match="has a parameter 'lapse' already; give another name="):
        with_lapse(once)
    with pytest.raises(ConfigError, match="has a parameter 'bias_1' already"):
        with_bias(with_bias(rescorla_wagner(), 2), 2)
    assert {"lapse", "slip"} <= set(with_lapse(once, "slip").parameters)

"""Models that cannot be extended by lapses and biases."""

import pytest

from spice.errors import ConfigError
from spice.inference import fit
from spice.precoded import rescorla_wagner, task_sets, two_step, with_bias, with_lapse


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


@pytest.mark.parametrize("extend", [lambda model: model, with_lapse], ids=["biases", "biases and lapses"])
@pytest.mark.parametrize("n_options", [2, 3])
def test_biases_of_another_number_of_options(extend, n_options, random_data):
    model = extend(with_bias(rescorla_wagner(), n_options))
    with pytest.raises(ConfigError, match=f"logits for {n_options} options, but the data have {5 - n_options}"):
        fit(model, random_data(n_actions=5 - n_options))
    with pytest.raises(ConfigError, match="has logits for 2 options, not 3"):
        with_bias(two_step(), 3)


def test_biases_and_lapses_as_text():
    biased = with_bias(rescorla_wagner(), 2)
    assert str(biased).splitlines()[-2:] == ["logit of option 0  beta*q", "logit of option 1  bias_1 + beta*q"]
    assert str(with_lapse(biased)).count("softmax") == with_lapse(biased).latex().count("softmax") == 1

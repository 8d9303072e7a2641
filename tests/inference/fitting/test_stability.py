"""Estimates that let a state grow are named: they suit short sessions and explode in longer ones."""

import warnings

import numpy as np
import pytest

from spice.equations import Parameter, State, SymbolicModel
from spice.errors import StabilityWarning
from spice.inference import fit
from spice.inference.fitting.stability import multipliers
from spice.precoded import choice_kernel, flat_aliens, forgetting, pearce_hall, rescorla_wagner, two_learning_rates
from spice.resources.bandits import AlienTask, BanditsFixed


def of(model, data, **values):
    found = multipliers(model, data, {name: np.atleast_1d(np.array(value, float)) for name, value in values.items()})
    return {state: value.tolist() for state, value in found.items()}


def test_multipliers(random_data):
    data = random_data(2, 10)
    assert of(rescorla_wagner(), data, alpha=[0.3, 2.5], beta=1) == {"q": [1.0, 1.5]}  # 1: of options not chosen
    assert of(forgetting(), data, alpha=0.3, forgetting=0.2, beta=1) == {"q": [0.8]}
    kernel = of(choice_kernel(), data, alpha=0.3, alpha_choice=[0.4, -0.5], beta=1, perseveration=1)
    assert kernel["k"] == [0.6, 1.5]
    assert "q" not in of(two_learning_rates(), data, alpha_reward=0.3, alpha_penalty=0.1, beta=1)  # by its own value
    assert "q" not in of(pearce_hall(), data, kappa=0.3, eta=0.1, beta=1)  # by another state


def test_rewards_multiply(random_data):
    """A state that grows with every reward of 1, in trials of one kind and in all cells."""
    data = random_data(2, 10)
    data.xs[..., 2:4] = (data.xs[..., 2:4] > 0.5).float()
    model = SymbolicModel(
        states={"q": State(0.5)},
        updates=[("q", "chosen", "a * q + b * q * reward"), ("q", "chosen", "0.5 * q", "reward > 0")],
        logits="q",
        parameters={"a": Parameter(), "b": Parameter()},
    )
    assert of(model, data, a=0.9, b=0.5) == {"q": [1.4]}  # 0.9, and 1.4 for a reward; half of it only after some trials
    task = AlienTask()
    data = flat_aliens().simulate(task, 20, dict(alpha=0.3, beta=2, forget=0.1), seed=0)
    assert of(flat_aliens(), data, alpha=0.3, beta=2.0, forget=0.1)["q"] == pytest.approx([0.9])


def test_without_a_known_reward_nothing_is_learned_and_nothing_grows(random_data):
    data = random_data(2, 10)
    data.xs[..., 2:4] = np.nan
    assert of(rescorla_wagner(), data, alpha=0.3, beta=1) == {"q": [1.0]}  # and no warning


def test_a_division_by_the_reward_is_no_growth_where_the_reward_is_0(random_data):
    data = random_data(2, 10)
    data.xs[..., 2:4] = (data.xs[..., 2:4] > 0.5).float()
    for expression in ("where(reward > 0, a * q / reward, q)", "a * q / reward**2"):
        model = SymbolicModel({"q": State(0.5)}, [("q", "chosen", expression)], "q", {"a": Parameter()})
        assert of(model, data, a=1.25) == {"q": [1.25]}


def test_fits_say_so():
    """A learning rate above 2 is what such people have: without bounds it is found, and named."""
    free = rescorla_wagner().replace(logits="0.3 * q", parameters={"alpha": Parameter()})
    data = free.simulate(BanditsFixed([0.5, 0.5]), 40, {"alpha": 2.2}, n_sessions=5, seed=1)
    with pytest.warns(StabilityWarning, match=r"the estimates of 0 \(q by 1\.\d+\) let a state grow"):
        found = fit(free, data)
    assert abs(found.parameters["alpha"][0] - 2.2) < 4 * found.se["alpha"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", StabilityWarning)
        fit(free.replace(parameters={"alpha": Parameter(0, 1)}), data)

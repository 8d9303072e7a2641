"""Equations that leave their network's range are found, refitted without higher powers of the state, and reported."""

import numpy as np
import pytest
import torch

from spice.equations import Equation, EquationModule
from spice.errors import StabilityWarning
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.sindy import distil
from spice.sindy.fidelity import find_diverging, warn_of_diverging

CHOSEN = "x_value_reward_chosen"


def with_terms(terms):
    model = RescorlaWagnerRNN.build(2, 1).double().eval()
    model.integrate_equations({CHOSEN: EquationModule({0: Equation(CHOSEN, ("c_reward",), terms)}, 1)})
    return model


def test_a_square_that_explodes_is_found(agent_data):
    tame = with_terms({"1": -0.3, CHOSEN: 0.7, "c_reward": 0.9})
    wild = with_terms({"1": 0.6, CHOSEN: 0.8, "c_reward": 0.5, f"{CHOSEN}^2": 0.4})
    assert find_diverging(tame, tame, agent_data) == []
    assert find_diverging(tame, wild, agent_data) == [(0, CHOSEN)]
    message = (
        "equations that grow without bound over a session: participant 0, module 'x_value_reward_chosen'. They were "
        "refitted without higher powers of the state, which now carries at most 0.9 of its value."
    )
    with pytest.warns(StabilityWarning) as caught:
        warn_of_diverging([(0, CHOSEN)], agent_data, mended=True)
    assert str(caught[0].message) == message


def test_libraries_without_higher_powers_of_the_state(agent_data):
    torch.manual_seed(0)
    model = RescorlaWagnerRNN.build(2, 1).double().eval()
    noise = agent_data.xs.clone()
    noise[..., 2:4] += torch.from_numpy(np.random.default_rng(0).normal(size=noise[..., 2:4].shape)).float()
    data = agent_data.replace(noise, agent_data.ys)
    terms = [
        set(
            distil(model, RESCORLA_WAGNER_CONFIG, data, [0], degree=2, threshold=0.0, linear=linear)[0][
                CHOSEN
            ].coefficients
        )
        for linear in ((), [(0, CHOSEN)])
    ]
    assert terms[0] - terms[1] == {f"{CHOSEN}^2"}

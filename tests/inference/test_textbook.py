"""The canonical form as sympy and as text."""

import numpy as np
import pytest
import sympy

from spice.inference.textbook import canonical_equations, canonical_lines
from spice.inference.uncertainty import Estimate
from spice.resources.bandits import AgentQ

RW = {"beta": 3.0, "alpha": 0.3, "initial_value": 0.4}
CASES = {
    "rescorla-wagner": (RW, {"alpha_reward": 0.3}),
    "two rates": (
        {"beta": 3.0, "alpha_reward": 0.5, "alpha_penalty": 0.2, "initial_value": 0.4},
        {"alpha_reward": 0.5, "alpha_penalty": 0.2},
    ),
    "forgetting": (RW | {"forgetting": 0.2}, {"alpha_reward": 0.3, "forget_rate": 0.2}),
    "counterfactual": (RW | {"alpha_counterfactual": 0.1}, {"alpha_reward": 0.3, "alpha_counterfactual": 0.1}),
    "perseveration": (RW | {"perseveration": 0.8}, {"alpha_reward": 0.3, "beta_choice": 0.8}),
    "slow trace": (
        RW | {"perseveration": 0.8, "alpha_choice": 0.25},
        {"alpha_reward": 0.3, "beta_choice": 0.8, "alpha_choice": 0.25},
    ),
    "biased": (RW | {"bias": 0.7}, {"alpha_reward": 0.3, "bias": [0.0, 0.7]}),
}


def evaluate(expression, values):
    return float(expression.subs({sympy.Symbol(name): value for name, value in values.items()}))


def estimate(value, width=0.1):
    return Estimate(value, width / 1.96, value - width, value + width)


@pytest.mark.parametrize("name", CASES)
def test_equations_are_the_agents(name):
    """Evaluated in sympy over some trials, option by option."""
    p, settings = CASES[name]
    equations = canonical_equations(p)
    agent = AgentQ(beta_reward=3.0, start=0.4, **settings)
    agent.new_sess()
    q, k = [0.4, 0.4], [0.0, 0.0]
    for choice, rewards in zip((0, 1, 1, 0), ((1, 0), (1, 1), (0, 0), (0, 1)), strict=True):
        agent.update(choice, np.array(rewards, float))
        for option in range(2):
            role = "chosen" if option == choice else "others"
            at = p | {"Q": q[option], "K": k[option], "r": rewards[option]}
            q[option], k[option] = (
                evaluate(equations.get(f"{state}_{role}", sympy.Symbol(state)), at) for state in "QK"
            )
        logits = [
            evaluate(equations["logits"], p | {"Q": q[option], "K": k[option], "bias": option * p.get("bias", 0.0)})
            for option in range(2)
        ]
        np.testing.assert_allclose(logits, agent.get_logits(), atol=1e-12)


def test_a_forgetting_target_of_its_own():
    equations = canonical_equations(RW | {"forgetting": 0.2, "forgetting_target": 0.1})
    q, rate, target = (sympy.Symbol(name) for name in ("Q", "forgetting", "forgetting_target"))
    assert sympy.simplify(equations["Q_others"] - (q + rate * (target - q))) == 0


def test_no_parameters_no_equations():
    assert canonical_equations({}) == {"logits": 0} and canonical_lines({}) == []


def test_lines_of_a_rescorla_wagner_model():
    lines = canonical_lines({name: estimate(value) for name, value in RW.items()})
    assert lines == [
        "Q ← Q + 0.30 (r − Q)   chosen option",
        "logits = 3.00 Q",
        "β = 3.00  [2.90, 3.10]",
        "α = 0.30  [0.20, 0.40]",
        "Q0 = 0.40  [0.30, 0.50]",
    ]


def test_lines_of_everything():
    p = {"beta": 3.0, "alpha_reward": 0.5, "alpha_penalty": 0.2, "forgetting": 0.2, "perseveration": 0.8}
    p |= {"alpha_choice": 0.25, "bias": 0.7, "initial_value": 0.4}
    lines = canonical_lines({name: estimate(value) for name, value in p.items()})
    assert lines[:5] == [
        "Q ← Q + 0.50 (r − Q)   chosen option, the better outcome",
        "Q ← Q + 0.20 (r − Q)   chosen option, the worse outcome",
        "Q ← Q + 0.20 (Q0 − Q)   other options",
        "K ← K + 0.25 (1[chosen] − K)   all options",
        "logits = 3.00 Q + 0.80 K + bias",
    ]
    assert len(lines) == 5 + len(p)


def test_what_the_data_do_not_identify_is_said():
    lines = canonical_lines({name: Estimate(value, np.nan, np.nan, np.nan) for name, value in RW.items()})
    assert "β = 3.00 (the data do not identify it)" in lines
    assert "nan" not in "".join(lines)


def test_the_last_choice_and_a_target():
    p = RW | {"forgetting": 1.0, "forgetting_target": 0.1, "perseveration": 0.8}
    lines = canonical_lines({name: estimate(value) for name, value in p.items()})
    assert "Q ← Q + 1.00 (0.10 − Q)   other options" in lines and "K = 1[last choice]" in lines
    assert "forgetting target = 0.10  [0.00, 0.20]" in lines


def test_small_numbers_have_as_many_digits_as_are_known():
    """Rewards in points: two decimals would hide the interval."""
    lines = canonical_lines(
        {"beta": Estimate(0.0582, 0.0023, 0.0537, 0.0628), **{n: estimate(RW[n]) for n in RW if n != "beta"}}
    )
    assert "β = 0.058  [0.054, 0.063]" in lines and "logits = 0.058 Q" in lines


def test_estimates_at_a_bound_say_so():
    lines = canonical_lines(
        {name: estimate(value) for name, value in RW.items()} | {"alpha": Estimate(1.0, *[np.nan] * 3, True)}
    )
    assert "α = 1.00 (at its bound)" in lines

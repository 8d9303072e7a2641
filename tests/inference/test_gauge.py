"""From the search's gauge to the network's: the same polynomial in shifted and scaled states."""

import numpy as np
import pytest

from spice.inference.gauge import network_equations
from spice.inference.library import Library, Module
from spice.inference.units import Unit

EXPONENTS = [(a, b, c) for a in range(4) for b in range(3) for c in range(3) if a + b + c <= 3]
UNITS = {"c_reward": Unit(10.0, 2.5), "c_effort": Unit(-0.3, 0.5)}
PLAIN = dict.fromkeys(UNITS, Unit())
INPUTS = {"x_first": ("c_reward", "c_removed", "c_effort"), "x_second": ()}


@pytest.fixture
def library():
    first = Module("x_first", 0, ("c_reward", "c_effort"), tuple(EXPONENTS))
    return Library(("one", "two"), [first, Module("x_second", 1, (), ((0,), (1,), (2,)))], 2)


def evaluate(coefficients, features):
    """A polynomial by its terms' names."""
    total = 0.0
    for term, weight in coefficients.items():
        for factor in [] if term == "1" else term.split(" "):
            name, _, power = factor.partition("^")
            weight = weight * features[name] ** int(power or 1)
        total += weight
    return total


@pytest.mark.parametrize("seed", range(3))
def test_updates_are_the_same_in_both_gauges(library, seed):
    """x = start + z / readout and s = offset + size z, wherever the states and inputs are."""
    rng = np.random.default_rng(seed)
    coefficients, starts, readout = rng.normal(size=library.n_terms), rng.normal(size=2), rng.uniform(0.5, 3.0, 2)
    equations = network_equations(library, coefficients, UNITS, INPUTS, starts, readout)
    for z, reward, effort in rng.normal(size=(20, 3)):
        next_z = sum(
            weight * z**a * reward**b * effort**c for weight, (a, b, c) in zip(coefficients, EXPONENTS, strict=False)
        )
        signals = {"c_reward": 10.0 + 2.5 * reward, "c_effort": -0.3 + 0.5 * effort}
        features = {"x_first": starts[0] + z / readout[0], **signals}
        found = evaluate(equations["x_first"].coefficients, features)
        assert readout[0] * (found - starts[0]) == pytest.approx(next_z, rel=1e-9, abs=1e-9)
        next_z = np.polynomial.polynomial.polyval(z, coefficients[-3:])
        found = evaluate(equations["x_second"].coefficients, {"x_second": starts[1] + z / readout[1]})
        assert readout[1] * (found - starts[1]) == pytest.approx(next_z, rel=1e-9, abs=1e-9)
    assert equations["x_first"].controls == INPUTS["x_first"]


def test_what_is_0_is_left_out(library):
    """A state that is kept whole has one term, whatever its start; one that returns to it at once the constant."""
    coefficients = np.zeros(library.n_terms)
    coefficients[library.own[0]] = 1.0
    equations = network_equations(library, coefficients, PLAIN, INPUTS, np.array([0.3, 0.7]), np.array([2.0, 1.5]))
    assert equations["x_first"].coefficients == {"x_first": 1.0}
    assert equations["x_second"].coefficients == {"1": 0.7}


def test_rescorla_wagner(library):
    """z = 3 (Q - 0.4): z' = 0.7 z + 0.9 r - 0.36; with x from 0.5: x' = 0.7 x + 0.9 r - 0.21."""
    coefficients = np.zeros(library.n_terms)
    for exponents, value in {(0, 0, 0): -0.36, (1, 0, 0): 0.7, (0, 1, 0): 0.9}.items():
        coefficients[EXPONENTS.index(exponents)] = value
    equations = network_equations(library, coefficients, PLAIN, INPUTS, np.array([0.5, 0.0]), np.ones(2))
    assert equations["x_first"].coefficients == pytest.approx({"1": -0.21, "x_first": 0.7, "c_reward": 0.9})
    assert list(equations["x_first"].coefficients) == ["1", "x_first", "c_reward"]

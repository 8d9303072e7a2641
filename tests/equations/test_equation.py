"""Terms, equations and the modules that evaluate them, held against plain evaluation."""

import itertools

import numpy as np
import pytest
import sympy
import torch

from spice.equations import Equation, EquationModule, term_exponents, term_name, with_equations
from spice.equations.terms import evaluate_terms, polynomial_exponents
from spice.precoded import RescorlaWagnerRNN

FEATURES = ("x_value", "c_reward", "c_reward_2")
CUBIC = Equation(
    "x_value",
    ("c_reward", "c_reward_2"),
    {
        "1": -0.3,
        "x_value": 0.7,
        "c_reward_2": 1.5,
        "x_value c_reward": -0.25,
        "x_value^2": 0.1,
        "c_reward^2 c_reward_2": 2,
    },
)


def by_hand(x, r, s):
    return -0.3 + 0.7 * x + 1.5 * s - 0.25 * x * r + 0.1 * x * x + 2 * r * r * s


# ---------------------------------------------------------------------- terms


@pytest.mark.parametrize("exponents", list(itertools.product(range(4), repeat=3)))
def test_names_and_exponents_round_trip(exponents):
    assert term_exponents(FEATURES, term_name(FEATURES, exponents)) == exponents


def test_names():
    assert term_name(FEATURES, (0, 0, 0)) == "1"
    assert term_name(FEATURES, (1, 0, 0)) == "x_value"
    assert term_name(FEATURES, (0, 2, 0)) == "c_reward^2"
    assert term_name(FEATURES, (1, 2, 1)) == "x_value c_reward^2 c_reward_2"
    assert term_exponents(FEATURES, "c_reward x_value c_reward") == (1, 2, 0)
    with pytest.raises(
        ValueError, match="^the term 'x_value q' has the factor 'q', which is none of x_value, c_reward, c_reward_2$"
    ):
        term_exponents(FEATURES, "x_value q")


@pytest.mark.parametrize(("n_features", "degree"), [(1, 1), (1, 3), (2, 2), (3, 3)])
def test_a_library_holds_every_monomial_once(n_features, degree):
    expected = {e for e in itertools.product(range(degree + 1), repeat=n_features) if sum(e) <= degree}
    for constant in (True, False):
        rows = [tuple(row) for row in polynomial_exponents(n_features, degree, constant)]
        assert len(rows) == len(set(rows)) and set(rows) == expected - (set() if constant else {(0,) * n_features})
        assert [sum(row) for row in rows] == sorted(sum(row) for row in rows)


def test_values_of_terms():
    values = np.random.default_rng(0).normal(size=(7, 3))
    exponents = polynomial_exponents(3, 3)
    table = evaluate_terms(values, exponents)
    for sample, term in itertools.product(range(7), range(len(exponents))):
        expected = 1.0
        for factor, power in zip(values[sample], exponents[term], strict=True):
            expected *= factor**power
        assert table[sample, term] == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------------- printing and sympy


def test_lines():
    rescorla_wagner = Equation(
        "x_value_reward_chosen", ("c_reward",), {"1": -0.3, "x_value_reward_chosen": 0.7, "c_reward": 0.9}
    )
    assert (
        str(rescorla_wagner)
        == "(x_value_reward_chosen)[k+1] = -0.30 1 + 0.70 x_value_reward_chosen[k] + 0.90 c_reward[k]"
    )
    assert CUBIC.to_string(1) == (
        "(x_value)[k+1] = -0.3 1 + 0.7 x_value[k] + 1.5 c_reward_2[k] - 0.25 x_value[k] c_reward[k] + 0.1 x_value[k]^2"
        " + 2.0 c_reward[k]^2 c_reward_2[k]"
    )
    assert str(Equation("x", (), {"x": 1.0})) == "(x)[k+1] = 1.00 x[k]"
    assert str(Equation("x", (), {})) == "(x)[k+1] = 0.00"
    assert str(Equation("x", (), {"1": 0.05, "x": -0.0088})) == "(x)[k+1] = 0.05 1 - 0.0088 x[k]"
    assert Equation("x", (), {"x": -12.3456}).to_string(3) == "(x)[k+1] = -12.346 x[k]"


def test_sympy_equals_evaluation():
    expression = CUBIC.to_sympy()
    symbols = sympy.symbols("x_value c_reward c_reward_2")
    assert expression.free_symbols == set(symbols)
    for values in np.random.default_rng(0).normal(size=(5, 3)):
        assert float(expression.subs(dict(zip(symbols, values, strict=True)))) == pytest.approx(
            by_hand(*values), abs=1e-12
        )
    assert Equation("x", (), {}).to_sympy() == 0


def test_names_that_sympy_knows_stay_names():
    expression = Equation("beta", ("S", "E"), {"beta": 1.0, "S": 2.0, "E": 3.0}).to_sympy()
    assert {symbol.name for symbol in expression.free_symbols} == {"beta", "S", "E"}


def test_multiplier():
    assert CUBIC.multiplier() == pytest.approx(0.7)
    rewards = np.array([0.0, 1.0, -2.0])
    np.testing.assert_allclose(CUBIC.multiplier({"c_reward": rewards}), 0.7 - 0.25 * rewards)
    x = 1e-7
    slope = (by_hand(x, rewards, 3.0) - by_hand(-x, rewards, 3.0)) / (2 * x)
    np.testing.assert_allclose(CUBIC.multiplier({"c_reward": rewards, "c_reward_2": 3.0}), slope, atol=1e-7)
    assert Equation("x", ("c",), {"1": 2.0, "c": 3.0}).multiplier() == 0


# ---------------------------------------------------------------------- modules


def test_a_module_equals_numpy_for_every_participant():
    rng = np.random.default_rng(0)
    equations = {
        0: CUBIC,
        2: Equation("x_value", ("c_reward", "c_reward_2"), {"x_value": 1.0}),
        3: Equation("x_value", ("c_reward", "c_reward_2"), {}),
    }
    module = EquationModule(equations, 5)
    value, inputs = rng.normal(size=(6, 2)), rng.normal(size=(6, 2, 2))
    participant = torch.tensor([0, 2, 3, 0, 1, 4])
    result = module(torch.as_tensor(value), torch.as_tensor(inputs), participant=participant).numpy()
    for row in (0, 3):
        np.testing.assert_allclose(result[row], by_hand(value[row], inputs[row, :, 0], inputs[row, :, 1]), atol=1e-14)
    np.testing.assert_array_equal(result[1], value[1])
    np.testing.assert_array_equal(result[2], [0, 0])
    assert np.isnan(result[4:]).all()  # participants without an equation


def test_a_module_keeps_the_precision_of_the_states():
    module = EquationModule({0: CUBIC}, 1)
    for dtype in (torch.float32, torch.float64):
        assert (
            module(torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 2, 2, dtype=dtype), None, torch.tensor([0])).dtype
            == dtype
        )


def test_a_diverging_equation_stays_finite():
    module = EquationModule({0: Equation("x", (), {"x^3": 10.0})}, 1)
    value = torch.full((1, 2), 3.0)
    for _ in range(50):
        value = module(value, torch.zeros(1, 2, 0), None, torch.tensor([0]))
    assert torch.isfinite(value).all()


def test_coefficients_are_looked_up_by_participant():
    module = EquationModule({0: Equation("x", (), {"x": 0.5}), 1: Equation("x", (), {"1": 2.0})}, 2)
    value, inputs = torch.ones(2, 2), torch.zeros(2, 2, 0)
    for participant, expected in ((torch.tensor([0, 1]), [0.5, 2.0]), (torch.tensor([1, 0]), [2.0, 0.5])):
        assert module(value, inputs, None, participant)[:, 0].tolist() == expected
        assert module(value.double(), inputs, None, participant).dtype == torch.float64
        assert module(value[:, :1], inputs[:, :1], None, participant).shape == (2, 1)


def test_coefficients_are_looked_up_once_a_pass(monkeypatch, random_data):
    name, prepare, calls = "x_value_reward_chosen", EquationModule.prepare, []
    monkeypatch.setattr(EquationModule, "prepare", lambda *arguments: calls.append(1) or prepare(*arguments))
    network = RescorlaWagnerRNN.build(2, 3).double()
    model = with_equations(network, {p: {name: Equation(name, ("c_reward",), {name: 0.1 * p})} for p in range(3)})
    data = random_data()
    for _ in range(2):
        model(data.xs, batch_first=True)
    assert len(calls) == 2


def test_a_model_with_equations_is_a_copy():
    network = RescorlaWagnerRNN.build(2, 3).double()
    name = "x_value_reward_chosen"
    model = with_equations(network, {1: {name: Equation(name, ("c_reward",), {"c_reward": 2.0})}})
    assert not model.training and list(model.submodules_sindy) == [name] and not len(network.submodules_sindy)
    assert model.submodules_sindy[name].coefficients.shape == (3, 2)
    xs = torch.tensor([[[1.0, 0, 1, torch.nan, 1]], [[1, 0, 1, torch.nan, 2]]])
    logits, _ = model(xs, batch_first=True)
    np.testing.assert_array_equal(logits.detach(), [[[2.0, 0.5]], [[np.nan, np.nan]]])

"""Models written as expressions: what they take, refuse, print and typeset; their logits in plain NumPy."""

import pickle
import re

import numpy as np
import pytest
import sympy
import torch
from matplotlib.mathtext import MathTextParser

from spice.equations import Equation, Parameter, State, SymbolicModel, Update, with_equations
from spice.equations.evaluate import run_symbolic
from spice.equations.latex import latex_expression, latex_name, text_expression
from spice.equations.parsing import parse_expression
from spice.equations.tracing import trace
from spice.errors import ConfigError, DataError
from spice.precoded import BANDIT_CONFIG, LEARNING_RATE_RNN_CONFIG, BanditRNN, LearningRateRNN


def rescorla_wagner(**changes) -> SymbolicModel:
    settings = {
        "states": {"q": State(initial=0.5)},
        "updates": [("q", "chosen", "q + alpha * (reward - q)")],
        "logits": "beta * q",
        "parameters": {"alpha": Parameter(low=0, high=1, value=0.3), "beta": Parameter(low=0, value=3.0)},
    }
    return SymbolicModel(**settings | changes)


def refusal(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        rescorla_wagner(**changes)
    return str(caught.value)


# ---------------------------------------------------------------------- expressions


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("-x ** 2", -4.0),
        ("x ** -1 + +x", 2.5),
        ("2 ** 0.5", 2**0.5),
        ("exp(x) + log(x) + sqrt(x) + tanh(x)", np.exp(2) + np.log(2) + 2**0.5 + np.tanh(2)),
        ("abs(-x) + min(x, 1, 5) + max(x, 3)", 6.0),
        ("where(x > 1, 10, 20) + where(x == 1, 100, 200) + where(x <= 2, 1000, 2000)", 1210.0),
        ("where(x, 1, 2)", 1.0),
        ("where(x != 2, 1, where(x >= 2, 3, 4))", 3.0),
        ("beta + gamma + S + E + N + I + pi", 7.0),  # names, not functions or constants of a library
    ],
)
def test_expressions_have_the_value_of_pythons(text, value):
    found = parse_expression(text)
    numbers = {entry: 2.0 if entry.name == "x" else 1.0 for entry in found.free_symbols}
    assert float(found.subs(numbers)) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "q.real",
        "q['a']",
        "lambda: 1",
        "[q for q in r]",
        "f'{q}'",
        "'q'",
        "True",
        "q and r",
        "not q",
        "q if r else s",
        "q if r",
        "q +",
        "(q",
        "",
        "q; r",
        "q := 1",
        "eval(q)",
        "exp",
        "exp(q, r)",
        "max(q)",
        "where(q, 1)",
        "exp(x=q)",
        "exp(*q)",
        "q < 1",
        "(q < 1) + 1",
        "0 < q < 1",
        "q @ r",
        "q // r",
        "q % 2",
        "1j",
        "1 / 0",
        "log(0)",
        "sqrt(-1)",
        "(-8) ** 0.5",
        "9 ** 9 ** 9",
        "(9 * q) ** 999999999",
        "((((9 * q) ** 99) ** 99) ** 99) ** 99",
        "1e400",
        "9" * 5000,
        "q + " * 20000 + "q",
        "(" * 300 + "q" + ")" * 300,
        "exp(1000) ** exp(1000)",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ConfigError):
        parse_expression(text)


def test_refusals_name_the_part():
    with pytest.raises(ConfigError, match=r"^'q.real' in 'alpha \* q.real' is not understood; expressions are made of"):
        parse_expression("alpha * q.real")
    with pytest.raises(ConfigError, match="^exp in 'exp.q, r.' has 2 arguments, but takes 1.$"):
        parse_expression("exp(q, r)")


@pytest.mark.parametrize(
    "text",
    ["q + alpha*(reward - q)", "where(q > 0, 1 - q, exp(-q))*min(q, 2) + max(a, abs(q))", "0.1*q**2/(1 + sqrt(r))"],
)
def test_printed_expressions_are_read_back(text):
    found = parse_expression(text)
    assert parse_expression(text_expression(found)) == found


# ---------------------------------------------------------------------- models


def test_text_and_sympy_are_the_same_model():
    q, alpha, reward, beta = sympy.symbols("q alpha reward beta")
    other = rescorla_wagner(updates=[("q", "chosen", q + alpha * (reward - q))], logits=beta * q)
    assert other.updates == rescorla_wagner().updates and other.logits == rescorla_wagner().logits


def test_all_problems_at_once():
    message = refusal(
        states={"q": State(0.5), "k": State("start"), "exp": State(), "reward": State(), "a-b": State()},
        updates=[("q", "chosen", "q + alpa * (reward - q)"), ("p", "here", "1")],
        parameters={"alpha": Parameter(1, 0), "beta": Parameter(), "q": Parameter()},
    )
    assert message.startswith("This model cannot be used:\n")
    for part in [
        "'exp' cannot be the name of a state",
        "'a-b' cannot be the name of a state",
        "the state 'reward' has the name of a signal of the trial",
        "the parameter 'q' has the name of a state; rename one of them.",
        "'alpa' in the updates or logits is not known (did you mean 'alpha'?)",
        "'start' in start values is not known",
        "an update sets 'p', which is no state.",
        "an update of 'p' is for 'here'; choose one of chosen, unchosen, cell, everywhere.",
        "the state 'k' is never updated",
        "the parameter 'alpha' is never used; remove it.",
        "the parameter 'alpha' has low=1 and high=0",
    ]:
        assert part in message, part


def test_one_problem_on_one_line():
    unused = {"alpha": Parameter(), "beta": Parameter(), "gamma": Parameter()}
    assert refusal(parameters=unused) == "This model cannot be used: the parameter 'gamma' is never used; remove it."


def test_values_by_participant():
    model = rescorla_wagner(
        parameters={"alpha": Parameter(value={"anna": 0.1, "ben": 0.2}), "beta": Parameter(value=3)}
    )
    assert model.values("ben") == {"alpha": 0.2, "beta": 3.0}
    with pytest.raises(ConfigError, match=r"'alpha' has no value for participant 'bem' \(did you mean 'ben'\?\)"):
        model.values("bem")
    with pytest.raises(ConfigError, match="^the parameter 'beta' has no value: give it one, Parameter.value=.....$"):
        rescorla_wagner(parameters={"alpha": Parameter(value=1), "beta": Parameter()}).values()


def test_models_can_be_pickled():
    model = rescorla_wagner()
    assert pickle.loads(pickle.dumps(model)).to_sympy() == model.to_sympy()


# ---------------------------------------------------------------------- printing

RICH = SymbolicModel(
    states={"q": State("q_0"), "x_value_choice": State(0.25)},
    updates=[
        ("q", "chosen", "q + alpha_reward * (reward - q) / (1 + previous_x_value_choice ** 2)"),
        ("q", "unchosen", "(1 - forget) * q + where(outcome > 0, kappa_2, 0) * max(q, abs(outcome))"),
        ("x_value_choice", "everywhere", "x_value_choice + 0.12345678 * (chosen - x_value_choice)"),
    ],
    logits=["beta * q + x_value_choice", "beta * q + x_value_choice + exp(-bias) + effort_2"],
    parameters={n: Parameter() for n in ("q_0", "alpha_reward", "forget", "kappa_2", "beta", "bias")},
    inputs=["effort_2"],
)


def test_str_can_be_read():
    lines = str(rescorla_wagner()).splitlines()
    assert lines == [
        "chosen option  q ← q + alpha*(reward - q)",
        "start          q = 0.5",
        "logit          beta*q",
        "parameters     alpha = 0.3, beta = 3",
    ]


def assert_valid_latex(text):
    """Balanced, without names or signs that would print as something else, and known to a TeX parser."""
    assert text.count("{") == text.count("}") and text.count(r"\left") - text.count(r"\leftarrow") == text.count(
        r"\right"
    )
    bare = re.sub(r"\\[a-zA-Z]+|\\mathrm\{[^}]*\}|\\text\{[^}]*\}", "", re.sub(r"\\(mathrm|text)\{[^}]*\}", "", text))
    assert not re.search(r"[a-zA-Z]{2,}", bare), bare
    assert "*" not in text
    MathTextParser("agg").parse(f"${text}$")


def traced():
    """A precoded model with biases and one with a rate that is a state."""
    for model_class, config in ((BanditRNN, BANDIT_CONFIG), (LearningRateRNN, LEARNING_RATE_RNN_CONFIG)):
        terms = {
            name: Equation(name, config.inputs(name), {"1": 0.1, name: 0.5, **dict.fromkeys(config.library(name), 0.2)})
            for name in config.rnn_modules
        }
        with torch.random.fork_rng(devices=[]):
            network = model_class.build(3, 1)
        yield trace(with_equations(network, {0: terms}), {0: 0})


@pytest.mark.parametrize("model", [rescorla_wagner(), RICH, *traced()], ids=["written", "rich", "bandit", "rate"])
def test_latex_is_valid(model):
    text = model.latex()
    assert text.startswith("\\begin{aligned}\n") and text.endswith("\n\\end{aligned}")
    lines = text.splitlines()[1:-1]
    n_logits = len(model.logits) if isinstance(model.logits, tuple) else 1
    assert len(lines) == len(model.updates) + len(model.states) + n_logits
    for line in lines:
        line = re.sub(r"\\begin\{cases\}.*?\\end\{cases\}", "c", line)  # the parser knows no environments
        for part in line.removesuffix(r" \\").replace(" && ", " & ").split(" &"):
            assert_valid_latex(re.sub(r"\\(leftarrow|propto)|^=", r"=", part.strip()))


def test_latex_can_be_read():
    assert rescorla_wagner().latex().splitlines()[1:-1] == [
        r"q &\leftarrow q + \alpha\,\left(r - q\right) && \text{chosen option} \\",
        r"q &= 0.5 && \text{at the start} \\",
        r"\mathrm{logit} &= \beta\,q",
    ]
    first, _, third, *_ = RICH.latex().splitlines()[1:-1]
    assert r"\alpha_{\mathrm{reward}}" in first and r"x_{\mathrm{value\,choice}, \mathrm{before}}^{2}" in first
    assert "0.123" in third and "0.1234" not in third


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("alpha", r"\alpha"),
        ("beta_value_reward", r"\beta_{\mathrm{value\,reward}}"),
        ("reward", "r"),
        ("q", "q"),
        ("bias_2", r"\mathrm{bias}_{2}"),
        ("x_value_reward", r"x_{\mathrm{value\,reward}}"),
        ("previous_q", r"q_{\mathrm{before}}"),
        ("_", "x"),
    ],
)
def test_names_in_latex(name, latex):
    assert latex_name(name) == latex
    assert latex_expression(parse_expression(f"2 * {name}")) == rf"2\,{latex}"


def test_an_equation_in_latex():
    terms = {"1": -0.3, "x_value": 0.7, "c_reward^2": 0.9, "x_value c_reward": -0.001}
    text = Equation("x_value", ("c_reward",), terms).to_latex()
    value, reward = r"x_{\mathrm{value}}", r"c_{\mathrm{reward}}"
    assert text == (
        rf"{value}[k+1] = -0.30 + 0.70\,{value}[k] + 0.90\,{reward}[k]^{{2}} - 0.001\,{value}[k]\,{reward}[k]"
    )
    assert_valid_latex(text)
    assert Equation("x_value", (), {}).to_latex(3) == rf"{value}[k+1] = 0.000"


def test_sympy_of_the_whole_model():
    found = RICH.to_sympy()
    assert found["initial"]["q"] == sympy.Symbol("q_0")
    assert [update.state for update in found["updates"]] == ["q", "q", "x_value_choice"]
    assert len(found["logits"]) == 2


# ---------------------------------------------------------------------- values


def test_values_of_a_plain_loop(random_data):
    data = random_data(4, 12, 3, missing=0.2, unknown=0.2, padding=True)
    found = run_symbolic(rescorla_wagner(), data, {"alpha": np.array([0.1, 0.2, 0.3, 0.4]), "beta": 2.0})
    for session in range(4):
        q, alpha = np.full(3, 0.5), 0.1 * (session + 1)
        for t in range(12):
            x = data.xs[session, t].double().numpy()
            if x[0] == x[0] and not np.isnan(reward := x[3 + x[:3].argmax()]):
                q[x[:3].argmax()] += alpha * (reward - q[x[:3].argmax()])
            np.testing.assert_allclose(found[session, t], 2.0 * q, rtol=1e-12)


def test_updates_are_applied_in_order(random_data):
    """The second line sees what the first did, unless it asks for the value before the trial."""
    data = random_data(2, 6)

    def logits(second):
        states = {"a": State(1.0), "b": State(0.0)}
        updates = [("a", "everywhere", "2 * a"), ("b", "everywhere", second)]
        return run_symbolic(SymbolicModel(states, updates, "b", {}), data, {})

    steps = np.arange(1.0, 7.0)
    np.testing.assert_allclose(logits("a")[0, :, 0], 2**steps)
    np.testing.assert_allclose(logits("previous_a")[0, :, 0], 2 ** (steps - 1))
    np.testing.assert_allclose(logits("where(chosen, a, -a)")[..., 0], np.where(data.xs[..., 0] == 1, 1, -1) * 2**steps)


def test_unknown_rewards_and_missing_trials(random_data):
    """Lines that need the reward are left out where it is unknown; missing trials change nothing."""
    data = random_data(6, 12, missing=0.2, unknown=0.4)
    states = {name: State(1.0) for name in ("reads", "needs", "counts", "others")}
    model = SymbolicModel(
        states,
        [
            ("reads", "chosen", "reads + 1 + 0 * outcome + reward"),
            Update("needs", "chosen", "needs + 1", needs_outcome=True),
            ("counts", "chosen", "counts + 1"),
            ("others", "unchosen", "others + 1 + reward"),
        ],
        "reads + 100 * needs + 10000 * counts + 1000000 * others",
        {},
    )
    data.xs[..., 2:4] = data.xs[..., 2:4].mul(0)
    found = run_symbolic(model, data, {})
    chosen = data.xs[..., :2].numpy() == 1
    known = chosen & ~np.isnan(data.xs[..., 2:4].numpy())
    others = known.any(-1, keepdims=True) & ~chosen
    counts = [np.cumsum(part, axis=1) + 1 for part in (known, known, chosen, others)]
    np.testing.assert_allclose(found, sum(c * 100**k for k, c in enumerate(counts)))
    assert (chosen & ~known).any() and not data.observed.all()


def test_lacking_inputs(random_data):
    model = rescorla_wagner(logits="beta * q * effort", inputs=["effort"])
    with pytest.raises(DataError, match="^the data have no column 'effort', which the model reads; their columns are"):
        run_symbolic(model, random_data(), model.values())


def test_other_numbers_of_options(random_data):
    with pytest.raises(ConfigError, match="^the model has logits for 2 options, but the data have 3.$"):
        run_symbolic(rescorla_wagner(logits=["beta * q", "0"]), random_data(n_actions=3), {"alpha": 0.3, "beta": 3.0})

"""What a line of a model means, by hand: of one session of two or three options, trial by trial."""

import pickle
import re

import numpy as np
import pytest
import sympy
import torch

from spice.equations import Parameter, State, SymbolicModel, compiled, softmax_kernel
from spice.equations.codegen import kernel_source
from spice.equations.evaluate import run_symbolic
from spice.equations.latex import text_expression
from spice.equations.parsing import parse_expression
from spice.errors import ConfigError, DataError
from spice.inference.general.generated import GeneratedLikelihood
from spice.resources.dataset import DatasetRNN

NAN = np.nan


def session(choices, outcomes, **columns) -> DatasetRNN:
    """One session; shown columns have one value more, that of the choice after the last trial."""
    choices, outcomes = np.array(choices), np.array(outcomes, float)
    one_hot = np.eye(outcomes.shape[1])[np.maximum(choices, 0)]
    one_hot[choices < 0] = NAN
    names, further = [], []
    for name, values in columns.items():
        shown = len(values) > len(choices)
        names += [name, f"next_{name}"] if shown else [name]
        further += [values[:-1], values[1:]] if shown else [values]
    tail = np.stack([*further, np.zeros(len(choices))], -1)
    xs = np.concatenate([one_hot, outcomes, tail], -1)[None]
    ys = np.concatenate([one_hot[1:], one_hot[:1]])[None]
    return DatasetRNN(xs, ys, [*names, "participant"])


def logits(model: SymbolicModel, data: DatasetRNN, **values) -> np.ndarray:
    return run_symbolic(model, data, values)[0]


@pytest.fixture
def plain_kernels(monkeypatch):
    """Generated code as plain Python: nothing is compiled."""

    def load(source: str, name: str):
        source = source.replace("from numba import njit", "njit = lambda **_: lambda f: f")
        space = {"softmax": softmax_kernel.softmax.py_func}
        exec(re.sub(r"from spice.equations.softmax_kernel.*", "", source), space)
        return space[name]

    monkeypatch.setattr(compiled, "load_function", load)


def check_kernels(model: SymbolicModel, data: DatasetRNN) -> None:
    """All orders against plain NumPy, derivatives against central differences."""
    values = np.array([list(model.values().values())])
    expected = run_symbolic(model, data, model.values())
    expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    likelihood, h = GeneratedLikelihood(model, data, 1), 1e-5
    np.testing.assert_allclose(likelihood.probabilities(values), expected, rtol=1e-12)
    nll = -np.log(expected[data.ys.numpy() == 1]).sum()
    found, first = likelihood(values), likelihood.gradient(values)
    np.testing.assert_allclose([found.nll[0], first[0][0]], nll, rtol=1e-12)
    for k in range(values.shape[1]):
        step = h * np.eye(values.shape[1])[[k]]
        above, below = likelihood(values + step), likelihood(values - step)
        np.testing.assert_allclose(first[1][0, k], (above.nll - below.nll)[0] / (2 * h), rtol=1e-6, atol=1e-8)
        curve = (above.gradient - below.gradient)[0] / (2 * h)
        np.testing.assert_allclose(found.hessian[0, k], curve, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.gradient, first[1], rtol=1e-12)


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["greater", "select", "nan", "offered", "numpy", "x0", "t0", "option_", "best", "E", "I"]
)
def test_names_hide_nothing(name, plain_kernels):
    """Names of numpy's functions and of what generated code calls its own."""
    data = session([0, 1, 1, 0], [[1, NAN], [NAN, 0], [NAN, 1], [0, NAN]], **{f"in_{name}": [1, 0, 1, 1]})
    model = SymbolicModel(
        states={"q": State(name)},
        updates=[("q", "chosen", f"q + where(q > 0.5, {name}, 0.5) * (reward - q) * in_{name}", f"in_{name} > 0")],
        logits=f"softmax({name} * q) + max(q, 0.1)",
        parameters={name: Parameter(value=0.6)},
        inputs=[f"in_{name}"],
    )
    q = [[0.84, 0.6], [0.84, 0.6], [0.84, 0.84], [0.336, 0.84]]
    weights = np.exp(0.6 * np.array(q))
    np.testing.assert_allclose(logits(model, data, **{name: 0.6}), weights / weights.sum(1, keepdims=True) + q)
    check_kernels(model, data)


# ---------------------------------------------------------------------- what reads all options


def test_sums_in_a_line_see_each_option_as_it_is():
    """The line is the chosen option's or another's; what it sums is each option's own."""
    outcomes = [[1, 0.5], [0.2, 0.6], [0.4, 0.3]]
    data = session([0, 1, 0], outcomes)
    model = SymbolicModel(
        states={"a": State(), "b": State(), "c": State()},
        updates=[
            ("a", "chosen", "sum_actions((2 - chosen) * (option + 1)) + chosen"),
            ("b", "chosen", "outcome / sum_actions(outcome)"),
            ("c", "unchosen", "outcome - max_actions(outcome * (1 - chosen)) + sum_actions(chosen)"),
        ],
        logits="a + 100 * b + 10000 * c",
    )
    share = [1 / 1.5, 0.6 / 0.8, 0.4 / 0.7]
    found = logits(model, data)
    np.testing.assert_allclose(found[0], [6 + 100 * share[0], 10000])
    np.testing.assert_allclose(found[1], [6 + 100 * share[0] + 10000, 5 + 100 * share[1] + 10000])
    np.testing.assert_allclose(found[2], [6 + 100 * share[2] + 10000, 5 + 100 * share[1] + 10000])


def test_cells_of_a_state_that_changes_in_all_of_them(plain_kernels):
    """Every cell reads what the others were before the line."""
    data = session([0, 1, 0], [[1, NAN], [NAN, 0], [0.5, NAN]], place=[0, 2, 1, 0])
    model = SymbolicModel(
        shown={"place": 3},
        states={"q": State(0.5, by="place")},
        updates=[
            ("q", "chosen", "q + alpha * (reward - q)"),
            ("q", "everywhere", "q + alpha * q[0] + 0.1 * q[1]**2 * option"),
        ],
        logits="q + q[2]",
        parameters={"alpha": Parameter(value=0.4)},
    )
    q, expected = np.full((3, 2), 0.5), []
    for here, choice, reward, coming in [(0, 0, 1, 2), (2, 1, 0, 1), (1, 0, 0.5, 0)]:
        q[here, choice] += 0.4 * (reward - q[here, choice])
        q = q + 0.4 * q[0] + 0.1 * q[1] ** 2 * np.arange(2)
        expected.append(q[coming] + q[2])
    np.testing.assert_allclose(logits(model, data, alpha=0.4), expected)
    check_kernels(model, data)


# ---------------------------------------------------------------------- what is not known


def test_lines_are_left_out_where_their_condition_is_not_known():
    data = session([0, 0, 0], [[0, NAN], [NAN, NAN], [1, NAN]])
    model = SymbolicModel(
        states={"lost": State(), "won": State()},
        updates=[("lost", "chosen", "lost + 1", "reward == 0"), ("won", "everywhere", "won + 1", "reward > 0")],
        logits="lost + 10 * won",
    )
    np.testing.assert_array_equal(logits(model, data), [[1, 0], [1, 0], [11, 10]])


def test_lines_need_all_that_they_read(plain_kernels):
    """The other option's outcome may be shown where the own one is unknown."""
    data = session([0, 0, 0], [[0.5, 0.25], [NAN, 1], [0.5, NAN]])
    model = SymbolicModel(
        states={"q": State()},
        updates=[("q", "unchosen", "q + alpha * (outcome - reward)")],
        logits="q",
        parameters={"alpha": Parameter(value=2.0)},
    )
    np.testing.assert_array_equal(logits(model, data, alpha=2.0), [[0, -0.5]] * 3)
    check_kernels(model, data)


# ---------------------------------------------------------------------- what was shown


def test_what_was_shown_earlier_counts_back_from_the_trial_that_reads_it(plain_kernels):
    """In updates from the trial itself, in logits from the coming one, as what is shown itself."""
    data = session([0, 1, -1, 0], [[1, NAN], [NAN, 1], [NAN, NAN], [1, NAN]], cue=[1, 2, 1, 2, 0])
    model = SymbolicModel(
        shown={"cue": 3},
        states={"q": State()},
        updates=[("q", "everywhere", "10 * cue + cue_lag1")],
        logits="weight * (q + 0.1 * cue + 0.01 * cue_lag1 + 0.001 * cue_lag2) * (1 - 0.1 * option)",
        parameters={"weight": Parameter(value=1.0)},
    )
    expected = [10.21, 21.121, 21.202, 20.020]  # in the third trial nothing was chosen
    np.testing.assert_allclose(logits(model, data, weight=1.0)[:, 0], expected)
    check_kernels(model, data)


# ---------------------------------------------------------------------- probabilities


def test_improbable_choices(plain_kernels):
    """Their product is no floating-point number, the sum of their logarithms is one."""
    data = session([0, 1, 1], [[1, NAN], [NAN, 0], [NAN, 0]])
    model = SymbolicModel(
        {"q": State()}, [("q", "chosen", "reward")], parameters={"b": Parameter(0)}, probabilities="softmax(b * q)"
    )
    data.ys[0] = torch.eye(2)[[1, 1, 1]]
    nll, gradient = GeneratedLikelihood(model, data, 1).gradient([[500.0]])
    np.testing.assert_allclose([nll[0], gradient[0, 0]], [1500, 3], rtol=1e-12)


def test_numbers_that_are_no_probabilities(plain_kernels):
    data = session([0, 1, 1], [[1, NAN], [NAN, 0], [NAN, 0]])
    model = SymbolicModel(
        {"q": State()},
        [("q", "chosen", "q")],
        parameters={"b": Parameter(0, 0.5)},
        probabilities=("0.5 - b", "0.5 + b"),
    )
    data.ys[0] = torch.eye(2)[[0, 0, 1]]
    assert np.isposinf(GeneratedLikelihood(model, data, 1).gradient([[0.7]])[0]).all()


def test_probabilities_of_options_on_offer_add_up_to_one(plain_kernels):
    offers = {f"available_{k}": values for k, values in enumerate([[1, 1, 1], [1, 0, 1], [1, 1, 1]])}
    data = session([0, 2], [[1, NAN, NAN], [NAN, NAN, 0]], **offers)
    settings = {"states": {"q": State()}, "updates": [("q", "chosen", "reward")], "parameters": {"e": Parameter(0, 1)}}
    with pytest.raises(ConfigError, match=r"add up to 0\.93"):
        GeneratedLikelihood(SymbolicModel(**settings, probabilities="(1 - e) * softmax(q) + e / 3"), data)
    good = SymbolicModel(**settings, probabilities="(1 - e) * softmax(q) + e / n_actions")
    np.testing.assert_allclose(GeneratedLikelihood(good, data).probabilities([[0.5]]).sum(-1), 1.0)


# ---------------------------------------------------------------------- what is not shown


def test_what_is_not_shown_predicts_nothing(plain_kernels):
    """Levels are checked where a trial plays a part; elsewhere anything may stand in their columns."""
    data = session([0, -1, 1, 1], [[1, NAN], [NAN, NAN], [NAN, 1], [NAN, 0]], cue=[0, 7, 1, 0, NAN])
    data.ys[0, -1] = NAN
    model = SymbolicModel(
        {"q": State(by="cue")}, [("q", "chosen", "a * reward")], "q", {"a": Parameter(value=1)}, shown={"cue": 2}
    )
    np.testing.assert_array_equal(logits(model, data, a=1.0)[1:3], [[0, 0], [1, 0]])
    likelihood = GeneratedLikelihood(model, data, 1)
    assert np.isnan(likelihood.probabilities([[1.0]])[0, :, 0]).tolist() == [True, False, False, True]
    assert likelihood(np.ones((1, 1))).nll[0] == pytest.approx(np.log(2) + np.log1p(np.exp(1.0)))


# ---------------------------------------------------------------------- agents


def test_agents_of_models_that_are_silent_about_some_choices():
    """All options on offer are alike then, with logits as with probabilities."""
    for kind in ("logits", "probabilities"):
        model = SymbolicModel(
            {"q": State(by="cue")},
            [("q", "chosen", "2 * reward")],
            shown={"cue": 2},
            **{kind: {"cue == 0": "softmax(q)"}},
        )
        agent = model.agent({}, 3)
        agent.update(0, [1, NAN, NAN], cue=0, next_cue=1)
        np.testing.assert_allclose(agent.get_choice_probs(), 1 / 3)
        agent.update(NAN, [NAN] * 3, next_cue=1, next_available_0=1, next_available_1=0, next_available_2=1)
        np.testing.assert_allclose(agent.get_choice_probs(), [0.5, 0, 0.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": 0.5, "b": 1}, "have 'b'"),
        ({"a": [0.5, NAN]}, "finite"),
        ({"a": [[0.5]]}, "one for each"),
        ({"a": 0.5}, "'next_cue' must be a level from 0 to 1, not 2"),
    ],
)
def test_what_agents_cannot_use(values, message):
    model = SymbolicModel(
        {"q": State(by="cue")}, [("q", "chosen", "a * reward")], "q", {"a": Parameter()}, shown={"cue": 2}
    )
    with pytest.raises(ConfigError, match=message):
        model.agent(values).update(NAN, [NAN, NAN], next_cue=2)


def test_agents_keep_to_the_bounds_of_parameters():
    parameters = {"alpha": Parameter(0, 1), "beta": Parameter(0), "free": Parameter()}
    model = SymbolicModel({"q": State()}, [("q", "chosen", "alpha * reward")], "beta * q + free", parameters)
    with pytest.raises(ConfigError, match="alpha is 1.5, but must lie between 0 and 1"):
        model.agent({"alpha": [0.5, 1.5], "beta": 3.0, "free": 0.0})
    with pytest.raises(ConfigError, match="beta is -2, but must lie between 0 and inf"):
        model.agent({"alpha": 0.5, "beta": -2.0, "free": 0.0})
    edge = np.float32(0.1) * np.float32(10.0) + np.float32(1e-7)  # 1.0000001
    model.agent({"alpha": edge, "beta": 0.0, "free": -100.0})


def test_agents_are_pickled_in_the_middle_of_a_session():
    """They go on as if nothing had happened, and generated code stays behind."""
    model = SymbolicModel(
        {"q": State("start", by="cue"), "k": State()},
        [
            ("q", "cell", "q + alpha * (outcome - q)"),
            ("q", "everywhere", "0.9 * q + 0.1 * mean", "cue == 0"),
            ("k", "everywhere", "previous_k + alpha * (chosen - k) + 0.1 * reward_lag1"),
        ],
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0), "start": Parameter()},
        shown={"cue": 2},
        let={"mean": "sum_actions(q) / n_actions"},
        probabilities="0.9 * softmax(beta * q + abs(k)) + 0.1 / n_actions",
    )
    agent = model.agent({"alpha": [0.3, 0.6], "beta": [2.0, 5.0], "start": 0.5}, 3, seed=1)
    agent.new_sess(4, participants=[0, 0, 1, 1])

    def play(agent, n_trials, rng):
        for _ in range(n_trials):
            choice, outcome, cues = agent.get_choice(), rng.random((4, 3)), rng.integers(2, size=(2, 4))
            agent.update(choice, outcome, cue=cues[0], next_cue=cues[1])
        return [choice, agent.get_choice_probs(), agent.get_state_value("q"), agent.get_state_value("k")]

    agent.update(np.full(4, NAN), np.full((4, 3), NAN), next_cue=np.array([0, 1, 0, 1]))
    play(agent, 5, np.random.default_rng(0))
    stored = pickle.dumps(agent)
    assert b"lambdi" not in stored
    one, again = (play(player, 20, np.random.default_rng(1)) for player in (agent, pickle.loads(stored)))
    for expected, found in zip(one, again, strict=True):
        np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------------- what is given


@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.25), np.int64(1), sympy.Rational(1, 4), 0.25])
def test_numbers_of_any_kind(number):
    data = session([0, 1], [[1, NAN], [NAN, 1]])
    model = SymbolicModel(states={"q": State(number)}, updates=[("q", "chosen", number)], logits="q")
    np.testing.assert_array_equal(logits(model, data), np.full((2, 2), float(number)))


def test_numbers_beyond_whole_ones_of_compiled_code(plain_kernels):
    data = session([0, 1], [[1, NAN], [NAN, 1]])
    model = SymbolicModel(
        states={"q": State()},
        updates=[("q", "chosen", "q + a * 999999999 * 999999999 * 999999999 * (reward - q)")],
        logits=sympy.Symbol("q", real=True) / 10**30 + sympy.pi,
        parameters={"a": Parameter(value=0.5)},
    )
    assert not any(number.is_Integer and abs(number) > 2**53 for e in model.expressions() for number in e.atoms())
    np.testing.assert_allclose(logits(model, data, a=0.5)[0], [np.pi + 999999999**3 / 2e30, np.pi])
    assert not re.search(r"(?<![\d.])\d{17,}(?![\d.])", kernel_source(model, 2).split("def evaluate")[1])


@pytest.mark.parametrize(
    "given",
    [
        sympy.Function("f")(sympy.Symbol("q")),
        sympy.Sum(sympy.Symbol("q"), (sympy.Symbol("k"), 1, 3)),
        sympy.I * sympy.Symbol("q"),
        sympy.oo,
        np.nan,
        "1e308 * 10 * q",
        "q[1].x",
        None,
        {},
        {None: "q"},
        {"cue == 1": {"cue == 2": "q"}},
        ("q",),
    ],
)
def test_what_is_no_expression(given):
    with pytest.raises(ConfigError):
        SymbolicModel({"q": State()}, [("q", "chosen", "reward")], given, shown={"cue": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parameters": {"next_cue": Parameter()}, "logits": "next_cue * cue * q"},
            "name of a column of the coming tr",
        ),
        ({"inputs": ["next_cue"]}, "has the name of a column of the coming trial's cue"),
        ({"parameters": {"µ": Parameter()}, "logits": "µ * q"}, "Python reads as others; write 'μ'"),  # noqa: RUF001
        ({"parameters": {1: Parameter()}}, "1 cannot be the name of a parameter"),
        ({"parameters": {"q_0": 0.5}, "logits": "q_0 * q"}, "'q_0' is 0.5; write Parameter(low, high)"),
        ({"parameters": {"a": Parameter("0", 1)}, "logits": "a * q"}, "'a' has the bound '0'; give a number"),
        ({"shown": {"cue": True}}, "'cue' has True levels"),
        ({"updates": [3]}, "3 is no update"),
    ],
)
def test_what_is_refused(changes, message):
    settings = {"states": {"q": State()}, "updates": [("q", "chosen", "reward")], "logits": "q", "shown": {"cue": 3}}
    with pytest.raises(ConfigError, match=re.escape(message)):
        SymbolicModel(**settings | changes)


@pytest.mark.parametrize(
    "text", ["where(exp(exp(exp(exp(9)))) > 1, 1, 0)", "min(exp(exp(exp(exp(9)))), q)", "(q / 1000)**200"]
)
def test_numbers_that_are_none(text):
    with pytest.raises(ConfigError):
        parse_expression(text)


def test_what_is_printed_is_read_back():
    for text in ("exp(1) * q", "max(q, max_actions(0.1))", "2 + softmax(1)**2"):
        assert parse_expression(text_expression(parse_expression(text))) == parse_expression(text)


def test_levels_and_inputs_from_numpy_and_gaps_in_them():
    model = SymbolicModel(
        {"q": State(by="cue")}, [("q", "chosen", "reward * size")], "q", shown={"cue": np.int64(2)}, inputs="size"
    )
    good = {"choices": [0, 1, -1], "outcomes": [[1, NAN], [NAN, 1], [NAN, NAN]], "cue": [0, 1, 1, 0]}
    np.testing.assert_array_equal(logits(model, session(**good, size=[1, 2, NAN])), [[0, 0], [0, 2], [1, 0]])
    with pytest.raises(DataError, match="column 'size' is empty for participant 0, session 0, trial 1"):
        logits(model, session(**good, size=[1, NAN, 2]))

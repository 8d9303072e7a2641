"""What hand-written models may say beyond one option's own values, how it reads, and what is refused."""

import pickle
import re

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

from spice.equations import Parameter, State, SymbolicModel
from spice.equations.evaluate import run_symbolic
from spice.equations.latex import latex_expression, text_expression
from spice.equations.parsing import parse_condition, parse_expression
from spice.errors import ConfigError
from spice.precoded import flat_aliens, pearce_hall, two_step, win_stay_lose_shift, with_bias, with_lapse


def model(**changes) -> SymbolicModel:
    settings = {
        "shown": {"season": 3, "size": None},
        "states": {"q": State(0.5, by="season"), "k": State()},
        "updates": [
            ("q", "chosen", "q + alpha * (reward - q)", "season > 0"),
            ("k", "everywhere", "0.9 * k + 0.1 * chosen"),
        ],
        "logits": "beta * q + k * size",
        "parameters": {"alpha": Parameter(0, 1), "beta": Parameter(0)},
    }
    return SymbolicModel(**settings | changes)


def refusal(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        model(**changes)
    return str(caught.value)


# ---------------------------------------------------------------------- expressions


@pytest.mark.parametrize(
    "text",
    [
        "sum_actions(q) + max_actions(softmax(beta*q))",
        "q[1] + q[0, 2]",
        "where((a > 1) and (b < 2), 1, 0)",
        "where((a > 1) or (b < 2), 1, 0)",
    ],
)
def test_printed_expressions_are_read_back(text):
    found = parse_expression(text)
    assert parse_expression(text_expression(found)) == found
    assert pickle.loads(pickle.dumps(found)) == found


def test_printed_conditions_are_read_back():
    for text in ("step == 1", "(step == 1) and not (state > 2)", "step != 1"):
        found = parse_condition(text)
        assert parse_condition(text_expression(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "q[a]",
        "q[-1]",
        "q[0.5]",
        "q[True]",
        "q[0:1]",
        "q['a']",
        "(q + 1)[0]",
        "sum_actions(q, 1)",
        "sum_actions()",
        "softmax(q > 1)",
        "where(q and 1, 1, 0)",
        "where(not q, 1, 0)",
        "sum_actions",
        "max_actions.__class__",
        "[].append(1)",
        "q[().__class__]",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ConfigError):
        parse_expression(text)
    with pytest.raises(ConfigError):
        parse_condition(text)


def test_conditions_are_comparisons():
    with pytest.raises(ConfigError, match="'step' is no condition; write a comparison, such as 'step == 1'"):
        parse_condition("step")


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"states": {"q": State(by="seasn"), "k": State()}},
            "'seasn', which is no shown input with levels (did",
        ),
        ({"states": {"q": State(by="size"), "k": State()}}, "'size', of which shown says no number of levels"),
        ({"updates": [("q", "chosen", "q + alpha * reward", "reward > q")]}, "'q' cannot be read by when"),
        ({"shown": {"season": 0, "size": None}}, "'season' has 0 levels; give a whole number"),
        ({"logits": "q[3] + beta + k * size"}, "q[3] names no cell: q has cells by season (3)"),
        ({"logits": "q[0, 1] + beta + k * size"}, "q[0, 1] names no cell"),
        ({"logits": "k[0] + beta * size"}, "k[0] names no cell: k has no cells"),
        ({"inputs": ["season"]}, "the shown input 'season' has the name of an input"),
        ({"let": {"alpha": "q"}}, "the name in let 'alpha' has the name of a parameter"),
        ({"let": {"one": "two", "two": "q"}}, "'two' in let (one) is not known"),
        ({"probabilities": "softmax(q)"}, "give either logits or probabilities."),
        ({"logits": None}, "give either logits or probabilities."),
        ({"logits": {"season == 1": ("q", "k"), "season == 2": ("q", "k", "beta")}}, "for 2 and 3 options"),
        ({"logits": {"reward > 0": "beta * q + k * size"}}, "'reward' in a condition of choices is not known"),
        (
            {"inputs": ["step"], "logits": {"step == 1": "beta * q + k * size"}},
            "reads 'step', an input seen with the outcome; if it is known before the choice, name it in shown.",
        ),
        ({"states": {"q": State("sum_actions(alpha)", by="season"), "k": State()}}, "reads other options or cells"),
        ({"parameters": {"alpha": Parameter(0, 1), "beta": Parameter(0, prior="beta(1, 1)")}}, "set high=1"),
        ({"parameters": {"alpha": Parameter(0, 1, prior="bta(1, 1)"), "beta": Parameter()}}, "did you mean 'beta'"),
        (
            {"parameters": {"alpha": Parameter(0, 1, mean_prior="uniform(0, 1)"), "beta": Parameter()}},
            "the mean_prior uniform(0, 1) of 'alpha' has bounds, but people are normal on the unconstrained scale",
        ),
        (
            {"parameters": {"alpha": Parameter(0, 1, sd_prior="normal(0, 1)"), "beta": Parameter()}},
            "the sd_prior normal(0, 1) of 'alpha' is below 0 in part",
        ),
        ({"parameters": {"alpha": Parameter(0, 1, scale="log"), "beta": Parameter()}}, "has scale='log'; choose"),
    ],
)
def test_refusals(changes, message):
    assert message in refusal(**changes)


def test_all_problems_at_once():
    message = refusal(
        states={"q": State(by="seasn"), "k": State(), "idle": State()},
        let={"reward": "q"},
        parameters={"alpha": Parameter(0, 1, prior="normal(0, 1)"), "unused": Parameter()},
    )
    for part in ["'seasn'", "'idle' is never updated", "'reward' has the name of a signal", "'unused' is never used"]:
        assert part in message
    assert "'beta' in the updates or logits is not known" in message and "normal(0, 1) lies on" in message


def test_updates_have_three_or_four_parts():
    with pytest.raises(ConfigError, match=r"is no update; write \(state, where, expression\)"):
        model(updates=[("q", "chosen")])
    with pytest.raises(ConfigError, match="True is no condition"):
        model(updates=[("q", "chosen", "q", True)])


# ---------------------------------------------------------------------- how it reads


def test_text():
    assert str(model(let={"delta": "reward - q"})).splitlines() == [
        "let                        delta = reward - q",
        "chosen option, cell shown  q ← q + alpha*(reward - q)   when season > 0",
        "all options                k ← 0.1*chosen + 0.9*k",
        "start                      q = 0.5   by season",
        "start                      k = 0",
        "logit                      beta*q + k*size",
    ]


@pytest.mark.parametrize(
    "written", [model(), two_step(), with_lapse(with_bias(pearce_hall(), 3)), flat_aliens(), win_stay_lose_shift()]
)
def test_latex_is_valid(written):
    lines = written.latex().removeprefix("\\begin{aligned}\n").removesuffix("\n\\end{aligned}").split(" \\\\\n")
    for line in lines:
        whole = re.sub(r"\\begin\{cases\}.*?\\end\{cases\}", "c", line)  # the parser knows no environments
        for part in whole.replace("&&", "&").split("&"):
            if part.strip():
                MathTextParser("agg").parse(f"${part.strip().replace('leftarrow', 'to')}$")
        assert line.count("{") == line.count("}") and "*" not in line


def test_latex_names_what_reads_all_options():
    assert latex_expression(parse_expression("softmax(beta * q)")) == r"\mathrm{softmax}\left(\beta\,q\right)"
    assert latex_expression(parse_expression("max_actions(q[1])")) == r"\max_{\mathrm{options}} q\left[1\right]"


def test_models_are_pickled():
    for written in (model(), two_step(), with_lapse(flat_aliens())):
        again = pickle.loads(pickle.dumps(written))
        assert str(again) == str(written) and again.to_sympy() == written.to_sympy()


# ---------------------------------------------------------------------- what it means


def test_let_is_computed_before_the_updates(random_data):
    """In updates a name keeps its value from before the trial, in logits it follows the states."""
    data = random_data(2, 6)
    written = SymbolicModel(
        states={"a": State(1.0), "b": State()},
        let={"twice": "2 * a", "more": "twice + 1"},
        updates=[("a", "everywhere", "a + 1"), ("b", "everywhere", "more")],
        logits="100 * b + more",
    )
    steps = np.arange(1.0, 7.0)  # a before the trial
    expected = 100 * (2 * steps + 1) + 2 * (steps + 1) + 1
    np.testing.assert_allclose(run_symbolic(written, data, {})[0, :, 0], expected)


def test_sums_see_the_lines_above(random_data):
    """All options at the same time: what one line does to an option is no part of what another option reads there."""
    data = random_data(1, 5)
    written = SymbolicModel(
        states={"a": State(1.0)},
        updates=[("a", "chosen", "2 * a"), ("a", "everywhere", "sum_actions(a)")],
        logits="a",
    )
    expected = np.cumprod(np.full(5, 3.0))  # of two options at a: 2 a + a
    np.testing.assert_allclose(run_symbolic(written, data, {})[0, :, 0], expected)

"""Compiled loops over trials around a model's own step: written as text, so that numba keeps them on disk."""

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spice.equations import hidden_rules, jets
from spice.equations.compiled import load_function
from spice.equations.compiled_model import CompiledModel, HiddenStep

INDENT = "    "

BEGINNING = '''"""Loops over trials around the step of a model; written by spice.equations.step_source."""

import math

import numpy as np
from numba import njit

from spice.equations.compiled_model import StepTrial
from spice.equations.jets import copy, fill
{imports}

{constants}
# made of: {digest}
'''

# of one row after the other: what is needed, the trials and their updates
ROWS = """
    p = np.zeros(({n_parameters}, {length}))
    for k in range({n}):
        p[k, 1 + k] = 1.0
{arrays}
{states}
    for row in range(len(group)):
        for k in range({n_parameters}):
            p[k, 0] = parameters[row, k]
        first = sessions[groups[group[row]]]
        for session in range(groups[group[row]], groups[group[row] + 1]):
{start}
            ready = False
            for trial in range(sessions[session], sessions[session + 1]):
                if choice[trial] >= 0:
                    now = StepTrial(choice[trial], reward[trial], outcome[trial], inputs[trial], shown[trial])
{update}
                ready = False
"""

# total (n_rows, length): jets of the log-likelihood
LIKELIHOOD = (
    """

@njit(nogil=True, cache={cache}, error_model="numpy")
def evaluate(parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups, total):"""
    + ROWS
    + """                if target[trial] >= 0:
{score}
                    for m in range({length}):
                        total[row, m] += log_p[target[trial], m]
"""
)

# found (n_rows, n_trials, n_actions): log-probabilities of all options after each trial of a row's participant, left
# as they are where it is not known what is shown next
REPLAY = (
    """

@njit(nogil=True, cache={cache}, error_model="numpy")
def evaluate(parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups, found):"""
    + ROWS
    + """                known = True
                for k in range({n_shown}):
                    known = known and next_shown[trial, k] >= 0
                if known:
{predict}
                    for option in range({n_actions}):
                        found[row, trial - first, option] = log_p[option, 0]
"""
)

# one trial of many sessions at once, in place: values of parameters (n_rows, n_parameters, 1)
PLAY = """

@njit(nogil=True, cache={cache}, error_model="numpy")
def learn_all(parameters, states, choice, reward, outcome, inputs, shown, uniform, sampled):
{arrays}
    {names}, = states
    for row in range(len(choice)):
        if choice[row] >= 0:
            p, states = parameters[row], ({own},)
            now = StepTrial(choice[row], reward[row], outcome[row], inputs[row], shown[row])
{learn}


@njit(nogil=True, cache={cache}, error_model="numpy")
def predict_all(parameters, states, next_shown, found):
{arrays}
    {names}, = states
    for row in range(len(found)):
        p, states = parameters[row], ({own},)
{look}
        for option in range({n_actions}):
            found[row, option] = log_p[option, 0]
"""


def likelihood_function(model: CompiledModel, order: int) -> Callable:
    """The compiled log-likelihood with its derivatives.

    Parameters
    ----------
    model : CompiledModel
        The model.
    order : {1, 2}
        Highest derivative.

    Returns
    -------
    callable
        ``evaluate(parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups,
        total)`` adds to ``total`` (n_rows, jet) the jets of the log-likelihood of rows.
    """
    return load_step_code(model, LIKELIHOOD, ["evaluate"], order)[0]


def replay_function(model: CompiledModel) -> Callable:
    """The compiled choice probabilities: as above, but ``found`` (n_rows, n_trials, n_actions) comes last."""
    return load_step_code(model, REPLAY, ["evaluate"])[0]


def play_functions(model: CompiledModel) -> tuple[Callable, Callable]:
    """One trial of many sessions at once: ``learn_all`` and ``predict_all``."""
    learn_all, predict_all = load_step_code(model, PLAY, ["learn_all", "predict_all"])
    return learn_all, predict_all


def load_step_code(model: CompiledModel, template: str, names: list[str], order: int = 0) -> list[Callable]:
    """Functions of a text around a model's step.

    They come from the cache folder if the step can be imported; else they are compiled for this process alone.

    Parameters
    ----------
    model : CompiledModel
        The model.
    template : str
        The text, with places for what depends on the model.
    names : list of str
        The functions.
    order : {0, 1, 2}
        Highest derivative.
    """
    functions = model.step.functions
    importable = all(map(_can_be_imported, functions.values()))
    imports = []
    if isinstance(model.step, HiddenStep):
        rule = model.step.rule
        imports.append("from spice.equations.hidden_rules import log_total, put_all_on, sample")
        imports.append(f"from spice.equations.hidden_rules import mix_{rule} as mix, respond_{rule} as respond")
    if importable:
        imports += [f"from {f.__module__} import {f.__name__} as {name}" for name, f in functions.items()]
    starts = [f"START_{k} = np.array({start.ravel().tolist()})" for k, start in enumerate(model.states.values())]
    text = BEGINNING.format(imports="\n".join(imports), constants="\n".join(starts), digest=_digest(model))
    text += template.format(cache=importable, **_parts(model, order))
    if importable:
        return [load_function(text, name) for name in names]
    namespace: dict[str, Any] = dict(functions)
    exec(compile(text, "<step>", "exec"), namespace)  # our own text, around functions that are at hand
    return [namespace[name] for name in names]


def _can_be_imported(function: Callable) -> bool:
    """Whether another process finds the function under its name."""
    if function.__module__ == "__main__":
        return False
    try:
        module = importlib.import_module(function.__module__)
    except ImportError:
        return False
    return getattr(module, function.__name__, None) is function


def _digest(model: CompiledModel) -> str:
    """Of the files that the step is made of: numba itself only sees whether the text that calls them has changed."""
    modules = [jets, hidden_rules, *(sys.modules.get(f.__module__) for f in model.step.functions.values())]
    files = {getattr(module, "__file__", None) or "" for module in modules}
    texts = [Path(file).read_bytes() for file in sorted(files) if Path(file).is_file()]
    return hashlib.sha256(b"".join(texts)).hexdigest()


# ---------------------------------------------------------------------- what depends on the model


def _parts(model: CompiledModel, order: int) -> dict[str, object]:
    """What goes into the places of a template."""
    n = len(model.parameters) if order else 0
    length = jets.length(n, order)
    names = [f"x{k}" for k in range(len(model.states))]
    lines = {
        "arrays": (1, _arrays(model, length)),
        "states": (1, _states(model, length)),
        "start": (3, _start(model)),
        "update": (5, _update(model, n)),
        "predict": (5, _predict(model, n, "next_shown[trial]")),
        "score": (5, _score(model, n)),
        "learn": (3, _learn(model, n)),
        "look": (2, _predict(model, n, "next_shown[row]")),
    }
    if isinstance(model.step, HiddenStep):
        lines |= _particle_lines(model)
    texts = {name: "\n".join(INDENT * depth + line for line in part) for name, (depth, part) in lines.items()}
    sizes = {"n": n, "length": length, "n_parameters": len(model.parameters), "n_shown": len(model.shown)}
    own = ", ".join(f"{name}[row]" for name in names)
    particle = ", ".join(f"{name}[i]" for name in names)
    hidden = {"n_hidden": int(getattr(model.step, "n_hidden", 0)), "particle": particle}
    return {**texts, **sizes, **hidden, "n_actions": int(model.n_actions), "names": ", ".join(names), "own": own}


def _arrays(model: CompiledModel, length: int) -> list[str]:
    step, n_actions = model.step, int(model.n_actions)
    lines = [f"log_p, work = np.zeros(({n_actions}, {length})), np.zeros(({int(step.work)}, {length}))"]
    if isinstance(step, HiddenStep):
        n_hidden = int(step.n_hidden)
        lines += [f"{name} = np.zeros(({n_hidden}, {length}))" for name in ("log_w", "weights", "mixed")]
        lines.append(f"given, spare = np.zeros(({n_hidden}, {n_actions}, {length})), np.zeros({length})")
    return lines


def _states(model: CompiledModel, length: int) -> list[str]:
    lines = []
    for k, start in enumerate(model.states.values()):
        lines.append(f"flat{k} = np.zeros(({start.size}, {length}))")
        lines.append(f"x{k} = flat{k}.reshape({(*start.shape, length)})")
    return [*lines, f"states = ({', '.join(f'x{k}' for k in range(len(model.states)))},)"]


def _start(model: CompiledModel) -> list[str]:
    lines = []
    for k, start in enumerate(model.states.values()):
        lines += [f"for k in range({start.size}):", f"{INDENT}fill(flat{k}[k], START_{k}[k])"]
    return lines


def _look(n: int, shown: str) -> list[str]:
    return [f"weigh(log_w, states, p, {shown}, work, {n})", f"act(given, states, p, {shown}, work, {n})"]


def _predict(model: CompiledModel, n: int, shown: str) -> list[str]:
    if not isinstance(model.step, HiddenStep):
        return [f"predict(log_p, states, p, {shown}, work, {n})"]
    each = f"{INDENT}mix(log_p[option], log_w, given, option, mixed, {n})"
    return [*_look(n, shown), f"for option in range({int(model.n_actions)}):", each, "ready = True"]


def _score(model: CompiledModel, n: int) -> list[str]:
    """Of the option that was chosen next alone, where the others need not be known."""
    shown, option = "next_shown[trial]", "target[trial]"
    if not isinstance(model.step, HiddenStep):
        return _predict(model, n, shown)
    return [*_look(n, shown), f"mix(log_p[{option}], log_w, given, {option}, mixed, {n})", "ready = True"]


def _update(model: CompiledModel, n: int) -> list[str]:
    """In a loop over trials; what the prediction of this choice has found is not computed anew."""
    if not isinstance(model.step, HiddenStep):
        return [f"update(states, p, now, work, {n})"]
    return [
        f"for k in range({len(model.shown)}):",
        f"{INDENT}ready = ready and shown[trial, k] == next_shown[trial - 1, k]",
        "if not ready:",
        *(INDENT + line for line in _look(n, "now.shown")),
        f"respond(weights, log_w, given, now.choice, spare, {n})",
        f"learn(states, weights, p, now, work, {n})",
    ]


def _learn(model: CompiledModel, n: int) -> list[str]:
    """Of a row of its own."""
    if not isinstance(model.step, HiddenStep):
        return [f"update(states, p, now, work, {n})"]
    return [
        *_look(n, "now.shown"),
        f"respond(weights, log_w, given, now.choice, spare, {n})",
        "if sampled:",
        f"{INDENT}put_all_on(weights, sample(weights[:, 0], uniform[row]))",
        f"learn(states, weights, p, now, work, {n})",
    ]


def _particle_lines(model: CompiledModel) -> dict[str, tuple[int, list[str]]]:
    """What a particle filter needs: each particle has states x0, x1, ..., and y0, y1, ... to be copied from."""
    particles, start, swap, copy = [], [], [], []
    for k, values in enumerate(model.states.values()):
        for name in "xy":
            particles.append(f"flat_{name}{k} = np.zeros((n_particles, {values.size}))")
            particles.append(
                f"{name}{k} = flat_{name}{k}.reshape({('n_particles', *values.shape, 1)})".replace("'", "")
            )
        start.append(f"copy(flat_x{k}[i], START_{k})")
        swap += [f"x{k}, y{k} = y{k}, x{k}", f"flat_x{k}, flat_y{k} = flat_y{k}, flat_x{k}"]
        copy.append(f"copy(flat_x{k}[i], flat_y{k}[ancestors[i]])")
    return {
        "particles": (1, particles),
        "start_particle": (4, start),
        "swap": (6, swap),
        "copy": (7, copy),
        "look_now": (7, _look(0, "now.shown")),
        "look_next": (6, _look(0, "next_shown[trial]")),
    }

"""Compiled loops over trials around a model's own step: written as text, so that numba keeps them on disk."""

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from spice.equations import hidden_rules, jets, step_choices
from spice.equations.compiled import load_function
from spice.equations.compiled_model import CompiledModel, HiddenStep, can_be_imported

INDENT = "    "
KEPT = 64  # texts around functions of a script or notebook, of which the compiled form is kept in this process

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
                    now = StepTrial(choice[trial], reward[trial], outcome[trial], inputs[trial], {seen})
{update}
                ready = False
"""

# total (n_rows, length): jets of the log-likelihood
LIKELIHOOD = (
    """

@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
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

@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
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

@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def learn_all(parameters, states, choice, reward, outcome, inputs, shown, uniform, sampled):
{arrays}
    {names}, = states
    for row in range(len(choice)):
        if choice[row] >= 0:
            p, states = parameters[row], ({own},)
            now = StepTrial(choice[row], reward[row], outcome[row], inputs[row], {seen_row})
{learn}


@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def predict_all(parameters, states, next_shown, found):
{arrays}
    {names}, = states
    for row in range(len(found)):
        p, states = parameters[row], ({own},)
{look}
        for option in range({n_actions}):
            found[row, option] = log_p[option, 0]
"""


def likelihood_function(model: CompiledModel, order: int, offers: bool = False) -> Callable:
    """The compiled log-likelihood with its derivatives.

    Parameters
    ----------
    model : CompiledModel
        The model.
    order : {1, 2}
        Highest derivative.
    offers : bool, default False
        Whether options can be missing: then ``shown`` and ``next_shown`` have a column for each option behind the
        model's own, 1 where it is on offer.

    Returns
    -------
    callable
        ``evaluate(parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups,
        total)`` adds to ``total`` (n_rows, jet) the jets of the log-likelihood of rows.
    """
    return load_step_code(model, LIKELIHOOD, ["evaluate"], order, offers)[0]


def replay_function(model: CompiledModel, offers: bool = False) -> Callable:
    """The compiled choice probabilities: as above, but ``found`` (n_rows, n_trials, n_actions) comes last."""
    return load_step_code(model, REPLAY, ["evaluate"], offers=offers)[0]


def play_functions(model: CompiledModel, offers: bool = False) -> tuple[Callable, Callable]:
    """One trial of many sessions at once: ``learn_all`` and ``predict_all``."""
    learn_all, predict_all = load_step_code(model, PLAY, ["learn_all", "predict_all"], offers=offers)
    return learn_all, predict_all


def load_step_code(
    model: CompiledModel, template: str, names: list[str], order: int = 0, offers: bool = False
) -> list[Callable]:
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
    offers : bool, default False
        Whether options can be missing.
    """
    functions = model.step.functions
    importable = all(map(can_be_imported, functions.values()))
    imports = []
    if isinstance(model.step, HiddenStep):
        rule = model.step.rule
        imports.append("from spice.equations.hidden_rules import log_total, put_all_on, sample")
        imports.append(f"from spice.equations.hidden_rules import mix_{rule} as mix, respond_{rule} as respond")
    if _changes_choices(model, offers):
        imports.append("from spice.equations.jets import add, log_softmax")
        imports.append("from spice.equations.step_choices import leave_out, mix_lapse")
    if importable:
        imports += [f"from {f.__module__} import {f.__name__} as {name}" for name, f in functions.items()]
    starts = [f"START_{k} = np.array({start.ravel().tolist()})" for k, start in enumerate(model.states.values())]
    if model.lapse is not None and not offers:
        starts.append(f"EVERY = np.ones({int(model.n_actions)}, np.int64)")
    text = BEGINNING.format(imports="\n".join(imports), constants="\n".join(starts), digest=_digest(model))
    text += template.format(cache=importable, **_parts(model, order, offers))
    if importable:
        return [load_function(text, name) for name in names]
    namespace = _in_this_process(text, tuple(functions.items()))
    return [namespace[name] for name in names]


@lru_cache(maxsize=KEPT)
def _in_this_process(text: str, functions: tuple[tuple[str, Callable], ...]) -> dict[str, Any]:
    """What a text defines around functions that are at hand; the same every time, so that numba compiles once."""
    namespace: dict[str, Any] = dict(functions)
    exec(compile(text, "<step>", "exec"), namespace)  # our own text
    return namespace


def _digest(model: CompiledModel) -> str:
    """Of the files that the step is made of: numba itself only sees whether the text that calls them has changed."""
    own = (sys.modules.get(function.__module__) for function in model.step.functions.values())
    modules = [jets, hidden_rules, step_choices, *own]
    files = {getattr(module, "__file__", None) or "" for module in modules}
    texts = [Path(file).read_bytes() for file in sorted(files) if Path(file).is_file()]
    return hashlib.sha256(b"".join(texts)).hexdigest()


# ---------------------------------------------------------------------- what depends on the model


def _parts(model: CompiledModel, order: int, offers: bool) -> dict[str, object]:
    """What goes into the places of a template."""
    n = len(model.parameters) if order else 0
    length = jets.length(n, order)
    names = [f"x{k}" for k in range(len(model.states))]
    lines = {
        "arrays": (1, _arrays(model, length, offers)),
        "states": (1, _states(model, length)),
        "start": (3, _start(model)),
        "update": (5, _update(model, n, offers)),
        "predict": (5, _predict(model, n, offers, "next_shown[trial]")),
        "score": (5, _score(model, n, offers)),
        "learn": (3, _learn(model, n, offers)),
        "look": (2, _predict(model, n, offers, "next_shown[row]")),
    }
    if isinstance(model.step, HiddenStep):
        lines |= _particle_lines(model, offers)
    texts = {name: "\n".join(INDENT * depth + line for line in part) for name, (depth, part) in lines.items()}
    n_shown = len(model.shown) + (int(model.n_actions) if offers else 0)
    sizes = {"n": n, "length": length, "n_parameters": len(model.parameters), "n_shown": n_shown}
    sizes |= {"n_actions": int(model.n_actions)}
    seen = {"seen": _own(model, offers, "shown[trial]"), "seen_row": _own(model, offers, "shown[row]")}
    own = ", ".join(f"{name}[row]" for name in names)
    particle = ", ".join(f"{name}[i]" for name in names)
    hidden = {"n_hidden": int(getattr(model.step, "n_hidden", 0)), "particle": particle}
    return {**texts, **sizes, **seen, **hidden, "names": ", ".join(names), "own": own}


def _arrays(model: CompiledModel, length: int, offers: bool) -> list[str]:
    step, n_actions = model.step, int(model.n_actions)
    lines = [f"log_p, work = np.zeros(({n_actions}, {length})), np.zeros(({int(step.work)}, {length}))"]
    if isinstance(step, HiddenStep):
        n_hidden = int(step.n_hidden)
        lines += [f"{name} = np.zeros(({n_hidden}, {length}))" for name in ("log_w", "weights", "mixed")]
        lines.append(f"given, spare = np.zeros(({n_hidden}, {n_actions}, {length})), np.zeros({length})")
    elif _changes_choices(model, offers):
        lines.append(f"spare = np.zeros({length})")
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


def _changes_choices(model: CompiledModel, offers: bool) -> bool:
    return offers or bool(model.biases) or model.lapse is not None


def _own(model: CompiledModel, offers: bool, row: str) -> str:
    """What the model's own inputs show, of a row of all that is shown, e.g. ``shown[trial]``."""
    return f"{row[:-1]}, :{len(model.shown)}]" if offers else row


def _choices(model: CompiledModel, n: int, offers: bool, log_p: str, row: str) -> list[str]:
    """What becomes of the log-probabilities that the step says: biases, what is not on offer, lapses."""
    places = list(model.parameters)
    offered = f"{row[:-1]}, {len(model.shown)}:]" if offers else "EVERY"
    lines = [
        f"add({log_p}[{option}], {log_p}[{option}], p[{places.index(name)}])"
        for option, name in enumerate(model.biases, start=1)
    ]
    if offers:
        lines.append(f"leave_out({log_p}, {offered}, spare, {n})")
    elif model.biases:
        lines.append(f"log_softmax({log_p}, spare, {n})")
    if model.lapse is not None:
        lines.append(f"mix_lapse({log_p}, p[{places.index(model.lapse)}], {offered}, spare, {n})")
    return lines


def _look(model: CompiledModel, n: int, offers: bool, row: str) -> list[str]:
    """What a person with something hidden does next, given what a row of ``shown`` or ``next_shown`` shows."""
    seen = "now.shown" if row.startswith("shown") else _own(model, offers, row)
    lines = [f"weigh(log_w, states, p, {seen}, work, {n})", f"act(given, states, p, {seen}, work, {n})"]
    changes = _choices(model, n, offers, "given[hidden]", row)
    each = [INDENT + line for line in changes]
    return [*lines, *([f"for hidden in range({int(model.step.n_hidden)}):", *each] if each else [])]  # type: ignore[union-attr]


def _predict(model: CompiledModel, n: int, offers: bool, row: str) -> list[str]:
    if not isinstance(model.step, HiddenStep):
        shown = _own(model, offers, row)
        return [f"predict(log_p, states, p, {shown}, work, {n})", *_choices(model, n, offers, "log_p", row)]
    each = f"{INDENT}mix(log_p[option], log_w, given, option, mixed, {n})"
    return [*_look(model, n, offers, row), f"for option in range({int(model.n_actions)}):", each, "ready = True"]


def _score(model: CompiledModel, n: int, offers: bool) -> list[str]:
    """Of the option that was chosen next alone, where the others need not be known."""
    row, option = "next_shown[trial]", "target[trial]"
    if not isinstance(model.step, HiddenStep):
        return _predict(model, n, offers, row)
    return [*_look(model, n, offers, row), f"mix(log_p[{option}], log_w, given, {option}, mixed, {n})", "ready = True"]


def _update(model: CompiledModel, n: int, offers: bool) -> list[str]:
    """In a loop over trials; what the prediction of this choice has found is not computed anew."""
    if not isinstance(model.step, HiddenStep):
        return [f"update(states, p, now, work, {n})"]
    return [
        f"for k in range({len(model.shown) + (int(model.n_actions) if offers else 0)}):",
        f"{INDENT}ready = ready and shown[trial, k] == next_shown[trial - 1, k]",
        "if not ready:",
        *(INDENT + line for line in _look(model, n, offers, "shown[trial]")),
        f"respond(weights, log_w, given, now.choice, spare, {n})",
        f"learn(states, weights, p, now, work, {n})",
    ]


def _learn(model: CompiledModel, n: int, offers: bool) -> list[str]:
    """Of a row of its own."""
    if not isinstance(model.step, HiddenStep):
        return [f"update(states, p, now, work, {n})"]
    return [
        *_look(model, n, offers, "shown[row]"),
        f"respond(weights, log_w, given, now.choice, spare, {n})",
        "if sampled:",
        f"{INDENT}put_all_on(weights, sample(weights[:, 0], uniform[row]))",
        f"learn(states, weights, p, now, work, {n})",
    ]


def _particle_lines(model: CompiledModel, offers: bool) -> dict[str, tuple[int, list[str]]]:
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
        "look_now": (7, _look(model, 0, offers, "shown[trial]")),
        "look_next": (6, _look(model, 0, offers, "next_shown[trial]")),
    }

"""Source of a compiled likelihood: states and their derivatives carried through the trials in one flat function."""

from collections.abc import Iterable, Sequence

import sympy
from sympy.printing.pycode import PythonCodePrinter

from spice.equations.evaluate import without_kinks
from spice.equations.latex import PREVIOUS
from spice.equations.parsing import symbol
from spice.equations.sensitivities import Derivatives, Sensitivities
from spice.equations.symbolic import SymbolicModel

INDENT = "    "
SIGNALS = {"reward": "received", "outcome": "brought", "chosen": "chosen", "known": "known"}

BEGINNING = '''"""Likelihood of a model of choices with exact derivatives; written by spice.equations.codegen."""

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def evaluate(
    parameters, group, choice, reward, outcome, inputs, lagged, target, sessions, groups, nll, gradient, hessian
):
    x = np.empty(({n_actions}, {n_values}))
    logits, slopes = np.empty({n_actions}), np.zeros(({n_actions}, {n_parameters}))
    curves, mean = np.zeros(({n_actions}, {n_curves})), np.empty({n_parameters})
    for row in range(len(group)):
        g, h, total = gradient[row], hessian[row], 0.0
        z = 1.0  # a product of what the logarithm is still to be taken of: fewer logarithms
{parameters}
        for session in range(groups[group[row]], groups[group[row] + 1]):
{start}
            for trial in range(sessions[session], sessions[session + 1]):
                action, scored = choice[trial], target[trial]
                received = reward[trial] if action >= 0 else math.nan
                known = 1.0 if received == received else 0.0
                received = received if received == received else 0.0
{inputs}
                for option in range({n_actions}):
                    chosen = 1.0 if option == action else 0.0
                    brought = outcome[trial, option] if action >= 0 else math.nan
                    shown = brought == brought
                    brought = brought if shown else 0.0
{lagged}
{updates}
                if scored < 0:
                    continue
                for option in range({n_actions}):
                    chosen = 1.0 if option == action else 0.0
                    brought = outcome[trial, option] if action >= 0 else 0.0
                    brought = brought if brought == brought else 0.0
{lagged}
{logits}
{score}
                if z > 1e250:
                    total += math.log(z)
                    z = 1.0
        nll[row] = total + math.log(z)
        for k in range({n_parameters}):
            for j in range(k):
                h[k, j] = h[j, k]
'''

TWO_OPTIONS = """
other = 1 - scored
d = logits[other] - logits[scored]
e = math.exp(-abs(d))
total += max(d, 0.0)
z *= 1.0 + e
f = 1.0 / (1.0 + e)
p = f if d > 0.0 else e * f
v = e * f * f
for k in range({n_parameters}):
    s = slopes[other, k] - slopes[scored, k]
    mean[k] = s
    g[k] += p * s
    for j in range(k + 1):
        h[j, k] += v * s * mean[j]
"""
TWO_CURVED = "h[{j}, {k}] += p * (curves[other, {m}] - curves[scored, {m}])"

MORE_OPTIONS = """
top = logits[0]
for option in range(1, {n_actions}):
    top = max(top, logits[option])
total += top - logits[scored]
s = 0.0
for option in range({n_actions}):
    logits[option] = math.exp(logits[option] - top)
    s += logits[option]
z *= s
for option in range({n_actions}):
    logits[option] /= s
for k in range({n_parameters}):
    mean[k] = 0.0
    for option in range({n_actions}):
        mean[k] += logits[option] * slopes[option, k]
    g[k] += mean[k] - slopes[scored, k]
for option in range({n_actions}):
    for k in range({n_parameters}):
        s = logits[option] * (slopes[option, k] - mean[k])
        for j in range(k + 1):
            h[j, k] += s * (slopes[option, j] - mean[j])
"""
MORE_CURVED = """
h[{j}, {k}] -= curves[scored, {m}]
for option in range({n_actions}):
    h[{j}, {k}] += logits[option] * curves[option, {m}]
"""


def kernel_source(model: SymbolicModel, n_actions: int) -> str:
    """Python source of a module with the function ``evaluate``.

    Models of the same form give the same text, whatever their symbols are called.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    n_actions : int
        Number of options.

    Returns
    -------
    str
        ``evaluate(parameters, group, choice, reward, outcome, inputs, lagged, target, sessions, groups, nll,
        gradient, hessian)`` fills ``nll`` (n_rows,) and adds to ``gradient`` (n_rows, n_parameters) and ``hessian``
        (n_rows, n_parameters, n_parameters) of rows of ``parameters``, each for the sessions of the participant
        ``group``; the others are the fields of `spice.inference.generated.FlatTrials`.
    """
    return _Writer(model, n_actions).source()


class _Writer:
    """Writes the kernel of one model."""

    def __init__(self, model: SymbolicModel, n_actions: int):
        self._model, self._n_actions = model, n_actions
        self._flow = Sensitivities(model)
        self._logits = [self._flow.of(without_kinks(entry)) for entry in model.logits_of_options(n_actions)]
        self._curved = sorted({pair for logit in self._logits for pair in logit.second})
        self._names = {symbol(name): sympy.Symbol(f"p{k}") for k, name in enumerate(model.parameters)}
        self._names |= {symbol(name): sympy.Symbol(f"u{k}") for k, name in enumerate(model.inputs)}
        self._names |= {symbol(f"{name}_lag{n}"): sympy.Symbol(f"v{k}") for k, (name, n) in enumerate(model.lagged)}
        self._names |= {symbol(name): sympy.Symbol(local) for name, local in SIGNALS.items()}
        self._places: dict[sympy.Symbol, int] = {}  # in x, of a state's value and derivatives
        for number, state in enumerate(self._flow.states.values()):
            for part in state:
                name = "_".join([f"x{number}", *part.name.split("@")[1:]])
                self._names[part] = sympy.Symbol(name)
                self._places[self._names[part]] = len(self._places)

    def source(self) -> str:
        n = len(self._model.parameters)
        sizes = {"n_actions": self._n_actions, "n_parameters": n, "n_values": len(self._places)}
        two = self._n_actions == 2
        score = (TWO_OPTIONS if two else MORE_OPTIONS).strip().format(**sizes).splitlines()
        for m, (j, k) in enumerate(self._curved):
            score += (TWO_CURVED if two else MORE_CURVED).strip().format(j=j, k=k, m=m, **sizes).splitlines()
        parts = {
            "parameters": (2, [f"p{k} = parameters[row, {k}]" for k in range(n)]),
            "start": (3, self._start()),
            "inputs": (4, [f"u{k} = inputs[trial, {k}]" for k in range(len(self._model.inputs))]),
            "lagged": (5, [f"v{k} = lagged[trial, option, {k}]" for k in range(len(self._model.lagged))]),
            "updates": (5, self._updates()),
            "logits": (5, self._logit_lines()),
            "score": (4, score),
        }
        texts = {name: "\n".join(INDENT * depth + line for line in lines) for name, (depth, lines) in parts.items()}
        return BEGINNING.format(n_curves=max(len(self._curved), 1), **sizes, **texts)

    def _start(self) -> list[str]:
        lines = []
        for name, own in self._flow.states.items():
            lines += self._assign(self._flow.start(name), [f"x[:, {self._place(part)}]" for part in own])
        return lines

    def _updates(self) -> list[str]:
        """Of one option."""
        copies, chosen, others = [], [], []
        for line in self._flow.lines:
            if line.state.startswith(PREVIOUS):
                copies += self._update(line.state, line.chosen)
                continue
            chosen += self._where_shown(self._update(line.state, line.chosen), line.chosen_needs)
            others += self._where_shown(self._update(line.state, line.unchosen), line.unchosen_needs)
        return [
            *copies,
            "if option == action:",
            *_indented(chosen or ["pass"]),
            "elif action >= 0:",
            *_indented(others or ["pass"]),
        ]

    @staticmethod
    def _where_shown(lines: list[str], needs_outcome: bool) -> list[str]:
        return ["if shown:", *_indented(lines)] if needs_outcome and lines else lines

    def _update(self, state: str, expression: sympy.Expr | None) -> list[str]:
        if expression is None:
            return []
        places = [f"x[option, {self._place(part)}]" for part in self._flow.states[state]]
        return self._assign(self._flow.next(state, expression), places)

    def _logit_lines(self) -> list[str]:
        """Of one option; by cases where options differ."""
        groups: dict[sympy.Expr, list[int]] = {}
        for option, logit in enumerate(self._logits):
            groups.setdefault(logit.value, []).append(option)
        blocks = [(options, self._logit(self._logits[options[0]])) for options in groups.values()]
        if len(blocks) == 1:
            return blocks[0][1]
        lines: list[str] = []
        for options, block in blocks:
            condition = " or ".join(f"option == {option}" for option in options)
            lines += [f"{'elif' if lines else 'if'} {condition}:", *_indented(block)]
        return lines

    def _logit(self, logit: Derivatives) -> list[str]:
        places = ["logits[option]", *(f"slopes[option, {k}]" for k in logit.first)]
        return self._assign(logit, [*places, *(f"curves[option, {self._curved.index(pair)}]" for pair in logit.second)])

    def _place(self, part: sympy.Symbol) -> int:
        return self._places[self._names[part]]

    def _assign(self, expressions: Iterable[sympy.Expr], places: Sequence[str]) -> list[str]:
        """Assignments to places, of expressions that read x as it was before."""
        renamed = [expression.xreplace(self._names) for expression in expressions]
        steps, results = sympy.cse(renamed, symbols=sympy.numbered_symbols("t"), order="canonical")
        read = sorted({s.name for e in renamed for s in e.free_symbols if s in self._places})
        lines = [f"{name} = x[option, {self._places[sympy.Symbol(name)]}]" for name in read]
        lines += [f"{name} = {_code(step)}" for name, step in steps]
        return lines + [f"{place} = {_code(result)}" for place, result in zip(places, results, strict=True)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line for line in lines]


def _code(expression: sympy.Expr) -> str:
    if expression.is_number:
        return repr(float(expression))
    return PythonCodePrinter({"fully_qualified_modules": True}).doprint(expression)

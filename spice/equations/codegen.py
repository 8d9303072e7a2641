"""Source of a compiled likelihood: states and their derivatives carried through the trials in one flat function."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

import sympy
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.pycode import PythonCodePrinter

from spice.equations import kernel_text as text
from spice.equations.kernel_quantities import Block, Quantities
from spice.equations.kernel_text import INDENT
from spice.equations.latex import PREVIOUS
from spice.equations.model_parts import Branch, Line
from spice.equations.reductions import reduce_lines
from spice.equations.sensitivities import Derivatives, Over
from spice.equations.symbolic import SymbolicModel

RESULTS = {0: "positions, out", 1: "nll, gradient", 2: "nll, gradient, hessian"}
Index = Callable[[str], str]  # from a quantity's name to where its values of one option begin


def kernel_source(model: SymbolicModel, n_actions: int, order: int = 2, offers: bool = False) -> str:
    """Python source of a module with the function ``evaluate``.

    Models of the same form give the same text, whatever their symbols are called.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    n_actions : int
        Number of options.
    order : {0, 1, 2}, default 2
        Highest derivatives.
    offers : bool, default False
        Whether options that are not on offer have the probability 0.

    Returns
    -------
    str
        ``evaluate(parameters, group, ..., nll, gradient, hessian)`` fills ``nll`` (n_rows,) and adds to ``gradient``
        (n_rows, n_parameters) and ``hessian`` (n_rows, n_parameters, n_parameters) of rows of ``parameters``, each for
        the sessions of the participant ``group``; in between stand the fields of
        `spice.inference.general.flat_trials.FlatTrials`. With order 1 there is no ``hessian``. With order 0,
        ``evaluate(..., positions, out)`` fills ``out`` (n_places, n_actions), from the row's place ``positions`` on,
        with the logarithms of the probabilities of all options after each trial, scored or not.
    """
    return _Writer(model, n_actions, order, offers).source()


class _Writer:
    """Writes the kernel of one model."""

    def __init__(self, model: SymbolicModel, n_actions: int, order: int, offers: bool):
        self._model, self._n_actions, self._order, self._offers = model, n_actions, order, offers
        self._constants: dict[str, str] = {}  # arrays at the source's head: what they are, and their names
        self._all = Quantities(model, n_actions, order)
        self._flow, self._blocks, self._groupings = self._all.flow, self._all.blocks, self._all.groupings
        self._logits = [[self._flow.of(entry) for entry in parted.rest] for parted in self._all.choices]
        every = [logit for logits in self._logits for logit in logits]
        self._slopes = sorted({k for logit in every for k in logit.first})
        self._curved = sorted({pair for logit in every for pair in logit.second})

    # ------------------------------------------------------------------ the whole

    def source(self) -> str:
        n, order = len(self._model.parameters), self._order
        sizes = {"n_actions": self._n_actions, "n_parameters": n, "n_curves": max(len(self._curved), 1)}
        scoring = self._score_lines()
        trial = [*text.TRIAL.strip().splitlines(), f"n_offered = {float(self._n_actions)}"]
        trial += [f"c{k} = cells[trial, {k}] * {self._n_actions}" for k in range(len(self._groupings))]
        trial += self._copies()
        updates = self._updates()
        trial += ["if action >= 0:", *_indented(updates)] if updates else []
        trial += scoring if order == 0 else ["if scored < 0:", INDENT + "continue", *scoring]
        trial = self._with_inputs(trial)
        body = [f"p{k} = parameters[row, {k}]" for k in range(n)]
        body += ["for session in range(groups[group[row]], groups[group[row] + 1]):"]
        body += _indented(self._start())
        body += _indented(["for trial in range(sessions[session], sessions[session + 1]):", *_indented(trial)])
        whole = text.WITH_DERIVATIVES[order].strip("\n")
        whole = whole.replace("{body}", "\n".join(_indented(body))).format(**sizes)
        head = text.HEAD.format(
            constants=self._head_lines(),
            arrays=", ".join(text.ARRAYS),
            results=RESULTS[order],
            n_values=max(self._all.size, 1),
        )
        return head + "\n".join(_indented(whole.splitlines())) + "\n"

    def _head_lines(self) -> str:
        """What softmax needs; a change of its code makes another source, of whose compiled form it is a part."""
        if not self._constants:
            return ""
        code = hashlib.sha256(files("spice.equations").joinpath("softmax_kernel.py").read_bytes()).hexdigest()[:16]
        lines = [f"from spice.equations.softmax_kernel import softmax  # {code}", ""]
        lines += [f"EVERY = np.ones({self._n_actions}, dtype=np.bool_)"]
        return "\n".join(lines + [f"{name} = {value}" for value, name in self._constants.items()]) + "\n"

    def _with_inputs(self, lines: list[str]) -> list[str]:
        used = _names_in(lines)
        inputs = [f"u{k} = inputs[trial, {k}]" for k in range(len(self._model.columns)) if f"u{k}" in used]
        return [*inputs, *lines]

    def _start(self) -> list[str]:
        lines = []
        for name in self._model.states:
            block, parts = self._blocks[name], self._flow.quantities[name]
            values = self._flow.filled(name, self._all.initial[name])
            where = [self._range(block, k) for k in range(len(list(parts)))]
            lines += self._assign(values, where, self._no_index)
        return lines

    @staticmethod
    def _range(block: Block, part_number: int) -> str:
        first = block.offset + part_number * block.size
        return f"x[{first}:{first + block.size}]"

    def _copies(self) -> list[str]:
        """Of states whose value before the trial is read."""
        lines = []
        for name in self._all.previous:
            to, own = self._blocks[PREVIOUS + name], self._blocks[name]
            n = own.size * len(list(self._flow.quantities[name]))
            lines += [f"for i in range({n}):", f"{INDENT}x[{to.offset} + i] = x[{own.offset} + i]"]
        return lines

    # ------------------------------------------------------------------ updates

    def _updates(self) -> list[str]:
        """Of one trial in which a choice was made."""
        index, lines = self._index("c"), []
        for name, parted in self._all.let.items():
            lines += self._over_lines(parted.overs, "c")
            body = self._set(name, parted.rest[0], index)
            lines += self._loop(body)
        block: list[Line] = []
        for line, overs in self._all.lines:
            if overs or line.everywhere is not None:
                lines += self._cell_block(block, index) + self._over_lines(overs, "c")
                block = []
            if line.everywhere is not None:
                lines += self._everywhere(line, line.everywhere)
            else:
                block.append(line)
        return lines + self._cell_block(block, index)

    def _cell_block(self, block: list[Line], index: Index) -> list[str]:
        """Lines of which none reads other options: all of them, option by option."""
        chosen: list[str] = []
        others: list[str] = []
        for line in block:
            for lines, branch in ((chosen, line.chosen), (others, line.unchosen)):
                if branch is not None:
                    lines += self._ruled(line, branch, self._set(line.state, branch.expression, index))
        body = ["if option == action:", *_indented(chosen)] if chosen else []
        if others:
            body += ["else:" if chosen else "if option != action:", *_indented(others)]
        return self._loop(body) if body else []

    def _everywhere(self, line: Line, branch: Branch) -> list[str]:
        """All cells of a state: in one go if nothing of a single option is read."""
        by, n = self._model.states[line.state].by, self._n_actions
        same = [name for name, state in self._model.states.items() if state.by == by]
        same += [PREVIOUS + name for name in same]
        usual = self._index("c")
        size = self._blocks[line.state].size

        def index(name: str) -> str:
            return f"{self._blocks[name].offset} + i" if name in same else usual(name)

        body = self._set(line.state, branch.expression, index)
        held = [name for name in sorted(map(str, branch.expression.free_symbols)) if name in self._all.held]
        copies = [entry for name in held for entry in self._set(name, self._all.held[name], usual)]
        lines = self._loop(copies) if copies else []
        if _names_in(body) & {"option", "chosen", "brought", *(f"v{k}" for k in range(len(self._model.lagged)))}:
            grouping = self._groupings.index(by)
            inner = [f"here = first == c{grouping}", "i = first + option", *self._ruled(line, branch, body)]
            loop = [f"for first in range(0, {size}, {n}):", *_indented(self._loop(inner, only_here=True))]
            return lines + loop
        return lines + self._ruled(line, branch, [f"for i in range({size}):", *_indented(body)])

    @staticmethod
    def _ruled(line: Line, branch: Branch, lines: list[str]) -> list[str]:
        """Under the line's condition, and where it has what it needs."""
        conditions = [] if line.rule is None else [f"rules[trial, {line.rule}]"]
        conditions += ["shown"] if branch.needs in ("shown", "both") else []
        conditions += ["known != 0.0"] if branch.needs in ("known", "both") else []
        return [f"if {' and '.join(conditions)}:", *_indented(lines)] if conditions else lines

    # ------------------------------------------------------------------ choices

    def _score_lines(self) -> list[str]:
        lines = [f"d{k} = next_cells[trial, {k}] * {self._n_actions}" for k in range(len(self._groupings))]
        if self._offers:
            lines += ["n_offered = 0.0", f"for option in range({self._n_actions}):"]
            lines += [INDENT + "n_offered += offered[trial, option]"]
        blocks = []
        for k, parted in enumerate(self._all.choices):
            blocks.append(self._over_lines(parted.overs, "d") + self._logit_lines(k))
        if len(blocks) == 1:
            lines += blocks[0]
        else:
            for k, block in enumerate(blocks):
                lines += [f"{'elif' if k else 'if'} kind[trial] == {k}:", *_indented(block)]
        score = self._score_text()
        if self._order > 0:
            return [*lines, *score]
        fill = [f"for option in range({self._n_actions}):", INDENT + "out[place, option] = math.nan"]
        return [*lines, "if kind[trial] >= 0:", *_indented(score), "else:", *_indented(fill), "place += 1"]

    @property
    def _offered(self) -> str:
        return "offered[trial, option]" if self._offers else "True"

    def _score_text(self) -> list[str]:
        n = len(self._model.parameters)
        sizes = {"n_actions": self._n_actions, "n_parameters": n, "offered": self._offered}
        two = self._n_actions == 2 and not self._offers
        if self._model.probabilities is not None:
            parts = [text.PROBABILITIES, text.PROBABILITY + text.PROBABILITY_SLOPES]
            parts.append(parts[1] + text.PROBABILITY_CURVES)
            curved = text.PROBABILITY_CURVED
        elif two:
            parts = [text.LOGARITHMS, text.TWO_OPTIONS + text.TWO_SLOPES, text.TWO_OPTIONS + text.TWO_CURVES]
            curved = text.TWO_CURVED
        else:
            parts = [text.LOGARITHMS, text.MORE_OPTIONS, text.MORE_OPTIONS + text.MORE_CURVES]
            curved = text.MORE_CURVED
        lines = parts[self._order].format(**sizes).splitlines()
        for m, (j, k) in enumerate(self._curved):
            lines += curved.format(j=j, k=k, m=m, **sizes).splitlines()
        lines = [line for line in lines if line.strip()]
        return lines + (text.KEEP_FINITE.strip().splitlines() if self._order else [])

    def _logit_lines(self, kind: int) -> list[str]:
        """Of one option; by cases where options differ."""
        groups: dict[sympy.Expr, list[int]] = {}
        for option, logit in enumerate(self._logits[kind]):
            groups.setdefault(logit.value, []).append(option)
        blocks = [(options, self._logit(self._logits[kind][options[0]])) for options in groups.values()]
        if len(blocks) == 1:
            return self._loop(blocks[0][1], learning=False)
        lines: list[str] = []
        for options, block in blocks:
            condition = " or ".join(f"option == {option}" for option in options)
            lines += [f"{'elif' if lines else 'if'} {condition}:", *_indented(block)]
        return self._loop(lines, learning=False)

    def _logit(self, logit: Derivatives) -> list[str]:
        """An option's logit and its derivatives: all that any option's or any kind's has."""
        zero = sympy.Integer(0)
        values = [logit.value, *(logit.first.get(k, zero) for k in self._slopes)]
        values += [logit.second.get(pair, zero) for pair in self._curved]
        places = ["logits[option]", *(f"slopes[option, {k}]" for k in self._slopes)]
        places += [f"curves[option, {m}]" for m in range(len(self._curved))]
        return self._assign(values, places, self._index("d"))

    # ------------------------------------------------------------------ pieces

    def _over_lines(self, overs: Sequence[Over], cell: str) -> list[str]:
        """Functions of all options, in updates ("c") or in choices ("d"), where softmax leaves out some."""
        lines = []
        for over in overs:
            inner, index = over.name + ".in", self._index(cell)
            lines += self._loop(self._set(inner, over.inner, index), learning=cell == "c")
            offered = "offered[trial]" if cell == "d" and self._offers else "EVERY"
            lines += reduce_lines(over, self._flow.quantities, self._offsets, self._n_actions, offered, self._constants)
        return lines

    def _offsets(self, quantity: str) -> list[int]:
        """Where a quantity's value and derivatives begin."""
        block = self._blocks[quantity]
        return [block.offset + k * block.size for k in range(len(list(self._flow.quantities[quantity])))]

    def _set(self, quantity: str, expression: sympy.Expr, index: Index) -> list[str]:
        values = self._flow.filled(quantity, expression)
        block = self._blocks[quantity]
        places = [_at(index(quantity), k * block.size) for k in range(len(list(values)))]
        return self._assign(values, places, index)

    def _index(self, cell: str) -> Index:
        """Places of an option's own values, in the cell that ``cell`` stands for."""

        def index(name: str) -> str:
            block = self._blocks[name]
            if block.form == "one":
                return f"{block.offset}"
            inner = f"{cell}{block.grouping} + option" if block.form == "cells" else "option"
            return f"{block.offset} + {inner}"

        return index

    @staticmethod
    def _no_index(name: str) -> str:
        raise AssertionError(f"{name} is read before the session's start")

    def _loop(self, body: list[str], learning: bool = True, only_here: bool = False) -> list[str]:
        """Over options, with what the body reads of each one's trial."""
        used = _names_in(body)
        lines = []
        here = "here and " if only_here else ""
        if "chosen" in used:
            lines.append(f"chosen = 1.0 if {here}option == action else 0.0")
        if used & {"brought", "shown"}:
            seen = "if here else math.nan" if only_here else "" if learning else "if action >= 0 else math.nan"
            lines += [f"brought = outcome[trial, option] {seen}".rstrip()]
            lines += ["shown = brought == brought", "brought = brought if shown else 0.0"]
        lines += [f"v{k} = lagged[trial, option, {k}]" for k in range(len(self._model.lagged)) if f"v{k}" in used]
        if only_here:  # the first line of the body says where here is
            lines = [body[0], *lines, *body[1:]]
        else:
            lines += body
        return [f"for option in range({self._n_actions}):", *_indented(lines)]

    def _assign(self, expressions: Iterable[sympy.Expr], places: Sequence[str], index: Index) -> list[str]:
        """Assignments to places, of expressions that read x as it was before."""
        renamed = [expression.xreplace(self._all.names) for expression in expressions]
        steps, results = sympy.cse(renamed, symbols=sympy.numbered_symbols("t"), order="canonical")
        read = sorted({s.name for e in renamed for s in e.free_symbols if s.name in self._all.places})
        lines = []
        for name in read:
            quantity, k = self._all.places[name]
            lines.append(f"{name} = {_at(index(quantity), k * self._blocks[quantity].size)}")
        lines += [f"{name} = {_code(step)}" for name, step in steps]
        return lines + [f"{place} = {_code(result)}" for place, result in zip(places, results, strict=True)]


def _at(index: str, further: int) -> str:
    """A place in ``x``; numbers first, added up."""
    first, _, rest = index.partition(" + ")
    number = int(first) + further
    return f"x[{number} + {rest}]" if rest and number else f"x[{rest or number}]"


def _names_in(lines: Iterable[str]) -> set[str]:
    return {name for line in lines for name in re.findall(r"[A-Za-z_]\w*", line)}


def _indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line for line in lines]


def _code(expression: sympy.Expr) -> str:
    if expression.is_number:
        return repr(float(expression))
    return _Printer({"fully_qualified_modules": True}).doprint(expression)


class _Printer(PythonCodePrinter):
    """Compiled code raises where 0 is taken to a whole power below 0; a division by 0 is infinite."""

    def _print_Pow(self, expr, rational=False):  # noqa: N802
        if expr.exp.is_Integer and expr.exp < -1:
            return f"(1/{self.parenthesize(expr.base, PRECEDENCE['Pow'])}**{-expr.exp})"
        return super()._print_Pow(expr, rational)

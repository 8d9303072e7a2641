"""Symbolic models as text and as LaTeX."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spice.equations.latex import latex_expression, latex_name, text_expression
from spice.equations.model_parts import WHERE

if TYPE_CHECKING:
    from spice.equations.compiled_model import CompiledModel
    from spice.equations.symbolic import SymbolicModel


def _where(model: "SymbolicModel", where: str, state: str) -> str:
    """For which options; cells are named only where there are some."""
    if not model.states[state].by:
        return WHERE["cell" if where == "everywhere" else where]
    return WHERE[where] if where == "everywhere" else f"{WHERE[where]}, cell shown"


def _by_option(part: Any) -> tuple[Any, ...]:
    """One expression for each option, or one alone where they are the same."""
    each = part if isinstance(part, tuple) else (part,)
    return each[:1] if len(set(each)) == 1 else each


def model_text(model: "SymbolicModel") -> str:
    """A model as lines of text."""
    entries: list[tuple[str, str]] = []
    for name, value in model.let.items():
        entries.append(("let", f"{name} = {text_expression(value)}"))
    for u in model.updates:
        when = "" if u.when is None else f"   when {text_expression(u.when)}"
        entries.append((_where(model, u.where, u.state), f"{u.state} ← {text_expression(u.expression)}{when}"))
    for name, start in model.initial.items():
        by = model.states[name].by
        entries.append(("start", f"{name} = {text_expression(start)}" + (f"   by {', '.join(by)}" if by else "")))
    kind = "logit" if model.probabilities is None else "probability"
    for case, part in model.given_choices.items():
        condition = "" if case is None else f"   when {text_expression(case)}"
        each = _by_option(part)
        for option, expression in enumerate(each):
            head = f"{kind} of option {option}" if len(each) > 1 else kind
            entries.append((head, text_expression(expression) + condition))
    known = [f"{n} = {p.value:.4g}" for n, p in model.parameters.items() if isinstance(p.value, (int, float))]
    if known:
        entries.append(("parameters", ", ".join(known)))
    return _in_columns(entries)


def _in_columns(entries: list[tuple[str, str]]) -> str:
    width = max(*(len(head) for head, _ in entries), len(WHERE["chosen"]))
    return "\n".join(f"{head:<{width}}  {text}" for head, text in entries)


def model_latex(model: "SymbolicModel", digits: int = 3) -> str:
    """A model as an ``aligned`` environment."""
    lines = [rf"{latex_name(name)} &= {latex_expression(value, digits)}" for name, value in model.let.items()]
    for u in model.updates:
        when = "" if u.when is None else rf"\text{{ if }} {latex_expression(u.when, digits)}"
        lines.append(
            rf"{latex_name(u.state)} &\leftarrow {latex_expression(u.expression, digits)} && "
            rf"\text{{{_where(model, u.where, u.state)}}}{when}"
        )
    for name, first in model.initial.items():
        lines.append(rf"{latex_name(name)} &= {latex_expression(first, digits)} && \text{{at the start}}")
    sign = r"\mathrm{logit}" if model.probabilities is None else "p"
    for case, part in model.given_choices.items():
        condition = "" if case is None else rf" && \text{{if }} {latex_expression(case, digits)}"
        each = _by_option(part)
        for option, expression in enumerate(each):
            index = rf"_{{{option}}}" if len(each) > 1 else ""
            lines.append(f"{sign}{index} &= {latex_expression(expression, digits)}{condition}")
    return _aligned(lines)


def _aligned(lines: Iterable[str]) -> str:
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def compiled_text(model: "CompiledModel") -> str:
    """What the author of a compiled step wrote about it, and what is done with its choices, as lines of text."""
    entries = [(where, text) for where, text, _ in model.written]
    entries += [(f"bias of option {k}", f"logit + {name}") for k, name in enumerate(model.biases, start=1)]
    entries += [("lapse", f"{model.lapse}/n_actions + (1 - {model.lapse})*probability")] if model.lapse else []
    return _in_columns(entries)


def compiled_latex(model: "CompiledModel") -> str:
    """The same as an ``aligned`` environment."""
    lines = [rf"{latex} && \text{{{where}}}" for where, _, latex in model.written]
    for k, name in enumerate(model.biases, start=1):
        sign = rf"\mathrm{{logit}}_{k}"
        lines.append(rf"{sign} &\leftarrow {sign} + {latex_name(name)}")
    if model.lapse:
        lapse = latex_name(model.lapse)
        lines.append(rf"p &\leftarrow \frac{{{lapse}}}{{n_{{\mathrm{{actions}}}}}} + \left(1 - {lapse}\right)\,p")
    return _aligned(lines)

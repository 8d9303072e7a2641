"""What is wrong with a symbolic model: everything at once."""

import keyword
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import sympy

from spice.equations.agent_inputs import ROUNDING
from spice.equations.latex import PREVIOUS, text_expression
from spice.equations.model_parts import SIGNALS, WHERE, Parameter
from spice.equations.parsing import FUNCTIONS, InCell, OverActions
from spice.equations.priors import Prior, read_prior
from spice.errors import ConfigError, did_you_mean
from spice.resources.arguments import in_words, is_number, is_whole
from spice.resources.columns import NEXT

if TYPE_CHECKING:
    from spice.equations.symbolic import SymbolicModel


def find_problems(model: "SymbolicModel", unread: bool = False) -> Iterator[str]:
    """Sentences that each name a problem and the usual fix.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    unread : bool, default False
        Whether some expressions could not be read: what is never used is not known then.
    """
    yield from _names(model)
    if not all(isinstance(name, str) for name in (*model.parameters, *model.inputs, *model.shown, *model.let)):
        return
    yield from _states(model)
    yield from _symbols(model)
    yield from _conditions(model)
    yield from _cells(model)
    yield from _parameters(model, unread)
    if (model.logits is None) == (model.probabilities is None):
        yield "give either logits or probabilities."
    sizes = {len(part) for part in model._choice_parts() if isinstance(part, tuple)}
    if len(sizes) > 1:
        yield f"logits are given for {' and '.join(map(str, sorted(sizes)))} options; give one for each option."


def _names(model: "SymbolicModel") -> Iterator[str]:
    groups = {
        "state": list(model.states),
        "parameter": list(model.parameters),
        "input": list(model.inputs),
        "shown input": list(model.shown),
        "name in let": list(model.let),
    }
    seen: dict[str, str] = {name: "signal of the trial" for name in SIGNALS}
    seen |= {f"{NEXT}{name}": f"column of the coming trial's {name}" for name in model.shown}
    for kind, names in groups.items():
        a_kind = _a(kind)
        for name in names:
            if isinstance(name, str) and (plain := unicodedata.normalize("NFKC", name)) != name:
                yield f"the {kind} {name!r} has letters that Python reads as others; write {plain!r}."
            elif not _is_name(name):
                yield f"{name!r} cannot be the name of {a_kind}: use letters, digits and _, and no function's name."
            elif name in seen:
                yield f"the {kind} {name!r} has the name of {_a(seen[name])}; rename one of them."
            seen.setdefault(name, kind)


def _is_name(name: Any) -> bool:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        return False
    return name not in FUNCTIONS and not name.startswith(PREVIOUS)


def _a(kind: str) -> str:
    return f"{'an' if kind == 'input' else 'a'} {kind}"


def _states(model: "SymbolicModel") -> Iterator[str]:
    for update in model.updates:
        if update.state not in model.states:
            near = did_you_mean(update.state, list(model.states))
            yield f"an update sets {update.state!r}, which is no state{near}."
        if update.where not in WHERE:
            yield f"an update of {update.state!r} is for {update.where!r}; choose one of {', '.join(WHERE)}."
    updated = {update.state for update in model.updates}
    for name in [name for name in model.states if name not in updated]:
        yield f"the state {name!r} is never updated; make it a parameter, or add an update."
    for name, levels in model.shown.items():
        if levels is not None and not is_whole(levels, 1):
            yield f"the shown input {name!r} has {levels!r} levels; give a whole number, or None for numbers."
    for name, state in model.states.items():
        for entry in state.by:
            if entry in model.shown and model.shown[entry] is None:
                yield f"the state {name!r} is by {entry!r}, of which shown says no number of levels: give it there."
            elif not model.shown.get(entry):
                near = did_you_mean(entry, list(model.shown))
                yield f"the state {name!r} is by {entry!r}, which is no shown input with levels{near}."


def _symbols(model: "SymbolicModel") -> Iterator[str]:
    known = [*SIGNALS, *model.states, *(PREVIOUS + name for name in model.states), *model.parameters, *model.inputs]
    known += [*model.shown, *(f"{name}_lag{n}" for name, n in model.lags(model.expressions()))]
    above: list[str] = []
    for name, value in model.let.items():
        yield from _unknown(f"let ({name})", [value], [*known, *above])
        above.append(name)
    known += above
    choices = [e for part in model._choice_parts() for e in (part if isinstance(part, tuple) else [part])]
    yield from _unknown("the updates or logits", [*(u.expression for u in model.updates), *choices], known)
    yield from _unknown("start values", model.initial.values(), [*model.parameters, "n_actions"])
    for name, start in model.initial.items():
        if start.has(OverActions, InCell):
            yield f"the start value of {name!r} reads other options or cells, which have no values yet."


def _unknown(place: str, expressions: Iterable[sympy.Basic], known: list[str]) -> Iterator[str]:
    unknown = sorted({s.name for e in expressions for s in e.free_symbols if s.name not in known})
    for name in unknown:
        near = did_you_mean(name, known) or " (a column of the data? name it in inputs=[...] or shown={...})"
        yield f"{name!r} in {place} is not known{near}; known are {', '.join(known)}."


def _conditions(model: "SymbolicModel") -> Iterator[str]:
    """Conditions are about the data alone: those of updates about their trial, those of choices about what is shown."""
    of_data = [*model.inputs, *model.shown, "reward"]
    others = {*SIGNALS, *model.states, *model.parameters, *model.let} - {*of_data}
    read = {s.name for when in model.conditions for s in when.free_symbols}
    for name in sorted(read & others):
        yield (
            f"{name!r} cannot be read by when, which is about the data ({', '.join(of_data)}): write the condition "
            "into the expression, as where(condition, a, b)."
        )
    yield from _unknown("when", model.conditions, [*of_data, *others])
    for given in (model.logits, model.probabilities):
        if isinstance(given, dict):
            for name in sorted({s.name for when in given for s in when.free_symbols} & set(model.inputs)):
                yield (
                    f"a condition of choices reads {name!r}, an input seen with the outcome; if it is known before "
                    "the choice, name it in shown."
                )
            rest = [when for when in given if not {s.name for s in when.free_symbols} & set(model.inputs)]
            yield from _unknown("a condition of choices", rest, list(model.shown))


def _cells(model: "SymbolicModel") -> Iterator[str]:
    for expression in model.expressions():
        for entry in expression.atoms(InCell):
            state, levels = str(entry.args[0]), [int(level) for level in entry.args[1:]]
            by = model.states[state].by if state in model.states else ()
            sizes = [model.shown.get(name) or 0 for name in by]
            if len(levels) != len(by) or any(not 0 <= a < n for a, n in zip(levels, sizes, strict=False)):
                have = f"has cells by {', '.join(f'{n} ({k})' for n, k in zip(by, sizes, strict=True))}"
                yield f"{text_expression(entry)} names no cell: {state} {have if by else 'has no cells'}."


def _parameters(model: "SymbolicModel", unread: bool) -> Iterator[str]:
    used = {s.name for e in [*model.expressions(), *model.initial.values()] for s in e.free_symbols}
    for name, parameter in model.parameters.items():
        if not isinstance(parameter, Parameter):
            yield f"the parameter {name!r} is {parameter!r}; write Parameter(low, high), with value= where it is known."
            continue
        if name not in used and not unread:
            yield f"the parameter {name!r} is never used; remove it."
        yield from parameter_problems(name, parameter)


def _values(name: str, parameter: Parameter) -> Iterator[str]:
    """The first value that is none."""
    low = -inf if parameter.low is None else parameter.low
    high = inf if parameter.high is None else parameter.high
    known: Any = parameter.value
    by_person = isinstance(known, Mapping)
    for label, value in known.items() if by_person else [(None, known)]:
        whose = f" for participant {label!r}" if by_person else ""
        if value is not None and not is_number(value):
            instead = "leave the participant out" if by_person else "a dict by participant"
            yield f"the parameter {name!r} has the value {in_words(value)}{whose}; give a number, or {instead}."
            return
        if value is not None and not low - ROUNDING <= float(value) <= high + ROUNDING:
            yield (
                f"the parameter {name!r} has the value {float(value):.4g}{whose}, but must lie between {low:g} and "
                f"{high:g}: change the value or the bounds."
            )
            return


def parameter_problems(name: str, parameter: Parameter) -> Iterator[str]:
    """What is wrong with a parameter's bounds, scale, values and priors."""
    low, high = parameter.low, parameter.high
    wrong = [side for side in (low, high) if side not in (None, inf, -inf) and not is_number(side)]
    if wrong:
        yield f"the parameter {name!r} has the bound {wrong[0]!r}; give a number, or None for no bound."
        return
    if low is not None and high is not None and not low < high:
        yield f"the parameter {name!r} has low={low} and high={high}; low must be less."
    else:
        yield from _values(name, parameter)
    if parameter.scale not in ("unconstrained", "natural"):
        yield f"the parameter {name!r} has scale={parameter.scale!r}; choose 'unconstrained' or 'natural'."
    found: dict[str, Prior] = {}
    for kind in ("prior", "mean_prior", "sd_prior"):
        try:
            if getattr(parameter, kind) is not None:
                found[kind] = read_prior(getattr(parameter, kind))
        except ConfigError as error:
            yield f"{kind} of {name!r}: {error}"
    if "prior" in found and (misfit := found["prior"].misfit(name, parameter.low, parameter.high)):
        yield misfit
    if "mean_prior" in found and parameter.scale == "unconstrained":
        mean = found["mean_prior"]
        if mean.support != (-inf, inf):
            yield (
                f"the mean_prior {mean} of {name!r} has bounds, but people are normal on the unconstrained scale, "
                "where a mean may be any number: use scale='natural', or a prior such as normal(0, 1)."
            )
    if "sd_prior" in found and found["sd_prior"].support[0] < 0:
        yield f"the sd_prior {found['sd_prior']} of {name!r} is below 0 in part; use one such as half_normal(1)."

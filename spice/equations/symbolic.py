"""A whole model as expressions: what each trial does to the states, and the logits that follow from them."""

import keyword
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from spice.equations.latex import PREVIOUS, latex_expression, latex_name, text_expression
from spice.equations.parsing import FUNCTIONS, parse_expression, symbol
from spice.errors import ConfigError, did_you_mean, join_problems

WHERE = {"chosen": "chosen option", "unchosen": "other options", "all": "all options"}
SIGNALS = ("reward", "outcome", "chosen", "known")  # of the trial; their names are taken
LAGGED = ("reward", "outcome", "chosen")  # those that are also known of earlier trials


@dataclass(frozen=True)
class State:
    """A latent variable, one value per option.

    Attributes
    ----------
    initial : float or str
        Value at the start of each session; an expression of parameters where it is one, or is made of some.
    """

    initial: Any = 0.0


@dataclass(frozen=True)
class Parameter:
    """A number that differs between participants.

    Attributes
    ----------
    low, high : float, optional
        Bounds.
    prior : str, optional
        Prior of one participant's value, on the natural scale, such as ``"beta(1, 1)"``.
    mean_prior, sd_prior : str, optional
        Priors of the population's mean and standard deviation, on the scale that ``scale`` names.
    scale : {"unconstrained", "natural"}, default "unconstrained"
        Where participants are normally distributed: on the unconstrained scale (logit between two bounds, logarithm
        from one bound on), or on the natural scale, truncated to the bounds.
    value : float or mapping, optional
        Its value where it is known: the same for everybody, or by the participant's label.
    source : (str, str), optional
        What it stands for in a traced model: (module, term), ("beta", state) or ("bias", "bias_1").
    """

    low: float | None = None
    high: float | None = None
    prior: str | None = None
    mean_prior: str | None = None
    sd_prior: str | None = None
    scale: str = "unconstrained"
    value: float | Mapping[Any, float] | None = None
    source: tuple[str, str] | None = None


class Update(NamedTuple):
    """One line of a model.

    Attributes
    ----------
    state : str
        The state that is set.
    where : {"chosen", "unchosen", "all"}
        For which options.
    expression : sympy.Expr
        Its new value.
    needs_outcome : bool, optional
        Whether the line is left out for options whose own outcome is unknown; by default for the chosen option, if the
        line reads the reward.
    """

    state: str
    where: str
    expression: sympy.Expr
    needs_outcome: bool | None = None


class Branches(NamedTuple):
    """What an update is for one option.

    Attributes
    ----------
    state : str
        The state that is set.
    chosen, unchosen : sympy.Expr or None
        Its new value if the option is the chosen one, or is not; None where it stays.
    chosen_needs, unchosen_needs : bool
        Whether these are left out where the option's own outcome is unknown.
    """

    state: str
    chosen: sympy.Expr | None
    unchosen: sympy.Expr | None
    chosen_needs: bool = False
    unchosen_needs: bool = False


class SymbolicModel:
    """A model of choices as expressions of one option's states, the trial's signals, and parameters.

    Parameters
    ----------
    states : mapping of str to State
        States by name.
    updates : sequence of (state, where, expression), or of Update
        What a trial does, applied in order: a state's name stands for the option's own value after the lines above,
        ``previous_`` and the name for its value before the trial. ``where`` is "chosen", "unchosen" or "all".
    logits : expression, or sequence of expressions
        Logit of an option for the next choice, from its states after the updates; one for each option where they
        differ (biases).
    parameters : mapping of str to Parameter
        Parameters by name.
    inputs : sequence of str, optional
        Further columns of the data that expressions read.

    Notes
    -----
    Expressions are sympy's or text (see `spice.equations.parsing.parse_expression`). Besides states, parameters and
    inputs they know ``reward`` (received), ``outcome`` (the option's own; 0 where it was not shown), ``chosen``
    (1 for the chosen option, 0 for others) and ``known`` (1 where the reward is known, else 0). ``reward_lag1`` is the
    reward one trial earlier; likewise for outcome, chosen and inputs, and further back. Trials without a choice count;
    0 before the session's start, and where the earlier trial had no choice or its outcome was unknown.

    A trial without a choice changes nothing; logits then see these four as 0. Where a
    choice was made but its reward is unknown, the chosen option's updates that read it are left out (unless they say
    otherwise, see `Update`), and everything else reads it as 0.

    Raises
    ------
    ConfigError
        Listing all of: names that collide or are no names, symbols that are not known, states that are never updated,
        parameters that are never used, bounds in the wrong order.
    """

    def __init__(
        self,
        states: Mapping[str, State],
        updates: Sequence[tuple],
        logits: Any,
        parameters: Mapping[str, Parameter],
        inputs: Sequence[str] = (),
    ):
        self.states = {str(name): s if isinstance(s, State) else State(s) for name, s in states.items()}
        self.parameters = dict(parameters)
        self.inputs = tuple(inputs)
        self.updates = tuple(Update(u[0], u[1], _expression(u[2]), *u[3:]) for u in updates)
        one = isinstance(logits, (str, sympy.Basic, int, float))
        self.logits: sympy.Expr | tuple[sympy.Expr, ...]
        self.logits = _expression(logits) if one else tuple(map(_expression, logits))
        self.initial = {name: _expression(state.initial) for name, state in self.states.items()}
        problems = list(self._problems())
        if problems:
            raise ConfigError(join_problems("This model cannot be used", problems))

    # ------------------------------------------------------------------ what it is made of

    @property
    def n_actions(self) -> int | None:
        """Number of options where the logits fix it."""
        return len(self.logits) if isinstance(self.logits, tuple) else None

    def logits_of_options(self, n_actions: int) -> tuple[sympy.Expr, ...]:
        """Logit of each option.

        Raises
        ------
        ConfigError
            If the model is made for another number of options.
        """
        if self.n_actions not in (None, n_actions):
            raise ConfigError(f"the model has logits for {self.n_actions} options, but the data have {n_actions}.")
        return self.logits if isinstance(self.logits, tuple) else (self.logits,) * n_actions

    @property
    def lagged(self) -> tuple[tuple[str, int], ...]:
        """Signals of earlier trials that are read: name and how many trials back."""
        own = {*self.states, *self.parameters, *self.inputs}
        names = {s.name for e in self._expressions() for s in e.free_symbols} - own
        found = [read_lag(name, self.inputs) for name in names]
        return tuple(sorted(lag for lag in found if lag is not None))

    def branches(self) -> list["Branches"]:
        """Of each update its expressions for the chosen and for the other options."""
        chosen, outcome, reward = symbol("chosen"), symbol("outcome"), symbol("reward")
        found = []
        for u in self.updates:
            own = u.expression.subs({chosen: sympy.Integer(1), outcome: reward}) if u.where != "unchosen" else None
            other = u.expression.subs({chosen: sympy.Integer(0)}) if u.where != "chosen" else None
            reads = own is not None and reward in own.free_symbols
            needs = u.needs_outcome
            found.append(Branches(u.state, own, other, reads if needs is None else needs, bool(needs)))
        return found

    def uses_previous(self) -> list[str]:
        """States whose value before the trial is read."""
        names = {entry.name for expression in self._expressions() for entry in expression.free_symbols}
        return [name for name in self.states if PREVIOUS + name in names]

    def values(self, participant: Hashable = None) -> dict[str, float]:
        """Values of the parameters for one participant.

        Parameters
        ----------
        participant : optional
            Label; not needed where the values are the same for everybody.

        Raises
        ------
        ConfigError
            If a parameter has no value for this participant.
        """
        found = {}
        for name, parameter in self.parameters.items():
            value = parameter.value
            if isinstance(value, Mapping):
                if participant not in value:
                    raise ConfigError(
                        f"the parameter {name!r} has no value for participant {participant!r}"
                        f"{did_you_mean(str(participant), list(value))}; it has values for "
                        f"{', '.join(map(str, list(value)[:10]))}."
                    )
                value = value[participant]
            if value is None:
                raise ConfigError(f"the parameter {name!r} has no value: give it one, Parameter(value=...).")
            found[name] = float(value)
        return found

    # ------------------------------------------------------------------ how it reads

    def to_sympy(self) -> dict[str, Any]:
        """All expressions.

        Returns
        -------
        dict
            ``"initial"``: start value of each state; ``"updates"``: list of `Update`; ``"logits"``: one expression, or
            one per option.
        """
        return {"initial": dict(self.initial), "updates": list(self.updates), "logits": self.logits}

    def latex(self, digits: int = 3) -> str:
        """The model as an ``aligned`` environment.

        Parameters
        ----------
        digits : int, default 3
            Significant digits of numbers.
        """
        lines = [
            rf"{latex_name(u.state)} &\leftarrow {latex_expression(u.expression, digits)} && \text{{{WHERE[u.where]}}}"
            for u in self.updates
        ]
        lines += [
            rf"{latex_name(name)} &= {latex_expression(start, digits)} && \text{{at the start}}"
            for name, start in self.initial.items()
        ]
        several = isinstance(self.logits, tuple)
        for option, logit in enumerate(self.logits if isinstance(self.logits, tuple) else [self.logits]):
            index = rf"_{{{option}}}" if several else ""
            lines.append(rf"\mathrm{{logit}}{index} &= {latex_expression(logit, digits)}")
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def __str__(self) -> str:
        width = max(map(len, WHERE.values()))
        lines = [f"{WHERE[u.where]:<{width}}  {u.state} ← {text_expression(u.expression)}" for u in self.updates]
        lines += [f"{'start':<{width}}  {name} = {text_expression(start)}" for name, start in self.initial.items()]
        if isinstance(self.logits, tuple):
            lines += [
                f"{f'logit of option {k}':<{width}}  {text_expression(logit)}" for k, logit in enumerate(self.logits)
            ]
        else:
            lines.append(f"{'logit':<{width}}  {text_expression(self.logits)}")
        known = [f"{n} = {p.value:.4g}" for n, p in self.parameters.items() if isinstance(p.value, (int, float))]
        return "\n".join(lines + ([f"{'parameters':<{width}}  {', '.join(known)}"] if known else []))

    def __repr__(self) -> str:
        return f"SymbolicModel(states: {', '.join(self.states)}; parameters: {', '.join(self.parameters)})"

    # ------------------------------------------------------------------ checks

    def _expressions(self) -> Iterator[sympy.Expr]:
        yield from (update.expression for update in self.updates)
        yield from self.logits if isinstance(self.logits, tuple) else [self.logits]

    def _problems(self) -> Iterator[str]:
        groups = {"state": list(self.states), "parameter": list(self.parameters), "input": list(self.inputs)}
        seen: dict[str, str] = {name: "signal of the trial" for name in SIGNALS}
        for kind, names in groups.items():
            a_kind = f"an {kind}" if kind == "input" else f"a {kind}"
            for name in names:
                if not name.isidentifier() or keyword.iskeyword(name) or name in FUNCTIONS or name.startswith(PREVIOUS):
                    yield f"{name!r} cannot be the name of {a_kind}: use letters, digits and _, and no function's name."
                elif name in seen:
                    yield f"the {kind} {name!r} has the name of a {seen[name]}; rename one of them."
                seen.setdefault(name, kind)
        known = [*SIGNALS, *self.states, *(PREVIOUS + name for name in self.states), *self.parameters, *self.inputs]
        known += [f"{name}_lag{n}" for name, n in self.lagged]
        yield from self._unknown("the updates or logits", self._expressions(), known)
        yield from self._unknown("start values", self.initial.values(), list(self.parameters))
        for update in self.updates:
            if update.state not in self.states:
                near = did_you_mean(update.state, list(self.states))
                yield f"an update sets {update.state!r}, which is no state{near}."
            if update.where not in WHERE:
                yield f"an update of {update.state!r} is for {update.where!r}; choose one of {', '.join(WHERE)}."
        updated = {update.state for update in self.updates}
        for name in [name for name in self.states if name not in updated]:
            yield f"the state {name!r} is never updated; make it a parameter, or add an update."
        used = {s.name for e in [*self._expressions(), *self.initial.values()] for s in e.free_symbols}
        for name, parameter in self.parameters.items():
            if name not in used:
                yield f"the parameter {name!r} is never used; remove it."
            if None not in (parameter.low, parameter.high) and not parameter.low < parameter.high:  # type: ignore[operator]
                yield f"the parameter {name!r} has low={parameter.low} and high={parameter.high}; low must be less."

    @staticmethod
    def _unknown(place: str, expressions: Any, known: list[str]) -> Iterator[str]:
        unknown = sorted({s.name for e in expressions for s in e.free_symbols if s.name not in known})
        for name in unknown:
            yield f"{name!r} in {place} is not known{did_you_mean(name, known)}; known are {', '.join(known)}."


def read_lag(name: str, inputs: Sequence[str]) -> tuple[str, int] | None:
    """What a name such as ``reward_lag2`` stands for; None if it is no signal of an earlier trial."""
    match = re.fullmatch(r"(.+)_lag([1-9]\d{0,3})", name)
    if match is None or match[1] not in (*LAGGED, *inputs):
        return None
    return match[1], int(match[2])


def _expression(given: Any) -> sympy.Expr:
    """Text, a number, or an expression, whose symbols are taken by name."""
    if isinstance(given, str):
        return parse_expression(given)
    if isinstance(given, sympy.Expr):
        return given.xreplace({entry: symbol(entry.name) for entry in given.free_symbols})
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return parse_expression(repr(given))
    raise ConfigError(f"{given!r} is no expression: give text, a number, or a sympy expression.")

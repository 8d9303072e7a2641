"""A whole model as expressions: what each trial does to the states, and the choices that follow from them."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sympy

from spice.equations.entries import Entries
from spice.equations.latex import PREVIOUS
from spice.equations.model_parts import (
    LAGGED,
    NEEDS,
    SIGNALS,
    WHERE,
    Branch,
    Choices,
    Line,
    Parameter,
    State,
    Update,
    known_values,
    read_lag,
)
from spice.equations.parsing import symbol
from spice.equations.parts import of_own_option
from spice.errors import ConfigError, join_problems
from spice.resources.agents import Seed
from spice.resources.columns import NEXT

if TYPE_CHECKING:
    from spice.equations.agent import SymbolicAgent
    from spice.resources.dataset import DatasetRNN
    from spice.resources.environments import Bandits

__all__ = ["LAGGED", "SIGNALS", "WHERE", "Parameter", "State", "SymbolicModel", "Update", "read_lag"]


class SymbolicModel:
    """A model of choices as expressions of one option's states, the trial's signals, and parameters.

    Parameters
    ----------
    states : mapping of str to State
        States by name.
    updates : sequence of (state, where, expression) or (state, where, expression, when), or of Update
        What a trial does, applied in order: a state's name stands for the option's own value after the lines above,
        ``previous_`` and the name for its value before the trial. ``where`` is "chosen", "unchosen", "cell" (both, in
        the cell that was shown) or "everywhere" (all options in every cell); ``when`` is a condition on the trial.
    logits : expression, sequence of expressions, or mapping of condition to either, optional
        Logit of an option for the next choice, from its states after the updates; one for each option where they
        differ. With conditions on what is shown before the choice: trials that fulfil none are not scored.
    parameters : mapping of str to Parameter
        Parameters by name.
    inputs : sequence of str, optional
        Further columns of the data that expressions read, seen with the outcome.
    shown : mapping of str to int or None, optional
        Columns that hold what was seen before the choice, with the number of levels, coded 0, 1, ... (None for
        numbers). Updates read those of their own trial, logits those of the coming one.
    let : mapping of str to expression, optional
        Names for intermediate values. In updates a name stands for its value before the trial's updates, in logits for
        its value when the choice is made.
    probabilities : as ``logits``, optional
        Probability of an option, in place of logits: for mixtures and lapses.

    Notes
    -----
    Expressions are sympy's or text (see `spice.equations.parsing.parse_expression`). Besides states, parameters and
    inputs they know ``reward`` (received), ``outcome`` (the option's own; 0 where it was not shown), ``chosen``
    (1 for the chosen option, 0 for others), ``known`` (1 where the reward is known, else 0), ``option`` (its number)
    and ``n_actions`` (how many options are on offer). ``reward_lag1`` is the reward one trial earlier; likewise for
    outcome, chosen and inputs, and further back; of what is shown before the choice, logits count back from the coming
    trial. Trials without a choice count; 0 before the session's start, and where the earlier trial had no choice or its
    outcome was unknown.

    Where the data have columns ``available_0``, ``available_1``, ... that say which options are on offer, the logits of
    the others are minus infinity.

    A trial without a choice changes nothing; logits then see reward, outcome, chosen and known as 0. Where a choice was
    made but its reward is unknown, updates that read it, also in their condition, are left out, likewise those that
    read the option's own outcome where that was not shown (unless they say otherwise, see `Update`). An update
    everywhere of a state with cells is carried out in all of them; outcome and chosen are 0 in those not shown.

    Raises
    ------
    ConfigError
        Listing all of: parts and expressions that cannot be read, names that collide or are no names, symbols that are
        not known, states that are never updated, parameters that are never used, bounds in the wrong order, values and
        priors that do not fit their bounds.
    """

    def __init__(
        self,
        states: Mapping[str, State],
        updates: Sequence[tuple],
        logits: Any = None,
        parameters: Mapping[str, Parameter] | None = None,
        inputs: Sequence[str] = (),
        *,
        shown: Mapping[str, int | None] | None = None,
        let: Mapping[str, Any] | None = None,
        probabilities: Any = None,
    ):
        from spice.equations.model_problems import find_problems

        read = Entries()
        self.states = {str(name): s if isinstance(s, State) else State(s) for name, s in read.named("states", states)}
        self.parameters = dict(read.named("parameters", {} if parameters is None else parameters))
        self.inputs = read.names("inputs", inputs)
        self.shown = dict(read.named("shown", {} if shown is None else shown))
        self.updates = read.updates(updates)
        self.let = {
            name: read.expression(f"let ({name})", value)
            for name, value in read.named("let", {} if let is None else let)
        }
        self.logits = None if logits is None else read.choices("logits", logits)
        self.probabilities = None if probabilities is None else read.choices("probabilities", probabilities)
        self.initial = {
            name: read.expression(f"the start value of {name!r}", state.initial) for name, state in self.states.items()
        }
        problems = [*read.problems, *([] if read.incomplete else find_problems(self, bool(read.problems)))]
        if problems:
            raise ConfigError(join_problems("This model cannot be used", problems))

    # ------------------------------------------------------------------ what it is made of

    @property
    def n_actions(self) -> int | None:
        """Number of options where the logits fix it; None where they are the same for any number."""
        found = {len(part) for part in self._choice_parts() if isinstance(part, tuple)}
        return found.pop() if found else None

    def choices(self, n_actions: int) -> list[Choices]:
        """Logits or probabilities of each option by kind of trial, in terms of the coming trial's columns.

        Raises
        ------
        ConfigError
            If the model is made for another number of options.
        """
        if self.n_actions not in (None, n_actions):
            raise ConfigError(f"the model has logits for {self.n_actions} options, but the data have {n_actions}.")
        coming = self._coming()
        found = []
        for when, part in self.given_choices.items():
            own = part if isinstance(part, tuple) else (part,) * n_actions
            expressions = tuple(self.with_let(entry).xreplace(coming) for entry in own)
            found.append(Choices(None if when is None else when.xreplace(coming), expressions))
        return found

    @property
    def given_choices(self) -> dict[sympy.Basic | None, Any]:
        """Logits or probabilities as they were written, by condition; None where there is none."""
        given = self.logits if self.probabilities is None else self.probabilities
        return given if isinstance(given, dict) else {None: given}

    def with_let(self, expression: sympy.Expr) -> sympy.Expr:
        """An expression with intermediate values written out."""
        for name, value in reversed(self.let.items()):  # each reads only those above it
            expression = expression.xreplace({symbol(name): value})
        return expression

    @property
    def conditions(self) -> tuple[sympy.Basic, ...]:
        """The different conditions of updates."""
        return tuple(dict.fromkeys(u.when for u in self.updates if u.when is not None))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that expressions read: inputs, what is shown, and what is shown before the coming choice."""
        return (*self.inputs, *self.shown, *(NEXT + name for name in self.shown))

    @property
    def lagged(self) -> tuple[tuple[str, int], ...]:
        """Signals of earlier trials that are read: name and how many trials back from the one that was last."""
        choices = self.lags(self.with_let(entry) for entry in self._each_choice())
        updates = self.lags([*self.let.values(), *(update.expression for update in self.updates)])
        return tuple(sorted(updates | {(name, n - (name in self.shown)) for name, n in choices}))

    def lags(self, expressions: Iterable[sympy.Expr]) -> set[tuple[str, int]]:
        """Names such as ``reward_lag2`` in expressions: the signals, and how many trials back."""
        own = {*self.states, *self.parameters, *self.columns, *self.let}
        names = {s.name for e in expressions for s in e.free_symbols} - own
        found = [read_lag(name, (*self.inputs, *self.shown)) for name in names]
        return {lag for lag in found if lag is not None}

    def n_cells(self, state: str) -> int:
        """Number of cells of a state: combinations of the levels that it has values for."""
        number = 1
        for name in self.states[state].by:
            number *= self.shown[name] or 1
        return number

    def lines(self) -> list[Line]:
        """Updates by kinds of options."""
        return [self._line(u) for u in self.updates]

    def uses_previous(self) -> list[str]:
        """States whose value before the trial is read."""
        names = {entry.name for expression in self.expressions() for entry in expression.free_symbols}
        return [name for name in self.states if PREVIOUS + name in names]

    def expressions(self) -> Iterator[sympy.Expr]:
        """All expressions but start values and conditions."""
        yield from self.let.values()
        yield from (update.expression for update in self.updates)
        yield from self._each_choice()

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
        return known_values(self.parameters, participant)

    def replace(self, **changes: Any) -> "SymbolicModel":
        """The same model with other parts, by the names of the constructor's parameters."""
        own = ("states", "updates", "logits", "parameters", "inputs", "shown", "let", "probabilities")
        return SymbolicModel(**{name: getattr(self, name) for name in own} | changes)

    # ------------------------------------------------------------------ what it does

    def agent(self, values: Any = None, n_actions: int | None = None, seed: Seed = None) -> "SymbolicAgent":
        """The model as an agent, for `create_dataset`, `plot_session` and trials of one's own.

        Parameters
        ----------
        values : mapping of str to float or array_like of shape (n_participants,), or pandas.DataFrame, optional
            Parameters, the same for everybody or by participant (as in ``fit(...).parameters``); by default the
            values that the model has.
        n_actions : int, optional
            Number of options; by default that of the logits where they are given for each option, else 2.
        seed : int or numpy.random.Generator, optional
            Seed of the choices.

        Raises
        ------
        ConfigError
            If a parameter has no value.
        """
        from spice.equations.agent import SymbolicAgent

        return SymbolicAgent(self, self.values() if values is None else values, n_actions or self.n_actions or 2, seed)

    def simulate(
        self, environment: "Bandits", n_trials: int, values: Any = None, n_sessions: int = 1, seed: Seed = None
    ) -> "DatasetRNN":
        """Let the model play a task, all sessions at once.

        Parameters
        ----------
        environment : Bandits
            The task.
        n_trials : int
            Number of scored choices per session.
        values : mapping or pandas.DataFrame, optional
            As for `agent`: with several values of a parameter, that many participants.
        n_sessions : int, default 1
            Sessions of each participant.
        seed : int or numpy.random.Generator, optional
            Seed of model and task.

        Returns
        -------
        DatasetRNN
            Participants are numbered 0, 1, ... in the order of ``values``.

        Raises
        ------
        ConfigError
            If arguments do not fit, or a parameter has no value.
        """
        from spice.resources.environments import check_is_task
        from spice.resources.simulation import create_dataset

        check_is_task(environment, "simulate")
        agent = self.agent(values, environment.n_actions)
        return create_dataset(agent, environment, n_trials, n_sessions, agent.n_participants, seed=seed)[0]

    # ------------------------------------------------------------------ how it reads

    def to_sympy(self) -> dict[str, Any]:
        """All expressions.

        Returns
        -------
        dict
            ``"initial"``: start value of each state; ``"let"``: intermediate values; ``"updates"``: list of `Update`;
            ``"logits"`` or ``"probabilities"``: one expression, one per option, or either by condition.
        """
        kind, choices = ("logits", self.logits) if self.probabilities is None else ("probabilities", self.probabilities)
        return {"initial": dict(self.initial), "let": dict(self.let), "updates": list(self.updates), kind: choices}

    def latex(self, digits: int = 3) -> str:
        """The model as an ``aligned`` environment.

        Parameters
        ----------
        digits : int, default 3
            Significant digits of numbers.
        """
        from spice.equations.model_text import model_latex

        return model_latex(self, digits)

    def __str__(self) -> str:
        from spice.equations.model_text import model_text

        return model_text(self)

    def __repr__(self) -> str:
        return f"SymbolicModel(states: {', '.join(self.states)}; parameters: {', '.join(self.parameters)})"

    # ------------------------------------------------------------------ inside

    def _choice_parts(self) -> list[sympy.Expr | tuple[sympy.Expr, ...]]:
        given = [part for part in (self.logits, self.probabilities) if part is not None]
        return [entry for part in given for entry in (part.values() if isinstance(part, dict) else [part])]

    def _each_choice(self) -> Iterator[sympy.Expr]:
        for part in self._choice_parts():
            yield from part if isinstance(part, tuple) else [part]

    def _coming(self) -> dict[sympy.Symbol, sympy.Symbol]:
        """What stands in logits for what is shown: the coming trial's; one trial before that is the last trial."""
        coming = {symbol(name): symbol(NEXT + name) for name in self.shown}
        lags = self.lags(self.with_let(entry) for entry in self._each_choice())
        return coming | {symbol(f"{s}_lag{n}"): symbol(f"{s}_lag{n - 1}") for s, n in lags if s in self.shown}

    def _line(self, update: Update) -> Line:
        outcome, reward = symbol("outcome"), symbol("reward")
        read = self.with_let(update.expression).free_symbols
        rule = None if update.when is None else self.conditions.index(update.when)
        if update.when is not None:
            read = read | update.when.free_symbols
        if update.where == "everywhere" and self.states[update.state].by:
            needs = "known" if reward in read and update.needs_outcome is None else None
            return Line(update.state, everywhere=Branch(update.expression, needs), rule=rule)
        own = other = None
        if update.where != "unchosen":
            expression = of_own_option(update.expression, {"chosen": sympy.Integer(1), "outcome": reward})
            needed = bool(read & {reward, outcome}) if update.needs_outcome is None else update.needs_outcome
            own = Branch(expression, "shown" if needed else None)
        if update.where != "chosen":
            default = NEEDS[outcome in read, reward in read]
            needs = default if update.needs_outcome is None else "shown" if update.needs_outcome else None
            other = Branch(of_own_option(update.expression, {"chosen": sympy.Integer(0)}), needs)
        return Line(update.state, own, other, rule=rule)

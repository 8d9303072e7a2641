"""What a symbolic model is made of: states, parameters, updates, and the names that expressions may use."""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from spice.errors import ConfigError, did_you_mean

WHERE = {  # with how it reads
    "chosen": "chosen option",
    "unchosen": "other options",
    "cell": "all options",
    "everywhere": "everywhere",
}
SIGNALS = ("reward", "outcome", "chosen", "known", "option", "n_actions")  # of the trial; their names are taken
LAGGED = ("reward", "outcome", "chosen")  # those that are also known of earlier trials
NEEDS = {  # what a line must know, by whether it reads the own outcome, and the reward
    (False, False): None,
    (False, True): "known",
    (True, False): "shown",
    (True, True): "both",
}


@dataclass(frozen=True)
class State:
    """A latent variable, one value per option.

    Attributes
    ----------
    initial : float or str
        Value at the start of each session; an expression of parameters where it is one, or is made of some.
    by : sequence of str, optional
        Shown inputs: the state has one value per option for each combination of their levels (each *cell*).
    """

    initial: Any = 0.0
    by: tuple[str, ...] = ()

    def __post_init__(self):
        by = (self.by,) if isinstance(self.by, str) else self.by
        if by is not None and not isinstance(by, Iterable):
            raise ConfigError(f"by of a state must be names of shown inputs, not {by!r}.")
        object.__setattr__(self, "by", tuple(by or ()))


@dataclass(frozen=True)
class Parameter:
    """A number that differs between participants.

    Attributes
    ----------
    low, high : float, optional
        Bounds.
    prior : str, optional
        Prior of one participant's value, on the natural scale, such as ``"beta(1, 1)"``: of "map", and of "nuts" where
        everybody is alone. In a population ``mean_prior`` and ``sd_prior`` take its place, and a warning says so.
    mean_prior, sd_prior : str, optional
        Priors of the population's mean and standard deviation, on the scale that ``scale`` names. Where there is none,
        "nuts" has a weakly informative one, and "em" none but for that of the spread, which is worth one person.
    scale : {"unconstrained", "natural"}, default "unconstrained"
        Where participants are normally distributed: on the unconstrained scale (logit between two bounds, logarithm
        from one bound on), or on the natural scale, truncated to the bounds. For method "nuts": "em" always takes the
        unconstrained one.
    value : float or mapping, optional
        Its value where it is known: the same for everybody, or by the participant's label. Agents and simulations
        take it; fits begin there, among other places, and estimate the parameter like any other. To hold it fixed,
        write the number into the expressions instead.
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


def known_values(parameters: Mapping[str, Parameter], participant: Hashable = None) -> dict[str, float]:
    """Values that parameters have, for one participant.

    Raises
    ------
    ConfigError
        If one has none, or none for this participant.
    """
    found = {}
    for name, parameter in parameters.items():
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


class Update(NamedTuple):
    """One line of a model.

    Attributes
    ----------
    state : str
        The state that is set.
    where : {"chosen", "unchosen", "cell", "everywhere"}
        For which options: the chosen one in the cell that was shown, the others there, both, or all in every cell.
    expression : sympy.Expr
        Its new value.
    when : sympy.Basic, optional
        Condition on the trial's inputs; the line is left out of other trials.
    needs_outcome : bool, optional
        Whether the line is left out for options whose own outcome is unknown. By default a line is left out where
        what it reads, the reward or the own outcome, is unknown.
    """

    state: str
    where: str
    expression: sympy.Expr
    when: sympy.Basic | None = None
    needs_outcome: bool | None = None


class Branch(NamedTuple):
    """What an update is for one kind of options.

    Attributes
    ----------
    expression : sympy.Expr
        The new value.
    needs : {None, "known", "shown", "both"}
        Left out where the reward is not known, the option's own outcome not shown, or either of them.
    """

    expression: sympy.Expr
    needs: str | None = None


class Line(NamedTuple):
    """An update by kinds of options.

    Attributes
    ----------
    state : str
        The state that is set.
    chosen, unchosen : Branch or None
        For the option that was chosen, and for the others, in the cell that was shown; None where it stays.
    everywhere : Branch or None
        For all options of all cells (then there are no others).
    rule : int or None
        Number of the condition, in `SymbolicModel.conditions`, under which the line is used.
    """

    state: str
    chosen: Branch | None = None
    unchosen: Branch | None = None
    everywhere: Branch | None = None
    rule: int | None = None

    def xreplace(self, names: Mapping[sympy.Basic, sympy.Basic]) -> "Line":
        """With other expressions in place of some."""

        def other(branch: Branch | None) -> Branch | None:
            return None if branch is None else branch._replace(expression=branch.expression.xreplace(names))

        return self._replace(
            chosen=other(self.chosen), unchosen=other(self.unchosen), everywhere=other(self.everywhere)
        )


class Choices(NamedTuple):
    """How choices are made, in trials of one kind.

    Attributes
    ----------
    when : sympy.Basic or None
        Condition on what is shown before the choice; None if there is one kind of trials only.
    expressions : tuple of sympy.Expr, one per option
        Logits or probabilities.
    """

    when: sympy.Basic | None
    expressions: tuple[sympy.Expr, ...]


def read_lag(name: str, inputs: Sequence[str]) -> tuple[str, int] | None:
    """What a name such as ``reward_lag2`` stands for; None if it is no signal of an earlier trial."""
    match = re.fullmatch(r"(.+)_lag([1-9]\d{0,3})", name)
    if match is None or match[1] not in (*LAGGED, *inputs):
        return None
    return match[1], int(match[2])

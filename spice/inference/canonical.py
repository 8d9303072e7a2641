"""The canonical form: the same model in the field's own parameters (DESIGN section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spice.inference.build import Problem
    from spice.inference.library import Library
    from spice.inference.structure import Layout, Structures

ROUNDING = 1e-9
RATES = ("alpha", "alpha_reward", "alpha_penalty", "forgetting", "alpha_choice", "alpha_counterfactual")


@dataclass(frozen=True)
class Gauge:
    """How a state of the network follows from its canonical one: x = shift + scale * Q.

    Attributes
    ----------
    shift, scale : float
        Of a value, or of a choice trace (K).
    """

    shift: float
    scale: float


def canonical_parameters(
    layout: "Layout", problem: "Problem", group: int, rows: "Structures", numbers: np.ndarray
) -> tuple[dict[str, float], list[str]]:
    """Parameters of one model by the field's names.

    Parameters
    ----------
    layout : Layout
        Where numbers stand.
    problem : Problem
        Candidate terms and trials.
    group : int
        The participant.
    rows : Structures
        One row.
    numbers : np.ndarray, shape (n_numbers,)
        Its numbers.

    Returns
    -------
    parameters : dict of str to float
        Only those that the model has.
    unread : list of str
        States whose modules cannot be read so: they keep their polynomials.
    """
    reading = _Reading(layout, problem, group, rows, numbers)
    found: dict[str, float] = {}
    unread = []
    for state, name in enumerate(layout.library.states):
        part = reading.value(state) if layout.library.is_value[state] else reading.trace(state)
        if part is None or set(part) & set(found):  # a second value has no names of its own
            unread.append(name)
        else:
            found |= part
    free = rows.free[0, layout.biases]
    biases = {k: numbers[layout.biases[k]] for k in range(1, layout.library.n_actions) if free[k]}
    names = {k: "bias" if layout.library.n_actions == 2 else f"bias_{k}" for k in biases}
    found |= {names[k]: float(value) for k, value in biases.items()}
    start = found.pop("initial_value", None)
    return (found if start is None else found | {"initial_value": start}), unread


class _Reading:
    """Reads the modules of one model."""

    def __init__(self, layout: "Layout", problem: "Problem", group: int, rows: "Structures", numbers: np.ndarray):
        self._layout, self._rows, self._numbers = layout, rows, numbers
        self._problem, self._group, self._chosen = problem, group, problem.chosen
        self._library: Library = layout.library

    def _modules(self, state: int) -> tuple[int, int | None] | None:
        """Modules of the chosen option and of the others."""
        of_state = [m for m, module in enumerate(self._library.modules) if module.state == state]
        roles = [int(self._chosen[m]) for m in of_state]
        if roles == [1]:
            return of_state[0], None
        return (of_state[0], of_state[1]) if roles == [1, 0] else None

    def _free(self, module: int) -> set[int]:
        terms = range(self._library.first[module], self._library.first[module + 1])
        return {term for term in terms if self._rows.free[0, term]}

    def _own(self, module: int) -> float:
        own = self._library.own[module]
        return float(self._numbers[own] if self._rows.free[0, own] else self._layout.usual[module])

    def value(self, state: int) -> dict[str, float] | None:
        """Parameters of a value."""
        modules = self._modules(state)
        of_state = [m for m, module in enumerate(self._library.modules) if module.state == state]
        if not any(self._free(m) for m in of_state):
            return {}
        if modules is None:
            return None
        learning, others = modules
        if self._rows.tied[0, learning]:
            return self._one_rate(learning, others, self._own(learning), self._numbers[self._layout.starts[state]])
        outcome, crossed = self._layout.outcome[learning], self._layout.crossed(learning)
        own = self._library.own[learning]
        if outcome not in self._free(learning) or self._free(learning) - {own, outcome, crossed}:
            return None
        a, b, s = self._own(learning), self._numbers[outcome], self._numbers[self._layout.starts[state]]
        if crossed in self._free(learning):
            met = self._problem.outcomes(self._group, learning)
            both = self._two_rates(met, crossed, a, b, s)
            if both is None or not self._ties_hold(met, others):
                return None
            beta, s, rates = both
        elif a >= 1:
            return None
        else:
            beta, rates = b / (1 - a), {"alpha": 1 - a}
        return self._with_others(beta, rates, s, learning, others)

    def _with_others(
        self, beta: float, rates: dict[str, float], s: float, learning: int, others: int | None
    ) -> dict[str, float] | None:
        """What the chosen option's module says, and what that of the others adds."""
        if beta == 0:
            return None
        found = {"beta": beta} | rates
        if others is not None:
            further = self._others(others, beta, s)
            if further is None:
                return None
            found |= further
        found["initial_value"] = s / beta
        unit = self._problem.outcome_unit(self._group, learning)
        found["beta"] /= unit.size
        for name in {"initial_value", "forgetting_target"} & set(found):
            found[name] = unit.undo(found[name])
        return {name: float(value) for name, value in found.items()}

    def _one_rate(self, learning: int, others: int | None, a: float, s: float) -> dict[str, float] | None:
        """The better outcome leaves the value as it is: start and inverse temperature are one number here too."""
        met = self._problem.outcomes(self._group, learning)
        if len(met) != 2 or a >= 1:
            return None
        kept = a + (1 - a) * met[0]
        beta = s / (met.mean() - met[0])
        rates = {"alpha_reward": 0.0, "alpha_penalty": 1 - kept}
        return self._with_others(beta, rates, beta * met.mean(), learning, others)

    def _two_rates(
        self, met: np.ndarray, crossed: int, a: float, b: float, s: float
    ) -> tuple[float, float, dict[str, float]] | None:
        """Inverse temperature, start times inverse temperature, and the rates for the better and the worse outcome."""
        if len(met) != 2:  # a rate that depends on the outcome has a name for two outcomes only
            return None
        e = self._numbers[crossed]
        kept, moved = a + e * met, b * met - (1 - a) * s
        rates = {"alpha_reward": 1 - kept[1], "alpha_penalty": 1 - kept[0]}
        learned = kept < 1
        if learned.all():
            fixed = moved / (1 - kept)  # where each outcome leads, if it always came
            beta = (fixed[1] - fixed[0]) / (met[1] - met[0])
            return beta, beta * met[0] - fixed[0], rates
        if not learned.any() or abs(moved[~learned][0]) > ROUNDING * abs(moved[learned][0]):
            return None
        # one outcome leaves the value as it is: start and inverse temperature are one number; the start is set midway
        fixed, start = moved[learned][0] / (1 - kept[learned][0]), met.mean()
        beta = fixed / (met[learned][0] - start)
        return beta, beta * start, rates

    def _ties_hold(self, met: np.ndarray, others: int | None) -> bool:
        """Where rates differ, outcomes of others are tied at the worst and the best of all: both must be received."""
        tied = others is not None and self._rows.tied[0, others]
        return not tied or bool(np.array_equal(met, [0.0, 1.0]))

    def _others(self, others: int, beta: float, s: float) -> dict[str, float] | None:
        """Forgetting, or learning from outcomes of options that were not chosen."""
        own, constant = self._library.own[others], self._library.constant[others]
        kept = self._own(others)
        if self._free(others) - {own, constant}:
            return None
        if self._rows.tied[0, others]:
            return {"alpha_counterfactual": 1 - kept}
        if kept == 1.0:
            return {}
        found = {"forgetting": 1 - kept}
        if constant in self._free(others):
            found["forgetting_target"] = (self._numbers[constant] / (1 - kept) + s) / beta
        return found

    def trace(self, state: int) -> dict[str, float] | None:
        """Parameters of a choice trace."""
        modules = self._modules(state)
        of_state = [m for m, module in enumerate(self._library.modules) if module.state == state]
        if not any(self._free(m) for m in of_state):
            return {}
        if modules is None:
            return None
        learning, others = modules
        own, constant = self._library.own[learning], self._library.constant[learning]
        if self._free(learning) - {own, constant} or constant not in self._free(learning):
            return None
        if others is not None and (self._free(others) or not self._rows.tied[0, others]):
            return None
        a = self._own(learning)
        if a == 1.0:
            return None
        found = {"perseveration": float(self._numbers[constant] / (1 - a))}
        return found | ({"alpha_choice": 1 - a} if own in self._free(learning) else {})


def gauges(
    layout: "Layout", parameters: Mapping[str, float], starts: np.ndarray, readout: np.ndarray
) -> dict[str, Gauge]:
    """How each of the network's states follows from its canonical one.

    Parameters
    ----------
    layout : Layout
        Where numbers stand.
    parameters : mapping of str to float
        From `canonical_parameters`; states that cannot be read have no gauge, whatever is returned for them here.
    starts, readout : np.ndarray, shape (n_states,)
        The network's start values and readout.
    """
    found = {}
    for state, name in enumerate(layout.library.states):
        value = layout.library.is_value[state]
        if ("beta" if value else "perseveration") in parameters:
            scale = parameters["beta" if value else "perseveration"] / readout[state]
            origin = scale * parameters["initial_value"] if value else 0.0
            found[name] = Gauge(float(starts[state] - origin), float(scale))
    return found

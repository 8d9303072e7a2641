"""Structures: which numbers of a model are free, which are fixed, and which follow from others.

In the search's gauge every state starts at 0 (DESIGN section 4). The numbers of a model are those of all terms, one
start per state and one bias per option. A state with outcome terms (a value) starts at s above the value that the worst
outcome leads to: each of its outcome-driven modules has the constant -(1 - a) s, a being the state's own coefficient at
that outcome, which is 0 here (`spice.inference.units`). Ties: a choice trace decays alike in all of its modules;
outcomes of options not chosen move a value towards where those of the chosen one would.
"""

from dataclasses import dataclass, replace

import numpy as np

from spice.inference.library import Library

# weakly informative priors, normal around 0, in logit units: of what a single outcome or a constant adds, of the factor
# of higher powers of a state, and of the start of a value. Multipliers have limits, and no prior.
PRIOR_SD, PRIOR_SD_POWERS, PRIOR_SD_START = 10.0, 1.0, 5.0


@dataclass(frozen=True)
class Structures:
    """Rows of structures.

    Attributes
    ----------
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        Numbers that are estimated: terms, starts, biases.
    tied : np.ndarray of bool, shape (n_rows, n_modules)
        Choice traces: modules whose own coefficient is that of the state's first module. Values: modules whose
        outcome scale is that of the first; the first one itself if the largest outcome leaves the value as it is.
    """

    free: np.ndarray
    tied: np.ndarray

    def __len__(self) -> int:
        return len(self.free)

    def __getitem__(self, rows) -> "Structures":
        return Structures(self.free[rows], self.tied[rows])

    def keys(self) -> list[bytes]:
        """What tells structures apart: the same key, the same structure."""
        table = np.hstack([self.free, self.tied]).astype(np.uint8)
        return [row.tobytes() for row in np.ascontiguousarray(table)]

    @staticmethod
    def concatenate(parts: list["Structures"]) -> "Structures":
        """Rows of several after one another."""
        return Structures(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("free", "tied")))


class Layout:
    """Where a model's numbers stand, and how coefficients follow from them.

    Parameters
    ----------
    library : Library
        Candidate terms.
    estimation : {"map", "mle"}, default "map"
        Whether numbers have the weak priors above, or none.

    Attributes
    ----------
    n_numbers : int
        Terms, starts, biases.
    starts, biases : np.ndarray of int
        Where starts and biases stand.
    base, outcome : np.ndarray of int, shape (n_modules,)
        Those of the library.
    parents : np.ndarray of bool, shape (n_terms, n_terms)
        The plainer terms that each interaction or square belongs to: of a state times an input the input alone, of a
        square the state, of a product of inputs each of them.
    unusual : np.ndarray of bool, shape (n_terms,)
        Terms that, free, are no mechanism of the field (DESIGN section 4): products but a state times an input in the
        first module; where the others are updated, what the first module reads too, outcomes on a scale of their own,
        and a choice trace that decays otherwise.
    usual : np.ndarray, shape (n_modules,)
        The state's own coefficient where it is not estimated: an untouched value stays as it is (1), of a choice trace
        nothing stays (0: the last choice alone counts). Neither is a discovery.
    precisions : np.ndarray, shape (n_numbers,)
        Of the priors; 0 where there is none.
    """

    def __init__(self, library: Library, estimation: str = "map"):
        self.library = library
        n_terms, n_states = library.n_terms, len(library.states)
        self.starts = n_terms + np.arange(n_states)
        self.biases = n_terms + n_states + np.arange(library.n_actions)
        self.n_numbers = n_terms + n_states + library.n_actions
        states = [module.state for module in library.modules]
        self.base, self.outcome = library.base, library.outcome
        self.usual = library.is_value[states].astype(float)
        deviations = np.full(self.n_numbers, PRIOR_SD)
        deviations[:n_terms][library.powers == 1] = np.inf
        deviations[:n_terms][library.powers > 1] = PRIOR_SD_POWERS
        deviations[self.starts] = PRIOR_SD_START
        self.parents = np.array([self._parents(term) for term in range(n_terms)])
        self.precisions = 1 / deviations**2 if estimation == "map" else np.zeros(self.n_numbers)
        self.unusual = np.array([self._is_unusual(term) for term in range(n_terms)])

    def _parents(self, term: int) -> np.ndarray:
        """The plainer terms of its module that an interaction or square belongs to, shape (n_terms,): see `parents`."""
        library = self.library
        power, product = library.powers[term], library.factors[library.factor[term]]
        plainer = np.zeros(library.n_terms, bool)
        for other in np.flatnonzero(library.module == library.module[term]):
            part = library.factors[library.factor[other]]
            if power and product:  # a state times inputs: these inputs alone
                plainer[other] = library.powers[other] == 0 and part == product
            elif power:  # a square: the state
                plainer[other] = power > 1 and library.powers[other] == 1 and not part
            else:  # a product of inputs: one of them
                single = library.powers[other] == 0 and len(part) == 1 == part[0][1] and part != product
                plainer[other] = single and part[0][0] in dict(product)
        return plainer

    def _is_unusual(self, term: int) -> bool:
        """Whether no mechanism of the field has this number of its own (`unusual`)."""
        library, m = self.library, self.library.module[term]
        power, product = int(library.powers[term]), library.factors[library.factor[term]]
        degree = power + sum(p for _, p in product)
        if m == self.base[m]:  # an input may change how much the state keeps: rates that differ between outcomes
            return degree > 1 and not (power == 1 and degree == 2 and product)
        if degree > 1:
            return True
        if library.is_value[library.modules[m].state]:
            common = library.modules[self.base[m]].controls
            return term == self.outcome[m] or (bool(product) and product[0][0] in common)
        return power == 1

    def crossed(self, module: int) -> int:
        """The term state x outcome of a module; -1 where there is none."""
        library, outcome = self.library, self.outcome[module]
        if outcome < 0:
            return -1
        alike = (library.module == module) & (library.powers == 1) & (library.factor == library.factor[outcome])
        return int(np.flatnonzero(alike)[0]) if alike.any() else -1

    def driven(self, free: np.ndarray) -> np.ndarray:
        """Which modules are driven by outcomes, shape (n_rows, n_modules)."""
        library = self.library
        reading = free[:, : library.n_terms] & library.reads
        return np.stack([reading[:, library.module == m].any(1) for m in range(len(library.modules))], axis=1)

    def coefficients(self, numbers: np.ndarray, rows: Structures) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of the likelihood, and their derivatives by the numbers.

        Parameters
        ----------
        numbers : np.ndarray, shape (n_rows, n_numbers)
            Values; what is neither free nor derived counts as 0.
        rows : Structures
            Their structures.

        Returns
        -------
        coefficients : np.ndarray, shape (n_rows, n_terms + n_actions)
            Terms, biases.
        jacobian : np.ndarray, shape (n_rows, n_terms + n_actions, n_numbers)
            Derivatives by free numbers.
        """
        library, n_rows = self.library, len(rows)
        kept = np.concatenate([np.arange(library.n_terms), self.biases])
        value = np.where(rows.free, numbers, 0.0)
        slope = rows.free[:, :, None] * np.eye(self.n_numbers)
        driven = self.driven(rows.free | self.tied_terms(rows))
        for m, (own, constant) in enumerate(zip(library.own, library.constant, strict=True)):
            state, base = library.modules[m].state, self.base[m]
            if own >= 0:
                fixed = ~rows.free[:, own]
                value[:, own] = np.where(fixed, self.usual[m], value[:, own])
                if not library.is_value[state] and m != base:
                    self._copy(value, slope, own, library.own[base], rows.tied[:, m])
            if library.is_value[state]:
                if m == base and self.can_idle(m):
                    self._set_idle(value, slope, m, rows.tied[:, m])
                if m != base and self.outcome[m] >= 0 and self.outcome[base] >= 0:
                    self._scale(value, slope, m, rows.tied[:, m])
                if constant >= 0 and own >= 0:
                    self._set_start(value, slope, constant, own, self.starts[state], driven[:, m])
        return value[:, kept], slope[:, kept].reshape(n_rows, len(kept), self.n_numbers)

    def tied_terms(self, rows: Structures) -> np.ndarray:
        """Outcome terms that follow from another module's."""
        found = np.zeros_like(rows.free)
        for m, term in enumerate(self.outcome):
            if term >= 0 and m != self.base[m]:
                found[:, term] = rows.tied[:, m]
            elif self.can_idle(m):
                found[np.ix_(rows.tied[:, m], np.array([term, self.crossed(m)]))] = True
        return found

    def can_idle(self, module: int) -> bool:
        """Whether the largest outcome may leave a value as it is: rates of outcomes may differ, and one be 0."""
        library = self.library
        is_first_of_value = module == self.base[module] and library.is_value[library.modules[module].state]
        return bool(is_first_of_value and library.own[module] >= 0 and self.crossed(module) >= 0)

    def sizes(self, rows: Structures) -> np.ndarray:
        """Numbers that count, shape (n_rows,): all that are free but the starts, unless a start is the only scale."""
        counted = rows.free.copy()
        counted[:, self.starts] = False
        idle = [m for m in range(len(self.base)) if self.can_idle(m)]
        return counted.sum(1) + rows.tied[:, idle].sum(1)

    def present(self, rows: Structures) -> np.ndarray:
        """Which numbers are in a model, free or following from others, shape (n_rows, n_numbers)."""
        present, library = rows.free | self.tied_terms(rows), self.library
        for m, base in enumerate(self.base):
            own = library.own[[m, base]]
            if m != base and (own >= 0).all() and not library.is_value[library.modules[m].state]:
                present[:, own[0]] |= rows.tied[:, m] & rows.free[:, own[1]]
        return present

    @staticmethod
    def _copy(value, slope, target: int, source: int, where: np.ndarray) -> None:
        value[where, target] = value[where, source]
        slope[where, target] = slope[where, source]

    @staticmethod
    def _set_start(value, slope, constant: int, own: int, start: int, where: np.ndarray) -> None:
        """The constant is -(1 - a) s."""
        a, s = value[where, own], value[where, start]
        value[where, constant] = -(1 - a) * s
        slope[where, constant] = s[:, None] * slope[where, own] - (1 - a)[:, None] * slope[where, start]

    def _set_idle(self, value, slope, m: int, where: np.ndarray) -> None:
        """The largest outcome, which is 1 here, leaves the value as it is: e = 1 - a, b = (1 - a) s."""
        own, crossed, outcome = self.library.own[m], self.crossed(m), self.outcome[m]
        start = self.starts[self.library.modules[m].state]
        a, s = value[where, own], value[where, start]
        value[where, crossed], slope[where, crossed] = 1 - a, -slope[where, own]
        value[where, outcome] = (1 - a) * s
        slope[where, outcome] = (1 - a)[:, None] * slope[where, start] - s[:, None] * slope[where, own]

    def _scale(self, value, slope, m: int, where: np.ndarray) -> None:
        """The best outcome leads where it leads in the first module: b = (1 - a) (b' - e' s) / (1 - a' - e').

        There e' is 0, or the better of two outcomes has a rate of its own, and both lead where they do in the first.
        """
        base, own = self.base[m], self.library.own[m]
        crossed, start = self.crossed(base), self.starts[self.library.modules[m].state]
        kept, d_kept = value[where, self.library.own[base]], slope[where, self.library.own[base]]
        led, d_led = value[where, self.outcome[base]], slope[where, self.outcome[base]]
        if crossed >= 0:
            e, s, d_e = value[where, crossed], value[where, start], slope[where, crossed]
            kept, d_kept = kept + e, d_kept + d_e
            led, d_led = led - e * s, d_led - s[:, None] * d_e - e[:, None] * slope[where, start]
        rest = np.maximum(1 - kept, 1e-8)
        d_kept = np.where((1 - kept > 1e-8)[:, None], d_kept, 0.0)
        scale, rate = led / rest, 1 - value[where, own]
        value[where, self.outcome[m]] = rate * scale
        slope[where, self.outcome[m]] = (rate / rest)[:, None] * (d_led + scale[:, None] * d_kept) - scale[
            :, None
        ] * slope[where, own]

    def needed(self, jacobian: np.ndarray) -> np.ndarray:
        """Coefficients to differentiate by, shape (n_rows, n_coefficients)."""
        return (jacobian != 0).any(2)

    def with_starts(self, rows: Structures) -> Structures:
        """The same with each start free exactly where it shows: it is no term, and never left out."""
        library, free = self.library, rows.free.copy()
        driven = self.driven(rows.free | self.tied_terms(rows))
        for state, start in enumerate(self.starts):
            of_state = [m for m, module in enumerate(library.modules) if module.state == state]
            moving = [driven[:, m] & rows.free[:, library.own[m]] for m in of_state]
            free[:, start] = np.any(moving, axis=0) & library.is_value[state]
        return replace(rows, free=free)

"""Moves from one structure to its neighbours: add, drop, swap, pair and tie."""

import numpy as np

from spice.inference.structure import Layout, Structures


class Moves:
    """Neighbours of structures.

    Parameters
    ----------
    layout : Layout
        Where numbers stand.
    allowed : np.ndarray of bool, shape (n_numbers,)
        Numbers that may be free for this participant: columns that the data cannot tell from others are not.
    """

    def __init__(self, layout: Layout, allowed: np.ndarray):
        self._layout, self._library = layout, layout.library
        self._allowed = self._narrow(allowed)
        library, self._steps = layout.library, []
        self._steps += [("toggle", number) for number in np.flatnonzero(self._allowed).tolist()]
        self._steps += [(kind, m) for m in range(len(library.modules)) if self._can_tie(m) for kind in ("tie", "untie")]

    @property
    def n_candidates(self) -> int:
        """Numbers that may be in the model, the starts aside."""
        return int(self._allowed.sum())

    def weigh(self, odds: float) -> float:
        """Numbers that may be in the model, unusual terms counted by their odds."""
        unusual = self._layout.unusual
        return self.n_candidates - (1 - odds) * int((self._allowed[: len(unusual)] & unusual).sum())

    def _narrow(self, allowed: np.ndarray) -> np.ndarray:
        """Leave out what other numbers do already: a constant of a value's first module, of a trace's others."""
        library, allowed = self._library, allowed.copy()
        for m, constant in enumerate(library.constant):
            first = self._layout.base[m] == m
            if constant >= 0 and first == library.is_value[library.modules[m].state]:
                allowed[constant] = False
        allowed[self._layout.starts] = False
        allowed[self._layout.biases[0]] = False
        return allowed

    def _can_tie(self, m: int) -> bool:
        base, library = self._layout.base[m], self._library
        if self._layout.can_idle(m):
            return bool(self._allowed[[library.own[m], self._layout.outcome[m], self._layout.crossed(m)]].all())
        if m == base or library.own[m] < 0 or library.own[base] < 0:
            return False
        if not library.is_value[library.modules[m].state]:
            return True
        terms = self._layout.outcome[[m, base]]
        return bool((terms >= 0).all() and self._allowed[terms].all())

    def empty(self) -> Structures:
        """The structure without terms: choices at random."""
        tied = [usual == 0 and self._can_tie(m) for m, usual in enumerate(self._layout.usual)]
        return Structures(np.zeros((1, self._layout.n_numbers), bool), np.array(tied)[None])

    def neighbours(self, row: Structures) -> Structures:
        """All structures one or two steps away that make sense, without the row itself."""
        row = self.settle(row)
        if not self._steps:
            return row[[]]
        single = [self._apply(row, step) for step in self._steps]
        once = Structures.concatenate(single)
        both = [self._apply(once, step) for step in self._steps]
        found = self.settle(Structures.concatenate([once, *both]))
        found = found[self._makes_sense(found)]
        places = {key: i for i, key in enumerate(found.keys())}
        places.pop(row.keys()[0], None)
        return found[sorted(places.values())]

    def _apply(self, rows: Structures, step: tuple[str, int]) -> Structures:
        free, tied = rows.free.copy(), rows.tied.copy()
        kind, number = step
        if kind == "toggle":
            free[:, number] ^= True
            return Structures(free, tied)
        is_value, own = self._layout.usual[number] == 1, self._library.own[number]
        before = tied[:, number].copy()
        tied[:, number] = kind == "tie"
        if self._layout.can_idle(number):
            both = [self._layout.outcome[number], self._layout.crossed(number)]
            free[:, own] |= tied[:, number] | before
            free[np.ix_(tied[:, number] | before, both)] = kind == "untie"
        elif is_value and kind == "tie":
            free[:, own], free[:, self._layout.outcome[number]] = True, False
        elif not is_value:
            free[:, own] = kind == "untie"
        return Structures(free, tied)

    def settle(self, rows: Structures) -> Structures:
        """Write the same structure in one way only: what shows nowhere takes its usual value."""
        library, usual = self._library, self.empty()
        free, tied = rows.free & self._allowed, rows.tied.copy()
        for state in range(len(library.states)):
            of_state = [m for m, module in enumerate(library.modules) if module.state == state]
            terms = np.flatnonzero(library.state == state)
            alive = free[:, terms[library.powers[terms] == 0]].any(1)
            alive |= tied[:, [m for m in of_state if self._layout.can_idle(m)]].any(1)
            free[np.ix_(~alive, terms)] = False
            for m in of_state:
                tied[~alive, m] = usual.tied[0, m]
                if usual.tied[0, m]:  # both fixed alike is tied
                    tied[:, m] |= ~free[:, [library.own[m], library.own[self._layout.base[m]]]].any(1)
        return Structures(free, tied)

    def _makes_sense(self, rows: Structures) -> np.ndarray:
        """Leave out what the gauge says twice, drifts that nothing holds, and ties of what is not there."""
        library, layout = self._library, self._layout
        driven, sense = layout.driven(rows.free | layout.tied_terms(rows)), np.ones(len(rows), bool)
        for m, module in enumerate(library.modules):
            own, constant, base = library.own[m], library.constant[m], layout.base[m]
            value = library.is_value[module.state]
            own_free = rows.free[:, own] if own >= 0 else np.zeros(len(rows), bool)
            if value and constant >= 0:  # a target needs a pull towards it; outcome-driven modules have their constant
                sense &= ~rows.free[:, constant] | (own_free & ~driven[:, m] & ~rows.tied[:, m])
            if layout.can_idle(m):  # one rate is 0, the other one the value's own coefficient: nothing else moves it
                terms = np.arange(library.first[m], library.first[m + 1])
                sense &= ~rows.tied[:, m] | (own_free & (rows.free[:, terms].sum(1) == 1))
            if value and m != base:  # with two options, learning about the other one is the same model mirrored
                sense &= ~driven[:, m] | driven[:, base]
                sense &= ~(rows.tied[:, m] & rows.free[:, layout.outcome[m]])
                sense &= ~(rows.tied[:, base] & driven[:, m])  # outcomes of one kind lead nowhere
                sense &= ~rows.tied[:, m] | (
                    own_free & rows.free[:, library.own[base]] & rows.free[:, layout.outcome[base]]
                )
            if not value and m != base and self._can_tie(m):
                sense &= ~(rows.tied[:, m] & own_free)
        return sense

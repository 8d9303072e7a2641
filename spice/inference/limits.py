"""Stable equations only: no state grows without bound, whatever inputs follow (DESIGN section 4)."""

from copy import copy

import numpy as np

from spice.inference.build import Problem

FEW_INPUTS = 16  # different inputs of a module: all are looked at; of more, those that limits can depend on
ROUNDING = 1e-9
# half-widths of intervals, in logit units, from which a state must not escape where higher powers of it are present
INTERVALS = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 25.0])
GRID = np.linspace(-1.0, 1.0, 33)


class Limits:
    """What every participant's equations must keep.

    For each input met, a choice trace's multiplier stays within [-1, 1], a value's within [0, 1]: learning and
    forgetting rates above 1 are no mechanism, and what they gain on few choices they lose on others. Where squares or
    higher powers of the state are present, some interval around the start must not be left either, whatever inputs
    follow in whatever order.

    Parameters
    ----------
    problem : Problem
        Candidate terms and trials.

    Attributes
    ----------
    least : np.ndarray, shape (n_modules,)
        Smallest multiplier of each module's state.
    """

    def __init__(self, problem: Problem):
        self._library = problem.library
        states = [module.state for module in self._library.modules]
        self.least = np.where(self._library.is_value[states], 0.0, -1.0)
        groups, modules = range(problem.trials.n_groups), range(len(self._library.modules))
        found = [[_extreme_inputs(problem.places(group, m), self._crossed(m)) for m in modules] for group in groups]
        most = max(max(map(len, row)) for row in found)
        self._inputs = np.zeros((len(groups), len(modules), max(most, 1), len(self._library.factors)))
        self._inputs[..., 0] = 1.0  # the empty product
        for group in groups:
            for module, places in enumerate(found[group]):
                if len(places):
                    self._inputs[group, module] = places[np.arange(self._inputs.shape[2]) % len(places)]

    def of(self, group: np.ndarray) -> "Limits":
        """The limits of other groups, each that of a participant, shape (n_groups,)."""
        found = copy(self)
        found._inputs = self._inputs[group]
        return found

    def _crossed(self, module: int) -> np.ndarray:
        """Products of inputs that stand beside a module's state."""
        library = self._library
        return np.unique(library.factor[(library.module == module) & (library.powers > 0) & library.reads])

    def kept(self, coefficients: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Which rows keep the limits.

        Parameters
        ----------
        coefficients : np.ndarray, shape (n_rows, >= n_terms)
            Coefficients in the search's gauge.
        group : np.ndarray of int, shape (n_rows,)
            Participant of each row.

        Returns
        -------
        np.ndarray of bool, shape (n_rows,)
        """
        library = self._library
        kept = np.ones(len(group), bool)
        for module in range(len(library.modules)):
            multipliers = self._polynomials(coefficients, group, module)[1]
            kept &= ((multipliers >= self.least[module] - ROUNDING) & (multipliers <= 1 + ROUNDING)).all(1)
        powers = coefficients[:, : library.n_terms] * (library.powers > 1) != 0
        for state in range(len(library.states)):
            at = np.flatnonzero(kept & powers[:, library.state == state].any(1))
            if len(at):
                kept[at] = self._cannot_escape(coefficients[at], group[at], state)
        return kept

    def _polynomials(self, coefficients: np.ndarray, group: np.ndarray, module: int) -> list[np.ndarray]:
        """Of each power of the state, its factor at each input, (n_rows, n_inputs)."""
        library = self._library
        terms = np.arange(library.first[module], library.first[module + 1])
        inputs = self._inputs[group, module]
        found = []
        for power in range(max(int(library.powers[terms].max(initial=1)), 1) + 1):
            own = terms[library.powers[terms] == power]
            found.append(np.einsum("rvt,rt->rv", inputs[:, :, library.factor[own]], coefficients[:, own]))
        return found

    def _cannot_escape(self, coefficients: np.ndarray, group: np.ndarray, state: int) -> np.ndarray:
        """Whether some interval around the start holds the state for good."""
        held = np.ones((len(group), len(INTERVALS)), bool)
        for module, entry in enumerate(self._library.modules):
            if entry.state != state:
                continue
            x = INTERVALS[:, None] * GRID  # (n_intervals, n_points)
            after = np.zeros((len(group), self._inputs.shape[2], *x.shape))
            for power, factor in enumerate(self._polynomials(coefficients, group, module)):
                after += factor[:, :, None, None] * x**power
            held &= (np.abs(after).max((1, 3)) <= INTERVALS * (1 + ROUNDING)).reshape(len(group), -1)
        return np.asarray(held.any(1))


def _extreme_inputs(places: np.ndarray, crossed: np.ndarray) -> np.ndarray:
    """Different inputs: all of them, or the corners of what multipliers depend on and the extremes of the rest.

    A multiplier is a linear function of the products that stand beside the state: it is largest at a corner of their
    convex hull.
    """
    from scipy.spatial import ConvexHull, QhullError  # takes a while to import

    different = np.unique(places, axis=0)
    if len(different) <= FEW_INPUTS:
        return different
    rows = [different.argmin(0), different.argmax(0)]
    varying = crossed[np.ptp(different[:, crossed], axis=0) > 0]
    if len(varying) > 1:
        try:
            rows.append(ConvexHull(different[:, varying]).vertices)
        except QhullError:  # they lie in a plane: of such inputs each is looked at
            return different
    return different[np.unique(np.concatenate(rows))]

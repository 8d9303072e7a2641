"""The candidate terms of a whole model, as numbers: which module, which power of the state, which product of inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spice.equations.terms import term_name

REWARDS = ("c_reward", "c_outcome")


@dataclass(frozen=True)
class Module:
    """Candidate terms of one module.

    Attributes
    ----------
    name : str
        The module.
    state : int
        Number of the state that it updates.
    controls : tuple of str
        Signals it reads.
    exponents : tuple of tuple of int
        Of each candidate term, powers of the state's value and of the signals.
    """

    name: str
    state: int
    controls: tuple[str, ...]
    exponents: tuple[tuple[int, ...], ...]


class Library:
    """Candidate terms of all modules, and the biases of the options.

    Parameters
    ----------
    states : sequence of str
        Names of the states.
    modules : sequence of Module
        In the order of their states.
    n_actions : int
        Number of options.

    Attributes
    ----------
    factors : list of tuple of (str, int)
        Products of inputs (name and power) that terms are made of; the first is the empty one.
    first : np.ndarray of int64, shape (n_modules + 1,)
        First term of each module; their number at the end.
    module, powers, factor, state : np.ndarray of int64, shape (n_terms,)
        Of each term.
    own, constant : np.ndarray of int64, shape (n_modules,)
        The term that is the state's value, and the constant; -1 where there is none.
    base : np.ndarray of int64, shape (n_modules,)
        The first module of each module's state.
    outcome : np.ndarray of int64, shape (n_modules,)
        The term that is a module's outcome: one signal, to the first power, without the state; -1 for none.
    """

    def __init__(self, states: Sequence[str], modules: Sequence[Module], n_actions: int):
        self.states, self.modules, self.n_actions = tuple(states), tuple(modules), n_actions
        self.factors: list[tuple[tuple[str, int], ...]] = [()]
        factor, powers = [], []
        for module in modules:
            for power, *others in module.exponents:
                product = tuple((name, p) for name, p in zip(module.controls, others, strict=True) if p)
                if product not in self.factors:
                    self.factors.append(product)
                factor.append(self.factors.index(product))
                powers.append(power)
        sizes = [len(module.exponents) for module in modules]
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.module = np.repeat(np.arange(len(modules)), sizes)
        self.powers, self.factor = np.array(powers, np.int64), np.array(factor, np.int64)
        self.state = np.array([module.state for module in modules], np.int64)[self.module]
        self.own = self._find(1)
        self.constant = self._find(0)
        states_updated = [module.state for module in modules]
        self.base = np.array([states_updated.index(state) for state in states_updated], np.int64)
        self.outcome = np.array([self._outcome(module) for module in range(len(modules))], np.int64)

    def _find(self, power: int) -> np.ndarray:
        """Each module's term that is this power of the state alone; -1 where there is none."""
        found = np.full(len(self.modules), -1)
        for term in np.flatnonzero((self.powers == power) & (self.factor == 0)):
            found[self.module[term]] = term
        return found

    def _outcome(self, module: int) -> int:
        """A module's outcome: a reward, or else its first signal; of others one that the first module does not read."""
        terms = np.flatnonzero((self.module == module) & self.reads & (self.powers == 0)).tolist()
        products = {term: self.factors[self.factor[term]] for term in terms}
        signals = {term: product[0][0] for term, product in products.items() if len(product) == 1 == product[0][1]}
        common = self.modules[self.base[module]].controls if module != self.base[module] else ()
        own = {term: name for term, name in signals.items() if name not in common} or signals
        rewards = [term for term, name in own.items() if name in REWARDS]
        return next(iter(rewards or own), -1)

    def outcome_signal(self, module: int) -> str:
        """The signal of a module that has an outcome."""
        return self.factors[self.factor[self.outcome[module]]][0][0]

    @property
    def n_terms(self) -> int:
        """Number of terms."""
        return len(self.powers)

    @cached_property
    def names(self) -> list[str]:
        """Each term's name, as in `Equation.coefficients`."""
        return [
            term_name((module.name, *module.controls), exponents)
            for module in self.modules
            for exponents in module.exponents
        ]

    @cached_property
    def reads(self) -> np.ndarray:
        """Whether a term has an input in it, shape (n_terms,)."""
        return self.factor > 0

    @cached_property
    def is_value(self) -> np.ndarray:
        """Whether a state is a value (some module of it reads inputs) or a choice trace, shape (n_states,)."""
        values = np.zeros(len(self.states), bool)
        values[self.state[self.reads]] = True
        return values

"""Equations in network modules' places, with the same call signature."""

from collections.abc import Mapping
from copy import deepcopy

import torch

from spice.equations.equation import Equation, unite_terms
from spice.equations.terms import CONSTANT, term_exponents
from spice.resources.modules import StateUpdate
from spice.resources.rnn import BaseRNN

# A diverging equation stays finite (so that probabilities exist); it is reported by a StabilityWarning.
STATE_LIMIT = 1e4


class EquationModule(StateUpdate):
    """Equations of one module for many participants: coefficients are looked up by participant.

    Parameters
    ----------
    equations : mapping of int to Equation
        Equation of each participant number; all of the same module.
    n_participants : int
        Number of rows; participants without an equation give NaN.
    """

    def __init__(self, equations: Mapping[int, Equation], n_participants: int):
        super().__init__()
        features = next(iter(equations.values())).features
        others = [term for term in unite_terms(equations.values(), features) if term != CONSTANT]
        self.terms = [CONSTANT, *others]  # the sum starts from the constant, be it 0
        self.exponents = [term_exponents(features, term) for term in self.terms]
        table = torch.full((n_participants, len(self.terms)), torch.nan, dtype=torch.float64)
        for participant, equation in equations.items():
            row = [equation.coefficients.get(term, 0.0) for term in self.terms]
            table[participant] = torch.tensor(row, dtype=torch.float64)
        self.coefficients: torch.Tensor
        self.register_buffer("coefficients", table)

    def prepare(
        self, value: torch.Tensor, embedding: torch.Tensor | None, participant: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Coefficients by term, each of the value's shape."""
        rows = self.coefficients[participant].to(value.dtype).T
        return rows.unsqueeze(-1).expand(-1, *value.shape).contiguous().unbind(0)

    def update(self, value: torch.Tensor, inputs: torch.Tensor, prepared: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """As `StateUpdate.update`."""
        next_value, *coefficients = prepared
        factors = (value, *inputs.unbind(-1))
        for coefficient, powers in zip(coefficients, self.exponents[1:], strict=True):
            next_value = torch.addcmul(next_value, coefficient, _monomial(factors, powers))
        return next_value.clamp(-STATE_LIMIT, STATE_LIMIT)


def _monomial(factors: tuple[torch.Tensor, ...], powers: tuple[int, ...]) -> torch.Tensor:
    present = [f if power == 1 else f**power for f, power in zip(factors, powers, strict=True) if power]
    product = present[0]
    for factor in present[1:]:
        product = product * factor
    return product


def with_equations(model: BaseRNN, equations: Mapping[int, Mapping[str, Equation]]) -> BaseRNN:
    """A copy of a model with equations in its modules' place.

    Parameters
    ----------
    model : BaseRNN
        The network.
    equations : mapping of int to mapping of str to Equation
        By participant number, then by module: the same modules for everyone.
    """
    copy = deepcopy(model).eval()
    modules = next(iter(equations.values()))
    rows = {name: {participant: entry[name] for participant, entry in equations.items()} for name in modules}
    copy.integrate_equations({name: EquationModule(row, model.n_participants) for name, row in rows.items()})
    return copy.to(next(model.parameters()).device)

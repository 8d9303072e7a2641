"""An equation in a network module's place, with the same call signature."""

from collections.abc import Mapping

import torch
from torch import nn

from spice.equations.equation import Equation, unite_terms
from spice.equations.terms import term_exponents

# A diverging equation stays finite (so that probabilities exist); it is reported by a StabilityWarning.
STATE_LIMIT = 1e4


class EquationModule(nn.Module):
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
        self.terms = unite_terms(equations.values(), features)
        self.exponents = [term_exponents(features, term) for term in self.terms]
        table = torch.full((n_participants, len(self.terms)), torch.nan, dtype=torch.float64)
        for participant, equation in equations.items():
            row = [equation.coefficients.get(term, 0.0) for term in self.terms]
            table[participant] = torch.tensor(row, dtype=torch.float64)
        known = torch.zeros(n_participants, dtype=torch.bool)
        known[list(equations)] = True
        self.coefficients: torch.Tensor
        self.known: torch.Tensor
        self.register_buffer("coefficients", table)
        self.register_buffer("known", known)

    def forward(
        self,
        value: torch.Tensor,
        inputs: torch.Tensor,
        embedding: torch.Tensor | None = None,
        participant: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Next value of the state; arguments and result as in ``UpdateModule.forward``."""
        rows = self.coefficients[participant].to(value.dtype)
        factors = (value, *inputs.unbind(-1))
        next_value = torch.where(self.known[participant].unsqueeze(-1), 0.0, torch.nan).to(value.dtype) + 0 * value
        for index, powers in enumerate(self.exponents):
            product = rows[:, index, None]
            for factor, power in zip(factors, powers, strict=True):
                if power:
                    product = product * (factor if power == 1 else factor**power)
            next_value = next_value + product
        return next_value.clamp(-STATE_LIMIT, STATE_LIMIT)

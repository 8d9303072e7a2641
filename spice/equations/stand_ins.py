"""Symbols in the place of a model's numbers: coefficients, scaling parameters, biases, parameters of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
import torch
from torch import nn

from spice.equations.module import EquationModule
from spice.equations.parsing import symbol
from spice.equations.symbol_array import SymbolArray, Tape
from spice.equations.terms import CONSTANT
from spice.errors import ModelFormError
from spice.resources.modules import OptionBias
from spice.resources.rnn import BaseRNN

LARGEST = 16  # entries of a tensor that become parameters
EMBEDDING = "embedding@"
REPLACED = ("submodules_rnn", "submodules_sindy", "betas", "bias", "participant_embedding")


class Named:
    """Parameters found so far, with their values.

    Parameters
    ----------
    taken : sequence of str
        Names that they must not have.

    Attributes
    ----------
    values : dict of str to np.ndarray, each (n_participants,)
        Values by name.
    sources : dict of str to (str, str) or None
        What they stand for, as in `Parameter`.
    tape : Tape
        What numbers the arrays of a run.
    """

    def __init__(self, taken: Sequence[str]):
        self._taken = set(taken)
        self.values: dict[str, np.ndarray] = {}
        self.sources: dict[str, tuple[str, str] | None] = {}
        self.tape = Tape()

    def add(self, name: str, values: Any, source: tuple[str, str] | None = None) -> sympy.Symbol:
        """A symbol for these values, by this name or one like it."""
        name = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")
        free, number = name, 2
        while free in self._taken:
            free, number = f"{name}_{number}", number + 1
        self._taken.add(free)
        self.values[free], self.sources[free] = np.asarray(values, dtype=float), source
        return symbol(free)

    def array(self, entries: Any) -> SymbolArray:
        """A tensor of symbols."""
        return SymbolArray(entries, self.tape)


def put_symbols(model: BaseRNN, participants: Sequence[int], named: Named) -> None:
    """Change a model so that its numbers are symbols.

    Parameters
    ----------
    model : BaseRNN
        A copy that is of no other use.
    participants : sequence of int
        Numbers of the participants whose values are kept.
    named : Named
        Where the parameters are named.
    """
    rows = torch.as_tensor(list(participants))
    with torch.no_grad():
        _replace_betas(model, rows, named)
        _replace_bias(model, rows, named)
    equations = {}
    for name in model.submodules_rnn:
        module = model.submodules_sindy[name] if name in model.submodules_sindy else None
        equation = isinstance(module, EquationModule)
        equations[name] = _Polynomial(name, module, rows, named) if equation else _NoEquation(name)  # type: ignore
    model.submodules_sindy = nn.ModuleDict(equations)
    if len(rows) > 1 and hasattr(model, "participant_embedding"):
        model.participant_embedding = _Embedding(model.embedding_size, named)
    own = [(path, module) for path, module in model.named_modules() if path.split(".")[0] not in REPLACED]
    for path, module in own:
        _replace_parameters(path, module, len(rows), named)


def _replace_betas(model: BaseRNN, rows: torch.Tensor, named: Named) -> None:
    for state, values in model.scaling_values(rows).items():
        name = "beta" if len(model.betas) == 1 else f"beta_{state.removeprefix('x_')}"
        model.betas[state] = _Constant(np.array([[named.add(name, values[:, 0], ("beta", state))]]), named)


def _replace_bias(model: BaseRNN, rows: torch.Tensor, named: Named) -> None:
    """Biases relative to option 0's: only differences count."""
    bias = getattr(model, "bias", None)
    if not isinstance(bias, OptionBias):
        return
    embedding = model.embed(rows)
    values = bias(embedding, rows).expand(len(rows), model.n_actions).double().numpy()
    names = ["bias"] if model.n_actions == 2 else [f"bias_{k}" for k in range(1, model.n_actions)]
    relative = values[:, 1:] - values[:, :1]
    entries = [named.add(n, relative[:, k], ("bias", f"bias_{k + 1}")) for k, n in enumerate(names)]
    model.bias = _Constant(np.array([[sympy.Integer(0), *entries]]), named)  # type: ignore[assignment]


def _replace_parameters(path: str, module: nn.Module, n_rows: int, named: Named) -> None:
    """A model's own parameters, the same for everybody."""
    for name, value in list(module.named_parameters(recurse=False)):
        if value.numel() > LARGEST:
            continue
        label = "_".join(part for part in (path.replace(".", "_"), name) if part)
        flat = value.detach().double().reshape(-1).tolist()
        symbols = [
            named.add(label if len(flat) == 1 else f"{label}_{k}", np.full(n_rows, entry))
            for k, entry in enumerate(flat)
        ]
        delattr(module, name)
        object.__setattr__(module, name, named.array(np.array(symbols, dtype=object).reshape(value.shape)))


class _Constant(nn.Module):
    """The same symbols in every trial."""

    def __init__(self, entries: np.ndarray, named: Named):
        super().__init__()
        self._entries, self._named = entries, named

    def forward(self, *_: Any) -> SymbolArray:
        return self._named.array(self._entries)


class _Embedding(nn.Module):
    """Participant embeddings: to be passed on to modules, and for nothing else."""

    def __init__(self, size: int, named: Named):
        super().__init__()
        self._size, self._named = size, named

    def forward(self, participants: torch.Tensor) -> SymbolArray:
        entries = np.array([sympy.Symbol(f"{EMBEDDING}{k}") for k in range(self._size)], dtype=object)
        return self._named.array(np.broadcast_to(entries, (*participants.shape, self._size)))


class _NoEquation(nn.Module):
    """A network that no equation stands in for."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def forward(self, *_: Any) -> SymbolArray:
        raise ModelFormError(f"its module {self._name!r} has no equation.")


class _Polynomial(nn.Module):
    """An equation with named coefficients; a state carried on as it is has none."""

    def __init__(self, name: str, module: EquationModule, rows: torch.Tensor, named: Named):
        super().__init__()
        self._named = named
        self._terms: list[tuple[sympy.Expr, tuple[int, ...]]] = []
        table = module.coefficients[rows].double().numpy()
        for term, powers, values in zip(module.terms, module.exponents, table.T, strict=True):
            if (values == 0).all():
                continue
            untouched = term == name and (values == 1).all()
            weight = sympy.Integer(1) if untouched else named.add(_coefficient_name(name, term), values, (name, term))
            self._terms.append((weight, tuple(powers)))

    def forward(self, value: Any, inputs: Any, *_: Any) -> SymbolArray:
        value, inputs = (part if isinstance(part, SymbolArray) else self._array(part) for part in (value, inputs))
        factors = [value.entries, *np.moveaxis(inputs.entries, -1, 0)]
        total = np.full(value.entries.shape, sympy.Integer(0), dtype=object)
        for weight, powers in self._terms:
            product = weight
            for factor, power in zip(factors, powers, strict=True):
                product = product * factor**power if power else product
            total = total + product
        return self._named.array(total)

    def _array(self, tensor: torch.Tensor) -> SymbolArray:
        numbers = [sympy.nsimplify(x) if float(x).is_integer() else sympy.Float(x) for x in tensor.reshape(-1).tolist()]
        return self._named.array(np.array(numbers, dtype=object).reshape(tuple(tensor.shape)))


def _coefficient_name(module: str, term: str) -> str:
    """A module's name and what the coefficient is a factor of: ``value_reward_chosen_self`` of the state itself."""
    if term == CONSTANT:
        return f"{module.removeprefix('x_')}_constant"
    parts = []
    for factor in term.split(" "):
        name, _, power = factor.partition("^")
        parts.append(("self" if name == module else name.removeprefix("c_").removeprefix("x_")) + power)
    return "_".join([module.removeprefix("x_"), *parts])

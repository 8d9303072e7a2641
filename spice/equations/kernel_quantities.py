"""What a compiled likelihood carries from trial to trial: quantities, their derivatives, and where these lie."""

from dataclasses import dataclass

import numpy as np
import sympy

from spice.equations.latex import PREVIOUS
from spice.equations.model_parts import Line
from spice.equations.parsing import Softmax, symbol
from spice.equations.parts import cell_name
from spice.equations.reading import groupings
from spice.equations.sensitivities import Over, Sensitivities, part, parted_line
from spice.equations.symbolic import SymbolicModel

SIGNALS = {  # with their names in the source
    "reward": "received",
    "outcome": "brought",
    "chosen": "chosen",
    "known": "known",
    "option": "option",
    "n_actions": "n_offered",
}


@dataclass(frozen=True)
class Block:
    """Where a quantity lies: its value, then its derivatives.

    Attributes
    ----------
    offset : int
        Where the value begins.
    size : int
        Numbers of the value and of each derivative.
    form : {"cells", "option", "one"}
        One for each cell and option, for each option, or a single one.
    grouping : int
        Number of the shown inputs by which there are cells; -1 where there are none.
    """

    offset: int
    size: int
    form: str
    grouping: int = -1


class Quantities:
    """All quantities of a model.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    n_actions : int
        Number of options.
    order : {0, 1, 2}
        Highest derivatives.

    Attributes
    ----------
    flow : Sensitivities
        Their derivatives.
    initial : dict of str to sympy.Expr
        Start values of states.
    let : dict of str to Parted
        Intermediate values.
    lines : list of (Line, list of Over)
        Updates, with the functions of all options that they read.
    held : dict of str to sympy.Symbol
        Copies of cells that updates read while they change all of them.
    choices : list of Parted
        Logits or probabilities of the options, by kind of trial.
    previous : list of str
        States whose value before the trial is read.
    groupings : list of tuple of str
        Shown inputs by which states have cells.
    names : dict of sympy.Symbol to sympy.Symbol
        What everything is called in the source.
    places : dict of str to (str, int)
        Of what lies in ``x``, by its name in the source: which quantity's it is, and which of its parts.
    blocks : dict of str to Block
        Where quantities lie in ``x``.
    size : int
        Length of ``x``.
    """

    def __init__(self, model: SymbolicModel, n_actions: int, order: int):
        self._model, self._n_actions = model, n_actions
        number = {symbol("n_actions"): sympy.Integer(n_actions)}  # in choices it counts what is on offer
        self.groupings = groupings(model)
        self.flow = Sensitivities(list(model.parameters), order)
        self.initial = {name: part([start.xreplace(number)], "").rest[0] for name, start in model.initial.items()}
        lets = {name: value.xreplace(number) for name, value in model.let.items()}
        self.let = {name: part([value], f"let{k}") for k, (name, value) in enumerate(lets.items())}
        self.held: dict[str, sympy.Symbol] = {}
        self.lines = [self._parted(line.xreplace(number), f"line{k}") for k, line in enumerate(model.lines())]
        self.choices = [part(c.expressions, f"choice{k}") for k, c in enumerate(model.choices(n_actions))]
        self.previous = model.uses_previous()
        self._find()
        self.names, self.places = self._called()
        self.blocks, self.size = self._laid_out()

    def _parted(self, line: Line, name: str) -> tuple[Line, list[Over]]:
        """A line; where it sets all cells, it reads copies of those that it names: they change on the way."""
        line, overs = parted_line(line, name)
        if line.everywhere is None:
            return line, overs
        cells = [symbol(cell_name(line.state, levels)) for levels in self._levels(line.state)]
        read = [cell for cell in cells if cell in line.everywhere.expression.free_symbols]
        copies = {cell: symbol(f"{name}.cell{k}") for k, cell in enumerate(read)}
        self.held |= {copy.name: cell for cell, copy in copies.items()}
        return line.xreplace(copies), overs

    def _find(self) -> None:
        """All quantities and how they are set."""
        flow = self.flow
        for name, start in self.initial.items():
            flow.add(name, start)
            for levels in self._levels(name):
                flow.add(cell_name(name, levels), name)
        for name in self.previous:
            flow.add(PREVIOUS + name, name)
        for name, parted in self.let.items():
            flow.add(name, *parted.rest)
        for name, cell in self.held.items():
            flow.add(name, cell)
        for line, _ in self.lines:
            branches = [b for b in (line.chosen, line.unchosen, line.everywhere) if b is not None]
            flow.add(line.state, *(branch.expression for branch in branches))
        for over in self._overs():
            flow.add_over(over)
        flow.find()

    def _overs(self) -> list[Over]:
        groups = [p.overs for p in self.let.values()] + [overs for _, overs in self.lines]
        return [over for group in [*groups, *(p.overs for p in self.choices)] for over in group]

    def _levels(self, state: str) -> list[tuple[int, ...]]:
        by = self._model.states[state].by
        return list(np.ndindex(*(int(self._model.shown[name] or 1) for name in by))) if by else []

    def _called(self) -> tuple[dict[sympy.Symbol, sympy.Symbol], dict[str, tuple[str, int]]]:
        """Short names, which do not depend on those of the model."""
        model = self._model
        names = {symbol(name): sympy.Symbol(f"p{k}") for k, name in enumerate(model.parameters)}
        names |= {symbol(name): sympy.Symbol(f"u{k}") for k, name in enumerate(model.columns)}
        names |= {symbol(f"{name}_lag{n}"): sympy.Symbol(f"v{k}") for k, (name, n) in enumerate(model.lagged)}
        names |= {symbol(name): sympy.Symbol(local) for name, local in SIGNALS.items()}
        places: dict[str, tuple[str, int]] = {}
        for count, (quantity, parts) in enumerate(self.flow.quantities.items()):
            for place, entry in enumerate(parts):
                local = "_".join([f"x{count}", *entry.name.removeprefix(quantity).split("@")[1:]])
                names[entry] = sympy.Symbol(local)
                places[local] = (quantity, place)
        return names, places

    def _laid_out(self) -> tuple[dict[str, Block], int]:
        blocks: dict[str, Block] = {}
        size, n = 0, self._n_actions
        scalars = {over.name for over in self._overs() if over.kind is not Softmax}
        for name, parts in self.flow.quantities.items():
            state = name.partition("[")[0]
            if state != name:  # in one cell: where the state's cell lies
                own = blocks[state]
                cell = [cell_name(state, levels) for levels in self._levels(state)].index(name)
                blocks[name] = Block(own.offset + cell * n, own.size, "option")
                continue
            state = name.removeprefix(PREVIOUS)
            if state in self._model.states:
                by = self._model.states[state].by
                grouping = self.groupings.index(by) if by else -1
                block = Block(size, n * self._model.n_cells(state), "cells" if by else "option", grouping)
            else:
                block = Block(size, 1, "one") if name in scalars else Block(size, n, "option")
            blocks[name] = block
            size += block.size * len(list(parts))
        return blocks, size

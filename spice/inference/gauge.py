"""From the search's gauge, in which every state starts at 0 with readout 1 and inputs have units, to the network's."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import comb, prod

import numpy as np

from spice.equations import Equation
from spice.equations.terms import term_name
from spice.inference.library import Library
from spice.inference.units import Unit

NOTHING = 1e-12


def network_equations(
    library: Library,
    coefficients: np.ndarray,
    units: Mapping[str, Unit],
    inputs: Mapping[str, tuple[str, ...]],
    starts: np.ndarray,
    readout: np.ndarray,
) -> dict[str, Equation]:
    """Equations of one participant in the network's gauge: x = start + x̃ / readout, s = offset + size s̃.

    Parameters
    ----------
    library : Library
        Terms.
    coefficients : np.ndarray, shape (>= n_terms,)
        Coefficients in the search's gauge.
    units : mapping of str to Unit
        In which units the search measures signals.
    inputs : mapping of str to tuple of str
        Signals of each module, as equations name them.
    starts, readout : np.ndarray, shape (n_states,)
        Start values, and the factor of each state in the logits.

    Returns
    -------
    dict of str to Equation
        By module.
    """
    equations = {}
    for number, module in enumerate(library.modules):
        start, scale = float(starts[module.state]), float(readout[module.state])
        features = (module.name, *module.controls)
        measured = [Unit(start, 1 / scale), *(units[name] for name in module.controls)]
        total: dict[tuple[int, ...], float] = {(0,) * len(features): start}
        for term, exponents in enumerate(module.exponents, library.first[number]):
            for key, factor in _expanded(exponents, measured):
                total[key] = total.get(key, 0.0) + coefficients[term] / scale * factor
        found = {term_name(features, key): value for key, value in total.items() if abs(value) > NOTHING}
        ordered = sorted(found, key=lambda name: (name != "1", name.count(" ") + name.count("^"), name != module.name))
        equations[module.name] = Equation(
            module.name, tuple(inputs[module.name]), {name: float(found[name]) for name in ordered}
        )
    return equations


def _expanded(exponents: Sequence[int], units: Sequence[Unit]) -> Iterator[tuple[tuple[int, ...], float]]:
    """A product of powers of (x - offset) / size, multiplied out: exponents of x, and factors."""
    for powers in product(*(range(power + 1) for power in exponents)):
        yield (
            powers,
            prod(
                comb(power, k) * (-unit.offset) ** (power - k) / unit.size**power
                for power, k, unit in zip(exponents, powers, units, strict=True)
            ),
        )

"""From the search's gauge, in which every state starts at 0 with readout 1, to the network's."""

from collections.abc import Mapping
from math import comb

import numpy as np

from spice.equations import Equation
from spice.equations.terms import term_name
from spice.inference.library import Library

NOTHING = 1e-12


def network_equations(
    library: Library,
    coefficients: np.ndarray,
    inputs: Mapping[str, tuple[str, ...]],
    starts: np.ndarray,
    readout: np.ndarray,
) -> dict[str, Equation]:
    """Equations of one participant in the network's gauge: x = start + x̃ / readout.

    Parameters
    ----------
    library : Library
        Terms.
    coefficients : np.ndarray, shape (>= n_terms,)
        Coefficients in the search's gauge.
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
        start, scale = starts[module.state], readout[module.state]
        features = (module.name, *module.controls)
        total: dict[tuple[int, ...], float] = {(0,) * len(features): start}
        for term in range(library.first[number], library.first[number + 1]):
            power, *others = module.exponents[term - library.first[number]]
            weight = coefficients[term] * scale ** (power - 1)
            for k in range(power + 1):  # (x - start) ** power
                key = (k, *others)
                total[key] = total.get(key, 0.0) + weight * comb(power, k) * (-start) ** (power - k)
        found = {term_name(features, key): value for key, value in total.items() if abs(value) > NOTHING}
        ordered = sorted(found, key=lambda name: (name != "1", name.count(" ") + name.count("^"), name != module.name))
        equations[module.name] = Equation(
            module.name, tuple(inputs[module.name]), {name: float(found[name]) for name in ordered}
        )
    return equations

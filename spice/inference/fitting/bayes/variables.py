"""Names of a posterior's variables and their elements."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from spice.equations.model_parts import EFFECT, ENDINGS


def population_ending(name: str, variables: Collection[str]) -> str:
    """Which of ``_mean``, ``_sd`` and ``_effect`` a population's number has; "" of a model's parameter."""
    return next((end for end in ENDINGS if name.endswith(end) and name.removesuffix(end) in variables), "")


def element_names(
    posterior: Mapping[str, np.ndarray], labels: Sequence[Any], regressors: Sequence[str]
) -> dict[str, list[str]]:
    """Names of each variable's elements, such as ``alpha[anna]``.

    Parameters
    ----------
    posterior : mapping of str to np.ndarray, shape (n_chains, n_draws) or (n_chains, n_draws, n_elements)
        Draws by variable.
    labels, regressors : sequence
        Of participants, and names of regressors.
    """
    found = {}
    for name, values in posterior.items():
        own = regressors if population_ending(name, posterior.keys()) == EFFECT else labels
        found[name] = [name] if values.ndim == 2 else [f"{name}[{entry}]" for entry in own]
    return found

"""Names of a posterior's variables and their elements."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

MEAN, SD, EFFECT = ENDINGS = ("_mean", "_sd", "_effect")  # of a population's numbers: alpha_mean is that of alpha
DIMENSIONS = ("chain", "draw", "participant", "trial", "regressor", "choice")  # of posteriors, and what they predict


def population_ending(name: str, variables: Collection[str]) -> str:
    """Which of ``_mean``, ``_sd`` and ``_effect`` a population's number has; "" of a model's parameter."""
    for end in ENDINGS:
        base = name.removesuffix(end)
        if base != name and base in variables and not population_ending(base, variables):
            return end
    return ""


def taken_names(parameters: Collection[str]) -> Iterator[str]:
    """What is wrong with names of parameters that a posterior uses for something else."""
    for name in parameters:
        for end in ENDINGS:
            if name.endswith(end) and (whose := name.removesuffix(end)) in parameters:
                yield f"posteriors call a number of the population of {whose!r} {name!r}, like a parameter; rename one."
        if name in DIMENSIONS:
            yield f"the parameter {name!r} has the name of a dimension of posteriors; rename it."


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

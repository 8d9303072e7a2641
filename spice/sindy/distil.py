"""Distil a network's modules into sparse equations, one set per participant."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from pysindy.optimizers import BaseOptimizer

from spice.equations import Equation
from spice.equations.terms import evaluate_terms, polynomial_exponents, term_name
from spice.errors import DataError, LibraryWarning
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.sindy.regression import independent_columns, sparse_regression
from spice.sindy.samples import ModuleSamples, collect_samples
from spice.sindy.stability import hold_stable, multiplier_rows, warn_if_unstable


def distil(
    model: BaseRNN,
    config: SpiceConfig,
    dataset: DatasetRNN,
    participants: Sequence[int],
    degree: int = 1,
    optimizer: str | BaseOptimizer = "STLSQ",
    threshold: float = 0.05,
) -> dict[int, dict[str, Equation]]:
    """Sparse equations of every module for every participant.

    Parameters
    ----------
    model : BaseRNN
        The fitted network.
    config : SpiceConfig
        Modules, signals, filters and libraries.
    dataset : DatasetRNN
        The sessions on which the network is run: the data themselves, or probes.
    participants : sequence of int
        Participant numbers to distil.
    degree : int, default 1
        Degree of the polynomial libraries.
    optimizer : str or pysindy optimizer, default "STLSQ"
        How to sparsify.
    threshold : float, default 0.05
        Terms whose root-mean-square contribution to the logits is smaller are dropped.

    Returns
    -------
    dict of int to dict of str to Equation
        By participant, then by module.

    Raises
    ------
    DataError
        If a participant has no samples for a module.
    """
    samples = collect_samples(model, config, dataset)
    longest = {p: int(dataset.observed[dataset.participants == p].sum(1).max()) for p in participants}
    multipliers: list[tuple[object, str, float, int]] = []
    with torch.no_grad():
        scaling = model.scaling_values(torch.as_tensor(list(participants)))
    equations: dict[int, dict[str, Equation]] = {participant: {} for participant in participants}
    for module in config.rnn_modules:
        betas = scaling.get(samples[module].state or "")
        exponents = polynomial_exponents(
            1 + len(config.library(module)), config.degree(module, degree), config.has_constant(module)
        )
        merged: dict[str, list[str]] = {}
        for row, participant in enumerate(participants):
            own = samples[module].of(participant)
            if not len(own.next_value):
                raise DataError(
                    f"participant {dataset.label('participant', participant)!r} has no samples for the module "
                    f"{module!r}: "
                    "its filter is never fulfilled in their trials. Leave the participant out, or correct filter_setup."
                )
            beta = 1.0 if betas is None else betas[row].item()
            features = (module, *config.library(module))
            coefficients, multiplier = _fit_module(own, features, exponents, beta, optimizer, threshold, merged)
            equations[participant][module] = Equation(module, config.inputs(module), coefficients)
            multipliers.append((dataset.label("participant", participant), module, multiplier, longest[participant]))
        _notify(module, merged)
    warn_if_unstable(multipliers)
    return equations


def _fit_module(
    samples: ModuleSamples,
    features: tuple[str, ...],
    exponents: np.ndarray,
    beta: float,
    optimizer: str | BaseOptimizer,
    threshold: float,
    merged: dict[str, list[str]],
) -> tuple[dict[str, float], float]:
    """Coefficients of one module and participant, and the multiplier it would have had without limits.

    Thresholds act in the logits' units (state times beta).
    """
    library = evaluate_terms(samples.features, exponents)
    names = [term_name(features, row) for row in exponents]
    # a state that never moves equals the constant: the state is kept, "unchanged" being no discovery
    order = np.array(sorted(range(len(names)), key=lambda column: names[column] != features[0]))
    kept, dependent = independent_columns(library, order)
    for column, others in dependent.items():
        merged.setdefault(names[column], [names[other] for other in others])
    least_effect = threshold / max(abs(beta), np.finfo(float).tiny)
    values = sparse_regression(library[:, kept], samples.next_value, optimizer, least_effect)
    rows = multiplier_rows(samples.features, exponents[kept])
    multipliers = rows @ values
    held = hold_stable(library[:, kept], samples.next_value, values, rows)
    coefficients = {names[column]: float(value) for column, value in zip(kept, held, strict=True) if value != 0}
    return coefficients, float(multipliers[np.abs(multipliers).argmax()])


def _notify(module: str, merged: dict[str, list[str]]) -> None:
    """Say which candidate terms the data cannot tell apart."""
    if not merged:
        return
    texts = [
        f"{term} (= {' and '.join(others)})" if others else f"{term} (always 0)" for term, others in merged.items()
    ]
    warnings.warn(
        f"the library of {module!r} holds terms that the data cannot tell from others; they were left out: "
        f"{', '.join(texts)}.",
        LibraryWarning,
        stacklevel=3,
    )

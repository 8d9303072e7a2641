"""Distil a network's modules into sparse equations, one set per participant."""

import warnings
from collections.abc import Collection, Mapping, Sequence

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

TAME = 0.9  # largest multiplier where an equation diverged at 1: constants must not pile up either
LONGEST_MEMORY = 0.1  # share of a value lost per trial below which memory no longer lowers the threshold


def distil(
    model: BaseRNN,
    config: SpiceConfig,
    dataset: DatasetRNN,
    participants: Sequence[int],
    degree: int = 1,
    optimizer: str | BaseOptimizer = "STLSQ",
    threshold: float = 0.05,
    session_lengths: Mapping[int, int] | None = None,
    linear: Collection[tuple[int, str]] = (),
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
        Terms whose root-mean-square contribution to the logits, added up over a state's memory, is smaller are
        dropped. Optimizers that are given as objects have thresholds of their own.
    session_lengths : mapping of int to int, optional
        Trials of each participant's longest session, over which equations must not grow; default is from the data.
    linear : collection of (int, str)
        Participants and modules whose libraries hold no higher powers of the state and whose multipliers are held
        within [-0.9, 0.9]: those whose equations diverged.

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
    session_lengths = longest_sessions(dataset) if session_lengths is None else session_lengths
    multipliers: list[tuple[object, str, float, int]] = []
    with torch.no_grad():
        scaling = model.scaling_values(torch.as_tensor(list(participants)))
    equations: dict[int, dict[str, Equation]] = {participant: {} for participant in participants}
    for module in config.rnn_modules:
        betas = scaling.get(samples[module].state or "")
        exponents = polynomial_exponents(
            1 + len(config.library(module)), config.degree(module, degree), config.has_constant(module)
        )
        merged: dict[str, list] = {}
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
            tame = (participant, module) in linear
            powers, limit = (exponents[exponents[:, 0] <= 1], TAME) if tame else (exponents, 1.0)
            coefficients, multiplier, dependent = _fit_module(own, features, powers, beta, optimizer, threshold, limit)
            equations[participant][module] = Equation(module, config.inputs(module), coefficients)
            label = dataset.label("participant", participant)
            multipliers.append((label, module, multiplier, session_lengths[participant]))
            for sentence in dependent:
                merged.setdefault(sentence, []).append(label)
        _notify(module, merged, len(participants))
    warn_if_unstable(multipliers)
    return equations


def longest_sessions(dataset: DatasetRNN) -> dict[int, int]:
    """Trials of each participant's longest session."""
    trials = dataset.observed.sum(1)
    return {p: int(trials[dataset.participants == p].max()) for p in dataset.participants.unique().tolist()}


def _fit_module(
    samples: ModuleSamples,
    features: tuple[str, ...],
    exponents: np.ndarray,
    beta: float,
    optimizer: str | BaseOptimizer,
    threshold: float,
    limit: float,
) -> tuple[dict[str, float], float, list[str]]:
    """Coefficients of one module and participant, the multiplier without limits, and the terms that were left out.

    Thresholds act in the logits' units (state times beta), on what a term adds up to: a state that carries the share a
    of its value lets a contribution grow to 1 / (1 - |a|) times its size, so slow learning is not taken for none.
    """
    library = evaluate_terms(samples.features, exponents)
    names = [term_name(features, row) for row in exponents]
    # a state that never moves equals the constant: the state is kept, "unchanged" being no discovery
    order = np.array(sorted(range(len(names)), key=lambda column: names[column] != features[0]))
    kept, dependent = independent_columns(library, order)
    left_out = [
        f"{names[column]} (= {' and '.join(names[other] for other in others)})"
        if others
        else f"{names[column]} (always 0)"
        for column, others in dependent.items()
    ]
    rows = multiplier_rows(samples.features, exponents[kept])
    carried = np.abs(rows @ np.linalg.lstsq(library[:, kept], samples.next_value, rcond=None)[0]).max(initial=0.0)
    least_effect = threshold * max(1 - carried, LONGEST_MEMORY) / max(abs(beta), np.finfo(float).tiny)
    values = sparse_regression(library[:, kept], samples.next_value, optimizer, least_effect)
    multipliers = rows @ values
    held = hold_stable(library[:, kept], samples.next_value, values, rows, limit)
    coefficients = {names[column]: float(value) for column, value in zip(kept, held, strict=True) if value != 0}
    return coefficients, float(multipliers[np.abs(multipliers).argmax()]), left_out


def _notify(module: str, merged: dict[str, list], n_participants: int) -> None:
    """Say which candidate terms the data cannot tell apart, and for whom."""
    if not merged:
        return
    texts = [
        sentence
        if len(labels) == n_participants
        else f"{sentence} for participant(s) {', '.join(map(repr, labels[:5]))}{' ...' if len(labels) > 5 else ''}"
        for sentence, labels in merged.items()
    ]
    warnings.warn(
        f"the library of {module!r} holds terms that the data cannot tell from others; they were left out: "
        f"{', '.join(texts)}.",
        LibraryWarning,
        stacklevel=4,
    )

"""Distil a network's modules into sparse equations, one set per participant."""

import warnings
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from pysindy.optimizers import BaseOptimizer

from spice.equations import Equation
from spice.equations.terms import polynomial_exponents
from spice.errors import DataError, LibraryWarning
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.sindy.problems import Problem, pose_problems, solve
from spice.sindy.samples import ModuleSamples, collect_samples
from spice.sindy.stability import warn_if_unstable
from spice.sindy.workers import run_jobs


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
    samples: Mapping[str, ModuleSamples] | None = None,
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
    samples : mapping of str to ModuleSamples, optional
        What a pass of the network over the sessions gave, by module; default is to run it.

    Returns
    -------
    dict of int to dict of str to Equation
        By participant, then by module.

    Raises
    ------
    DataError
        If a participant has no samples for a module.
    """
    samples = collect_samples(model, config, dataset) if samples is None else samples
    session_lengths = longest_sessions(dataset) if session_lengths is None else session_lengths
    labels = {participant: dataset.label("participant", participant) for participant in participants}
    problems = _pose_problems(model, config, samples, labels, degree, optimizer, threshold, linear)
    answers = run_jobs(solve, [(problem, optimizer) for problem in problems])
    _warn_of_dependent(problems, labels)
    grown = [
        (labels[p.participant], p.module, free, session_lengths[p.participant])
        for p, (_, free) in zip(problems, answers, strict=True)
    ]
    warn_if_unstable(grown)
    equations: dict[int, dict[str, Equation]] = {participant: {} for participant in participants}
    for problem, (coefficients, _) in zip(problems, answers, strict=True):
        module = problem.module
        equations[problem.participant][module] = Equation(module, config.inputs(module), coefficients)
    return equations


def _pose_problems(
    model: BaseRNN,
    config: SpiceConfig,
    samples: Mapping[str, ModuleSamples],
    labels: Mapping[int, object],
    degree: int,
    optimizer: str | BaseOptimizer,
    threshold: float,
    linear: Collection[tuple[int, str]],
) -> list[Problem]:
    """The regressions of all modules and participants."""
    with torch.no_grad():
        betas = model.scaling_values(torch.as_tensor(list(labels)))
    compressed = isinstance(optimizer, str)  # the user's own sees every sample
    problems: list[Problem] = []
    for module in config.rnn_modules:
        own = samples[module]
        _check_samples(module, own, labels)
        features = (module, *config.library(module))
        exponents = polynomial_exponents(len(features), config.degree(module, degree), config.has_constant(module))
        # the threshold speaks of logits: state times beta
        beta = betas[own.state][:, 0].detach().double().cpu().numpy() if own.state in betas else np.ones(len(labels))
        thresholds = threshold / np.maximum(np.abs(beta), np.finfo(float).tiny)
        diverged = {participant for participant, name in linear if name == module}
        problems += pose_problems(own, list(labels), features, exponents, thresholds, diverged, compressed)
    return problems


def longest_sessions(dataset: DatasetRNN) -> dict[int, int]:
    """Trials of each participant's longest session."""
    lengths: dict[int, int] = {}
    for participant, trials in zip(dataset.participants.tolist(), dataset.observed.sum(1).tolist(), strict=True):
        lengths[participant] = max(trials, lengths.get(participant, 0))
    return lengths


def _check_samples(module: str, samples: ModuleSamples, labels: Mapping[int, object]) -> None:
    without = ~np.isin(list(labels), samples.participant)
    if without.any():
        raise DataError(
            f"participant {list(labels.values())[without.argmax()]!r} has no samples for the module {module!r}: its "
            "filter is never fulfilled in their trials. Leave the participant out, or correct filter_setup."
        )


def _warn_of_dependent(problems: Sequence[Problem], labels: Mapping[int, object]) -> None:
    """Say which candidate terms the data cannot tell apart, and for whom."""
    found: dict[str, dict[str, list]] = {}
    for problem in problems:
        for sentence in problem.left_out:
            found.setdefault(problem.module, {}).setdefault(sentence, []).append(labels[problem.participant])
    for module, sentences in found.items():
        texts = [
            sentence
            if len(people) == len(labels)
            else f"{sentence} for participant(s) {', '.join(map(repr, people[:5]))}{' ...' if len(people) > 5 else ''}"
            for sentence, people in sentences.items()
        ]
        warnings.warn(
            f"the library of {module!r} holds terms that the data cannot tell from others; they were left out: "
            f"{', '.join(texts)}.",
            LibraryWarning,
            stacklevel=6,
        )

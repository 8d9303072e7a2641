"""Stage 2 as a whole: equations that follow their network, and the model with equations in its modules' place."""

import warnings
from collections.abc import Sequence

import torch
from pysindy.optimizers import BaseOptimizer

from spice.equations import Equation, with_equations
from spice.errors import SpiceWarning
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.sindy.distil import distil, longest_sessions
from spice.sindy.fidelity import (
    Run,
    find_diverging,
    find_diverging_on,
    run_model,
    warn_if_unfaithful,
    warn_of_diverging,
)
from spice.sindy.probes import probe_sessions
from spice.sindy.samples import collect_samples, read_samples


def find_equations(
    network: BaseRNN,
    config: SpiceConfig,
    dataset: DatasetRNN,
    participants: Sequence[int],
    visited: DatasetRNN | None = None,
    degree: int = 1,
    optimizer: str | BaseOptimizer = "STLSQ",
    threshold: float = 0.05,
) -> tuple[dict[int, dict[str, Equation]], BaseRNN]:
    """Distil a network, and refit those equations that diverge without powers of the state.

    Parameters
    ----------
    network : BaseRNN
        The fitted network.
    config : SpiceConfig
        Modules, signals, filters and libraries.
    dataset : DatasetRNN
        The data.
    participants : sequence of int
        Participant numbers to distil.
    visited : DatasetRNN, optional
        Sessions from which to distil; default are the data.
    degree, optimizer, threshold
        As in `distil`.

    Returns
    -------
    equations : dict of int to dict of str to Equation
        By participant, then by module.
    model : BaseRNN
        A copy of the network with the equations in its modules' place.
    """
    own = dataset[torch.isin(dataset.participants, torch.as_tensor(participants))]
    probes = probe_sessions(own)  # what holds on the data may still explode in the next session
    usual = run_model(network, own)
    if visited is None:
        samples = read_samples(usual.record, config, own)
    else:
        samples = collect_samples(network, config, visited)
    settings = (degree, optimizer, threshold, longest_sessions(own))

    def check(model: BaseRNN) -> tuple[Run, list[tuple[int, str]]]:
        run = run_model(model, own)
        on_data = find_diverging(usual.peaks, run.peaks, own.participants)
        return run, sorted({*on_data, *find_diverging_on(network, model, probes)})

    equations = distil(network, config, own, participants, *settings, samples=samples)
    model = with_equations(network, equations)
    run, diverging = check(model)
    if diverging:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpiceWarning)  # said already, and in the sentence below
            again = sorted({participant for participant, _ in diverging})
            equations |= distil(network, config, own, again, *settings, linear=diverging, samples=samples)
        model = with_equations(network, equations)
        run, still = check(model)
        warn_of_diverging(still or diverging, own, mended=not still)
    warn_if_unfaithful(usual, run, own)
    return equations, model

"""Do equations follow their network? Run both over the data and say where they part."""

import warnings
from collections.abc import Sequence

import torch

from spice.equations.module import STATE_LIMIT
from spice.errors import SpiceWarning, StabilityWarning
from spice.resources.dataset import DatasetRNN
from spice.resources.recording import Recorder
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood

FACTOR = 10.0  # a state this many times beyond the network's range has grown without bound
LOSS = 0.02  # nats per trial that equations may lose against the network unsaid


def find_diverging(network: BaseRNN, equations: BaseRNN, dataset: DatasetRNN) -> list[tuple[int, str]]:
    """Find equations whose state leaves the network's range by far when they run over the data.

    Parameters
    ----------
    network : BaseRNN
        The fitted network.
    equations : BaseRNN
        The same model with equations in its modules' place.
    dataset : DatasetRNN
        Sessions of participants that have equations.

    Returns
    -------
    list of (int, str)
        Participant number and module.
    """
    records: list[Recorder] = []
    for model in (network, equations):
        with torch.no_grad(), model.recording() as record:
            model(dataset.xs, batch_first=True)
        records.append(record)
    found = []
    for module in equations.submodules_sindy:
        peaks = [record.call(module).value.abs().amax((0, 2)).cpu() for record in records]
        for participant in dataset.participants.unique().tolist():
            sessions = dataset.participants == participant
            usual, reached = (float(peak[sessions].max()) for peak in peaks)
            if reached >= STATE_LIMIT or reached > FACTOR * (usual + 1):
                found.append((participant, module))
    return found


def warn_of_diverging(found: Sequence[tuple[int, str]], dataset: DatasetRNN, mended: bool) -> None:
    """Name the equations that diverge, and what became of them."""
    names = [f"participant {dataset.label('participant', p)!r}, module {module!r}" for p, module in found]
    shown = "; ".join(names[:5]) + (f"; and {len(names) - 5} more" if len(names) > 5 else "")
    fate = (
        "They were refitted without higher powers of the state, which now carries at most 0.9 of its value."
        if mended
        else "Use a lower sindy_degree or a higher sindy_threshold, and do not trust their predictions."
    )
    warnings.warn(f"equations that grow without bound over a session: {shown}. {fate}", StabilityWarning, stacklevel=4)


def warn_if_unfaithful(network: BaseRNN, equations: BaseRNN, dataset: DatasetRNN) -> None:
    """Warn about equations that predict the data much worse than their network."""
    losses = []
    for model in (network, equations):
        with torch.no_grad():
            logits, _ = model(dataset.xs, batch_first=True)
        losses.append(float(negative_log_likelihood(logits, dataset.ys.to(logits))) / max(dataset.n_scored, 1))
    if losses[1] - losses[0] > LOSS:
        warnings.warn(
            f"the equations predict the data worse than the network: negative log-likelihood {losses[1]:.3f} against "
            f"{losses[0]:.3f} per trial. What the network does is not in their library: raise sindy_degree, lower "
            "sindy_threshold, or give the model further signals.",
            SpiceWarning,
            stacklevel=4,
        )

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


def warn_if_unfaithful(network: BaseRNN, equations: BaseRNN, dataset: DatasetRNN, participants: Sequence[int]) -> None:
    """Warn about states that diverge, and about equations that predict much worse than their network.

    Parameters
    ----------
    network : BaseRNN
        The fitted network.
    equations : BaseRNN
        The same model with equations in its modules' place.
    dataset : DatasetRNN
        The data they were fitted to.
    participants : sequence of int
        Participants that have equations.
    """
    rows = torch.isin(dataset.participants, torch.as_tensor(list(participants)))
    own = dataset[rows]
    records: list[Recorder] = []
    losses: list[float] = []
    for model in (network, equations):
        with torch.no_grad(), model.recording() as record:
            logits, _ = model(own.xs, batch_first=True)
        losses.append(float(negative_log_likelihood(logits, own.ys.to(logits))) / max(own.n_scored, 1))
        records.append(record)
    grown = _grown(records[0], records[1], list(equations.submodules_sindy), own)
    if grown:
        shown = "; ".join(grown[:5]) + (f"; and {len(grown) - 5} more" if len(grown) > 5 else "")
        warnings.warn(
            f"equations that grow without bound over a session: {shown}. Use a lower sindy_degree or a higher "
            "sindy_threshold, and do not trust their predictions.",
            StabilityWarning,
            stacklevel=3,
        )
    elif losses[1] - losses[0] > LOSS:
        warnings.warn(
            f"the equations predict the data worse than the network: negative log-likelihood {losses[1]:.3f} against "
            f"{losses[0]:.3f} per trial. What the network does is not in their library: raise sindy_degree, lower "
            "sindy_threshold, or give the model further signals.",
            SpiceWarning,
            stacklevel=3,
        )


def _grown(network: Recorder, equations: Recorder, modules: list[str], dataset: DatasetRNN) -> list[str]:
    found = []
    for module in modules:
        peaks = [record.call(module).value.abs().amax((0, 2)).cpu() for record in (network, equations)]
        for participant in dataset.participants.unique().tolist():
            sessions = dataset.participants == participant
            usual, reached = (float(peak[sessions].max()) for peak in peaks)
            if reached >= STATE_LIMIT or reached > FACTOR * (usual + 1):
                label = dataset.label("participant", participant)
                found.append(
                    f"participant {label!r}, module {module!r}, state {reached:.3g} where the network's is {usual:.3g}"
                )
    return found

"""Do equations follow their network? Run both over the same data and say where they part."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from spice.equations.module import STATE_LIMIT
from spice.errors import FidelityWarning, StabilityWarning
from spice.resources.dataset import DatasetRNN
from spice.resources.recording import Recorder
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood

FACTOR = 10.0  # a state this many times beyond the network's range has grown without bound
LOSS = 0.02  # nats per trial that equations may lose against the network unsaid
PEOPLE = 1000  # who run at a time, so that records of many people need not be kept


@dataclass(frozen=True)
class Run:
    """A pass of a model over data.

    Attributes
    ----------
    record : Recorder
        What its modules saw and answered.
    peaks : dict of str to torch.Tensor, each (n_sessions,)
        Largest size of each module's state.
    loss : float
        Negative log-likelihood of the choices, nats.
    """

    record: Recorder
    peaks: dict[str, torch.Tensor]
    loss: float


def run_model(model: BaseRNN, dataset: DatasetRNN) -> Run:
    """Let a model run over data."""
    with torch.no_grad(), model.recording() as record:
        logits = model(dataset.xs, batch_first=True)[0]
    peaks = {name: record.call(name).value.abs().amax((0, 2)).cpu() for name in model.submodules_rnn}
    return Run(record, peaks, float(negative_log_likelihood(logits, dataset.ys.to(logits))))


def find_diverging(
    usual: Mapping[str, torch.Tensor], reached: Mapping[str, torch.Tensor], participants: torch.Tensor
) -> list[tuple[int, str]]:
    """Find equations whose state left the network's range by far.

    Parameters
    ----------
    usual, reached : mapping of str to torch.Tensor, each (n_sessions,)
        Largest sizes of each module's state: the network's, and the equations'.
    participants : torch.Tensor of int64, shape (n_sessions,)
        Whose sessions they are.

    Returns
    -------
    list of (int, str)
        Participant number and module.
    """
    people, rows = participants.unique(return_inverse=True)
    found = []
    for module in reached:
        network, equations = (
            torch.zeros_like(peaks[module][: len(people)]).scatter_reduce(0, rows, peaks[module], "amax")
            for peaks in (usual, reached)
        )
        beyond = (equations >= STATE_LIMIT) | (equations > FACTOR * (network + 1))
        found += [(person, module) for person in people[beyond].tolist()]
    return found


def find_diverging_on(network: BaseRNN, equations: BaseRNN, dataset: DatasetRNN) -> list[tuple[int, str]]:
    """Like `find_diverging`, by running both models: the network only where the equations reach far enough to tell."""
    found = []
    for people in dataset.participants.unique().split(PEOPLE):
        part = dataset[torch.isin(dataset.participants, people)]
        reached = run_model(equations, part).peaks
        far = torch.stack([peaks > FACTOR for peaks in reached.values()]).any(0)
        rows = torch.isin(part.participants, part.participants[far])
        if rows.any():
            usual = run_model(network, part[rows]).peaks
            reached = {module: peaks[rows] for module, peaks in reached.items()}
            found += find_diverging(usual, reached, part.participants[rows])
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
    warnings.warn(f"equations that grow without bound over a session: {shown}. {fate}", StabilityWarning, stacklevel=5)


def warn_if_unfaithful(network: Run, equations: Run, dataset: DatasetRNN, by_chance: float = 0.0) -> None:
    """Warn about equations that predict the data much worse than their network.

    Parameters
    ----------
    network, equations : Run
        Their passes over the data.
    dataset : DatasetRNN
        The data.
    by_chance : float, default 0
        What the network may have gained by fitting noise, nats.
    """
    before, after = (run.loss / max(dataset.n_scored, 1) for run in (network, equations))
    if after - before > LOSS and equations.loss - network.loss > by_chance:
        warnings.warn(
            f"the equations predict the data worse than the network: negative log-likelihood {after:.3f} against "
            f"{before:.3f} per trial. What the network does is not in their library: raise sindy_degree, lower "
            "sindy_threshold, or give the model further signals.",
            FidelityWarning,
            stacklevel=5,
        )

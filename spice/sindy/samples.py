"""Samples for the regressions: what every module saw and answered, filtered, by participant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spice.errors import ConfigError, DataError
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.model_checks import check_forward
from spice.resources.recording import ModuleCall, Recorder
from spice.resources.rnn import BaseRNN


@dataclass(frozen=True)
class ModuleSamples:
    """Samples of one module, in the order of participants.

    Attributes
    ----------
    features : np.ndarray, shape (n_samples, 1 + n_signals)
        The state's value, then the signals of the library.
    next_value : np.ndarray, shape (n_samples,)
        The module's answer.
    participant : np.ndarray of int, shape (n_samples,)
        Whose sample it is, ascending.
    state : str or None
        The state that the module updates.
    """

    features: np.ndarray
    next_value: np.ndarray
    participant: np.ndarray
    state: str | None

    def of(self, participants: Sequence[int]) -> "ModuleSamples":
        """Samples of some participants."""
        rows = np.isin(self.participant, participants)
        if rows.all():
            return self
        return ModuleSamples(self.features[rows], self.next_value[rows], self.participant[rows], self.state)

    def bounds(self, participants: Sequence[int]) -> list[slice]:
        """Where each participant's samples are."""
        first, last = (np.searchsorted(self.participant, participants, side) for side in ("left", "right"))
        return [slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def collect_samples(model: BaseRNN, config: SpiceConfig, dataset: DatasetRNN) -> dict[str, ModuleSamples]:
    """Run a network over data and collect every module's samples.

    Parameters
    ----------
    model : BaseRNN
        The fitted network.
    config : SpiceConfig
        Modules, signals and filters.
    dataset : DatasetRNN
        The sessions to visit.

    Returns
    -------
    dict of str to ModuleSamples
        One entry per module of the configuration.

    Raises
    ------
    ConfigError, DataError
        As in `read_samples`.
    """
    with torch.no_grad(), model.recording() as record:
        found = model(dataset.xs, batch_first=True)
    check_forward(type(model).__name__, found, (*dataset.shape[:2], model.n_actions))
    return read_samples(record, config, dataset)


def read_samples(record: Recorder, config: SpiceConfig, dataset: DatasetRNN) -> dict[str, ModuleSamples]:
    """Samples of every module in the record of a pass.

    Parameters
    ----------
    record : Recorder
        What the network's modules saw and answered.
    config : SpiceConfig
        Modules, signals and filters.
    dataset : DatasetRNN
        The sessions that were visited.

    Returns
    -------
    dict of str to ModuleSamples
        One entry per module of the configuration.

    Raises
    ------
    ConfigError
        If a module or signal of the configuration does not exist in the model.
    DataError
        If a filter leaves no samples.
    """
    signals = {name: record.signal(name) for name in config.control_parameters}
    observed = dataset.observed.T.unsqueeze(-1)
    order = dataset.participants.argsort(stable=True)
    samples = {}
    for module in config.rnn_modules:
        call = record.call(module)
        keep = observed.to(call.value.device) & ~call.inputs.isnan().any(-1)
        for entry in config.filters(module):
            keep = keep & torch.isclose(signals[entry.signal], call.value.new_tensor(float(entry.value)))
        if not keep.any():
            rules = ", ".join(f"{entry.signal} == {entry.value}" for entry in config.filters(module)) or "none"
            raise DataError(
                f"the filter of the module {module!r} ({rules}) leaves no samples: no trial in the data fulfils it. "
                "Correct filter_setup, or leave the module out."
            )
        _check_inputs(module, call, keep, config.inputs(module), signals)
        inputs = config.inputs(module)
        used = [inputs.index(name) for name in config.library(module)]
        values = torch.cat([call.next_value.unsqueeze(-1), call.value.unsqueeze(-1), call.inputs[..., used]], dim=-1)
        kept = keep.transpose(0, 1)[order]  # session by session, the sessions of a participant in a row
        table = values.transpose(0, 1)[order][kept].double().cpu().numpy()
        participant = dataset.participants[order].repeat_interleave(kept.sum((1, 2)).cpu())
        samples[module] = ModuleSamples(table[:, 1:], table[:, 0], participant.numpy(), call.state)
    return samples


def _check_inputs(
    module: str, call: ModuleCall, keep: torch.Tensor, names: Sequence[str], signals: Mapping[str, torch.Tensor]
) -> None:
    """Names and inputs must agree: an equation with swapped names would be wrong silently."""
    if call.inputs.shape[-1] != len(names):
        raise ConfigError(
            f"the module {module!r} is called with {call.inputs.shape[-1]} input(s), but library_setup names "
            f"{len(names)} "
            f"({', '.join(names) or 'none'}); name every input, in the order of call_module(..., inputs=...)."
        )
    for position, name in enumerate(names):
        given = call.inputs[..., position][keep]
        if torch.allclose(given, signals[name][keep]):
            continue
        alike = [other for other, signal in signals.items() if torch.allclose(given, signal[keep])]
        found = f"{alike[0]!r}" if alike else "something else (a transformed or later value)"
        raise ConfigError(
            f"library_setup names input {position} of the module {module!r} {name!r}, but the module is called "
            f"with {found} there; list the names in the order of call_module(..., inputs=...), and record what "
            "is passed."
        )

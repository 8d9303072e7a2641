"""Samples for the regressions: what every module saw and answered, filtered, by participant."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from spice.errors import ConfigError, DataError
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.recording import ModuleCall, Recorder
from spice.resources.rnn import BaseRNN


@dataclass(frozen=True)
class ModuleSamples:
    """Samples of one module.

    Attributes
    ----------
    features : np.ndarray, shape (n_samples, 1 + n_signals)
        The state's value, then the signals of the library.
    next_value : np.ndarray, shape (n_samples,)
        The module's answer.
    participant : np.ndarray of int, shape (n_samples,)
        Whose sample it is.
    state : str or None
        The state that the module updates.
    signals : tuple of str
        Names of the library's signals.
    """

    features: np.ndarray
    next_value: np.ndarray
    participant: np.ndarray
    state: str | None
    signals: tuple[str, ...]

    def of(self, participant: int) -> "ModuleSamples":
        """Samples of one participant."""
        rows = self.participant == participant
        return replace(
            self, features=self.features[rows], next_value=self.next_value[rows], participant=self.participant[rows]
        )


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
    ConfigError
        If a module or signal of the configuration does not exist in the model.
    DataError
        If a filter leaves no samples.
    """
    with torch.no_grad(), model.recording() as record:
        model(dataset.xs, batch_first=True)
    observed = dataset.observed.T.unsqueeze(-1).expand(-1, -1, model.n_actions)
    participant = dataset.participants.expand(dataset.shape[1], -1).unsqueeze(-1).expand(-1, -1, model.n_actions)
    for name in config.control_parameters:
        record.signal(name)  # raises where there is none of that name
    samples = {}
    for module in config.rnn_modules:
        call = record.call(module)
        keep = observed.to(call.value.device) & ~call.inputs.isnan().any(-1)
        for entry in config.filters(module):
            keep = keep & torch.isclose(record.signal(entry.signal), call.value.new_tensor(float(entry.value)))
        if not keep.any():
            rules = ", ".join(f"{entry.signal} == {entry.value}" for entry in config.filters(module)) or "none"
            raise DataError(
                f"the filter of the module {module!r} ({rules}) leaves no samples: no trial in the data fulfils it. "
                "Correct filter_setup, or leave the module out."
            )
        _check_inputs(module, call, keep, config, record)
        inputs = config.inputs(module)
        used = [inputs.index(name) for name in config.library(module)]
        features = torch.cat([call.value.unsqueeze(-1), call.inputs[..., used]], dim=-1)
        samples[module] = ModuleSamples(
            features[keep].double().cpu().numpy(),
            call.next_value[keep].double().cpu().numpy(),
            participant[keep.cpu()].numpy(),
            call.state,
            config.library(module),
        )
    return samples


def _check_inputs(module: str, call: ModuleCall, keep: torch.Tensor, config: SpiceConfig, record: Recorder) -> None:
    """Names and inputs must agree: an equation with swapped names would be wrong silently."""
    names = config.inputs(module)
    if call.inputs.shape[-1] != len(names):
        raise ConfigError(
            f"the module {module!r} is called with {call.inputs.shape[-1]} input(s), but library_setup names "
            f"{len(names)} "
            f"({', '.join(names) or 'none'}); name every input, in the order of call_module(..., inputs=...)."
        )
    signals = {name: record.signal(name)[keep] for name in config.control_parameters}
    for position, name in enumerate(names):
        given = call.inputs[..., position][keep]
        alike = [other for other, signal in signals.items() if torch.allclose(given, signal)]
        if name not in alike:
            found = f"{alike[0]!r}" if alike else "something else (a transformed or later value)"
            raise ConfigError(
                f"library_setup names input {position} of the module {module!r} {name!r}, but the module is called "
                f"with {found} there; list the names in the order of call_module(..., inputs=...), and record what "
                "is passed."
            )

"""What a network's modules saw and answered, trial by trial: the material of stage 2."""

from dataclasses import dataclass

import torch

from spice.errors import ConfigError
from spice.resources.lags import declaration


@dataclass(frozen=True)
class ModuleCall:
    """All calls of one module in a pass.

    Attributes
    ----------
    state : str or None
        Name of the state that the module updates, if it is one.
    value, next_value : torch.Tensor, shape (n_trials, n_batch, n_actions)
        The state before and after, before any action mask.
    inputs : torch.Tensor, shape (n_trials, n_batch, n_actions, n_inputs)
        The module's inputs.
    action : torch.Tensor, shape (n_trials, n_batch, n_actions)
        The mask that says where the update applies.
    """

    state: str | None
    value: torch.Tensor
    inputs: torch.Tensor
    next_value: torch.Tensor
    action: torch.Tensor

    def cpu(self) -> "ModuleCall":
        """The same in the computer's own memory."""
        return ModuleCall(self.state, *(part.cpu() for part in (self.value, self.inputs, self.next_value, self.action)))


class Recorder:
    """Collects signals and module calls during one forward pass."""

    def __init__(self) -> None:
        self._signals: dict[str, list[torch.Tensor]] = {}
        self._calls: dict[str, list[tuple[torch.Tensor, ...]]] = {}
        self._states: dict[str, str | None] = {}

    def add_signal(self, name: str, value: torch.Tensor) -> None:
        """Append one trial of a signal, shape (n_batch, n_actions)."""
        self._signals.setdefault(name, []).append(value.detach())

    def add_call(
        self,
        module: str,
        state: str | None,
        value: torch.Tensor,
        inputs: torch.Tensor,
        next_value: torch.Tensor,
        action: torch.Tensor | None,
    ) -> None:
        """Append one call of a module; no mask means that it applies everywhere."""
        self._states[module] = state
        action = torch.ones_like(value) if action is None else action
        parts = (value, inputs, next_value, action)
        self._calls.setdefault(module, []).append(tuple(part.detach() for part in parts))

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Names of the recorded signals."""
        return tuple(self._signals)

    def signal(self, name: str) -> torch.Tensor:
        """One signal, shape (n_trials, n_batch, n_actions).

        Raises
        ------
        ConfigError
            If it was never recorded.
        """
        if name not in self._signals:
            usual = declaration(name) or f"call self.record_signal({name!r}, ...) in forward"
            raise ConfigError(
                f"the signal {name!r} is never recorded: {usual}, or correct the configuration (recorded: "
                f"{', '.join(self._signals) or 'none'})."
            )
        return torch.stack(self._signals[name])

    def call(self, module: str) -> ModuleCall:
        """All calls of one module.

        Raises
        ------
        ConfigError
            If it was never called.
        """
        if module not in self._calls:
            raise ConfigError(f"the module {module!r} is never called: use call_module({module!r}, ...) in the model.")
        parts = (torch.stack(part) for part in zip(*self._calls[module], strict=True))
        return ModuleCall(self._states[module], *parts)

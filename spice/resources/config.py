"""SpiceConfig: which modules become equations, from which signals, on which samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spice.errors import ConfigError, did_you_mean, join_problems


class Filter(NamedTuple):
    """Keep the samples at which a signal has a value.

    Attributes
    ----------
    signal : str
        Name of the recorded signal, e.g. ``"c_action"``.
    value : float
        Samples with this value are kept.
    remove : bool
        Whether the signal, now constant, leaves the library.
    """

    signal: str
    value: float
    remove: bool = True


@dataclass
class SpiceConfig:
    """What stage 2 (SINDy) needs to know about a network.

    Parameters
    ----------
    rnn_modules : sequence of str
        Names of the network's modules, as in ``submodules_rnn``; each becomes an equation.
    control_parameters : sequence of str
        Names of the signals that are no states (choice, reward, further inputs). A name that ends in ``_lagN``, e.g.
        ``c_reward_lag1``, is the signal's value N trials earlier (``BaseRNN.lags``).
    library_setup : mapping of str to sequence of str
        For each module the signals it is called with, in the order of ``call_module(..., inputs=...)``.
    filter_setup : mapping, optional
        For each module a triplet ``[signal, value, remove]`` or a list of such: only samples at which
        the signal has the value are used (e.g. only the chosen option).
    polynomial_degree : int or mapping of str to int, optional
        Degree of the library, for all modules or per module; default is the estimator's ``sindy_degree``.
    constant : bool or mapping of str to bool, default True
        Whether a module's library holds a constant.

    Raises
    ------
    ConfigError
        If names do not fit together; all problems are listed at once.
    """

    rnn_modules: Sequence[str]
    control_parameters: Sequence[str]
    library_setup: Mapping[str, Sequence[str]]
    filter_setup: Mapping[str, Any] = field(default_factory=dict)
    polynomial_degree: int | Mapping[str, int] | None = None
    constant: bool | Mapping[str, bool] = True

    def __post_init__(self) -> None:
        problems = [
            *self._unknown("library_setup", self.library_setup),
            *self._unknown("filter_setup", self.filter_setup),
            *self._unknown("polynomial_degree", self.polynomial_degree),
            *self._unknown("constant", self.constant),
        ]
        for module in self.rnn_modules:
            if module not in self.library_setup:
                problems.append(
                    f"rnn_modules names {module!r}, but library_setup has no entry for it (use [] for none)."
                )
        for module, signals in self.library_setup.items():
            for signal in signals:
                if signal not in self.control_parameters:
                    problems.append(_no_signal("library_setup", module, signal, self.control_parameters))
        for module in self.filter_setup:
            problems += self._filter_problems(module)
        if problems:
            raise ConfigError(join_problems("SpiceConfig does not fit together", problems))

    def filters(self, module: str) -> tuple[Filter, ...]:
        """Filters of a module, always as a tuple of triplets."""
        entry = self.filter_setup.get(module, [])
        triplets = [entry] if entry and isinstance(entry[0], str) else entry
        return tuple(Filter(*triplet) for triplet in triplets)

    def inputs(self, module: str) -> tuple[str, ...]:
        """Signals that a module is called with, in order."""
        return tuple(self.library_setup[module])

    def library(self, module: str) -> tuple[str, ...]:
        """Signals in a module's library: its inputs without those that a filter removes."""
        removed = {entry.signal for entry in self.filters(module) if entry.remove}
        return tuple(name for name in self.inputs(module) if name not in removed)

    def degree(self, module: str, default: int) -> int:
        """Polynomial degree of a module's library."""
        degree = self.polynomial_degree
        if isinstance(degree, Mapping):
            return int(degree.get(module, default))
        return default if degree is None else int(degree)

    def has_constant(self, module: str) -> bool:
        """Whether a module's library holds a constant."""
        return bool(self.constant.get(module, True) if isinstance(self.constant, Mapping) else self.constant)

    def _unknown(self, where: str, entries: Any) -> list[str]:
        if not isinstance(entries, Mapping):  # one value for all modules
            return []
        return [
            f"{where} names {module!r}, which is no module in rnn_modules ({_listed(self.rnn_modules)})"
            f"{did_you_mean(module, self.rnn_modules)}."
            for module in entries
            if module not in self.rnn_modules
        ]

    def _filter_problems(self, module: str) -> list[str]:
        try:
            filters = self.filters(module)
        except TypeError:
            return [f"filter_setup of {module!r} must be [signal, value, True] or a list of such triplets."]
        return [
            _no_signal("filter_setup", module, entry.signal, self.control_parameters)
            for entry in filters
            if entry.signal not in self.control_parameters
        ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _no_signal(where: str, module: str, signal: str, known: Sequence[str]) -> str:
    return (
        f"{where} of {module!r} names the signal {signal!r}, which is not in control_parameters "
        f"({_listed(known)}){did_you_mean(signal, known)}."
    )

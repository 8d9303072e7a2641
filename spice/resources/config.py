"""SpiceConfig: which modules become equations, from which signals, on which samples."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spice.errors import ConfigError, did_you_mean, join_problems
from spice.resources.arguments import in_words, is_flag, is_number, is_whole, plain_scalar


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
        self.rnn_modules, self.control_parameters = _names(self.rnn_modules), _names(self.control_parameters)
        if isinstance(self.library_setup, Mapping):
            self.library_setup = {module: _names(signals) for module, signals in self.library_setup.items()}
        problems = [*self._wrong_kinds()]
        if problems:
            raise ConfigError(join_problems("SpiceConfig cannot be read", problems))
        problems = [
            *self._unknown("library_setup", self.library_setup),
            *self._unknown("filter_setup", self.filter_setup),
            *self._unknown("polynomial_degree", self.polynomial_degree),
            *self._unknown("constant", self.constant),
        ]
        for module in dict.fromkeys(self.rnn_modules):
            if self.rnn_modules.count(module) > 1:
                problems.append(f"rnn_modules names {module!r} more than once.")
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
        return tuple(Filter(*map(plain_scalar, triplet)) for triplet in triplets)

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

    def _wrong_kinds(self) -> Iterator[str]:
        """What is of a kind that nothing else can be checked with."""
        for name in ("rnn_modules", "control_parameters"):
            if not _is_list_of_names(getattr(self, name)):
                yield f"{name} must be a list of names, not {in_words(getattr(self, name))}."
        for name in ("library_setup", "filter_setup"):
            if not isinstance(getattr(self, name), Mapping):
                yield f"{name} must map each module's name to a list, not {in_words(getattr(self, name))}."
        if isinstance(self.library_setup, Mapping):
            for module, signals in self.library_setup.items():
                if not _is_list_of_names(signals):
                    yield f"library_setup of {module!r} must be a list of signals, not {in_words(signals)}."
        degree, constant = self.polynomial_degree, self.constant
        for value in degree.values() if isinstance(degree, Mapping) else () if degree is None else [degree]:
            if not is_whole(value, 1):
                yield f"polynomial_degree must be a whole number from 1 on, not {in_words(value)}."
        for value in constant.values() if isinstance(constant, Mapping) else [constant]:
            if not is_flag(value):
                yield f"constant must be True or False, not {in_words(value)}."

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
        problems = [
            _no_signal("filter_setup", module, entry.signal, self.control_parameters)
            for entry in filters
            if entry.signal not in self.control_parameters
        ]
        for entry in filters:
            if not (is_number(entry.value) or is_flag(entry.value)):
                problems.append(f"filter_setup of {module!r} compares with a number, not {in_words(entry.value)}.")
            if not is_flag(entry.remove):
                problems.append(
                    f"filter_setup of {module!r} says with True or False whether {entry.signal!r} leaves the library, "
                    f"not {in_words(entry.remove)}."
                )
        return problems


def _names(names: Any) -> Any:
    """Names given in any order of theirs (an array, the keys of a dict) as a list; anything else as it is."""
    if isinstance(names, str) or not isinstance(names, Iterable) or getattr(names, "ndim", 1) == 0:
        return names
    found = [plain_scalar(name) for name in names]
    return names if isinstance(names, (list, tuple)) and all(type(name) is str for name in names) else found


def _is_list_of_names(names: Any) -> bool:
    return isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _no_signal(where: str, module: str, signal: str, known: Sequence[str]) -> str:
    return (
        f"{where} of {module!r} names the signal {signal!r}, which is not in control_parameters "
        f"({_listed(known)}){did_you_mean(signal, known)}."
    )

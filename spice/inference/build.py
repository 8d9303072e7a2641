"""From a model and its data to the compiled likelihood: what updates which state when, and from which inputs."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from spice.equations.terms import polynomial_exponents
from spice.errors import ModelFormError
from spice.inference.data import Trials
from spice.inference.library import Library, Module
from spice.inference.units import Unit, find_units
from spice.inference.used import trials_in_use
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.recording import ModuleCall
from spice.resources.rnn import BaseRNN
from spice.sindy.library import independent_columns


@dataclass(frozen=True)
class Problem:
    """A model's candidate terms and its trials.

    Attributes
    ----------
    library : Library
        Candidate terms.
    trials : Trials
        The trials, participant by participant.
    participants : list of int
        Participant number of each group.
    chosen : np.ndarray of int, shape (n_modules,)
        Of each module 1 if it updates the chosen option alone, 0 if the others alone, else -1.
    units : list of dict of str to Unit
        In which units each signal is measured, by group.
    """

    library: Library
    trials: Trials
    participants: list[int]
    chosen: np.ndarray
    units: list[dict[str, Unit]]

    def places(self, group: int, module: int) -> np.ndarray:
        """Factors wherever a module updates one participant's states, shape (n_places, n_factors)."""
        trials = self.trials
        first, last = trials.sessions[trials.groups[[group, group + 1]]]
        state = self.library.modules[module].state
        where = trials.modules[first:last, state] == module
        return trials.factors[first:last].transpose(0, 2, 1)[where]

    def outcome_unit(self, group: int, module: int) -> Unit:
        """In which units a module's outcome is measured for one participant."""
        return self.units[group][self.library.outcome_signal(module)]

    def outcomes(self, group: int, module: int) -> np.ndarray:
        """The different outcomes that one participant met in a module, as they are measured."""
        return np.unique(self.places(group, module)[:, self.library.factor[self.library.outcome[module]]])

    def met(self) -> tuple[np.ndarray, np.ndarray]:
        """What each participant met.

        Returns
        -------
        extent : np.ndarray, shape (n_groups, n_terms, 2)
            Smallest and largest product of inputs of each term.
        told_apart : np.ndarray of bool, shape (n_groups, n_terms)
            Terms that are no combinations of others: of those that are (r and r² of binary rewards, an input that
            is always 0 or equals another), the simplest stays.
        """
        library = self.library
        extent = np.zeros((self.trials.n_groups, library.n_terms, 2))
        told_apart = np.zeros(extent.shape[:2], bool)
        for group in range(self.trials.n_groups):
            for module in range(len(library.modules)):
                table = self.places(group, module)
                if not len(table):
                    continue
                terms = np.arange(library.first[module], library.first[module + 1])
                columns = table[:, library.factor[terms]]
                extent[group, terms] = np.stack([columns.min(0), columns.max(0)], axis=1)
                for power in np.unique(library.powers[terms]):
                    own = np.flatnonzero(library.powers[terms] == power)
                    kept, _ = independent_columns(columns[:, own], np.arange(len(own)))
                    told_apart[group, terms[own[kept]]] = True
        return extent, told_apart


def pose(model: BaseRNN, config: SpiceConfig, dataset: DatasetRNN, degree: int) -> Problem:
    """Run a model over its data once and read off what the compiled likelihood needs.

    Parameters
    ----------
    model : BaseRNN
        Network or equations.
    config : SpiceConfig
        Modules and signals.
    dataset : DatasetRNN
        The data.
    degree : int
        Degree of the libraries.
    """
    order = dataset.participants.argsort(stable=True)
    dataset = dataset[order]
    with torch.no_grad(), model.recording() as record:
        model(dataset.xs, batch_first=True)
    calls = {name: record.call(name).cpu() for name in config.rnn_modules}
    action = dataset.xs[..., dataset.columns.choice].nan_to_num(0.0).transpose(0, 1)
    chosen = {name: _applies_to(call.action, action, dataset) for name, call in calls.items()}
    library = _make_library(model, config, degree, calls, chosen)
    sessions, kept, choices = trials_in_use(dataset)
    modules, signals = _layout(library, config, calls, dataset, kept)
    participants, counts = dataset.participants.unique_consecutive(return_counts=True)
    groups = np.concatenate([[0], np.cumsum(counts.numpy())]).astype(np.int64)
    units, factors = [], np.ones((len(modules), len(library.factors), library.n_actions))
    for first, last in itertools.pairwise(sessions[groups]):
        own = {name: values[first:last] for name, values in signals.items()}
        units.append(find_units(library, modules[first:last], own))
        _multiply(factors[first:last], library, own, units[-1])
    trials = Trials(modules, factors, choices, sessions, groups)
    roles = np.array([chosen[module.name] for module in library.modules])
    return Problem(library, trials, participants.tolist(), roles, units)


def _make_library(
    model: BaseRNN, config: SpiceConfig, degree: int, calls: Mapping[str, ModuleCall], chosen: Mapping[str, int]
) -> Library:
    """Candidate terms of the modules: state by state, that of the chosen option first."""
    names = tuple(model.init_values)
    modules = []
    for name, call in calls.items():
        if call.state is None:
            raise ModelFormError(f"the module {name!r} updates no state by name.")
        if not config.has_constant(name):
            raise ModelFormError(f"the library of {name!r} has no constant, which the start value needs.")
        controls = config.library(name)
        exponents = polynomial_exponents(1 + len(controls), config.degree(name, degree), config.has_constant(name))
        modules.append(Module(name, names.index(call.state), controls, tuple(map(tuple, exponents.tolist()))))
    order = sorted(modules, key=lambda module: (module.state, -chosen[module.name]))
    return Library(names, order, model.n_actions)


def _layout(
    library: Library, config: SpiceConfig, calls: Mapping[str, ModuleCall], dataset: DatasetRNN, kept: torch.Tensor
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which module updates what, (n_trials, n_states, n_actions), and signals where they are read, else NaN."""
    n_trials, n_actions = int(kept.sum()), library.n_actions
    modules = np.full((n_trials, len(library.states), n_actions), -1, np.int16)
    names = {name for module in library.modules for name in module.controls}
    signals = {name: np.full((n_trials, n_actions), np.nan) for name in sorted(names)}
    observed = dataset.observed[kept].numpy()[:, None]
    for number, module in enumerate(library.modules):
        call = calls[module.name]
        inputs = call.inputs.transpose(0, 1)[kept].double().cpu().numpy()
        applies = (call.action.transpose(0, 1)[kept].numpy() != 0) & observed & ~np.isnan(inputs).any(-1)
        modules[:, module.state][applies] = number
        for name in module.controls:
            signals[name][applies] = inputs[applies, config.inputs(module.name).index(name)]
    return modules, signals


def _multiply(
    factors: np.ndarray, library: Library, signals: Mapping[str, np.ndarray], units: Mapping[str, Unit]
) -> None:
    """Fill in one participant's products of inputs, shape (n_trials, n_factors, n_actions); they are 1."""
    measured = {
        name: np.nan_to_num((values - units[name].offset) / units[name].size) for name, values in signals.items()
    }
    for index, product in enumerate(library.factors):
        for name, power in product:
            factors[:, index] *= measured[name] ** power


def _applies_to(where: torch.Tensor, action: torch.Tensor, dataset: DatasetRNN) -> int:
    """1 if a module updates the chosen option alone, 0 if the others alone, else -1."""
    observed = dataset.observed.T.unsqueeze(-1)
    updated, chosen = (where != 0) & observed, action > 0
    if not (updated & ~chosen).any():
        return 1
    return 0 if not (updated & chosen).any() else -1

"""From a model and its data to the compiled likelihood: what updates which state when, and from which inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spice.equations.terms import polynomial_exponents
from spice.inference.data import Trials
from spice.inference.library import Library, Module
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.recording import ModuleCall
from spice.resources.rnn import BaseRNN


def make_library(model: BaseRNN, config: SpiceConfig, degree: int, states: Sequence[str]) -> Library:
    """Candidate terms of a model's modules.

    Parameters
    ----------
    model : BaseRNN
        The model.
    config : SpiceConfig
        Its modules and their signals.
    degree : int
        Degree of the polynomials, where the configuration does not say.
    states : sequence of str
        The state that each module of the configuration updates.
    """
    names = tuple(model.init_values)
    modules = []
    for name, state in zip(config.rnn_modules, states, strict=True):
        controls = config.library(name)
        exponents = polynomial_exponents(1 + len(controls), config.degree(name, degree), config.has_constant(name))
        modules.append(Module(name, names.index(state), controls, tuple(map(tuple, exponents.tolist()))))
    return Library(names, sorted(modules, key=lambda module: module.state), model.n_actions)


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
    """

    library: Library
    trials: Trials
    participants: list[int]
    chosen: np.ndarray


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
    calls = {name: record.call(name) for name in config.rnn_modules}
    library = make_library(model, config, degree, [calls[name].state or "" for name in config.rnn_modules])
    sessions, kept, choices = _trials_in_use(dataset)
    modules, factors = _layout(library, config, calls, dataset, kept)
    participants, counts = dataset.participants.unique_consecutive(return_counts=True)
    groups = np.concatenate([[0], np.cumsum(counts.numpy())]).astype(np.int64)
    trials = Trials(modules, factors, choices, sessions, groups)
    action = record.signal("c_action").transpose(0, 1)[kept].numpy() > 0
    chosen = [_applies_to(modules == number, action) for number in range(len(library.modules))]
    return Problem(library, trials, participants.tolist(), np.array(chosen))


def _trials_in_use(dataset: DatasetRNN) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """First trial of each session, mask of the trials up to each session's end, and scored choices."""
    scored = ~dataset.ys.isnan().any(-1)
    used = dataset.observed | scored
    kept = used.flip(1).cumsum(1).flip(1) > 0
    sessions = np.concatenate([[0], np.cumsum(kept.sum(1).numpy())]).astype(np.int64)
    choices = torch.where(scored, dataset.ys.nan_to_num(0.0).argmax(-1), -1)[kept]
    return sessions, kept, choices.numpy().astype(np.int16)


def _layout(
    library: Library, config: SpiceConfig, calls: dict[str, ModuleCall], dataset: DatasetRNN, kept: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Which module updates what, (n_trials, n_states, n_actions), and products of inputs, (…, n_factors, …)."""
    n_trials, n_actions = int(kept.sum()), library.n_actions
    modules = np.full((n_trials, len(library.states), n_actions), -1, np.int16)
    factors = np.ones((n_trials, len(library.factors), n_actions))
    observed = dataset.observed[kept].numpy()[:, None]
    for number, module in enumerate(library.modules):
        call = calls[module.name]
        inputs = call.inputs.transpose(0, 1)[kept].double().cpu().numpy()
        applies = (call.action.transpose(0, 1)[kept].numpy() != 0) & observed & ~np.isnan(inputs).any(-1)
        modules[:, module.state][applies] = number
        names = config.inputs(module.name)
        values = {name: np.nan_to_num(inputs[..., names.index(name)]) for name in module.controls}
        for index, product in enumerate(library.factors):
            if product and all(name in values for name, _ in product):
                factors[:, index] = np.prod([values[name] ** power for name, power in product], axis=0)
    return modules, factors


def _applies_to(where: np.ndarray, action: np.ndarray) -> int:
    """1 if a module updates the chosen option alone, 0 if the others alone, else -1."""
    everywhere = where.any(1)  # over states
    if not (everywhere & ~action).any():
        return 1
    return 0 if not (everywhere & action).any() else -1

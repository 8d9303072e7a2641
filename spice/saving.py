"""What a fitted estimator writes to its files, and how it comes back."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spice.equations import Equation
from spice.errors import ConfigError, FileError, join_problems
from spice.resources.columns import Columns
from spice.resources.config import SpiceConfig
from spice.resources.files import read_file, write_file
from spice.resources.rnn import BaseRNN

if TYPE_CHECKING:
    from spice.estimator import SpiceEstimator

MODULES = "submodules_rnn."  # parameters that equations replace


def save_network(path: str | os.PathLike, estimator: "SpiceEstimator") -> None:
    """Write the network's file."""
    if not hasattr(estimator, "rnn_model_"):
        raise ConfigError("there is no network to save: only equations were loaded; leave path_rnn out.")
    write_file(path, "rnn", _header(estimator, estimator.rnn_model_), {"state_dict": _tensors(estimator.rnn_model_)})


def save_equations(path: str | os.PathLike, estimator: "SpiceEstimator") -> None:
    """Write the equations' file, with the parameters that equations do not replace (scaling parameters, embeddings)."""
    if not hasattr(estimator, "spice_model_"):
        raise ConfigError("there are no equations to save: only a network was loaded; leave path_spice out.")
    equations = {
        estimator.participants_.index(label): {name: dict(entry.coefficients) for name, entry in modules.items()}
        for label, modules in estimator.equations_.items()
    }
    tensors = {name: value for name, value in _tensors(estimator.spice_model_).items() if not name.startswith(MODULES)}
    write_file(
        path, "spice", _header(estimator, estimator.spice_model_), {"state_dict": tensors, "equations": equations}
    )


def load_network(path: str | os.PathLike, estimator: "SpiceEstimator") -> BaseRNN:
    """Read a network's file into a model of the estimator's class."""
    header, payload = read_file(path, "rnn")
    model = _model_of(header, estimator, path)
    _load_tensors(model, payload["state_dict"], path)
    return model


def load_equations(
    path: str | os.PathLike, estimator: "SpiceEstimator"
) -> tuple[dict[int, dict[str, Equation]], BaseRNN]:
    """Read an equations' file; the model's modules themselves stay unset."""
    header, payload = read_file(path, "spice")
    model = _model_of(header, estimator, path)
    own = {name: value for name, value in _tensors(model).items() if name.startswith(MODULES)}
    _load_tensors(model, payload["state_dict"] | own, path)
    config = estimator.spice_config
    equations = {
        int(participant): {name: Equation(name, config.inputs(name), dict(terms)) for name, terms in modules.items()}
        for participant, modules in payload["equations"].items()
    }
    return equations, model


def _header(estimator: "SpiceEstimator", model: BaseRNN) -> dict[str, Any]:
    return {
        "class": estimator.rnn_class.__name__,
        "config": _plain_config(estimator.spice_config),
        "n_actions": estimator.n_actions_,
        "n_participants": estimator.n_participants_,
        "embedding_size": model.embedding_size,
        "participants": [_plain(label) for label in estimator.participants_],
        "labels": {name: [_plain(label) for label in labels] for name, labels in estimator.labels_.items()},
        "columns": None if model.columns is None else list(model.columns.names),
    }


def _plain_config(config: SpiceConfig) -> dict[str, Any]:
    modules = list(config.rnn_modules)
    return {
        "rnn_modules": modules,
        "control_parameters": list(config.control_parameters),
        "library_setup": {name: list(config.inputs(name)) for name in modules},
        "filter_setup": {
            name: [[_plain(part) for part in entry] for entry in config.filters(name)] for name in modules
        },
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _tensors(model: BaseRNN) -> dict[str, torch.Tensor]:
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if not name.startswith("submodules_sindy.")}


def _model_of(header: Mapping[str, Any], estimator: "SpiceEstimator", path: str | os.PathLike) -> BaseRNN:
    """An empty model for this file; the estimator takes on the file's numbers and labels."""
    problems = _differences(header, estimator)
    if problems:
        raise FileError(join_problems(f"{os.fspath(path)} belongs to another model ({header['class']})", problems))
    estimator.n_actions_ = header["n_actions"]
    estimator.n_participants_ = header["n_participants"]
    estimator.participants_ = tuple(header["participants"])
    estimator.labels_ = {name: tuple(labels) for name, labels in header["labels"].items()}
    model = estimator._build()
    if header["columns"] is not None:
        model.columns = Columns(header["n_actions"], tuple(header["columns"]))
    return model


def _differences(header: Mapping[str, Any], estimator: "SpiceEstimator") -> list[str]:
    ours, theirs = _plain_config(estimator.spice_config), header["config"]
    problems = []
    for key, name in (("rnn_modules", "modules"), ("control_parameters", "control signals")):
        if set(ours[key]) != set(theirs[key]):
            problems.append(f"its {name} are {', '.join(theirs[key])}; this estimator's are {', '.join(ours[key])}.")
    for module in ours["rnn_modules"]:
        here, there = ours["library_setup"][module], theirs["library_setup"].get(module)
        if there is not None and here != there:
            problems.append(f"its module {module!r} reads {there}; this estimator's reads {here}.")
    for name, mine in (
        ("n_actions", estimator.n_actions),
        ("n_participants", estimator.n_participants),
        ("embedding_size", estimator.embedding_size),
    ):
        if mine is not None and mine != header[name]:
            problems.append(f"its {name} is {header[name]}; this estimator's is {mine}.")
    return problems


def _load_tensors(model: BaseRNN, tensors: Mapping[str, torch.Tensor], path: str | os.PathLike) -> None:
    own = _tensors(model)
    problems = [f"it has no parameter {name!r}." for name in own if name not in tensors]
    problems += [
        f"its parameter {name!r} does not exist in {type(model).__name__}." for name in tensors if name not in own
    ]
    problems += [
        f"its parameter {name!r} has shape {tuple(value.shape)}, that of this model {tuple(own[name].shape)} "
        "(set hidden_size, embedding_size as in the file)."
        for name, value in tensors.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        raise FileError(join_problems(f"{os.fspath(path)} belongs to another model", problems))
    model.load_state_dict(tensors, strict=False)

"""What a fitted model writes to its files, and how it comes back."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from spice.equations import Equation, term_exponents
from spice.errors import FileError, join_problems
from spice.inference import Results
from spice.resources.columns import Columns
from spice.resources.config import SpiceConfig
from spice.resources.files import read_file, write_file
from spice.resources.rnn import BaseRNN

MODULES = "submodules_rnn."  # parameters that equations replace


@dataclass(frozen=True)
class ModelCard:
    """What tells one fitted model from another: the header of its files, plain data only.

    Attributes
    ----------
    model_class : str
        Name of the network's class.
    config : dict
        Modules, control signals, libraries and filters.
    n_actions, n_participants, embedding_size : int
        Sizes.
    participants : list
        Label of each participant number.
    labels : dict of str to list
        Labels of all coded columns.
    columns : list of str or None
        Names of the columns of ``xs``.
    """

    model_class: str
    config: dict[str, Any]
    n_actions: int
    n_participants: int
    embedding_size: int
    participants: list
    labels: dict[str, list]
    columns: list[str] | None

    @classmethod
    def of(
        cls, model: BaseRNN, config: SpiceConfig, n_participants: int, participants: tuple, labels: Mapping[str, tuple]
    ) -> "ModelCard":
        """Describe a model."""
        return cls(
            model_class=type(model).__name__,
            config=_plain_config(config),
            n_actions=model.n_actions,
            n_participants=_plain(n_participants),
            embedding_size=_plain(model.embedding_size),
            participants=[_plain(label) for label in participants],
            labels={name: [_plain(label) for label in entries] for name, entries in labels.items()},
            columns=None if model.columns is None else list(model.columns.names),
        )

    def name_columns(self, model: BaseRNN) -> None:
        """Tell a model the names of its columns."""
        if self.columns is not None:
            model.columns = Columns(self.n_actions, tuple(self.columns))


def save_network(path: str | os.PathLike, card: ModelCard, model: BaseRNN) -> None:
    """Write a network's file."""
    write_file(path, "rnn", asdict(card), {"state_dict": _tensors(model)})


def save_equations(
    path: str | os.PathLike,
    card: ModelCard,
    model: BaseRNN,
    equations: Mapping[int, Mapping[str, Equation]],
    results: Mapping[int, Results],
    people: Sequence[int],
) -> None:
    """Write an equations' file, with the parameters that equations do not replace (scaling parameters, embeddings).

    And with what stage 3 found about them, where they were refined; ``people`` are the numbers of all participants who
    have equations, be they their own or shared.
    """
    terms = {
        participant: {name: dict(entry.coefficients) for name, entry in modules.items()}
        for participant, modules in equations.items()
    }
    tensors = {name: value for name, value in _tensors(model).items() if not name.startswith(MODULES)}
    found = {"results": {number: entry.to_plain() for number, entry in results.items()}, "people": list(people)}
    write_file(path, "spice", asdict(card), {"state_dict": tensors, "equations": terms} | found)


def read_model_file(
    path: str | os.PathLike, kind: str, config: SpiceConfig, sizes: Mapping[str, int | None]
) -> tuple[ModelCard, dict[str, Any]]:
    """Read a file and check that it belongs to the model that is expected.

    Parameters
    ----------
    path : path-like
        The file.
    kind : {"rnn", "spice"}
        What it must hold.
    config : SpiceConfig
        The expected configuration; another class name alone is accepted.
    sizes : mapping of str to int or None
        Expected ``n_actions``, ``n_participants``, ``embedding_size``; None accepts the file's.

    Returns
    -------
    card : ModelCard
        Its header.
    payload : dict
        Its contents.

    Raises
    ------
    FileError
        If it is damaged, hostile, or of another model; all differences are listed.
    """
    header, payload = read_file(path, kind)
    try:
        card = ModelCard(**header)
        problems = _differences(card, config, sizes)
        counts = (card.n_actions, card.n_participants, card.embedding_size)
        if not all(type(count) is int for count in counts) or len(card.participants) != card.n_participants:
            raise TypeError("numbers do not fit")
    except (TypeError, KeyError, AttributeError):
        raise FileError(f"{os.fspath(path)} is damaged: its header lacks what every SPICE file has.") from None
    if problems:
        raise FileError(join_problems(f"{os.fspath(path)} belongs to another model ({card.model_class})", problems))
    return card, payload


def equations_of(
    payload: Mapping[str, Any], card: ModelCard, config: SpiceConfig, path: str | os.PathLike, shared: bool
) -> tuple[dict[int, dict[str, Equation]], dict[int, Results], list[int]]:
    """Equations in a file's payload, by participant number and module, stage 3's results, and whose they are.

    With ``shared`` those of number 0 are everybody's.

    Raises
    ------
    FileError
        If it does not hold an equation of every module for known participants.
    """
    try:
        equations = {
            int(participant): {
                name: Equation(name, config.inputs(name), {str(term): float(value) for term, value in terms.items()})
                for name, terms in modules.items()
            }
            for participant, modules in payload["equations"].items()
        }
        results = {
            int(participant): Results.from_plain(entry, equations[int(participant)], card.participants[participant])
            for participant, entry in payload.get("results", {}).items()
        }
        complete = not results or set(results) == set(equations)
        complete &= all(set(modules) == set(config.rnn_modules) for modules in equations.values())
        people = [int(participant) for participant in payload["people"]]
        known = all(0 <= participant < card.n_participants for participant in [*equations, *people])
        known &= bool(people) and set(equations) == ({0} if shared else set(people))
        for modules in equations.values():
            for equation in modules.values():
                for term in equation.coefficients:
                    term_exponents(equation.features, term)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{os.fspath(path)} is damaged: its equations cannot be read ({error}).") from None
    if not (equations and complete and known):
        raise FileError(f"{os.fspath(path)} is damaged: equations are missing, or are of unknown participants.")
    return equations, results, people


def load_tensors(model: BaseRNN, payload: Mapping[str, Any], path: str | os.PathLike, modules: bool = True) -> None:
    """Put a file's parameters into a model; with ``modules=False`` those of its network modules stay as they are.

    Raises
    ------
    FileError
        If names or shapes differ; all of them are listed.
    """
    tensors = payload["state_dict"]
    own = {name: value for name, value in _tensors(model).items() if modules or not name.startswith(MODULES)}
    problems = [f"it has no parameter {name!r}." for name in own if name not in tensors]
    problems += [
        f"its parameter {name!r} does not exist in {type(model).__name__}." for name in tensors if name not in own
    ]
    problems += [
        f"its parameter {name!r} has shape {tuple(value.shape)}, that of this model {tuple(own[name].shape)} "
        "(set hidden_size and embedding_size as in the file)."
        for name, value in tensors.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        raise FileError(join_problems(f"{os.fspath(path)} belongs to another model", problems))
    model.load_state_dict(tensors, strict=False)


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


def _differences(card: ModelCard, config: SpiceConfig, sizes: Mapping[str, int | None]) -> list[str]:
    ours, theirs = _plain_config(config), card.config
    problems = []
    for key, name in (("rnn_modules", "modules"), ("control_parameters", "control signals")):
        if set(ours[key]) != set(theirs[key]):
            problems.append(f"its {name} are {', '.join(theirs[key])}; this estimator's are {', '.join(ours[key])}.")
    for module, here in ours["library_setup"].items():
        there = theirs["library_setup"].get(module)
        if there is not None and here != there:
            problems.append(f"its module {module!r} reads {there}; this estimator's reads {here}.")
    for name, expected in sizes.items():
        if expected is not None and expected != getattr(card, name):
            problems.append(f"its {name} is {getattr(card, name)}; this estimator's is {expected}.")
    return problems

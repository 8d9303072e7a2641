"""The model that an estimator's settings describe, and data as a model without participants sees them."""

import warnings
from typing import Any

import torch

from spice.errors import ConfigError, SpiceWarning, did_you_mean, join_problems
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN


def build_model(
    rnn_class: type[BaseRNN],
    config: SpiceConfig,
    n_actions: int,
    n_participants: int,
    embedding_size: int | None,
    **settings: Any,
) -> BaseRNN:
    """Make a model and check that the configuration fits it.

    Parameters
    ----------
    rnn_class : type
        The model's class.
    config : SpiceConfig
        Its modules.
    n_actions, n_participants : int
        Of the data.
    embedding_size : int or None
        Length of the participant embedding; None: the model's own.
    **settings
        ``hidden_size`` and ``dropout``.

    Raises
    ------
    ConfigError
        If they do not fit together; all problems are listed.
    """
    if embedding_size is not None:
        settings["embedding_size"] = embedding_size
    model = rnn_class.build(n_actions, n_participants, **settings)
    unknown = [name for name in config.rnn_modules if name not in model.submodules_rnn]
    forgotten = [name for name in model.submodules_rnn if name not in config.rnn_modules]
    known = list(model.submodules_rnn)
    problems = [
        f"rnn_modules names {name!r}, which is no module of {rnn_class.__name__} "
        f"({', '.join(known) or 'none'}){did_you_mean(name, known)}."
        for name in unknown
    ] + [f"the module {name!r} of {rnn_class.__name__} is missing in rnn_modules." for name in forgotten]
    reads_people = any(isinstance(module, torch.nn.Embedding) for module in model.modules())
    if embedding_size is not None and (model.embedding_size != embedding_size or not reads_people):
        problems.append(f"{rnn_class.__name__} has no participant embedding: leave embedding_size out.")
    if problems:
        raise ConfigError(join_problems("spice_config does not fit the model", problems))
    if not reads_people:
        model.n_participants = 1  # nothing in it depends on the participant
    return model


def warn_if_shared(model: BaseRNN, dataset: DatasetRNN) -> None:
    """Say so when several people get one set of equations."""
    present = len(dataset.participants.unique())
    if present > 1 and model.n_participants == 1:
        warnings.warn(
            f"{type(model).__name__} has no participant embedding: one network and one set of equations are "
            f"fitted to all {present} participants. If the sessions are one participant's, set "
            "dataset.xs[..., -1] = 0; if people differ, use a model with an embedding, e.g. ChoiceRNN.",
            SpiceWarning,
            stacklevel=3,
        )


def pooled(dataset: DatasetRNN) -> DatasetRNN:
    """The data as one participant's."""
    xs = dataset.xs.clone()
    xs[..., dataset.columns.participant] = 0
    codes = dataset.participants.unique().tolist()
    name = dataset.label("participant", codes[0]) if len(codes) == 1 else "all"
    return DatasetRNN(xs, dataset.ys, dataset.columns.names, dataset.labels | {"participant": (name,)})

"""Checks of the estimator's constructor arguments: all problems at once, by name."""

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from types import NoneType
from typing import Any

import numpy as np
import torch

from spice.errors import ConfigError, join_problems
from spice.resources.arguments import in_words, is_number, is_whole
from spice.resources.config import SpiceConfig
from spice.resources.rnn import BaseRNN
from spice.sindy.regression import make_optimizer

LARGEST_SEED = 2**63
COUNTS = ("hidden_size", "epochs", "n_starts", "sindy_degree")
OPTIONAL_COUNTS = ("n_actions", "n_participants", "batch_size", "embedding_size")
AMOUNTS = ("learning_rate", "sindy_threshold", "weight_decay", "nonlinearity_decay", "embedding_decay")
CHOICES = {
    "dtype": ("float64", "float32"),
    "sindy_data": ("on-policy", "off-policy"),
    "missing_reward": ("error", "skip"),
    "estimation": ("map", "mle"),
    "criterion": ("calibrated", "bic", "aic", "ebic", "cv"),
}


def check_parameters(given: Mapping[str, Any]) -> None:
    """Check constructor arguments.

    Parameters
    ----------
    given : mapping of str to object
        Arguments by name, as ``get_params`` returns them.

    Raises
    ------
    ConfigError
        If some cannot be used.
    """
    problems = []
    is_default = given["rnn_class"] is None
    if not is_default and not (isinstance(given["rnn_class"], type) and issubclass(given["rnn_class"], BaseRNN)):
        problems.append("rnn_class must be a subclass of BaseRNN, e.g. spice.precoded.RescorlaWagnerRNN.")
    if not isinstance(given["spice_config"], SpiceConfig) and not (is_default and given["spice_config"] is None):
        problems.append("spice_config must be a SpiceConfig, e.g. spice.precoded.RESCORLA_WAGNER_CONFIG.")
    for name in COUNTS + OPTIONAL_COUNTS:
        value = given[name]
        if value is None and name in OPTIONAL_COUNTS:
            continue
        if not (isinstance(value, Integral) and is_whole(value, 1)):
            problems.append(f"{name} must be a whole number of at least 1, not {value!r}.")
    for name in AMOUNTS:
        value = given[name]
        if not is_number(value, 0):
            problems.append(f"{name} must be a number of at least 0, not {value!r}.")
    if given["learning_rate"] == 0:
        problems.append("learning_rate must be above 0.")
    for name in ("dropout", "validation_fraction"):
        if not is_number(given[name], 0, 1) or given[name] == 1:
            problems.append(f"{name} must lie in [0, 1), not {given[name]!r}.")
    callbacks = given["callbacks"]
    if callbacks is not None and not (isinstance(callbacks, Sequence) and all(map(callable, callbacks))):
        problems.append("callbacks must be a list of functions that take an epoch.")
    if not (given["checkpoint"] is None or isinstance(given["checkpoint"], (str, os.PathLike))):
        problems.append(f"checkpoint must be a path, not {given['checkpoint']!r}.")
    for name, known in CHOICES.items():
        if given[name] not in known:
            problems.append(f"{name}={given[name]!r} is unknown; choose one of {', '.join(known)}.")
    if not isinstance(given["refine"], (bool, np.bool_)):
        problems.append(f"refine must be True or False, not {given['refine']!r}.")
    if not isinstance(given["verbose"], (bool, np.bool_, int, NoneType)):
        problems.append(f"verbose must be True or False, not {given['verbose']!r}.")
    seed = given["random_state"]
    if not (seed is None or (isinstance(seed, Integral) and is_whole(seed, 0) and seed < LARGEST_SEED)):
        problems.append(f"random_state must be a whole number from 0 on (below 2**63) or None, not {in_words(seed)}.")
    try:
        if torch.device(given["device"]).type == "cuda" and not torch.cuda.is_available():
            problems.append("device='cuda' needs a GPU that torch can use, and there is none; leave device out.")
    except (RuntimeError, TypeError):
        problems.append(f"device={given['device']!r} is unknown; use 'cpu' or 'cuda'.")
    if problems:
        raise ConfigError(join_problems("SpiceEstimator cannot be used", problems))
    make_optimizer(given["sindy_optimizer"], given["sindy_threshold"])

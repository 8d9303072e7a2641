"""What is fitted: the likelihood of a model's choices, by participant or of all together."""

import inspect
from typing import Any, Protocol

import numpy as np

from spice.equations.compiled_model import CompiledModel
from spice.equations.symbolic import SymbolicModel
from spice.errors import ConfigError
from spice.inference.general.generated import Exact, GeneratedLikelihood
from spice.inference.general.own_step import StepLikelihood
from spice.resources.arguments import in_words
from spice.resources.dataset import DatasetRNN

MOST_ROWS = 200_000  # evaluated at once where everybody has the same parameters


class Likelihood(Protocol):
    """Likelihood of choices on the natural scale: generated code, or a model's own.

    Attributes
    ----------
    names : tuple of str
        Parameters, in the order of the columns of rows.
    participants : list of int
        Participant number of each group.
    """

    names: tuple[str, ...]
    participants: list[int]

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Value, gradient and Hessian of rows (n_rows, n_parameters), each of the participant ``group``."""

    def gradient(self, values: np.ndarray, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of rows."""

    def log_probabilities(self, values: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Log-probability of each scored choice in order, (n_rows, most_trials), padded with NaN."""

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Probabilities of the choice that follows each trial of the data, a row of values for each participant."""


def likelihood_of(model: Any, dataset: DatasetRNN, n_threads: int | None = None) -> Likelihood:
    """The likelihood of a model's choices.

    Parameters
    ----------
    model : SymbolicModel or CompiledModel
        The model.
    dataset : DatasetRNN
        The data.
    n_threads : int, optional
        Threads over which rows are spread; default those that torch may use.

    Raises
    ------
    ConfigError
        If it is no such model, or made for another number of options.
    DataError
        If the data lack what the model reads.
    """
    if isinstance(model, CompiledModel):
        return StepLikelihood(model, dataset, n_threads)
    if isinstance(model, SymbolicModel):
        return GeneratedLikelihood(model, dataset, n_threads)
    raise ConfigError(no_model(model))


def check_order(model: Any, dataset: Any, user: str) -> None:
    """Check that a function was not given a model where it takes the dataset.

    Raises
    ------
    ConfigError
        If it was.
    """
    models = (SymbolicModel, CompiledModel)
    if isinstance(dataset, models):
        both = "" if isinstance(model, models) else ": are they swapped?"
        order = f"the first argument of {user} is the model and the second the dataset, {user}(model, dataset)"
        raise ConfigError(f"{order}, but a model was given as the second{both or '.'}")


def no_model(given: Any) -> str:
    """Say that something is no model, and how to make one of it."""
    advice = ""
    if inspect.isfunction(given):
        advice = f": call it, {given.__name__}()"
    elif callable(getattr(given, "symbolic_model", None)) and not isinstance(given, type):
        advice = ": give its symbolic_model()"
    return f"the model must be a SymbolicModel or a CompiledModel, not {in_words(given)}{advice}."


class Together:
    """The likelihood of all participants' choices, where everybody has the same parameters: one group.

    Parameters
    ----------
    likelihood : Likelihood
        By participant.
    """

    def __init__(self, likelihood: Likelihood):
        self.likelihood = likelihood
        self.names = likelihood.names
        self.participants = [-1]

    def n_scored(self) -> np.ndarray:
        """Scored choices, shape (1,)."""
        return self.likelihood.n_scored().sum(keepdims=True)

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Value, gradient and Hessian of rows, (n_rows, n_parameters)."""
        parts = [Exact(*map(self._sums, self.likelihood(*rows))) for rows in self._rows(values)]
        return Exact(*(np.concatenate(entry) for entry in zip(*parts, strict=True)))

    def gradient(self, values: np.ndarray, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of rows."""
        parts = [tuple(map(self._sums, self.likelihood.gradient(*rows))) for rows in self._rows(values)]
        nll, gradient = (np.concatenate(entry) for entry in zip(*parts, strict=True))
        return nll, gradient

    def log_probabilities(self, values: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Log-probability of each scored choice, one participant after the other, (n_rows, n_scored)."""
        values = np.atleast_2d(values)
        found = np.full((len(values), int(self.n_scored()[0])), np.nan)
        n_people = len(self.likelihood.participants)
        there = np.arange(found.shape[1]) < self.likelihood.n_scored()[:, None]
        for row, one in enumerate(values):
            each = self.likelihood.log_probabilities(np.repeat(one[None], n_people, 0))
            found[row] = each[there[:, : each.shape[1]]]
        return found

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Probabilities of the choice that follows each trial, of one row of values."""
        return self.likelihood.probabilities(np.repeat(np.atleast_2d(values), len(self.likelihood.participants), 0))

    def _rows(self, values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows repeated for every participant, in parts."""
        values, n_people = np.atleast_2d(values), len(self.likelihood.participants)
        size = max(MOST_ROWS // n_people, 1)
        parts = [values[i : i + size] for i in range(0, max(len(values), 1), size)]
        return [(np.repeat(part, n_people, 0), np.tile(np.arange(n_people), len(part))) for part in parts]

    def _sums(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(-1, len(self.likelihood.participants), *rows.shape[1:]).sum(1)

"""Hand-written and discovered models as scikit-learn estimators, for comparisons and cross-validation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from spice.errors import ConfigError, DataError
from spice.resources.arguments import in_words
from spice.resources.dataset import DatasetRNN

if TYPE_CHECKING:
    from spice.equations import SymbolicModel


class ModelEstimator(BaseEstimator):
    """A model of choices behind scikit-learn's interface: `spice.inference.fit` with fit, predict, score and clone.

    Parameters
    ----------
    model : SymbolicModel
        The model, for example ``spice.precoded.rescorla_wagner()`` or ``SpiceEstimator(...).symbolic_model()``.
    method : {"mle", "map", "em", "nuts"}, default "mle"
        As in `spice.inference.fit`.
    pooling : {"none", "partial", "complete"}, optional
        As there.
    settings : mapping, optional
        Further settings of the method, by name.

    Attributes
    ----------
    result_ : FitResult
        What `spice.inference.fit` returned.

    Notes
    -----
    Participants are known by their labels: data to predict hold other sessions of the participants that were fitted.
    Cut sessions, not participants, in cross-validation; with pooling "complete", anybody can be predicted.
    """

    def __init__(
        self,
        model: "SymbolicModel | None" = None,
        method: str = "mle",
        pooling: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.model = model
        self.method = method
        self.pooling = pooling
        self.settings = settings

    def fit(self, X: Any, y: Any = None) -> "ModelEstimator":
        """Fit the model.

        Parameters
        ----------
        X : DatasetRNN or array_like, shape (n_sessions, n_trials, n_features)
            Choices and outcomes; with a ``DatasetRNN``, ``y`` may be left out.
        y : array_like, shape (n_sessions, n_trials, n_actions), optional
            The choice that follows each trial, one-hot.

        Returns
        -------
        ModelEstimator
            Itself.

        Raises
        ------
        ConfigError, DataError
            If model, settings or data cannot be used.
        """
        from spice.inference import fit

        if self.model is None:
            raise ConfigError("ModelEstimator needs a model, e.g. ModelEstimator(spice.precoded.rescorla_wagner()).")
        if not isinstance(self.settings, (Mapping, type(None))):
            raise ConfigError(f"settings must be a mapping of names to values, not {in_words(self.settings)}.")
        self.result_ = fit(self.model, DatasetRNN.of(X, y), self.method, self.pooling, **(self.settings or {}))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Probabilities of the choice that follows each trial.

        Parameters
        ----------
        X : DatasetRNN or array_like, shape (n_sessions, n_trials, n_features)
            Trials of participants that were fitted.

        Returns
        -------
        np.ndarray, shape (n_sessions, n_trials, n_actions)
        """
        return self._fitted().predict(DatasetRNN.of(X, n_actions=self._n_actions()))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood per scored choice, in nats; arguments as for `fit`."""
        dataset = DatasetRNN.of(X, y)
        if not dataset.n_scored:
            raise DataError("there is no choice to score: give y, or a DatasetRNN whose ys are not all missing.")
        return float(self._fitted().log_likelihood(dataset).sum()) / dataset.n_scored

    def _fitted(self) -> Any:
        if not hasattr(self, "result_"):
            raise NotFittedError("this ModelEstimator is not fitted yet: call fit first.")
        return self.result_

    def _n_actions(self) -> int:
        return self._fitted().dataset.n_actions

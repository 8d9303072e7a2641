"""What a fit returns: estimates of every participant, how sure they are, how well they predict, and what went wrong."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spice.errors import ConvergenceWarning, DataError, first_of, join_problems
from spice.resources.agents import Seed
from spice.resources.alignment import check_codes
from spice.resources.dataset import DatasetRNN, check_is_dataset
from spice.resources.validation import check_choices

if TYPE_CHECKING:
    import pandas as pd

    from spice.inference.fitting.likelihoods import Likelihood
    from spice.inference.fitting.population import Population
    from spice.resources.environments import Bandits

EVERYBODY = "everybody"  # label of the one row of estimates where all participants share them


class Tables(NamedTuple):
    """Estimates as tables, participant x parameter: the fields of `FitResult` of the same names."""

    parameters: "pd.DataFrame"
    se: "pd.DataFrame"
    at_bound: "pd.DataFrame"


def tables(
    labels: Sequence[Any], names: Sequence[str], values: np.ndarray, se: np.ndarray, at_bound: np.ndarray
) -> Tables:
    """Estimates as tables.

    Parameters
    ----------
    labels : sequence, length n_participants
        Participants.
    names : sequence of str, length n_parameters
        Parameters.
    values, se, at_bound : np.ndarray, each (n_participants, n_parameters)
        Estimates, standard errors, and whether a bound holds them.
    """
    import pandas as pd

    index = participant_index(labels)
    return Tables(*(pd.DataFrame(part, index=index, columns=list(names)) for part in (values, se, at_bound)))


def interval_table(labels: Sequence[Any], names: Sequence[str], low: np.ndarray, high: np.ndarray) -> "pd.DataFrame":
    """Ends of intervals, each (n_participants, n_parameters), as a table: columns (parameter, "low" or "high")."""
    import pandas as pd

    ends = np.stack([low, high], axis=-1).reshape(len(low), -1)
    columns = pd.MultiIndex.from_product([list(names), ["low", "high"]], names=["parameter", None])
    return pd.DataFrame(ends, index=participant_index(labels), columns=columns)


def participant_index(labels: Sequence[Any]) -> "pd.Index":
    """Index of tables that have a row per participant."""
    import pandas as pd

    return pd.Index(list(labels), name="participant")


@dataclass
class FitResult:
    """A model fitted to choices.

    Attributes
    ----------
    model : SymbolicModel
        The model.
    method : {"mle", "map", "em", "nuts"}
        How it was fitted.
    pooling : {"none", "partial", "complete"}
        Each participant alone, as members of a population, or one set of parameters for all; with "complete" the
        tables of estimates have the one row ``"everybody"``.
    dataset : DatasetRNN
        The data.
    likelihood : Likelihood
        Likelihood of the choices, on the natural scale.
    parameters : pandas.DataFrame
        Estimates on the natural scale, participant x parameter.
    se : pandas.DataFrame
        Standard errors, of the same shape; NaN where a bound holds an estimate or the data do not identify it.
    at_bound : pandas.DataFrame of bool
        Whether a bound holds an estimate: the likelihood would rise beyond it.
    nll : pandas.Series
        Negative log-likelihood of each participant's choices at the estimates, nats.
    n_trials : pandas.Series of int
        Scored choices of each participant.
    converged : pandas.Series of bool
        Whether the optimum was reached.
    reason : pandas.Series of str
        Why, and what to know of a participant: "converged", "at a bound: alpha", "no scored choices", ...
    aic, bic : pandas.Series, or float with pooling "complete" and method "em"
        Akaike's and Schwarz's criterion at the estimates; with method "em" of the population's numbers.
    log_evidence : pandas.Series, float or None
        Of the log marginal likelihood: Laplace's approximation; of "em" given the population, by importance sampling.
        None where there is no prior.
    starts : pandas.Series or None
        Share of the starts that ended in the best optimum.
    population : Population or None
        The population, where one was estimated.
    optimum : np.ndarray, shape (n_participants, n_parameters), or None
        Of methods "mle" and "map": where the optimum is on the unconstrained scale, infinite at a bound.
    known_intervals : pandas.DataFrame or None
        `intervals`, if they are known already.
    """

    model: Any
    method: str
    pooling: str
    dataset: DatasetRNN
    likelihood: "Likelihood"
    parameters: "pd.DataFrame"
    se: "pd.DataFrame"
    at_bound: "pd.DataFrame"
    nll: "pd.Series"
    n_trials: "pd.Series"
    converged: "pd.Series"
    reason: "pd.Series"
    aic: Any
    bic: Any
    log_evidence: Any = None
    starts: "pd.Series | None" = None
    population: "Population | None" = None
    optimum: np.ndarray | None = None
    known_intervals: "pd.DataFrame | None" = None

    @property
    def intervals(self) -> "pd.DataFrame":
        """95 % intervals of the estimates, columns (parameter, "low" or "high"), on the natural scale.

        Methods "mle" and "map": by the likelihood ratio, or that of posterior densities (Venzon & Moolgavkar 1988);
        found when they are asked for first, which may take several times as long as the fit. They end at a bound, or at
        infinity, where choices exclude nothing on that side; NaN where a bound holds an estimate, or a rugged
        likelihood does not let an end be found. "em": normal on the
        unconstrained scale. "nuts": central quantiles of the draws.
        """
        if self.known_intervals is None:
            from spice.inference.fitting.likelihood_ratio import interval_ends
            from spice.inference.fitting.likelihoods import Together

            likelihood: Any = Together(self.likelihood) if self.pooling == "complete" else self.likelihood
            *ends, better = interval_ends(likelihood, self.model.parameters, self.method, np.asarray(self.optimum))
            self._warn_of_better(better)
            held = self.at_bound.to_numpy(bool)
            low, high = (np.where(held, np.nan, end) for end in ends)
            self.known_intervals = interval_table(list(self.parameters.index), list(self.parameters), low, high)
        return self.known_intervals

    def _warn_of_better(self, nats: np.ndarray) -> None:
        """Say whose intervals are not about their estimates, which are not the best."""
        found = [
            f"{label!r} ({more:.2g} nats)" for label, more in zip(self.parameters.index, nats, strict=True) if more
        ]
        if found:
            warnings.warn(
                f"the search for intervals came upon better optima than the estimates of {len(found)} participant(s): "
                f"{first_of(found)}. Their intervals are around these; fit with more n_starts=.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def predict(self, dataset: DatasetRNN | None = None) -> np.ndarray:
        """Probabilities of the choice that follows each trial.

        Parameters
        ----------
        dataset : DatasetRNN, optional
            Trials of the same participants, known by their labels; default those of the fit. With pooling "complete"
            of any participants. Options, and levels of inputs that are text, have the same labels in the same order.

        Returns
        -------
        np.ndarray, shape (n_sessions, n_trials, n_actions)

        Raises
        ------
        DataError
            If there are participants whose parameters were not estimated, or labels differ from those of the fit.
        """
        likelihood = self.likelihood if dataset is None else self._likelihood_of(dataset)
        return likelihood.probabilities(self._values_of(likelihood, self.dataset if dataset is None else dataset))

    def log_likelihood(self, dataset: DatasetRNN | None = None) -> "pd.Series":
        """Log-likelihood of each participant's choices at the estimates, nats; other data as in `predict`."""
        import pandas as pd

        likelihood = self.likelihood if dataset is None else self._likelihood_of(dataset)
        dataset = self.dataset if dataset is None else dataset
        nll = likelihood(self._values_of(likelihood, dataset)).nll
        return pd.Series(-nll, participant_index(participant_labels(likelihood, dataset)), name="log_likelihood")

    def simulate(self, environment: "Bandits", n_trials: int, n_sessions: int = 1, seed: Seed = None) -> DatasetRNN:
        """Let everybody, with the estimated parameters, play a task.

        Parameters
        ----------
        environment : Bandits
            The task.
        n_trials : int
            Number of scored choices per session.
        n_sessions : int, default 1
            Sessions of each participant.
        seed : int or numpy.random.Generator, optional
            Seed of choices and task.

        Returns
        -------
        DatasetRNN
            Participants in the order of ``parameters``, with their labels.

        Raises
        ------
        DataError
            If somebody has no estimates.
        """
        without = [str(label) for label in self.parameters.index[self.parameters.isna().any(axis=1)]]
        if without:
            raise DataError(
                f"participant(s) {', '.join(without[:10])} have no estimates to simulate with; use model.simulate with "
                "the rows of parameters that there are."
            )
        found = self.model.simulate(environment, n_trials, self.parameters, n_sessions, seed)
        labels = found.labels | {"participant": list(self.parameters.index)}
        return DatasetRNN(found.xs, found.ys, found.columns.names, labels)

    def summary(self) -> str:
        """What was found, as text."""
        from spice.inference.fitting.summary import summary  # reads like a page: it is long

        return summary(self)

    def to_arviz(self) -> Any:
        """Draws as an ArviZ object: only of methods that draw.

        Raises
        ------
        ConfigError
            If the method gives one estimate, no draws.
        """
        self._needs_draws()

    def loo(self, *_: Any, **__: Any) -> Any:
        """Expected log predictive density, choices left out one by one; as `to_arviz` only of methods that draw."""
        self._needs_draws()

    def waic(self, *_: Any, **__: Any) -> Any:
        """Widely applicable information criterion; as `to_arviz` only of methods that draw."""
        self._needs_draws()

    def _needs_draws(self) -> None:
        from spice.errors import ConfigError

        raise ConfigError(f'method "{self.method}" gives no draws of a posterior: fit with method="nuts".')

    def __getstate__(self) -> dict[str, Any]:
        """Without the likelihood, which holds compiled code and threads."""
        return {name: value for name, value in self.__dict__.items() if name != "likelihood"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """With the likelihood made anew."""
        self.__dict__.update(state)
        self.likelihood = self._likelihood_of(self.dataset)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(method={self.method!r}, pooling={self.pooling!r}, {len(self.nll)} participants, "
            f"parameters: {', '.join(self.parameters.columns)})"
        )

    def _likelihood_of(self, dataset: DatasetRNN) -> "Likelihood":
        from spice.inference.fitting.likelihoods import likelihood_of

        check_is_dataset(dataset, "predict")
        check_choices(dataset)
        fitted = self.dataset
        check_codes(dataset, fitted.n_actions, fitted.labels, ("choice", *self.model.inputs, *self.model.shown))
        return likelihood_of(self.model, dataset)

    def _values_of(self, likelihood: "Likelihood", dataset: DatasetRNN) -> np.ndarray:
        """Estimates of a likelihood's participants, (n_groups, n_parameters)."""
        labels = participant_labels(likelihood, dataset)
        if self.pooling == "complete":
            return np.repeat(self.parameters.to_numpy(float), len(labels), axis=0)
        known = {label: row for row, label in enumerate(self.parameters.index)}
        values = np.array([self.parameters.to_numpy(float)[known[label]] for label in labels if label in known])
        strange = [repr(label) for label in labels if label not in known]
        problems = []
        if strange:
            problems.append(
                f"participant(s) {first_of(strange)} were not fitted: hold out some of a person's "
                "sessions, not all (in cross-validation, groups by block), or fit with pooling='complete'."
            )
        problems += [
            f"participant {label!r} has no estimates: {self.reason[label]}."
            for label in labels
            if label in known and self.parameters.loc[label].isna().any()
        ]
        if problems and dataset is not self.dataset:
            raise DataError(join_problems("The choices cannot be predicted", problems[:10]))
        return values


def participant_labels(likelihood: Any, dataset: DatasetRNN) -> list[Any]:
    """The user's labels of the participants of a likelihood, or of whatever else names them."""
    return [dataset.label("participant", number) for number in likelihood.participants]

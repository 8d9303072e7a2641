"""Particle filter: the likelihood of models with a hidden variable, exact in the limit of many particles."""

from typing import Any, NamedTuple

import numpy as np

from spice.equations.compiled_model import CompiledModel, HiddenStep
from spice.errors import ConfigError, DataError, first_of
from spice.inference.fitting.result import EVERYBODY, participant_labels
from spice.inference.general.own_step import StepTrials
from spice.inference.threads import Threads
from spice.resources.arguments import as_numbers, in_words, is_number, is_whole
from spice.resources.dataset import DatasetRNN, check_is_dataset


class Filtered(NamedTuple):
    """What a particle filter knows of rows.

    Attributes
    ----------
    log_likelihood : np.ndarray, shape (n_rows,)
        Estimated log-likelihood, nats: the logarithm of the mean of the runs' likelihoods, which are unbiased.
    standard_error : np.ndarray, shape (n_rows,)
        Its standard error, from the runs; NaN with one run.
    log_probabilities : np.ndarray, shape (n_rows, most_trials)
        Logarithm of the probability of each scored choice in order, padded with NaN; they sum to the first.
    runs : np.ndarray, shape (n_rows, n_runs)
        Log-likelihood by each run. Where they differ by several nats, take more particles: the mean of likelihoods is
        then that of the luckiest run, and the standard error too small. That they agree is no proof: where choices are
        very unlike the model's, all runs may miss the same rare course. Take ten times the particles, to be sure.
    """

    log_likelihood: np.ndarray
    standard_error: np.ndarray
    log_probabilities: np.ndarray
    runs: np.ndarray


class ParticleFilter:
    """Log-likelihood of people who pick one value of a hidden variable in each trial.

    The person who is filtered does in each trial what the model's `HiddenStep` says: samples a value h from ``weigh``
    (for task sets: softmax(beta_high * q_high[season])), a choice from ``act`` given h (softmax(beta *
    q_low[h, alien])), and learns by ``learn`` with all weight on h (only that set's values learn; all are forgotten).
    Each particle is one possible course of hidden values with the states it led to. Its weight grows by the
    probability of each choice, summed over the values of this trial; then a value is sampled given the choice (the
    optimal proposal). Particles are resampled (systematically) where their effective number falls.

    Parameters
    ----------
    model : CompiledModel
        A model with a `HiddenStep`, of any rule.
    dataset : DatasetRNN
        The data.
    n_particles : int, default 1000
        Particles of a run.
    n_runs : int, default 10
        Independent runs, from which the standard error comes.
    seed : int, default 0
        Seed. The same one gives the same answer, whatever the number of threads.
    threshold : float, default 0.5
        Share of the particles below which their effective number leads to resampling.
    n_threads : int, optional
        Threads over which rows are spread; default those that torch may use.

    Attributes
    ----------
    names : tuple of str
        Parameters, in the order of the columns of rows.
    participants : list of int
        Participant number of each group.

    Raises
    ------
    ConfigError
        If the model has no hidden variable, or numbers are out of range.
    DataError
        If it is no dataset, or lacks what the model reads.

    References
    ----------
    Doucet, A., & Johansen, A. M. (2011). A tutorial on particle filtering and smoothing: Fifteen years later. In The
    Oxford Handbook of Nonlinear Filtering.
    """

    def __init__(
        self,
        model: CompiledModel,
        dataset: DatasetRNN,
        n_particles: int = 1000,
        n_runs: int = 10,
        seed: int = 0,
        threshold: float = 0.5,
        n_threads: int | None = None,
    ):
        if not isinstance(getattr(model, "step", None), HiddenStep):
            raise ConfigError(
                "a particle filter needs a CompiledModel with a HiddenStep: others have no hidden variable."
            )
        for name, value, least in (("n_particles", n_particles, 1), ("n_runs", n_runs, 1), ("seed", seed, 0)):
            if not is_whole(value, least):
                raise ConfigError(f"{name} must be a whole number from {least} on, not {in_words(value)}.")
        if n_threads is not None and not is_whole(n_threads, 1):
            raise ConfigError(f"n_threads must be a whole number from 1 on, not {in_words(n_threads)}.")
        if not is_number(threshold, 0, 1):
            raise ConfigError(f"threshold must be a number from 0 to 1, not {in_words(threshold)}.")
        check_is_dataset(dataset, "ParticleFilter")
        self.names = tuple(model.parameters)
        self._model, self._data = model, StepTrials(model, dataset)
        self.participants = self._data.participants
        self._places = {label: k for k, label in enumerate(participant_labels(self._data, dataset))}
        self._n_particles, self._n_runs = int(n_particles), int(n_runs)
        self._seed, self._threshold = int(seed), float(threshold)
        self._threads = Threads(self._data.lengths * self._n_particles, n_threads)

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Filtered:
        """Evaluate rows.

        Parameters
        ----------
        values : np.ndarray or pandas.DataFrame, shape (n_rows, n_parameters)
            Parameters on the natural scale; a table by its columns' names and, without ``group``, by participants'
            labels in its index, or of one row for ``"everybody"``.
        group : np.ndarray of int, shape (n_rows,), optional
            Participant of each row, by place in `participants`; default one row for each.

        Raises
        ------
        ConfigError, DataError
            If there are not as many finite numbers, or no such participant.
        """
        from spice.equations.filter_source import filter_function  # the compiler takes a second to import

        values, group = self._checked(values, group)
        kernel, arrays, n_runs = filter_function(self._model, self._data.offers), self._data.arrays, self._n_runs
        values, group = np.repeat(values, n_runs, axis=0), np.repeat(group, n_runs)
        seeds = np.random.SeedSequence(self._seed).generate_state(len(values), np.uint64)
        found = np.full((len(values), int(self._data.lengths[group].max(initial=0))), np.nan)
        sizes = (self._n_particles, self._threshold)
        self._threads.run(
            lambda part: kernel(values[part], group[part], *arrays, seeds[part], *sizes, found[part]), group
        )
        each, n_scored = self._data.of_scored(found, group), self._data.n_scored()
        each[np.isnan(each) & (np.arange(each.shape[1]) < n_scored[group][:, None])] = -np.inf  # states overflowed
        return _combine(each.reshape(-1, n_runs, each.shape[1]))

    def _checked(self, values: Any, group: Any) -> tuple[np.ndarray, np.ndarray]:
        """Rows and their participants: compiled loops would read beside arrays that do not fit."""
        if hasattr(values, "columns"):
            values, group = self._of_table(values, group)
        values = np.ascontiguousarray(as_numbers(values, "values"))
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ConfigError(
                f"values must be rows of {len(self.names)} numbers, for {', '.join(self.names)}; their shape is "
                f"{values.shape}."
            )
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(f"{self.names[column]} of row {row} is {values[row, column]}; values must be finite.")
        n_people = len(self.participants)
        n_rows = len(values)
        if group is None and n_rows > n_people:
            raise ConfigError(f"there are {n_rows} rows, but {n_people} participants; say whose they are by group.")
        group = np.arange(len(values)) if group is None else as_numbers(group, "group")
        if group.shape != (len(values),) or not np.isin(group, np.arange(n_people)).all():
            raise ConfigError(f"group must name a participant for each of {n_rows} rows, from 0 to {n_people - 1}.")
        return values, group.astype(np.int64)

    def _of_table(self, table: Any, group: Any) -> tuple[Any, Any]:
        """Columns by name; without ``group`` rows by participant label, or one row for everybody."""
        lacking = [name for name in self.names if name not in table.columns]
        if lacking:
            raise ConfigError(f"values lack {', '.join(map(repr, lacking))}; they need {', '.join(self.names)}.")
        table = table[list(self.names)]
        if group is not None:
            return table, group
        if list(table.index) == [EVERYBODY] and EVERYBODY not in self._places:
            everybody = list(self._places.values())
            return table.iloc[[0] * len(everybody)], everybody
        strange = [label for label in table.index if label not in self._places]
        if strange:
            raise ConfigError(
                f"values have rows of {first_of(list(map(repr, strange)))}, who are no participants of the data: "
                "index the table by participant label, or say whose rows they are by group."
            )
        return table, [self._places[label] for label in table.index]


def _combine(by_run: np.ndarray) -> Filtered:
    """Estimates from the log-probabilities of runs, (n_rows, n_runs, n_trials) with NaN behind the end."""
    scored = ~np.isnan(by_run[:, 0])
    course = np.cumsum(np.nan_to_num(by_run, neginf=-np.inf), axis=2)  # log-likelihood of the choices so far
    course = np.concatenate([np.zeros((*course.shape[:2], 1)), course], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        top = course.max(1)
        scale = np.where(np.isfinite(top), top, 0.0)
        likelihoods = np.exp(course - scale[:, None])
        mean = likelihoods.mean(1)
        log_mean = scale + np.log(mean)
        steps = np.where(scored, np.diff(log_mean, axis=1), np.nan)
        n_runs = by_run.shape[1]
        spread = likelihoods[..., -1].std(1, ddof=1) if n_runs > 1 else np.full(len(mean), np.nan)
        error = spread / mean[:, -1] / np.sqrt(n_runs)
    return Filtered(log_mean[:, -1], error, steps, course[..., -1])

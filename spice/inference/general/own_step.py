"""Likelihood of models that bring their own compiled step, behind the interface of generated ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spice.equations.compiled_model import CompiledModel, HiddenStep
from spice.equations.model_parts import Choices
from spice.equations.reading import has_offers, next_is_known
from spice.errors import ConfigError, ModelFormError
from spice.inference.general.flat_trials import FlatTrials, flatten
from spice.inference.general.generated import Exact
from spice.inference.threads import Threads
from spice.inference.used import trials_in_use
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.offers import offer_names


@dataclass(frozen=True)
class _Reads:
    """What a step reads of the data, said as a symbolic model says it."""

    inputs: tuple[str, ...]
    shown: Mapping[str, int]
    lagged: tuple = ()
    states: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple = ()
    offers: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.inputs, *self.shown, *(NEXT + name for name in self.shown), *self.offers)

    def choices(self, n_actions: int) -> list[Choices]:
        return [Choices(None, ())]


class StepTrials:
    """The data as a step reads them: participants in order, sessions up to the last trial that matters.

    Parameters
    ----------
    model : CompiledModel
        The model.
    dataset : DatasetRNN
        The data.

    Attributes
    ----------
    flat : FlatTrials
        The trials.
    participants : list of int
        Participant number of each group.
    n_actions : int
        Number of options.
    offers : bool
        Whether the data say which options are on offer.

    Raises
    ------
    ConfigError
        If the model is made for another number of options.
    DataError
        If a column is not there or has gaps, or a level is out of its range.
    """

    def __init__(self, model: CompiledModel, dataset: DatasetRNN):
        if dataset.n_actions != model.n_actions:
            raise ConfigError(
                f"the model {model.name!r} has {model.n_actions} options, but the data have {dataset.n_actions}."
            )
        self.offers = has_offers(dataset)
        reads = _Reads(model.inputs, model.shown, offers=offer_names(dataset.n_actions) if self.offers else ())
        self.flat: FlatTrials
        self.flat, self.participants = flatten(reads, dataset)  # type: ignore[arg-type]
        self.n_actions, self._shape = dataset.n_actions, tuple(dataset.shape[:2])
        self._order = dataset.participants.argsort(stable=True).numpy()
        dataset = dataset[self._order]
        self._kept = trials_in_use(dataset)[1].numpy()
        self._person = np.repeat(np.arange(len(self.participants)), self.lengths)
        self._place = np.arange(len(self._person)) - self.flat.sessions[self.flat.groups[self._person]]
        n_inputs, n_shown = len(model.inputs), len(model.shown)
        ends = np.cumsum([n_inputs, n_shown, n_shown])
        inputs, shown, coming, offered = np.split(self.flat.inputs, ends, axis=1)
        self._inputs = np.ascontiguousarray(inputs)
        known = next_is_known(model.shown, dataset)[self._kept]
        coming = np.where(known[:, None], coming, -1)
        if self.offers:  # where no choice was made all are, as in `FlatTrials`
            shown = np.hstack([shown, (offered > 0) | ~(offered > 0).any(1, keepdims=True)])
            coming = np.hstack([coming, self.flat.offered])
        self._shown, self._next_shown = (np.ascontiguousarray(part, dtype=np.int64) for part in (shown, coming))

    @property
    def arrays(self) -> list[np.ndarray]:
        """What compiled loops take: choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups.

        ``next_shown`` is -1 where it is not known. With ``offers``, shown and next_shown have a column for each option
        behind the model's own.
        """
        flat = self.flat
        seen = [flat.choice, flat.reward, flat.outcome, self._inputs, self._shown, self._next_shown]
        return [*seen, flat.target, flat.sessions, flat.groups]

    @property
    def lengths(self) -> np.ndarray:
        """Trials of each participant."""
        return np.diff(self.flat.ends)

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant."""
        return self.flat.n_scored()

    def of_scored(self, values: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Scored choices of rows in order, padded with NaN: (n_rows, most_trials) of (n_rows, n_trials)."""
        scored = np.zeros((len(self.participants), values.shape[1]), bool)
        inside = self._place < values.shape[1]  # rows may be of the shorter participants alone
        scored[self._person[inside], self._place[inside]] = self.flat.target[inside] >= 0
        n_scored = self.n_scored()
        found = np.full((len(group), int(n_scored.max(initial=0))), np.nan)
        found[np.arange(found.shape[1]) < n_scored[group][:, None]] = values[scored[group]]
        return found

    def of_dataset(self, values: np.ndarray) -> np.ndarray:
        """In the dataset's own order, (n_sessions, n_trials, ...): of (n_groups, n_trials, ...), NaN where none."""
        in_order, found = (np.full((*self._shape, *values.shape[2:]), np.nan) for _ in range(2))
        in_order[self._kept] = values[self._person, self._place]
        found[self._order] = in_order
        return found


class StepLikelihood:
    """Likelihood of a compiled model's choices; the interface is that of `GeneratedLikelihood`.

    Parameters
    ----------
    model : CompiledModel
        The model.
    dataset : DatasetRNN
        The data.
    n_threads : int, optional
        Threads over which rows are spread; default those that torch may use.

    Attributes
    ----------
    names : tuple of str
        Parameters, in the order of the columns of rows.
    participants : list of int
        Participant number of each group.
    trials : FlatTrials
        The trials.

    Raises
    ------
    ConfigError
        If the model is made for another number of options.
    DataError
        If a column is not there or has gaps, or a level is out of its range.
    """

    def __init__(self, model: CompiledModel, dataset: DatasetRNN, n_threads: int | None = None):
        self.names = tuple(model.parameters)
        self._model, self._data = model, StepTrials(model, dataset)
        self.trials, self.participants = self._data.flat, self._data.participants
        self._threads = Threads(self._data.lengths, n_threads)
        self._kernels: dict[int, Callable] = {}  # finding one takes longer than to evaluate few people

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant, shape (n_groups,)."""
        return self._data.n_scored()

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Evaluate rows.

        Parameters
        ----------
        values : np.ndarray, shape (n_rows, n_parameters)
            Parameters.
        group : np.ndarray of int, shape (n_rows,), optional
            Participant of each row, by place in `participants`; default one row for each.
        """
        from spice.equations.jets import unpack

        nll, gradient, hessian = unpack(-self._jets(values, group, order=2), len(self.names))
        return Exact(np.where(np.isfinite(nll), nll, np.inf), gradient, hessian)

    def gradient(self, values: np.ndarray, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Negative log-likelihood and its gradient alone, (n_rows,) and (n_rows, n_parameters); several times faster.

        Arguments are those of a call.
        """
        total = -self._jets(values, group, order=1)
        return np.where(np.isfinite(total[:, 0]), total[:, 0], np.inf), total[:, 1:]

    def log_probabilities(self, values: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Logarithm of the probability of each scored choice in order, (n_rows, most_trials), padded with NaN.

        Arguments are those of a call.
        """
        values, group = self._rows(values, group)
        found = self._replay(values, group)
        first = self.trials.sessions[self.trials.groups[:-1]]
        places = first[group][:, None] + np.arange(found.shape[1])
        target = self.trials.target[np.minimum(places, len(self.trials.target) - 1)]
        own = np.take_along_axis(found, np.maximum(target, 0).astype(np.int64)[..., None], -1)[..., 0]
        return self._data.of_scored(own, group)

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Probability of each option for the choice that follows each trial.

        Parameters
        ----------
        values : np.ndarray, shape (n_groups, n_parameters)
            Parameters of each participant.

        Returns
        -------
        np.ndarray, shape (n_sessions, n_trials, n_actions)
            In the dataset's own order; NaN behind a session's end and where it is not known what is shown next.
        """
        return self._data.of_dataset(np.exp(self._replay(*self._rows(values, None))))

    # ------------------------------------------------------------------ inside

    def _rows(self, values: np.ndarray, group: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        values = np.ascontiguousarray(values, dtype=float)
        group = np.arange(len(values)) if group is None else np.ascontiguousarray(group, dtype=np.int64)
        return values, group

    def _kernel(self, order: int) -> Callable:
        """The compiled likelihood with derivatives up to an order from 1 on; for 0 the choice probabilities."""
        from spice.equations.step_source import likelihood_function, replay_function  # the compiler is slow to import

        if order not in self._kernels:
            model, offers = self._model, self._data.offers
            kernel = likelihood_function(model, order, offers) if order else replay_function(model, offers)
            self._kernels[order] = kernel
        return self._kernels[order]

    def _jets(self, values: np.ndarray, group: np.ndarray | None, order: int) -> np.ndarray:
        from spice.equations.jets import length

        step = self._model.step
        if isinstance(step, HiddenStep) and step.rule != "marginal":
            raise ModelFormError(
                f"the likelihood of {self._model.name!r} with rule={step.rule!r} jumps, so that it has no derivatives "
                "to fit by; use rule='marginal' or the particle filter. spice.inference.likelihood_of(model, "
                "dataset).log_probabilities(values) gives its plain values."
            )
        values, group = self._rows(values, group)
        kernel = self._kernel(order)
        total = np.zeros((len(values), length(len(self.names), order)))
        arrays = self._data.arrays
        self._threads.run(lambda part: kernel(values[part], group[part], *arrays, total[part]), group)
        return total

    def _replay(self, values: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Log-probabilities of all options after each trial, (n_rows, n_trials, n_actions)."""
        kernel, arrays = self._kernel(0), self._data.arrays
        found = np.full((len(values), int(self._data.lengths[group].max(initial=0)), self._data.n_actions), np.nan)
        self._threads.run(lambda part: kernel(values[part], group[part], *arrays, found[part]), group)
        return found

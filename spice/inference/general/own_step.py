"""Likelihood of models that bring their own compiled step, behind the interface of generated ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spice.equations.compiled_model import CompiledModel, HiddenStep
from spice.equations.symbolic import SymbolicModel
from spice.errors import ConfigError, DataError, ModelFormError, join_problems
from spice.inference.build import trials_in_use
from spice.inference.general.generated import Exact, FlatTrials, GeneratedLikelihood, _flatten
from spice.inference.threads import Threads
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN


def likelihood_of(
    model: "SymbolicModel | CompiledModel", dataset: DatasetRNN, n_threads: int | None = None
) -> "GeneratedLikelihood | StepLikelihood":
    """The likelihood of a model's choices, whatever the model is made of.

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
    raise ConfigError(f"a SymbolicModel or CompiledModel is needed, not {type(model).__name__}.")


@dataclass(frozen=True)
class _Reads:
    """What a step reads of the data beside what is shown, said as a symbolic model says it."""

    inputs: tuple[str, ...]
    lagged: tuple = ()
    shown: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple = ()
    available: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return self.inputs

    def choices(self, n_actions: int) -> list:
        return []


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
        _check_columns(model, dataset)
        self.flat: FlatTrials
        self.flat, self.participants = _flatten(_Reads(model.inputs), dataset)  # type: ignore[arg-type]
        self.n_actions, self._shape = dataset.n_actions, tuple(dataset.shape[:2])
        self._order = dataset.participants.argsort(stable=True).numpy()
        dataset = dataset[self._order]
        self._kept = trials_in_use(dataset)[1].numpy()
        self._person = np.repeat(np.arange(len(self.participants)), self.lengths)
        self._place = np.arange(len(self._person)) - self.flat.sessions[self.flat.groups[self._person]]
        self._shown, self._next_shown = (self._levels(dataset, model.shown, prefix) for prefix in ("", NEXT))

    @property
    def arrays(self) -> list[np.ndarray]:
        """What compiled loops take: choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups."""
        flat = self.flat
        seen = [flat.choice, flat.reward, flat.outcome, flat.inputs, self._shown, self._next_shown]
        return [*seen, flat.target, flat.sessions, flat.groups]

    @property
    def lengths(self) -> np.ndarray:
        """Trials of each participant."""
        return np.diff(self.flat.sessions[self.flat.groups])

    def n_scored(self) -> np.ndarray:
        """Scored choices of each participant."""
        scored = np.concatenate([[0], np.cumsum(self.flat.target >= 0)])
        return np.diff(scored[self.flat.sessions[self.flat.groups]])

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

    def _levels(self, dataset: DatasetRNN, shown: Mapping[str, int], prefix: str) -> np.ndarray:
        """Columns of codes, (n_trials, n_shown); -1 where there is none, which is nowhere that one is needed."""
        levels = np.full((len(self._person), len(shown)), -1, np.int64)
        for k, (name, n_levels) in enumerate(shown.items()):
            codes = dataset.column(prefix + name).numpy()[self._kept]
            known = np.isin(codes, np.arange(n_levels))
            levels[known, k] = codes[known]
        return levels


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

    def _jets(self, values: np.ndarray, group: np.ndarray | None, order: int) -> np.ndarray:
        from spice.equations.jets import length
        from spice.equations.step_source import likelihood_function

        step = self._model.step
        if isinstance(step, HiddenStep) and step.rule != "marginal":
            raise ModelFormError(
                f"the likelihood of {self._model.name!r} with rule={step.rule!r} jumps, so that it has no derivatives "
                "to fit by; use rule='marginal' or the particle filter. log_probabilities gives its plain values."
            )
        values, group = self._rows(values, group)
        kernel = likelihood_function(self._model, order)
        total = np.zeros((len(values), length(len(self.names), order)))
        arrays = self._data.arrays
        self._threads.run(lambda part: kernel(values[part], group[part], *arrays, total[part]), group)
        return total

    def _replay(self, values: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Log-probabilities of all options after each trial, (n_rows, n_trials, n_actions)."""
        from spice.equations.step_source import replay_function

        kernel, arrays = replay_function(self._model), self._data.arrays
        found = np.full((len(values), int(self._data.lengths[group].max(initial=0)), self._data.n_actions), np.nan)
        self._threads.run(lambda part: kernel(values[part], group[part], *arrays, found[part]), group)
        return found


def _check_columns(model: CompiledModel, dataset: DatasetRNN) -> None:
    """Whether all columns are there, without gaps, and hold levels of their range."""
    used = {name: dataset.observed.numpy() for name in (*model.inputs, *model.shown)}
    used |= {NEXT + name: dataset.scored.numpy() for name in model.shown}
    problems = []
    for name, where in used.items():
        if not dataset.columns.has(name):
            hint = "; name what is seen before the choice in shown=[...] of convert_dataset, which adds next_ columns"
            known = ", ".join(dataset.columns.names)
            problems.append(
                f"there is no column {name!r}{hint if name not in model.inputs else ''}; there are {known}."
            )
            continue
        values, levels = dataset.column(name).double().numpy(), model.shown.get(name.removeprefix(NEXT))
        if name not in model.inputs and levels:
            wrong = where & ~np.isnan(values) & ~np.isin(values, np.arange(levels))
            if wrong.any():
                problems.append(
                    f"the column {name!r} holds {values[wrong][0]:g} at {_place(dataset, wrong)}, but the model has "
                    f"levels 0 to {levels - 1}; declare as many levels as there are, or code them from 0 on."
                )
        if (gaps := where & np.isnan(values)).any():
            problems.append(f"the column {name!r} is empty at {_place(dataset, gaps)}; fill it in.")
    if problems:
        raise DataError(join_problems(f"The model {model.name!r} cannot read the data", problems))


def _place(dataset: DatasetRNN, where: np.ndarray) -> str:
    session, trial = np.argwhere(where)[0]
    person = dataset.label("participant", int(dataset.participants[session]))
    return f"participant {person!r}, session {session}, trial {trial}"

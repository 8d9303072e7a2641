"""Models that no equation per option describes: they bring their own compiled step."""

import importlib
import keyword
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spice.errors import ConfigError, join_problems
from spice.resources.arguments import in_words, is_whole

if TYPE_CHECKING:
    from spice.equations.step_agent import StepAgent
    from spice.equations.symbolic import Parameter
    from spice.resources.dataset import DatasetRNN
    from spice.resources.environments import Bandits


class StepTrial(NamedTuple):
    """What a step sees of a trial in which a choice was made.

    Attributes
    ----------
    choice : int
        The choice.
    reward : float
        What it brought; NaN where that is unknown.
    outcome : np.ndarray, shape (n_actions,)
        What each option brought; NaN where it was not shown.
    inputs : np.ndarray, shape (n_inputs,)
        Further columns, in the order of the model's ``inputs``.
    shown : np.ndarray of int64, shape (n_shown,)
        What was shown before the choice, in the order of the model's ``shown``.
    """

    choice: int
    reward: float
    outcome: np.ndarray
    inputs: np.ndarray
    shown: np.ndarray


@dataclass(frozen=True)
class Step:
    """What a trial does, as two functions written with `spice.equations.jets` and decorated with ``jets.compiled``.

    States, parameters and results are jets, in the last axis of their arrays; ``n`` is to be passed on to the
    functions that ask for it. Functions should be defined in a file that can be imported: then their compiled form is
    kept on disk.

    Attributes
    ----------
    update : function of (states, parameters, trial, work, n)
        Changes ``states`` (a tuple of arrays, in the order of the model's) after a `StepTrial`, given ``parameters``
        (n_parameters, jet). It is called only where a choice was made.
    predict : function of (log_p, states, parameters, shown, work, n)
        Writes into ``log_p`` (n_actions, jet) the log-probability of each option for the coming choice, before which
        ``shown`` (n_shown,) is seen.
    work : int
        How many jets ``work`` (work, jet) holds, for both to compute in.
    """

    update: Callable
    predict: Callable
    work: int = 0

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by name."""
        return {"update": self.update, "predict": self.predict}

    def __reduce__(self) -> tuple:
        return _reduced(self)


RULES = ("marginal", "argmax")


@dataclass(frozen=True)
class HiddenStep:
    """What a trial does where the person first picks something unseen: one of a few values of a hidden variable.

    Written as `Step` is. Each trial the person samples a value from ``weigh``, acts by ``act`` given it, and learns by
    ``learn``.

    Attributes
    ----------
    n_hidden : int
        Number of values of the hidden variable.
    weigh : function of (log_w, states, parameters, shown, work, n)
        Writes the log-probability of each value, (n_hidden, jet).
    act : function of (log_p, states, parameters, shown, work, n)
        Writes the log-probability of each option given each value, (n_hidden, n_actions, jet).
    learn : function of (states, weights, parameters, trial, work, n)
        Changes the states after a trial. ``weights`` (n_hidden, jet) sum to 1: each says how much the trial belongs to
        a value. With all weight on one value it is what the person who picked it does.
    work : int
        As in `Step`.
    rule : {"marginal", "argmax"}
        What the likelihood makes of it. ``"marginal"``: each choice has its probability summed over the values, and
        ``learn`` gets the probability of each value given the choice. That is **approximate** where a person picks
        one value at a time, since what was learned depends on which: `spice.inference.fitting.particles` is exact in
        the limit of many particles. ``"argmax"``: the person always picks the most probable value (the first of equal
        ones); then the likelihood jumps wherever another becomes the most probable, so it is offered for plain values
        and simulation, without derivatives.
    """

    n_hidden: int
    weigh: Callable
    act: Callable
    learn: Callable
    work: int = 0
    rule: str = "marginal"

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by name."""
        return {"weigh": self.weigh, "act": self.act, "learn": self.learn}

    def __reduce__(self) -> tuple:
        return _reduced(self)


def can_be_imported(function: Callable) -> bool:
    """Whether another process finds the function under its name."""
    if function.__module__ == "__main__":
        return False
    try:
        module = importlib.import_module(function.__module__)
    except ImportError:
        return False
    return getattr(module, function.__name__, None) is function


def _reduced(step: Step | HiddenStep) -> tuple:
    """For pickles: functions by name where they can be imported, so that their compiled form on disk is found again."""
    places = {name: (f.__module__, f.__name__) for name, f in step.functions.items() if can_be_imported(f)}
    return _restored, (type(step), places, {name: part for name, part in vars(step).items() if name not in places})


def _restored(kind: type, places: Mapping[str, tuple[str, str]], rest: Mapping[str, Any]) -> Any:
    """A step from what `_reduced` has made of it."""
    return kind(**{name: getattr(importlib.import_module(module), f) for name, (module, f) in places.items()}, **rest)


class CompiledModel:
    """A model of choices whose step is compiled code instead of equations.

    It is fitted by the same calls as a `SymbolicModel`; the derivatives of its likelihood are exact, because the step
    is written with numbers that carry theirs.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters by name, in the order in which the step sees them.
    states : mapping of str to array_like
        Of each state its values at the start of a session, in any shape.
    step : Step or HiddenStep
        What a trial does.
    n_actions : int
        Number of options.
    shown : mapping of str to int, optional
        Columns seen before the choice, and how many levels each has; the data hold codes from 0 on, of this trial
        (``season``) and of the coming one (``next_season``).
    inputs : sequence of str, optional
        Further columns that the step reads after the choice.
    name : str, optional
        What the model is called.
    biases : sequence of str, optional
        Parameters that are added to the logits of all options but the first, see `spice.precoded.with_bias`.
    lapse : str, optional
        Parameter: the probability to choose any of the options on offer, see `spice.precoded.with_lapse`.
    written : sequence of (str, str, str), optional
        What the step does, line by line, for readers: for what, as text, and as LaTeX with an ``&``, such as
        ``("start", "q = 0.5", "q &= 0.5")``. So the model prints and typesets.

    Notes
    -----
    Row by row of a session: the choice and its outcome update the states, then what is shown before the next choice
    gives its prediction. A session starts with the start values; its first choice is not scored. A trial without a
    choice changes nothing and is predicted through.

    What the step says of a choice is changed afterwards, given each value of a hidden variable: biases are added, where
    the data have columns ``available_0``, ``available_1``, ... the other options get probability 0, and lapses are
    mixed in.

    Raises
    ------
    ConfigError
        Listing all that is wrong.
    """

    def __init__(
        self,
        parameters: "Mapping[str, Parameter]",
        states: Mapping[str, Any],
        step: Step | HiddenStep,
        n_actions: int,
        shown: Mapping[str, int] | None = None,
        inputs: Sequence[str] = (),
        name: str = "model",
        biases: Sequence[str] = (),
        lapse: str | None = None,
        written: Sequence[tuple[str, str, str]] = (),
    ):
        self.parameters = dict(parameters)
        self.states = {state: np.array(start, dtype=float) for state, start in states.items()}
        self.step, self.n_actions, self.name = step, n_actions, name
        self.shown, self.inputs = dict(shown or {}), tuple(inputs)
        self.biases, self.lapse, self.written = tuple(biases), lapse, tuple(written or ())
        problems = list(self._problems())
        if problems:
            raise ConfigError(join_problems(f"The model {name!r} cannot be used", problems))

    def replace(self, **changes: Any) -> "CompiledModel":
        """The model with other arguments than it was made with."""
        names = ("parameters", "states", "step", "n_actions", "shown", "inputs", "name", "biases", "lapse", "written")
        return CompiledModel(**{name: getattr(self, name) for name in names} | changes)

    def values(self, participant: Hashable = None) -> dict[str, float]:
        """Values of the parameters for one participant; see `SymbolicModel.values`."""
        from spice.equations.model_parts import known_values

        return known_values(self.parameters, participant)

    def agent(
        self, values: Any = None, n_actions: int | None = None, seed: Any = None, rule: str | None = None
    ) -> "StepAgent":
        """The model as an agent, for `create_dataset`, `plot_session` and trials of one's own.

        Parameters
        ----------
        values : mapping of str to float or array_like of shape (n_participants,), or pandas.DataFrame, optional
            Parameters, the same for everybody or by participant; by default the values that the model has.
        n_actions : int, optional
            Number of options, which is the model's.
        seed : int or numpy.random.Generator, optional
            Seed of the choices.
        rule : {"sample", "marginal", "argmax"}, optional
            What a hidden variable does, see `spice.equations.step_agent.StepAgent`.

        Raises
        ------
        ConfigError
            If values are missing, or arguments do not fit.
        """
        from spice.equations.step_agent import StepAgent

        if n_actions is not None and n_actions != self.n_actions:
            raise ConfigError(f"the model {self.name!r} has {self.n_actions} options, not {in_words(n_actions)}.")
        return StepAgent(self, self.values() if values is None else values, rule, seed)

    def simulate(
        self,
        environment: "Bandits",
        n_trials: int,
        values: Any = None,
        n_sessions: int = 1,
        seed: Any = None,
        rule: str | None = None,
    ) -> "DatasetRNN":
        """Let the model play a task, all sessions at once.

        Parameters
        ----------
        environment : Bandits
            The task.
        n_trials : int
            Number of scored choices per session.
        values : mapping or pandas.DataFrame, optional
            As for `agent`: with several values of a parameter, that many participants.
        n_sessions : int, default 1
            Sessions of each participant.
        seed : int or numpy.random.Generator, optional
            Seed of model and task.
        rule : {"sample", "marginal", "argmax"}, optional
            What a hidden variable does, see `spice.equations.step_agent.StepAgent`.

        Returns
        -------
        DatasetRNN
            Participants are numbered 0, 1, ... in the order of ``values``.

        Raises
        ------
        ConfigError
            If arguments do not fit.
        """
        from spice.resources.environments import check_is_task
        from spice.resources.simulation import create_dataset

        check_is_task(environment, "simulate")
        values = self.values() if values is None else values
        agent = self.agent(values, environment.n_actions, rule=rule)
        return create_dataset(agent, environment, n_trials, n_sessions, agent.n_participants, seed=seed)[0]

    def latex(self) -> str:
        """What was written about the model, as an ``aligned`` environment.

        Raises
        ------
        ConfigError
            If nothing was.
        """
        from spice.equations.model_text import compiled_latex

        if not self.written:
            raise ConfigError(f"the model {self.name!r} brings compiled code; say by written=[...] how it reads.")
        return compiled_latex(self)

    def __str__(self) -> str:
        from spice.equations.model_text import compiled_text

        return compiled_text(self) if self.written else repr(self)

    def __repr__(self) -> str:
        return (
            f"CompiledModel({self.name!r}, states: {', '.join(self.states)}; parameters: {', '.join(self.parameters)})"
        )

    def _problems(self) -> Iterator[str]:
        from spice.equations.model_problems import parameter_problems  # it imports sympy, which takes a while

        seen: set[str] = set()
        columns = [*self.shown, *self.inputs]
        kinds = {"parameter": list(self.parameters), "state": list(self.states), "column": columns}
        for kind, names in kinds.items():
            for entry in names:
                if not str(entry).isidentifier() or keyword.iskeyword(entry):
                    yield f"{entry!r} cannot be the name of a {kind}: use letters, digits and _."
                elif entry in seen:
                    yield f"the {kind} {entry!r} has a name that is taken; rename it."
                seen.add(entry)
        for entry, parameter in self.parameters.items():
            yield from parameter_problems(entry, parameter)
        for entry, start in self.states.items():
            if not start.size or not np.isfinite(start).all():
                yield f"the state {entry!r} needs finite values to start from."
        if not self.states:
            yield "there is no state; without one a trial changes nothing."
        if not is_whole(self.n_actions, 2):
            yield f"n_actions must be a whole number from 2 on, not {self.n_actions!r}."
        for entry, levels in self.shown.items():
            if not is_whole(levels, 1):
                yield f"shown[{entry!r}] must be the number of levels, from 1 on, not {levels!r}."
        for line in self.written:
            if not isinstance(line, tuple) or len(line) != 3 or not all(isinstance(part, str) for part in line):
                yield f"a line of written must be three texts, (for what, text, LaTeX), not {in_words(line)}."
        yield from self._choice_problems()
        yield from self._step_problems()

    def _choice_problems(self) -> Iterator[str]:
        if self.biases and is_whole(self.n_actions, 2) and len(self.biases) != self.n_actions - 1:
            yield f"{self.n_actions} options have {self.n_actions - 1} biases, not {len(self.biases)}."
        for entry in (*self.biases, *([] if self.lapse is None else [self.lapse])):
            if entry not in self.parameters:
                yield f"{entry!r} is no parameter, so it cannot be a bias or lapse."

    def _step_problems(self) -> Iterator[str]:
        step = self.step
        if not isinstance(step, (Step, HiddenStep)):
            yield f"step must be a Step or a HiddenStep, not {type(step).__name__}."
            return
        for entry, function in step.functions.items():
            if not hasattr(function, "py_func"):
                yield f"{entry} is no compiled function; decorate it with spice.equations.jets.compiled."
        if not is_whole(step.work, 0):
            yield f"work must be a whole number from 0 on, not {step.work!r}."
        if isinstance(step, HiddenStep):
            if not is_whole(step.n_hidden, 1):
                yield f"n_hidden must be a whole number from 1 on, not {step.n_hidden!r}."
            if step.rule not in RULES:
                yield f"rule must be one of {', '.join(RULES)}, not {step.rule!r}."

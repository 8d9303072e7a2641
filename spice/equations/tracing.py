"""From a model's own code to expressions: one trial of symbols goes through its ``step`` or ``forward``."""

from collections.abc import Hashable, Mapping
from copy import deepcopy

import numpy as np
import sympy
import torch

from spice.equations.evaluate import run_symbolic
from spice.equations.parsing import FUNCTIONS, symbol
from spice.equations.per_option import Run, per_option_model
from spice.equations.stand_ins import Named, put_symbols
from spice.equations.symbol_array import UNKNOWN, SymbolArray, Tape
from spice.equations.symbolic import SIGNALS, SymbolicModel
from spice.errors import ConfigError, ModelFormError, SpiceError
from spice.resources.columns import Columns
from spice.resources.dataset import DatasetRNN
from spice.resources.lags import lag_name
from spice.resources.rnn import BaseRNN
from spice.resources.trial import Sessions, States

AGREEMENT = 1e-6  # relative difference of the logits from the model's own
LARGEST = 1e3  # size of logits that are compared: what grows beyond is cut off by the model


def trace(model: BaseRNN, participants: Mapping[Hashable, int]) -> SymbolicModel:
    """Write a model whose modules are equations as expressions.

    Parameters
    ----------
    model : BaseRNN
        With equations in its modules' place.
    participants : mapping of label to int
        Participants to take the values of, by label their numbers; they share the expressions.

    Returns
    -------
    SymbolicModel
        Its parameters: coefficients by module and term, ``beta``, ``bias`` (relative to option 0), and what the model
        has of its own; with a value for each participant. A module's coefficient that is 0 for everybody is left out,
        a state's own coefficient that is 1 for everybody stays 1.

    Notes
    -----
    Modules cut states off at large values, expressions do not. After a trial without a choice the logits are those of
    the states as they were, whatever the model's code makes of a trial in which nothing was chosen.

    Raises
    ------
    ModelFormError
        If the model's code uses what has no symbolic form, or an option's update what belongs to another option, or
        if the expressions do not give the model's own logits.
    """
    try:
        with torch.no_grad():
            found = _trace(model, participants)
            _check(found, model, participants)
    except (ModelFormError, ConfigError) as error:  # the latter of names that expressions cannot have
        raise ModelFormError(
            f"{type(model).__name__} cannot be written as expressions: {error} Write its step with elementwise torch "
            "functions of each option's own values."
        ) from error
    return found


def _trace(model: BaseRNN, participants: Mapping[Hashable, int]) -> SymbolicModel:
    columns = model.columns or Columns.make(model.n_actions, 2 * model.n_actions + 1)
    copy = deepcopy(model).double().cpu().eval()
    copy._recorder = None
    starts = {name: _start(name, value, model) for name, value in copy.set_initial_state(1).items()}
    named = Named([*SIGNALS, *FUNCTIONS, *starts, *columns.names])
    put_symbols(copy, list(participants.values()), named)
    number = next(iter(participants.values()))
    lagged = _lagged(copy, columns, named.tape)
    tells = {_tells_hidden_outcomes(copy, columns, person) for person in participants.values()}
    if len(tells) > 1:
        raise ModelFormError("hidden outcomes are unknown to some participants and 0 to others; take one at a time.")
    hidden = ("reward", "outcome") if tells.pop() else ("reward",)
    runs, n_parameters = {}, named.tape.n_arrays
    for chosen in range(model.n_actions):
        for unknown in ("", *hidden) if chosen == 0 else ("",):
            named.tape.rewind(n_parameters, {})
            first = _run(copy, columns, named.tape, lagged, number, chosen, unknown)
            # once more, going on with the states' new values as symbols, so that what follows is written with them
            cuts = {n: _fresh(name, model.n_actions) for name, n in first.numbers.items() if n >= first.n_given}
            named.tape.rewind(n_parameters, cuts)
            runs[chosen, unknown] = _run(copy, columns, named.tape, lagged, number, chosen, unknown)
    return per_option_model(runs, starts, columns, named, list(participants))


def _tells_hidden_outcomes(model: BaseRNN, columns: Columns, participant: int) -> bool:
    """Whether outcomes of other options that were not shown are unknown to the model, not 0."""
    row = torch.zeros(1, 1, len(columns.names), dtype=torch.float64)
    row[..., 0] = 1.0
    row[..., model.n_actions + 1 : 2 * model.n_actions] = torch.nan
    row[..., columns.participant] = participant
    return bool(model.read_inputs(row).rewards[..., 1:].isnan().any())


def _start(name: str, value: torch.Tensor, model: BaseRNN) -> float:
    values = value.double().unique().tolist()
    if len(values) != 1:
        raise ModelFormError(f"the state {name!r} starts at different values for different options.")
    declared = float(model.init_values[name])
    return declared if np.float32(declared) == np.float32(values[0]) else values[0]  # as the user wrote it


def _fresh(name: str, n_actions: int) -> np.ndarray:
    """Symbols of a state after its update."""
    return np.array([[sympy.Symbol(f"{name}@{k}") for k in range(n_actions)]], dtype=object)


def _run(
    model: BaseRNN,
    columns: Columns,
    tape: Tape,
    lagged: Mapping[str, list],
    participant: int,
    chosen: int,
    unknown: str,
) -> Run:
    """One trial in which an option is chosen; the reward or the others' outcome may be unknown."""
    n_actions = model.n_actions
    action = np.array([[[sympy.Integer(int(k == chosen)) for k in range(n_actions)]]], dtype=object)
    reward = np.array([[[sympy.Symbol(f"reward@{k}") for k in range(n_actions)]]], dtype=object)
    if unknown:
        reward[0, 0, np.arange(n_actions) == chosen if unknown == "reward" else np.arange(n_actions) != chosen] = (
            UNKNOWN
        )
    old = {
        name: np.array([[sympy.Symbol(f"{name}@before@{k}") for k in range(n_actions)]], dtype=object)
        for name in model.init_values
    }
    states = {name: SymbolArray(entries, tape) for name, entries in old.items()}
    further = [[[symbol(name) for name in columns.all_inputs]]]
    block = symbol("block") if columns.has("block") else sympy.Integer(0)
    sessions = Sessions(
        actions=SymbolArray(action, tape),
        rewards=SymbolArray(reward, tape),
        further=SymbolArray(further, tape),
        blocks=SymbolArray([[block]], tape),
        observed=torch.ones(1, 1, dtype=torch.bool),
        participants=torch.tensor([participant]),
        experiments=torch.zeros(1, dtype=torch.int64),
        columns=columns,
        unknown_outcomes=True,
        lagged={name: SymbolArray([[row], [row]], tape) for name, row in lagged.items()},
    )

    def begin(batch_size: int = 1) -> dict[str, torch.Tensor]:
        type(model).set_initial_state(model, 1)  # what else it keeps begins anew
        model._state = States(states)
        return model.get_state()

    setattr(model, "read_inputs", lambda *_, **__: sessions)  # noqa: B010, on the instance alone
    setattr(model, "set_initial_state", begin)  # noqa: B010
    n_given = tape.n_arrays
    try:
        logits, after = model.logits_and_states(model(torch.zeros(1, 1, len(columns.names))))
    except SpiceError:
        raise
    except Exception as error:  # whatever a model's own code does with arrays that hold no numbers
        raise ModelFormError(f"its code does not take symbols ({type(error).__name__}: {error}).") from error
    return Run(
        states={name: _definition(after[name], tape, n_actions) for name in states},
        logits=_entries(logits, n_actions),
        numbers={name: after[name].number for name in states if isinstance(after[name], SymbolArray)},
        n_given=n_given,
    )


def _lagged(model: BaseRNN, columns: Columns, tape: Tape) -> dict[str, list[sympy.Expr]]:
    """Symbols of signals of earlier trials by option, told from what the signals are in one trial of symbols."""
    if not model.lags:
        return {}
    options = range(model.n_actions)
    reward = [sympy.Symbol(f"reward@{k}") for k in options]
    action = SymbolArray([[sympy.Integer(int(k == 0)) for k in options]], tape)
    further = SymbolArray([[symbol(name) for name in columns.all_inputs]], tape)
    signals = model.signals(model.make_trial(action, SymbolArray([reward], tape), further, None, columns))
    found = {}
    for signal, most in model.lags.items():
        entries = _entries(signals[signal], model.n_actions)
        for n in range(1, most + 1):
            if entries == reward:
                row = [sympy.Symbol(f"outcome_lag{n}@lag@{k}") for k in options]
            elif entries == [sympy.Integer(int(k == 0)) for k in options]:
                row = [sympy.Symbol(f"chosen_lag{n}@lag@{k}") for k in options]
            elif entries == [reward[0]] * len(reward):
                row = [symbol(f"reward_lag{n}")] * len(reward)
            elif len(set(entries)) == 1 and entries[0].is_Symbol:
                row = [symbol(f"{entries[0].name}_lag{n}")] * len(reward)
            else:
                raise ModelFormError(f"its signal {signal!r} of earlier trials is none of an option or a column.")
            found[lag_name(signal, n)] = row
    return found


def _definition(value: torch.Tensor, tape: Tape, n_actions: int) -> list[sympy.Expr]:
    """A state after the trial: of an array that was replaced by symbols what these stand for."""
    if isinstance(value, SymbolArray) and value.number in tape.replaced:
        value = SymbolArray(tape.replaced[value.number], Tape())
    return _entries(value, n_actions)


def _entries(value: torch.Tensor, n_actions: int) -> list[sympy.Expr]:
    entries = value.entries if isinstance(value, SymbolArray) else value.numpy()
    entries = entries.reshape(entries.shape[-1]) if entries.size == entries.shape[-1] else np.squeeze(entries)
    return [sympy.sympify(entry) for entry in np.broadcast_to(entries, n_actions)]


def _check(found: SymbolicModel, model: BaseRNN, participants: Mapping[Hashable, int]) -> None:
    """Compare with the model's own logits on random trials, some missing, some with an unknown reward."""
    columns = model.columns or Columns.make(model.n_actions, 2 * model.n_actions + 1)
    labels, rng = list(participants)[:3], np.random.default_rng(0)
    n, n_sessions, n_trials = model.n_actions, 3 * len(labels), 8
    xs = rng.random((n_sessions, n_trials, len(columns.names)))
    xs[..., :n] = np.eye(n)[rng.integers(n, size=(n_sessions, n_trials))]
    shown = (rng.random((n_sessions, n_trials, n)) < 0.5) | (xs[..., :n] == 1)
    shown[2::3] &= rng.random((n_sessions // 3, n_trials, n)) < 0.8
    xs[..., n : 2 * n][~shown] = np.nan
    xs[1::3, 4, : 2 * n] = np.nan
    xs[..., columns.participant] = np.repeat([participants[label] for label in labels], 3)[:, None]
    for name in {"block", "experiment"} & set(columns.names):
        xs[..., columns.index(name)] = 0
    dataset = DatasetRNN(xs, np.full((n_sessions, n_trials, n), np.nan), columns.names)
    expected = deepcopy(model).double().cpu().eval()(dataset.xs, batch_first=True)[0].numpy()
    rows = [found.values(label) for label in labels for _ in range(3)]
    values = {name: np.array([row[name] for row in rows]) for name in found.parameters}
    logits = run_symbolic(found, dataset, values)
    own, ours = (part - part[..., :1] for part in (expected, logits))
    used = np.isfinite(own) & (np.abs(own) < LARGEST) & dataset.observed.numpy()[..., None]
    if not (np.abs(own - ours)[used] <= AGREEMENT * (1 + np.abs(own[used]))).all():
        raise ModelFormError(
            "the expressions of one trial do not give its logits over several; it may keep something that is no state."
        )

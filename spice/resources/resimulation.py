"""Simulation with the design of given data: the same participants, sessions, missing trials and inputs, new choices."""

import copy

import numpy as np

from spice.errors import ConfigError, DataError
from spice.resources.agents import Agent, Seed, make_generator
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.environments import Bandits, task_problems

NEAREST = 5  # trials, in time, whose outcomes may come of a choice


def simulate_again(
    agent: Agent, dataset: DatasetRNN, environment: Bandits | None = None, seed: Seed = None
) -> DatasetRNN:
    """Let an agent live through the sessions of given data, all at once.

    Trials without a choice, choices that are not scored, unknown outcomes and all inputs stay where they are, but for
    what the task shows before each choice, if it is given. Outcomes come from the task, too. Else they are those of the
    data: what an option pays is drawn from the five trials of the session closest in time in which its outcome was
    seen, so that drifts and the kind of reward are kept (of another session where it was never seen in this one); a
    trial that showed the outcomes of all options shows the same ones again.

    Parameters
    ----------
    agent : Agent
        Who chooses; it is left as it is.
    dataset : DatasetRNN
        The design; participants by the agent's numbers.
    environment : Bandits, optional
        The task.
    seed : int or numpy.random.Generator, optional
        Seed of choices and outcomes; default is numpy's global state.

    Returns
    -------
    DatasetRNN
        With the columns and labels of the given one.

    Raises
    ------
    ConfigError
        If the task is none, or agent, task and data differ in their number of options.
    DataError
        If there is no task, and some option's outcome was never seen.
    """
    for problem in () if environment is None else task_problems(environment):
        raise ConfigError(problem)
    for name, other in (("agent", agent), ("environment", environment)):
        if other is not None and other.n_actions != dataset.n_actions:
            raise ConfigError(f"the {name} has {other.n_actions} options, the data have {dataset.n_actions}.")
    by_task = () if environment is None else environment.shown_names
    lacking = [name for name in by_task if name not in dataset.columns.shown]
    if lacking:
        raise ConfigError(
            f"the environment shows {', '.join(map(repr, lacking))} before each choice, but the data have no such "
            "shown input; name it in shown= where they are converted."
        )
    choosing, paying = make_generator(seed).spawn(2)
    columns, xs = dataset.columns, dataset.xs.double().numpy().copy()
    outcomes = _Outcomes(dataset, environment, paying)
    observed = dataset.observed.numpy()
    player = copy.copy(agent)
    player.new_sess(len(dataset), participants=dataset.participants.numpy(), seed=choosing)
    nothing = np.full((len(dataset), dataset.n_actions), np.nan)
    for name, value in outcomes.shown.items():
        xs[:, 0, columns.index(name)] = value
    if columns.shown:  # what was seen before the first choice: a trial without a choice changes nothing else
        player.update(nothing[:, 0], nothing, **{NEXT + name: xs[:, 0, columns.index(name)] for name in columns.shown})
    choices = np.empty((len(dataset), dataset.shape[1] + 1), int)
    for t in range(dataset.shape[1]):
        choices[:, t] = player.get_choice()
        made = np.where(observed[:, t], choices[:, t], np.nan)
        rewards = outcomes.step(t, made)
        for name, value in outcomes.shown.items():
            xs[:, t, columns.index(NEXT + name)] = value
            xs[:, t + 1 : t + 2, columns.index(name)] = value[:, None]
        player.update(made, rewards, **{name: xs[:, t, columns.index(name)] for name in columns.all_inputs})
        xs[:, t, columns.reward] = rewards
    choices[:, -1] = player.get_choice()
    one_hot = np.eye(dataset.n_actions)[choices]
    xs[..., columns.choice] = np.where(observed[..., None], one_hot[:, :-1], np.nan)
    return dataset.replace(xs, np.where(dataset.scored.numpy()[..., None], one_hot[:, 1:], np.nan))


class _Outcomes:
    """What choices pay, trial by trial: from a task, or drawn beforehand from the outcomes of the data."""

    def __init__(self, dataset: DatasetRNN, environment: Bandits | None, generator: np.random.Generator):
        rewards = dataset.xs[..., dataset.columns.reward].double().numpy()
        chosen = dataset.xs[..., dataset.columns.choice].numpy() == 1
        seen = ~np.isnan(rewards)
        self._n_actions = dataset.n_actions
        self._unknown = dataset.observed.numpy() & ~(seen & chosen).any(2)
        self._task = copy.copy(environment)
        if self._task is not None:
            self._task.new_sess(len(dataset), seed=generator)
            return
        complete = seen.all(2, keepdims=True)
        self._also_seen = complete | (seen & ~chosen)
        self._table = rewards
        if not complete.all():
            people = dataset.participants.numpy()
            drawn = [_draw(rewards[..., k], seen[..., k], people, k, generator) for k in range(dataset.n_actions)]
            self._table = np.where(complete, rewards, np.stack(drawn, axis=2))

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """What the task shows before the coming choice, each (n_sessions,)."""
        return {} if self._task is None else self._task.shown

    def step(self, t: int, made: np.ndarray) -> np.ndarray:
        """Rewards of each option, NaN where not shown, (n_sessions, n_actions); choices are NaN where none is made."""
        chosen = made[:, None] == np.arange(self._n_actions)
        if self._task is not None:
            rewards = self._task.step(made)
        else:
            rewards = np.where((chosen | self._also_seen[:, t]) & ~np.isnan(made)[:, None], self._table[:, t], np.nan)
        return np.where(chosen & self._unknown[:, t, None], np.nan, rewards)


def _draw(
    rewards: np.ndarray, seen: np.ndarray, participants: np.ndarray, option: int, generator: np.random.Generator
) -> np.ndarray:
    """An outcome of one option for every trial, each one that was seen nearby; all are (n_sessions, n_trials)."""
    if not seen.any():
        raise DataError(
            f"option {option} was never chosen with a known outcome, so nothing says what it pays: give the task "
            "(environment=...)."
        )
    n_sessions, n_trials = seen.shape
    number, times = seen.sum(1), np.arange(n_trials)
    in_order = np.argsort(~seen, axis=1, kind="stable")  # the trials in which it was seen come first
    before = seen.cumsum(1) - seen
    ranks = before[:, :, None] + np.arange(-NEAREST, NEAREST + 1)
    within = (ranks >= 0) & (ranks < number[:, None, None])
    nearby = in_order[np.arange(n_sessions)[:, None, None], np.clip(ranks, 0, n_trials - 1)]
    distance = np.where(within, np.abs(nearby - times[:, None]), np.inf)
    distance += generator.random(distance.shape) / 2  # ties are broken by chance
    order = np.argsort(distance, axis=2)
    pick = (generator.random(seen.shape) * np.clip(number, 1, NEAREST)[:, None]).astype(int)
    place = np.take_along_axis(order, pick[:, :, None], 2)
    found = rewards[np.arange(n_sessions)[:, None], np.take_along_axis(nearby, place, 2)[:, :, 0]]
    for session in np.flatnonzero(number == 0):
        same = seen & (participants == participants[session])[:, None]
        found[session] = _from_other_sessions(rewards, same if same.any() else seen, generator)
    return found


def _from_other_sessions(rewards: np.ndarray, seen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One of the outcomes closest in time of all sessions, for every trial, (n_trials,)."""
    sessions, times = np.nonzero(seen)
    mixed = generator.permutation(len(times))
    mixed = mixed[np.argsort(times[mixed], kind="stable")]
    trials = np.arange(rewards.shape[1])
    ranks = np.searchsorted(times[mixed], trials) + generator.integers(-(NEAREST // 2), NEAREST // 2 + 1, len(trials))
    chosen = mixed[np.clip(ranks, 0, len(mixed) - 1)]
    return rewards[sessions[chosen], times[chosen]]

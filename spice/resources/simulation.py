"""Simulation: participants who play a task."""

import copy
from typing import Any

import numpy as np

from spice.errors import ConfigError, join_problems
from spice.resources.agents import Agent, Seed, agent_problems, make_generator
from spice.resources.arguments import is_whole
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN
from spice.resources.environments import Bandits, task_problems
from spice.resources.sessions import BanditSession


def create_dataset(
    agent: Agent,
    environment: Bandits,
    n_trials: int,
    n_sessions: int,
    n_participants: int | None = None,
    draw_per: str = "participant",
    seed: Seed = None,
) -> tuple[DatasetRNN, list[BanditSession], list[dict[str, Any]]]:
    """Simulate participants who play a task, all sessions at once.

    Agent and environment are left as they are, but for one thing: an agent whose parameters are distributions
    keeps the values drawn for each participant, so that ``plot_session`` shows the truth. Where one participant
    has several values (``draw_per="session"`` with ``n_participants``) it forgets them and says so when it is
    used; ``parameters`` has them all.

    Parameters
    ----------
    agent : Agent
        Who chooses.
    environment : Bandits
        The task.
    n_trials : int
        Number of scored choices per session: ``n_trials + 1`` are simulated, since the first of a session
        has nothing to be predicted from.
    n_sessions : int
        Number of sessions: in all, each by its own participant, or per participant with ``n_participants``.
    n_participants : int, optional
        Number of participants; None: every session is a participant of its own.
    draw_per : {"participant", "session"}
        How often parameters given as distributions are drawn.
    seed : int or numpy.random.Generator, optional
        Seed of agent and environment together; without it each goes on with its own.

    Returns
    -------
    dataset : DatasetRNN
        ``xs`` (sessions, n_trials, 2 * n_actions + 1): one-hot choice, rewards (NaN where not shown),
        participant; ``ys`` (sessions, n_trials, n_actions): the following choice, one-hot. The sessions of a
        participant follow one another. A task that shows something before each choice adds two columns before
        the participant for each name: ``name`` and ``next_name``, of this trial and of the coming one.
    experiments : list of BanditSession
        One record per session, of all ``n_trials + 1`` trials.
    parameters : list of dict
        Per session: ``session``, ``participant``, and every parameter of the agent.

    Raises
    ------
    ConfigError
        If arguments do not fit; all of them are named.
    """
    _check_simulation(agent, environment, n_trials, n_sessions, n_participants, draw_per)
    n_trials, n_sessions = int(n_trials), int(n_sessions)
    n_participants = None if n_participants is None else int(n_participants)
    generators = (None, None) if seed is None else make_generator(seed).spawn(2)
    per_participant = 1 if n_participants is None else n_sessions
    participants = np.arange(n_sessions * (n_participants or 1)) // per_participant
    rows = participants
    if agent.draws_parameters:
        if draw_per == "session":
            rows = np.arange(len(participants))
        agent.draw_parameters(int(rows[-1]) + 1, seed=generators[0])
    player, task = copy.copy(agent), copy.copy(environment)
    if rows is not participants and per_participant > 1:
        agent.draw_parameters(0)
    player.new_sess(len(rows), participants=rows, seed=generators[0])
    _check_feedback(player, task)
    task.new_sess(len(rows), seed=generators[1])
    choices, rewards, probs, latent, shown = _simulate(player, task, n_trials + 1)
    experiments = [
        BanditSession(s, int(p), choices[s], rewards[s], probs[s], _of_session(latent, s), _of_session(shown, s))
        for s, p in enumerate(participants)
    ]
    return _as_dataset(choices, rewards, participants, shown), experiments, _list_parameters(player, participants)


def _check_simulation(
    agent: Agent, environment: Bandits, n_trials: int, n_sessions: int, n_participants: int | None, draw_per: str
) -> None:
    problems = [*agent_problems(agent, "agent"), *task_problems(environment)]
    if not problems and agent.n_actions != environment.n_actions:
        problems.append(f"the agent has {agent.n_actions} options, the environment {environment.n_actions}.")
    counts = {"n_trials": n_trials, "n_sessions": n_sessions}
    if n_participants is not None:
        counts["n_participants"] = n_participants
    for name, count in counts.items():
        if not is_whole(count, 1):
            problems.append(f"{name} must be a whole number from 1 on, not {count!r}.")
    if draw_per not in ("participant", "session"):
        problems.append(f"draw_per must be 'participant' or 'session', not {draw_per!r}.")
    if problems:
        raise ConfigError(join_problems("create_dataset cannot simulate", problems))


def _check_feedback(agent: Agent, environment: Bandits) -> None:
    if not environment.counterfactual and np.any(agent.parameters.get("alpha_counterfactual", 0) > 0):
        raise ConfigError(
            f"alpha_counterfactual is above 0, but {type(environment).__name__} shows only the outcome of the chosen "
            "option; make the environment with counterfactual=True, or set alpha_counterfactual=0."
        )


def _simulate(
    agent: Agent, environment: Bandits, n_trials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Play all sessions side by side.

    Returns
    -------
    choices : numpy.ndarray of int, shape (n_sessions, n_trials)
    rewards, probs : numpy.ndarray, shape (n_sessions, n_trials, n_actions)
        Rewards of a trial, and its reward probabilities.
    latent : dict of str to numpy.ndarray, shape (n_sessions, n_trials, n_actions)
        States before each choice.
    shown : dict of str to numpy.ndarray, shape (n_sessions, n_trials)
        What each trial showed before its choice.
    """
    choices, rewards, probs = [], [], []
    latent: dict[str, list[np.ndarray]] = {name: [] for name in agent.states}
    coming = environment.shown
    shown: dict[str, list[np.ndarray]] = {name: [value] for name, value in coming.items()}
    if shown:  # what is seen before the first choice: a trial without a choice changes nothing else
        nothing = np.full(environment.reward_probs.shape, np.nan)
        agent.update(nothing[:, 0], nothing, **_as_next(coming))
    for _ in range(n_trials):
        probs.append(environment.reward_probs)
        for name, values in latent.items():
            values.append(agent.get_state_value(name, multiply_with_beta=False))
        choices.append(agent.get_choice())
        rewards.append(environment.step(choices[-1]))
        seen, coming = coming, environment.shown
        agent.update(choices[-1], rewards[-1], **seen, **_as_next(coming))
        for name, values in shown.items():
            values.append(coming[name])
    stacked = {name: np.stack(values, axis=1) for name, values in latent.items()}
    by_trial = {name: np.stack(values[:-1], axis=1) for name, values in shown.items()}
    return np.stack(choices, axis=1), np.stack(rewards, axis=1), np.stack(probs, axis=1), stacked, by_trial


def _as_next(shown: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {NEXT + name: value for name, value in shown.items()}


def _of_session(values: dict[str, np.ndarray], session: int) -> dict[str, np.ndarray]:
    return {name: value[session] for name, value in values.items()}


def _as_dataset(
    choices: np.ndarray, rewards: np.ndarray, participants: np.ndarray, shown: dict[str, np.ndarray]
) -> DatasetRNN:
    one_hot = np.eye(rewards.shape[2])[choices]
    ids = np.broadcast_to(participants[:, None], choices.shape)[:, :-1]
    further = {}
    for name, values in shown.items():
        further[name], further[NEXT + name] = values[:, :-1], values[:, 1:]
    xs = np.dstack([one_hot[:, :-1], rewards[:, :-1], *further.values(), ids])
    return DatasetRNN(xs, one_hot[:, 1:], [*further, "participant"])


def _list_parameters(agent: Agent, participants: np.ndarray) -> list[dict[str, Any]]:
    columns = {name: values.tolist() for name, values in agent.parameters.items()}
    return [
        {"session": s, "participant": int(p)}
        | {name: tuple(v[s]) if isinstance(v[s], list) else v[s] for name, v in columns.items()}
        for s, p in enumerate(participants)
    ]

"""Checks of choice data before they are used: every problem named by column, session and trial."""

import warnings

import torch

from spice.errors import DataError, SpiceWarning, join_problems
from spice.resources.columns import NEXT
from spice.resources.dataset import DatasetRNN, in_all

LARGEST = 1e6  # reward, in size, whose square still leaves digits for a likelihood's curvature


def check_dataset(dataset: DatasetRNN, n_participants: int | None = None, missing_reward: str = "error") -> None:
    """Check that a model can be fitted to these data.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    n_participants : int, optional
        Number of participants that the model knows; default is any number.
    missing_reward : {"error", "skip"}
        Whether a choice without its reward is an error, or is scored and its outcome updates nothing.

    Raises
    ------
    DataError
        If they are not usable; all problems are listed at once.
    """
    if missing_reward not in ("error", "skip"):
        raise DataError(f"missing_reward={missing_reward!r} is unknown; choose 'error' or 'skip'.")
    problems = [*_choices(dataset, missing_reward), *_inputs(dataset), *_participants(dataset, n_participants)]
    if problems:
        raise DataError(join_problems("The data cannot be used", problems))
    warn_if_shifted(dataset, stacklevel=4)


def check_choices(dataset: DatasetRNN) -> None:
    """Check choices, rewards and participants, for models that check the further columns that they read themselves.

    Parameters
    ----------
    dataset : DatasetRNN
        The data; rewards of choices may be missing.

    Raises
    ------
    DataError
        If they are not usable; all problems are listed at once.
    """
    problems = [*_choices(dataset, "skip"), *_large_rewards(dataset), *_participants(dataset, None)]
    if problems:
        raise DataError(join_problems("The data cannot be used", problems))


def check_several_sessions(dataset: DatasetRNN, use: str, instead: str) -> None:
    """Check that everybody has two sessions at least: for what holds out whole ones, or draws them.

    Parameters
    ----------
    dataset : DatasetRNN
        The sessions of those concerned.
    use : str
        What sessions are needed for, e.g. ``"criterion='cv' holds out"``.
    instead : str
        What to do without them.

    Raises
    ------
    DataError
        If somebody has one session only.
    """
    people, counts = dataset.participants.unique(return_counts=True)
    if int(counts.min()) < 2:
        label = dataset.label("participant", int(people[counts.argmin()]))
        raise DataError(
            f"{use} whole sessions, but participant {label!r} has one session only: {instead}, or tell the sessions "
            "(blocks) apart in the data."
        )


def _choices(dataset: DatasetRNN, missing_reward: str) -> list[str]:
    return [
        *_one_hot(dataset.xs[..., dataset.columns.choice], "the choice columns of xs"),
        *_one_hot(dataset.ys, "ys"),
        *_rewards(dataset, missing_reward),
    ]


def _one_hot(values: torch.Tensor, where: str) -> list[str]:
    """Each row is one-hot, or all NaN (missing)."""
    missing = in_all(values.isnan())
    one_hot = in_all((values == 0) | (values == 1)) & (values.sum(-1) == 1)
    wrong = ~(missing | one_hot)
    if not wrong.any():
        return []
    if (values == -1).all(-1).any():
        session, trial = _first((values == -1).all(-1))
        return [
            f"{where} are -1 in session {session}, trial {trial}: code missing and padded trials as NaN "
            "(xs[xs == -1] = np.nan), not -1."
        ]
    session, trial = _first(wrong)
    row = [float(f"{value:.4g}") for value in values[session, trial].tolist()]
    return [
        f"{where} must be one-hot, but session {session}, trial {trial} has {row}{_count(wrong)}; use one column "
        "per action "
        "with a single 1, np.eye(n_actions)[choice], and NaN in all of them where the trial is missing."
    ]


def _rewards(dataset: DatasetRNN, missing_reward: str) -> list[str]:
    """Rewards are finite, there for the chosen option, and unobserved ones are not coded -1."""
    rewards = dataset.xs[..., dataset.columns.reward]
    chosen = dataset.xs[..., dataset.columns.choice] == 1
    problems = []
    if rewards.isinf().any():
        session, trial, action = _first(rewards.isinf())
        problems.append(
            f"reward_{action} is infinite in session {session}, trial {trial}; correct it, or set it to NaN if "
            "unobserved."
        )
    not_chosen = ~chosen & dataset.observed.unsqueeze(-1)
    least = rewards == -1
    if not_chosen.any() and not (not_chosen & ~least).any() and not (chosen & least).any():
        problems.append(
            "every reward of an option not chosen is -1 and no reward of a chosen one is: unobserved rewards are "
            "coded NaN "
            "here, not -1. Set them with rewards[rewards == -1] = np.nan."
        )
    if missing_reward == "error" and (unknown := chosen & rewards.isnan()).any():
        session, trial, action = _first(unknown)
        problems.append(
            f"reward_{action} is missing (NaN) in session {session}, trial {trial} although option {action} was chosen"
            f"{_count(unknown)}; fill it in, or use missing_reward='skip' (the choice is scored, the outcome "
            "updates nothing)."
        )
    return problems


def _large_rewards(dataset: DatasetRNN) -> list[str]:
    """Rewards are of a size that inverse temperatures can be found for."""
    rewards = dataset.xs[..., dataset.columns.reward]
    large = rewards.abs() > LARGEST
    wrong = large & rewards.isfinite() & dataset.observed.unsqueeze(-1) if large.any() else large
    if not wrong.any():
        return []
    session, trial, action = _first(wrong)
    return [
        f"reward_{action} is {rewards[session, trial, action].item():.3g} in session {session}, trial {trial}"
        f"{_count(wrong)}, beyond {LARGEST:g}; correct it, set it to NaN if that is a code for missing, or give all "
        "rewards in a larger unit (divide them)."
    ]


def _inputs(dataset: DatasetRNN) -> list[str]:
    """Inputs are finite wherever a choice was made, those shown next wherever the next choice is scored."""
    problems = []
    needed = {name: dataset.observed for name in dataset.columns.inputs + dataset.columns.shown}
    needed |= {NEXT + name: dataset.scored for name in dataset.columns.shown}
    for name, rows in needed.items():
        wrong = ~torch.isfinite(dataset.column(name)) & rows
        if wrong.any():
            session, trial = _first(wrong)
            problems.append(
                f"the column {name!r} is NaN or infinite in session {session}, trial {trial}{_count(wrong)}; fill "
                "it in, or "
                "mark the trial as missing (NaN in its choice columns)."
            )
    return problems


def _participants(dataset: DatasetRNN, n_participants: int | None) -> list[str]:
    """Participant numbers are whole, from 0 on, known to the model, and the same all through a session."""
    ids = dataset.column("participant")
    first = ids[:, :1]
    wrong = ~torch.isfinite(first) | (first < 0) | (first != first.round())
    if wrong.any():
        session, _ = _first(wrong)
        return [
            f"the participant of session {session} is {first[session].item():g}{_count(wrong)}; number "
            "participants 0, 1, 2, ..."
        ]
    changes = (ids != first) & dataset.observed
    if changes.any():
        session, trial = _first(changes)
        return [
            f"the participant changes within session {session}, at trial {trial}; a session is one participant's "
            "uninterrupted run of trials, so split it."
        ]
    if n_participants is not None and (first >= n_participants).any():
        session, _ = _first(first >= n_participants)
        return [
            f"the participant of session {session} is {first[session].item():g}, but "
            f"n_participants={n_participants} allows "
            f"0 to {n_participants - 1}; raise n_participants, or leave it out."
        ]
    return []


def warn_if_shifted(dataset: DatasetRNN, stacklevel: int = 2) -> None:
    """Say so where ys, or what is shown next, is not that of the following row: the usual slip of a hand-made array.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    stacklevel : int, default 2
        Of the warning, as in `warnings.warn`.
    """
    following = dataset.xs[:, 1:, dataset.columns.choice]
    own = dataset.ys[:, :-1]
    differs = ~in_all((own == following) | own.isnan() | following.isnan())
    if differs.any():
        session, trial = _first(differs)
        warnings.warn(
            f"ys of session {session}, trial {trial} is not the choice in row {trial + 1} of xs{_count(differs)}: "
            "ys[:, t] must "
            "be the choice of trial t + 1. If rows were left out, put missing trials (NaN) in their place.",
            SpiceWarning,
            stacklevel=stacklevel + 1,
        )
    used = dataset.scored[:, :-1] & dataset.observed[:, 1:]
    for name in dataset.columns.shown:
        differs = (dataset.column(NEXT + name)[:, :-1] != dataset.column(name)[:, 1:]) & used
        if differs.any():
            session, trial = _first(differs)
            warnings.warn(
                f"{NEXT + name} of session {session}, trial {trial} is not {name} in row {trial + 1}{_count(differs)}: "
                f"{NEXT + name} must be what is seen before the choice that ys holds, {name} of trial t + 1.",
                SpiceWarning,
                stacklevel=stacklevel + 1,
            )


def _first(wrong: torch.Tensor) -> list[int]:
    return wrong.nonzero()[0].tolist()


def _count(wrong: torch.Tensor) -> str:
    more = int(wrong.sum()) - 1
    return f" (and {more} more)" if more else ""

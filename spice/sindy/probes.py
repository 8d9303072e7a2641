"""Off-policy probes: sessions of random choices and outcomes that visit more than the participants did."""

import numpy as np
import torch

from spice.resources.dataset import DatasetRNN

N_SESSIONS = 4
LONGEST_RUN = 5


def probe_sessions(dataset: DatasetRNN, n_trials: int = 200, seed: int = 0) -> DatasetRNN:
    """Sessions in which every participant chooses at random and meets outcomes and inputs as in the data.

    Choices come in runs of 1 to 5 equal ones, so that states are driven far. Every row's outcome and inputs
    are those of a random trial of the data, its choice moved to another option.

    Parameters
    ----------
    dataset : DatasetRNN
        The data.
    n_trials : int, default 200
        Length of each of the 4 sessions per participant.
    seed : int, default 0
        Seed.

    Returns
    -------
    DatasetRNN
        Probes with the same columns and labels; nothing in them is to be scored.
    """
    generator = np.random.default_rng(seed)
    columns, n_actions = dataset.columns, dataset.n_actions
    participants = dataset.participants.unique().repeat_interleave(N_SESSIONS)
    n_sessions = len(participants)
    observed = dataset.xs[dataset.observed]
    xs = observed[torch.as_tensor(generator.integers(len(observed), size=(n_sessions, n_trials)))]
    # choices in runs: where one begins a new option is drawn
    begins = np.zeros((n_sessions, n_trials + n_trials * LONGEST_RUN), dtype=bool)
    lengths = generator.integers(1, LONGEST_RUN + 1, size=(n_sessions, n_trials))
    np.put_along_axis(begins, lengths.cumsum(axis=1), True, axis=1)
    drawn = generator.integers(n_actions, size=(n_sessions, n_trials))
    start = np.maximum.accumulate(np.where(begins[:, :n_trials], np.arange(n_trials), 0), axis=1)
    choice = torch.as_tensor(np.take_along_axis(drawn, start, axis=1))
    # roll the options of each row, so that its chosen outcome belongs to the new choice
    shift = choice - xs[..., columns.choice].argmax(-1)
    order = (torch.arange(n_actions) - shift.unsqueeze(-1)) % n_actions
    for part in (columns.choice, columns.reward):
        xs[..., part] = torch.gather(xs[..., part], -1, order)
    xs[..., columns.participant] = participants.unsqueeze(-1).to(xs.dtype)
    return dataset.replace(xs, torch.full((n_sessions, n_trials, n_actions), torch.nan))

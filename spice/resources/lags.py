"""Signals of earlier trials: for a batch of sessions all at once, and carried on from one pass to the next."""

import re
from collections.abc import Mapping

import torch

from spice.errors import ConfigError, did_you_mean
from spice.resources.trial import Sessions


def lag_name(signal: str, n: int) -> str:
    """Name of a signal's value ``n`` trials earlier: ``c_reward_lag1``."""
    return f"c_{signal}_lag{n}"


def lag_names(lags: Mapping[str, int]) -> list[str]:
    """Names of all lagged signals, e.g. of ``{"reward": 2}``: ``c_reward_lag1``, ``c_reward_lag2``."""
    return [lag_name(signal, n) for signal, most in lags.items() for n in range(1, most + 1)]


def lagged_signals(
    signals: Mapping[str, torch.Tensor], lags: Mapping[str, int], sessions: Sessions
) -> dict[str, torch.Tensor]:
    """Values of signals in earlier trials.

    Parameters
    ----------
    signals : mapping of str to torch.Tensor, each (n_trials * n_batch, n_actions)
        Signals of each trial.
    lags : mapping of str to int
        How many trials back each is asked for.
    sessions : Sessions
        The trials.

    Returns
    -------
    dict of str to torch.Tensor, each (n_trials + 1, n_batch, n_actions)
        By `lag_name`; the last row is what a trial after all of them would see. 0 before a session's start, where a
        trial had no choice, and where the outcome was unknown.

    Raises
    ------
    ConfigError
        If there is no such signal, or a number of trials is none.
    """
    found = {}
    for signal, most in lags.items():
        if signal not in signals:
            raise ConfigError(
                f"lags names the signal {signal!r}{did_you_mean(signal, list(signals))}; the model's signals are "
                f"{', '.join(signals)}."
            )
        if type(most) is not int or most < 1:
            raise ConfigError(f"lags of {signal!r} must be a whole number of trials from 1 on, not {most!r}.")
        values = signals[signal].reshape(sessions.actions.shape).nan_to_num(0.0)
        values = torch.where(sessions.observed.unsqueeze(-1), values, 0.0)
        for n in range(1, most + 1):
            nothing = values.new_zeros((n, *values.shape[1:]))
            found[lag_name(signal, n)] = torch.cat([nothing, values])[: len(values) + 1]
    return found


def carry_on(
    lagged: Mapping[str, torch.Tensor], lags: Mapping[str, int], before: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The same where trials went before: ``before`` holds what the first trial sees, each (n_batch, n_actions)."""
    if not before:
        return dict(lagged)
    found = {}
    for signal, most in lags.items():
        for n in range(1, most + 1):
            # trial t sees the signal of trial t - n, which for the first trial is n - t trials back
            seen = torch.stack([before[lag_name(signal, n - t)] for t in range(n)])
            values = lagged[lag_name(signal, n)]
            found[lag_name(signal, n)] = torch.cat([seen, values[n:]])[: len(values)]
    return found


def declaration(name: str) -> str:
    """What a class must say to offer a lagged signal of this name; nothing for other names."""
    match = re.fullmatch(r"c_(.+)_lag([1-9]\d*)", name)
    return f"write lags = {{{match[1]!r}: {match[2]}}} in the class" if match else ""

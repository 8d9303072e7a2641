"""Optima of many people, in batches that fit into memory."""

from dataclasses import dataclass

import numpy as np

from spice.errors import DataError
from spice.inference.fitting.defaults import person_prior
from spice.inference.fitting.descent import Descent
from spice.inference.fitting.likelihoods import Likelihood
from spice.inference.fitting.targets import Rows, Target
from spice.resources.dataset import DatasetRNN

MOST_ROWS = 50_000  # on their way at once


@dataclass
class Optima:
    """One row per participant.

    Attributes
    ----------
    theta : np.ndarray, shape (n_participants, n_parameters)
        Where, on the unconstrained scale; infinite at a bound.
    rows : Rows
        What is known there.
    converged : np.ndarray of bool, shape (n_participants,)
        Whether the optimum was reached.
    starts : np.ndarray, shape (n_participants,)
        Share of the starts that ended there.
    """

    theta: np.ndarray
    rows: Rows
    converged: np.ndarray
    starts: np.ndarray


def optima(target: Target, theta: np.ndarray, people: np.ndarray) -> Optima:
    """Minimise for each person.

    Parameters
    ----------
    target : Target
        What is minimised.
    theta : np.ndarray, shape (n_people, n_starts, n_parameters)
        Starts on the unconstrained scale.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.

    Returns
    -------
    Optima
        Of people none of whose starts has a finite value: the first start, with an infinite value.
    """
    size = max(MOST_ROWS // theta.shape[1], 1)
    parts = [_optima(target, theta[i : i + size], people[i : i + size]) for i in range(0, len(people), size)]
    if len(parts) == 1:
        return parts[0]
    joined = [np.concatenate([getattr(p, name) for p in parts]) for name in ("theta", "converged", "starts")]
    rows = Rows(*(np.concatenate(entry) for entry in zip(*(p.rows for p in parts), strict=True)))
    return Optima(joined[0], rows, joined[1], joined[2])


def _optima(target: Target, theta: np.ndarray, people: np.ndarray) -> Optima:
    descent = Descent(target, theta, people)
    descent.run()
    best, share = descent.best()
    return Optima(descent.theta[best], target(descent.theta[best], people), descent.converged[best], share)


def check_starts(
    target: Target, likelihood: Likelihood, dataset: DatasetRNN, theta: np.ndarray, people: np.ndarray
) -> None:
    """Check that there is somewhere to begin.

    Parameters
    ----------
    target : Target
        What is to be minimised.
    likelihood : Likelihood
        By participant.
    dataset : DatasetRNN
        The data.
    theta : np.ndarray, shape (n_people, n_parameters)
        Starts on the unconstrained scale.
    people : np.ndarray of int, shape (n_people,)
        Participants, by place in the target's likelihood.

    Raises
    ------
    DataError
        Naming participant, session, trial and parameter values of the first whose start has no finite value.
    """
    if not len(people):
        return
    bad = np.flatnonzero(np.isinf(target(theta, people).value))
    if not len(bad):
        return
    values = target.scale.natural(theta[bad[:1]])
    each = likelihood(np.repeat(values, len(likelihood.participants), 0)).nll
    group = people[bad] if target.likelihood is likelihood else np.flatnonzero(np.isinf(each))
    at = ", ".join(f"{name} = {value:.4g}" for name, value in zip(likelihood.names, values[0], strict=True))
    if not len(group) or np.isfinite(each[group[0]]):
        owners = {name: person_prior(parameter) for name, parameter in target.parameters.items()}
        empty = [
            f"{prior} of {name!r}"
            for (name, prior), value in zip(owners.items(), values[0], strict=True)
            if prior is not None and np.isinf(prior.log_density(value))
        ]
        priors = f"the prior {' and '.join(empty)} has" if empty else "the priors have"
        raise DataError(f"{priors} no mass at the start, {at}: give another start=, or another prior.")
    label = dataset.label("participant", likelihood.participants[group[0]])
    others = f" (and of {len(group) - 1} more)" if len(group) > 1 else ""
    place = first_bad_trial(likelihood, dataset, values, int(group[0]))
    raise DataError(
        f"the log-likelihood of participant {label!r}{others} is not finite at the start, {at}{place}: look for "
        "overflow, a division by zero or the logarithm of a negative number there, or give another start=."
    )


def first_bad_trial(likelihood: Likelihood, dataset: DatasetRNN, values: np.ndarray, person: int) -> str:
    """Where the log-probability of a choice is not finite first, in words; nothing where that is not known."""
    scored = dataset.scored.numpy()
    sessions = np.flatnonzero(dataset.participants.numpy() == likelihood.participants[person])
    places = np.argwhere(scored[sessions])
    found = likelihood.log_probabilities(values, np.array([person]))[0, : len(places)]
    bad = np.flatnonzero(~np.isfinite(found))
    if not len(bad):
        return ""
    session, trial = places[bad[0]]
    return f", first in {dataset.place(int(sessions[session]), int(trial) + 1)}"

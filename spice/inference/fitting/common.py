"""Where a population is looked for first: at the parameters that suit people best if all have the same.

A likelihood with hidden parts has several modes. From the mean of the default priors EM may end in a poor one, hundreds
of nats below the best; one set of parameters for everybody is found from many starts in no time. Without priors: where
hidden parts are all alike the likelihood is flat, and there the weakest prior would hold the search.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.likelihoods import Likelihood, Together
from spice.inference.fitting.optima import optima
from spice.inference.fitting.starts import given_starts, spread_starts, value_starts
from spice.inference.fitting.targets import Target
from spice.inference.general.generated import Exact

MOST_PEOPLE = 32  # enough to tell which mode is best
PER_PARAMETER = 4  # starts
FARTHEST = 2.5  # standard deviations from the mean of the default priors
NARROW = 0.5  # least standard deviation of people around a start, on the unconstrained scale


class Some:
    """The likelihood of a few of the participants.

    Parameters
    ----------
    likelihood : Likelihood
        Of all.
    people : np.ndarray of int
        Which, by place.
    """

    def __init__(self, likelihood: Likelihood, people: np.ndarray):
        self.names, self._likelihood, self._people = likelihood.names, likelihood, people
        self.participants = [likelihood.participants[person] for person in people]

    def __call__(self, values: np.ndarray, group: np.ndarray | None = None) -> Exact:
        """Value, gradient and Hessian of rows, (n_rows, n_parameters), each of the person ``group``."""
        return self._likelihood(values, self._people if group is None else self._people[group])


def population_start(
    start: Any, model: Any, likelihood: Likelihood, labels: list[Any], sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of people, on the unconstrained scale, from which a population is sought.

    Parameters
    ----------
    start : mapping of str to number or array, pandas.DataFrame, array_like or None
        What the user gives, as in `given_starts`; None: `common_start`.
    model, likelihood, labels
        As in `common_start`.
    sd : np.ndarray, shape (n_parameters,)
        Standard deviations where the user gives none.
    """
    if start is None:
        return common_start(model, likelihood, labels), sd
    theta = given_starts(start, model.parameters, labels)
    return theta.mean(0), np.maximum(theta.std(0), NARROW)


def common_start(model: Any, likelihood: Likelihood, labels: Sequence[Any]) -> np.ndarray:
    """The best of several optima of one set of parameters for a sample of people.

    Parameters
    ----------
    model : SymbolicModel or CompiledModel
        The model; the values that its parameters have are one of the starts.
    likelihood : Likelihood
        Of its choices.
    labels : sequence
        Of participants, in the likelihood's order.

    Returns
    -------
    np.ndarray, shape (n_parameters,)
        On the unconstrained scale, not far from the mean of the default priors.
    """
    mean, sd = theta_moments(model.parameters)
    people = np.flatnonzero(likelihood.n_scored())
    if not len(people) or not len(mean):
        return mean
    few = people[np.unique(np.linspace(0, len(people) - 1, MOST_PEOPLE).astype(int))]
    sample: Any = Some(likelihood, few)
    target = Target(Together(sample), model.parameters)
    theta = spread_starts(model.parameters, PER_PARAMETER * len(mean))
    known = value_starts(model.parameters, labels)
    theta = theta if known is None else np.concatenate([known[few].mean(0, keepdims=True), theta])
    found = optima(target, theta[None], np.zeros(1, int))
    return (
        np.clip(found.theta[0], mean - FARTHEST * sd, mean + FARTHEST * sd)
        if np.isfinite(found.rows.value[0])
        else mean
    )

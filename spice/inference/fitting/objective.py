"""The function that is minimised, for users who bring their own optimiser."""

from typing import Any

import numpy as np

from spice.errors import ConfigError, DataError, join_problems
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.likelihoods import Together, check_order, likelihood_of
from spice.inference.fitting.targets import Normal, Target
from spice.resources.arguments import as_numbers, in_words
from spice.resources.dataset import DatasetRNN, check_is_dataset
from spice.resources.validation import check_choices, warn_if_shifted


class Objective:
    """Negative log-likelihood, and minus a log prior if there is one, as a function of one vector.

    Goes straight into ``scipy.optimize.minimize(objective, objective.start, jac=True, hess=objective.hessian)``.

    Parameters
    ----------
    target : Target
        What is minimised.
    group : int
        Place of the participant in its likelihood.

    Attributes
    ----------
    names : tuple of str
        Parameters, in the order of theta.
    start : np.ndarray, shape (n_parameters,)
        Somewhere to begin: the means of the default priors.
    """

    def __init__(self, target: Target, group: int = 0):
        self._target, self._group = target, np.array([group])
        self.names = target.scale.names
        self.start = theta_moments(target.parameters)[0]

    def __call__(self, theta: Any) -> tuple[float, np.ndarray]:
        """Value and gradient.

        Parameters
        ----------
        theta : array_like, shape (n_parameters,)
            On the unconstrained scale: logit between two bounds, logarithm of the distance from one.

        Returns
        -------
        value : float
            Nats; infinite where the model overflows.
        gradient : np.ndarray, shape (n_parameters,)
            By theta.
        """
        value, gradient = self._target.first_order(self._row(theta), self._group)
        return float(value[0]), gradient[0]

    def hessian(self, theta: Any) -> np.ndarray:
        """Second derivatives by theta, shape (n_parameters, n_parameters)."""
        return self._target(self._row(theta), self._group).hessian[0]

    def natural(self, theta: Any) -> dict[str, float]:
        """Parameters by name on the natural scale."""
        values = self._target.scale.natural(self._row(theta))[0]
        return dict(zip(self.names, values.tolist(), strict=True))

    def unconstrained(self, values: Any) -> np.ndarray:
        """Theta of natural values, by name or in order; infinite at a bound.

        Parameters
        ----------
        values : mapping of str to float, or array_like of shape (n_parameters,)
            On the natural scale.

        Raises
        ------
        ConfigError
            If names or values do not fit.
        """
        if hasattr(values, "keys"):
            if set(values) != set(self.names):
                raise ConfigError(f"values are needed of {', '.join(self.names)}, not of {', '.join(values)}.")
            values = [values[name] for name in self.names]
        row = self._row(values)
        theta = self._target.scale.unconstrained(row)[0]
        if np.isnan(theta).any():
            outside = [f"{name} = {x:g}" for name, x, t in zip(self.names, row[0], theta, strict=True) if np.isnan(t)]
            raise ConfigError(f"{', '.join(outside)} lies outside the parameter's bounds.")
        return theta

    def _row(self, values: Any) -> np.ndarray:
        row = as_numbers(values, "theta")
        if row.shape != (len(self.names),):
            raise DataError(
                f"theta needs {len(self.names)} numbers, for {', '.join(self.names)}; its shape is {row.shape}."
            )
        return row[None]


def objective(model: Any, dataset: DatasetRNN, participant: Any = None, prior: Any = None) -> Objective:
    """The negative log-likelihood on the unconstrained scale as a function for any optimiser.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        The data.
    participant : optional
        Label of the participant; None: one theta that everybody shares.
    prior : (mu, Sigma), optional
        Mean (n_parameters,) and covariance (n_parameters, n_parameters) of a Gaussian prior of theta: minus its log
        density, normalising constant included, is added (Huys et al. 2011).

    Returns
    -------
    Objective
        A callable: theta to (value, gradient), with ``hessian``.

    Raises
    ------
    ConfigError
        If there is no such participant, or mean and covariance are not those of a Gaussian: all problems are listed.
    DataError
        If the data cannot be used.
    """
    check_order(model, dataset, "objective")
    check_is_dataset(dataset, "objective")
    check_choices(dataset)
    likelihood = likelihood_of(model, dataset)
    warn_if_shifted(dataset)
    if participant is None:
        return Objective(Target(Together(likelihood), model.parameters, normal=_normal(prior, likelihood.names)))
    number = dataset.code("participant", participant)
    if number not in likelihood.participants:
        known = ", ".join(repr(dataset.label("participant", entry)) for entry in likelihood.participants[:10])
        raise ConfigError(f"the data have no trials of participant {participant!r}; they have those of {known}.")
    target = Target(likelihood, model.parameters, normal=_normal(prior, likelihood.names))
    return Objective(target, likelihood.participants.index(number))


def _normal(prior: Any, names: tuple[str, ...]) -> Normal | None:
    """The prior from what the user gives."""
    if prior is None:
        return None
    if not isinstance(prior, (tuple, list)) or len(prior) != 2:
        raise ConfigError(f"prior must be (mu, Sigma), the mean and covariance of theta, not {in_words(prior)}.")
    mean, covariance = (as_numbers(part, name) for part, name in zip(prior, ("mu", "Sigma"), strict=True))
    n, problems = len(names), []
    if mean.shape != (n,):
        problems.append(f"mu needs {n} numbers, for {', '.join(names)}; its shape is {mean.shape}.")
    elif not np.isfinite(mean).all():
        problems.append("mu must be finite.")
    if covariance.shape != (n, n):
        problems.append(f"Sigma must be a matrix of {n} x {n}; its shape is {covariance.shape}.")
    elif not np.allclose(covariance, covariance.T, rtol=1e-10, atol=0.0):
        problems.append("Sigma must be symmetric and finite.")
    else:
        try:
            found = Normal.of(mean, covariance)
        except np.linalg.LinAlgError:
            problems.append(
                f"Sigma must be positive definite; its least eigenvalue is {np.linalg.eigvalsh(covariance)[0]:.3g}."
            )
    if problems:
        raise ConfigError(join_problems("The prior cannot be used", problems))
    return found

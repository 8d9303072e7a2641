"""A normal population on the way to its best: what EM changes, and the steps that it takes."""

from dataclasses import dataclass

import numpy as np

from spice.inference.fitting.em.modes import Laplace

NARROWEST = 0.25  # times a standard deviation (given those before it in order), at most in one step


@dataclass(frozen=True)
class Guess:
    """A normal population of people.

    Attributes
    ----------
    coefficients : np.ndarray, shape (n_columns, n_parameters)
        Of regressors on the means.
    root : np.ndarray, shape (n_parameters, n_parameters)
        Lower Cholesky factor of the covariance around these means.
    """

    coefficients: np.ndarray
    root: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Of people, (n_parameters, n_parameters)."""
        return self.root @ self.root.T

    def vector(self, units: np.ndarray) -> np.ndarray:
        """Coefficients and the root's elements, in units."""
        root = (self.root / units[:, None])[np.tril_indices(len(units))]
        return np.concatenate([(self.coefficients / units).ravel(), root])

    def with_vector(self, vector: np.ndarray, units: np.ndarray) -> "Guess":
        """The population that a vector describes, not much narrower than this one."""
        root = np.zeros_like(self.root)
        root[np.tril_indices(len(units))] = vector[self.coefficients.size :]
        root *= units[:, None]
        np.fill_diagonal(root, np.maximum(np.diag(root), np.diag(self.root) * NARROWEST))
        return Guess(vector[: self.coefficients.size].reshape(self.coefficients.shape) * units, root)

    def units(self, found: Laplace) -> np.ndarray:
        """Standard deviations with which single people's estimates scatter: of people and of their average error."""
        turned = np.linalg.inv(found.root).T @ found.axes
        information = (turned**2 * found.projected[:, None]).sum(2).mean(0)
        with np.errstate(divide="ignore"):
            return np.sqrt((self.root**2).sum(1) + 1 / information)

    def distances(self, other: "Guess", matrix: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Of each parameter the larger difference in units: of means (over people), or of roots of the covariances."""
        means = np.sqrt(((matrix @ (other.coefficients - self.coefficients)) ** 2).mean(0))
        return np.maximum(means, np.abs(other.root - self.root).max(1)) / units


@dataclass
class Step:
    """A step that was taken, and may have to be taken back.

    Attributes
    ----------
    origin : Guess
        The population before.
    units : np.ndarray, shape (n_parameters,)
        Of vectors.
    here, plain : np.ndarray
        The population as a vector, and the step without extrapolation.
    value, change : float
        Log evidence there, and what the plain step would change.
    share : float
        Of the plain step.
    extrapolated : bool
        Whether more than the plain step was taken.
    """

    origin: Guess
    units: np.ndarray
    here: np.ndarray
    plain: np.ndarray
    value: float
    change: float
    share: float
    extrapolated: bool

    def part(self) -> Guess:
        """Where the share of the plain step leads."""
        return self.origin.with_vector(self.here + self.share * self.plain, self.units)

    def shorter(self) -> Guess:
        """The plain step instead of an extrapolation, or half of what was taken."""
        self.share = self.share if self.extrapolated else self.share / 2
        self.extrapolated = False
        return self.part()

"""Posterior modes of many people at once, and normal approximations there (Laplace's), under a normal prior.

All is done in whitened coordinates z, in which the prior is standard normal: theta = mean + root @ z with
root @ root.T the prior's covariance. There the prior's curvature is 1 in every direction, so nothing depends on the
units of parameters, and a covariance that is almost singular is never inverted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spice.inference.general.generated import Exact

LEAST_CURVATURE = (
    0.1  # of a step's direction, in units of the prior's: where the posterior bends down, steps stay short
)
LARGEST = 1e100  # derivative with which one can go on to compute
SHORTEST = 1e-9  # share of a Newton step; rows that need less are at the limit of rounding
ROUNDING = 1e-13  # relative, of sums over trials
SHORT = 0.02  # the same where a step promises less than `LOST`: nothing but a kink stops it there
LOST = 5e-3  # nats (a tenth of a standard error): as good as converged where no step leads on

INFORMATIVE = 0.5  # times the prior's precision, from which on directions count in full for skewness
NEARBY = 1e-3  # standard deviations of the posterior, over which differences are taken
ROWS = ("z", "nll", "slope", "information", "axes", "converged", "stuck")

Likelihood = Callable[[np.ndarray, np.ndarray], Exact]


@dataclass
class Points:
    """Rows of parameters on the unconstrained scale, and the likelihood there.

    Attributes
    ----------
    group : np.ndarray of int, shape (n_rows,)
        Whose data, by place.
    theta : np.ndarray, shape (n_rows, n_parameters)
        Parameters.
    nll, gradient, hessian : np.ndarray, shapes (n_rows,), (n_rows, n_parameters), (n_rows, n_parameters, n_parameters)
        Negative log-likelihood and its derivatives by theta.
    """

    group: np.ndarray
    theta: np.ndarray
    nll: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray

    @classmethod
    def at(cls, likelihood: Likelihood, theta: np.ndarray, group: np.ndarray) -> "Points":
        """Evaluate rows; where anything is not finite, or would overflow next, likelihood and derivatives are 0."""
        nll, gradient, hessian = likelihood(theta, group)
        usable = np.isfinite(nll) & (np.abs(gradient) < LARGEST).all(1) & (np.abs(hessian) < LARGEST).all((1, 2))
        if not usable.all():
            nll = np.where(usable, nll, np.inf)
            gradient = np.where(usable[:, None], gradient, 0.0)
            hessian = np.where(usable[:, None, None], hessian, 0.0)
        return cls(group, theta, nll, gradient, hessian)

    def __len__(self) -> int:
        return len(self.theta)

    def __getitem__(self, rows: Any) -> "Points":
        return Points(self.group[rows], self.theta[rows], self.nll[rows], self.gradient[rows], self.hessian[rows])

    def put(self, rows: np.ndarray, other: "Points") -> None:
        """Take over another's, as these rows."""
        for name in ("group", "theta", "nll", "gradient", "hessian"):
            getattr(self, name)[rows] = getattr(other, name)


@dataclass
class Laplace:
    """Normal approximations of posteriors, in whitened coordinates.

    Attributes
    ----------
    root : np.ndarray, shape (n_parameters, n_parameters)
        Lower Cholesky factor of the prior's covariance.
    z : np.ndarray, shape (n_rows, n_parameters)
        Where the rows are.
    nll : np.ndarray, shape (n_rows,)
        Negative log-likelihood there.
    slope : np.ndarray, shape (n_rows, n_parameters)
        Gradient of the negative log posterior.
    information : np.ndarray, shape (n_rows, n_parameters)
        Eigenvalues of the likelihood's Hessian: how many times the prior's precision the data give, in each direction.
    axes : np.ndarray, shape (n_rows, n_parameters, n_parameters)
        Its eigenvectors, as columns.
    converged : np.ndarray of bool, shape (n_rows,)
        Whether no step promises more.
    stuck : np.ndarray of bool, shape (n_rows,)
        Whether steps promise more, but none led on.
    """

    root: np.ndarray
    z: np.ndarray
    nll: np.ndarray
    slope: np.ndarray
    information: np.ndarray
    axes: np.ndarray
    converged: np.ndarray
    stuck: np.ndarray

    @classmethod
    def of(cls, points: Points, mean: np.ndarray, root: np.ndarray) -> "Laplace":
        """Whiten what is known of points, given the prior: ``mean`` (n_rows, n_parameters) and ``root``."""
        from scipy.linalg import solve_triangular

        z = solve_triangular(root, (points.theta - mean).T, lower=True).T
        information, axes = np.linalg.eigh(root.T @ points.hessian @ root)
        slope = points.gradient @ root + z
        return cls(root, z, points.nll, slope, information, axes, *np.zeros((2, len(points)), bool))

    def __getitem__(self, rows: Any) -> "Laplace":
        return Laplace(self.root, *(getattr(self, name)[rows] for name in ROWS))

    def put(self, rows: np.ndarray, other: "Laplace") -> None:
        """Take over another's, as these rows."""
        for name in ROWS:
            getattr(self, name)[rows] = getattr(other, name)

    @property
    def energy(self) -> np.ndarray:
        """Negative log posterior up to the prior's constants: nll + z'z / 2, shape (n_rows,)."""
        return self.nll + (self.z**2).sum(1) / 2

    @property
    def projected(self) -> np.ndarray:
        """Information projected to positive semidefinite: without it, flat likelihoods give endless variances."""
        return np.maximum(self.information, 0.0)

    def steps(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton steps of rows in z, and the decreases of the energy that they promise."""
        axes = self.axes[rows]
        along = np.einsum("rji,rj->ri", axes, self.slope[rows])
        curvature = np.maximum(1 + self.information[rows], LEAST_CURVATURE)
        return -np.einsum("rij,rj->ri", axes, along / curvature), (along**2 / curvature).sum(1) / 2

    def covariances(self) -> np.ndarray:
        """Posterior covariances of theta, shape (n_rows, n_parameters, n_parameters)."""
        half = (self.root @ self.axes) / np.sqrt(1 + self.projected)[:, None]
        return half @ half.swapaxes(1, 2)

    def precisions(self) -> np.ndarray:
        """Inverse covariances of single people's estimates around the population's mean, in whitened coordinates.

        Between 0, of people without data, and 1: w / (1 + w) along axes with information w.
        """
        share = self.projected / (1 + self.projected)
        return (self.axes * share[:, None]) @ self.axes.swapaxes(1, 2)

    def log_evidence(self) -> np.ndarray:
        """Log of the likelihood integrated over the prior, shape (n_rows,)."""
        return -self.energy - np.log1p(self.projected).sum(1) / 2


def climb(
    likelihood: Likelihood, points: Points, mean: np.ndarray, root: np.ndarray, enough: float, most: int
) -> Laplace:
    """Move points to the modes of their posteriors by Newton steps, shortened until the posterior rises.

    A likelihood with the larger of two values in it has kinks, and modes at kinks, where slopes do not vanish.

    Parameters
    ----------
    likelihood : callable
        (theta, group) to `Exact` by theta.
    points : Points
        Where to begin; they are moved.
    mean, root : np.ndarray, shapes (n_rows, n_parameters), (n_parameters, n_parameters)
        The prior's means, and the lower Cholesky factor of its covariance.
    enough : float
        Nats that a step must promise to be taken.
    most : int
        Steps at most.

    Returns
    -------
    Laplace
        Normal approximations where the points are now.
    """
    found = Laplace.of(points, mean, root)
    share, going = np.ones(len(points)), np.isfinite(points.nll)
    for left in range(most, -1, -1):
        at = np.flatnonzero(going)
        steps, promised = found.steps(at)
        done = promised < enough
        found.converged[at[done]], going[at[done]] = True, False
        at, steps, promised = at[~done], steps[~done], promised[~done]
        if not len(at) or not left:
            break
        theta = points.theta[at] + (share[at, None] * steps) @ root.T
        tried = Points.at(likelihood, theta, points.group[at])
        there = Laplace.of(tried, mean[at], root)
        gain = found.energy[at] - there.energy
        better = gain > -ROUNDING * np.abs(found.energy[at])
        points.put(at[better], tried[better])
        found.put(at[better], there[better])
        share[at] = np.where(better, np.minimum(4 * share[at], 1.0), share[at] / 4)
        stuck = share[at] < np.where(promised < LOST, SHORT, SHORTEST)
        found.converged[at[stuck]], going[at[stuck]] = promised[stuck] < LOST, False
        found.stuck[at[stuck]] = promised[stuck] >= LOST
    return found


def everybody_at(
    likelihood: Likelihood, z: np.ndarray, group: np.ndarray, mean: np.ndarray, root: np.ndarray
) -> tuple[Points, np.ndarray]:
    """Everybody at the same places of the population.

    Parameters
    ----------
    likelihood : callable
        As for `climb`.
    z : np.ndarray, shape (n_places, n_parameters)
        Places, in whitened coordinates.
    group : np.ndarray of int, shape (n_people,)
        Whose data.
    mean, root
        As for `climb`; ``mean`` by person.

    Returns
    -------
    points : Points
        Place by place, person by person.
    energy : np.ndarray, shape (n_places, n_people)
        Negative log posteriors there, as `Laplace.energy`.
    """
    theta = (mean[None] + (z @ root.T)[:, None]).reshape(-1, z.shape[1])
    points = Points.at(likelihood, theta, np.tile(group, len(z)))
    return points, points.nll.reshape(len(z), -1) + (z**2).sum(1)[:, None] / 2


def likeliest(points: Points, energy: np.ndarray) -> Points:
    """Of each person the best place of those that `everybody_at` or `climb_from` returns."""
    n_people = energy.shape[1]
    return points[energy.argmin(0) * n_people + np.arange(n_people)]


def climb_from(
    likelihood: Likelihood,
    z: np.ndarray,
    group: np.ndarray,
    mean: np.ndarray,
    root: np.ndarray,
    enough: float,
    most: int,
) -> tuple[Points, np.ndarray]:
    """Seek modes of everybody from the same places of the population.

    Arguments are those of `everybody_at` and `climb`; returned is what `everybody_at` returns, where searches ended.
    """
    points, _ = everybody_at(likelihood, z, group, mean, root)
    found = climb(likelihood, points, np.tile(mean, (len(z), 1)), root, enough, most)
    return points, found.energy.reshape(len(z), -1)


def skewness_of(likelihood: Likelihood, points: Points, found: Laplace) -> np.ndarray:
    """How far posterior means lie from the modes, to first order, in whitened coordinates.

    ``mean - mode = -V grad(log det(H)) / 2`` with H the curvature and V its inverse (Tierney & Kadane 1986, JASA 81:
    82-86): what is left out if modes are taken for means. The gradient by differences of the exact Hessian, one more
    pass per parameter. No mean is moved by more than a standard deviation of its posterior, and directions of which the
    data tell less than `INFORMATIVE` have the less part in it: where the projection begins, the gradient jumps.

    Returns
    -------
    np.ndarray, shape (n_rows, n_parameters)
    """
    known = found.projected
    sd, before = 1 / np.sqrt(1 + known), np.log1p(known)
    t = np.minimum(known / INFORMATIVE, 1.0)
    part = t**2 * (3 - 2 * t)
    moved = np.zeros_like(found.z)
    for k in range(found.z.shape[1]):
        along = found.axes[:, :, k]
        theta = points.theta + (NEARBY * sd[:, k, None] * along) @ found.root.T
        hessian = Points.at(likelihood, theta, points.group).hessian
        information = np.linalg.eigvalsh(found.root.T @ hessian @ found.root)
        slope = (part * (np.log1p(np.maximum(information, 0.0)) - before)).sum(1) / NEARBY
        moved -= (sd[:, k] * np.clip(slope, -2.0, 2.0) / 2)[:, None] * along
    return moved

"""Where parameters of everybody are drawn for importance sampling: from mixtures of two normal distributions.

The second, wider one bounds the weights where posteriors have heavier tails than the first (defensive mixtures:
Hesterberg 1995, Technometrics 37: 185-194).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from spice.inference.fitting.em.modes import Laplace, Points

WIDE = 2.0  # times Laplace's standard deviations, for a part of the draws around modes
AROUND = np.array([0.75, 0.25])  # shares of draws from Laplace's approximation, and from the wider one
FARTHER = 1.3  # times standard deviations that draws have shown, or that the population has so far
ACROSS = np.array([0.5, 0.5])  # shares of draws from what is known of a person, and from the population


@dataclass(frozen=True)
class Proposal:
    """Of everybody a mixture of two normal distributions, on the unconstrained scale.

    Attributes
    ----------
    shares : np.ndarray, shape (2,)
        Of draws that come from each part.
    means : np.ndarray, shape (2, n_people, n_parameters)
        Of the parts.
    roots : np.ndarray, shape (2, n_people, n_parameters, n_parameters)
        Lower Cholesky factors of their covariances.
    size : int
        Draws of each person, a power of 2.
    """

    shares: np.ndarray
    means: np.ndarray
    roots: np.ndarray
    size: int

    @classmethod
    def around_modes(cls, points: Points, found: Laplace) -> "Proposal":
        """Of posteriors that are almost normal: Laplace's approximation, a quarter of the draws from a wider one."""
        root, size = np.linalg.cholesky(found.covariances()), _size(len(points), 2**16, 64)
        return cls(AROUND, np.stack([points.theta, points.theta]), np.stack([root, WIDE * root]), size)

    @classmethod
    def across(cls, mean: np.ndarray, root: np.ndarray, theta: np.ndarray, covariance: np.ndarray) -> "Proposal":
        """Of posteriors with many modes: half of the draws from the population, half from what is known of a person.

        Parameters
        ----------
        mean, root : np.ndarray, shapes (n_people, n_parameters), (n_parameters, n_parameters)
            What the population predicts of people, and the Cholesky factor of its covariance.
        theta, covariance : np.ndarray, shapes (n_people, n_parameters), (n_people, n_parameters, n_parameters)
            Posterior means and covariances, as far as they are known.
        """
        roots = FARTHER * np.stack([np.linalg.cholesky(covariance), np.broadcast_to(root, covariance.shape)])
        return cls(ACROSS, np.stack([theta, mean]), roots, _size(len(mean), 2**17, 256))

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Parameters of everybody, (n_people, size, n_parameters), and their log densities (n_people, size)."""
        _, n_people, n = self.means.shape
        second = np.arange(self.size) < self.shares[1] * self.size  # of evenly spread points the first are so too
        z, theta = _even(n_people, self.size, n, seed), np.empty((n_people, self.size, n))
        for own, mean, root in zip((~second, second), self.means, self.roots, strict=True):
            theta[:, own] = mean[:, None] + z[:, own] @ root.swapaxes(1, 2)
        return theta, np.logaddexp(self._log_density(theta, 0), self._log_density(theta, 1))

    def _log_density(self, theta: np.ndarray, part: int) -> np.ndarray:
        """Of a part, times its share; but for the normal distribution's constant."""
        root = self.roots[part]
        z = (theta - self.means[part][:, None]) @ np.linalg.inv(root).swapaxes(1, 2)
        volume = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        return np.log(self.shares[part]) - (z**2).sum(2) / 2 - volume[:, None]


def _size(n_people: int, of_everybody: int, fewest: int) -> int:
    """Draws of each person, ``fewest`` to four times as many."""
    return int(2 ** np.floor(np.log2(np.clip(of_everybody / n_people, fewest, 4 * fewest))))


def _even(n_people: int, size: int, n: int, seed: int) -> np.ndarray:
    """Standard normal draws that are spread evenly for each person, shape (n_people, size, n)."""
    from scipy.stats import qmc

    rng = np.random.default_rng([seed, 1])
    points = qmc.Sobol(n, rng=rng).random(size)
    shifted = (points + rng.random((n_people, 1, n))) % 1
    return ndtri(np.clip(shifted, 1e-9, 1 - 1e-9))

"""The M step of EM for normal populations, taken as far as the choices' information allows."""

from dataclasses import dataclass

import numpy as np

from spice.inference.fitting.modes import Laplace

GROWTH = (0.25, 4.0)  # of variances in one iteration, in any direction
DAMPINGS = np.geomspace(1e-8, 1.0, 49)  # in units of the complete data's information
LITTLE = 1e-9  # of the same: what is added where the choices say nothing of the means


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

    def log_prior(self, wide: np.ndarray) -> float:
        """Of the covariance S, up to a constant: log |S| / 2 - log |S + T| with the diagonal T = ``wide``.

        Without it spreads of which choices tell little are often estimated as 0 (Chung, Rabe-Hesketh, Dorie, Gelman &
        Liu 2013, Psychometrika 78: 685-709, whose penalty is the first term: it never lets S be singular). The second
        keeps S finite where choices tell nothing. Largest at S = T; it pulls at most as one person does.
        """
        return float(np.log(np.diag(self.root)).sum() - np.linalg.slogdet(self.covariance + np.diag(wide))[1])

    def pull(self, wide: np.ndarray) -> np.ndarray:
        """Twice its slope by a relative change of the covariance, root (1 + change) root'."""
        return np.eye(len(wide)) - 2 * self.root.T @ np.linalg.solve(self.covariance + np.diag(wide), self.root)

    def vector(self, units: np.ndarray) -> np.ndarray:
        """Coefficients and the root's elements, in units."""
        root = (self.root / units[:, None])[np.tril_indices(len(units))]
        return np.concatenate([(self.coefficients / units).ravel(), root])

    def with_vector(self, vector: np.ndarray, units: np.ndarray) -> "Guess":
        """The population that a vector describes, not much narrower than this one."""
        root = np.zeros_like(self.root)
        root[np.tril_indices(len(units))] = vector[self.coefficients.size :]
        root *= units[:, None]
        np.fill_diagonal(root, np.maximum(np.diag(root), np.diag(self.root) * GROWTH[0]))
        return Guess(vector[: self.coefficients.size].reshape(self.coefficients.shape) * units, root)

    def units(self, found: Laplace) -> np.ndarray:
        """Standard deviations with which single people's estimates scatter: of people and of their average error."""
        turned = np.linalg.inv(self.root).T @ found.axes
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


def improved(
    guess: Guess, matrix: np.ndarray, found: Laplace, skew: np.ndarray, wide: np.ndarray, diagonal: bool
) -> Guess:
    """A step of Fisher's scoring towards the population that an M step leaves as it is.

    The M step (regression of posterior means on regressors; covariance of the rest plus the average posterior
    covariance) moves by the slope of the log evidence divided by the *complete data's* information. Where choices tell
    little of each person, or people hardly differ, that takes hundreds of steps. Dividing by the choices' information
    (`precisions`) has the same fixed points and takes about ten. In whitened coordinates, with J = precisions:
    sum(x x' (x) J) shift = sum(x (x) mean), and average(J change J) = the M step's change of the covariance.

    Parameters
    ----------
    guess : Guess
        The population.
    matrix : np.ndarray, shape (n_people, n_columns)
        Regressors.
    found : Laplace
        Everybody's posterior.
    skew : np.ndarray, shape (n_people, n_parameters)
        Posterior means minus modes, as far as taken into account.
    wide : np.ndarray, shape (n_parameters,)
        Variances of `Guess.log_prior`.
    diagonal : bool
        Whether the covariance stays diagonal.
    """
    n_people, n = found.z.shape
    precision = precisions(found)
    of_means = np.einsum("pa,pb,pij->aibj", matrix, matrix, precision, optimize=True).reshape(matrix.shape[1] * n, -1)
    of_means += LITTLE * np.kron(matrix.T @ matrix, np.eye(n))
    mean = found.z + skew
    shift = np.linalg.solve(of_means, (matrix.T @ mean).ravel()).reshape(-1, n) @ guess.root.T
    farthest = (np.abs(matrix @ shift).max(0) / guess.units(found)).max()  # at most one unit at once
    rest = mean - matrix @ np.linalg.lstsq(matrix, mean, rcond=None)[0]
    excess = (rest.T @ rest - skew.T @ skew) / n_people - precision.mean(0)  # posterior covariances are 1 - precision
    excess += guess.pull(wide) / n_people
    flat = precision.reshape(n_people, -1)
    if diagonal:
        values = np.diag(excess) / ((flat[:, :: n + 1] ** 2).mean(0) + 1 / n_people)
        values, axes = np.clip(values, GROWTH[0] - 1, GROWTH[1] - 1), np.eye(n)
    else:
        operator = (flat.T @ flat).reshape(n, n, n, n).transpose(0, 2, 1, 3).reshape(n * n, -1) / n_people
        operator += np.eye(n * n) / n_people
        values, axes = _limited(operator, excess)
    root = np.linalg.qr((guess.root @ (axes * np.sqrt(1 + values))).T)[1].T
    root = root * np.where(np.diag(root) < 0, -1.0, 1.0)
    return Guess(guess.coefficients + shift / max(1.0, farthest), root)


def precisions(found: Laplace) -> np.ndarray:
    """Inverse covariances of single people's estimates around the population's mean, in whitened coordinates.

    Between 0, of people without data, and 1: w / (1 + w) along axes with information w.
    """
    share = found.projected / (1 + found.projected)
    return (found.axes * share[:, None]) @ found.axes.swapaxes(1, 2)


def _limited(operator: np.ndarray, excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of a relative change of the covariance, within `GROWTH`.

    ``(operator + damping) change = excess``: without damping Fisher's scoring; with 1 at most an M step, which stays
    positive definite. As little is taken as keeps the limits; it slows directions along which people hardly differ,
    and hardly those of which the choices tell much.
    """
    sizes, vectors = np.linalg.eigh(operator)
    along = vectors.T @ excess.ravel()
    for damping in DAMPINGS:
        change = (vectors @ (along / (np.maximum(sizes, 0.0) + damping))).reshape(excess.shape)
        values, axes = np.linalg.eigh((change + change.T) / 2)
        if GROWTH[0] <= 1 + values[0] and 1 + values[-1] <= GROWTH[1]:
            break
    return np.clip(values, GROWTH[0] - 1, GROWTH[1] - 1), axes

"""Steps of EM for normal populations that go as far as the choices' information allows."""

import numpy as np

from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.m_step import shift_of_means
from spice.inference.fitting.em.modes import Laplace
from spice.inference.fitting.em.population_prior import PopulationPrior

GROWTH = (0.25, 4.0)  # of variances in one iteration, in any direction
DAMPINGS = np.geomspace(1e-8, 1.0, 49)  # in units of the complete data's information
LITTLE = 1e-9  # of the same: what is added where the choices say nothing of the means


def improved(
    guess: Guess, matrix: np.ndarray, found: Laplace, skew: np.ndarray, prior: PopulationPrior, diagonal: bool
) -> Guess:
    """A step of Fisher's scoring towards the population that an M step leaves as it is.

    The M step (regression of posterior means on regressors; covariance of the rest plus the average posterior
    covariance) moves by the slope of the log evidence divided by the *complete data's* information. Where choices tell
    little of each person, or people hardly differ, that takes hundreds of steps. Dividing by the choices' information
    (`Laplace.precisions`, J) has the same fixed points and takes about ten. In whitened coordinates: sum(x x' (x) J)
    shift = sum(x (x) mean), and average(J change J) = the M step's change of the covariance.

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
    prior : PopulationPrior
        Of the population.
    diagonal : bool
        Whether the covariance stays diagonal.
    """
    n_people, n = found.z.shape
    precision = found.precisions()
    of_means = np.einsum("pa,pb,pij->aibj", matrix, matrix, precision, optimize=True)
    whole = np.einsum("pa,pb,ij->aibj", matrix, matrix, np.eye(n), optimize=True)
    mean, slope, curve = found.z + skew, *prior.of_means(guess)
    shift = shift_of_means(of_means + LITTLE * whole, matrix.T @ mean, slope, curve, guess) @ guess.root.T
    farthest = (np.abs(matrix @ shift).max(0) / guess.units(found)).max()  # at most one unit at once
    moved = prior.inside(Guess(guess.coefficients + shift / max(1.0, farthest), guess.root))
    taken = matrix @ np.linalg.solve(guess.root, (moved.coefficients - guess.coefficients).T).T
    rest = mean - np.einsum("pij,pj->pi", precision, taken)  # of posterior means, once the population's have moved
    excess = (rest.T @ rest - skew.T @ skew) / n_people - precision.mean(0)  # posterior covariances are 1 - precision
    excess += prior.pull(guess) / n_people
    flat, stiff = precision.reshape(n_people, -1), prior.stiffness(guess)
    if diagonal:
        known = (flat[:, :: n + 1] ** 2).sum(0) + (stiff[:, :: n + 1] ** 2).sum(0) + 1
        values = n_people * np.diag(excess) / known
        values, axes = np.clip(values, GROWTH[0] - 1, GROWTH[1] - 1), np.eye(n)
    else:
        operator = (flat.T @ flat).reshape(n, n, n, n).transpose(0, 2, 1, 3).reshape(n * n, -1) / n_people
        operator += (np.eye(n * n) + stiff.T @ stiff) / n_people
        values, axes = _limited(operator, excess)
    root = np.linalg.qr((guess.root @ (axes * np.sqrt(1 + values))).T)[1].T
    root = root * np.where(np.diag(root) < 0, -1.0, 1.0)
    return prior.inside(Guess(moved.coefficients, root))


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

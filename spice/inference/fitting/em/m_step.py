"""The M step of EM for normal populations."""

import numpy as np

from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.em.population_prior import PopulationPrior


def m_step(
    theta: np.ndarray,
    covariance: np.ndarray,
    guess: Guess,
    matrix: np.ndarray,
    prior: PopulationPrior,
    diagonal: bool,
) -> Guess:
    """The regression of posterior means on the regressors, and the covariance of what is left.

    In whitened coordinates. What the prior says is taken at the population before, and the step is the shorter along
    each standard deviation the more the prior tells of it.

    Parameters
    ----------
    theta, covariance : np.ndarray, shapes (n_people, n_parameters), (n_people, n_parameters, n_parameters)
        Posterior means and covariances.
    guess : Guess
        The population under which they are so.
    matrix : np.ndarray, shape (n_people, n_columns)
        Regressors, the intercept first, the others with mean 0.
    prior : PopulationPrior
        Of the population.
    diagonal : bool
        Whether the covariance stays diagonal.
    """
    n_people, n = theta.shape
    unroot = np.linalg.inv(guess.root)
    z = (theta - matrix @ guess.coefficients) @ unroot.T
    information = np.einsum("pa,pb,ij->aibj", matrix, matrix, np.eye(n), optimize=True)
    shift = shift_of_means(information, matrix.T @ z, *prior.of_means(guess), guess)
    moved = prior.inside(Guess(guess.coefficients + shift @ guess.root.T, guess.root))
    rest = z - matrix @ (moved.coefficients - guess.coefficients) @ unroot.T
    change = rest.T @ rest / n_people + unroot @ covariance.mean(0) @ unroot.T
    change = np.diag(np.diag(change)) if diagonal else change
    pull, stiff = prior.pull(guess) / n_people, prior.stiffness(guess) / np.sqrt(n_people)
    held = stiff.T @ np.linalg.solve(np.eye(n) + stiff @ stiff.T, stiff @ (change - np.eye(n) + pull).ravel())
    root = np.linalg.cholesky(guess.root @ _pulled(change, pull - held.reshape(n, n)) @ guess.root.T)
    return prior.inside(Guess(moved.coefficients, root))


def shift_of_means(
    information: np.ndarray, pull: np.ndarray, slope: np.ndarray, curve: np.ndarray, guess: Guess
) -> np.ndarray:
    """A step of the regressors' coefficients, in whitened coordinates, (n_columns, n_parameters).

    Parameters
    ----------
    information : np.ndarray, shape (n_columns, n_parameters, n_columns, n_parameters)
        Of the people.
    pull : np.ndarray, shape (n_columns, n_parameters)
        Slope of the log evidence by the coefficients.
    slope, curve : np.ndarray, each (n_parameters,)
        Of the log prior by the means at average regressors, as `PopulationPrior.of_means` gives them.
    guess : Guess
        The population.
    """
    information, pull, root = information.copy(), pull.copy(), guess.root
    information[0, :, 0] += root.T @ (curve[:, None] * root)
    pull[0] += root.T @ slope
    return np.linalg.solve(information.reshape(pull.size, -1), pull.ravel()).reshape(pull.shape)


def _pulled(change: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """A relative covariance X that is 1 where the slope of the log evidence, and of the prior, vanishes.

    There change + pull = 1. The pull's positive part widens, X = change + pull; the negative part E narrows,
    X + X E X = change, whose solution is positive definite however strong the pull.
    """
    values, axes = np.linalg.eigh(pull)
    widened = change + (axes * np.maximum(values, 0.0)) @ axes.T
    narrowed = (axes * np.maximum(-values, 0.0)) @ axes.T
    sizes, vectors = np.linalg.eigh(widened)
    half = (vectors * np.sqrt(np.maximum(sizes, 0.0))) @ vectors.T
    values, axes = np.linalg.eigh(half @ narrowed @ half)
    shrunk = (axes * (2 / (1 + np.sqrt(1 + 4 * np.maximum(values, 0.0))))) @ axes.T
    return half @ shrunk @ half

"""How sure a fitted population's numbers are, and what follows for its members."""

from dataclasses import dataclass

import numpy as np

NOTHING = 1e-8  # of the largest information, that counts as none


@dataclass(frozen=True)
class Errors:
    """Standard errors of a population's numbers; NaN where the data say nothing.

    Attributes
    ----------
    coefficients : np.ndarray, shape (n_columns, n_parameters)
        Of intercepts and effects.
    mean, sd : np.ndarray, each (n_parameters,)
        Of the mean at average regressors, and of the standard deviations.
    """

    coefficients: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Uncertainty:
    """Covariances of a population's estimated numbers, by the expected information of a linear mixed model.

    Each person's likelihood is taken as normal around that person's best parameters. These then scatter around the
    population's mean with the covariance of people plus that of their own errors; J is the inverse of the sum. The
    information is sum(x x' (x) J) on the coefficients and sum(tr(J E J E')) / 2 on the covariance's elements, E its
    derivatives by them; the two are orthogonal (Harville 1977, JASA 72: 320-338). What the prior tells is added.

    Attributes
    ----------
    mean, change : np.ndarray, shapes (n_columns,), (n_columns, n_columns)
        Average regressors, and how the standardised ones are made of them.
    coefficients : np.ndarray, shape (n_columns, n_parameters, n_columns, n_parameters)
        Covariance of the coefficients of standardised regressors; NaN where the data say nothing.
    elements : np.ndarray, shape (n_elements, n_elements)
        Covariance of the estimated elements of the covariance of people.
    directions : np.ndarray, shape (n_elements, n_parameters, n_parameters)
        What each element is: E.
    """

    mean: np.ndarray
    change: np.ndarray
    coefficients: np.ndarray
    elements: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(
        cls, matrix: np.ndarray, precisions: np.ndarray, diagonal: bool, of_prior: tuple[np.ndarray, np.ndarray]
    ) -> "Uncertainty":
        """From what the data tell.

        Parameters
        ----------
        matrix : np.ndarray, shape (n_people, n_columns)
            Regressors, the intercept first.
        precisions : np.ndarray, shape (n_people, n_parameters, n_parameters)
            J of each person.
        diagonal : bool
            Whether only the covariance's diagonal was estimated.
        of_prior : (np.ndarray, np.ndarray), each (n_parameters,)
            What the prior tells of the means, and of variances.
        """
        n, n_columns = precisions.shape[1], matrix.shape[1]
        standard, change = standardised(matrix)
        of_means = np.einsum("pa,pb,pij->aibj", standard, standard, precisions, optimize=True)
        of_means[0, np.arange(n), 0, np.arange(n)] += of_prior[0]
        coefficients = _inverse(of_means.reshape(n_columns * n, -1)).reshape(n_columns, n, n_columns, n)
        first, second = (np.arange(n), np.arange(n)) if diagonal else np.tril_indices(n)
        directions, places = np.zeros((len(first), n, n)), np.arange(len(first))
        directions[places, first, second] = directions[places, second, first] = 1.0
        flat = precisions.reshape(len(precisions), -1)
        products = (flat.T @ flat).reshape(n, n, n, n)  # sum over people of J_ab J_cd
        # tr(J E J F) = J_ab E_bc J_cd F_da
        of_elements = np.einsum("abcd,mbc,kda->mk", products, directions, directions, optimize=True) / 2
        of_elements[np.diag_indices(len(first))] += np.where(first == second, of_prior[1][first], 0.0)
        return cls(matrix.mean(0), change, coefficients, _inverse(of_elements), directions)

    def errors(self, covariance: np.ndarray) -> Errors:
        """Standard errors, given the covariance of people (n_parameters, n_parameters)."""
        own = np.einsum("aibi->iab", self.coefficients)  # of one parameter's; at average regressors the intercept
        on_diagonal = np.einsum("mii->m", self.directions) > 0
        return Errors(
            coefficients=_root(np.einsum("ca,iab,cb->ci", self.change, own, self.change)),
            mean=_root(own[:, 0, 0]),
            sd=_root(np.diag(self.elements)[on_diagonal]) / (2 * np.sqrt(np.diag(covariance))),
        )

    def of_people(self, matrix: np.ndarray, covariance: np.ndarray, posterior: np.ndarray, away: np.ndarray):
        """What not knowing the population adds to everybody's posterior covariance.

        To first order: the slopes of a posterior mean by the population's numbers, times their covariance (Kass &
        Steffey 1989, JASA 84: 717-726, equation 3.2). Without it intervals are too short with few people.

        Parameters
        ----------
        matrix : np.ndarray, shape (n_people, n_columns)
            Regressors.
        covariance : np.ndarray, shape (n_parameters, n_parameters)
            Of people.
        posterior : np.ndarray, shape (n_people, n_parameters, n_parameters)
            Posterior covariances, given the population.
        away : np.ndarray, shape (n_people, n_parameters)
            Posterior means minus the population's.

        Returns
        -------
        np.ndarray, shape (n_people, n_parameters, n_parameters)
        """
        standard = (matrix - self.mean) @ np.diag(np.diag(self.change))
        standard[:, 0] = 1.0
        inverse = np.linalg.inv(covariance)
        shrink = posterior @ inverse
        turned = self.directions @ inverse @ away.T  # (n_elements, n_parameters, n_people)
        of_means = np.einsum("pa,aibj,pb->pij", standard, np.nan_to_num(self.coefficients), standard, optimize=True)
        of_spread = np.einsum("mip,mk,kjp->pij", turned, np.nan_to_num(self.elements), turned, optimize=True)
        return shrink @ (of_means + of_spread) @ shrink.swapaxes(1, 2)


def precisions(root: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    """Inverse covariances of single people's best parameters around the population's mean, from posterior covariances.

    S^-1 - S^-1 V S^-1, what is left of the complete data's information (Louis 1982, JRSS B 44: 226-233); 0 along
    directions in which a posterior V is as wide as the population S, up to rounding, or wider.

    Parameters
    ----------
    root : np.ndarray, shape (n_parameters, n_parameters)
        Lower Cholesky factor of the population's covariance.
    posterior : np.ndarray, shape (n_people, n_parameters, n_parameters)
        Posterior covariances.
    """
    unroot = np.linalg.inv(root)
    left, axes = np.linalg.eigh(np.eye(len(root)) - unroot @ posterior @ unroot.T)
    axes = unroot.T @ axes
    return (axes * np.where(left > NOTHING, left, 0.0)[:, None]) @ axes.swapaxes(1, 2)


def standardised(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regressors with mean 0 and standard deviation 1, the intercept apart, and how they are made of the others.

    Parameters
    ----------
    matrix : np.ndarray, shape (n_people, n_columns)
        Regressors, the intercept first.

    Returns
    -------
    standard : np.ndarray, shape (n_people, n_columns)
        ``matrix @ change``, up to rounding; coefficients of one are ``change @`` those of the other.
    change : np.ndarray, shape (n_columns, n_columns)
        Upper triangular.
    """
    mean, sd = matrix.mean(0), matrix.std(0)
    mean[0], sd = 0.0, np.where(sd > 0, sd, 1.0)
    change = np.diag(1 / sd)
    change[0, 1:] = -mean[1:] / sd[1:]
    return (matrix - mean) / sd, change


def _inverse(information: np.ndarray) -> np.ndarray:
    """Inverse of an information matrix; NaN for whatever lies along directions without any."""
    size = np.sqrt(np.diag(information))
    known = size > 0
    size = np.where(known, size, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    none = values < NOTHING * max(values.max(), 1.0)
    inverse = (vectors / np.where(none, 1.0, values)) @ vectors.T
    lost = (np.abs(vectors[:, none]) > np.sqrt(NOTHING)).any(1)
    inverse[lost], inverse[:, lost] = np.nan, np.nan
    return inverse / np.outer(size, size)


def _root(variances: np.ndarray) -> np.ndarray:
    return np.sqrt(np.where(variances > 0, variances, np.nan))

"""Candidate terms: monomials of a state and its control signals, named by strings."""

from collections.abc import Sequence

import numpy as np

CONSTANT = "1"


def term_name(features: Sequence[str], exponents: Sequence[int]) -> str:
    """Name of a monomial.

    Parameters
    ----------
    features : sequence of str
        Names of the factors.
    exponents : sequence of int
        Power of each factor.

    Returns
    -------
    str
        ``"1"`` for the constant, otherwise factors joined by a space, e.g. ``"x_value c_reward^2"``.
    """
    powers = [(name, int(power)) for name, power in zip(features, exponents, strict=True) if power]
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in powers) or CONSTANT


def term_exponents(features: Sequence[str], term: str) -> tuple[int, ...]:
    """Powers of each factor in a term's name; the inverse of `term_name`.

    Raises
    ------
    ValueError
        If the term has a factor that is not among the features.
    """
    powers = dict.fromkeys(features, 0)
    for factor in [] if term == CONSTANT else term.split(" "):
        name, _, power = factor.partition("^")
        if name not in powers:
            raise ValueError(f"the term {term!r} has the factor {name!r}, which is none of {', '.join(features)}")
        powers[name] += int(power or 1)
    return tuple(powers.values())


def polynomial_exponents(n_features: int, degree: int, constant: bool = True) -> np.ndarray:
    """Exponents of all monomials up to a degree.

    Parameters
    ----------
    n_features : int
        Number of factors.
    degree : int
        Highest total power.
    constant : bool, default True
        Whether the constant is among them.

    Returns
    -------
    np.ndarray, shape (n_terms, n_features), int
        One row per term: the constant, then by degree.
    """
    from pysindy import PolynomialLibrary  # takes a second to import, which hand-written models need not wait for

    library = PolynomialLibrary(degree=degree, include_bias=constant).fit(np.zeros((2, n_features)))
    return np.asarray(library.powers_, dtype=int)


def evaluate_terms(features: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Values of all terms.

    Parameters
    ----------
    features : np.ndarray, shape (n_samples, n_features)
        Values of the factors.
    exponents : np.ndarray, shape (n_terms, n_features)
        Powers.

    Returns
    -------
    np.ndarray, shape (n_samples, n_terms)
    """
    values = np.ones((len(exponents), len(features)))
    for row, powers in zip(values, exponents, strict=True):
        for factor in np.flatnonzero(powers):
            row *= features[:, factor] ** int(powers[factor])
    return values.T

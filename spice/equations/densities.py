"""Logarithms of prior densities with two derivatives, compiled; `spice.equations.priors` names them.

A family is a number, `CODES`, and four numbers are its arguments, in the order in which its name takes them: so that
compiled code can carry any prior. A value outside the support has the density 0 and derivatives 0.
"""

import math

import numpy as np

from spice.equations.caching import njit
from spice.equations.families import CODES

NORMAL, HALF_NORMAL, HALF_CAUCHY = CODES["normal"], CODES["half_normal"], CODES["half_cauchy"]
EXPONENTIAL, GAMMA, INVERSE_GAMMA = CODES["exponential"], CODES["gamma"], CODES["inverse_gamma"]
LOGNORMAL, BETA, UNIFORM = CODES["lognormal"], CODES["beta"], CODES["uniform"]
STUDENT_T, TRUNCATED_NORMAL = CODES["student_t"], CODES["truncated_normal"]

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
ROOT_2 = math.sqrt(2.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _normal(mean, sd, x):
    z = (x - mean) / sd
    return -0.5 * z * z - math.log(sd) - HALF_LOG_2_PI, -z / sd, -1.0 / (sd * sd)


@njit(nogil=True, cache=True, error_model="numpy")
def _times_log(factor, x):
    """``factor * log(x)``; nothing of nothing, also at 0."""
    if factor == 0.0:
        return 0.0, 0.0, 0.0
    return factor * math.log(x), factor / x, -factor / (x * x)


@njit(nogil=True, cache=True, error_model="numpy")
def log_normal_mass(low, high):
    """Logarithm of a standard normal's probability between two numbers, precise in both tails."""
    a, b = low / ROOT_2, high / ROOT_2
    if a > 0.0:
        return math.log(0.5 * (math.erfc(a) - math.erfc(b)))
    if b < 0.0:
        return math.log(0.5 * (math.erfc(-b) - math.erfc(-a)))
    return math.log(0.5 * (math.erf(b) - math.erf(a)))


@njit(nogil=True, cache=True, error_model="numpy")
def log_prior(code, a0, a1, a2, a3, x):
    """Logarithm of a density.

    Parameters
    ----------
    code : int
        The family, `Prior.code`.
    a0, a1, a2, a3 : float
        `Prior.arguments`.
    x : float
        Where.

    Returns
    -------
    value, slope, curve : float
        The logarithm and its first two derivatives by ``x``; outside the support minus infinity, 0, 0.
    """
    nowhere = (-math.inf, 0.0, 0.0)
    if code == NORMAL:
        return _normal(a0, a1, x)
    if code == STUDENT_T:
        z = (x - a1) / a2
        spread = a0 + z * z
        start = math.lgamma(0.5 * (a0 + 1)) - math.lgamma(0.5 * a0) - 0.5 * math.log(a0 * math.pi) - math.log(a2)
        slope = -(a0 + 1) * z / spread / a2
        return start - 0.5 * (a0 + 1) * math.log1p(z * z / a0), slope, -(a0 + 1) * (a0 - z * z) / (spread * a2) ** 2
    if code == UNIFORM:
        return (-math.log(a1 - a0), 0.0, 0.0) if a0 <= x <= a1 else nowhere
    if code == TRUNCATED_NORMAL:
        if not a2 <= x <= a3:
            return nowhere
        value, slope, curve = _normal(a0, a1, x)
        return value - log_normal_mass((a2 - a0) / a1, (a3 - a0) / a1), slope, curve
    if not x >= 0.0:  # all others have their support from 0 on
        return nowhere
    if code == HALF_NORMAL:
        value, slope, curve = _normal(0.0, a0, x)
        return value + math.log(2.0), slope, curve
    if code == HALF_CAUCHY:
        spread = a0 * a0 + x * x
        return (
            math.log(2.0 * a0 / math.pi) - math.log(spread),
            -2.0 * x / spread,
            2.0 * (x * x - a0 * a0) / (spread * spread),
        )
    if code == EXPONENTIAL:
        return math.log(a0) - a0 * x, -a0, 0.0
    if code == GAMMA:
        value, slope, curve = _times_log(a0 - 1.0, x)
        return a0 * math.log(a1) - math.lgamma(a0) + value - a1 * x, slope - a1, curve
    if code == BETA:
        if x > 1.0:
            return nowhere
        value, slope, curve = _times_log(a0 - 1.0, x)
        other, other_slope, other_curve = _times_log(a1 - 1.0, 1.0 - x)
        start = math.lgamma(a0 + a1) - math.lgamma(a0) - math.lgamma(a1)
        return start + value + other, slope - other_slope, curve + other_curve
    if x == 0.0:
        return nowhere
    if code == INVERSE_GAMMA:
        start = a0 * math.log(a1) - math.lgamma(a0)
        value = start - (a0 + 1.0) * math.log(x) - a1 / x
        return value, (a1 / x - a0 - 1.0) / x, (a0 + 1.0 - 2.0 * a1 / x) / (x * x)
    if code == LOGNORMAL:
        log_x = math.log(x)
        value, slope, curve = _normal(a0, a1, log_x)
        return value - log_x, (slope - 1.0) / x, (curve - slope + 1.0) / (x * x)
    return math.nan, math.nan, math.nan


@njit(nogil=True, cache=True, error_model="numpy")
def log_priors(code, a0, a1, a2, a3, x):
    """`log_prior` of an array of one axis: three arrays."""
    value, slope, curve = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
    for i in range(len(x)):
        value[i], slope[i], curve[i] = log_prior(code, a0, a1, a2, a3, x[i])
    return value, slope, curve

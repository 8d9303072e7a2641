"""Logarithms of prior densities with two derivatives, compiled; `spice.equations.priors` names them.

All families are of four shapes, so that compiled code can carry any prior as a row of eight numbers, `Prior.form`:
shape, start, low, high, a, b, c, d. With the constant ``start`` the logarithm of the density between low and high is

- `NORMAL`: start - ((x - a) / b)^2 / 2
- `STUDENT_T`: start - (a + 1) / 2 * log(1 + ((x - b) / c)^2 / a)
- `LOGNORMAL`: start - log(x) - ((log(x) - a) / b)^2 / 2
- `POWERS`: start + a * log(x) + b * log(1 - x) - c * x - d / x; with d goes an a

Elsewhere, at infinity, and at 0 where log(x) or d / x leads down to no density, it is minus infinity and derivatives
are 0.
"""

import math

import numpy as np

from spice.equations.caching import njit
from spice.equations.families import LOGNORMAL, NORMAL, STUDENT_T


@njit
def log_prior(form, x):
    """Logarithm of a density.

    Parameters
    ----------
    form : np.ndarray, shape (8,)
        `Prior.form`.
    x : float
        Where.

    Returns
    -------
    value, slope, curve : float
        The logarithm and its first two derivatives by ``x``; outside the support minus infinity, 0, 0; NaN of NaN.
    """
    shape, start, a, b, c, d = form[0], form[1], form[4], form[5], form[6], form[7]
    open_at_0 = shape == LOGNORMAL or d != 0.0
    if x < form[2] or x > form[3] or math.isinf(x) or (open_at_0 and x == 0.0):
        return -math.inf, 0.0, 0.0
    if shape == NORMAL:
        z = (x - a) / b
        return start - 0.5 * z * z, -z / b, -1.0 / (b * b)
    if shape == STUDENT_T:
        z = (x - b) / c
        spread = a + z * z
        value = start - 0.5 * (a + 1.0) * math.log1p(z * z / a)
        return value, -(a + 1.0) * z / spread / c, -(a + 1.0) * (a - z * z) / (spread * c) ** 2
    if shape == LOGNORMAL:
        log_x = math.log(x)
        z = (log_x - a) / b
        return start - log_x - 0.5 * z * z, -(1.0 + z / b) / x, (1.0 + (z - 1.0 / b) / b) / (x * x)
    value, slope, curve = start - c * x, -c, 0.0
    if a != 0.0:
        pole = d / x if d != 0.0 else 0.0
        value, slope, curve = value + a * math.log(x) - pole, slope + (a + pole) / x, -(a + 2.0 * pole) / (x * x)
    if b != 0.0:
        rest = 1.0 - x
        value, slope, curve = value + b * math.log(rest), slope - b / rest, curve - b / (rest * rest)
    return value, slope, curve


@njit
def log_priors(form, x):
    """`log_prior` of an array of one axis: three arrays."""
    value, slope, curve = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
    for i in range(len(x)):
        value[i], slope[i], curve[i] = log_prior(form, x[i])
    return value, slope, curve

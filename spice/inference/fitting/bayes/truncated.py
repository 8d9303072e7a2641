"""Truncated normal distributions, compiled: mass and moments with derivatives, safe in the tails.

With bounds a and b in standard deviations from the location, Z the mass between them, A = phi(a) / Z and
B = phi(b) / Z: d log Z = B db - A da, the mean is at A - B and the variance 1 + a A - b B - (A - B)**2 (Johnson, Kotz &
Balakrishnan 1994, Continuous univariate distributions, section 13.10.1).
"""

import math

from spice.equations.caching import njit
from spice.equations.normal_mass import HALF_LOG_2_PI, NARROW, log_normal_mass
from spice.inference.fitting.transforms import ABOVE, BELOW, FREE

MOST = 10.0  # sd that a location lies beyond a bound, from which on moments are those of the tail there


_log_window = njit(log_normal_mass)


@njit
def _edge(a, log_z):
    """The density at a bound over the mass, and ``a`` times it; nothing at infinity."""
    if math.isinf(a):
        return 0.0, 0.0
    density = math.exp(-0.5 * a * a - HALF_LOG_2_PI - log_z)
    return density, a * density


@njit
def log_mass(m, s, low, high):
    """Logarithm of the probability of a normal distribution between two bounds.

    Parameters
    ----------
    m, s : float
        Its mean and standard deviation.
    low, high : float
        Bounds; infinite where there are none.

    Returns
    -------
    value, by_m, by_s : float
        The logarithm and its derivatives.
    """
    a, b = (low - m) / s, (high - m) / s
    w, c = b - a, 0.5 * (a + b)
    value = _log_window(a, b)
    if w * (1.0 + abs(c)) < NARROW:
        w2, c2 = w * w, c * c
        by_c = -c + w2 * c / 12.0 - w2 * w2 * c * (c2 / 720.0 + 1.0 / 360.0)
        by_w = 1.0 / w + w * (c2 - 1.0) / 12.0 + 4.0 * w * w2 * (1.0 / 1440.0 - c2 / 720.0 - c2 * c2 / 2880.0)
        return value, -by_c / s, -(c * by_c + w * by_w) / s
    at_a, a_at_a = _edge(a, value)
    at_b, b_at_b = _edge(b, value)
    return value, (at_a - at_b) / s, (a_at_a - b_at_b) / s


@njit
def _moments(a, b):
    """Mean and variance of a standard normal between two numbers, and derivatives: by both, then of the variance."""
    log_z = _log_window(a, b)
    at_a, a_at_a = _edge(a, log_z)
    at_b, b_at_b = _edge(b, log_z)
    q = at_a - at_b
    v = 1.0 + a_at_a - b_at_b - q * q
    q_a, q_b = at_a * q - a_at_a, b_at_b - at_b * q
    v_a, v_b = at_a - 2.0 * q * q_a, -at_b - 2.0 * q * q_b
    if not math.isinf(a):
        v_a += a * at_a * (at_a - a)
        v_b -= a * at_a * at_b
    if not math.isinf(b):
        v_a -= b * at_a * at_b
        v_b += b * at_b * (at_b + b)
    return q, v, q_a, q_b, v_a, v_b


@njit
def on_theta(kind, m, s, low, high):
    """A normal distribution on the unconstrained scale that is near a truncated one on the natural scale.

    By the delta method at the truncated distribution's mean: smooth in its arguments, and inside the bounds wherever
    the location is.

    Parameters
    ----------
    kind : int
        Of the transform.
    m, s : float
        Location and scale before truncation.
    low, high : float
        Bounds; infinite where there are none.

    Returns
    -------
    mu, sd, mu_m, mu_s, sd_m, sd_s : float
        Mean and standard deviation on the unconstrained scale, and their derivatives by ``m`` and ``s``.
    """
    if kind == FREE:
        return m, s, 1.0, 0.0, 0.0, 1.0
    outside = 0.0  # the location's share of a change in s, where it is held at `MOST` sd outside
    moves = 1.0
    if m < low - MOST * s:
        m, outside, moves = low - MOST * s, -MOST, 0.0
    elif m > high + MOST * s:
        m, outside, moves = high + MOST * s, MOST, 0.0
    a, b = (low - m) / s, (high - m) / s
    w, c = b - a, 0.5 * (a + b)
    if w * (1.0 + abs(c)) < NARROW:
        w2, c2 = w * w, c * c
        q = c - c * w2 / 12.0 + w2 * w2 * c * (c2 / 720.0 + 1.0 / 360.0)
        v = w2 / 12.0 - w2 * w2 * (c2 / 240.0 + 1.0 / 360.0)
        by_w = -c * w / 6.0 + 4.0 * w * w2 * c * (c2 / 720.0 + 1.0 / 360.0)
        v_c, v_w = -w2 * w2 * c / 120.0, w / 6.0 - 4.0 * w * w2 * (c2 / 240.0 + 1.0 / 360.0)
        x_s = q - c * (1.0 - v) - w * by_w
        v_m, v_s = -v_c, -(c * v_c + w * v_w)  # times s
    else:
        q, v, q_a, q_b, v_a, v_b = _moments(a, b)
        x_s = q - (0.0 if math.isinf(a) else a * q_a) - (0.0 if math.isinf(b) else b * q_b)
        v_m = -(v_a + v_b)
        v_s = -(0.0 if math.isinf(a) else a * v_a) - (0.0 if math.isinf(b) else b * v_b)
    root = math.sqrt(v)
    x_m, spread, spread_m, spread_s = v, s * root, 0.5 * v_m / root, root + 0.5 * v_s / root
    x_s, spread_s = x_s + outside * x_m, spread_s + outside * spread_m
    x_m, spread_m = moves * x_m, moves * spread_m
    below, above = s * (q - a), s * (b - q)
    if kind == ABOVE:
        mu, first, second = math.log(below), 1.0 / below, -1.0 / (below * below)
    elif kind == BELOW:
        mu, first, second = -math.log(above), 1.0 / above, 1.0 / (above * above)
    else:
        mu, first = math.log(below) - math.log(above), 1.0 / below + 1.0 / above
        second = 1.0 / (above * above) - 1.0 / (below * below)
    bend = spread * second
    return mu, spread * first, first * x_m, first * x_s, spread_m * first + bend * x_m, spread_s * first + bend * x_s

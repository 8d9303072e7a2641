"""Prior, hierarchy and change of variables of a posterior density, compiled: all but the likelihood.

Each density is two functions around the likelihood. The first takes the sampler's vector to parameters on the natural
scale; the second takes the likelihood's gradient by these back to the vector, and adds the rest of the density. What
parameters and priors are is read from rows of numbers: a transform's kind and bounds, a prior's `form`.
"""

import math

import numpy as np

from spice.equations.caching import njit
from spice.equations.densities import log_prior
from spice.equations.normal_mass import HALF_LOG_2_PI
from spice.inference.fitting.bayes.truncated import log_mass, on_theta
from spice.inference.fitting.transforms import log_jacobian_of, natural_of

# of a row of numbers: 0 kind, 1 low, 2 high of a transform; 3 to 10 the form of a prior; 11 a flag
FLAG = 11  # of a person's parameter: whether its prior lies, or people are normal, on the natural scale

# of a person's row: where the population is on the unconstrained scale and derivatives by its location m and scale s
MU, SD, MU_M, MU_S, SD_M, SD_S, LOCATION, PULL, INNER, OUTER, G, THETA = range(12)
N_PARTS = 12


@njit
def place_alone(draws, affine, rows, values):
    """Natural values of sets of parameters, (n_draws, n_parameters): theta = affine @ (u, 1) of each row u."""
    n = len(rows)
    for d in range(len(draws)):
        for k in range(n):
            theta = affine[k, n]
            for j in range(n):
                theta += affine[k, j] * draws[d, j]
            values[d, k] = natural_of(int(rows[k, 0]), rows[k, 1], rows[k, 2], theta)[0]


@njit
def density_alone(u, affine, rows, nll, gradient, out):
    """Log posterior density of theta at ``u``; its gradient by ``u`` is written to ``out``."""
    n, value = len(rows), 0.0
    for i in range(len(nll)):
        value -= nll[i]
    for k in range(n):
        out[k] = 0.0
    for k in range(n):
        kind, low, high = int(rows[k, 0]), rows[k, 1], rows[k, 2]
        theta = affine[k, n]
        for j in range(n):
            theta += affine[k, j] * u[j]
        x, dx, _ = natural_of(kind, low, high, theta)
        slope = 0.0
        for i in range(len(nll)):
            slope -= gradient[i, k]
        slope *= dx
        on_natural = rows[k, FLAG] > 0.0
        at = x if on_natural else theta
        prior, by_at, _ = log_prior(rows[k, 3:11], at)
        value += prior
        if on_natural:
            jacobian, by_theta, _ = log_jacobian_of(kind, low, high, theta)
            value += jacobian
            slope += by_at * dx + by_theta
        else:
            slope += by_at
        for j in range(n):
            out[j] += slope * affine[k, j]
    return _finite(value, out)


@njit
def _finite(value, out):
    """Minus infinity and no slope where the density or its gradient is no number."""
    total = value
    for entry in out:
        total += entry
    if math.isfinite(total):
        return value
    out[:] = 0.0
    return -math.inf


@njit
def _cholesky(a, n):
    """Lower factor, in place."""
    for j in range(n):
        for i in range(j, n):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            a[i, j] = math.sqrt(s) if i == j else s / a[j, j]


@njit
def _cholesky_back(c, bar, n):
    """From derivatives by the factor's elements to those by the matrix's lower triangle, in place (Murray 2016)."""
    for j in range(n - 1, -1, -1):
        for i in range(n - 1, j - 1, -1):
            s = bar[i, j] / c[j, j]
            if i == j:
                s *= 0.5
            else:
                bar[j, j] -= s * c[i, j]
            bar[i, j] = s
            for k in range(j):
                bar[i, k] -= s * c[j, k]
                bar[j, k] -= s * c[i, k]


@njit
def place_people(u, rows, hyper, regressors, reference, pull, curvature, hypers, parts, factors, values):
    """Natural values of all people, (n_people, n_parameters), and what the density reads again.

    The vector is: means, standard deviations, effects (regressors x parameters), then z (people x parameters). A
    person's theta is mu + sd * g, where mu and sd are the population's on the unconstrained scale, and
    g = C^-T (z + C^-1 sd (curvature (reference - mu) + pull)) with C C' = 1 + sd curvature sd: the Laplace
    approximation of g given the population, for a person whose log-likelihood has slope ``pull`` and curvature
    ``-curvature`` at the theta ``reference``. Without these (all 0) g = z: non-centred.
    """
    n, n_people, n_regressors = len(rows), len(reference), regressors.shape[1]
    first = (2 + n_regressors) * n
    for h in range(first):
        hypers[h] = natural_of(int(hyper[h, 0]), hyper[h, 1], hyper[h, 2], u[h])[0]
    for i in range(n_people):
        p, c = parts[i], factors[i]
        for k in range(n):
            if i > 0 and n_regressors == 0:
                for part in range(PULL):
                    p[k, part] = parts[0, k, part]
                continue
            m = hypers[k]
            for j in range(n_regressors):
                m += regressors[i, j] * hypers[(2 + j) * n + k]
            kind = int(rows[k, 0]) if rows[k, FLAG] > 0.0 else 0
            p[k, LOCATION] = m
            p[k, MU], p[k, SD], p[k, MU_M], p[k, MU_S], p[k, SD_M], p[k, SD_S] = on_theta(
                kind, m, hypers[n + k], rows[k, 1], rows[k, 2]
            )
        for a in range(n):
            e = pull[i, a]
            for b in range(n):
                e += curvature[i, a, b] * (reference[i, b] - p[b, MU])
                c[a, b] = p[a, SD] * curvature[i, a, b] * p[b, SD]
            c[a, a] += 1.0
            p[a, PULL] = e
        _cholesky(c, n)
        for a in range(n):
            s = p[a, SD] * p[a, PULL]
            for b in range(a):
                s -= c[a, b] * p[b, INNER]
            p[a, INNER] = s / c[a, a]
            p[a, OUTER] = u[first + i * n + a] + p[a, INNER]
        for a in range(n - 1, -1, -1):
            s = p[a, OUTER]
            for b in range(a + 1, n):
                s -= c[b, a] * p[b, G]
            p[a, G] = s / c[a, a]
            p[a, THETA] = p[a, MU] + p[a, SD] * p[a, G]
            values[i, a] = natural_of(int(rows[a, 0]), rows[a, 1], rows[a, 2], p[a, THETA])[0]


@njit
def _population(rows, hypers, p, gradient, bars, g_bar, windows, n):
    """One person's log density given the population, with log sd; derivatives by theta, g, sd, location and scale.

    ``bars`` are rows: by mu, by sd, by location, by scale.
    """
    value = 0.0
    for k in range(n):
        theta, sd = p[k, THETA], p[k, SD]
        x, dx, _ = natural_of(int(rows[k, 0]), rows[k, 1], rows[k, 2], theta)
        slope = -gradient[k] * dx
        sd_bar = m_bar = s_bar = 0.0
        g_bar[k] = 0.0
        if rows[k, FLAG] > 0.0:
            s = hypers[n + k]
            t = (x - p[k, LOCATION]) / s
            jacobian, by_theta, _ = log_jacobian_of(int(rows[k, 0]), rows[k, 1], rows[k, 2], theta)
            value += -0.5 * t * t - math.log(s) - HALF_LOG_2_PI - windows[k, 0] + jacobian + math.log(sd)
            slope += by_theta - t / s * dx
            m_bar, s_bar, sd_bar = t / s - windows[k, 1], (t * t - 1.0) / s - windows[k, 2], 1.0 / sd
        else:
            value -= 0.5 * p[k, G] ** 2 + HALF_LOG_2_PI
            g_bar[k] = -p[k, G]
        g_bar[k] += sd * slope
        bars[0, k], bars[1, k], bars[2, k], bars[3, k] = slope, sd_bar + slope * p[k, G], m_bar, s_bar
    return value


@njit
def _unwhiten(p, c, curvature, g_bar, bars, c_bar, b_bar, z_bar, n):
    """Back from g to z, mu and sd: ``z_bar`` is written, ``bars`` are added to; returns the log determinant."""
    value = 0.0
    for a in range(n):
        s = g_bar[a]
        for b in range(a):
            s -= c[a, b] * z_bar[b]
        z_bar[a] = s / c[a, a]
        value -= math.log(c[a, a])
    for a in range(n - 1, -1, -1):
        s = z_bar[a]
        for b in range(a + 1, n):
            s -= c[b, a] * b_bar[b]
        b_bar[a] = s / c[a, a]
    for a in range(n):
        for b in range(a + 1):
            c_bar[a, b] = -p[a, G] * z_bar[b] - b_bar[a] * p[b, INNER]
        c_bar[a, a] -= 1.0 / c[a, a]
    _cholesky_back(c, c_bar, n)
    for a in range(n):
        bars[1, a] += b_bar[a] * p[a, PULL]
        for b in range(n):
            bars[0, b] -= b_bar[a] * p[a, SD] * curvature[a, b]
        for b in range(a + 1):
            bars[1, a] += c_bar[a, b] * curvature[a, b] * p[b, SD]
            bars[1, b] += c_bar[a, b] * curvature[a, b] * p[a, SD]
    return value


@njit
def density_people(u, rows, hyper, regressors, curvature, hypers, parts, factors, nll, gradient, out):
    """Log posterior density at ``u`` after `place_people`; its gradient is written to ``out``."""
    n, n_people, n_regressors = len(rows), len(nll), regressors.shape[1]
    first, value = (2 + n_regressors) * n, 0.0
    bars, windows, c_bar = np.zeros((4, n)), np.zeros((n, 3)), np.zeros((n, n))
    g_bar, b_bar = np.zeros(n), np.zeros(n)
    for h in range(first):
        out[h] = 0.0
    for i in range(n_people):
        p = parts[i]
        if i == 0 or n_regressors > 0:
            for k in range(n):
                if rows[k, FLAG] > 0.0:
                    windows[k, 0], windows[k, 1], windows[k, 2] = log_mass(
                        p[k, LOCATION], hypers[n + k], rows[k, 1], rows[k, 2]
                    )
        value -= nll[i]
        value += _population(rows, hypers, p, gradient[i], bars, g_bar, windows, n)
        z_bar = out[first + i * n : first + (i + 1) * n]
        value += _unwhiten(p, factors[i], curvature[i], g_bar, bars, c_bar, b_bar, z_bar, n)
        for k in range(n):
            m_bar = bars[2, k] + bars[0, k] * p[k, MU_M] + bars[1, k] * p[k, SD_M]
            out[k] += m_bar
            out[n + k] += bars[3, k] + bars[0, k] * p[k, MU_S] + bars[1, k] * p[k, SD_S]
            for j in range(n_regressors):
                out[(2 + j) * n + k] += regressors[i, j] * m_bar
    for h in range(first):
        kind, low, high = int(hyper[h, 0]), hyper[h, 1], hyper[h, 2]
        _, dx, _ = natural_of(kind, low, high, u[h])
        prior, by_x, _ = log_prior(hyper[h, 3:11], hypers[h])
        jacobian, by_u, _ = log_jacobian_of(kind, low, high, u[h])
        value += prior + jacobian
        out[h] = (out[h] + by_x) * dx + by_u
    return _finite(value, out)


@njit
def natural_people(
    draws, rows, hyper, regressors, reference, pull, curvature, hypers, parts, factors, all_hypers, values
):
    """`place_people` of many vectors: ``values`` is (n_draws, n_people, n_parameters), ``all_hypers`` one row each."""
    for d in range(len(draws)):
        place_people(draws[d], rows, hyper, regressors, reference, pull, curvature, hypers, parts, factors, values[d])
        all_hypers[d] = hypers

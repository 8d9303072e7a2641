"""Numbers that carry their derivatives: truncated Taylor arithmetic in compiled code, for models' own steps.

A jet is a contiguous array: the value, then its ``n`` first derivatives, then, at order 2, its second derivatives by
parameters (1, 1), (2, 1), (2, 2), (3, 1), ...: 1, 1 + n or 1 + n + n (n + 1) / 2 numbers. Plain values are jets with
``n = 0``, so the same code serves all three orders. Whoever composes these functions gets exact derivatives
(Griewank & Walther 2008, chapter 13).

Functions write into their first argument and may be given the same jet as input and as output. Arrays of several jets
have the jet in the last axis. All are inlined: where ``n`` is a constant of the calling code, as in the likelihoods
that `spice.equations.step_source` writes, loops unroll and a product takes nanoseconds.
"""

import math

import numpy as np
from numba import njit

# compiles functions of a step: what a step is made of should be decorated with it
compiled = njit(error_model="numpy", nogil=True, forceinline=True)


def length(n: int, order: int) -> int:
    """Numbers in a jet.

    Parameters
    ----------
    n : int
        Parameters by which derivatives are taken.
    order : {0, 1, 2}
        Highest derivative.
    """
    return 1 + n * (order > 0) + n * (n + 1) // 2 * (order > 1)


def unpack(jets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, gradients and Hessians of jets of order 2.

    Parameters
    ----------
    jets : np.ndarray, shape (..., 1 + n + n (n + 1) / 2)
        The jets.
    n : int
        Number of parameters.

    Returns
    -------
    tuple of np.ndarray, shapes (...), (..., n) and (..., n, n)
    """
    hessian = np.zeros((*jets.shape[:-1], n, n))
    rows, columns = np.tril_indices(n)
    hessian[..., rows, columns] = hessian[..., columns, rows] = jets[..., 1 + n :]
    return jets[..., 0], jets[..., 1 : 1 + n], hessian


# ---------------------------------------------------------------------- linear


@compiled
def fill(out, value):
    """``out`` = a constant."""
    out[0] = value
    for m in range(1, len(out)):
        out[m] = 0.0


@compiled
def copy(out, a):
    """``out`` = a."""
    for m in range(len(out)):
        out[m] = a[m]


@compiled
def add(out, a, b):
    """``out`` = a + b."""
    for m in range(len(out)):
        out[m] = a[m] + b[m]


@compiled
def subtract(out, a, b):
    """``out`` = a - b."""
    for m in range(len(out)):
        out[m] = a[m] - b[m]


@compiled
def affine(out, a, slope, constant):
    """``out`` = slope * a + constant, of plain numbers."""
    for m in range(len(out)):
        out[m] = slope * a[m]
    out[0] += constant


# ---------------------------------------------------------------------- products and quotients


@compiled
def multiply(out, a, b, n):
    """``out`` = a * b."""
    x, y = a[0], b[0]
    if len(out) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            slope_x, slope_y = a[j], b[j]
            for k in range(1, j + 1):
                out[m] = x * b[m] + y * a[m] + slope_x * b[k] + slope_y * a[k]
                m += 1
    for j in range(1, n + 1):
        out[j] = x * b[j] + y * a[j]
    out[0] = x * y


@compiled
def add_product(out, a, b, n):
    """``out`` += a * b; here ``out`` must be another jet than a and b."""
    x, y = a[0], b[0]
    if len(out) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            slope_x, slope_y = a[j], b[j]
            for k in range(1, j + 1):
                out[m] += x * b[m] + y * a[m] + slope_x * b[k] + slope_y * a[k]
                m += 1
    for j in range(1, n + 1):
        out[j] += x * b[j] + y * a[j]
    out[0] += x * y


@compiled
def dot(out, a, b, n):
    """``out`` = sum of a[i] * b[i]; ``out`` must be none of them."""
    fill(out, 0.0)
    for i in range(len(a)):
        add_product(out, a[i], b[i], n)


@compiled
def divide(out, a, b, n):
    """``out`` = a / b."""
    inverse = 1.0 / b[0]
    ratio = a[0] * inverse
    if len(out) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            b_j = b[j]
            slope = (a[j] - ratio * b_j) * inverse
            for k in range(1, j + 1):
                other = (a[k] - ratio * b[k]) * inverse
                out[m] = (a[m] - ratio * b[m] - slope * b[k] - other * b_j) * inverse
                m += 1
    for j in range(1, n + 1):
        out[j] = (a[j] - ratio * b[j]) * inverse
    out[0] = ratio


@compiled
def relax(x, rate, target, n):
    """``x`` += rate * (target - x): learning towards, or forgetting to, a plain number."""
    keep, distance = 1.0 - rate[0], target - x[0]
    if len(x) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            slope_x, slope_rate = x[j], rate[j]
            for k in range(1, j + 1):
                x[m] = keep * x[m] + distance * rate[m] - slope_x * rate[k] - slope_rate * x[k]
                m += 1
    for j in range(1, n + 1):
        x[j] = keep * x[j] + distance * rate[j]
    x[0] += rate[0] * distance


# ---------------------------------------------------------------------- functions


@compiled
def compose(out, a, value, slope, curve, n):
    """``out`` = f(a), given what f, f' and f'' are at the value of a."""
    if len(out) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            scaled = curve * a[j]
            for k in range(1, j + 1):
                out[m] = slope * a[m] + scaled * a[k]
                m += 1
    for j in range(1, n + 1):
        out[j] = slope * a[j]
    out[0] = value


@compiled
def exp(out, a, n):
    """``out`` = exp(a)."""
    value = math.exp(a[0])
    compose(out, a, value, value, value, n)


@compiled
def log(out, a, n):
    """``out`` = log(a)."""
    inverse = 1.0 / a[0]
    compose(out, a, math.log(a[0]), inverse, -inverse * inverse, n)


@compiled
def log_sum_exp(out, a, n):
    """``out`` = log of the sum of exp(a[i]); ``out`` must be none of them."""
    top = a[0, 0]
    for i in range(1, len(a)):
        top = max(top, a[i, 0])
    fill(out, 0.0)
    if top == -math.inf:  # all weigh nothing: no direction leads out of it
        out[0] = top
        return
    for i in range(len(a)):
        weight = math.exp(a[i, 0] - top)
        if weight == 0.0:  # also where a[i] is minus infinity, with whatever derivatives
            continue
        if len(out) > 1 + n:
            m = 1 + n
            for j in range(1, n + 1):
                slope = a[i, j]
                for k in range(1, j + 1):
                    out[m] += weight * (a[i, m] + slope * a[i, k])
                    m += 1
        for j in range(1, n + 1):
            out[j] += weight * a[i, j]
        out[0] += weight
    inverse = 1.0 / out[0]
    for j in range(1, n + 1):
        out[j] *= inverse
    if len(out) > 1 + n:
        m = 1 + n
        for j in range(1, n + 1):
            for k in range(1, j + 1):
                out[m] = out[m] * inverse - out[j] * out[k]
                m += 1
    out[0] = top + math.log(out[0])


@compiled
def log_softmax(a, spare, n):
    """``a[i]`` -= log of the sum of exp(a[i]), in place; ``spare`` is a jet to compute in."""
    top = a[0, 0]
    for i in range(1, len(a)):
        top = max(top, a[i, 0])
    if top > -math.inf:  # beside 1e17 a log 2 is lost, and the probabilities of equals would add up to 2
        for i in range(len(a)):
            a[i, 0] -= top
    log_sum_exp(spare, a, n)
    for i in range(len(a)):
        subtract(a[i], a[i], spare)


@compiled
def softmax(a, spare, n):
    """``a[i]`` = exp(a[i]) / sum of exp(a[i]), in place; ``spare`` is a jet to compute in."""
    log_softmax(a, spare, n)
    for i in range(len(a)):
        exp(a[i], a[i], n)

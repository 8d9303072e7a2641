"""Softmax over options with its derivatives, in compiled code."""

import math

from spice.equations.caching import njit


@njit
def softmax(x, inner, own, n, n_first, curved, offered):
    """Softmax s of e, where both lie in ``x`` with their derivatives.

    With d = e' - mean(e') under s: s' = s d, and s'' = s (q - mean(q)) with q = d d' + e''.

    Parameters
    ----------
    x : np.ndarray
        Read and written.
    inner, own : int
        Where e and s begin: their values for the ``n`` options, then each first derivative, then each second one.
    n : int
        Number of options.
    n_first : int
        Number of first derivatives.
    curved : np.ndarray of int
        Of each pair of first derivatives, (0, 0), (0, 1), ..., (1, 1), ...: which of e's second derivatives it is, or
        -1 where that is 0; empty if no second derivatives are wanted.
    offered : np.ndarray of bool, shape (n,)
        Options on offer; s of the others is 0.
    """
    top = -1e308
    for k in range(n):
        if offered[k]:
            top = max(top, x[inner + k])
    weight = 0.0
    for k in range(n):
        x[own + k] = math.exp(x[inner + k] - top) if offered[k] else 0.0
        weight += x[own + k]
    for k in range(n):
        x[own + k] /= weight
    for a in range(n_first):
        e, d = inner + (1 + a) * n, own + (1 + a) * n
        mean = 0.0
        for k in range(n):
            mean += x[own + k] * x[e + k]
        for k in range(n):
            x[d + k] = x[e + k] - mean
    pair = 0
    if len(curved):
        for a in range(n_first):
            for b in range(a, n_first):
                d, f, q = own + (1 + a) * n, own + (1 + b) * n, own + (1 + n_first + pair) * n
                mean = 0.0
                for k in range(n):
                    x[q + k] = x[d + k] * x[f + k]
                    if curved[pair] >= 0:
                        x[q + k] += x[inner + (1 + n_first + curved[pair]) * n + k]
                    mean += x[own + k] * x[q + k]
                for k in range(n):
                    x[q + k] = x[own + k] * (x[q + k] - mean)
                pair += 1
    for a in range(n_first):
        for k in range(n):
            x[own + (1 + a) * n + k] *= x[own + k]

"""Fixed parts of the source of compiled likelihoods."""

INDENT = "    "
ARRAYS = (  # of trials, in the order in which kernels take them
    "choice",
    "reward",
    "outcome",
    "inputs",
    "lagged",
    "cells",
    "next_cells",
    "rules",
    "kind",
    "offered",
    "target",
    "sessions",
    "groups",
)

HEAD = '''"""Likelihood of a model of choices; written by spice.equations.codegen."""

import math

import numpy as np
from numba import njit
{constants}

@njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)
def evaluate(parameters, group, {arrays}, {results}):
    # filled by loops: np.zeros takes numba a fifth of the time that it takes to compile the whole
    x = np.empty({n_values})
    for i in range({n_values}):
        x[i] = 0.0
'''

WITH_DERIVATIVES = {
    0: """
logits = np.empty({n_actions})
for row in range(len(group)):
    place = positions[row]
{body}
""",
    1: """
logits, mean, slopes = np.empty({n_actions}), np.empty({n_parameters}), np.empty(({n_actions}, {n_parameters}))
for option in range({n_actions}):
    for k in range({n_parameters}):
        slopes[option, k] = 0.0
for row in range(len(group)):
    g, total = gradient[row], 0.0
    z = 1.0  # a product of what the logarithm is still to be taken of: fewer logarithms
{body}
    nll[row] = total + math.log(z)
""",
    2: """
logits, mean, slopes = np.empty({n_actions}), np.empty({n_parameters}), np.empty(({n_actions}, {n_parameters}))
curves = np.empty(({n_actions}, {n_curves}))
for option in range({n_actions}):
    for k in range({n_parameters}):
        slopes[option, k] = 0.0
    for k in range({n_curves}):
        curves[option, k] = 0.0
for row in range(len(group)):
    g, h, total = gradient[row], hessian[row], 0.0
    z = 1.0  # a product of what the logarithm is still to be taken of: fewer logarithms
{body}
    nll[row] = total + math.log(z)
    for k in range({n_parameters}):
        for j in range(k):
            h[k, j] = h[j, k]
""",
}
KEEP_FINITE = """
if z > 1e250:
    total += math.log(z)
    z = 1.0
"""

TRIAL = """
action, scored = choice[trial], target[trial]
received = reward[trial] if action >= 0 else math.nan
known = 1.0 if received == received else 0.0
received = received if received == received else 0.0
"""

LOGARITHMS = """
top = -math.inf
for option in range({n_actions}):
    if {offered}:
        top = max(top, logits[option])
s = 0.0
for option in range({n_actions}):
    if {offered}:
        s += math.exp(logits[option] - top)
s = math.log(s)
for option in range({n_actions}):
    out[place, option] = logits[option] - top - s if {offered} else -math.inf
"""

TWO_OPTIONS = """
other = 1 - scored
d = logits[other] - logits[scored]
e = math.exp(-abs(d))
total += max(d, 0.0)
z *= 1.0 + e
f = 1.0 / (1.0 + e)
p = f if d > 0.0 else e * f
"""
TWO_SLOPES = """
for k in range({n_parameters}):
    g[k] += p * (slopes[other, k] - slopes[scored, k])
"""
TWO_CURVES = """
v = e * f * f
for k in range({n_parameters}):
    s = slopes[other, k] - slopes[scored, k]
    mean[k] = s
    g[k] += p * s
    for j in range(k + 1):
        h[j, k] += v * s * mean[j]
"""
TWO_CURVED = "h[{j}, {k}] += p * (curves[other, {m}] - curves[scored, {m}])"

MORE_OPTIONS = """
top = logits[scored]
for option in range({n_actions}):
    if {offered}:
        top = max(top, logits[option])
total += top - logits[scored]
s = 0.0
for option in range({n_actions}):
    logits[option] = math.exp(logits[option] - top) if {offered} else 0.0
    s += logits[option]
z *= s
for option in range({n_actions}):
    logits[option] /= s
for k in range({n_parameters}):
    mean[k] = 0.0
    for option in range({n_actions}):
        mean[k] += logits[option] * slopes[option, k]
    g[k] += mean[k] - slopes[scored, k]
"""
MORE_CURVES = """
for option in range({n_actions}):
    for k in range({n_parameters}):
        s = logits[option] * (slopes[option, k] - mean[k])
        for j in range(k + 1):
            h[j, k] += s * (slopes[option, j] - mean[j])
"""
MORE_CURVED = """
h[{j}, {k}] -= curves[scored, {m}]
for option in range({n_actions}):
    h[{j}, {k}] += logits[option] * curves[option, {m}]
"""

PROBABILITY = """
s = 1.0 / logits[scored]
if 0.0 < s < 1e50:
    z *= s
else:  # no product of many; and two that are below 0 must not make one above
    total += math.log(s) if s > 0.0 else math.nan
"""
PROBABILITY_SLOPES = """
for k in range({n_parameters}):
    g[k] -= slopes[scored, k] * s
"""
PROBABILITY_CURVES = """
for k in range({n_parameters}):
    for j in range(k + 1):
        h[j, k] += slopes[scored, j] * slopes[scored, k] * s * s
"""
PROBABILITY_CURVED = "h[{j}, {k}] -= curves[scored, {m}] * s"
PROBABILITIES = """
for option in range({n_actions}):
    out[place, option] = math.log(logits[option]) if {offered} else -math.inf
"""

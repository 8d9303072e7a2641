"""What becomes of the choices of a compiled step: some options are not on offer, and people lapse."""

import math

from spice.equations.jets import add, affine, compiled, exp, fill, log, log_softmax, multiply


@compiled
def leave_out(log_p, offered, spare, n):
    """Log-probabilities among the options on offer, in place; ``spare`` is a jet to compute in."""
    for option in range(len(log_p)):
        if not offered[option]:
            fill(log_p[option], -math.inf)
    log_softmax(log_p, spare, n)


@compiled
def mix_lapse(log_p, lapse, offered, spare, n):
    """Log-probabilities where, with probability ``lapse``, any of the options on offer is chosen; in place."""
    n_offered = 0
    for option in range(len(log_p)):
        n_offered += 1 if offered[option] else 0
    for option in range(len(log_p)):
        if offered[option]:
            p = log_p[option]
            if p[0] == -math.inf:  # with whatever derivatives
                fill(p, 0.0)
            else:
                exp(p, p, n)
            affine(spare, p, -1.0, 1.0 / n_offered)
            multiply(spare, spare, lapse, n)
            add(p, p, spare)
            log(p, p, n)

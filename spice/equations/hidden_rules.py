"""What becomes of a hidden variable in a compiled step: summed over, taken at its most probable value, or sampled."""

import math

from spice.equations.jets import add, compiled, copy, fill, log_sum_exp, softmax


@compiled
def mix_marginal(out, log_w, log_p, option, work, n):
    """Log-probability of an option, summed over the hidden values; ``work`` holds a jet for each of these."""
    for hidden in range(len(log_w)):
        add(work[hidden], log_w[hidden], log_p[hidden, option])
    log_sum_exp(out, work, n)


@compiled
def respond_marginal(weights, log_w, log_p, choice, spare, n):
    """Probability of each hidden value given the choice."""
    for hidden in range(len(log_w)):
        add(weights[hidden], log_w[hidden], log_p[hidden, choice])
    softmax(weights, spare, n)


@compiled
def most_probable(log_w):
    """The first of the most probable hidden values."""
    best = 0
    for hidden in range(1, len(log_w)):
        if log_w[hidden, 0] > log_w[best, 0]:
            best = hidden
    return best


@compiled
def put_all_on(weights, value):
    """All weight on one hidden value."""
    for hidden in range(len(weights)):
        fill(weights[hidden], 0.0)
    weights[value, 0] = 1.0


@compiled
def mix_argmax(out, log_w, log_p, option, work, n):
    """Log-probability of an option given the most probable hidden value."""
    copy(out, log_p[most_probable(log_w), option])


@compiled
def respond_argmax(weights, log_w, log_p, choice, spare, n):
    """All weight on the most probable hidden value, whatever the choice."""
    put_all_on(weights, most_probable(log_w))


@compiled
def sample(weights, uniform):
    """A hidden value with the probabilities ``weights`` (any positive multiple), given a uniform random number."""
    total = 0.0
    for hidden in range(len(weights)):
        total += weights[hidden]
    below = 0.0
    for hidden in range(len(weights)):
        below += weights[hidden]
        if uniform * total < below:
            return hidden
    return len(weights) - 1


@compiled
def log_total(log_weights):
    """Logarithm of the sum of exp(log_weights)."""
    top = log_weights[0]
    for hidden in range(1, len(log_weights)):
        top = max(top, log_weights[hidden])
    if top == -math.inf:
        return top
    total = 0.0
    for hidden in range(len(log_weights)):
        total += math.exp(log_weights[hidden] - top)
    return top + math.log(total)

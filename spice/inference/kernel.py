"""The compiled likelihood of polynomial models: value, exact gradient and Fisher information in one pass over trials.

States and their derivatives by every free coefficient are carried forward through the trials (forward sensitivities).
A row is one set of coefficients on the sessions of one participant: participants, structures and bootstraps alike.
One compiled loop serves all structures: the terms that are absent have the coefficient 0 and are not among the free.
"""

import numpy as np

from spice.equations.caching import njit


@njit
def _advance(x, slopes, trial, modules, factors, begin, weights, powers, factor, place, state_first):
    """One trial: next states ``x`` and their derivatives ``slopes``, in place."""
    n_states, n_actions = x.shape
    for state in range(n_states):
        for option in range(n_actions):
            module = modules[trial, state, option]
            if module < 0:
                continue
            old, new, slope = x[state, option], 0.0, 0.0
            for term in range(begin[module], begin[module + 1]):
                product = weights[term] * factors[trial, factor[term], option]
                if powers[term] == 0:
                    new += product
                elif powers[term] == 1:
                    new += product * old
                    slope += product
                else:
                    product *= old ** (powers[term] - 1)
                    new += product * old
                    slope += product * powers[term]
            x[state, option] = new
            for k in range(state_first[state], state_first[state + 1]):
                slopes[option, k] *= slope
            for term in range(begin[module], begin[module + 1]):
                if place[term] >= 0:
                    derivative = factors[trial, factor[term], option]
                    if powers[term] == 1:
                        derivative *= old
                    elif powers[term] > 1:
                        derivative *= old ** powers[term]
                    slopes[option, place[term]] += derivative


@njit
def _terms_in_use(row, coefficients, free, first, term_state, begin, used, place, state_first):
    """Write down a row's terms that are not 0 or free, module by module; returns how many are free, with biases."""
    n_free, n_used = 0, 0
    for k in range(free.shape[1]):
        n_free += free[row, k] >= 0
    state_first[:] = 0
    k = 0
    for module in range(len(first) - 1):
        begin[module] = n_used
        for term in range(first[module], first[module + 1]):
            is_free = k < n_free and free[row, k] == term
            if is_free or coefficients[row, term] != 0.0:
                used[n_used], place[n_used] = term, k if is_free else -1
                n_used += 1
            if is_free:
                k += 1
                for state in range(term_state[term] + 1, len(state_first)):
                    state_first[state] = k
    begin[len(first) - 1] = n_used
    return n_free


@njit
def _score(x, slopes, probabilities, mean, biases, choice, n_free, gradient, fisher):
    """Add one choice: returns its negative log-likelihood; adds to gradient and information."""
    n_states, n_actions = x.shape
    largest = -np.inf
    for option in range(n_actions):
        logit = biases[option]
        for state in range(n_states):
            logit += x[state, option]
        probabilities[option] = logit
        largest = max(largest, logit)
    total = 0.0
    chosen = probabilities[choice] - largest
    for option in range(n_actions):
        probabilities[option] = np.exp(probabilities[option] - largest)
        total += probabilities[option]
    for option in range(n_actions):
        probabilities[option] /= total
    if n_free:
        if n_actions == 2:
            weight, wrong = probabilities[0] * probabilities[1], probabilities[0] - (1.0 if choice == 0 else 0.0)
            for k in range(n_free):
                mean[k] = slopes[0, k] - slopes[1, k]
            for k in range(n_free):
                gradient[k] += wrong * mean[k]
                scaled = weight * mean[k]
                for j in range(k + 1):
                    fisher[k, j] += scaled * mean[j]
        else:
            for k in range(n_free):
                mean[k] = 0.0
                for option in range(n_actions):
                    mean[k] += probabilities[option] * slopes[option, k]
                gradient[k] += mean[k] - slopes[choice, k]
            for option in range(n_actions):
                for k in range(n_free):
                    scaled = probabilities[option] * (slopes[option, k] - mean[k])
                    for j in range(k + 1):
                        fisher[k, j] += scaled * (slopes[option, j] - mean[j])
    return np.log(total) - chosen


@njit
def evaluate_rows(
    coefficients,
    free,
    group,
    modules,
    factors,
    choices,
    sessions,
    groups,
    first,
    powers,
    factor,
    term_state,
    nll,
    gradient,
    fisher,
):
    """Negative log-likelihood, its gradient and the Fisher information of rows, added to the last three arrays.

    Parameters
    ----------
    coefficients : np.ndarray, shape (n_rows, n_terms + n_actions)
        Coefficients of all terms, then the bias of each option.
    free : np.ndarray of int64, shape (n_rows, n_free)
        Which of them to differentiate by: numbers in the order of states, biases last, then -1.
    group : np.ndarray of int64, shape (n_rows,)
        The participant whose sessions each row is evaluated on.
    modules : np.ndarray of int16, shape (n_trials, n_states, n_actions)
        Module that updates each state; -1 where it stays.
    factors : np.ndarray, shape (n_trials, n_factors, n_actions)
        Products of inputs that terms are made of.
    choices : np.ndarray of int16, shape (n_trials,)
        The choice that follows each trial; -1 where none is scored.
    sessions, groups : np.ndarray of int64
        First trial of each session, first session of each participant; the end of the last at the end.
    first : np.ndarray of int64, shape (n_modules + 1,)
        First term of each module; their number at the end.
    powers, factor, term_state : np.ndarray of int64, shape (n_terms,)
        Of each term: power of the state, number of the product of inputs, number of the state.
    nll : np.ndarray, shape (n_rows,)
        Zeros; not finite where states overflow.
    gradient : np.ndarray, shape (n_rows, n_free)
        Zeros.
    fisher : np.ndarray, shape (n_rows, n_free, n_free)
        Zeros.
    """
    n_rows, n_terms, n_states = len(coefficients), len(powers), modules.shape[1]
    n_actions, most = modules.shape[2], free.shape[1]
    x, slopes = np.empty((n_states, n_actions)), np.empty((n_actions, most))
    probabilities, mean = np.empty(n_actions), np.empty(most)
    begin, state_first = np.empty(len(first), np.int64), np.empty(n_states + 1, np.int64)
    used, place, weights = np.empty(n_terms, np.int64), np.empty(n_terms, np.int64), np.empty(n_terms)
    for row in range(n_rows):
        n_free = _terms_in_use(row, coefficients, free, first, term_state, begin, used, place, state_first)
        n_used = begin[len(first) - 1]
        weights[:n_used] = coefficients[row][used[:n_used]]
        own_powers, own_factor = powers[used[:n_used]], factor[used[:n_used]]
        biases, own_gradient, own_fisher, total = coefficients[row, n_terms:], gradient[row], fisher[row], 0.0
        for session in range(groups[group[row]], groups[group[row] + 1]):
            x[:] = 0.0
            slopes[:] = 0.0
            for k in range(state_first[n_states], n_free):  # biases
                slopes[free[row, k] - n_terms, k] = 1.0
            for trial in range(sessions[session], sessions[session + 1]):
                _advance(x, slopes, trial, modules, factors, begin, weights, own_powers, own_factor, place, state_first)
                if choices[trial] >= 0:
                    total += _score(
                        x, slopes, probabilities, mean, biases, choices[trial], n_free, own_gradient, own_fisher
                    )
        nll[row] = total
        for k in range(n_free):
            for j in range(k):
                fisher[row, j, k] = fisher[row, k, j]

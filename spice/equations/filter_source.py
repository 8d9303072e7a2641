"""The compiled particle filter around the step of a model with a hidden variable."""

from collections.abc import Callable

from spice.equations.compiled_model import CompiledModel
from spice.equations.step_source import load_step_code

FILTER = '''

@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def uniform_number(state):
    """The next of the generator splitmix64 (Steele, Lea & Flood 2014): the same on every thread."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) / 9007199254740992.0


@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def effective_number(log_weights):
    """Normalises weights and returns how many particles share them."""
    total, squares = log_total(log_weights), 0.0
    for i in range(len(log_weights)):
        log_weights[i] -= total
        squares += math.exp(2.0 * log_weights[i])
    return 1.0 / squares


@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def draw_ancestors(log_weights, ancestors, uniform):
    """Systematic resampling."""
    n, i, below = len(log_weights), 0, math.exp(log_weights[0])
    for k in range(n):
        while (k + uniform) / n >= below and i < n - 1:
            i += 1
            below += math.exp(log_weights[i])
        ancestors[k] = i


@njit(nogil=True, cache={cache}, error_model="numpy", no_cfunc_wrapper=True)
def evaluate(
    parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups, seeds, n_particles,
    threshold, found,
):
    p, state = np.zeros(({n_parameters}, 1)), np.zeros(1, np.uint64)
    log_weights, expected = np.zeros(n_particles), np.zeros(n_particles)
    ancestors = np.zeros(n_particles, np.int64)
    joint, old_joint = np.zeros((n_particles, {n_hidden})), np.zeros((n_particles, {n_hidden}))
{arrays}
{particles}
    for row in range(len(group)):
        state[0] = seeds[row]
        for k in range({n_parameters}):
            p[k, 0] = parameters[row, k]
        first = sessions[groups[group[row]]]
        for session in range(groups[group[row]], groups[group[row] + 1]):
            for i in range(n_particles):
                log_weights[i] = -math.log(n_particles)
{start_particle}
            ready = False  # whether what was expected of the coming choice is that of this trial
            for trial in range(sessions[session], sessions[session + 1]):
                if choice[trial] >= 0:
                    now = StepTrial(choice[trial], reward[trial], outcome[trial], inputs[trial], {seen})
                    for k in range({n_shown}):
                        ready = ready and shown[trial, k] == next_shown[trial - 1, k]
                    if not (ready and choice[trial] == target[trial - 1]):
                        for i in range(n_particles):
                            states = ({particle},)
{look_now}
                            for h in range({n_hidden}):
                                joint[i, h] = log_w[h, 0] + given[h, now.choice, 0]
                            expected[i] = log_total(joint[i])
                    for i in range(n_particles):
                        log_weights[i] += expected[i]
                    if effective_number(log_weights) < threshold * n_particles:
                        draw_ancestors(log_weights, ancestors, uniform_number(state))
                        joint, old_joint = old_joint, joint
{swap}
                        for i in range(n_particles):
                            log_weights[i] = -math.log(n_particles)
                            copy(joint[i], old_joint[ancestors[i]])
{copy}
                    for i in range(n_particles):  # a hidden value given the choice, and what it learns
                        states, top = ({particle},), log_total(joint[i])
                        for h in range({n_hidden}):
                            weights[h, 0] = math.exp(joint[i, h] - top)
                        put_all_on(weights, sample(weights[:, 0], uniform_number(state)))
                        learn(states, weights, p, now, work, 0)
                ready = False
                if target[trial] >= 0:
                    for i in range(n_particles):
                        states = ({particle},)
{look_next}
                        for h in range({n_hidden}):
                            joint[i, h] = log_w[h, 0] + given[h, target[trial], 0]
                        expected[i] = log_total(joint[i])
                        log_weights[i] += expected[i]
                    found[row, trial - first] = log_total(log_weights)
                    for i in range(n_particles):
                        log_weights[i] -= expected[i]
                    ready = True
'''


def filter_function(model: CompiledModel, offers: bool = False) -> Callable:
    """The compiled particle filter of a model with a `HiddenStep`.

    Parameters
    ----------
    model : CompiledModel
        The model.
    offers : bool, default False
        Whether options can be missing, as in `spice.equations.step_source.likelihood_function`.

    Returns
    -------
    callable
        ``evaluate(parameters, group, choice, reward, outcome, inputs, shown, next_shown, target, sessions, groups,
        seeds, n_particles, threshold, found)`` writes into ``found`` (n_rows, n_trials) the estimated log-probability
        of the choice that follows each trial of a row's participant. ``seeds`` (n_rows,) are uint64; particles are
        resampled where the effective number of them falls below ``threshold * n_particles``.
    """
    return load_step_code(model, FILTER, ["evaluate"], offers=offers)[0]

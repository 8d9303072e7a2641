"""The compiled step of `spice.precoded.models.task_sets`."""

from spice.equations.jets import compiled, log_softmax, multiply, relax

START = 0.12  # of all values; what they are forgotten to
BROKEN_SYMMETRY = 0.02  # more in q_high of one set per season: equal sets are a saddle of the likelihood
SEASON, ALIEN = 0, 1  # places of what is shown
ALPHA, BETA, FORGET, ALPHA_HIGH, BETA_HIGH = range(5)  # places of parameters


@compiled
def pick_set(log_w, states, parameters, shown, work, n):
    """Log-probability of each set in the season."""
    _, q_high = states
    for task_set in range(len(log_w)):
        multiply(log_w[task_set], parameters[BETA_HIGH], q_high[shown[SEASON], task_set], n)
    log_softmax(log_w, work[0], n)


@compiled
def act(log_p, states, parameters, shown, work, n):
    """Log-probability of each action towards the alien, given each set."""
    q_low, _ = states
    for task_set in range(log_p.shape[0]):
        for action in range(log_p.shape[1]):
            multiply(log_p[task_set, action], parameters[BETA], q_low[task_set, shown[ALIEN], action], n)
        log_softmax(log_p[task_set], work[0], n)


@compiled
def learn(states, weights, parameters, trial, work, n):
    """All values are forgotten; those of the sets learn, as much as the trial was theirs."""
    q_low, q_high = states
    season, alien = trial.shown[SEASON], trial.shown[ALIEN]
    for task_set in range(q_low.shape[0]):
        for other in range(q_low.shape[1]):
            for action in range(q_low.shape[2]):
                relax(q_low[task_set, other, action], parameters[FORGET], START, n)
    for other in range(q_high.shape[0]):
        for task_set in range(q_high.shape[1]):
            relax(q_high[other, task_set], parameters[FORGET], START, n)
    if trial.reward != trial.reward:  # it is not known
        return
    rate = work[0]
    for task_set in range(len(weights)):
        multiply(rate, parameters[ALPHA], weights[task_set], n)
        relax(q_low[task_set, alien, trial.choice], rate, trial.reward, n)
        multiply(rate, parameters[ALPHA_HIGH], weights[task_set], n)
        relax(q_high[season, task_set], rate, trial.reward, n)

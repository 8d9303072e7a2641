"""The ready models once more, as plain loops over one person's trials, written from the papers.

They are slow on purpose and share nothing with the package. All of them read

- ``choices``: list of int, the option that was chosen in each row; -1 where there was none;
- ``rewards``: array (n_rows, n_options), what each option brought; NaN where that was not shown;
- shown columns, where the task has a stimulus: list of int, what was on the screen when the row's choice was made;

of one session, and return an array (n_rows, n_options): the logits, up to a constant, of the choice that *follows* each
row, with the stimulus of that next row. The row after the last one is not there: its stimulus, if a model needs one,
is unknown and its logits are NaN.

A row without a choice changes nothing. Where the outcome of a choice is unknown, what would be learned from it is not;
all else (forgetting, choice traces) happens. From the logits, `probabilities` and `log_probabilities` make those of the
choices, with a lapse rate, biases and options that are not on offer.
"""

import math

import numpy as np

COMMON = 0.7  # two-step task: probability that first-stage option 0 leads to state 1, and option 1 to state 2


# ---------------------------------------------------------------------- from logits to choices


def probabilities(logits, lapse=0.0, bias=None, available=None):
    """Probability of each option for the choice that follows each row.

    Parameters
    ----------
    logits : array (n_rows, n_options)
        From one of the models below.
    lapse : float
        Probability of choosing any of the options on offer, each as often.
    bias : sequence of float (n_options,), optional
        Added to the logits; that of option 0 is 0.
    available : array of bool (n_rows, n_options), optional
        Options on offer in each *row*; the choice that follows row t is made among those of row t + 1.

    Returns
    -------
    array (n_rows, n_options)
        NaN where the logits are. After the last row every option is on offer.
    """
    n_rows, n_options = logits.shape
    found = np.full((n_rows, n_options), math.nan)
    for t in range(n_rows):
        if any(math.isnan(value) for value in logits[t]):
            continue
        on_offer = [k for k in range(n_options) if available is None or t + 1 == n_rows or available[t + 1][k]]
        total = {k: float(logits[t][k]) + (0.0 if bias is None else bias[k]) for k in on_offer}
        top = max(total.values())
        weight = {k: math.exp(value - top) for k, value in total.items()}
        for k in range(n_options):
            softmax = weight[k] / sum(weight.values()) if k in on_offer else 0.0
            found[t, k] = (1 - lapse) * softmax + (lapse / len(on_offer) if k in on_offer else 0.0)
    return found


def log_probabilities(logits, choices, lapse=0.0, bias=None, available=None):
    """Log-probability of each scored choice, in order: of every choice but the session's first row."""
    found = probabilities(logits, lapse, bias, available)
    return np.array([math.log(found[t, choices[t + 1]]) for t in range(len(choices) - 1) if choices[t + 1] >= 0])


# ---------------------------------------------------------------------- learning from the chosen option


def rescorla_wagner(choices, rewards, alpha, beta, start=0.5):
    """Q-learning with one learning rate (Wilson & Collins 2019, eLife 8:e49547, model 3)."""
    n_options = rewards.shape[1]
    q = [start] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0 and not math.isnan(reward[choice]):
            q[choice] += alpha * (reward[choice] - q[choice])
        logits.append([beta * value for value in q])
    return np.array(logits)


def forgetting(choices, rewards, alpha, beta, forget, start=0.5):
    """Values of the other options go back to where they started (after Ito & Doya 2009, J Neurosci 29)."""
    n_options = rewards.shape[1]
    q = [start] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0:
            for k in range(n_options):
                if k != choice:
                    q[k] += forget * (start - q[k])
                elif not math.isnan(reward[k]):
                    q[k] += alpha * (reward[k] - q[k])
        logits.append([beta * value for value in q])
    return np.array(logits)


def two_learning_rates(choices, rewards, alpha_reward, alpha_penalty, beta, start=0.5):
    """Prediction errors above 0 are learned at one rate, those below at another (Frank et al. 2007, PNAS 104)."""
    n_options = rewards.shape[1]
    q = [start] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0 and not math.isnan(reward[choice]):
            error = reward[choice] - q[choice]
            q[choice] += (alpha_reward if error > 0 else alpha_penalty) * error
        logits.append([beta * value for value in q])
    return np.array(logits)


def choice_kernel(choices, rewards, alpha, beta, alpha_choice, perseveration, start=0.5):
    """Rewards and habit (Wilson & Collins 2019, model 5): the kernel K follows what was chosen, from 0."""
    n_options = rewards.shape[1]
    q, kernel = [start] * n_options, [0.0] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0:
            if not math.isnan(reward[choice]):
                q[choice] += alpha * (reward[choice] - q[choice])
            for k in range(n_options):
                kernel[k] += alpha_choice * ((1.0 if k == choice else 0.0) - kernel[k])
        logits.append([beta * q[k] + perseveration * kernel[k] for k in range(n_options)])
    return np.array(logits)


def counterfactual(choices, rewards, alpha, alpha_counterfactual, beta, start=0.5):
    """Outcomes of options not chosen are learned at a rate of their own (Palminteri et al. 2015, Nat Commun 6)."""
    n_options = rewards.shape[1]
    q = [start] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0:
            for k in range(n_options):
                if not math.isnan(reward[k]):
                    q[k] += (alpha if k == choice else alpha_counterfactual) * (reward[k] - q[k])
        logits.append([beta * value for value in q])
    return np.array(logits)


def pearce_hall(choices, rewards, kappa, eta, beta, start=0.5, associability=1.0):
    """Surprise sets the learning rate (Pearce & Hall 1980; hybrid of Li et al. 2011, Nat Neurosci 14).

    The value is updated with the associability from before the trial; both belong to the chosen option.
    """
    n_options = rewards.shape[1]
    q, a = [start] * n_options, [associability] * n_options
    logits = []
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0 and not math.isnan(reward[choice]):
            error = reward[choice] - q[choice]
            q[choice] += kappa * a[choice] * error
            a[choice] = (1 - eta) * a[choice] + eta * abs(error)
        logits.append([beta * value for value in q])
    return np.array(logits)


def win_stay_lose_shift(choices, rewards, epsilon):
    """Stay after a reward above 0, else shift; at random with probability epsilon (Wilson & Collins 2019, model 2).

    Two options are the paper's; among more, a shift goes to each other option as often. The last choice with a known
    outcome decides; before there is one, all options are alike.
    """
    n_options = rewards.shape[1]
    logits = []
    plan = [1 / n_options] * n_options
    for choice, reward in zip(choices, rewards, strict=True):
        if choice >= 0 and not math.isnan(reward[choice]):
            won = reward[choice] > 0
            for k in range(n_options):
                if k == choice:
                    plan[k] = 1.0 if won else 0.0
                else:
                    plan[k] = 0.0 if won else 1 / (n_options - 1)
        logits.append([math.log((1 - epsilon) * share + epsilon / n_options) for share in plan])
    return np.array(logits)


# ---------------------------------------------------------------------- tasks with something on the screen


def two_step(choices, rewards, state, alpha_1, alpha_2, beta_1, beta_2, trace, weight, perseveration, start=0.0):
    """The hybrid of model-based and model-free learning (Daw et al. 2011, Neuron 69, Experimental Procedures).

    Two rows make a trial: ``state`` 0 is the first stage, whose outcome plays no part, 1 and 2 are the second stage.

    - Second stage, model-free: Q(s, a2) <- Q(s, a2) + alpha_2 (r - Q(s, a2)); logits beta_2 Q(s, .).
    - First stage, model-free, SARSA(lambda): Q(a1) <- Q(a1) + alpha_1 (Q(s, a2) - Q(a1)), with the second stage's value
      from before the outcome, then Q(a1) <- Q(a1) + alpha_1 lambda (r - Q(s, a2)), the same error as above; lambda is
      ``trace``.
    - First stage, model-based: .7 of the best value of the state that is common after a1 and .3 of that of the other.
    - First stage: logits beta_1 (weight model-based + (1 - weight) model-free + perseveration [the last first-stage
      choice]); beta_1 multiplies perseveration too, as in the paper.

    A second stage without a choice teaches nothing about the first one; one whose outcome is unknown teaches the first
    stage Q(s, a2) alone.
    """
    first, second = [start, start], {1: [start, start], 2: [start, start]}
    repeated = [0.0, 0.0]  # which option the last first-stage choice took
    taken = -1  # first-stage choice of this trial
    logits = []
    for t, (choice, reward) in enumerate(zip(choices, rewards, strict=True)):
        if state[t] == 0:
            taken = choice
            if choice >= 0:
                repeated = [float(k == choice) for k in range(2)]
        elif choice >= 0:
            values = second[state[t]]
            known = not math.isnan(reward[choice])
            error_1 = values[choice] - first[taken] if taken >= 0 else math.nan
            error_2 = reward[choice] - values[choice]
            if taken >= 0:
                first[taken] += alpha_1 * error_1
            if taken >= 0 and known:
                first[taken] += alpha_1 * trace * error_2
            if known:
                values[choice] += alpha_2 * error_2
        if state[t] != 0:
            taken = -1  # the trial is over
        coming = state[t + 1] if t + 1 < len(state) else None
        if coming is None:
            logits.append([math.nan, math.nan])
        elif coming == 0:
            best = {s: max(values) for s, values in second.items()}
            by_model = [COMMON * best[1] + (1 - COMMON) * best[2], (1 - COMMON) * best[1] + COMMON * best[2]]
            net = [weight * by_model[k] + (1 - weight) * first[k] for k in range(2)]
            logits.append([beta_1 * (net[k] + perseveration * repeated[k]) for k in range(2)])
        else:
            logits.append([beta_2 * value for value in second[coming]])
    return np.array(logits)


def flat_aliens(choices, rewards, season, alien, alpha, beta, forget, start=0.12, n_seasons=3, n_aliens=4):
    """One value per season, alien and action; all values go back to the start, then the chosen one learns.

    The flat model of the task of Eckstein & Collins (2020, PNAS 117), with forgetting of every value at every trial.
    """
    n_options = rewards.shape[1]
    q = {(s, a): [start] * n_options for s in range(n_seasons) for a in range(n_aliens)}
    logits = []
    for t, (choice, reward) in enumerate(zip(choices, rewards, strict=True)):
        if choice >= 0:
            for values in q.values():
                for k in range(n_options):
                    values[k] = (1 - forget) * values[k] + forget * start
            cell = q[season[t], alien[t]]
            if not math.isnan(reward[choice]):
                cell[choice] += alpha * (reward[choice] - cell[choice])
        if t + 1 < len(season):
            logits.append([beta * value for value in q[season[t + 1], alien[t + 1]]])
        else:
            logits.append([math.nan] * n_options)
    return np.array(logits)

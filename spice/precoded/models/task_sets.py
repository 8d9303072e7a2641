"""Hierarchical reinforcement learning: sets of values, one of which is picked in each season."""

import numpy as np

from spice.equations.compiled_model import RULES, CompiledModel, HiddenStep


def task_sets(n_seasons: int = 3, n_aliens: int = 4, n_actions: int = 3, rule: str = "marginal") -> CompiledModel:
    """Task sets: an alien's value for each action in each of several sets, and how good each set is in each season.

    In each trial a person sees ``season`` and ``alien``, picks a set, and acts as it says:

    - P(set | season) = softmax(beta_high * q_high[season])
    - P(action | alien, set) = softmax(beta * q_low[set, alien])

    Then all values are forgotten, q += forget * (0.12 - q), and those in use learn from the reward:

    - q_low[set, alien, action] += alpha * rho[set] * (reward - q_low[set, alien, action])
    - q_high[season, set] += alpha_high * rho[set] * (reward - q_high[season, set])

    All values are 0.12 at the start, but for 0.02 more in q_high of the set with the season's number, so that the sets
    can be told apart. There are as many sets as seasons.

    Parameters
    ----------
    n_seasons, n_aliens, n_actions : int, default 3, 4, 3
        Sizes of the task.
    rule : {"marginal", "argmax"}
        What the set in use is, which nobody sees. ``"marginal"``: rho is the probability of each set given the action,
        and the action's probability is summed over sets. Its likelihood is smooth, and exact for people who learn so;
        it is **approximate** for people who use one set at a time (see Notes). ``"argmax"``: the best set of the
        season is used; then the likelihood jumps, so that it is offered for plain values and simulation only.

    Returns
    -------
    CompiledModel
        Its parameters are alpha, beta, forget, alpha_high and beta_high, with the population priors of the example
        below; people are normally distributed on the natural scale, truncated to the bounds.

    Notes
    -----
    People who sample one set in each trial and learn in it alone are simulated by ``StepAgent(..., rule="sample")``;
    their likelihood is that of `spice.inference.fitting.particles.ParticleFilter`, exact in the limit of many
    particles. Of 31 such people with 440 trials the marginal rule's log-likelihood at the true parameters fell short by
    10 (beta_high = 5) to 27 nats (15 and 30) per person, a few by more than 100: what was learned depends on which set
    it was, and an average over sets stays closer to sets that are all alike. So compare with the filter before
    conclusions are drawn from parameters of sets.

    The likelihood of the marginal rule is rugged where sets change quickly, and it has a mode in which sets do not
    matter (beta_high near 0). ``fit(method="em")`` begins at the best of many fits of one set of parameters to
    everybody, and draws from the population where people have several modes. With 200 trials choices hardly tell
    alpha_high, beta_high and, together with these, beta: their population's means follow from its priors. NUTS takes
    minutes for a hundred draws of 100 people.

    References
    ----------
    Eckstein, M. K., & Collins, A. G. E. (2020). Computational evidence for hierarchically structured reinforcement
    learning in humans. Proceedings of the National Academy of Sciences, 117, 29381-29389.
    """
    from spice.equations import Parameter  # sympy and the compiler take a while to import
    from spice.precoded.models import task_sets_step, task_sets_text

    rate = Parameter(low=0, high=1, scale="natural", mean_prior="uniform(0, 1)", sd_prior="half_normal(0.1)")
    temperature = Parameter(low=0, scale="natural", mean_prior="gamma(mean=1, sd=2)", sd_prior="half_normal(0.5)")
    return CompiledModel(
        parameters={
            "alpha": rate,
            "beta": temperature,
            "forget": rate,
            "alpha_high": rate,
            "beta_high": temperature,
        },
        states={
            "q_low": np.full((n_seasons, n_aliens, n_actions), task_sets_step.START),
            "q_high": task_sets_step.START + task_sets_step.BROKEN_SYMMETRY * np.eye(n_seasons),
        },
        step=HiddenStep(
            n_hidden=n_seasons,
            weigh=task_sets_step.pick_set,
            act=task_sets_step.act,
            learn=task_sets_step.learn,
            work=1,
            rule=rule,
        ),
        n_actions=n_actions,
        shown={"season": n_seasons, "alien": n_aliens},
        name="task sets",
        written=task_sets_text.written(rule) if rule in RULES else (),
    )

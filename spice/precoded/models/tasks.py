"""Models of tasks that show something before each choice."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spice.equations import SymbolicModel

COMMON = 0.7  # probability with which a first-stage option leads to its own state


def two_step() -> "SymbolicModel":
    """The two-step task's hybrid of model-based and model-free learning.

    A trial is two rows: the shown input ``state`` is 0 at the first stage, 1 or 2 at the second; first-stage option 0
    leads to state 1 with probability .7, option 1 to state 2 (`spice.resources.bandits.TwoStepTask`). The outcome of
    first-stage rows plays no part.

    Parameters of the model: learning rates ``alpha_1``, ``alpha_2`` and inverse temperatures ``beta_1``, ``beta_2`` of
    the two stages, ``trace`` (the eligibility trace, lambda), ``weight`` (of the model-based values),
    ``perseveration`` (of first-stage choices, times ``beta_1``).

    Source: Daw et al. (2011, Neuron 69: 1204), Experimental Procedures.
    """
    from spice.equations import Parameter, State, SymbolicModel

    best = ["max_actions(q_2[1])", "max_actions(q_2[2])"]
    planned = [f"({COMMON} * {own} + {1 - COMMON:.1g} * {other})" for own, other in (best, best[::-1])]
    stage_1 = tuple(f"beta_1 * (weight * {value} + (1 - weight) * q_1 + perseveration * repeated)" for value in planned)
    unit = Parameter(0, 1)
    return SymbolicModel(
        shown={"state": 3},
        states={"q_1": State(), "q_2": State(by=("state",)), "repeated": State()},
        let={"taken": "where(state_lag1 == 0, chosen_lag1, 0)", "reached": "sum_actions(chosen * q_2)"},
        updates=[
            ("repeated", "everywhere", "chosen", "state == 0"),
            ("q_1", "everywhere", "q_1 + taken * alpha_1 * (reached - q_1)", "state > 0"),
            ("q_1", "everywhere", "q_1 + taken * alpha_1 * trace * (reward - reached)", "state > 0"),
            ("q_2", "chosen", "q_2 + alpha_2 * (reward - q_2)", "state > 0"),
        ],
        logits={"state == 0": stage_1, "state > 0": "beta_2 * q_2"},
        parameters={
            "alpha_1": unit,
            "alpha_2": unit,
            "beta_1": Parameter(0),
            "beta_2": Parameter(0),
            "trace": unit,
            "weight": unit,
            "perseveration": Parameter(),
        },
    )


def flat_aliens(n_seasons: int = 3, n_aliens: int = 4) -> "SymbolicModel":
    """One value per season, alien and action; every value returns to its start, the chosen one follows its reward.

    Parameters of the model: ``alpha``, ``beta``, ``forget`` (forgetting rate). People are normal on the natural scale,
    truncated to the bounds; the population's mean of beta is Gamma with mean 1 and sd 2, its sd half-normal(.5); the
    means of alpha and forget are uniform, their sds half-normal(.1).

    Parameters
    ----------
    n_seasons, n_aliens : int
        Levels of the shown inputs ``season`` and ``alien``.

    Source: the flat model of Eckstein & Collins (2020, PNAS 117: 29381), with forgetting.
    """
    from spice.equations import Parameter, State, SymbolicModel

    rate = Parameter(0, 1, mean_prior="uniform(0, 1)", sd_prior="half_normal(0.1)", scale="natural")
    return SymbolicModel(
        shown={"season": n_seasons, "alien": n_aliens},
        states={"q": State(0.12, by=("season", "alien"))},
        updates=[
            ("q", "everywhere", "(1 - forget) * q + forget * 0.12"),
            ("q", "chosen", "q + alpha * (reward - q)"),
        ],
        logits="beta * q",
        parameters={
            "alpha": rate,
            "beta": Parameter(0, mean_prior="gamma(mean=1, sd=2)", sd_prior="half_normal(0.5)", scale="natural"),
            "forget": rate,
        },
    )

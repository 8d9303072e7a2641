"""The ready models of ``spice.precoded``, and the people and tasks that the benchmark of fitting methods simulates.

`READY` is the one table of truths: what people's parameters are drawn from, on the scale on which the model takes them
as normal. Learning rates have medians of .3 to .4, inverse temperatures of 3 (Wilson & Collins 2019, eLife 8: e49547,
simulate such ranges); the two-step task's are near the medians and quartiles that Daw et al. (2011, Neuron 69: 1204)
found; those of the aliens fit the third example's priors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from spice import precoded
from spice.inference.fitting.transforms import Scale
from spice.resources.bandits import AlienTask, Bandits, BanditsDrift, TwoStepTask
from spice.resources.dataset import DatasetRNN

Population = Mapping[str, tuple[float, float]]  # mean and standard deviation of each parameter

RATE, TEMPERATURE = (-0.5, 0.8), (float(np.log(3.0)), 0.5)  # logit and log
ALIENS = {"alpha": (0.4, 0.1), "beta": (6.0, 0.5), "forget": (0.1, 0.05)}  # natural scale, truncated


@dataclass(frozen=True)
class Ready:
    """A ready model, who its simulated people are, and what they do.

    Attributes
    ----------
    model : function
        Makes the model.
    task : function
        Makes the task.
    population : mapping of str to (float, float)
        Mean and standard deviation of each parameter, on the scale on which the model takes people as normal.
    rows : int
        Rows of data that a trial is.
    """

    model: Callable[[], Any]
    task: Callable[[], Bandits]
    population: Population
    rows: int = 1


def _drift() -> Bandits:
    return BanditsDrift(sigma=0.2)


def _drift_with_all_outcomes() -> Bandits:
    return BanditsDrift(sigma=0.2, counterfactual=True)


TWO_STEP: Population = {
    "alpha_1": (0.2, 1.0),
    "alpha_2": (-0.3, 1.0),
    "beta_1": (1.6, 0.6),
    "beta_2": (1.3, 0.5),
    "trace": (0.3, 1.0),
    "weight": (-0.4, 0.9),
    "perseveration": (0.1, 0.15),
}

READY: dict[str, Ready] = {
    "rescorla_wagner": Ready(precoded.rescorla_wagner, _drift, {"alpha": RATE, "beta": TEMPERATURE}),
    "forgetting": Ready(precoded.forgetting, _drift, {"alpha": RATE, "forgetting": (-1.0, 0.8), "beta": TEMPERATURE}),
    "two_learning_rates": Ready(
        precoded.two_learning_rates, _drift, {"alpha_reward": RATE, "alpha_penalty": (-1.0, 0.8), "beta": TEMPERATURE}
    ),
    "choice_kernel": Ready(
        precoded.choice_kernel,
        _drift,
        {"alpha": RATE, "alpha_choice": RATE, "beta": TEMPERATURE, "perseveration": (1.0, 0.7)},
    ),
    "counterfactual": Ready(
        precoded.counterfactual,
        _drift_with_all_outcomes,
        {"alpha": RATE, "alpha_counterfactual": (-1.0, 0.8), "beta": TEMPERATURE},
    ),
    "pearce_hall": Ready(precoded.pearce_hall, _drift, {"kappa": (0.0, 0.8), "eta": (-1.0, 0.8), "beta": TEMPERATURE}),
    "win_stay_lose_shift": Ready(precoded.win_stay_lose_shift, _drift, {"epsilon": (-1.0, 0.8)}),
    "two_step": Ready(precoded.two_step, TwoStepTask, TWO_STEP, rows=2),
    "flat_aliens": Ready(precoded.flat_aliens, AlienTask, ALIENS),
    "task_sets": Ready(precoded.task_sets, AlienTask, ALIENS | {"alpha_high": (0.3, 0.1), "beta_high": (6.0, 0.5)}),
}


def draw(model: Any, population: Population, n_people: int, rng: np.random.Generator) -> np.ndarray:
    """People's parameters on the natural scale, (n_people, n_parameters), normal where the model says they are."""
    scale, columns = Scale(model.parameters), []
    for k, (name, parameter) in enumerate(model.parameters.items()):
        mean, sd = population[name]
        if parameter.scale == "natural":
            ends = (scale.low[k] - mean) / sd, (scale.high[k] - mean) / sd
            columns.append(stats.truncnorm.rvs(*ends, mean, sd, n_people, random_state=rng))
        else:
            theta = np.zeros((n_people, len(scale.names)))
            theta[:, k] = rng.normal(mean, sd, n_people)
            columns.append(scale.natural(theta)[:, k])
    return np.column_stack(columns)


def play(model: Any, task: Bandits, values: np.ndarray, n_rows: int, seed: Any) -> DatasetRNN:
    """Let people play, one session each, ``n_rows`` choices of which the first is not scored.

    People of a model with something hidden learn by its marginal rule, for which its likelihood is exact.
    """
    named = dict(zip(model.parameters, values.T, strict=True))
    settings = {"rule": "marginal"} if hasattr(model, "step") else {}
    return model.simulate(task, n_rows - 1, named, seed=seed, **settings)


def simulate(name: str, n_people: int, n_trials: int, seed: int) -> tuple[Any, np.ndarray, DatasetRNN]:
    """A ready model, its people's parameters (n_people, n_parameters), and their choices."""
    ready, rng = READY[name], np.random.default_rng(seed)
    model = ready.model()
    values = draw(model, ready.population, n_people, rng)
    return model, values, play(model, ready.task(), values, ready.rows * n_trials, rng)

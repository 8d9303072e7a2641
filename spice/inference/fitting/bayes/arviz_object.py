"""A posterior as an object of ArviZ, of its versions 0.x (InferenceData) and 1.x (DataTree) alike."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.inference.fitting.bayes.predictive import Choices, log_likelihoods, people_values, prior_draws, thinned
from spice.inference.fitting.bayes.sampling import import_extra
from spice.inference.fitting.bayes.variables import EFFECT, population_ending
from spice.inference.fitting.result import participant_labels

if TYPE_CHECKING:
    from spice.inference.fitting.bayes.posterior import PosteriorResult

Groups = Mapping[str, Mapping[str, np.ndarray]]


def from_groups(
    groups: Groups, coords: Mapping[str, Sequence[Any]], dims: Mapping[str, Sequence[str]], arviz: Any = None
) -> Any:
    """Groups of variables as ArviZ's object: the one place that knows the two forms of its ``from_dict``.

    ArviZ 0.x takes a keyword for each group; given one dictionary of groups, as 1.x wants it, it makes wrong variables
    of them without complaint.

    Parameters
    ----------
    groups : mapping of str to mapping of str to np.ndarray
        Variables by group; their first two axes are chain and draw, but for groups named ``..._data``.
    coords : mapping of str to sequence
        Labels of dimensions.
    dims : mapping of str to sequence of str
        Dimensions of variables, without chain and draw.
    arviz : module, optional
        ArviZ; imported by default.
    """
    arviz = import_extra("arviz") if arviz is None else arviz
    given: dict[str, Any] = {
        "coords": {name: list(values) for name, values in coords.items()},
        "dims": {name: list(values) for name, values in dims.items()},
    }
    filled = {name: dict(variables) for name, variables in groups.items()}
    if "posterior" in inspect.signature(arviz.from_dict).parameters:
        return arviz.from_dict(**filled, **given)
    return arviz.from_dict(filled, **given)


def arviz_object(result: "PosteriorResult", log_likelihood: bool, predictive: int, memory: float, seed: int) -> Any:
    """See `PosteriorResult.to_arviz`.

    Parameters
    ----------
    result : PosteriorResult
        What there is.
    log_likelihood, predictive, memory, seed
        What is asked for.
    """
    choices = Choices(result)
    labels = [str(label) for label in participant_labels(result.likelihood, result.dataset)]
    groups: dict[str, dict[str, np.ndarray]] = {"posterior": result.posterior, "sample_stats": result.statistics}
    if log_likelihood:
        groups["log_likelihood"] = {"choice": log_likelihoods(result, memory)}
    if predictive:
        groups |= _predictions(result, choices, predictive, memory, seed)
    groups["observed_data"] = {"choice": choices.choice}
    groups["constant_data"] = {
        "choice_participant": np.array(labels)[choices.participant],
        "choice_session": choices.session,
        "choice_trial": choices.trial,
    }
    coords: dict[str, Sequence[Any]] = {"trial": range(len(choices.choice)), "participant": labels}
    if result.regressors:
        coords["regressor"] = [str(name) for name in result.regressors]
    dims = {name: ["trial"] for group in ("observed_data", "constant_data") for name in groups[group]}
    for name, values in (result.posterior | result.statistics).items():
        if values.ndim == 3:
            of_regressors = population_ending(name, result.posterior.keys()) == EFFECT
            dims[name] = ["regressor" if of_regressors else "participant"]
    return from_groups(groups, coords, dims)


def _predictions(result: "PosteriorResult", choices: Choices, predictive: int, memory: float, seed: int) -> dict:
    """Posterior predictive, prior and prior predictive draws."""
    rng = np.random.default_rng(seed)
    n_chains, n_draws = result.posterior[result.parameters.columns[0]].shape[:2]
    places = thinned(n_chains, n_draws, len(choices.choice), 1, memory, max(predictive, n_chains))
    ahead = choices.draw(people_values(result, result.posterior, places), rng)
    prior = prior_draws(result, n_chains * len(places), rng, result.design - result.design.mean(0))
    every = np.arange(n_chains * len(places))
    return {
        "posterior_predictive": {"choice": ahead},
        "prior": prior,
        "prior_predictive": {"choice": choices.draw(people_values(result, prior, every), rng)},
    }

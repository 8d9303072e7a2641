"""The one call that fits a model by any method."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spice.errors import (
    ConfigError,
    DataError,
    IdentificationWarning,
    SpiceWarning,
    did_you_mean,
    first_of,
    join_problems,
)
from spice.inference.fitting.bayes.variables import taken_names
from spice.inference.fitting.likelihoods import check_order, no_model
from spice.inference.fitting.objective import Objective, objective
from spice.inference.fitting.stability import warn_unstable
from spice.resources.arguments import in_words, is_whole
from spice.resources.dataset import DatasetRNN, check_is_dataset
from spice.resources.validation import check_choices, warn_if_shifted

if TYPE_CHECKING:
    from spice.inference.fitting.result import FitResult

__all__ = ["Objective", "fit", "objective"]

METHODS = {"mle": ("none", "complete"), "map": ("none", "complete"), "em": ("partial",)}
METHODS["nuts"] = ("none", "partial", "complete")
POOLING = ("none", "partial", "complete")
OWN: dict[str, tuple[str, ...]] = dict.fromkeys(("mle", "map"), ("start", "n_starts", "n_threads"))
OWN["em"] = ("covariance", "regressors", "start", "skewness", "importance", "n_starts")
OWN["em"] += ("tolerance", "max_iterations", "seed")
OWN["em"] += ("n_threads",)
OWN["nuts"] = ("draws", "tune", "chains", "seed", "n_threads", "target_accept", "parametrisation", "regressors")
OWN["nuts"] += ("start", "progress", "likelihood")
NEEDED = {"nuts": ("nutpie", "arviz")}  # of the extra [bayes]


def fit(
    model: Any, dataset: DatasetRNN, method: str = "mle", pooling: str | None = None, **settings: Any
) -> "FitResult":
    """Fit a model to choices.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    dataset : DatasetRNN
        The data.
    method : {"mle", "map", "em", "nuts"}, default "mle"
        Maximum likelihood; maximum a posteriori under each parameter's prior; empirical Bayes, a population by EM with
        Laplace steps (Huys et al. 2011) and importance sampling (approximate for few people); full Bayes by NUTS (needs
        ``pip install "spice[bayes]"``).
    pooling : {"none", "partial", "complete"}, optional
        Each participant alone, as members of a population, or one set of parameters for all. The default is "partial"
        for "em", and for "nuts" where there are several participants and no parameter has a prior of its own; else
        "none".
    **settings
        Of the method. "mle" and "map": ``start``, ``n_starts``, ``n_threads``, see
        `spice.inference.fitting.maximum.fit_maximum`; "em": see `spice.inference.fitting.em.tables.fit_population`;
        "nuts": see `spice.inference.fitting.bayes.nuts.fit_nuts`.

    Returns
    -------
    FitResult
        Estimates with standard errors and intervals, and whether and why each participant's fit ended.

    Raises
    ------
    ConfigError
        If method, pooling or settings do not fit together: all problems are listed.
    DataError
        If the data cannot be used.

    Warns
    -----
    SpiceWarning
        If ys, or what is shown next, is not that of the following row; if people are members of a population, and a
        parameter has a ``prior``, which is one person's.
    ConvergenceWarning
        If somebody's optimum was not reached, or draws are not to be trusted.
    IdentificationWarning
        If a population is to be sampled from one participant.
    StabilityWarning
        If estimates let a state grow from trial to trial.
    """
    check_order(model, dataset, "fit")
    check_is_dataset(dataset, "fit")
    problems = _problems(model, method, pooling, settings)
    if problems:
        raise ConfigError(join_problems("The model cannot be fitted", problems))
    if not dataset.n_scored:
        raise DataError("there is no choice to predict: ys holds none, or the first choice of a session is its only.")
    check_choices(dataset)
    warn_if_shifted(dataset)
    pooling = pooling or _default_pooling(model, dataset, method)
    if method == "nuts" and pooling == "partial" and len(dataset.participants[dataset.scored.any(1)].unique()) == 1:
        text = "there is one participant with choices: a population's mean and spread are what its priors say; use "
        warnings.warn(text + 'pooling="none".', IdentificationWarning, stacklevel=2)
    own = [repr(name) for name, parameter in model.parameters.items() if parameter.prior is not None]
    if pooling == "partial" and own:
        text = f"prior= of {first_of(own)} says what one person is like, and plays no part in a population: "
        warnings.warn(text + "leave it out, or use mean_prior= and sd_prior=, or MAP.", SpiceWarning, stacklevel=2)
    result = _method(method)(model, dataset, pooling, settings)
    warn_unstable(result)
    return result


def _problems(model: Any, method: Any, pooling: Any, settings: dict[str, Any]) -> list[str]:
    problems = []
    if not isinstance(getattr(model, "parameters", None), Mapping):
        problems.append(no_model(model))
    elif not model.parameters:
        problems.append("the model has no parameters to estimate.")
    elif method == "nuts":
        problems += taken_names(model.parameters)
    if not isinstance(method, str) or method not in METHODS:
        near = did_you_mean(str(method).lower(), list(METHODS))
        return [*problems, f"there is no method {in_words(method)}{near}; choose one of {', '.join(METHODS)}."]
    if pooling is not None and (not isinstance(pooling, str) or pooling not in POOLING):
        near = did_you_mean(str(pooling), POOLING)
        problems.append(f"there is no pooling {in_words(pooling)}{near}; choose one of {', '.join(POOLING)}.")
    elif pooling is not None and pooling not in METHODS[method]:
        others = [name for name, known in METHODS.items() if pooling in known]
        problems.append(
            f'method "{method}" knows pooling {" and ".join(METHODS[method])}, not {pooling}; {pooling} is for '
            f"{' and '.join(others)}."
        )
    if method in OWN:
        own = OWN[method]
        problems += [
            f'method "{method}" has no setting {name!r}{did_you_mean(name, own)}; its settings are {", ".join(own)}.'
            for name in settings
            if name not in own
        ]
        problems += [
            f"{name} must be a whole number from 1 on, not {in_words(settings[name])}."
            for name in ("n_starts", "n_threads")
            if settings.get(name) is not None and not is_whole(settings[name], 1)
        ]
    missing = [name for name in NEEDED.get(method, ()) if importlib.util.find_spec(name) is None]
    if missing:
        problems.append(f'method "{method}" needs {" and ".join(missing)}: pip install "spice[bayes]".')
    return problems


def _default_pooling(model: Any, dataset: DatasetRNN, method: str) -> str:
    if method == "em":
        return "partial"
    alone = any(parameter.prior is not None for parameter in model.parameters.values())
    return "partial" if method == "nuts" and len(dataset.participants.unique()) > 1 and not alone else "none"


def _method(name: str) -> Callable[[Any, DatasetRNN, str, dict[str, Any]], "FitResult"]:
    """The function that fits, imported when it is needed."""
    if name == "em":
        from spice.inference.fitting.em.tables import fit_population

        return lambda model, dataset, pooling, settings: fit_population(model, dataset, **settings)
    if name == "nuts":
        from spice.inference.fitting.bayes.nuts import fit_nuts

        return lambda model, dataset, pooling, settings: fit_nuts(model, dataset, pooling=pooling, **settings)
    from spice.inference.fitting.maximum import fit_maximum

    return lambda model, dataset, pooling, settings: fit_maximum(model, dataset, name, pooling, **settings)

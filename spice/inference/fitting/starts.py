"""Where optimisers begin: the same points for everybody, spread evenly over the default priors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from spice.errors import ConfigError, did_you_mean, join_problems
from spice.inference.fitting.defaults import person_prior, theta_moments
from spice.inference.fitting.transforms import ABOVE, BETWEEN, Scale

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

BEYOND = 2.0  # standard deviations of a default prior, within which the starts are spread
DRAWS = 1001  # that tell a prior's median
FAR = 3.0  # standard deviations of a default prior: corners


def maximum_starts(parameters: "Mapping[str, Parameter]", method: str, n_starts: int | None = None) -> np.ndarray:
    """Where maximum likelihood ("mle") or maximum a posteriori ("map") begin, shape (n_starts, n_parameters)."""
    n = len(parameters)
    if method == "map":
        spread = spread_starts(parameters, max(n + 1, 3 * n - 3) if n_starts is None else n_starts)
        return np.concatenate([spread, prior_starts(parameters)])
    if n_starts is not None:
        return spread_starts(parameters, n_starts)
    return np.concatenate([spread_starts(parameters, n + 2), corner_starts(parameters)])


def corner_starts(parameters: "Mapping[str, Parameter]") -> np.ndarray:
    """Far-away places near which likelihoods often have optima that are not found from elsewhere.

    Each parameter far down and far up while the others are at their default priors' means; and small rates with steep
    choices, along which values hardly change and their small differences count.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters with their bounds.

    Returns
    -------
    np.ndarray, shape (2 * n_parameters + 1, n_parameters)
        On the unconstrained scale.
    """
    mean, sd = theta_moments(parameters)
    kinds = Scale(parameters).kinds
    ridge = np.select([kinds == BETWEEN, kinds == ABOVE], [-1.0, 1.0], 0.0)
    return mean + FAR * sd * np.concatenate([-np.eye(len(mean)), np.eye(len(mean)), ridge[None]])


def spread_starts(parameters: "Mapping[str, Parameter]", n_starts: int) -> np.ndarray:
    """Points that fill the default priors evenly, the first at their means.

    A sequence of Kronecker with the generalised golden ratio (Roberts 2018): as even as Sobol's for few points, and the
    same points whatever their number.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters with their bounds.
    n_starts : int
        How many.

    Returns
    -------
    np.ndarray, shape (n_starts, n_parameters)
        On the unconstrained scale.
    """
    mean, sd = theta_moments(parameters)
    ratio = 2.0
    for _ in range(60):  # the root of ratio ** (n + 1) = ratio + 1
        ratio = (1 + ratio) ** (1 / (len(mean) + 1))
    steps = ratio ** -np.arange(1.0, len(mean) + 1)
    share = (0.5 + np.arange(n_starts)[:, None] * steps) % 1
    return mean + sd * ndtri(share)


def prior_starts(parameters: "Mapping[str, Parameter]") -> np.ndarray:
    """A further start where parameters' own priors have most of their mass beyond the starts that are spread.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters with their bounds and priors.

    Returns
    -------
    np.ndarray, shape (0 or 1, n_parameters)
        The medians of such priors on the unconstrained scale, and the means of the default priors for other parameters.
    """
    mean, sd = theta_moments(parameters)
    medians = np.full(len(mean), np.nan)
    for k, prior in enumerate(map(person_prior, parameters.values())):
        if prior is not None:
            medians[k] = np.median(prior.sample(np.random.default_rng(0), DRAWS))
    with np.errstate(all="ignore"):  # where there are no priors, or half of one's mass is a bound
        medians = Scale(parameters).unconstrained(medians)
    beyond = np.isfinite(medians) & (np.abs(medians - mean) > BEYOND * sd)
    return np.where(beyond, medians, mean)[None] if beyond.any() else np.zeros((0, len(mean)))


def value_starts(parameters: "Mapping[str, Parameter]", labels: Sequence[Any]) -> np.ndarray | None:
    """Starts at the values that parameters have (``Parameter(value=...)``), on the unconstrained scale.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Parameters with their bounds and values.
    labels : sequence
        Participants.

    Returns
    -------
    np.ndarray, shape (n_participants, n_parameters), or None
        At the mean of the default prior where there is no value, or one that is not inside the bounds. None where no
        parameter has a value.
    """
    if all(parameter.value is None for parameter in parameters.values()):
        return None
    scale = Scale(parameters)
    theta = np.tile(theta_moments(parameters)[0], (len(labels), 1))
    values = scale.natural(theta)
    for k, parameter in enumerate(parameters.values()):
        known = parameter.value
        own = [known.get(label) if isinstance(known, Mapping) else known for label in labels]
        given = np.array([np.nan if value is None else float(value) for value in own])
        inside = (given > scale.low[k]) & (given < scale.high[k])
        values[inside, k] = given[inside]
    return scale.unconstrained(values)


def given_starts(start: Any, parameters: "Mapping[str, Parameter]", labels: list[Any]) -> np.ndarray:
    """A start that the user gives, on the unconstrained scale.

    Parameters
    ----------
    start : mapping of str to number or array, pandas.DataFrame, or array_like
        Values on the natural scale: by name, or in the order of the parameters; one for all participants or one for
        each, of a table by label.
    parameters : mapping of str to Parameter
        Parameters with their bounds.
    labels : list
        Participants.

    Returns
    -------
    np.ndarray, shape (n_participants, n_parameters)

    Raises
    ------
    ConfigError
        If names, shapes or values do not fit: all of them are listed.
    """
    names, scale, shape = list(parameters), Scale(parameters), (len(labels), len(parameters))
    problems: list[str] = []
    if hasattr(start, "columns") and hasattr(start, "index"):
        absent = [label for label in labels if label not in start.index]
        if absent:
            raise ConfigError(f"start has no row for participant {', '.join(map(repr, absent[:10]))}.")
        start = {name: start[name].loc[labels].to_numpy() for name in start.columns}
    if isinstance(start, Mapping):
        unknown = [name for name in start if name not in names]
        missing = [name for name in names if name not in start]
        problems += [f"there is no parameter {name!r}{did_you_mean(name, names)}." for name in unknown]
        problems += [f"{', '.join(map(repr, missing))} is missing."] if missing else []
        columns = [] if problems else [start[name] for name in names]
    else:
        columns = list(np.moveaxis(np.asarray(start, dtype=float), -1, 0)) if np.ndim(start) else []
        if len(columns) != len(names):
            problems.append(f"it needs {len(names)} values, one for each of {', '.join(names)}.")
    values = np.empty(shape)
    for k, column in enumerate(columns if not problems else []):
        try:
            values[:, k] = np.asarray(column, dtype=float)
        except (TypeError, ValueError):
            problems.append(f"{names[k]} needs one number, or one for each of {len(labels)} participants.")
            continue
        low, high = scale.low[k], scale.high[k]
        wrong = ~((values[:, k] > low) & (values[:, k] < high))
        if wrong.any():
            place = int(wrong.argmax())
            problems.append(
                f"{names[k]} is {values[place, k]:g} for participant {labels[place]!r}, but must lie between {low:g} "
                f"and {high:g}, not on a bound."
            )
    if problems:
        raise ConfigError(join_problems("The start cannot be used", problems))
    return scale.unconstrained(values)

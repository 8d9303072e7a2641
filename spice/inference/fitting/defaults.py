"""What is taken for granted where the user gives no prior: weakly informative, in one place.

On the unconstrained scale a person's value is normal: with mean 0 and sd 1.5 between two bounds (95 % of alpha between
.05 and .95); with mean log 2 and sd 1.25 above one bound (95 % of an inverse temperature between .17 and 23), mirrored
below one; with mean 0 and sd 3 without bounds. The population's mean has the same prior, its standard deviation
half_normal(1), or half_normal(2) without bounds.

Where people are normal on the natural scale (``Parameter(scale="natural")``), the population's mean is uniform between
two bounds, half-normal with sd 5 from one bound on, normal(0, 3) without bounds; its standard deviation half_normal(a
quarter of the range) between two bounds, else half_normal(2).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from spice.equations.priors import Prior, read_prior

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

LOG_2 = math.log(2.0)


def person_prior(parameter: "Parameter") -> Prior | None:
    """The user's prior of one person's value, on the natural scale; None where there is none."""
    return None if parameter.prior is None else read_prior(parameter.prior)


def theta_prior(parameter: "Parameter") -> Prior:
    """The default prior of one person's value, on the unconstrained scale."""
    low, high = _bounds(parameter)
    if math.isfinite(low) and math.isfinite(high):
        return _prior("normal", 0.0, 1.5)
    if math.isfinite(low) or math.isfinite(high):
        return _prior("normal", LOG_2 if math.isfinite(low) else -LOG_2, 1.25)
    return _prior("normal", 0.0, 3.0)


def theta_moments(parameters: "Mapping[str, Parameter]") -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the default priors on the unconstrained scale, each (n_parameters,)."""
    priors = [theta_prior(parameter).arguments for parameter in parameters.values()]
    return np.array([a[0] for a in priors]), np.array([a[1] for a in priors])


def mean_prior(parameter: "Parameter") -> Prior:
    """Prior of the population's mean, on the scale that the parameter names: the user's, or the default."""
    if parameter.mean_prior is not None:
        return read_prior(parameter.mean_prior)
    if parameter.scale == "unconstrained":
        return theta_prior(parameter)
    low, high = _bounds(parameter)
    if math.isfinite(low) and math.isfinite(high):
        return _prior("uniform", low, high)
    if low == 0.0:
        return _prior("half_normal", 5.0)
    if math.isfinite(low) or math.isfinite(high):
        return _prior("truncated_normal", low if math.isfinite(low) else high, 5.0, low, high)
    return _prior("normal", 0.0, 3.0)


def sd_prior(parameter: "Parameter") -> Prior:
    """Prior of the population's standard deviation, on the scale that the parameter names: the user's, or default."""
    if parameter.sd_prior is not None:
        return read_prior(parameter.sd_prior)
    low, high = _bounds(parameter)
    if parameter.scale == "natural":
        return _prior("half_normal", 0.25 * (high - low) if math.isfinite(high - low) else 2.0)
    return _prior("half_normal", 1.0 if math.isfinite(low) or math.isfinite(high) else 2.0)


def _bounds(parameter: "Parameter") -> tuple[float, float]:
    low = -math.inf if parameter.low is None else float(parameter.low)
    return low, math.inf if parameter.high is None else float(parameter.high)


def _prior(family: str, *arguments: float) -> Prior:
    a, b, c, d = (*arguments, 0.0, 0.0, 0.0)[:4]
    return Prior(family, (a, b, c, d))

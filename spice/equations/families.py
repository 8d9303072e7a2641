"""Families of prior distributions: what their arguments are called, where they have mass, their densities."""

import math
from collections.abc import Callable
from typing import NamedTuple

from spice.equations.normal_mass import HALF_LOG_2_PI, log_normal_mass
from spice.errors import ConfigError

INF = math.inf


class Family(NamedTuple):
    """Arguments by name, the support where it is fixed, arguments that may be left out, and other ways to give them."""

    arguments: tuple[str, ...]
    support: tuple[float, float] | None = (0.0, INF)
    default: dict[str, float] = {}  # noqa: RUF012
    by_moments: Callable[[float, float], tuple[float, float]] | None = None


def _beta_of(mean: float, sd: float) -> tuple[float, float]:
    total = mean * (1 - mean) / sd**2 - 1
    if not 0 < mean < 1 or total <= 0:
        raise ConfigError("its mean must lie between 0 and 1, and its sd below sqrt(mean * (1 - mean)).")
    return mean * total, (1 - mean) * total


def _gamma_of(mean: float, sd: float) -> tuple[float, float]:
    if mean <= 0:
        raise ConfigError("its mean must be above 0.")
    return (mean / sd) ** 2, mean / sd**2


def of_moments(arguments: Callable, mean: float, sd: float) -> tuple[float, float]:
    """Arguments of a family from mean and standard deviation; refused where they are no finite positive numbers."""
    try:
        first, second = arguments(mean, sd)
    except ArithmeticError:
        first = second = INF
    if not (0 < first < INF and 0 < second < INF):
        raise ConfigError("its sd is so far from its mean that its arguments are no floating-point numbers.")
    return first, second


FAMILIES = {
    "normal": Family(("mean", "sd"), (-INF, INF)),
    "half_normal": Family(("sd",)),
    "half_cauchy": Family(("scale",)),
    "exponential": Family(("rate",)),
    "gamma": Family(("shape", "rate"), by_moments=_gamma_of),
    "inverse_gamma": Family(("shape", "scale")),
    "lognormal": Family(("mu", "sigma")),
    "beta": Family(("a", "b"), (0.0, 1.0), by_moments=_beta_of),
    "uniform": Family(("low", "high"), None),
    "student_t": Family(("df", "mean", "scale"), (-INF, INF)),
    "truncated_normal": Family(("mean", "sd", "low", "high"), None, {"low": -INF, "high": INF}),
}
NORMAL, STUDENT_T, LOGNORMAL, POWERS = range(4)  # shapes of densities, see `spice.equations.densities`


def shape_of(family: str, arguments: tuple[float, ...], support: tuple[float, float]) -> tuple[float, ...]:
    """Shape, constant and numbers a, b, c, d of a family's density, as `spice.equations.densities` has them."""
    first, second, third = arguments[:3]
    match family:
        case "normal" | "half_normal" | "truncated_normal":
            mean, sd = (0.0, first) if family == "half_normal" else (first, second)
            mass = log_normal_mass((support[0] - mean) / sd, (support[1] - mean) / sd)
            return NORMAL, -math.log(sd) - HALF_LOG_2_PI - mass, mean, sd, 0.0, 0.0
        case "student_t":
            return STUDENT_T, _start_of_t(first, third), first, second, third, 0.0
        case "half_cauchy":
            return STUDENT_T, _start_of_t(1.0, first) + math.log(2.0), 1.0, 0.0, first, 0.0
        case "lognormal":
            return LOGNORMAL, -math.log(second) - HALF_LOG_2_PI, first, second, 0.0, 0.0
        case "exponential":
            return POWERS, math.log(first), 0.0, 0.0, first, 0.0
        case "gamma":
            return POWERS, first * math.log(second) - math.lgamma(first), first - 1.0, 0.0, second, 0.0
        case "inverse_gamma":
            return POWERS, first * math.log(second) - math.lgamma(first), -first - 1.0, 0.0, 0.0, second
        case "beta":
            start = math.lgamma(first + second) - math.lgamma(first) - math.lgamma(second)
            return POWERS, start, first - 1.0, second - 1.0, 0.0, 0.0
    return POWERS, -math.log(second - first), 0.0, 0.0, 0.0, 0.0  # uniform


def _start_of_t(df: float, scale: float) -> float:
    return math.lgamma(0.5 * (df + 1)) - math.lgamma(0.5 * df) - 0.5 * math.log(df * math.pi) - math.log(scale)

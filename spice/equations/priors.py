"""Priors from text such as ``"beta(1, 1)"``: read by Python's ``ast`` against a whitelist, never evaluated."""

import ast
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spice.equations.families import FAMILIES, INF, Family, of_moments, shape_of
from spice.errors import ConfigError, did_you_mean

POSITIVE = ("a", "b", "df", "rate", "scale", "sd", "shape", "sigma")  # arguments that must be above 0


@dataclass(frozen=True)
class Prior:
    """A distribution of one number.

    Attributes
    ----------
    family : str
        One of `FAMILIES`.
    arguments : tuple of 4 floats
        Its arguments in the order in which the family takes them, then zeros.
    text : str
        How it was written.
    """

    family: str
    arguments: tuple[float, float, float, float]
    text: str = field(default="", compare=False)

    @cached_property
    def form(self) -> tuple[float, ...]:
        """Eight numbers for compiled code, see `spice.equations.densities`."""
        shape, start, *numbers = shape_of(self.family, self.arguments, self.support)
        return (float(shape), start, *self.support, *numbers)

    @property
    def support(self) -> tuple[float, float]:
        """Least and largest value, floats that may be infinite."""
        fixed = FAMILIES[self.family].support
        if fixed is not None:
            return fixed
        return self.arguments[:2] if self.family == "uniform" else self.arguments[2:]

    def log_density(self, x: Any) -> np.ndarray:
        """Logarithm of the density of each value, nats; minus infinity outside the support."""
        return self.derivatives(x)[0]

    def derivatives(self, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logarithm of the density of each value and its first two derivatives, each of the shape of ``x``."""
        from spice.equations.densities import log_priors  # the compiler takes a while to import

        x = np.asarray(x, dtype=float)
        value, slope, curve = (part.reshape(x.shape) for part in log_priors(np.array(self.form), x.ravel()))
        return value, slope, curve

    def sample(self, rng: np.random.Generator, size: Any = None) -> Any:
        """Draw values.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        size : int or tuple of int, optional
            Shape; by default one number.
        """
        a, b, c, d = self.arguments
        match self.family:
            case "normal":
                return rng.normal(a, b, size)
            case "half_normal":
                return np.abs(rng.normal(0.0, a, size))
            case "half_cauchy":
                return np.abs(a * rng.standard_cauchy(size))
            case "exponential":
                return rng.exponential(1 / a, size)
            case "gamma":
                return rng.gamma(a, 1 / b, size)
            case "inverse_gamma":
                return b / rng.gamma(a, 1.0, size)
            case "lognormal":
                return rng.lognormal(a, b, size)
            case "beta":
                return rng.beta(a, b, size)
            case "uniform":
                return rng.uniform(a, b, size)
            case "student_t":
                return b + c * rng.standard_t(a, size)
            case _:
                return _truncated_normal(a, b, c, d, rng.random(size))

    def reach(self) -> tuple[float, float]:
        """Between which values a thousand draws lie."""
        with np.errstate(all="ignore"):
            draws = self.sample(np.random.default_rng(0), 1000)
        return float(draws.min()), float(draws.max())

    def misfit(self, name: str, low: float | None, high: float | None) -> str | None:
        """What is wrong with it as the prior of a parameter with these bounds; None if they are its support.

        Parameters
        ----------
        name : str
            The parameter.
        low, high : float or None
            Its bounds.
        """
        bounds = (-INF if low is None else float(low), INF if high is None else float(high))
        if bounds == self.support:
            return None
        sides = zip(("low", "high"), ("lower", "upper"), self.support, bounds, strict=True)
        wrong = [(side, word, ours, theirs) for side, word, ours, theirs in sides if ours != theirs]
        has = [f"no {word} bound" if math.isinf(theirs) else f"{side}={theirs:g}" for side, word, _, theirs in wrong]
        fix = [f"{side}={None if math.isinf(ours) else f'{ours:g}'}" for side, _, ours, _ in wrong]
        return (
            f"the prior {self} lies on {_interval(*self.support)}, but {name} has {' and '.join(has)}: set "
            f"{', '.join(fix)}, or choose another prior."
        )

    def __str__(self) -> str:
        if self.text:
            return self.text
        given = self.arguments[: len(FAMILIES[self.family].arguments)]
        return f"{self.family}({', '.join(map(_number_text, given))})"


def read_prior(text: str | Prior) -> Prior:
    """Read a prior.

    Known are ``normal(mean, sd)``, ``half_normal(sd)``, ``half_cauchy(scale)``, ``exponential(rate)``, ``gamma(shape,
    rate)``, ``gamma(mean=, sd=)``, ``inverse_gamma(shape, scale)``, ``lognormal(mu, sigma)`` of the logarithm,
    ``beta(a, b)``, ``beta(mean=, sd=)``, ``uniform(low, high)``, ``student_t(df, mean, scale)`` and
    ``truncated_normal(mean, sd, low, high)``, where either bound may be left out by name or be ``inf``. Any argument
    may be given by name.

    Parameters
    ----------
    text : str or Prior
        The prior, in Python's notation; one that has been read already is returned.

    Raises
    ------
    ConfigError
        If it is none of these, or its arguments do not make a distribution; all problems are listed.
    """
    if isinstance(text, Prior):
        return text
    if not isinstance(text, str):
        raise ConfigError(f"a prior is text such as 'normal(0, 1)', not {text!r}.")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        node = None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ConfigError(f"{text!r} cannot be read as a prior: write it like normal(0, 1) or gamma(mean=1, sd=2).")
    name = node.func.id
    if name not in FAMILIES:
        raise ConfigError(
            f"there is no prior {name!r}{did_you_mean(name, list(FAMILIES))}; there are {', '.join(FAMILIES)}."
        )
    try:
        values, written = _arguments(node, name)
        own = FAMILIES[name]
        if own.by_moments is not None and set(values) == {"mean", "sd"}:
            _check(values)
            values = dict(zip(own.arguments, of_moments(own.by_moments, values["mean"], values["sd"]), strict=True))
        else:
            _check(values)
            _check_names(values, own)
        values = own.default | values
        a, b, c, d = [*(values[entry] for entry in own.arguments), 0.0, 0.0, 0.0, 0.0][:4]
        found = Prior(name, (a, b, c, d), f"{name}({', '.join(written)})")
        _check_mass(found)
    except ConfigError as error:
        raise ConfigError(f"the prior {text.strip()!r} cannot be used: {error}") from None
    return found


def _arguments(node: ast.Call, name: str) -> tuple[dict[str, float], list[str]]:
    """Values by name, and how they print."""
    names = FAMILIES[name].arguments
    if len(node.args) > len(names):
        raise ConfigError(f"{name} has the arguments {', '.join(names)}, but {len(node.args)} are given.")
    given = list(zip(names, node.args, strict=False)) + [(entry.arg or "**", entry.value) for entry in node.keywords]
    values: dict[str, float] = {}
    for argument, value in given:
        if argument in values:
            raise ConfigError(f"{argument} is given twice.")
        values[argument] = _number(value)
    texts = [_number_text(value) for value in values.values()]
    first = len(node.args)
    return values, texts[:first] + [f"{n}={t}" for n, t in zip(list(values)[first:], texts[first:], strict=True)]


def _number(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value) if abs(value) < 1e300:
            return float(value)
        case ast.Name(id="inf"):
            return INF
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _number(operand)
    raise ConfigError("its arguments must be numbers.")


def _check_names(values: dict[str, float], own: Family) -> None:
    problems = [f"it has no {entry!r}{did_you_mean(entry, own.arguments)}." for entry in values.keys() - own.arguments]
    missing = [entry for entry in own.arguments if entry not in own.default | values]
    if problems or missing:
        problems += [f"{', '.join(missing)} is missing."] if missing else []
        also = ", or by name mean and sd" if own.by_moments is not None else ""
        raise ConfigError(" ".join([*sorted(problems), f"Its arguments are {', '.join(own.arguments)}{also}."]))


def _check(values: dict[str, float]) -> None:
    problems = [
        f"{name} must be above 0, not {value:g}." for name, value in values.items() if name in POSITIVE and value <= 0
    ]
    problems += [f"{n} must be finite." for n, v in values.items() if n not in ("low", "high") and math.isinf(v)]
    if not values.get("low", -INF) < values.get("high", INF):
        problems.append(f"low must be less than high, but they are {values['low']:g} and {values['high']:g}.")
    if problems:
        raise ConfigError(" ".join(problems))


def _check_mass(prior: Prior) -> None:
    low, high = prior.support
    if prior.family == "uniform" and math.isinf(high - low):
        raise ConfigError("low and high must be finite.")
    if prior.family == "truncated_normal":
        mean, sd = prior.arguments[:2]
        nearest = min(max(mean, low), high)
        if abs(nearest - mean) / sd > 30:  # beyond, the mass is no floating-point number
            raise ConfigError(f"it has no mass between {low:g} and {high:g}: they are more than 30 sd from its mean.")
    try:
        finite = all(map(math.isfinite, prior.form[4:])) and math.isfinite(prior.form[1])
    except (ArithmeticError, ValueError):
        finite = False
    if not finite:
        raise ConfigError("its density is no floating-point number: its arguments are too large, too small or too far.")


def _truncated_normal(mean: float, sd: float, low: float, high: float, u: Any) -> Any:
    """Quantiles of a truncated normal distribution, taken in the lower tail, where they are precise."""
    from scipy.special import log_ndtr, ndtri_exp

    a, b = (low - mean) / sd, (high - mean) / sd
    sign = 1.0 if a + b < 0 else -1.0  # of the distribution or of its mirror image
    a, b = (a, b) if sign > 0 else (-b, -a)
    log_low, log_high = log_ndtr(a), log_ndtr(b)
    with np.errstate(divide="ignore"):
        z = ndtri_exp(np.logaddexp(log_low + np.log1p(-u), log_high + np.log(u)))
    return np.clip(mean + sd * sign * z, low, high)


def _number_text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _interval(low: float, high: float) -> str:
    return f"{'(' if math.isinf(low) else '['}{low:g}, {high:g}{')' if math.isinf(high) else ']'}"


def __getattr__(name: str) -> Any:
    """The compiled density, from `spice.equations.densities`: the compiler takes a while to import."""
    if name == "log_prior":
        from spice.equations.densities import log_prior

        return log_prior
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

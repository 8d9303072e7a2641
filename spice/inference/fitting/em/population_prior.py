"""What is taken for known of a normal population before its people's choices are seen.

On the unconstrained scale, where EM has people normal. Of the covariance always a little, worth one person; of means
and standard deviations what ``Parameter.mean_prior`` and ``Parameter.sd_prior`` say, if they are there. Priors that are
stated on the natural scale (``scale="natural"``) count for the natural value of the mean, and for the standard
deviation times the slope there, to first order; with the Jacobian, so that they are densities on the unconstrained
scale.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from spice.equations.priors import Prior, read_prior
from spice.errors import ConfigError, join_problems
from spice.inference.fitting.defaults import theta_moments
from spice.inference.fitting.em.guess import Guess
from spice.inference.fitting.transforms import Scale, unconstrained_of

if TYPE_CHECKING:
    from spice.equations.symbolic import Parameter

EDGE = 0.01  # of a support's width, or of 1, which means and standard deviations keep away from ends within bounds
FAR = 1e3  # nats, from which on priors alone would lead, by steps that know nothing of what lies between
REACHED = 2.0  # standard deviations
NARROW, WIDE = 1e-3, 1e3  # least and largest standard deviation where a prior has bounds


class PopulationPrior:
    """The prior of a population.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Of the model, with their priors.

    Attributes
    ----------
    usual, wide : np.ndarray, each (n_parameters,)
        Means and variances of single people's default priors.
    """

    def __init__(self, parameters: "Mapping[str, Parameter]"):
        self.usual, sd = theta_moments(parameters)
        self.wide = sd**2
        self._scale = Scale(parameters)
        entries = list(parameters.values())
        self._natural = np.array([entry.scale == "natural" for entry in entries])
        means = {k: read_prior(p.mean_prior) for k, p in enumerate(entries) if p.mean_prior is not None}
        # means that only truncated people can have: a sampler's search for a start goes on as if these said nothing
        self._beyond = {k: prior for k, prior in means.items() if self._natural[k] and not self._reaches(k, prior)}
        self._means = {k: prior for k, prior in means.items() if k not in self._beyond}
        self._sds = {k: read_prior(p.sd_prior) for k, p in enumerate(entries) if p.sd_prior is not None}

    def _reaches(self, k: int, prior: Prior) -> bool:
        """Whether a mean's prior has mass between its parameter's bounds."""
        return max(prior.support[0], self._scale.low[k]) < min(prior.support[1], self._scale.high[k])

    def check_mass(self) -> None:
        """Check that EM can have means where their priors have mass.

        Raises
        ------
        ConfigError
            If a mean's prior has none between the parameter's bounds: people are normal within them.
        """
        low, high = self._scale.low, self._scale.high
        problems = [
            f"the mean_prior {prior} of {self._scale.names[k]!r} has no mass between its bounds, {low[k]:g} and "
            f"{high[k]:g}: there EM has the mean."
            for k, prior in self._beyond.items()
        ]
        if problems:
            raise ConfigError(join_problems("EM cannot begin", problems))

    @property
    def stated(self) -> bool:
        """Whether the model says anything of the population."""
        return bool(self._means or self._sds)

    def log_density(self, guess: Guess) -> float:
        """Up to a constant, nats; minus infinity where a prior has no mass.

        That of the covariance S is log |S| / 2 - log |S + T| with the diagonal T = ``wide``. Without it spreads of
        which choices tell little are often estimated as 0 (Chung, Rabe-Hesketh, Dorie, Gelman & Liu 2013,
        Psychometrika 78: 685-709, whose penalty is the first term: it never lets S be singular). The second keeps S
        finite where choices tell nothing. Largest at S = T; it pulls at most as one person does.
        """
        own = np.log(np.diag(guess.root)).sum() - np.linalg.slogdet(guess.covariance + np.diag(self.wide))[1]
        return float(own + (self._of_stated(guess)[0] if self.stated else 0.0))

    def pull(self, guess: Guess) -> np.ndarray:
        """Twice the slope by a relative change of the covariance, root (1 + change) root'."""
        root = guess.root
        own = np.eye(len(self.wide)) - 2 * root.T @ np.linalg.solve(guess.covariance + np.diag(self.wide), root)
        if not self._sds:
            return own
        by_log_sd = self._of_stated(guess)[2][0]
        return own + (root.T * (by_log_sd / (root**2).sum(1))) @ root

    def of_means(self, guess: Guess) -> tuple[np.ndarray, np.ndarray]:
        """Slope by the means at average regressors, and curvature, 0 where the density bends up; (n_parameters,)."""
        if not self.stated:
            return np.zeros_like(self.wide), np.zeros_like(self.wide)
        slope, curve = self._of_stated(guess)[1]
        return slope, np.maximum(-curve, 0.0)

    def information(self, guess: Guess) -> tuple[np.ndarray, np.ndarray]:
        """What the stated priors tell of the means and of the logarithms of standard deviations, (n_parameters,)."""
        if not self.stated:
            return np.zeros_like(self.wide), np.zeros_like(self.wide)
        _, (_, of_means), (_, of_sds) = self._of_stated(guess)
        return np.maximum(-of_means, 0.0), np.maximum(-of_sds, 0.0)

    def stiffness(self, guess: Guess) -> np.ndarray:
        """Rows r, (n_parameters, n_parameters^2): of a relative change of the covariance stated priors tell r'r / 2."""
        away = guess.root / np.sqrt((guess.root**2).sum(1))[:, None]  # a'(change)a is what 2 log sd gains
        axes = np.einsum("ki,kj->kij", away, away).reshape(len(away), -1)
        return np.sqrt(self.information(guess)[1] / 2)[:, None] * axes

    def inside(self, guess: Guess) -> Guess:
        """The same population, or the nearest one at which stated priors have mass."""
        return self._held(guess, lambda prior, mean: prior.support) if self.stated else guess

    def begin(self, guess: Guess) -> Guess:
        """The same population, or one at which stated priors have mass nearby, so wide that it reaches where it was."""
        if not self.stated:
            return guess
        begun = self._held(guess, _ends_at_start)
        moved, sd = np.abs(begun.coefficients - guess.coefficients)[0], np.sqrt((guess.root**2).sum(1))
        wider = np.where(moved > REACHED * sd, moved / (REACHED * sd), 1.0)
        return self.inside(Guess(begun.coefficients, begun.root * wider[:, None]))

    def _held(self, guess: Guess, ends: Callable[[Prior, float], tuple[float, float]]) -> Guess:
        """The nearest population whose means lie between the ends given for their priors, and spreads in support."""
        mean, root = guess.coefficients[0].copy(), guess.root.copy()
        x = np.where(self._natural, self._scale.natural(mean), mean)
        for k, prior in self._means.items():
            bounds = (self._scale.low[k], self._scale.high[k]) if self._natural[k] else (-np.inf, np.inf)
            low, high = _within(ends(prior, float(x[k])), *bounds)
            low, high = (low, high) if low < high else _within(prior.support, *bounds)
            if not low <= x[k] <= high:
                x[k] = np.clip(x[k], low, high)
                own = self._scale.kinds[k], self._scale.low[k], self._scale.high[k]
                mean[k] = unconstrained_of(*own, x[k]) if self._natural[k] else x[k]
        factors = np.where(self._natural, self._scale.derivatives(mean[None])[1][0], 1.0)
        for k, prior in self._sds.items():
            sd = np.sqrt((root[k] ** 2).sum())
            low, high = (np.clip(end / factors[k], NARROW, WIDE) for end in _within(prior.support, 0.0, np.inf))
            root[k] *= min(max(sd, low), high) / sd if prior.support != (0.0, np.inf) else 1.0
        return Guess(np.concatenate([mean[None], guess.coefficients[1:]]), root)

    def _of_stated(self, guess: Guess) -> tuple[float, np.ndarray, np.ndarray]:
        """Log density; first and second derivatives by means, (2, n), and by logarithms of standard deviations."""
        mean, sd = guess.coefficients[0], np.sqrt((guess.root**2).sum(1))
        x, slope, curve = (part[0] for part in self._scale.derivatives(mean[None]))
        jacobian, by_mean, twice = (part[0] for part in self._scale.log_jacobian(mean[None]))
        value, of_means, of_sds = 0.0, np.zeros((2, len(mean))), np.zeros((2, len(mean)))
        for k, prior in self._means.items():
            own, first, second = map(float, prior.derivatives(x[k] if self._natural[k] else mean[k]))
            if self._natural[k]:
                own, first, second = own + jacobian[k], *_chained(first, second, slope[k], curve[k])
                first, second = first + by_mean[k], second + twice[k]
            value += own
            of_means[:, k] += first, second
        for k, prior in self._sds.items():
            factor = slope[k] if self._natural[k] else 1.0
            own, first, second = map(float, prior.derivatives(factor * sd[k]))
            # by the logarithm of the sd, along which the slope of the scale moves it too
            first, second = first * factor * sd[k], second * (factor * sd[k]) ** 2 + first * factor * sd[k]
            of_sds[:, k] += first, second
            if self._natural[k]:
                own += jacobian[k]
                of_means[:, k] += first * by_mean[k] + by_mean[k], second * by_mean[k] ** 2 + (1 + first) * twice[k]
            value += own
        return value, of_means, of_sds


def _chained(first: float, second: float, slope: float, curve: float) -> tuple[float, float]:
    """Derivatives by theta of a function of the natural value."""
    return first * slope, second * slope**2 + first * curve


def _within(ends: tuple[float, float], least: float, most: float) -> tuple[float, float]:
    """Ends between bounds: a little inside, but for the bounds themselves, which are never reached."""
    low, high = max(ends[0], least), min(ends[1], most)
    room = EDGE * min(high - low, 1.0)
    return low + room * (low > least), high - room * (high < most)


def _ends_at_start(prior: Prior, mean: float) -> tuple[float, float]:
    """The support, or if the mean is far from all mass where that is."""
    low, high = prior.reach()
    there, here = (float(prior.derivatives(value)[0]) for value in (min(max(mean, low), high), mean))
    return (low, high) if there - here > FAR else prior.support

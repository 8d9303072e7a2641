"""Log-likelihoods and predicted choices of draws, in batches, within a bound of memory."""

from typing import TYPE_CHECKING

import numpy as np

from spice.errors import ConfigError
from spice.inference.fitting.bayes.density import effect_sd
from spice.inference.fitting.defaults import mean_prior, person_prior, sd_prior, theta_prior
from spice.inference.fitting.transforms import Scale

if TYPE_CHECKING:
    from spice.inference.fitting.bayes.posterior import PosteriorResult

BATCH = 4_000_000  # numbers that are computed at once
LEAST = 10  # draws of each chain, below which a bound of memory leaves too little


def thinned(n_chains: int, n_draws: int, n_choices: int, size: int, memory: float, most: float = np.inf) -> np.ndarray:
    """Which draws of each chain to take, at equal distances.

    Parameters
    ----------
    n_chains, n_draws, n_choices : int
        Of what there is.
    size : int
        Bytes of a number.
    memory : float
        Bytes of all.
    most : float, optional
        Draws of all chains, at most.

    Raises
    ------
    ConfigError
        If hardly any draws would be left.
    """
    fitting = int(memory // max(size * n_chains * n_choices, 1))
    if fitting < min(LEAST, n_draws):
        needed = size * n_chains * n_choices * min(LEAST, n_draws)
        raise ConfigError(f"{n_choices:,} choices need more memory: set memory={needed * 10:.1e} (bytes), or so.")
    step = -(-n_draws // int(max(min(fitting, most // n_chains, n_draws), 1)))
    return np.arange(0, n_draws, step)


def people_values(result: "PosteriorResult", posterior: dict[str, np.ndarray], places: np.ndarray) -> np.ndarray:
    """Everybody's parameters in some draws of each chain, (n_chains, n_places, n_people, n_parameters)."""
    n_people = len(result.nll)
    each = [posterior[name][:, places] for name in result.parameters.columns]
    if result.pooling == "complete":
        each = [np.repeat(values[..., None], n_people, axis=-1) for values in each]
    return np.stack(each, axis=-1)


def log_likelihoods(result: "PosteriorResult", memory: float) -> np.ndarray:
    """Log-probabilities of scored choices, float32, (n_chains, n_draws, n_choices), participant after participant.

    Parameters
    ----------
    result : PosteriorResult
        Draws: all, or every n-th.
    memory : float
        Bytes that they may take.
    """
    first = result.posterior[result.parameters.columns[0]]
    n_scored = result.likelihood.n_scored()
    places = thinned(first.shape[0], first.shape[1], int(n_scored.sum()), 4, memory)
    found = np.empty((first.shape[0], len(places), int(n_scored.sum())), np.float32)
    flat, n_people = found.reshape(-1, found.shape[-1]), len(n_scored)
    there = np.arange(n_scored.max(initial=0)) < n_scored[:, None]
    at_once = max(BATCH // max(there.size, 1), 1)
    values = people_values(result, result.posterior, places)
    values = values.reshape(-1, n_people, values.shape[-1])
    for start in range(0, len(values), at_once):
        part = values[start : start + at_once]
        group = np.tile(np.arange(n_people), len(part))
        each = result.likelihood.log_probabilities(part.reshape(-1, part.shape[-1]), group)
        flat[start : start + len(part)] = each.reshape(len(part), n_people, -1)[:, there]
    return found


class Choices:
    """The scored choices, in the likelihood's order.

    Parameters
    ----------
    result : PosteriorResult
        Of what was fitted.

    Attributes
    ----------
    choice, participant, session, trial : np.ndarray of int, shape (n_choices,)
        The choice, the place of its participant, its session and its trial, counted from 0 in the dataset.
    """

    def __init__(self, result: "PosteriorResult"):
        dataset, n_scored = result.dataset, result.likelihood.n_scored()
        order = dataset.participants.argsort(stable=True).numpy()
        self._likelihood = result.likelihood
        values = people_values(result, result.posterior, np.array([0]))[0, 0]
        known = np.isfinite(self._likelihood.probabilities(values)).any(-1)
        session, trial = np.nonzero((dataset.scored.numpy() & known)[order])
        self.session, self.trial = order[session], trial + 1
        self._at = (self.session, trial)
        self.choice = dataset.ys.numpy()[self._at].argmax(-1)
        self.participant = np.repeat(np.arange(len(n_scored)), n_scored)
        if len(self.participant) != len(self.choice):
            raise ConfigError("the likelihood's scored choices are not those of its probabilities: it is inconsistent.")

    def draw(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Choices given the observed history, int8, (n_chains, n_draws, n_choices).

        Parameters
        ----------
        values : np.ndarray, shape (n_chains, n_draws, n_people, n_parameters)
            Parameters.
        rng : numpy.random.Generator
            Source of randomness.
        """
        found = np.empty((*values.shape[:2], len(self.choice)), np.int8)
        for place in np.ndindex(*values.shape[:2]):
            heights = self._likelihood.probabilities(values[place])[self._at].cumsum(-1)
            level = rng.random(len(heights)) * heights[:, -1]
            found[place] = (level[:, None] >= heights).sum(1)
        return found


def prior_draws(
    result: "PosteriorResult", n_draws: int, rng: np.random.Generator, regressors: np.ndarray
) -> dict[str, np.ndarray]:
    """Draws from the prior, of the posterior's names and axes, as one chain.

    Parameters
    ----------
    result : PosteriorResult
        Of what was fitted.
    n_draws : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.
    regressors : np.ndarray, shape (n_people, n_regressors)
        Centred.
    """
    found: dict[str, np.ndarray] = {}
    parameters, n_people = result.model.parameters, len(result.nll)
    scale = Scale(parameters)
    spread = regressors.std(0)
    for k, (name, parameter) in enumerate(parameters.items()):
        shape: tuple[int, ...] = (n_draws,) if result.pooling == "complete" else (n_draws, n_people)
        if result.pooling != "partial":
            own = person_prior(parameter)
            values = theta_prior(parameter).sample(rng, shape) if own is None else own.sample(rng, shape)
            found[name] = _natural(scale, k, values) if own is None else values
            continue
        mean, sd = mean_prior(parameter).sample(rng, n_draws), sd_prior(parameter).sample(rng, n_draws)
        around = np.repeat(mean[:, None], n_people, axis=1)
        effects = effect_sd(parameter) * rng.normal(size=(n_draws, len(spread))) / spread
        around += effects @ regressors.T
        if parameter.scale == "natural":
            found[name] = truncated_draws(around, sd[:, None], scale.low[k], scale.high[k], rng)
        else:
            found[name] = _natural(scale, k, rng.normal(around, sd[:, None]))
        found |= {f"{name}_mean": mean, f"{name}_sd": sd}
        if len(spread):
            found[f"{name}_effect"] = effects
    return {name: values[None] for name, values in found.items()}


def _natural(scale: Scale, k: int, theta: np.ndarray) -> np.ndarray:
    every = np.broadcast_to(theta[..., None], (*theta.shape, len(scale.names)))
    with np.errstate(over="ignore"):
        return scale.natural(every)[..., k]


def truncated_draws(mean: np.ndarray, sd: np.ndarray, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Draws from truncated normal distributions, one for each element of ``mean``; taken in the lower tail."""
    from scipy.special import log_ndtr, ndtri_exp

    a, b = (low - mean) / sd, (high - mean) / sd
    mirrored = a + b > 0
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    u = rng.random(mean.shape)
    with np.errstate(divide="ignore"):
        z = ndtri_exp(np.logaddexp(log_ndtr(a) + np.log1p(-u), log_ndtr(b) + np.log(u)))
    return np.clip(mean + sd * np.where(mirrored, -z, z), low, high)

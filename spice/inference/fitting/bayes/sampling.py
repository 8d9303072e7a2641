"""Hamiltonian Monte Carlo (NUTS) by nutpie: chains of draws from any of our densities."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spice.errors import ConfigError

if TYPE_CHECKING:
    from spice.inference.fitting.bayes.density import Density

TRIES = 100  # points from which a chain may begin, until the density is finite
INSTALL = 'pip install "spice[bayes]"'
STATISTICS = {  # names of ArviZ: names of nutpie
    "diverging": "diverging",
    "energy": "energy",
    "lp": "logp",
    "tree_depth": "depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "acceptance_rate": "mean_tree_accept",
    "reached_max_treedepth": "maxdepth_reached",
}


@dataclass(frozen=True)
class Settings:
    """Of a sampler.

    Attributes
    ----------
    draws, tune, chains : int
        Draws of each chain that are kept, those before in which the sampler adapts, and chains.
    seed : int
        Of the random numbers.
    n_threads : int
        Chains that run at once.
    target_accept : float
        Share of proposals to accept, by the size of steps.
    progress : bool
        Whether to show nutpie's progress bar.
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    seed: int = 0
    n_threads: int = 1
    target_accept: float = 0.8
    progress: bool = False


@dataclass(frozen=True)
class Trace:
    """What a sampler returns.

    Attributes
    ----------
    draws : np.ndarray, shape (n_chains, n_draws, ndim)
        Vectors.
    statistics : dict of str to np.ndarray, shape (n_chains, n_draws)
        Of each draw, by ArviZ's names.
    interrupted : bool
        Whether sampling was stopped: then there are fewer draws, or chains.
    """

    draws: np.ndarray
    statistics: dict[str, np.ndarray]
    interrupted: bool


def import_extra(name: str) -> Any:
    """Import nutpie or arviz, without ArviZ's announcement of its next version.

    Raises
    ------
    ConfigError
        If it is not installed, naming the extra, or finds no home folder.
    """
    import importlib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"posteriors need {name}, which cannot be imported ({error}): {INSTALL}.") from None
    except OSError as error:  # ArviZ notes in the home folder when it was last imported
        advice = "it needs a home folder that may be written to"
        raise ConfigError(f"posteriors need {name}, which cannot be imported ({error}): {advice}.") from None


def sample(density: "Density", settings: Settings) -> Trace:
    """Draw from a density.

    An interrupt (Ctrl-C) ends sampling, and the draws so far are returned: of as many chains, all cut to the same
    length, as keep most draws.

    Parameters
    ----------
    density : Density
        What to draw from.
    settings : Settings
        How.

    Raises
    ------
    KeyboardInterrupt
        If it comes before there is a draw after tuning.
    """
    nutpie = import_extra("nutpie")
    from nutpie.compiled_pyfunc import from_pyfunc

    def expand(seed1: int, seed2: int, chain: int) -> Callable:
        return lambda u: {"u": u}

    def begin(seed: int) -> np.ndarray:
        return finite_start(density, np.random.default_rng(seed))

    shape = (density.ndim,)
    model = from_pyfunc(
        density.ndim, density.copy, expand, [np.dtype(float)], [shape], ["u"], make_initial_point_fn=begin
    )
    found = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        cores=max(1, min(settings.n_threads, settings.chains)),
        seed=settings.seed,
        target_accept=settings.target_accept,
        progress_bar=settings.progress,
        return_raw_trace=True,
    )
    draws, statistics = found.get_arrow_trace()
    return _trace(draws, statistics, density.ndim, settings)


def finite_start(density: "Density", rng: np.random.Generator) -> np.ndarray:
    """A point at which the density and its gradient are finite; the last one tried if there seems to be none."""
    for _ in range(TRIES):
        point = density.start(rng)
        if is_finite(density(point)):
            break
    return point


def is_finite(found: tuple[float, np.ndarray]) -> bool:
    """Whether a density and its gradient are finite."""
    return bool(np.isfinite(found[0]) and np.isfinite(found[1]).all())


def most_draws(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Which chains to keep, and the draws of each, such that most are kept: all chains are cut to the same length."""
    longest = sorted(range(len(lengths)), key=lambda chain: -lengths[chain])
    n = max(range(1, len(lengths) + 1), key=lambda n: (n * lengths[longest[n - 1]], n))
    return sorted(longest[:n]), lengths[longest[n - 1]]


def _trace(draws: list[Any], statistics: list[Any], ndim: int, settings: Settings) -> Trace:
    """From nutpie's tables, one of each kind per chain."""
    import pyarrow

    usable, length = most_draws([max(table.num_rows - settings.tune, 0) for table in statistics])
    if not length:
        raise KeyboardInterrupt
    kept = slice(settings.tune, settings.tune + length)

    def column(table: Any, name: str) -> Any:
        return pyarrow.array(table.column(name))

    vectors = [column(draws[c], "u").flatten().to_numpy().reshape(-1, ndim)[kept] for c in usable]
    found = {
        name: np.stack([column(statistics[c], own).to_numpy(zero_copy_only=False)[kept] for c in usable])
        for name, own in STATISTICS.items()
    }
    found["diverging"] = found["diverging"].astype(bool)
    return Trace(np.stack(vectors), found, length < settings.draws or len(usable) < settings.chains)

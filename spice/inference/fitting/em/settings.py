"""What settings of EM may be."""

from typing import Any

import numpy as np

from spice.errors import ConfigError, join_problems
from spice.inference.fitting.transforms import Scale
from spice.resources.arguments import as_numbers, in_words, is_flag, is_number, is_whole

COVARIANCES = ("full", "diagonal")


def check_settings(
    scale: Scale,
    covariance: Any,
    start: Any,
    skewness: Any,
    importance: Any,
    tolerance: Any,
    n_starts: Any,
    max_iterations: Any,
    seed: Any,
) -> None:
    """Check settings of `spice.inference.fitting.em.fit_em.fit_em`.

    Raises
    ------
    ConfigError
        Listing all that cannot be.
    """
    problems = []
    if covariance not in COVARIANCES:
        problems.append(f"covariance must be 'full' or 'diagonal', not {in_words(covariance)}.")
    for name, flag in (("skewness", skewness), ("importance", importance)):
        if not is_flag(flag):
            problems.append(f"{name} must be True or False, not {in_words(flag)}.")
    if not is_number(tolerance) or float(tolerance) <= 0:
        problems.append(f"tolerance must be a number above 0, not {in_words(tolerance)}.")
    for name, value, least in (("n_starts", n_starts, 1), ("max_iterations", max_iterations, 1), ("seed", seed, 0)):
        if not is_whole(value, least):
            problems.append(f"{name} must be a whole number from {least} on, not {in_words(value)}.")
    if start is not None and not _is_start(start, len(scale.names)):
        problems.append(
            f"start must be means and standard deviations above 0 of {', '.join(scale.names)} on the unconstrained "
            f"scale, (means, sds), not {in_words(start)}."
        )
    if problems:
        raise ConfigError(join_problems("EM cannot begin", problems))


def _is_start(start: Any, n: int) -> bool:
    if not isinstance(start, (tuple, list)) or len(start) != 2:
        return False
    try:
        mean, sd = (as_numbers(part, "start") for part in start)
    except ValueError:  # of which DataError is one
        return False
    return mean.shape == sd.shape == (n,) and bool(np.isfinite([mean, sd]).all() and (sd > 0).all())

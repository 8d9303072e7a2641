"""Which equations grow without bound over a session."""

import warnings

import numpy as np

from spice.equations import Equation
from spice.errors import StabilityWarning
from spice.resources.dataset import DatasetRNN
from spice.sindy.samples import ModuleSamples

GROWTH = 10.0  # a state that could grow by more than this factor over a session is reported


def warn_if_unstable(
    equations: dict[int, dict[str, Equation]], samples: dict[str, ModuleSamples], dataset: DatasetRNN
) -> None:
    """Warn about equations whose state's multiplier makes it grow over a session.

    Parameters
    ----------
    equations : dict
        By participant number, then module.
    samples : dict of str to ModuleSamples
        Samples of each module: the inputs at which the multiplier is evaluated.
    dataset : DatasetRNN
        The participants' sessions.
    """
    found = []
    trials = dataset.observed.sum(1)
    for participant, modules in equations.items():
        longest = int(trials[dataset.participants == participant].max())
        for module, equation in modules.items():
            worst = _largest_multiplier(equation, samples[module].of(participant))
            if longest * np.log(max(abs(worst), 1.0)) > np.log(GROWTH):
                label = dataset.label("participant", participant)
                found.append(f"participant {label!r}, module {module!r}, multiplier {worst:.2f}")
    if found:
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        warnings.warn(
            f"equations that grow without bound over a session: {shown}. A state's multiplier should lie within [-1, 1]; "
            "fit more data, use a smaller hidden_size, or raise sindy_threshold.",
            StabilityWarning,
            stacklevel=3,
        )


def _largest_multiplier(equation: Equation, samples: ModuleSamples) -> float:
    """The multiplier of largest size among the inputs that were met."""
    met = np.unique(samples.features[:, 1:], axis=0)
    multipliers = np.atleast_1d(equation.multiplier(dict(zip(samples.signals, met.T, strict=True))))
    return float(multipliers.flat[np.abs(multipliers).argmax()]) if multipliers.size else 0.0

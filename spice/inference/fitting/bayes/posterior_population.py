"""The population of a posterior: its numbers' means and standard deviations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spice.inference.fitting.population import INTERCEPT, Population


class PosteriorPopulation(Population):
    """A population's numbers: posterior means, and posterior standard deviations as their errors."""

    def summary(self) -> str:
        """The numbers as text."""
        import pandas as pd

        columns = {"mean": self.mean, "se": self.mean_se, "sd": self.sd, "sd_se": self.sd_se, "typical": self.typical}
        lines = ["population (where people are normal; the typical value on the natural scale)"]
        lines.append(pd.DataFrame(columns).round(3).to_string())
        for name in self.coefficients.index[1:]:
            effect, se = self.coefficients.loc[name], self.coefficients_se.loc[name]
            lines.append(
                f"effect of {name}: " + ", ".join(f"{p} {effect[p]:+.3f} (se {se[p]:.3f})" for p in effect.index)
            )
        return "\n".join(lines)


def population_of(
    model: Any, posterior: Mapping[str, np.ndarray], regressors: Sequence[str], design: np.ndarray
) -> PosteriorPopulation:
    """What draws say of the population.

    Parameters
    ----------
    model : SymbolicModel
        The model.
    posterior : mapping of str to np.ndarray
        Draws, as `PosteriorResult` has them.
    regressors : sequence of str
        Names of the regressors.
    design : np.ndarray, shape (n_people, n_regressors)
        Their values.
    """
    import pandas as pd

    from spice.inference.fitting.transforms import Scale  # the compiler takes a while to import

    names, scale = list(model.parameters), Scale(model.parameters)
    mean, sd = (np.stack([posterior[f"{name}_{end}"].ravel() for name in names], axis=-1) for end in ("mean", "sd"))
    effects = np.zeros((len(mean), 0, len(names)))
    if regressors:
        effects = np.stack([posterior[f"{n}_effect"].reshape(-1, len(regressors)) for n in names], axis=-1)
    intercept = mean - np.einsum("j,djk->dk", design.mean(0), effects)
    coefficients = np.concatenate([intercept[:, None], effects], axis=1)
    middle = np.median(mean, axis=0)
    own = np.array([parameter.scale == "natural" for parameter in model.parameters.values()])

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=[INTERCEPT, *regressors], columns=names)

    return PosteriorPopulation(
        mean=pd.Series(mean.mean(0), names),
        mean_se=pd.Series(mean.std(0), names),
        sd=pd.Series(sd.mean(0), names),
        sd_se=pd.Series(sd.std(0), names),
        covariance=pd.DataFrame(np.diag((sd**2).mean(0)), names, names),
        correlation=pd.DataFrame(np.eye(len(names)), names, names),
        coefficients=table(coefficients.mean(0)),
        coefficients_se=table(coefficients.std(0)),
        typical=pd.Series(np.where(own, middle, scale.natural(middle)), names),
    )

"""The third example: 31 people with 440 choices, 3 seasons, 4 aliens and 3 actions come back."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spice.errors import ConvergenceWarning
from spice.inference import fit
from spice.precoded import flat_aliens
from spice.resources.bandits import AlienTask

PEOPLE, TRIALS = 31, 440
POPULATION = {"alpha": (0.4, 0.12), "beta": (6.0, 0.5), "forget": (0.02, 0.008)}  # means and standard deviations


@pytest.mark.slow
def test_people_and_population_come_back():
    rng = np.random.default_rng(0)
    truth = pd.DataFrame({name: rng.normal(*of, PEOPLE) for name, of in POPULATION.items()}).clip(0.001)
    model = flat_aliens()
    data = model.simulate(AlienTask(), TRIALS, truth, seed=1)
    result = fit(model, data, method="nuts", draws=1500, seed=0)  # any warning is an error, as of few effective draws
    assert result.n_divergences == 0 and result.diagnostics["r_hat"].max() < 1.01
    for name, (mean, _) in POPULATION.items():
        draws = result.posterior[f"{name}_mean"]
        assert abs(draws.mean() - mean) < 4 * draws.std(), name
    low, high = (result.intervals.xs(end, axis=1, level=1) for end in ("low", "high"))
    held = ((low <= truth.to_numpy()) & (truth.to_numpy() <= high)).to_numpy()
    assert held.mean() > 0.95 - 4 * np.sqrt(0.95 * 0.05 / held.size)
    with pytest.warns(ConvergenceWarning, match="no optimum was reached"):  # alone, some run to infinity
        alone = fit(model, data)
    for name in ("alpha", "forget"):  # people hardly differ in beta
        assert stats.pearsonr(truth[name], result.parameters[name]).pvalue < 0.01, name
    for name in POPULATION:
        errors = [np.sqrt(((found.parameters[name] - truth[name]) ** 2).mean()) for found in (result, alone)]
        assert errors[0] < errors[1], name

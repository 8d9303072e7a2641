"""Names of variables: those of a population are told from parameters that are called alike."""

import numpy as np
import pytest

from spice.equations import Parameter
from spice.errors import ConfigError
from spice.inference import fit
from spice.inference.fitting.bayes.variables import element_names, population_ending


def test_endings_count_only_beside_the_parameter():
    variables = ["cue_effect", "cue_effect_mean", "drift_sd", "alpha", "alpha_sd", "alpha_mean", "alpha_mean_sd"]
    found = [population_ending(name, variables) for name in variables]
    assert found == ["", "_mean", "", "", "_sd", "_mean", ""]


def test_elements():
    per_person, one = np.zeros((2, 3, 2)), np.zeros((2, 3))
    posterior = {"cue_effect": per_person, "cue_effect_sd": one, "cue_effect_effect": np.zeros((2, 3, 1))}
    assert element_names(posterior, ["anna", "ben"], ["age"]) == {
        "cue_effect": ["cue_effect[anna]", "cue_effect[ben]"],
        "cue_effect_sd": ["cue_effect_sd"],
        "cue_effect_effect": ["cue_effect_effect[age]"],
    }


@pytest.mark.filterwarnings("ignore::spice.errors.ConvergenceWarning")  # of so few draws
def test_a_parameter_that_ends_as_effects_do(tools, people):
    model = tools.rescorla_wagner()
    model = model.replace(
        updates=[("q", "chosen", "q + cue_effect * (reward - q)")],
        parameters={"cue_effect": Parameter(0, 1), "beta": Parameter(0)},
    )
    posterior = fit(model, tools.dataset_of(people[:3]), "nuts", draws=5, tune=20, chains=1).to_arviz()["posterior"]
    assert posterior["cue_effect"].dims == ("chain", "draw", "participant")
    assert posterior["cue_effect_mean"].dims == ("chain", "draw")


def test_names_that_posteriors_use_are_for_other_methods_only(tools, people):
    model = tools.rescorla_wagner().replace(
        updates=[("q", "chosen", "q + beta_sd * (reward - q)")],
        logits="beta * q + draw",
        parameters={"beta_sd": Parameter(0, 1), "beta": Parameter(0), "draw": Parameter()},
    )
    data = tools.dataset_of(people[:3])
    with pytest.raises(ConfigError) as caught:
        fit(model, data, "nuts")
    assert "posteriors call a number of the population of 'beta' 'beta_sd', like a parameter" in str(caught.value)
    assert "the parameter 'draw' has the name of a dimension of posteriors" in str(caught.value)
    assert list(fit(model, data, "map").parameters) == ["beta_sd", "beta", "draw"]

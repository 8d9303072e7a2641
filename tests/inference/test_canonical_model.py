"""The canonical form as a model of its own: the same choices, and what several people's forms have in common."""

import numpy as np
import pytest

from spice.equations.evaluate import run_symbolic
from spice.errors import ModelFormError
from spice.inference import CanonicalForm
from spice.inference.canonical_model import canonical_model
from spice.inference.general.generated import GeneratedLikelihood
from spice.inference.uncertainty import Estimate


def form(outcomes=(), **values) -> CanonicalForm:
    estimates = {name: Estimate(value, 0.1, value - 0.2, value + 0.2) for name, value in values.items()}
    return CanonicalForm(estimates, {}, [], outcomes=list(outcomes))


FULL = dict(alpha=0.3, forgetting=0.2, forgetting_target=0.1, beta=2.0, perseveration=0.5, alpha_choice=0.4)
START = {"bias": 0.2, "initial_value": 0.4}


def nll(model, data, label=None) -> float:
    values = np.array([list(model.values(label).values())])
    return -float(np.nansum(GeneratedLikelihood(model, data).log_probabilities(values)))


def test_it_predicts_as_the_equations_do(fitted_people, people_data):
    """By its own expressions and by the equations that the network's modules became."""
    read = [label for label in fitted_people.participants_ if not fitted_people.canonical_[label].unread]
    assert read
    for label in read:
        data = people_data[people_data.participants == fitted_people.participants_.index(label)]
        model, network = (fitted_people.symbolic_model(label, gauge) for gauge in ("canonical", "network"))
        assert nll(model, data) == pytest.approx(nll(network, data), rel=1e-6)


def test_by_hand(random_data):
    """One person's full form, against its recursion."""
    data = random_data(3, 20, missing=0.1)
    found = run_symbolic(canonical_model({"a": form(**FULL, **START)}), data, FULL | START)
    for s in range(3):
        q, k = np.full(2, 0.4), np.zeros(2)
        for t in range(20):
            x = data.xs[s, t].double().numpy()
            if x[0] == x[0]:
                c = int(x[1] == 1)
                q[c] += 0.3 * (x[2 + c] - q[c])
                q[1 - c] += 0.2 * (0.1 - q[1 - c])
                k += 0.4 * ((np.arange(2) == c) - k)
            np.testing.assert_allclose(found[s, t], 2 * q + 0.5 * k + [0, 0.2], rtol=1e-12)


def test_what_someone_lacks_changes_nothing(random_data):
    """In everybody's model each person's values give the choices of their own one."""
    forms = {
        "plain": form(alpha=0.3, beta=2.0, initial_value=0.5),
        "trace": form(alpha=0.2, beta=1.0, perseveration=0.5, initial_value=0.2),
        "slow": form(perseveration=1.5, alpha_choice=0.2),
        "apart": form([0.0, 1.0], alpha_reward=0.4, alpha_penalty=0.1, beta=3.0, forgetting=0.2, initial_value=0.1),
    }
    data = random_data(1, 40)
    data.xs[..., 2:4] = (data.xs[..., 2:4] > 0.5).float()
    together = canonical_model(forms)
    assert set(together.parameters) > {"alpha_reward", "alpha_penalty", "alpha_choice", "forgetting"}
    for label, own in forms.items():
        alone = canonical_model({label: own})
        expected = run_symbolic(alone, data, alone.values(label))
        found = run_symbolic(together, data, together.values(label))
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_rates_beyond_the_unit_interval(random_data):
    """Equations may have them; their model then has no bounds there."""
    values = {"alpha": 1.25, "forgetting": 0.2, "beta": 2.0, "initial_value": 0.4}
    found = canonical_model({"a": form(**values)})
    assert found.values("a") == values
    bounds = {name: (parameter.low, parameter.high) for name, parameter in found.parameters.items()}
    assert bounds == {"alpha": (None, None), "forgetting": (0, 1), "beta": (0, None), "initial_value": (None, None)}
    assert np.isfinite(nll(found, random_data(1, 20)))
    assert found.agent().get_choice_probs().sum() == pytest.approx(1)


def test_what_does_not_fit_together():
    unread = CanonicalForm({}, {}, ["x_value_reward"])
    with pytest.raises(ModelFormError, match="x_value_reward cannot be read in the canonical gauge"):
        canonical_model({"a": unread})
    with pytest.raises(ModelFormError, match="nothing to fit"):
        canonical_model({"a": form()})
    counterfactual = form(alpha=0.3, beta=1.0, alpha_counterfactual=0.2, initial_value=0.5)
    with pytest.raises(ModelFormError, match="take one participant at a time"):
        canonical_model({"a": counterfactual, "b": form(alpha=0.3, beta=1.0, forgetting=0.1, initial_value=0.5)})
    one, other = (form([0.0, top], alpha_reward=0.1, alpha_penalty=0.3, beta=1.0, initial_value=0) for top in (1, 2))
    with pytest.raises(ModelFormError, match="the outcomes that have rates of their own differ"):
        canonical_model({"a": one, "b": other})

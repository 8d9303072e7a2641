"""A network's equations, in the canonical gauge, fitted by the same calls as models that are written by hand."""

import numpy as np
import pytest

from spice.equations.evaluate import run_symbolic
from spice.errors import ConvergenceWarning
from spice.inference import fit


@pytest.fixture(scope="module")
def model(fitted_people):
    return fitted_people.symbolic_model()


def log_likelihoods(model, data, values) -> np.ndarray:
    """Of sessions, in plain NumPy."""
    logits = run_symbolic(model, data, values)
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.nansum(log_p * data.ys.numpy(), axis=(1, 2))


def of_one(data, number):
    return data[data.participants == number]


@pytest.mark.parametrize("method", ["mle", "map", "em"])
def test_everybody_in_one_call(model, fitted_people, people_data, method):
    if method == "mle":
        with pytest.warns(ConvergenceWarning, match="'anna'.*runs to infinity: beta"):  # says the gauge's beta, by name
            result = fit(model, people_data, method)
    else:
        result = fit(model, people_data, method, **({"covariance": "diagonal"} if method == "em" else {}))
        assert result.converged.all()
    assert tuple(result.parameters.index) == fitted_people.participants_
    assert {"alpha", "beta"} < set(result.parameters.columns) == set(model.parameters)
    for number, label in enumerate(fitted_people.participants_):
        data = of_one(people_data, number)
        found, known = (log_likelihoods(model, data, v) for v in (result.parameters.loc[label], model.values(label)))
        assert result.nll[label] == pytest.approx(-found.sum(), abs=1e-5)
        assert method != "mle" or found.sum() >= known.sum() - 1e-6


def test_a_posterior_over_its_coefficients(fitted_people, people_data):
    """NUTS beside draws from the default priors, weighted by their likelihood in plain NumPy."""
    own, data = fitted_people.symbolic_model("anna"), of_one(people_data, 0)
    result = fit(own, data, "nuts", draws=1000, tune=1000, target_accept=0.98, seed=1)
    posterior = result.to_arviz()["posterior"]
    assert set(own.parameters) == {"alpha", "beta", "initial_value"} <= set(posterior.data_vars)
    rng, n, n_sessions = np.random.default_rng(2), 20_000, len(data)
    values = {
        "alpha": 1 / (1 + np.exp(-1.5 * rng.normal(size=n))),
        "beta": np.exp(np.log(2) + 1.25 * rng.normal(size=n)),
        "initial_value": 3 * rng.normal(size=n),
    }
    repeated = data[np.tile(np.arange(n_sessions), n)]
    each = log_likelihoods(own, repeated, {name: np.repeat(value, n_sessions) for name, value in values.items()})
    log_weight = each.reshape(n, n_sessions).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    for name, value in values.items():
        draws, effective = posterior[name].to_numpy().ravel(), result.diagnostics.loc[f"{name}[anna]", "ess_mean"]
        mean = weight @ value
        for part, drawn in ((value, draws), ((value - mean) ** 2, (draws - mean) ** 2)):
            expected = weight @ part
            error = np.hypot(np.sqrt(weight**2 @ (part - expected) ** 2), drawn.std() / np.sqrt(effective))
            assert error < 0.1 * drawn.std()  # so that it can be seen
            assert abs(drawn.mean() - expected) < 4 * error

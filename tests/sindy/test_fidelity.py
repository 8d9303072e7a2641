"""Equations that leave their network's range are found, refitted without higher powers of the state, and reported."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import SpiceWarning, StabilityWarning
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.sindy import distil, find_equations
from spice.sindy.fidelity import (
    find_diverging,
    find_diverging_on,
    run_model,
    warn_if_unfaithful,
    warn_of_diverging,
)
from spice.sindy.probes import probe_sessions

CHOSEN = "x_value_reward_chosen"
TAME = {"1": -0.3, CHOSEN: 0.7, "c_reward": 0.9}
WILD = {"1": 0.6, CHOSEN: 0.8, "c_reward": 0.5, f"{CHOSEN}^2": 0.4}


def values_by_hand(terms, xs):
    """The value of every option before each trial's update, without missing trials, shape (trials, options)."""
    seen, value = [], np.full(2, 0.5)
    for row in np.asarray(xs, dtype=float):
        choice = int(row[:2].argmax())
        seen.append(value)
        value = value.copy()
        old, reward = value[choice], row[2 + choice]
        value[choice] = terms["1"] + terms[CHOSEN] * old + terms["c_reward"] * reward
        value[choice] += terms.get(f"{CHOSEN}^2", 0) * old**2
        value[choice] = np.clip(value[choice], -1e4, 1e4)
    return np.array(seen)


@pytest.mark.parametrize("terms", [TAME, WILD])
def test_a_run_tells_how_far_states_go_and_what_is_lost(agent_data, model_of, terms):
    run = run_model(model_of({CHOSEN: [terms]}), agent_data)
    by_hand = [np.abs(values_by_hand(terms, xs)).max() for xs in agent_data.xs]
    np.testing.assert_allclose(run.peaks[CHOSEN].numpy(), by_hand, rtol=1e-9)
    with torch.no_grad():
        logits, _ = model_of({CHOSEN: [terms]})(agent_data.xs, batch_first=True)
    chosen = (torch.log_softmax(logits, -1) * agent_data.ys).sum(-1)
    assert run.loss == pytest.approx(-float(chosen.sum()), rel=1e-9)


def test_far_is_ten_times_the_networks_largest_and_a_bit():
    participants = torch.tensor([3, 0, 3, 0])
    usual = {CHOSEN: torch.tensor([0.0, 1.0, 2.0, 0.5])}
    for reached, found in (([29.9, 0, 0, 20], []), ([30.1, 0, 0, 20], [(3, CHOSEN)]), ([0, 0, 0, 20.1], [(0, CHOSEN)])):
        assert find_diverging(usual, {CHOSEN: torch.tensor(reached)}, participants) == found
    huge = {CHOSEN: torch.full((4,), 1e4)}  # the limit of a state, however far the network goes
    assert find_diverging(huge, huge, participants) == [(0, CHOSEN), (3, CHOSEN)]


def test_a_square_that_explodes_is_found(agent_data, model_of):
    tame, wild = model_of({CHOSEN: [TAME]}), model_of({CHOSEN: [WILD]})
    assert find_diverging_on(tame, tame, agent_data) == []
    assert find_diverging_on(tame, wild, agent_data) == [(0, CHOSEN)]


def test_only_those_who_diverge_are_found(random_data, model_of, monkeypatch):
    data = random_data(n_sessions=8, n_trials=30, n_participants=4)
    tame, mixed = model_of({CHOSEN: [TAME] * 4}), model_of({CHOSEN: [TAME, WILD, TAME, WILD]})
    assert find_diverging_on(tame, mixed, data) == [(1, CHOSEN), (3, CHOSEN)]
    monkeypatch.setattr("spice.sindy.fidelity.PEOPLE", 1)  # one at a time
    assert find_diverging_on(tame, mixed, data) == [(1, CHOSEN), (3, CHOSEN)]


def test_the_warning_names_the_equations(agent_data):
    with pytest.warns(StabilityWarning) as caught:
        warn_of_diverging([(0, CHOSEN)], agent_data, mended=True)
        warn_of_diverging([(0, CHOSEN)], agent_data, mended=False)
    start = f"equations that grow without bound over a session: participant 0, module '{CHOSEN}'. "
    assert [str(entry.message) for entry in caught] == [
        start + "They were refitted without higher powers of the state, which now carries at most 0.9 of its value.",
        start + "Use a lower sindy_degree or a higher sindy_threshold, and do not trust their predictions.",
    ]


def test_equations_that_predict_worse_than_their_network(agent_data, model_of):
    network, same, worse = (
        run_model(model_of({CHOSEN: [terms]}), agent_data) for terms in (TAME, TAME, TAME | {"c_reward": 0.1})
    )
    warn_if_unfaithful(network, same, agent_data)
    before, after = (run.loss / 800 for run in (network, worse))
    with pytest.warns(SpiceWarning) as caught:
        warn_if_unfaithful(network, worse, agent_data)
    assert str(caught[0].message) == (
        "the equations predict the data worse than the network: negative log-likelihood "
        f"{after:.3f} against {before:.3f} per trial. What the network does is not in their library: raise "
        "sindy_degree, lower sindy_threshold, or give the model further signals."
    )


def test_libraries_without_higher_powers_of_the_state(agent_data):
    torch.manual_seed(0)
    model = RescorlaWagnerRNN.build(2, 1).double().eval()
    noise = agent_data.xs.clone()
    noise[..., 2:4] += torch.from_numpy(np.random.default_rng(0).normal(size=noise[..., 2:4].shape)).float()
    data = agent_data.replace(noise, agent_data.ys)
    terms = [
        set(
            distil(model, RESCORLA_WAGNER_CONFIG, data, [0], degree=2, threshold=0.0, linear=linear)[0][
                CHOSEN
            ].coefficients
        )
        for linear in ((), [(0, CHOSEN)])
    ]
    assert terms[0] - terms[1] == {f"{CHOSEN}^2"}


# ---------------------------------------------------------------------- stage 2 as a whole


def found_quietly(*args, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        equations, model = find_equations(*args, **settings)
    return equations, model, [str(entry.message) for entry in caught]


def test_known_equations_are_found_and_stand_in_the_network(random_data, model_of):
    data = random_data(n_sessions=8, n_trials=40, n_participants=2)
    truth = [TAME, {"1": 0.2, CHOSEN: 0.5, "c_reward": -0.6}]
    network = model_of({CHOSEN: truth})
    for visited in (None, probe_sessions(data)):
        equations, model, said = found_quietly(network, RESCORLA_WAGNER_CONFIG, data, [0, 1], visited=visited)
        assert said == []
        for person in (0, 1):
            assert equations[person][CHOSEN].coefficients == {k: pytest.approx(v) for k, v in truth[person].items()}
        with torch.no_grad():
            logits, expected = (entry(data.xs, batch_first=True)[0] for entry in (model, network))
        torch.testing.assert_close(logits, expected)
    equations, model, _ = found_quietly(network, RESCORLA_WAGNER_CONFIG, data, [1])
    assert list(equations) == [1]
    with torch.no_grad():
        logits = model(data.xs, batch_first=True)[0]
    assert logits[data.participants == 0].isnan().any() and torch.isfinite(logits[data.participants == 1]).all()


@pytest.mark.parametrize(
    ("after", "fate"), [([], "They were refitted without higher powers"), ([(0, CHOSEN)], "do not trust")]
)
def test_equations_that_diverge_on_probes_only_are_refitted_and_checked_again(agent_data, monkeypatch, after, fate):
    answers, checked = iter([[(0, CHOSEN)], after]), []

    def find(network, equations, dataset):
        checked.append(dataset.n_scored)
        return next(answers)

    monkeypatch.setattr("spice.sindy.find.find_diverging_on", find)
    network = RescorlaWagnerRNN.build(2, 1).double().eval()
    settings = {"degree": 2, "threshold": 0.0}
    equations, model, said = found_quietly(network, RESCORLA_WAGNER_CONFIG, agent_data, [0], **settings)
    assert checked == [0, 0]  # probes, before and after the refit
    assert f"{CHOSEN}^2" not in equations[0][CHOSEN].coefficients
    assert model.submodules_sindy[CHOSEN].terms == list(equations[0][CHOSEN].coefficients)
    assert sum("that grow without bound" in text and fate in text for text in said) == 1


def test_every_model_runs_over_the_data_once(agent_data, monkeypatch):
    """One pass of the network and one of the equations serve samples, divergence and loss; probes take one more."""
    passes = []
    forward = RescorlaWagnerRNN.forward

    def count(self, inputs, *args, **kwargs):
        passes.append(("equations" if len(self.submodules_sindy) else "network", inputs.shape[0]))
        return forward(self, inputs, *args, **kwargs)

    network = RescorlaWagnerRNN.build(2, 1).double().eval()
    monkeypatch.setattr(RescorlaWagnerRNN, "forward", count)
    found_quietly(network, RESCORLA_WAGNER_CONFIG, agent_data, [0])
    assert passes == [("network", 20), ("equations", 20), ("equations", 4)]

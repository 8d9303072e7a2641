"""The protocol's people, and how SPICE's and the peer's models of them are read."""

from types import SimpleNamespace

import numpy as np
import protocol_data as data
import protocol_oracle as oracle
import protocol_peer
import pytest
from protocol_compare import Found, compare, gap
from recovery_protocol import by_spice, person_nll


def test_draws_are_zero_or_above_the_threshold_and_rates_equal_or_apart():
    drawn = data.draw(2000, np.random.default_rng(0))
    for name, values in drawn.items():
        values = values / data.SCALES.get(name, 1.0)
        assert ((values == 0) | (values >= data.THRESHOLD)).all() and values.max() <= 1
        assert (values == 0).any()
    apart = np.abs(drawn["alpha_reward"] - drawn["alpha_penalty"])
    assert ((apart == 0) | (apart >= data.THRESHOLD)).all()


def test_mechanisms_need_something_to_act_on():
    drawn = {
        "beta": np.array([3.0, 3.0, 0.0, 3.0]),
        "alpha_reward": np.array([0.5, 0.0, 0.5, 0.5]),
        "alpha_penalty": np.array([0.5, 0.0, 0.9, 0.0]),
        "forgetting": np.array([0.0, 0.3, 0.3, 0.3]),
        "perseveration": np.array([1.0, 0.0, 1.0, 1.0]),
        "alpha_choice": np.array([0.5, 0.5, 0.0, 0.5]),
    }
    parameters, present = data.effective(drawn)
    assert present["reward"].tolist() == [True, False, False, True]
    assert present["forgetting"].tolist() == [False, False, False, True]
    assert present["asymmetry"].tolist() == [False, False, False, True]
    assert present["choice"].tolist() == present["slow choice"].tolist() == [True, False, False, True]
    np.testing.assert_array_equal(parameters[1], oracle.NEUTRAL)
    np.testing.assert_array_equal(parameters[2], oracle.NEUTRAL)


@pytest.fixture(scope="module")
def people():
    return data.simulate(12, seed=0)


def test_sessions_are_split_within_people(people):
    for part, blocks in ((people.train, slice(0, data.BLOCKS)), (people.fresh, slice(data.BLOCKS, None))):
        chosen = part.xs[..., :2].argmax(-1).numpy().reshape(12, data.BLOCKS, data.TRIALS)
        np.testing.assert_array_equal(chosen, people.choices[:, blocks, :-1])
        np.testing.assert_array_equal(part.participants.numpy(), np.repeat(np.arange(12), data.BLOCKS))
    few = people.part(3)
    assert len(few.train) == len(few.fresh) == 3 * data.BLOCKS and len(few.choices) == 3


def test_true_models_predict_as_the_simulated_people_chose(people):
    nll = data.mean_nll(people, people.parameters)
    uniform = data.mean_nll(people, np.tile(oracle.NEUTRAL, (12, 1)))
    np.testing.assert_allclose(uniform, np.log(2), rtol=1e-12)
    acting = np.array([people.present["reward"], people.present["choice"]]).any(0)
    assert nll[acting].mean() < np.log(2)
    best = [oracle.pick(*pair).parameters for pair in zip(people.choices[:, :4], people.rewards[:, :4], strict=True)]
    assert gap(data.mean_nll(people, np.array(best)), nll)["mean"] > 0


def test_predicted_probabilities_become_one_figure_per_person(people):
    probabilities = np.full(people.fresh.ys.shape, 0.5)
    np.testing.assert_allclose(person_nll(people.fresh, probabilities), np.log(2))


def form(unread=(), **parameters):
    inclusion = dict.fromkeys(parameters, 0.9)
    return SimpleNamespace(parameters=parameters, unread=list(unread), inclusion=inclusion)


def test_canonical_forms_are_read():
    estimator = SimpleNamespace(
        participants_=(0, 1, 2),
        canonical_={
            0: form(beta=3.0, alpha=0.4, initial_value=0.5, perseveration=0.7),
            1: form(beta=2.0, alpha_reward=0.6, alpha_penalty=0.1, forgetting=0.3, perseveration=1.0, alpha_choice=0.2),
            2: form(unread=["x_value_reward"]),
        },
    )
    found = by_spice(estimator)
    assert found.mechanisms["reward"].tolist() == [True, True, False]
    assert found.mechanisms["asymmetry"].tolist() == [False, True, False]
    assert found.unread["forgetting"].tolist() == [False, False, True]
    assert not found.unread["choice"].any()
    expected = [[3.0, 0.4, 0.4, 0.0, 0.7, 1.0], [2.0, 0.6, 0.1, 0.3, 1.0, 0.2], oracle.NEUTRAL]
    np.testing.assert_array_equal(found.parameters, expected)
    assert found.probability["slow choice"].tolist() == [0.0, 0.9, 0.0]
    assert found.probability["reward"].tolist() == [0.9, 0.9, 0.0]


def test_the_truth_itself_compares_perfectly(people):
    nothing = {name: np.zeros(12, bool) for name in people.present}
    sure = {name: values.astype(float) for name, values in people.present.items()}
    compared = compare(Found(people.present, people.parameters, nothing, sure), people)
    for entry in compared["mechanisms"].values():
        assert entry["true_positive"]["rate"] == 1
        assert entry["false_positive"]["rate"] == 0 or entry["false_positive"]["n"] == 0
    assert all(entry["all"] == pytest.approx(1) for entry in compared["parameters"].values())
    assert compared["calibration"]["brier"] == 0
    assert Found(people.present, people.parameters, nothing, sure).part(5).probability["reward"].shape == (5,)


PEER = {
    "betas": {"x_value_reward": 2.0, "x_value_choice": 1.5},
    "x_value_reward_chosen": {"1": 0.0, "x_value_reward_chosen": 0.6, "c_reward": 0.4},
    "x_value_reward_not_chosen": {"1": 0.1, "x_value_reward_not_chosen": 0.8},
    "x_value_choice_chosen": {"1": 0.7, "x_value_choice_chosen": 0.2},
    "x_value_choice_not_chosen": {"1": 0.1, "x_value_choice_not_chosen": 0.2},
}


def test_the_peers_equations_are_read():
    found = protocol_peer.mechanisms_of(PEER)
    assert found == {"reward": True, "forgetting": True, "choice": True, "slow choice": True, "asymmetry": False}
    parameters = protocol_peer.parameters_of(PEER, found)
    np.testing.assert_allclose(parameters, [2.0, 0.4, 0.4, 0.2, 1.5 * 0.6 / 0.8, 0.8])


def test_the_peers_neutral_equations_hold_no_mechanism():
    neutral = PEER | {
        "betas": {"x_value_reward": 2.0, "x_value_choice": 1.5},
        "x_value_reward_chosen": {"1": 0.2, "x_value_reward_chosen": 0.6, "c_reward": 0.0},
        "x_value_choice_chosen": PEER["x_value_choice_not_chosen"] | {"x_value_choice_chosen": 0.2},
    }
    del neutral["x_value_choice_chosen"]["x_value_choice_not_chosen"]
    found = protocol_peer.mechanisms_of(neutral)
    assert not any(found.values())
    np.testing.assert_array_equal(protocol_peer.parameters_of(neutral, found), oracle.NEUTRAL)
    keeps = PEER | {"x_value_reward_not_chosen": {"1": 0.0, "x_value_reward_not_chosen": 1.0}}
    assert not protocol_peer.mechanisms_of(keeps)["forgetting"]
    off = PEER | {"betas": {"x_value_reward": 0.0, "x_value_choice": 0.0}}
    assert not any(protocol_peer.mechanisms_of(off).values())

"""SpiceEstimator: the scikit-learn contract, what it predicts, and what it finds in known agents."""

import inspect
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils import estimator_checks

from spice.errors import ConfigError, ConvergenceWarning, DataError, FileError, SpiceWarning
from spice.estimator import SpiceConfig, SpiceEstimator
from spice.precoded import LEARNING_RATE_RNN_CONFIG, RESCORLA_WAGNER_CONFIG, LearningRateRNN, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN
from spice.training.validation import split_sessions

CHOSEN = "x_value_reward_chosen"


def make(**settings):
    return SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, **{"random_state": 0, "hidden_size": 4} | settings)


def quick(*data, **settings):
    """Fit for a few epochs without a word about convergence; equations are SINDy's unless refinement is asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make(**{"epochs": 6, "refine": False} | settings).fit(*data)


def values_by_hand(terms, xs, n_actions=2):
    """Values after each trial of a session under Rescorla-Wagner equations."""
    values, value = [], np.full(n_actions, 0.5)
    for row in np.asarray(xs, dtype=float):
        if not np.isnan(row[:n_actions]).any():
            choice = int(np.argmax(row[:n_actions]))
            reward = row[n_actions + choice]
            value = value.copy()
            value[choice] = terms.get("1", 0) + terms.get(CHOSEN, 0) * value[choice] + terms.get("c_reward", 0) * reward
        values.append(value)
    return np.array(values)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def with_labels(data, labels):
    return DatasetRNN(data.xs, data.ys, data.columns.names, {"participant": labels})


# ---------------------------------------------------------------------- the scikit-learn contract


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_mixin_order",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
    ],
)
def test_scikit_learns_own_checks(check):
    if hasattr(estimator_checks, check):
        getattr(estimator_checks, check)("SpiceEstimator", SpiceEstimator())


def test_every_parameter_and_attribute_is_documented(fitted):
    text = inspect.getdoc(SpiceEstimator)
    parameters, attributes = text.split("Attributes\n")
    named = re.findall(r"^(\w+) : ", parameters, re.MULTILINE)
    assert named == list(inspect.signature(SpiceEstimator.__init__).parameters)[1:]
    listed = {
        name.strip() for line in re.findall(r"^([\w, ]+) : ", attributes, re.MULTILINE) for name in line.split(",")
    }
    public = {name for name in vars(fitted) if not name.startswith("_")} - set(fitted.get_params())
    assert public - {"labels_"} <= listed and all(hasattr(fitted, name) for name in listed)


def test_clone_and_parameters():
    estimator = make(epochs=3, sindy_optimizer="SR3")
    twin = clone(estimator)
    assert twin is not estimator and twin.get_params().keys() == estimator.get_params().keys()
    assert twin.rnn_class is RescorlaWagnerRNN and twin.epochs == 3 and twin.sindy_optimizer == "SR3"
    assert twin.spice_config == RESCORLA_WAGNER_CONFIG
    assert twin.set_params(epochs=5).epochs == 5 and estimator.epochs == 3


def test_fit_returns_itself_and_leaves_parameters_alone(agent_data):
    estimator = make(epochs=100)
    before = estimator.get_params()
    xs, ys = agent_data.xs.clone(), agent_data.ys.clone()
    assert estimator.fit(agent_data) is estimator
    assert estimator.get_params() == before
    assert torch.equal(agent_data.xs.nan_to_num(-1), xs.nan_to_num(-1)) and torch.equal(agent_data.ys, ys)


def test_a_second_fit_starts_anew(agent_data):
    estimator = quick(agent_data[:6], refine=True)
    first = estimator.equations_
    quick_again = quick(agent_data[6:12], refine=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert estimator.fit(agent_data[6:12]).equations_ == quick_again.equations_ != first


@pytest.mark.parametrize("kind", ["dataset", "torch", "numpy"])
def test_all_kinds_of_data_give_the_same(agent_data, kind):
    data = agent_data[:6]
    given = {"dataset": (data,), "torch": (data.xs, data.ys), "numpy": (data.xs.numpy(), data.ys.numpy())}[kind]
    estimator, expected = quick(*given, refine=True), quick(data, refine=True)
    assert estimator.equations_ == expected.equations_
    np.testing.assert_array_equal(estimator.predict(given[0])[0], expected.predict(data)[0])
    assert estimator.score(*given) == expected.score(data)


def test_search_and_cross_validation(agent_data):
    data, quickest = agent_data[:8], make(epochs=3, refine=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [
            cross_val_score(quickest, *given, cv=KFold(2), error_score="raise")
            for given in ((data.xs.numpy(), data.ys.numpy()), (data.xs, data.ys), (data,))
        ]
        expected = [
            clone(quickest).fit(train).score(test) for train, test in ((data[4:], data[:4]), (data[:4], data[4:]))
        ]
        for found in scores:
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        search = GridSearchCV(quickest, {"hidden_size": [2, 3]}, cv=2, error_score="raise")
        for given in ((data.xs.numpy(), data.ys.numpy()), (data,)):
            search.fit(*given)
            assert search.best_params_["hidden_size"] in (2, 3)
            assert search.best_estimator_.predict(given[0])[0].shape == (8, 40, 2)


@pytest.mark.parametrize("method", ["predict", "score", "print_spice_model", "save_spice"])
def test_not_fitted(agent_data, method):
    arguments = [agent_data] if method in ("predict", "score") else []
    with pytest.raises(NotFittedError) as caught:
        getattr(make(), method)(*arguments)
    assert str(caught.value) == "this SpiceEstimator is not fitted yet; call fit or load_spice first."


# ---------------------------------------------------------------------- randomness and global state


def test_random_state_makes_a_fit_reproducible(agent_data):
    results = [quick(agent_data[:6], random_state=seed).history_.loss for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]
    batches = [quick(agent_data[:6], random_state=seed, batch_size=2).history_.loss for seed in (0, 0, 1)]
    assert batches[0] == batches[1] != batches[2]


def test_global_state_is_untouched(agent_data):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    filters = list(warnings.filters)
    quick(agent_data[:6], batch_size=2, refine=True)
    quick(agent_data[:6], sindy_data="off-policy")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.get_default_dtype() == torch.float32 and warnings.filters == filters


def test_without_a_random_state_torchs_seed_counts(agent_data):
    def fit(seed):
        torch.manual_seed(seed)
        return quick(agent_data[:6], random_state=None).history_.loss

    with torch.random.fork_rng():
        assert fit(1) == fit(1) != fit(2)


# ---------------------------------------------------------------------- what it knows afterwards


def test_history_and_timing(fitted):
    assert fitted.history_.converged and fitted.history_.loss[0] > min(fitted.history_.loss)
    assert set(fitted.timing_) == {"network", "sindy", "refine", "total"} and min(fitted.timing_.values()) > 0
    assert fitted.timing_["total"] == pytest.approx(sum(fitted.timing_[k] for k in ("network", "sindy", "refine")))


def test_a_known_agent_is_found(fitted, agent_data):
    """800 choices: standard errors of the best estimator are those of 10,000, sqrt(12.5) times larger."""
    found = fitted.equations_[0][CHOSEN].coefficients
    for term, truth, error in (("1", -0.3, 0.056), (CHOSEN, 0.7, 0.0095), ("c_reward", 0.9, 0.025)):
        assert abs(found[term] - truth) < 4 * error * np.sqrt(12.5)
    assert fitted.score(agent_data) > -0.56


def test_printing(fitted, fitted_people, capsys):
    fitted.print_spice_model()
    found = fitted.equations_[0][CHOSEN].coefficients
    signs = ["-" if found["1"] < 0 else "", *(" + " if found[name] > 0 else " - " for name in (CHOSEN, "c_reward"))]
    printed, _, canonical = capsys.readouterr().out.partition("\n\n")
    assert printed == (
        f"(x_value_reward_chosen)[k+1] = {signs[0]}{abs(found['1']):.2f} 1{signs[1]}{abs(found[CHOSEN]):.2f} "
        f"x_value_reward_chosen[k]{signs[2]}{abs(found['c_reward']):.2f} c_reward[k]"
    )
    rate, beta = (fitted.canonical_[0].parameters[name] for name in ("alpha", "beta"))
    assert canonical.startswith(f"Q ← Q + {rate:.2f} (r − Q)   chosen option\nlogits = {beta:.2f} Q\nβ = {beta:.2f}  [")
    assert ")[k+1] =" not in canonical
    lines = fitted_people.format_spice_model("ben").partition("\n\n")[0].split("\n")
    assert lines[0] == "participant ben (one of 3):" and len(lines) == 4
    assert lines[1].startswith(f"({CHOSEN})[k+1] = ") and re.fullmatch(
        r"beta\(x_value_reward\) = -?\d+\.\d\d", lines[3]
    )
    assert fitted_people.format_spice_model().startswith("participant anna (one of 3):")
    with pytest.raises(
        ConfigError, match=r"^there are no equations for participant 'bem' \(did you mean 'ben'\?\); there are for"
    ):
        fitted_people.print_spice_model("bem")


# ---------------------------------------------------------------------- predictions


def test_predictions_of_equations_equal_numpy(fitted, agent_data):
    _, prob_spice = fitted.predict(agent_data.xs)
    assert prob_spice.shape == (20, 40, 2) and prob_spice.dtype == np.float64
    terms = fitted.equations_[0][CHOSEN].coefficients
    for session in range(20):
        expected = softmax(values_by_hand(terms, agent_data.xs[session]))
        np.testing.assert_allclose(prob_spice[session], expected, atol=1e-12)


def test_rows_sum_to_one(fitted_people, people_data):
    for probabilities in fitted_people.predict(people_data):
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-12)


def test_the_score_follows_from_the_predictions(fitted, agent_data):
    data = agent_data[:5]
    data.ys[2, 3:9] = torch.nan
    data.xs[4, 30:, :4] = data.ys[4, 29:] = torch.nan
    _, prob = fitted.predict(data)
    scored = data.scored.numpy()
    likelihoods = (prob * data.ys.numpy()).sum(-1)[scored]
    assert fitted.score(data) == pytest.approx(np.log(likelihoods).mean(), abs=1e-12)
    assert fitted.score(data.xs, data.ys) == fitted.score(data)


def test_padding_is_nan_and_missing_trials_are_not(fitted, agent_data):
    data = agent_data[:2]
    full = fitted.predict(data)
    data.xs[0, 25:, :4] = torch.nan
    data.xs[1, 10, :4] = torch.nan
    for probabilities, before in zip(fitted.predict(data), full, strict=True):
        assert np.isnan(probabilities[0, 25:]).all()
        np.testing.assert_array_equal(probabilities[0, :25], before[0, :25])
        assert np.isfinite(probabilities[1]).all()
        np.testing.assert_array_equal(probabilities[1, 10], probabilities[1, 9])


def test_participants_have_the_users_labels(fitted_people, people_data):
    assert list(fitted_people.equations_) == list(fitted_people.participants_) == ["anna", "ben", "cleo"]
    assert fitted_people.n_participants_ == 3 and set(fitted_people.equations_["ben"]) == {
        CHOSEN,
        "x_value_reward_not_chosen",
    }


def test_a_subset_in_another_order_meets_its_own_equations(fitted_people, people_data):
    expected = fitted_people.predict(people_data)
    xs = people_data.xs[[6, 3, 7]].clone()
    xs[..., -1] = torch.tensor([0.0, 1.0, 0.0])[:, None]  # here cleo is 0 and ben is 1
    data = DatasetRNN(xs, people_data.ys[[6, 3, 7]], labels={"participant": ["cleo", "ben"]})
    for found, all_of_them in zip(fitted_people.predict(data), expected, strict=True):
        np.testing.assert_array_equal(found, all_of_them[[6, 3, 7]])
    assert data.xs[0, 0, -1] == 0  # the user's data stay as they were
    with pytest.raises(DataError, match="^the model was not fitted to participant.s. 'zoe'.$"):
        fitted_people.predict(with_labels(people_data[:3], ["zoe", "ben", "anna"]))


def test_one_participant_only(fitted_people, people_data):
    estimator = clone(fitted_people).set_params(spice_participant_id="ben")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(people_data)
    assert list(estimator.equations_) == ["ben"]
    assert estimator.equations_["ben"] == fitted_people.equations_["ben"]
    with pytest.warns(SpiceWarning) as caught:
        prob_rnn, prob_spice = estimator.predict(people_data)
    assert [str(entry.message) for entry in caught] == [
        "there are no equations for participant(s) anna, cleo: their predictions by equations are NaN."
    ]
    assert np.isfinite(prob_rnn).all() and np.isfinite(prob_spice[3:6]).all()
    assert np.isnan(prob_spice[:3]).all() and np.isnan(prob_spice[6:]).all()
    assert np.isfinite(estimator.score(people_data[3:6]))
    with pytest.raises(DataError) as caught:
        estimator.score(people_data)
    assert str(caught.value) == ("there are no equations for participant(s) anna, cleo: leave them out, or fit them.")


def test_participants_by_number(fitted_people, people_data):
    settings = {"spice_participant_id": 2, "n_participants": 5, "epochs": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator = clone(fitted_people).set_params(**settings).fit(people_data.xs, people_data.ys)
    assert list(estimator.equations_) == [2] and estimator.n_participants_ == 5


@pytest.mark.parametrize(
    ("labelled", "wanted", "message"),
    [
        (True, "bo", "there is no participant 'bo'; there are 'anna', 'ben', 'cleo'."),
        (False, 7, "spice_participant_id=7 is not among the data's participants."),
        (False, "bo", "there is no participant 'bo': the data have no labels, so give its number."),
    ],
)
def test_a_participant_who_is_not_there(people_data, labelled, wanted, message):
    given = (people_data,) if labelled else (people_data.xs, people_data.ys)
    with pytest.raises(ConfigError) as caught:
        quick(*given, spice_participant_id=wanted)
    assert str(caught.value) == message


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision(agent_data, dtype):
    estimator = make(dtype=dtype, epochs=400).fit(agent_data[:10])
    assert next(estimator.rnn_model_.parameters()).dtype == getattr(torch, dtype)
    for probabilities in estimator.predict(agent_data):
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    for agent in (estimator.rnn_agent, estimator.spice_agent):
        agent.new_sess()
        agent.update(0, np.array([1.0, np.nan]))
        assert agent.get_choice_probs().sum() == pytest.approx(1, abs=1e-6)


def test_three_options():
    agent = AgentQ(n_actions=3, alpha_reward=0.4, beta_reward=4.0)
    data, _, _ = create_dataset(agent, BanditsDrift(n_actions=3, sigma=0.2), n_trials=40, n_sessions=15, seed=2)
    data.xs[..., -1] = 0
    estimator = make().fit(data)
    probabilities = estimator.predict(data)
    assert probabilities[0].shape == (15, 40, 3) and estimator.n_actions_ == 3
    expected = softmax(values_by_hand(estimator.equations_[0][CHOSEN].coefficients, data.xs[4], 3))
    np.testing.assert_allclose(probabilities[1][4], expected, atol=1e-12)
    assert estimator.score(data) > -np.log(3) + 0.05


@pytest.mark.parametrize(
    "settings", [{"sindy_optimizer": name} for name in ("SR3", "SSR", "FROLS")] + [{"sindy_data": "off-policy"}]
)
def test_ways_to_distil(fitted, agent_data, settings):
    """The network is the same, so the equations differ by its curvature only."""
    found = make(hidden_size=8, **settings).fit(agent_data).equations_[0][CHOSEN].coefficients
    expected = fitted.equations_[0][CHOSEN].coefficients
    assert found.keys() == expected.keys()
    assert all(abs(found[term] - expected[term]) < 0.15 for term in found)


def test_mini_batches_and_dropout(agent_data):
    for settings in ({"batch_size": 5}, {"dropout": 0.1}, {"optimizer": "adam"}):
        estimator = quick(agent_data, epochs=12, learning_rate=0.02, **settings)
        assert min(estimator.history_.loss) < estimator.history_.loss[0]
    with pytest.raises(
        ConfigError, match="^optimizer='lbfgs' needs the same loss at every evaluation, but dropout is set"
    ):
        make(dropout=0.1, optimizer="lbfgs").fit(agent_data)


def test_missing_rewards_may_be_skipped(random_data):
    data = random_data(n_sessions=6, n_trials=30, unknown=0.2)
    with pytest.raises(DataError, match="use missing_reward='skip'"):
        make().fit(data)
    estimator = quick(data, missing_reward="skip", refine=True)
    assert all(np.isfinite(part).all() for part in estimator.predict(data))


def test_wide_data_with_inputs(agent_data):
    """A model without inputs reads the same from an array that has some."""
    wide = torch.cat([agent_data.xs[:6, :, :4], torch.zeros(6, 40, 1), agent_data.xs[:6, :, 4:]], dim=-1)
    data = DatasetRNN(wide, agent_data.ys[:6], ["time", "participant"])
    assert quick(data).equations_ == quick(agent_data[:6]).equations_


def test_a_model_of_the_users_own_with_a_list_of_filters(agent_data):
    settings = {
        key: getattr(RESCORLA_WAGNER_CONFIG, key) for key in ("rnn_modules", "control_parameters", "library_setup")
    }
    config = SpiceConfig(**settings, filter_setup={CHOSEN: [["c_action", 1, True], ["c_reward", 0, True]]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)  # too few epochs; and no reward in the library
        estimator = SpiceEstimator(RescorlaWagnerRNN, config, epochs=12, random_state=0).fit(agent_data)
    assert "c_reward" not in estimator.equations_[0][CHOSEN].coefficients


def test_columns_are_matched_by_name(agent_data):
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 40, 2))).float()
    parts = [agent_data.xs[:6, :, :4], noise, agent_data.xs[:6, :, 4:]]
    data = DatasetRNN(torch.cat(parts, dim=-1), agent_data.ys[:6], ["effort", "age", "participant"])
    swapped = DatasetRNN(data.xs[..., [0, 1, 2, 3, 5, 4, 6]], data.ys, ["age", "effort", "participant"])
    estimator = quick(data)
    assert all(np.array_equal(*both) for both in zip(estimator.predict(data), estimator.predict(swapped), strict=True))
    other = DatasetRNN(data.xs, data.ys, ["rt", "age", "participant"])
    with pytest.raises(DataError, match="^the data's inputs are rt, age, the model was fitted to effort, age.$"):
        estimator.predict(other)


def test_options_keep_their_labels(agent_data):
    def labelled(choices):
        return DatasetRNN(agent_data.xs[:6], agent_data.ys[:6], labels={"choice": choices, "participant": ["anna"]})

    estimator = quick(labelled(["left", "right"]))
    with pytest.raises(
        DataError, match=r"labels of 'choice' are \['right', 'left'\], .*convert with choices=\['left',"
    ):
        estimator.predict(labelled(["right", "left"]))


def test_a_model_without_embedding_serves_new_participants(agent_data):
    several = agent_data[:6]
    several.xs[..., -1] = torch.arange(6.0)[:, None]
    with pytest.warns(SpiceWarning, match="has no participant embedding"):
        estimator = quick(several, refine=True)
    assert list(estimator.equations_) == [0, 1, 2, 3, 4, 5]
    new = agent_data[6:8]
    new.xs[..., -1] = 40
    assert np.isfinite(estimator.score(new))
    estimator.spice_agent.new_sess(3, participants=np.array([7, 8, 9]))


def test_equations_that_cannot_follow_the_network_are_reported(agent_data):
    settings = {key: getattr(RESCORLA_WAGNER_CONFIG, key) for key in ("rnn_modules", "control_parameters")}
    config = SpiceConfig(
        **settings, library_setup={CHOSEN: ["c_reward"]}, filter_setup={CHOSEN: [["c_reward", 0, True]]}
    )
    with pytest.warns(SpiceWarning, match="the equations predict the data worse than the network"):
        SpiceEstimator(RescorlaWagnerRNN, config, random_state=0).fit(agent_data)


def test_attributes_of_a_fit_before_it():
    with pytest.raises(NotFittedError, match="^there is no equations_ yet; call fit or load_spice first.$"):
        _ = SpiceEstimator().equations_


# ---------------------------------------------------------------------- starts, held-out sessions, checkpoints


def same_network(one, other):
    pairs = zip(one.rnn_model_.parameters(), other.rnn_model_.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def network_loss(estimator, data):
    """Mean negative log-likelihood of the network's predictions."""
    predicted = np.log((estimator.predict(data)[0] * data.ys.numpy()).sum(-1))
    return -predicted[~data.ys.isnan().any(-1).numpy()].mean()


def test_several_starts(agent_data):
    data, settings = agent_data[:6], {"weight_decay": 0.0, "nonlinearity_decay": 0.0, "random_state": 1}
    one, three = (quick(data, n_starts=n_starts, **settings) for n_starts in (1, 3))
    assert len(one.history_.start_losses) == 1 and len(three.history_.start_losses) == 3
    assert len(set(three.history_.start_losses)) == 3  # with parameters of their own
    assert three.history_.start_losses[0] == pytest.approx(one.history_.start_losses[0], abs=1e-6)
    assert network_loss(three, data) == pytest.approx(min(three.history_.start_losses), abs=1e-6)
    assert min(three.history_.start_losses) < one.history_.start_losses[0]
    again = quick(data, n_starts=3, **settings)
    assert same_network(three, again) and again.equations_ == three.equations_


def test_held_out_sessions(agent_data):
    data = agent_data[:8]
    estimator = quick(data, validation_fraction=0.25)
    looks = estimator.history_.validation_loss
    assert looks and quick(data).history_.validation_loss == []
    held_out = split_sessions(data, 0.25)[1]
    assert network_loss(estimator, held_out) == pytest.approx(min(looks), abs=1e-6)


def test_callbacks(agent_data):
    epochs = []
    estimator = quick(agent_data[:4], callbacks=[epochs.append])
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert [epoch.loss for epoch in epochs] == estimator.history_.loss
    stopped = quick(agent_data[:4], callbacks=(lambda epoch: epoch.number == 2,))
    assert stopped.history_.loss == estimator.history_.loss[:2] and stopped.equations_
    twin = clone(make(callbacks=[print]))
    assert twin.callbacks == [print]


@pytest.mark.parametrize(
    "settings",
    [{}, {"n_starts": 3}, {"optimizer": "adam"}, {"batch_size": 2}, {"dropout": 0.2}, {"validation_fraction": 0.3}],
    ids=str,
)
def test_a_fit_that_is_stopped_goes_on_from_its_checkpoint(agent_data, tmp_path, settings):
    data, path = agent_data[:6], tmp_path / "fit.spice"
    whole = quick(data, **settings)
    quick(data, checkpoint=path, callbacks=[lambda epoch: epoch.number == 3], **settings)
    assert path.exists()
    resumed = quick(data, checkpoint=str(path), **settings)
    assert resumed.history_.loss == whole.history_.loss
    assert same_network(resumed, whole) and resumed.equations_ == whole.equations_


def test_a_checkpoint_needs_no_random_state(agent_data, tmp_path):
    """Points instead of rewards: the scales of inputs follow from the start, and another start is drawn later."""
    data, path = agent_data[:6], tmp_path / "fit.spice"
    data.xs[..., 2:4] *= 100

    def fit(seed, **settings):
        torch.manual_seed(seed)
        estimator = SpiceEstimator(LearningRateRNN, LEARNING_RATE_RNN_CONFIG, hidden_size=3, epochs=6, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few epochs do not converge, and equations do not fit
            return estimator.fit(data)

    with torch.random.fork_rng():
        whole = fit(1)
        fit(1, checkpoint=path, callbacks=[lambda epoch: epoch.number == 3])
        resumed = fit(2, checkpoint=path)
    assert resumed.history_.loss == whole.history_.loss and same_network(resumed, whole)
    np.testing.assert_array_equal(resumed.predict(data)[0], whole.predict(data)[0])


def test_an_interrupted_fit_goes_on_from_its_checkpoint(agent_data, tmp_path):
    def interrupt(epoch):
        if epoch.number == 4:
            raise KeyboardInterrupt

    data, path = agent_data[:6], tmp_path / "fit.spice"
    with pytest.warns(SpiceWarning, match="^the fit was interrupted after 4 epochs; the best parameters so far"):
        stopped = make(epochs=6, checkpoint=path, callbacks=[interrupt]).fit(data)
    assert stopped.equations_ and stopped.predict(data)[0].shape == (6, 40, 2)
    assert same_network(quick(data, checkpoint=path), quick(data))


def test_a_checkpoint_of_other_data_or_settings(agent_data, tmp_path):
    path = tmp_path / "fit.spice"
    quick(agent_data[:6], checkpoint=path)
    for n_sessions, settings in ((5, {}), (6, {"hidden_size": 3}), (6, {"n_starts": 2})):
        with pytest.raises(FileError, match="is the checkpoint of another fit"):
            quick(agent_data[:n_sessions], checkpoint=path, **settings)


def test_a_converged_fit_leaves_no_checkpoint_and_files_hold_no_settings(agent_data, tmp_path):
    estimator = make(checkpoint=tmp_path / "fit.spice", callbacks=[lambda epoch: None], epochs=500).fit(agent_data[:6])
    assert estimator.history_.converged and not any(tmp_path.iterdir())
    estimator.save_spice(tmp_path / "network", tmp_path / "equations")
    loaded = make().load_spice(tmp_path / "network", tmp_path / "equations")
    for one, other in zip(loaded.predict(agent_data), estimator.predict(agent_data), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_starts": 0}, "n_starts must be a whole number of at least 1, not 0."),
        ({"n_starts": 1.5}, "n_starts must be a whole number of at least 1, not 1.5."),
        ({"validation_fraction": 1.0}, "validation_fraction must lie in [0, 1), not 1.0."),
        ({"validation_fraction": -0.1}, "validation_fraction must lie in [0, 1), not -0.1."),
        ({"validation_fraction": "half"}, "validation_fraction must lie in [0, 1), not 'half'."),
        ({"callbacks": [3]}, "callbacks must be a list of functions that take an epoch."),
        ({"callbacks": print}, "callbacks must be a list of functions that take an epoch."),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(agent_data, settings, message):
    with pytest.raises(ConfigError) as caught:
        make(**settings).fit(agent_data[:2])
    assert str(caught.value) == f"SpiceEstimator cannot be used: {message}"


def test_a_checkpoint_that_is_no_path(agent_data):
    with pytest.raises(ConfigError, match="checkpoint"):
        make(checkpoint=5).fit(agent_data[:2])


def test_a_checkpoint_in_a_folder_that_is_not_there(agent_data, tmp_path):
    epochs = []
    with pytest.raises((FileError, FileNotFoundError), match="folder"):
        quick(agent_data[:4], checkpoint=tmp_path / "gone" / "fit.spice", callbacks=[epochs.append])
    assert not epochs


def test_starts_in_single_precision(agent_data):
    """The same networks to the digits that single precision has."""
    data = agent_data[:6]
    double, single = (quick(data, n_starts=2, dtype=dtype) for dtype in ("float64", "float32"))
    assert single.history_.loss == pytest.approx(double.history_.loss, abs=1e-3)
    assert single.history_.start_losses == pytest.approx(double.history_.start_losses, abs=1e-3)

"""Bad input gets a clear error: every item of the list, as the user meets it, by its full text."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError, ModuleOutputError, SpiceError, SpiceWarning, StabilityWarning
from spice.estimator import SpiceEstimator
from spice.precoded import (
    FORGETTING_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    ForgettingRNN,
    RescorlaWagnerRNN,
)
from spice.resources.dataset import DatasetRNN

CHOSEN = "x_value_reward_chosen"
NAN = float("nan")


def make(model_class=RescorlaWagnerRNN, config=RESCORLA_WAGNER_CONFIG, **settings):
    return SpiceEstimator(model_class, config, **{"hidden_size": 3, "epochs": 5, "random_state": 0} | settings)


def arrays(n_actions=2, further=0, n_sessions=4, n_trials=30):
    rng = np.random.default_rng(0)
    one_hot = np.eye(n_actions)[rng.integers(n_actions, size=(n_sessions, n_trials + 1))]
    reward = np.where(one_hot == 1, rng.integers(0, 2, (n_sessions, n_trials + 1, 1)), np.nan)
    inputs = rng.normal(size=(n_sessions, n_trials + 1, further))
    person = np.zeros((n_sessions, n_trials + 1, 1))
    return np.concatenate([one_hot, reward, inputs, person], axis=2)[:, :-1], one_hot[:, 1:]


def refusal(*data, kind=DataError, **settings):
    with pytest.raises(kind) as caught:
        make(**settings).fit(*data)
    assert isinstance(caught.value, SpiceError)
    assert isinstance(caught.value, ValueError) or kind is ModuleOutputError
    return str(caught.value)


# ---------------------------------------------------------------------- data


def test_inputs_that_are_not_finite():
    xs, ys = arrays(further=1)
    for value in (np.nan, np.inf):
        xs[2, 7, 4] = value
        assert refusal(DatasetRNN(xs, ys, ["effort", "participant"])) == (
            "The data cannot be used: the column 'effort' is NaN or infinite in session 2, trial 7; fill it in, or "
            "mark the trial as missing (NaN in its choice columns)."
        )


def test_infinite_rewards():
    xs, ys = arrays()
    xs[1, 3, 2] = np.inf
    assert refusal(xs, ys) == (
        "The data cannot be used: reward_0 is infinite in session 1, trial 3; correct it, or set it to NaN if "
        "unobserved."
    )


def test_a_wrong_number_of_columns():
    xs, ys = arrays(further=2)
    assert refusal(xs, ys, kind=ConfigError) == (
        "xs has 7 columns, but 2 actions need 2 * 2 + 1 = 5 (one-hot choice, reward per action, participant). If there "
        "are further columns, name them: DatasetRNN(xs, ys, columns=[..., 'block', 'experiment', 'participant'])."
    )
    assert refusal(xs[..., 0], ys) == (
        "xs must have three dimensions (n_sessions, n_trials, n_features), but has shape (4, 30)."
    )


def test_a_wrong_number_of_actions():
    xs, ys = arrays(n_actions=3)
    assert refusal(xs, ys[..., :2], kind=ConfigError) == (
        "xs has 7 columns, but 2 actions need 2 * 2 + 1 = 5 (one-hot choice, reward per action, participant). If there "
        "are further columns, name them: DatasetRNN(xs, ys, columns=[..., 'block', 'experiment', 'participant'])."
    )
    assert refusal(xs, ys, n_actions=2) == "the data have 3 actions, but n_actions=2."
    assert refusal(xs, ys[..., :1]) == "ys has 1 action column(s); a choice needs at least two (one-hot)."
    two = arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator = make().fit(*two)
    with pytest.raises(DataError, match="does not fit these data: the data have 3 actions, the model has 2.$"):
        estimator.score(xs, ys)


def test_choices_that_are_not_one_hot():
    xs, ys = arrays()
    xs[3, 4, :4] = [1, 1, 0, 0]
    assert refusal(xs, ys) == (
        "The data cannot be used: the choice columns of xs must be one-hot, but session 3, trial 4 has [1.0, 1.0]; use "
        "one column per action with a single 1, np.eye(n_actions)[choice], and NaN in all of them where the trial is "
        "missing."
    )
    xs, ys = arrays()
    ys[0, 2] = [0.5, 0.5]
    assert refusal(xs, ys) == (
        "The data cannot be used: ys must be one-hot, but session 0, trial 2 has [0.5, 0.5]; use one "
        "column per action with a single 1, np.eye(n_actions)[choice], and NaN in all of them where the trial is "
        "missing."
    )


def test_arrays_of_different_lengths():
    xs, ys = arrays()
    assert refusal(xs, ys[:, :-1]) == (
        "xs has 4 sessions of 30 trials, ys has 4 of 29: row t of ys is the choice that follows row t of xs, so both "
        "need the same shape."
    )


def test_empty_data():
    xs, ys = arrays()
    assert refusal(xs[:0], ys[:0]) == "the data are empty: 0 sessions of 30 trials."
    assert refusal(xs, np.full_like(ys, np.nan)) == "there is no choice to fit: ys are all missing."
    assert refusal(xs) == "ys is missing: give the one-hot choice of the following trial, or a DatasetRNN."


def test_participants_that_are_negative_or_too_many():
    xs, ys = arrays()
    xs[2, :, -1] = -1
    assert refusal(xs, ys) == (
        "The data cannot be used: the participant of session 2 is -1; number participants 0, 1, 2, ..."
    )
    xs[2, :, -1] = 3
    assert refusal(xs, ys, n_participants=3) == (
        "The data cannot be used: the participant of session 2 is 3, but n_participants=3 allows 0 to 2; raise "
        "n_participants, or leave it out."
    )


def test_unobserved_rewards_coded_minus_one():
    xs, ys = arrays()
    xs[..., 2:4] = np.nan_to_num(xs[..., 2:4], nan=-1)
    assert refusal(xs, ys) == (
        "The data cannot be used: every reward of an option not chosen is -1 and no reward of a chosen one is: "
        "unobserved rewards are coded NaN here, not -1. Set them with rewards[rewards == -1] = np.nan."
    )


def test_a_missing_reward_of_the_chosen_option():
    xs, ys = arrays()
    choice = int(xs[1, 6, 1])
    xs[1, 6, 2:4] = np.nan
    assert refusal(xs, ys) == (
        f"The data cannot be used: reward_{choice} is missing (NaN) in session 1, trial 6 although option {choice} was "
        "chosen; fill it in, or use missing_reward='skip' (the choice is scored, the outcome updates nothing)."
    )


def test_several_problems_at_once():
    xs, ys = arrays()
    xs[0, 0, :4], ys[1, 1], xs[2, :, -1] = [0, 0, np.nan, np.nan], [0, 0], -1
    lines = refusal(xs, ys).split("\n")
    assert lines[0] == "The data cannot be used:" and len(lines) == 4
    assert [line[:13] for line in lines[1:]] == ["  - the choic", "  - ys must b", "  - the parti"]


def test_one_session_cannot_be_cross_validated():
    xs, ys = arrays()
    assert refusal(xs[:1], ys[:1], criterion="cv", refine=True) == (
        "criterion='cv' holds out whole sessions, but participant 0 has one session only: choose another criterion, or "
        "tell the sessions (blocks) apart in the data."
    )


def test_text_instead_of_numbers():
    assert refusal([[["a"]]], [[[1, 0]]]).startswith("xs must be an array of numbers: ")


# ---------------------------------------------------------------------- configurations


def test_names_that_match_no_module(agent_data, config):
    name = "x_value_reward_choosen"
    wrong = config(rnn_modules=[name], library_setup={name: ["c_reward"]}, filter_setup={})
    assert refusal(agent_data, kind=ConfigError, config=wrong) == (
        "spice_config does not fit the model:\n"
        "  - rnn_modules names 'x_value_reward_choosen', which is no module of RescorlaWagnerRNN "
        "(x_value_reward_chosen) (did you mean 'x_value_reward_chosen'?).\n"
        "  - the module 'x_value_reward_chosen' of RescorlaWagnerRNN is missing in rnn_modules."
    )
    assert refusal(agent_data, kind=ConfigError, model_class=ForgettingRNN) == (
        "spice_config does not fit the model: the module 'x_value_reward_not_chosen' of ForgettingRNN is missing in "
        "rnn_modules."
    )
    assert "'x_value_reward_not_chosen', which is no module of RescorlaWagnerRNN" in refusal(
        agent_data, kind=ConfigError, config=FORGETTING_RNN_CONFIG
    )


def test_names_that_match_no_signal(agent_data, config):
    with pytest.raises(ConfigError) as caught:
        config(library_setup={CHOSEN: ["c_rewad"]})
    assert str(caught.value) == (
        "SpiceConfig does not fit together: library_setup of 'x_value_reward_chosen' names the signal 'c_rewad', which "
        "is not in control_parameters (c_action, c_reward) (did you mean 'c_reward'?)."
    )
    wrong = config(control_parameters=["c_action", "c_money"], library_setup={CHOSEN: ["c_money"]})
    assert refusal(agent_data, kind=ConfigError, config=wrong) == (
        "the signal 'c_money' is never recorded: call self.record_signal('c_money', ...) in forward, or correct the "
        "configuration (recorded: c_action, c_reward, x_value_reward, c_value_reward)."
    )


def test_names_that_match_no_filter(agent_data, config):
    with pytest.raises(ConfigError) as caught:
        config(filter_setup={CHOSEN: ["c_acton", 1, True]})
    assert str(caught.value) == (
        "SpiceConfig does not fit together: filter_setup of 'x_value_reward_chosen' names the signal 'c_acton', which "
        "is not in control_parameters (c_action, c_reward) (did you mean 'c_action'?)."
    )


def test_a_filter_that_leaves_no_samples(agent_data, config):
    wrong = config(filter_setup={CHOSEN: [["c_action", 1, True], ["c_reward", 7, False]]})
    assert refusal(agent_data, config=wrong) == (
        "the filter of the module 'x_value_reward_chosen' (c_action == 1, c_reward == 7) leaves no samples: no trial "
        "in the data fulfils it. Correct filter_setup, or leave the module out."
    )


def test_a_wrong_configuration_shows_before_the_fit(agent_data, config):
    wrong = config(filter_setup={CHOSEN: ["c_action", 5, True]})
    estimator = make(config=wrong, epochs=10**6, optimizer="adam")  # would take hours
    with pytest.raises(DataError, match="leaves no samples"):
        estimator.fit(agent_data)


def test_unknown_optimizers(agent_data):
    assert refusal(agent_data, kind=ConfigError, optimizer="adma") == (
        "optimizer='adma' is unknown (did you mean 'adam'?); choose one of auto, lbfgs, adam."
    )
    assert refusal(agent_data, kind=ConfigError, sindy_optimizer="stlsq") == (
        "sindy_optimizer='stlsq' is unknown; choose one of STLSQ, SR3, SSR, FROLS, or give a pysindy optimizer."
    )


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"rnn_class": "RescorlaWagnerRNN"},
            "rnn_class must be a subclass of BaseRNN, e.g. spice.precoded.RescorlaWagnerRNN.",
        ),
        ({"rnn_class": dict}, "rnn_class must be a subclass of BaseRNN, e.g. spice.precoded.RescorlaWagnerRNN."),
        ({"spice_config": None}, "spice_config must be a SpiceConfig, e.g. spice.precoded.RESCORLA_WAGNER_CONFIG."),
        ({"refine": "yes"}, "refine must be True or False, not 'yes'."),
        ({"spice_config": {}}, "spice_config must be a SpiceConfig, e.g. spice.precoded.RESCORLA_WAGNER_CONFIG."),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0."),
        ({"epochs": None}, "epochs must be a whole number of at least 1, not None."),
        ({"hidden_size": 2.5}, "hidden_size must be a whole number of at least 1, not 2.5."),
        ({"batch_size": -1}, "batch_size must be a whole number of at least 1, not -1."),
        ({"learning_rate": -0.1}, "learning_rate must be a number of at least 0, not -0.1."),
        ({"sindy_threshold": NAN}, "sindy_threshold must be a number of at least 0, not nan."),
        ({"dropout": 1.0}, "dropout must lie in [0, 1), not 1.0."),
        ({"dtype": "float16"}, "dtype='float16' is unknown; choose one of float64, float32."),
        ({"sindy_data": "both"}, "sindy_data='both' is unknown; choose one of on-policy, off-policy."),
        ({"missing_reward": "drop"}, "missing_reward='drop' is unknown; choose one of error, skip."),
        ({"estimation": "bayes"}, "estimation='bayes' is unknown; choose one of map, mle."),
    ],
)
def test_settings(agent_data, settings, problem):
    with pytest.raises(ConfigError) as caught:
        make().set_params(**settings).fit(agent_data)
    assert str(caught.value) == f"SpiceEstimator cannot be used: {problem}"


# ---------------------------------------------------------------------- modules that misbehave


class Fixed(torch.nn.Module):
    """A module with one trainable constant and a fixed rest."""

    def __init__(self, rest):
        super().__init__()
        self.constant = torch.nn.Parameter(torch.zeros(()))
        self.rest = rest

    def forward(self, value, inputs, embedding=None, participant=None):
        return self.constant + self.rest(value, inputs[..., 0])


class Diverging(RescorlaWagnerRNN):
    """Divides by zero at its first reward."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.submodules_rnn[CHOSEN] = Fixed(lambda value, reward: value / (1 - reward))


class Growing(RescorlaWagnerRNN):
    """Grows by a fifth with every choice."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.submodules_rnn[CHOSEN] = Fixed(lambda value, reward: 1.2 * value + 0.1 * reward)


def test_a_module_that_returns_no_number():
    xs, ys = arrays()
    xs[..., 2:4] = np.where(np.isnan(xs[..., 2:4]), np.nan, 0)
    xs[1, 4, 2:4] = xs[1, 4, :2]
    xs[1, 4, 2:4][xs[1, 4, :2] == 0] = np.nan
    assert refusal(xs, ys, kind=ModuleOutputError, model_class=Diverging) == (
        f"the module 'x_value_reward_chosen' returned inf in session 1, trial 4, action {int(xs[1, 4, 1])}. Lower "
        "learning_rate, or check the model's own formulas (division by zero, exp of a large number)."
    )


def test_equations_that_grow_without_bound():
    xs, ys = arrays()
    data = DatasetRNN(xs, ys, labels={"participant": ["anna"]})
    with pytest.warns(StabilityWarning) as caught:
        estimator = make(Growing, epochs=200, refine=False).fit(data)
    messages = [str(entry.message) for entry in caught if entry.category is StabilityWarning]
    assert messages == [
        "equations that grow without bound over a session: participant 'anna', module 'x_value_reward_chosen', "
        "multiplier 1.20. They were refitted with the multiplier held within [-1, 1]; compare their predictions with "
        "the network's, and fit more data or a smaller hidden_size if they differ."
    ]
    assert abs(estimator.equations_["anna"][CHOSEN].multiplier()) <= 1 + 1e-6


# ---------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_an_interrupted_fit_is_usable(agent_data, tmp_path, optimizer):
    class Interrupted(RescorlaWagnerRNN):
        passes = 0

        def forward(self, *args, **kwargs):
            if self.training and torch.is_grad_enabled():
                self.passes += 1
                if self.passes == 9:
                    raise KeyboardInterrupt
            return super().forward(*args, **kwargs)

    estimator = make(Interrupted, optimizer=optimizer, epochs=500)
    with pytest.warns(SpiceWarning) as caught:
        assert estimator.fit(agent_data) is estimator
    assert [str(entry.message) for entry in caught] == [
        "the fit was interrupted after 8 epochs; the best parameters so far are kept."
    ]
    assert len(estimator.history_.loss) == 8 and estimator.history_.reason == "interrupted"
    prob_rnn, prob_spice = estimator.predict(agent_data)
    nll = -np.log((prob_rnn * agent_data.ys.numpy()).sum(-1)).mean()
    assert nll <= min(estimator.history_.loss)  # which holds the prior's penalty too
    assert np.isfinite(prob_spice).all() and np.isfinite(estimator.score(agent_data))
    estimator.save_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    estimator.spice_agent.new_sess()
    assert estimator.format_spice_model().startswith("(x_value_reward_chosen)[k+1] = ")


def test_a_refused_fit_leaves_the_earlier_one(agent_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator = make().fit(agent_data)
    expected = estimator.predict(agent_data)
    xs, ys = arrays(n_actions=3)
    xs[0, 0, :3] = 0
    with pytest.raises(DataError):
        estimator.fit(xs, ys)
    for found, before in zip(estimator.predict(agent_data), expected, strict=True):
        np.testing.assert_array_equal(found, before)

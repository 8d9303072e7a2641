"""Saving and loading: equal predictions afterwards, and nothing but the right file is taken."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from spice.errors import ConfigError, ConvergenceWarning, FileError, SpiceWarning
from spice.estimator import SpiceConfig, SpiceEstimator
from spice.precoded import (
    CHOICE_CONFIG,
    FORGETTING_RNN_CONFIG,
    PARTICIPANT_EMBEDDING_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    ChoiceRNN,
    ForgettingRNN,
    ParticipantEmbeddingRNN,
    RescorlaWagnerRNN,
)
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

CHOSEN = "x_value_reward_chosen"


class CustomRNN(BaseRNN):
    """The tutorial's model: another class with the same parameters."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn[CHOSEN] = self.setup_module(input_size=1)

    def forward(self, inputs, prev_state=None, batch_first=False):
        (actions, rewards, _, _), _, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            chosen = self.call_module(CHOSEN, "x_value_reward", action=action, inputs=reward)
            self.state["x_value_reward"] = chosen + self.state["x_value_reward"] * (1 - action)
            logits[timestep] = self.state["x_value_reward"]
        return self.post_forward_pass(logits, batch_first), self.get_state()


@pytest.fixture
def paths(fitted, tmp_path):
    paths = {"path_rnn": tmp_path / "rnn_model.pkl", "path_spice": tmp_path / "spice_model.pkl"}
    fitted.save_spice(**paths)
    return paths


def make(model_class=RescorlaWagnerRNN, config=RESCORLA_WAGNER_CONFIG, **settings):
    return SpiceEstimator(model_class, config, **settings)


def refusal(estimator, **paths):
    with pytest.raises(FileError) as caught:
        estimator.load_spice(**paths)
    return str(caught.value)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------- round trips


def test_round_trip(fitted, agent_data, paths):
    loaded = make()
    assert loaded.load_spice(**paths) is loaded
    assert_equal(loaded.predict(agent_data.xs), fitted.predict(agent_data.xs))
    assert loaded.equations_ == fitted.equations_ and loaded.score(agent_data) == fitted.score(agent_data)
    assert loaded.format_spice_model() == fitted.format_spice_model()
    for name in ("rnn_agent", "spice_agent"):
        agents = [getattr(estimator, name) for estimator in (loaded, fitted)]
        for agent in agents:
            agent.new_sess()
            agent.update(1, np.array([np.nan, 1.0]))
        np.testing.assert_array_equal(agents[0].get_choice_probs(), agents[1].get_choice_probs())


def test_one_half(fitted, agent_data, paths):
    prob_rnn, prob_spice = fitted.predict(agent_data)
    network = make().load_spice(path_rnn=paths["path_rnn"])
    found = network.predict(agent_data)
    np.testing.assert_array_equal(found[0], prob_rnn)
    assert found[1] is None and not hasattr(network, "equations_")
    equations = make().load_spice(path_spice=paths["path_spice"])
    found = equations.predict(agent_data)
    np.testing.assert_array_equal(found[1], prob_spice)
    assert found[0] is None and equations.score(agent_data) == fitted.score(agent_data)
    network.load_spice(path_spice=paths["path_spice"])  # what was loaded before is forgotten
    assert network.predict(agent_data)[0] is None


def test_labels_and_embeddings(fitted_people, people_data, tmp_path):
    paths = {"path_rnn": tmp_path / "a.pkl", "path_spice": tmp_path / "b.pkl"}
    fitted_people.save_spice(**paths)
    settings = {"hidden_size": 3, "embedding_size": 2}
    loaded = make(ParticipantEmbeddingRNN, PARTICIPANT_EMBEDDING_RNN_CONFIG, **settings).load_spice(**paths)
    assert_equal(loaded.predict(people_data), fitted_people.predict(people_data))
    assert list(loaded.equations_) == ["anna", "ben", "cleo"]
    assert loaded.format_spice_model("cleo") == fitted_people.format_spice_model("cleo")
    only = make(ParticipantEmbeddingRNN, PARTICIPANT_EMBEDDING_RNN_CONFIG, embedding_size=2, hidden_size=7)
    only.load_spice(path_spice=paths["path_spice"])  # equations do not care about hidden units
    np.testing.assert_array_equal(only.predict(people_data)[1], fitted_people.predict(people_data)[1])


def test_numbers_and_labels_of_numpy(people_data, tmp_path):
    data = DatasetRNN(people_data.xs, people_data.ys, labels={"participant": np.array([7, 3, 5])})
    estimator = make(
        ParticipantEmbeddingRNN,
        PARTICIPANT_EMBEDDING_RNN_CONFIG,
        n_participants=np.int64(3),
        embedding_size=np.int64(2),
        hidden_size=np.int64(2),
        epochs=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        estimator.fit(data)
    estimator.save_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    loaded = clone(estimator).load_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    assert list(loaded.equations_) == [7, 3, 5]
    assert_equal(loaded.predict(data), estimator.predict(data))


def test_precision_and_wide_data(agent_data, tmp_path):
    wide = torch.cat([agent_data.xs[:6, :, :4], torch.zeros(6, 40, 1), agent_data.xs[:6, :, 4:]], dim=-1)
    data = DatasetRNN(wide, agent_data.ys[:6], ["time", "participant"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = make(dtype="float32", epochs=6, random_state=0).fit(data)
    estimator.save_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    loaded = make(dtype="float32").load_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    assert_equal(loaded.predict(data), estimator.predict(data))
    assert loaded.rnn_model_.columns == data.columns


def test_the_tutorials_other_class_is_taken_silently(fitted, agent_data, paths):
    config = SpiceConfig(
        rnn_modules=[CHOSEN],
        control_parameters=["c_action", "c_reward"],
        library_setup={CHOSEN: ["c_reward"]},
        filter_setup={CHOSEN: [["c_action", 1, True]]},
    )
    loaded = make(CustomRNN, config).load_spice(**paths)  # a warning would be an error
    assert isinstance(loaded.rnn_model_, CustomRNN)
    assert_equal(loaded.predict(agent_data), fitted.predict(agent_data))


# ---------------------------------------------------------------------- files that are not taken


def test_nothing_to_save_or_load(fitted, paths):
    with pytest.raises(ConfigError, match="^save_spice needs path_rnn, path_spice, or both.$"):
        fitted.save_spice()
    with pytest.raises(ConfigError, match="^load_spice needs path_rnn, path_spice, or both.$"):
        make().load_spice()
    with pytest.raises(FileNotFoundError):
        make().load_spice(path_rnn=paths["path_rnn"].with_name("none.pkl"))
    half = make().load_spice(path_rnn=paths["path_rnn"])
    with pytest.raises(
        ConfigError, match="^there are no equations to save: only a network was loaded; leave path_spice out.$"
    ):
        half.save_spice(path_spice=paths["path_spice"])
    half = make().load_spice(path_spice=paths["path_spice"])
    with pytest.raises(
        ConfigError, match="^there is no network to save: only equations were loaded; leave path_rnn out.$"
    ):
        half.save_spice(path_rnn=paths["path_rnn"])


def test_swapped_paths(paths):
    assert refusal(make(), path_rnn=paths["path_spice"], path_spice=paths["path_rnn"]) == (
        f"{paths['path_spice']} holds a 'spice' file, not a 'rnn' file; were path_rnn and path_spice swapped?"
    )


def test_another_hidden_size(paths):
    message = refusal(make(hidden_size=5), path_rnn=paths["path_rnn"])
    lines = message.split("\n")
    assert lines[0] == f"{paths['path_rnn']} belongs to another model:"
    assert (
        "  - its parameter 'submodules_rnn.x_value_reward_chosen.hidden.weight' has shape (8, 2), that of this model "
        "(5, 2) (set hidden_size and embedding_size as in the file)."
    ) in lines


@pytest.mark.parametrize("path", ["path_rnn", "path_spice"])
def test_other_modules(paths, path):
    name = paths[path]
    assert refusal(make(ForgettingRNN, FORGETTING_RNN_CONFIG), **{path: name}) == (
        f"{name} belongs to another model (RescorlaWagnerRNN): its modules are x_value_reward_chosen; this estimator's "
        "are x_value_reward_chosen, x_value_reward_not_chosen."
    )


@pytest.mark.parametrize("path", ["path_rnn", "path_spice"])
def test_other_signals(paths, path):
    config = SpiceConfig(
        rnn_modules=[CHOSEN], control_parameters=["c_action", "c_money"], library_setup={CHOSEN: ["c_money"]}
    )
    assert refusal(make(config=config), **{path: paths[path]}) == (
        f"{paths[path]} belongs to another model (RescorlaWagnerRNN):\n"
        "  - its control signals are c_action, c_reward; this estimator's are c_action, c_money.\n"
        "  - its module 'x_value_reward_chosen' reads ['c_reward']; this estimator's reads ['c_money']."
    )


@pytest.mark.parametrize("path", ["path_rnn", "path_spice"])
def test_another_number_of_actions(paths, path):
    assert refusal(make(n_actions=3), **{path: paths[path]}) == (
        f"{paths[path]} belongs to another model (RescorlaWagnerRNN): its n_actions is 2; this estimator's is 3."
    )


def test_other_parameters(fitted_people, tmp_path):
    fitted_people.save_spice(path_spice=tmp_path / "b.pkl")
    message = refusal(make(ForgettingRNN, FORGETTING_RNN_CONFIG), path_spice=tmp_path / "b.pkl")
    assert message.startswith(f"{tmp_path / 'b.pkl'} belongs to another model:\n")
    assert "  - its parameter 'participant_embedding.weight' does not exist in ForgettingRNN." in message.split("\n")
    message = refusal(make(ChoiceRNN, CHOICE_CONFIG), path_spice=tmp_path / "b.pkl")
    assert "(ParticipantEmbeddingRNN): its modules are " in message


def test_files_of_two_fits(fitted, agent_data, paths, tmp_path):
    data = DatasetRNN(agent_data.xs[:4], agent_data.ys[:4], labels={"participant": ["zoe"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        other = make(epochs=4).fit(data)
    other.save_spice(path_spice=tmp_path / "zoe.pkl")
    assert refusal(make(), path_rnn=paths["path_rnn"], path_spice=tmp_path / "zoe.pkl") == (
        "path_rnn and path_spice are of different fits: their actions or participants differ."
    )
    other.load_spice(**paths)  # what was fitted before is forgotten
    assert_equal(other.predict(agent_data), fitted.predict(agent_data))


def test_files_of_two_numbers_of_actions(paths, random_data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        three = make(epochs=8).fit(random_data(n_sessions=8, n_trials=30, n_actions=3))
    three.save_spice(path_spice=tmp_path / "three.pkl")
    assert refusal(make(), path_rnn=paths["path_rnn"], path_spice=tmp_path / "three.pkl") == (
        "path_rnn and path_spice are of different fits: their actions or participants differ."
    )


def test_a_refused_file_leaves_the_estimator_as_it_was(fitted, fitted_people, agent_data, tmp_path):
    estimator = copy.deepcopy(fitted)
    expected = estimator.predict(agent_data)
    fitted_people.save_spice(tmp_path / "a.pkl", tmp_path / "b.pkl")
    fitted.save_spice(path_rnn=tmp_path / "c.pkl")
    refusal(estimator, path_rnn=tmp_path / "a.pkl")
    refusal(estimator, path_rnn=tmp_path / "c.pkl", path_spice=tmp_path / "b.pkl")
    refusal(estimator.set_params(hidden_size=3), path_rnn=tmp_path / "c.pkl")
    assert estimator.participants_ == (0,) and estimator.equations_ == fitted.equations_
    assert_equal(estimator.predict(agent_data), expected)


# ---------------------------------------------------------------------- damaged and hostile files


class Hostile:
    """Would create a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.parametrize("path", ["path_rnn", "path_spice"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "inside"])
def test_hostile_files(paths, tmp_path, path, kind):
    target, name = tmp_path / "executed", paths[path]
    if kind == "inside":
        content = torch.load(name, weights_only=True)
        content["payload"]["state_dict"]["extra"] = Hostile(target)
        torch.save(content, name)
    elif kind == "torch":
        torch.save(Hostile(target), name)
    else:
        name.write_bytes(pickle.dumps(Hostile(target)))
    assert refusal(make(), **{path: name}) == (
        f"{name} was refused: it is no SPICE file, or it holds code. Only tensors and plain data are read; use files "
        "written by save_spice of this package."
    )
    assert not target.exists()


def test_a_damaged_file(paths):
    name = paths["path_rnn"]
    content = name.read_bytes()
    name.write_bytes(content[: len(content) // 2])
    assert refusal(make(), path_rnn=name).startswith(f"{name} ")
    position = len(content) // 2
    name.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
    try:
        make().load_spice(path_rnn=name)
    except FileError as error:
        assert str(error).startswith(f"{name} ")
    name.write_text("trial,choice\n1,0\n")
    assert "no SPICE file" in refusal(make(), path_rnn=name)


def test_writing_is_atomic(fitted, agent_data, paths, monkeypatch):
    before = {name: path.read_bytes() for name, path in paths.items()}

    def fail(content, file):
        file.write(b"half of it")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(OSError, match="^disk full$"):
            fitted.save_spice(**paths)
    assert {name: path.read_bytes() for name, path in paths.items()} == before
    assert len(list(paths["path_rnn"].parent.iterdir())) == 2
    assert_equal(make().load_spice(**paths).predict(agent_data), fitted.predict(agent_data))

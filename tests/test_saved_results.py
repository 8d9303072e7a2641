"""Whatever stage 3 found comes back from a file under the right labels, whoever shares it."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

from spice.errors import FileError, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import (
    PARTICIPANT_EMBEDDING_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    ParticipantEmbeddingRNN,
    RescorlaWagnerRNN,
)
from spice.resources.files import read_file, write_file

EMBEDDED = (ParticipantEmbeddingRNN, PARTICIPANT_EMBEDDING_RNN_CONFIG)
SHARED = (RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
CASES = {
    "one": (SHARED, {}, [0]),
    "one of three": (EMBEDDED, {"embedding_size": 2}, [1]),
    "three": (EMBEDDED, {"embedding_size": 2}, [0, 1, 2]),
    "three, one distilled": (EMBEDDED, {"embedding_size": 2, "spice_participant_id": "cleo"}, [0, 1, 2]),
    "default": ((), {"embedding_size": 2}, [0, 1, 2]),
    "shared": (SHARED, {}, [0, 1, 2]),
    "shared, some present": (SHARED, {}, [1, 2]),
    "shared, one named": (SHARED, {"spice_participant_id": "ben"}, [0, 1, 2]),
    "shared, not refined": (SHARED, {"refine": False}, [0, 1, 2]),
    "shared, one named, not refined": (SHARED, {"refine": False, "spice_participant_id": "ben"}, [0, 1, 2]),
}
_fitted: dict[str, SpiceEstimator] = {}


def quiet(method, *args):
    """Without a word about so few epochs, or about people without equations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return method(*args)


@pytest.fixture(params=CASES)
def case(request, people_data, default_people, tmp_path):
    """A fitted estimator, its data, and one loaded from its files that knows nothing but the model."""
    model, settings, people = CASES[request.param]
    data = people_data[np.isin(people_data.participants, people)]
    estimator = default_people if request.param == "default" else _fitted.get(request.param)
    if estimator is None:
        estimator = SpiceEstimator(*model, epochs=20, hidden_size=2, random_state=0, **settings)
        _fitted[request.param] = quiet(estimator.fit, data)
    paths = tmp_path / "rnn.pkl", tmp_path / "spice.pkl"
    estimator.save_spice(*paths)
    sizes = {"embedding_size": settings.get("embedding_size")}
    return estimator, data, SpiceEstimator(*model, hidden_size=2, **sizes).load_spice(*paths)


def test_tables_and_equations_are_the_same(case):
    estimator, _, loaded = case
    assert loaded.equations_ == estimator.equations_ and list(loaded.equations_) == list(estimator.equations_)
    assert loaded.sindy_equations_ == estimator.sindy_equations_
    assert hasattr(loaded, "canonical_") == hasattr(estimator, "canonical_") == estimator.refine
    if not estimator.refine:
        return
    assert loaded.canonical_ == estimator.canonical_
    for form in ("terms", "canonical"):
        found, expected = loaded.summary(form), estimator.summary(form)
        pd.testing.assert_frame_equal(found, expected)
        assert set(expected["participant"]) <= set(estimator.equations_)
    assert list(loaded.undecided_) == list(estimator.undecided_) == list(estimator.equations_)
    for label, table in estimator.undecided_.items():
        assert set(table["participant"]) <= {label}
        pd.testing.assert_frame_equal(loaded.undecided_[label], table, check_dtype=False)


def test_print_and_predictions_are_the_same(case):
    estimator, data, loaded = case
    for label in estimator.equations_:
        assert loaded.format_spice_model(label) == estimator.format_spice_model(label)
    for one, other in zip(quiet(loaded.predict, data), quiet(estimator.predict, data), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_of_a_file_is_the_same(case, tmp_path):
    estimator, _, loaded = case
    loaded.save_spice(path_spice=tmp_path / "again.pkl")
    model = () if loaded.rnn_class is None else (loaded.rnn_class, loaded.spice_config)
    again = SpiceEstimator(*model, embedding_size=loaded.embedding_size).load_spice(path_spice=tmp_path / "again.pkl")
    assert again.equations_ == estimator.equations_
    if estimator.refine:
        pd.testing.assert_frame_equal(again.summary(), estimator.summary())


def test_copies_are_the_same(case):
    estimator, _, _ = case
    other = pickle.loads(pickle.dumps(estimator))
    assert other.equations_ == estimator.equations_ and other.format_spice_model() == estimator.format_spice_model()


@pytest.mark.parametrize("people", [[], [3], [-1], ["ben"], None])
def test_unknown_people_are_refused(people_data, tmp_path, people):
    estimator = SpiceEstimator(*SHARED, epochs=5, hidden_size=2, random_state=0, refine=False)
    quiet(estimator.fit, people_data).save_spice(path_spice=tmp_path / "spice.pkl")
    header, payload = read_file(tmp_path / "spice.pkl", "spice")
    write_file(tmp_path / "other.pkl", "spice", header, payload | {"people": people})
    with pytest.raises(FileError, match="is damaged: "):
        SpiceEstimator(*SHARED).load_spice(path_spice=tmp_path / "other.pkl")


def test_equations_of_other_people_are_refused(people_data, tmp_path):
    estimator = SpiceEstimator(*EMBEDDED, embedding_size=2, epochs=5, hidden_size=2, random_state=0, refine=False)
    quiet(estimator.fit, people_data).save_spice(path_spice=tmp_path / "spice.pkl")
    header, payload = read_file(tmp_path / "spice.pkl", "spice")
    write_file(tmp_path / "other.pkl", "spice", header, payload | {"people": [0, 1]})
    with pytest.raises(FileError, match="is damaged: "):
        SpiceEstimator(*EMBEDDED, embedding_size=2).load_spice(path_spice=tmp_path / "other.pkl")

"""Wrong arguments of a fitted estimator and of its figures: each a sentence of ours, none a traceback from inside."""

import warnings
from functools import partial

import matplotlib
import numpy as np
import pytest
import torch

from spice.errors import ConfigError, DataError, FileError, SpiceWarning
from spice.estimator import SpiceEstimator
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.utils.plotting import plot_recovery, plot_session

matplotlib.use("Agg")
AGENT = AgentQ()
DATA = create_dataset(AGENT, BanditsDrift(0.2), n_trials=30, n_sessions=6, n_participants=1, seed=0)[0]
SEED = "a seed must be a whole number from 0 on or a numpy.random.Generator, not "
NOBODY = "there are no equations for participant {}; there are for 0."


@pytest.fixture(scope="module")
def estimator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        return SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, epochs=3, random_state=0).fit(DATA)


@pytest.mark.parametrize("function", ["print_spice_model", "format_spice_model", "symbolic_model"])
@pytest.mark.parametrize("label", ["zoe", 5, ["zoe"], {}])
def test_participants(estimator, function, label):
    with pytest.raises(ConfigError) as caught:
        getattr(estimator, function)(label)
    assert str(caught.value) == NOBODY.format(repr(label))


@pytest.mark.parametrize(
    ("call", "kind", "problem"),
    [
        (lambda e: e.check_recovery(True), ConfigError, "n must be a whole number from 1 on, not True."),
        (
            lambda e: e.check_recovery(1, AGENT),
            ConfigError,
            "environment must be a task, e.g. BanditsDrift(sigma=0.2), not an object of AgentQ.",
        ),
        (lambda e: e.check_recovery(1, random_state="a"), ConfigError, SEED + "'a'."),
        (
            lambda e: e.predict((DATA.xs, DATA.ys)),
            DataError,
            "one DatasetRNN is needed, or xs and ys as two arguments, not a tuple of 2; create_dataset returns "
            "dataset, experiments, parameters.",
        ),
        (
            lambda e: e.score(DATA.xs, DATA.ys.argmax(-1)),
            DataError,
            "ys must have three dimensions (n_sessions, n_trials, n_actions), but has shape (6, 30).",
        ),
        (lambda e: e.save_spice(5), ConfigError, "path_rnn must be a path, not 5."),
        (lambda e: e.save_spice(path_spice="/"), FileError, "path_spice must name a file, but / is a folder."),
        (
            lambda e: e.save_spice("both.pkl", "both.pkl"),
            ConfigError,
            "path_rnn and path_spice are the same file; give each its own.",
        ),
        (lambda e: SpiceEstimator().load_spice(5), ConfigError, "path_rnn must be a path, not 5."),
        (lambda e: SpiceEstimator().load_spice("/"), FileError, "path_rnn must name a file, but / is a folder."),
    ],
)
def test_calls(estimator, call, kind, problem):
    with pytest.raises(kind) as caught:
        call(estimator)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"hidden_size": True}, "hidden_size must be a whole number of at least 1, not True."),
        ({"learning_rate": True}, "learning_rate must be a number of at least 0, not True."),
        ({"validation_fraction": 1}, "validation_fraction must lie in [0, 1), not 1."),
        ({"random_state": -1}, "random_state must be a whole number from 0 on (below 2**63) or None, not -1."),
        (
            {"random_state": 2**63},
            "random_state must be a whole number from 0 on (below 2**63) or None, not 9223372036854775808.",
        ),
        ({"verbose": "yes"}, "verbose must be True or False, not 'yes'."),
    ],
)
def test_settings(settings, problem):
    with pytest.raises(ConfigError) as caught:
        SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, **settings).fit(DATA)
    assert str(caught.value) == f"SpiceEstimator cannot be used: {problem}"


def test_an_embedding_size_that_nothing_reads():
    with pytest.raises(ConfigError) as caught:
        SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, embedding_size=4).fit(DATA)
    assert str(caught.value) == (
        "spice_config does not fit the model: RescorlaWagnerRNN has no participant embedding: leave embedding_size out."
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            {"agents": AGENT},
            "plot_session needs at least one agent, by name, not an object of AgentQ: agents={'groundtruth': agent}.",
        ),
        (
            {"agents": {"spice": SpiceEstimator()}},
            "plot_session cannot draw: agents['spice'] must be an agent, e.g. AgentQ() or estimator.spice_agent, not "
            "SpiceEstimator().",
        ),
        (
            {"signals_to_plot": 5},
            "plot_session cannot draw: no agent has a state 5; states are x_value_reward, x_value_choice, "
            "x_learning_rate_reward.",
        ),
        ({"labels": 3}, "plot_session cannot draw: labels must be a list of names, or names by agent, not 3."),
        ({"labels": "a"}, "plot_session cannot draw: labels must be a list of names, or names by agent, not 'a'."),
        (
            {"display_choice": "left"},
            "plot_session cannot draw: display_choice must be an option from 0 to 1, not 'left'.",
        ),
        ({"display_choice": 0.5}, "plot_session cannot draw: display_choice must be an option from 0 to 1, not 0.5."),
    ],
)
def test_figures_of_sessions(arguments, problem):
    with pytest.raises(ConfigError) as caught:
        plot_session(**{"agents": {"groundtruth": AGENT}, "experiment": DATA[0]} | arguments)
    assert str(caught.value) == problem


@pytest.mark.parametrize("report", [None, "a", np.zeros(3)])
def test_figures_of_recovery(report):
    with pytest.raises(ConfigError, match="^plot_recovery draws what check_recovery returns, not "):
        plot_recovery(report)


def test_settings_as_scalars_of_numpy_and_torch():
    settings = {"learning_rate": 0.02, "weight_decay": 1e-3, "validation_fraction": 0.4, "sindy_threshold": 0.1}

    def fitted(scalar, verbose):
        estimator = SpiceEstimator(
            RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, epochs=2, optimizer="adam", refine=False, random_state=0,
            verbose=verbose, **{name: scalar(value) for name, value in settings.items()},
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpiceWarning)  # two epochs make no good model
            return estimator.fit(DATA).score(DATA)

    assert fitted(float, False) == fitted(np.array, None) == fitted(partial(torch.tensor, dtype=torch.float64), 0)

"""Models with a step of their own: against generated likelihoods of the same models, and what can go wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numba.core import event

from spice.equations import Parameter, State, SymbolicModel
from spice.equations.compiled_model import CompiledModel, HiddenStep, Step, can_be_imported
from spice.equations.jets import compiled, log_softmax, multiply, relax
from spice.equations.step_agent import StepAgent
from spice.errors import ConfigError, DataError, ModelFormError
from spice.inference import fit
from spice.inference.fitting.likelihoods import likelihood_of
from spice.inference.general.generated import GeneratedLikelihood
from spice.inference.general.own_step import StepLikelihood
from spice.precoded import with_bias, with_lapse
from spice.resources.agents import replay
from spice.resources.bandits import BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

GAPS = {"missing": 0.15, "unknown": 0.15, "padding": True}
PARAMETERS = {"alpha": Parameter(0, 1), "beta": Parameter(0)}


@compiled
def update(states, parameters, trial, work, n):
    if trial.reward == trial.reward:
        relax(states[0][trial.choice], parameters[0], trial.reward, n)


@compiled
def predict(log_p, states, parameters, shown, work, n):
    for option in range(len(log_p)):
        multiply(log_p[option], parameters[1], states[0][option], n)
    log_softmax(log_p, work[0], n)


def own(n_actions=2, step=None, **changes):
    arguments = {"parameters": PARAMETERS, "states": {"q": np.full(n_actions, 0.5)}, "name": "own"} | changes
    return CompiledModel(step=step or Step(update, predict, work=1), n_actions=n_actions, **arguments)


def rescorla_wagner():
    return SymbolicModel({"q": State(0.5)}, [("q", "chosen", "q + alpha * (reward - q)")], "beta * q", PARAMETERS)


def defined_here():
    """The same step in functions that no other process can import."""
    first, second = update.py_func, predict.py_func

    @compiled
    def learn(states, parameters, trial, work, n):
        if trial.reward == trial.reward:
            relax(states[0][trial.choice], parameters[0], trial.reward, n)

    assert learn.__name__ != first.__name__
    return Step(learn, compiled(second), work=1)


# ---------------------------------------------------------------------- the same model in two ways


@pytest.mark.parametrize(("n_actions", "here"), [(2, False), (3, True)])
def test_like_the_generated_likelihood(random_data, n_actions, here):
    """Missing trials, unknown rewards, sessions of different lengths, participants in any order."""
    data = random_data(6, 20, n_actions, n_participants=3, **GAPS)
    data.xs[..., -1] = torch.tensor([2.0, 0.0, 2.0, 4.0, 4.0, 2.0]).unsqueeze(1)
    likelihood = likelihood_of(own(n_actions, defined_here() if here else None), data, n_threads=1)
    expected = likelihood_of(rescorla_wagner(), data, n_threads=1)
    assert isinstance(likelihood, StepLikelihood) and isinstance(expected, GeneratedLikelihood)
    assert (likelihood.names, likelihood.participants) == (expected.names, expected.participants)
    np.testing.assert_array_equal(likelihood.n_scored(), expected.n_scored())
    rng = np.random.default_rng(0)
    values, group = rng.uniform(0.1, 0.9, (8, 2)) * [1.0, 5.0], rng.integers(3, size=8)
    found, wanted = likelihood(values, group), expected(values, group)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)
    for one, other in zip(likelihood.gradient(values, group), wanted[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)
    of_choices = likelihood.log_probabilities(values, group)
    assert of_choices.shape == (8, likelihood.n_scored().max())
    np.testing.assert_array_equal((~np.isnan(of_choices)).sum(1), likelihood.n_scored()[group])
    np.testing.assert_allclose(-np.nansum(of_choices, 1), wanted.nll, rtol=1e-11)
    default = likelihood(values[:3])
    np.testing.assert_allclose(default.nll, expected(values[:3]).nll, rtol=1e-11)


def test_probabilities_are_in_the_order_of_the_data(random_data):
    data = random_data(6, 20, 3, n_participants=3, **GAPS)
    data.xs[..., -1] = torch.tensor([2.0, 0.0, 2.0, 4.0, 4.0, 2.0]).unsqueeze(1)
    likelihood = likelihood_of(own(3), data)
    values = np.array([[0.2, 1.0], [0.5, 3.0], [0.8, 6.0]])
    found = likelihood.probabilities(values)
    scored = data.scored.numpy()
    assert found.shape == data.ys.shape and not np.isnan(found[scored]).any()
    np.testing.assert_allclose(found[~np.isnan(found[..., 0])].sum(-1), 1.0, rtol=1e-12)
    chosen = np.where(data.ys.numpy() == 1, np.log(found), 0.0).sum(-1)
    rows = data.participants.numpy()
    for place, person in enumerate(likelihood.participants):
        total = chosen[rows == person][scored[rows == person]].sum()
        assert -total == pytest.approx(likelihood(values).nll[place], rel=1e-11)


def test_nothing_is_predicted_where_it_is_not_known_what_is_shown(random_data):
    """A trial that is missing may show anything."""
    data = random_data(2, 6)
    cue = np.array([[0, 1, 9, 1, 0, 1, 0], [0, 1, np.nan, 1, 0, 1, 0]])
    further = torch.as_tensor(np.stack([cue[:, :-1], cue[:, 1:]], -1))
    xs = torch.cat([data.xs[..., :-1], further, data.xs[..., -1:]], -1)
    xs[:, 2, :4], ys = torch.nan, data.ys.clone()
    ys[:, 1] = torch.nan
    shown = DatasetRNN(xs, ys, ["cue", "next_cue", "participant"])
    found = likelihood_of(own(shown={"cue": 2}), shown).probabilities(np.array([[0.2, 1.0]]))
    assert np.isnan(found[..., 0]).tolist() == [[False, True, False, False, False, False]] * 2


def with_offers(data, seed=0):
    """Data that say what is on offer: what was chosen, and some of the rest."""
    rng = np.random.default_rng(seed)
    n, first = data.n_actions, data.xs[:, :1, : data.n_actions].numpy()
    choices = np.concatenate([first, data.ys.numpy()], 1)  # of all trials
    offered = (rng.random(choices.shape) < 0.5) | (choices == 1)
    offered[~offered.any(-1)] = True
    names = [f"{prefix}available_{option}" for prefix in ("", "next_") for option in range(n)]
    xs = np.dstack([data.xs[..., :-1], offered[:, :-1], offered[:, 1:], data.xs[..., -1:]])
    return DatasetRNN(xs, data.ys, [*names, "participant"])


ALONE = [
    pytest.param(True, False, False, marks=pytest.mark.slow),
    pytest.param(False, True, False, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("biased, lapsing, offers", [(True, True, True), *ALONE])
def test_biases_lapses_and_offers_like_the_generated_likelihood(random_data, biased, lapsing, offers):
    data = random_data(4, 20, 3, n_participants=2, missing=0.15, unknown=0.15)
    data = with_offers(data) if offers else data
    models = [own(3), rescorla_wagner()]
    models = [with_bias(model, 3) for model in models] if biased else models
    models = [with_lapse(model) for model in models] if lapsing else models
    found, wanted = (likelihood_of(model, data, n_threads=1) for model in models)
    names = ("alpha", "beta", *(("bias_1", "bias_2") if biased else ()), *(("lapse",) if lapsing else ()))
    assert found.names == wanted.names == names
    values = dict(zip(names, [0.4, 3.0, *((0.7, -1.2) if biased else ()), 0.2], strict=False))
    rows = np.array(list(values.values())) * np.array([[1.0], [0.6], [1.3]])
    group = np.array([0, 1, 1])
    for one, other in zip(found(rows, group), wanted(rows, group), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    for one, other in zip(found.gradient(rows, group), wanted.gradient(rows, group), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.probabilities(rows[:2]), wanted.probabilities(rows[:2]), rtol=1e-10, atol=1e-300)
    agent = StepAgent(models[0], {name: rows[0, k] for k, name in enumerate(names)})
    played = replay(agent, data[data.participants == 0][0]).probs[1:]
    expected = found.probabilities(rows[[0, 0]])[(data.participants == 0).numpy().argmax(), : len(played)]
    np.testing.assert_allclose(played, expected, rtol=1e-10, atol=1e-300)


def test_threads_change_nothing(random_data):
    data = random_data(6, 40, 2, n_participants=3)
    rng = np.random.default_rng(0)
    values, group = rng.uniform(0.1, 0.9, (2000, 2)), rng.integers(3, size=2000)
    one, several = (likelihood_of(own(), data, n)(values, group) for n in (1, 3))
    for a, b in zip(one, several, strict=True):
        np.testing.assert_array_equal(a, b)
    empty = likelihood_of(own(), data)(np.zeros((0, 2)), np.zeros(0, int))
    assert empty.nll.shape == (0,) and empty.hessian.shape == (0, 2, 2)


def test_a_step_of_a_notebook_is_compiled_once(random_data):
    model, data = own(step=defined_here()), random_data(2, 20)
    assert not can_be_imported(model.step.update)
    fit(model, data).predict()
    recorder = event.RecordingListener()
    with event.install_listener("numba:compile", recorder):
        fit(model, data).predict()
        assert not recorder.buffer
        compiled(lambda x: x + 1)(1)
        assert recorder.buffer  # it does record


def test_overflow_is_infinite(random_data):
    found = likelihood_of(own(), random_data(2, 60))(np.array([[1e30, 1.0], [0.5, 1.0]]), np.zeros(2, int))
    np.testing.assert_array_equal(np.isinf(found.nll), [True, False])


# ---------------------------------------------------------------------- agents


def test_an_agent_replays_what_the_likelihood_says(random_data):
    data = random_data(2, 30, 3, n_participants=2, missing=0.1, unknown=0.1)
    values = np.array([[0.2, 1.0], [0.6, 4.0]])
    agent = StepAgent(own(3), {"alpha": values[:, 0], "beta": values[:, 1]})
    found = likelihood_of(own(3), data).probabilities(values)
    for session in range(2):
        probs = replay(agent, data[session]).probs
        np.testing.assert_allclose(probs[0], 1 / 3, rtol=1e-12)
        np.testing.assert_allclose(probs[1:], found[session, : len(probs) - 1], rtol=1e-12)


def test_an_agent_plays_a_task():
    agent = StepAgent(own(), {"alpha": 0.3, "beta": [2.0, 8.0]})
    task = BanditsDrift(n_actions=2, sigma=0.1)
    data, _, parameters = create_dataset(agent, task, n_trials=50, n_sessions=2, seed=1)
    again, _, _ = create_dataset(agent, task, n_trials=50, n_sessions=2, seed=1)
    assert torch.equal(data.ys, again.ys)
    assert [entry["beta"] for entry in parameters] == [2.0, 8.0]
    nll = likelihood_of(own(), data)(np.array([[0.3, 2.0], [0.3, 8.0]])).nll
    assert (nll < 50 * np.log(2)).all()
    assert agent.state("q").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": {"alpha": 0.1}}, "lack 'beta'"),
        ({"values": {"alpha": 0.1, "beta": 1, "gamma": 1}}, "have 'gamma'"),
        ({"values": {"alpha": [0.1, 0.2], "beta": [1, 2, 3]}}, "one for each"),
        ({"values": {"alpha": np.nan, "beta": 1}}, "finite"),
        ({"values": {"alpha": [], "beta": []}}, "of no participant"),
        ({"values": {"alpha": 0.1, "beta": 1}, "rule": "sample"}, "no hidden variable"),
    ],
)
def test_agents_that_cannot_be_made(arguments, message):
    with pytest.raises(ConfigError, match=message):
        StepAgent(own(), **arguments)


def test_how_it_reads():
    assert str(own()) == repr(own())
    with pytest.raises(ConfigError, match=r"brings compiled code; say by written=\[...\] how it reads"):
        own().latex()
    model = own().replace(
        written=[("chosen option", "q ← q + alpha*(reward - q)", r"q &\leftarrow q + \alpha (r - q)")]
    )
    assert str(model) == "chosen option  q ← q + alpha*(reward - q)"
    text = model.latex().splitlines()
    assert text[1] == r"q &\leftarrow q + \alpha (r - q) && \text{chosen option}" and len(text) == 3
    more = with_lapse(with_bias(model, 2))
    assert [line.split("  ")[0] for line in str(more).splitlines()] == ["chosen option", "bias of option 1", "lapse"]
    assert more.latex().count("lapse") == 2 and more.latex().count("&") == text[1].count("&") + 2


def test_agents_take_what_those_of_equations_take():
    known = own().replace(parameters={"alpha": Parameter(0, 1, value=0.3), "beta": Parameter(0, value=2.0)})
    n = known.n_actions
    given = [known.agent(), known.agent({"alpha": 0.3, "beta": 2.0}, n, 1), own().agent({"alpha": 0.3, "beta": 2.0})]
    for agent in given:
        agent.update(0, [1.0] + [np.nan] * (n - 1))
    assert len({tuple(agent.get_choice_probs()) for agent in given}) == 1
    with pytest.raises(ConfigError, match=f"has {n} options, not 7"):
        known.agent(n_actions=7)
    with pytest.raises(ConfigError, match="'alpha' has no value: give it one"):
        own().agent()
    by_person = own().replace(parameters={"alpha": Parameter(0, 1, value={"anna": 0.3}), "beta": Parameter(0, value=1)})
    assert by_person.values("anna") == {"alpha": 0.3, "beta": 1.0}
    with pytest.raises(ConfigError, match="'alpha' has no value for participant None"):
        by_person.simulate(BanditsDrift(0.2), 10)


# ---------------------------------------------------------------------- what can go wrong


def test_all_that_is_wrong_is_listed():
    with pytest.raises(ConfigError) as caught:
        CompiledModel(
            parameters={"alpha": Parameter(1, 0), "two words": Parameter()},
            states={"alpha": [], "q": [np.nan]},
            step=HiddenStep(0, update, predict.py_func, update, work=-1, rule="hard"),
            n_actions=1,
            shown={"season": 0},
            written=[("start", "q = 0")],
        )
    lines = str(caught.value).splitlines()
    expected = ["'two words' cannot", "'alpha' has a name that is taken"]
    expected += ["low=1 and high=0", "'alpha' needs finite", "'q' needs finite", "n_actions must be", "shown['season']"]
    expected += ["a line of written must be three texts"]
    expected += ["act is no compiled function", "work must be", "n_hidden must be", "rule must be one of"]
    assert len(lines) == 1 + len(expected)
    for line, words in zip(lines[1:], expected, strict=True):
        assert words in line


def with_stimulus(data, now, coming):
    xs = np.dstack([data.xs[..., :-1], now, coming, data.xs[..., -1:]])
    return DatasetRNN(xs, data.ys, ["colour", "next_colour", "participant"], {"participant": ["anna", "ben"]})


def test_data_that_do_not_fit(random_data):
    data = random_data(2, 5, n_participants=2)
    model = own(shown={"colour": 3})
    with pytest.raises(ConfigError, match="'own' has 2 options, but the data have 3"):
        likelihood_of(model, random_data(2, 5, 3))
    with pytest.raises(ConfigError, match="must be a SymbolicModel or a CompiledModel, not .rw."):
        likelihood_of("rw", data)
    with pytest.raises(DataError, match="no column 'colour', which the model reads"):
        likelihood_of(model, data)
    now, coming = np.zeros((2, 5)), np.ones((2, 5))
    now[1, 3], coming[0, 2], coming[1, 4] = 3, np.nan, 0.5
    wrong = [
        (now, (1, 3), "'colour' is 3 for participant 'ben', session 1, trial 3; the model has 3 levels"),
        (coming, (0, 2), "'next_colour' is nan for participant 'anna', session 0, trial 2"),
        (coming, (1, 4), "'next_colour' is 0.5 for participant 'ben', session 1, trial 4"),
    ]
    for column, place, words in wrong:  # one after the other: each is mended once it was named
        with pytest.raises(DataError, match=words):
            likelihood_of(model, with_stimulus(data, now, coming))
        column[place] = 0
    coming[0, 2] = np.nan
    data.ys[0, 2], coming[1, 4], now[1, 3] = torch.nan, 0, 0  # not scored: what comes need not be known
    assert np.isfinite(likelihood_of(model, with_stimulus(data, now, coming))(np.full((2, 2), 0.5)).nll).all()


PROGRAM = """
import time
import numpy as np
from spice.precoded import task_sets
from spice.equations.step_source import likelihood_function, replay_function
from spice.inference.fitting.likelihoods import likelihood_of
from spice.resources.dataset import DatasetRNN
choice = np.eye(3)[[[0, 1, 2, 1]]]
shown = np.zeros((1, 3, 4))
xs = np.dstack([choice[:, :-1], choice[:, :-1], shown, np.zeros((1, 3))])
data = DatasetRNN(xs, choice[:, 1:], ["season", "next_season", "alien", "next_alien", "participant"])
likelihood, values = likelihood_of(task_sets(), data), np.array([[0.3, 2.0, 0.1, 0.2, 3.0]])
started = time.perf_counter()
nll = [likelihood(values).nll[0], likelihood.gradient(values)[0][0], -np.nansum(likelihood.log_probabilities(values))]
wall = time.perf_counter() - started
kernels = [likelihood_function(task_sets(), 2), likelihood_function(task_sets(), 1), replay_function(task_sets())]
print(nll[0].hex(), sum(sum(k.stats.cache_misses.values()) for k in kernels), wall)
assert np.allclose(nll, nll[0], rtol=1e-13)
"""


@pytest.mark.slow
def test_another_process_compiles_nothing():
    runs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        arguments = [sys.executable, "-W", "error", "-c", PROGRAM]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        runs.append(done.stdout.split())
    assert runs[0][0] == runs[1][0] and runs[1][1] == "0"


def test_the_hard_rule_has_no_derivatives(random_data):
    @compiled
    def weigh(log_w, states, parameters, shown, work, n):
        for hidden in range(len(log_w)):
            multiply(log_w[hidden], parameters[1], states[0][hidden], n)
        log_softmax(log_w, work[0], n)

    @compiled
    def act(log_p, states, parameters, shown, work, n):
        for hidden in range(len(log_p)):
            for option in range(log_p.shape[1]):
                multiply(log_p[hidden, option], parameters[1], states[0][option], n)
            log_softmax(log_p[hidden], work[0], n)

    @compiled
    def learn(states, weights, parameters, trial, work, n):
        relax(states[0][trial.choice], parameters[0], trial.reward, n)

    data = random_data(1, 20)
    hard = own(step=HiddenStep(2, weigh, act, learn, work=1, rule="argmax"))
    values = np.array([[0.3, 2.0]])
    with pytest.raises(ModelFormError, match="jumps"):
        likelihood_of(hard, data)(values)
    # here the hidden value has no consequences: hard or not, it is Rescorla-Wagner
    expected = likelihood_of(rescorla_wagner(), data)(values).nll[0]
    soft = likelihood_of(own(step=HiddenStep(2, weigh, act, learn, work=1)), data)
    assert -np.nansum(likelihood_of(hard, data).log_probabilities(values)) == pytest.approx(expected, rel=1e-12)
    assert soft(values).nll[0] == pytest.approx(expected, rel=1e-12)

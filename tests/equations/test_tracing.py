"""Models traced into expressions: the same logits, in the form in which the model was written."""

import numpy as np
import pytest
import sympy
import torch
from sklearn.exceptions import NotFittedError

from spice import precoded
from spice.equations import Equation, Parameter, SymbolicModel, with_equations
from spice.equations.evaluate import run_symbolic
from spice.equations.tracing import trace
from spice.errors import ConfigError, ModelFormError
from spice.estimator import SpiceEstimator
from spice.precoded import ForgettingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
SIGNALS = {  # what modules read besides their state
    LEARNT: ("c_reward",),
    "x_learning_rate_reward": ("c_reward", "c_value_reward"),
    "x_value_reward_all": ("c_reward", "c_action"),
    "x_worth": ("c_reward", "c_effort"),
}
GAPS = {"missing": 0.15, "unknown": 0.2, "padding": True}


def with_random_equations(model_class, n_actions=2, n_participants=1, degree=1, columns=None, seed=0):
    """A model whose coefficients, scaling parameters and biases are random."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = model_class.build(n_actions, n_participants, hidden_size=2).double()
    model.columns = columns
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("submodules_rnn"):
                parameter.uniform_(0.5, 1.5)
    controls = {name: SIGNALS.get(name, ()) for name in model.submodules_rnn}
    if issubclass(model_class, precoded.BanditRNN):
        controls[OTHERS] = ("c_reward", "c_outcome")
    equations = {
        person: {
            name: Equation(name, signals, random_terms(rng, name, signals, degree))
            for name, signals in controls.items()
        }
        for person in range(n_participants)
    }
    return with_equations(model, equations) if controls else model.eval()


def random_terms(rng, name, signals, degree):
    terms = {"1": 0.2 * rng.normal(), name: rng.uniform(0.2, 0.8)} | {signal: 0.5 * rng.normal() for signal in signals}
    if degree > 1:
        terms |= {f"{name} {signal}": 0.2 * rng.normal() for signal in signals} | {f"{name}^2": -0.1}
    return terms


def assert_same_logits(model, data, everywhere=True):
    """Against the model's own, up to what is common to all options; returns the expressions."""
    labels = {int(person): int(person) for person in data.participants.unique()}
    found = trace(model, labels)
    values = [found.values(person) for person in data.participants.tolist()]
    ours = run_symbolic(found, data, {name: np.array([v[name] for v in values]) for name in found.parameters})
    with torch.no_grad():
        own = model(data.xs, batch_first=True)[0].double().numpy()
    ours, own = (part - part[..., :1] for part in (ours, own))
    if not everywhere:  # what a model's own code makes of a trial in which nothing is chosen does not reach its states
        ours, own = ours[data.observed.numpy()], own[data.observed.numpy()]
    assert np.isfinite(own).all() and own.std() > 0.01
    np.testing.assert_allclose(ours, own, rtol=1e-10, atol=1e-10)
    return found


def symbols(names):
    return sympy.symbols(names)


def with_columns(data, names, seed=0):
    """The same data with further columns of random numbers before the participant."""
    rng = np.random.default_rng(seed)
    more = torch.as_tensor(rng.random((*data.xs.shape[:2], len(names))), dtype=data.xs.dtype)
    xs = torch.cat([data.xs[..., :-1], more, data.xs[..., -1:]], dim=-1)
    return DatasetRNN(xs, data.ys, [*names, "participant"])


# ---------------------------------------------------------------------- precoded models


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("n_actions", [2, 3])
@pytest.mark.parametrize("name", [name for name in precoded.__all__ if name.endswith("RNN")])
def test_precoded_models(random_data, name, n_actions, degree):
    model_class = getattr(precoded, name)
    people = 3 if name in ("BanditRNN", "ChoiceRNN", "ParticipantEmbeddingRNN") else 1
    data = random_data(6, 20, n_actions, n_participants=people, **GAPS)
    if name == "BanditRNN":  # outcomes of the others, where they were shown
        outcome = torch.rand(6, 20, n_actions, generator=torch.Generator().manual_seed(0))
        rewards = data.xs[..., data.columns.reward]
        data.xs[..., data.columns.reward] = torch.where(data.xs[..., data.columns.choice] == 0, outcome, rewards)
    assert_same_logits(with_random_equations(model_class, n_actions, people, degree), data)


@pytest.mark.parametrize("n_actions", [2, 3])
def test_outcomes_hidden_from_who_saw_others(random_data, n_actions):
    """They leave the values of the options not chosen as they are; for who never saw any they count as 0."""
    data = random_data(6, 20, n_actions, **GAPS)
    shown = torch.rand(6, 20, n_actions, generator=torch.Generator().manual_seed(0))
    rewards = data.xs[..., data.columns.reward]
    shown = torch.where((data.xs[..., data.columns.choice] == 0) & (shown < 0.5), shown, rewards)
    model = with_random_equations(precoded.BanditRNN, n_actions)
    assert not any(u.needs_outcome for u in trace(model, {0: 0}).updates if u.where == "unchosen")
    data.xs[..., data.columns.reward] = shown
    model.saw_others.fill_(True)
    found = assert_same_logits(model, data)
    needs = {(u.state, u.where): u.needs_outcome for u in found.updates}
    both = with_random_equations(precoded.BanditRNN, n_actions, 2)
    both.saw_others[1] = True
    with pytest.raises(
        ModelFormError, match="hidden outcomes are unknown to some participants and 0 to others; take one"
    ):
        trace(both, {0: 0, 1: 1})
    assert trace(both, {1: 1}).updates[1].needs_outcome
    assert needs["x_value_reward", "unchosen"] and not needs["x_value_choice", "unchosen"]


def test_rescorla_wagner_reads_as_it_was_written():
    found = trace(with_random_equations(RescorlaWagnerRNN), {"anna": 0})
    x, reward = symbols("x_value_reward reward")
    prefix = "value_reward_chosen"
    constant, own, gain = symbols(f"{prefix}_constant {prefix}_self {prefix}_reward")
    assert found.to_sympy() == {
        "initial": {"x_value_reward": sympy.Float(0.5)},
        "let": {},
        "updates": [("x_value_reward", "chosen", constant + own * x + gain * reward, None, True)],
        "logits": x,
    }
    assert list(found.values()) == [str(constant), str(own), str(gain)]


def test_a_rate_is_a_line_of_its_own():
    """Not multiplied out into the value's update, which sees the rate of this trial."""
    found = trace(with_random_equations(precoded.LearningRateRNN), {0: 0})
    x, rate, reward, beta = symbols("x_value_reward x_learning_rate_reward reward beta")
    lines = {(u.state, u.where): u.expression for u in found.updates}
    assert [u.state for u in found.updates] == 2 * ["x_learning_rate_reward"] + 2 * ["x_value_reward"]
    assert lines["x_value_reward", "chosen"] == x + rate * (reward - x)
    assert lines["x_learning_rate_reward", "unchosen"] == 0
    assert {x, reward, rate} < lines["x_learning_rate_reward", "chosen"].free_symbols
    assert found.logits == beta * x


def test_biases_are_relative_to_the_first_option():
    model = with_random_equations(precoded.BanditRNN, 3)
    found = trace(model, {0: 0})
    x, k, first, second = symbols("x_value_reward x_value_choice bias_1 bias_2")
    assert found.logits == (x + k, x + k + first, x + k + second) and found.n_actions == 3
    biases = model.bias.parameter.detach().numpy()
    assert [found.values()[f"bias_{n}"] for n in (1, 2)] == pytest.approx(biases[1:] - biases[0])
    assert "bias" in trace(with_random_equations(precoded.BanditRNN), {0: 0}).parameters


def test_values_by_participant():
    model = with_random_equations(precoded.ParticipantEmbeddingRNN, n_participants=3)
    found = trace(model, {"anna": 2, "ben": 0})
    table = model.submodules_sindy[LEARNT].coefficients
    assert found.parameters["value_reward_chosen_reward"].value == {
        "anna": table[2, 2].item(),
        "ben": table[0, 2].item(),
    }
    betas = model.scaling_values(torch.tensor([2, 0]))["x_value_reward"][:, 0].tolist()
    assert [found.values(label)["beta"] for label in ("anna", "ben")] == pytest.approx(betas)


def test_terms_that_nobody_has_are_left_out_and_untouched_states_stay(model_of):
    terms = [{LEARNT: 1.0, "c_reward": 0.5}, {LEARNT: 1.0, "1": 0.2}]
    found = trace(model_of({LEARNT: terms}), {"anna": 0, "ben": 1})
    x, reward, constant, gain = symbols("x_value_reward reward value_reward_chosen_constant value_reward_chosen_reward")
    assert found.updates[0].expression == x + constant + gain * reward
    assert found.values("anna") == {str(constant): 0.0, str(gain): 0.5}
    alone = trace(model_of({LEARNT: terms}), {"anna": 0})
    assert alone.updates[0].expression == x + gain * reward


def test_an_equation_without_the_reward_still_waits_for_it(random_data, model_of):
    found = assert_same_logits(model_of({LEARNT: [{"1": 0.3, LEARNT: 0.5}]}), random_data(4, 20, **GAPS))
    assert found.updates[0].needs_outcome


# ---------------------------------------------------------------------- models of one's own


class OwnLoop(BaseRNN):
    """The tutorial's model."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn[LEARNT] = self.setup_module(input_size=1)

    def forward(self, inputs, prev_state=None, batch_first=False):
        inputs, ids, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        actions, rewards, _, _ = inputs
        for timestep, action, reward in zip(timesteps, actions, rewards, strict=True):
            self.record_signal("c_action", action)
            chosen = self.call_module(key_module=LEARNT, key_state="x_value_reward", action=action, inputs=reward)
            self.state["x_value_reward"] = chosen + self.state["x_value_reward"] * (1 - action)
            logits[timestep] = self.state["x_value_reward"]
        logits = self.post_forward_pass(logits, batch_first)
        return logits, self.get_state()


class OwnEmbeddingLoop(OwnLoop):
    """A loop that asks for embeddings itself."""

    def __init__(self, n_actions, n_participants, **kwargs):
        BaseRNN.__init__(self, n_actions, n_participants, 2)
        self.participant_embedding = self.setup_embedding(n_participants, 2)
        self.submodules_rnn[LEARNT] = self.setup_module(input_size=1, embedding_size=2)
        self.betas["x_value_reward"] = self.setup_constant(2)

    def forward(self, inputs, prev_state=None, batch_first=False):
        inputs, (participants, _), logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        embedding = self.participant_embedding(participants[:, 0])
        for timestep, action, reward in zip(timesteps, *inputs[:2], strict=True):
            chosen = self.call_module(
                LEARNT,
                "x_value_reward",
                action,
                reward,
                participant_embedding=embedding,
                participant_index=participants,
            )
            self.state["x_value_reward"] = torch.where(action == 1, chosen, self.state["x_value_reward"])
            logits[timestep] = self.betas["x_value_reward"](embedding) * self.state["x_value_reward"]
        return self.post_forward_pass(logits, batch_first), self.get_state()


class HandWritten(BaseRNN):
    """No module at all: a delta rule with a rate through a sigmoid, perseveration as a logit of the choice."""

    init_values = {"q": 0.3}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.rate = torch.nn.Parameter(torch.tensor(0.2))
        self.stay = torch.nn.Parameter(torch.tensor([0.4]))

    def step(self, state, trial):
        reward = trial.reward.nan_to_num(0.0)
        q = state["q"] + torch.sigmoid(self.rate) * (reward - state["q"]) * trial.action
        q = q - 0.25 * q.clamp(min=0) * (1 - trial.action)
        return {"q": q}, 3 * q + self.stay * trial.action


class OwnRate(BaseRNN):
    """Its parameter comes first in every operation."""

    init_values = {"q": 0.3, "k": 0.0}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.rate = torch.nn.Parameter(torch.tensor(0.2))

    def step(self, state, trial):
        rate = torch.sigmoid(self.rate)
        q = rate * (trial.reward.nan_to_num(0.0) - state["q"]) * trial.action + state["q"]
        k = rate * trial.action + (1 - rate) * (state["k"] + q)
        return {"q": q, "k": k}, self.rate * q + k


class Everywhere(BaseRNN):
    """One module for all options at once, which reads the choice."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn["x_value_reward_all"] = self.setup_module(input_size=2)

    def step(self, state, trial):
        value = self.call_module("x_value_reward_all", "x_value_reward", inputs=(trial.reward, trial.action))
        return {"x_value_reward": value}, value


class Swapped(BaseRNN):
    """Two states that read each other's value before the trial; logits of values before it."""

    init_values = {"a": 0.5, "b": -0.2, "never": 0.7}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def step(self, state, trial):
        a = 0.5 * state["b"] + trial.action
        b = 0.25 * state["a"] - 0.5 * state["b"] * trial.action + state["never"]
        return {"a": a, "b": b}, a - 2 * state["b"] + state["never"] * b


class Memory(BaseRNN):
    """Keeps the last reward and the value before the last as states."""

    init_values = {"value": 0.5, "last_value": 0.5, "last_reward": 0.0}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def step(self, state, trial):
        reward = trial.reward.nan_to_num(0.0)
        value = state["value"] + 0.3 * (reward - state["last_reward"]) * trial.action
        return {"value": value, "last_value": state["value"], "last_reward": reward}, value + 0.5 * state["last_value"]


class Effort(BaseRNN):
    """Further inputs, seen with the outcome and shown before the choice."""

    init_values = {"x_worth": 0.2}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn["x_worth"] = self.setup_module(input_size=2)

    def step(self, state, trial):
        effort = trial.inputs["effort"]
        chosen = self.call_module("x_worth", "x_worth", action=trial.action, inputs=(trial.reward, effort))
        worth = chosen + state["x_worth"] * (1 - trial.action) - 0.1 * trial.shown["cue"]
        cued = trial.next_shown["cue"] * torch.arange(self.n_actions)
        return {"x_worth": worth}, state["x_worth"] * trial.next_shown["cue"] + cued


class Scaled(BaseRNN):
    """The module's result is scaled where it is called; activations are the networks' alone."""

    init_values = {"x_value_reward": 0.5}

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions=n_actions)
        self.submodules_rnn[LEARNT] = self.setup_module(input_size=1)
        self.betas["x_value_reward"] = self.setup_constant()

    def step(self, state, trial):
        value = state["x_value_reward"]
        settings = {"activation_rnn": torch.sigmoid, "scaling": True}
        chosen = self.call_module(LEARNT, value, trial.action, (trial.reward,), **settings)
        value = torch.lerp(value, chosen, 0.5) * trial.action + value * (1 - trial.action)
        return {"x_value_reward": value}, value.clamp(-2, 2)


class InPlace(RescorlaWagnerRNN):
    """Adds to what modules return."""

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"] * 0.9
        value += 0.1 * trial.action
        return {"x_value_reward": value}, value.abs()


class Relative(RescorlaWagnerRNN):
    """Everybody's reward is the one received: other options lose what the chosen one brought."""

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        received = (trial.reward.nan_to_num(0.0) * trial.action).sum(-1, keepdim=True)
        value = values["x_value_reward"] - 0.2 * received * (1 - trial.action)
        return {"x_value_reward": value}, 2 * value


OWN = [OwnLoop, Scaled, HandWritten, OwnRate, Everywhere, Swapped, Memory, InPlace, Relative]


@pytest.mark.parametrize("n_actions", [2, 3])
@pytest.mark.parametrize("model_class", OWN)
def test_models_of_ones_own(random_data, model_class, n_actions):
    assert_same_logits(
        with_random_equations(model_class, n_actions), random_data(6, 20, n_actions, missing=0.15), False
    )


@pytest.mark.parametrize("model_class", [OwnLoop, Everywhere, HandWritten, Memory, InPlace])
def test_unknown_rewards_in_models_of_ones_own(random_data, model_class):
    """Modules leave the state as it is; hand-written code may read them as 0, or go on with what modules left."""
    found = assert_same_logits(with_random_equations(model_class, 3), random_data(6, 20, 3, **GAPS), False)
    assert all(
        u.needs_outcome == (model_class in (OwnLoop, Everywhere)) for u in found.updates if u.where != "unchosen"
    )


def test_a_loop_with_embeddings(random_data):
    data = random_data(6, 20, 3, n_participants=3, missing=0.15, unknown=0.2)
    found = assert_same_logits(with_random_equations(OwnEmbeddingLoop, 3, 3), data)
    assert found.logits == sympy.Mul(*symbols("beta x_value_reward"))


def test_parameters_of_ones_own_get_their_names():
    found = trace(with_random_equations(HandWritten), {0: 0})
    q, rate, stay, reward, chosen = symbols("q rate stay reward chosen")
    assert set(found.parameters) == {"rate", "stay"}
    assert found.updates[0].where == "chosen"
    assert sympy.simplify(found.updates[0].expression - q - (reward - q) / (1 + sympy.exp(-rate))) == 0
    assert found.logits == 3 * q + stay * chosen


def test_later_updates_are_written_with_the_new_values_of_earlier_ones():
    found = trace(with_random_equations(OwnRate), {0: 0})
    assert [u.state for u in found.updates] == ["q", "k", "k"]
    assert all(symbols("q") in u.expression.free_symbols for u in found.updates)
    assert "previous_" not in str(found) and found.logits == sympy.Symbol("k") + sympy.Mul(*symbols("rate q"))


def test_values_before_the_trial_have_a_name_of_their_own():
    """Only where no order of the updates would do without; what never changes is a number."""
    found = trace(with_random_equations(Swapped), {0: 0})
    text = str(found)
    assert text.count("previous_") == 3 and "never" not in text and set(found.states) == {"a", "b"}
    assert "previous_" not in " ".join(str(u.expression) for u in trace(with_random_equations(Memory), {0: 0}).updates)


@pytest.mark.parametrize("n_actions", [2, 3])
def test_further_inputs(random_data, n_actions):
    data = with_columns(random_data(6, 20, n_actions, missing=0.15), ["effort", "cue", "next_cue"])
    model = with_random_equations(Effort, n_actions, columns=data.columns)
    found = assert_same_logits(model, data, False)
    assert set(found.inputs) == {"effort", "cue", "next_cue"} and len(found.logits) == n_actions


class Lagged(RescorlaWagnerRNN):
    """Looks back at choices, outcomes and effort."""

    lags = {"reward": 2, "action": 1, "effort": 1}

    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"] + 0.2 * self.lagged("reward", 2) - 0.1 * self.lagged("effort")
        return {"x_value_reward": value}, value + self.lagged("action") * self.lagged("reward")


class LaggedBandit(precoded.BanditRNN):
    """Its signal "reward" is what was received, the same for every option."""

    lags = {"reward": 1, "outcome": 2}

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits + trial.action * self.lagged("reward") - 0.5 * self.lagged("outcome", 2)


@pytest.mark.parametrize("n_actions", [2, 3])
def test_signals_of_earlier_trials(random_data, n_actions):
    data = with_columns(random_data(6, 20, n_actions, missing=0.15), ["effort"])
    found = assert_same_logits(with_random_equations(Lagged, n_actions, columns=data.columns), data, False)
    assert found.lagged == (("chosen", 1), ("effort", 1), ("outcome", 1), ("outcome", 2))
    data = random_data(6, 20, n_actions, **GAPS)
    model = with_random_equations(LaggedBandit, n_actions)
    assert assert_same_logits(model, data).lagged == (("outcome", 2), ("reward", 1))


def test_lagged_signals_that_are_none_of_an_option():
    class Summed(Lagged):
        lags = {"reward": 1}

        def signals(self, trial):
            return super().signals(trial) | {"reward": trial.reward * 2}

        def step(self, state, trial):
            values, logits = RescorlaWagnerRNN.step(self, state, trial)
            return values, logits + self.lagged("reward")

    with pytest.raises(ModelFormError, match="its signal 'reward' of earlier trials is none of an option or a column"):
        trace(with_random_equations(Summed), {0: 0})


def test_parameters_with_the_names_of_columns(random_data):
    class Named(HandWritten):
        def __init__(self, n_actions, **kwargs):
            super().__init__(n_actions)
            self.effort = torch.nn.Parameter(torch.tensor(0.2))

        def step(self, state, trial):
            states, logits = super().step(state, trial)
            return states, logits + self.effort * trial.inputs["effort"] * trial.action

    data = with_columns(random_data(4, 10), ["effort"])
    found = assert_same_logits(with_random_equations(Named, columns=data.columns), data, False)
    assert "effort_2" in found.parameters and found.inputs == ("effort",)


def test_the_model_is_left_as_it_was(random_data):
    model, data = with_random_equations(precoded.ChoiceRNN, 2, 3), random_data(6, 20, n_participants=3)
    before = model(data.xs, batch_first=True)[0]
    trace(model, {0: 0})
    assert torch.equal(model(data.xs, batch_first=True)[0], before)


def test_what_was_traced_is_what_one_would_write():
    found = trace(with_random_equations(ForgettingRNN), {0: 0})
    again = SymbolicModel(
        found.states, found.updates, str(found.logits), {name: Parameter(value=v) for name, v in found.values().items()}
    )
    assert again.to_sympy() == found.to_sympy()


# ---------------------------------------------------------------------- models that cannot


class Coupled(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return {name: value - 0.1 * value.mean(-1, keepdim=True) for name, value in values.items()}, logits


class Foreign(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, torch.erf(logits)


class Branches(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits if (logits > 0).all() else -logits


class BranchesOnOne(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits if logits[0, 0] > 0 else -logits


class Numpy(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits + torch.as_tensor(np.tanh(trial.reward.numpy()))


class Lopsided(RescorlaWagnerRNN):
    def step(self, state, trial):
        values, _ = super().step(state, trial)
        value = values["x_value_reward"] + 0.1 * torch.arange(self.n_actions)
        return {"x_value_reward": value}, value


class Counts(RescorlaWagnerRNN):
    def set_initial_state(self, batch_size=1):
        self.trial = 0
        return super().set_initial_state(batch_size)

    def step(self, state, trial):
        self.trial += 1
        values, logits = super().step(state, trial)
        return values, logits / self.trial


class Remembers(RescorlaWagnerRNN):
    def set_initial_state(self, batch_size=1):
        self.before = None
        return super().set_initial_state(batch_size)

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        logits = logits if self.before is None else logits + 0.5 * self.before
        self.before = trial.action
        return values, logits


class Unequal(RescorlaWagnerRNN):
    def set_initial_state(self, batch_size=1):
        super().set_initial_state(batch_size)
        self.set_state({"x_value_reward": torch.arange(self.n_actions).double().expand(batch_size, -1)})
        return self.get_state()


class Embedded(precoded.ParticipantEmbeddingRNN):
    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, logits + trial.embedding[:, :1] * trial.action


REFUSED = {
    Coupled: "reads another option's values .x_value_reward..",
    Foreign: "call torch's 'erf', which has no symbolic form",
    Branches: "branch on, or take out, values",
    BranchesOnOne: "branch on, or take out, values",
    Numpy: "branch on, or take out, values",
    Lopsided: "options differ in how their state 'x_value_reward' is updated",
    Counts: "it may keep something that is no state",
    Remembers: "it may keep something that is no state",
    Unequal: "'x_value_reward' starts at different values for different options",
    Embedded: "reads the participant embedding outside its modules",
}


@pytest.mark.parametrize("model_class", REFUSED)
def test_models_that_cannot_be_traced(model_class):
    model = with_random_equations(model_class, 3, 2 if model_class is Embedded else 1)
    with pytest.raises(ModelFormError, match=REFUSED[model_class]) as caught:
        trace(model, dict.fromkeys(range(model.n_participants), 0) | {1: 1} if model_class is Embedded else {0: 0})
    assert str(caught.value).startswith(f"{model_class.__name__} cannot be written as expressions: ")


def test_names_that_expressions_cannot_have(random_data):
    data = with_columns(random_data(4, 10), ["max"])

    class Named(HandWritten):
        def step(self, state, trial):
            states, logits = super().step(state, trial)
            return states, logits * trial.inputs["max"]

    with pytest.raises(ModelFormError, match="'max' cannot be the name of an input"):
        trace(with_random_equations(Named, columns=data.columns), {0: 0})


def test_networks_cannot_be_traced():
    with pytest.raises(ModelFormError, match=f"its module '{LEARNT}' has no equation"):
        trace(RescorlaWagnerRNN.build(2, 1), {0: 0})


# ---------------------------------------------------------------------- from the estimator


def test_the_estimators_model(fitted, agent_data):
    found = fitted.symbolic_model(gauge="network")
    assert_same_logits(fitted.spice_model_, agent_data)
    terms = fitted.equations_[fitted.participants_[0]][LEARNT].coefficients
    assert found.values()["value_reward_chosen_reward"] == pytest.approx(terms["c_reward"])
    assert found.values() == fitted.symbolic_model(fitted.participants_[0], "network").values()
    assert set(found.states) == {"x_value_reward"}


def test_the_estimators_model_by_participant(fitted_people):
    everybody, ben = (fitted_people.symbolic_model(label, "network") for label in (None, "ben"))
    assert everybody.parameters["beta"].value.keys() == {"anna", "ben", "cleo"}
    own = everybody.values("ben")
    assert {name: own[name] for name in ben.parameters} == pytest.approx(ben.values())
    assert all(own[name] == 0 for name in own.keys() - ben.parameters.keys() if "_self" not in name)
    with pytest.raises(ConfigError, match="^there are no equations for participant 'bem' .did you mean 'ben'..."):
        fitted_people.symbolic_model("bem")


def test_an_unfitted_estimator_has_no_model():
    with pytest.raises(NotFittedError):
        SpiceEstimator(RescorlaWagnerRNN, precoded.RESCORLA_WAGNER_CONFIG).symbolic_model()

"""All trials at once: scans against a plain recurrence, sweeps and adjoints against the trial loop."""

import numpy as np
import pytest
import torch

from spice.precoded import ChoiceRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.parallel import StatesInLoop, TrialsAtOnce, linear_scan, solve_states

MODELS = [RescorlaWagnerRNN, ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, ChoiceRNN]


def random(*shape, seed=0, scale=1.0, dtype=torch.float64):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make_model(model_class, n_actions=2):
    model = model_class.build(n_actions, 3, hidden_size=3).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def assert_near(found, expected, rtol=1e-12, atol=1e-12):
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=rtol, atol=atol)


# ---------------------------------------------------------------------- scans


def recurrence(factors, terms, first):
    """x[t] = factors[t] x[t - 1] + terms[t], one number at a time."""
    n_trials, n_rows, n_states, n_batch, n_actions = terms.shape
    results, x = np.empty(terms.shape), np.array(first)
    for t in range(n_trials):
        new = np.array(terms[t])
        for row, i, session, action in np.ndindex(n_rows, n_states, n_batch, n_actions):
            place = (session, action)
            if factors.ndim == terms.ndim:
                new[(row, i, *place)] += factors[(t, row, i, *place)] * x[(row, i, *place)]
            else:
                for j in range(n_states):
                    new[(row, i, *place)] += factors[(t, row, i, j, *place)] * x[(row, j, *place)]
        results[t] = x = new
    return results


@pytest.mark.parametrize("matrices", [False, True])
@pytest.mark.parametrize("n_trials", [1, 2, 7, 16, 33])
def test_a_scan_equals_a_recurrence_in_numpy(matrices, n_trials):
    shape = (n_trials, 2, 3, 2, 2)
    factors = random(n_trials, 2, 3, *((3,) if matrices else ()), 2, 2, scale=0.6)
    terms, first = random(*shape, seed=1), random(*shape[1:], seed=2)
    given = [part.clone() for part in (factors, terms, first)]
    found = linear_scan(factors, terms, first)
    np.testing.assert_allclose(found, recurrence(*(part.numpy() for part in given)), rtol=1e-11, atol=1e-11)
    assert all(torch.equal(*pair) for pair in zip((factors, terms, first), given, strict=True))


def test_a_scan_of_no_trials():
    empty = torch.zeros(0, 1, 2, 3, 2)
    assert linear_scan(empty, empty, torch.ones(1, 2, 3, 2)).shape == empty.shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("matrices", [False, True])
def test_a_scan_over_many_trials(dtype, matrices):
    """Products of factors up to 1 in size do not grow, so rounding errors only add up: 1,000 of them."""
    factors = torch.tanh(random(1000, 1, 2, *((2,) if matrices else ()), 3, 2, dtype=dtype)) / (2 if matrices else 1)
    terms, first = random(1000, 1, 2, 3, 2, seed=1, dtype=dtype), random(1, 2, 3, 2, seed=2, dtype=dtype)
    found = linear_scan(factors, terms, first)
    expected = torch.tensor(recurrence(*(part.double().numpy() for part in (factors, terms, first))))
    assert found.dtype == dtype
    assert float((found - expected).abs().max()) <= 1000 * torch.finfo(dtype).eps * float(expected.abs().max())


# ---------------------------------------------------------------------- sweeps


class Tanh:
    """States of an option that are mixed, pushed and squashed; logits are the sum of their squares."""

    def __init__(self, n_trials, coupled, strength=0.8, n_rows=2, n_states=3):
        shape = (n_trials, n_rows, n_states, 2, 2)
        mix = torch.eye(n_states, dtype=torch.float64)
        if coupled:
            mix = mix + random(n_states, n_states, seed=5, scale=0.5)
        self.mix = strength * mix / mix.abs().sum(1).max()
        self.push, self.first = random(*shape, seed=3), random(*shape[1:], seed=4)

    def __call__(self, states, push=None):
        push = self.push if push is None else push
        after = torch.tanh(torch.einsum("ij,...jba->...iba", self.mix, states) + push)
        return after, after.square().sum(-3)

    def loop(self, first=None):
        """States before each trial, and after the last, one trial at a time."""
        states = [self.first if first is None else first]
        for push in self.push:
            states.append(self(states[-1], push)[0])
        return torch.stack(states)


@pytest.mark.parametrize("coupled", [False, True])
def test_sweeps_find_what_the_loop_computes(coupled):
    step = Tanh(60, coupled)
    expected = step.loop()
    guess = step.first.expand(60, *step.first.shape)
    found = solve_states(step, guess, coupled)
    # a residual of 1e-7 (1 + 1) in every trial adds up to at most 5 times that where a state keeps 0.8 of itself
    assert_near(found.states, expected[:-1], rtol=0, atol=1e-6)
    assert_near(found.next_states, expected[1:], rtol=0, atol=1e-6)
    assert_near(found.logits, expected[1:].square().sum(-3), rtol=0, atol=1e-5)
    assert torch.equal(found.states[0], step.first)  # taken as given


@pytest.mark.parametrize("coupled", [False, True])
def test_sweeps_need_not_begin_near(coupled):
    step = Tanh(60, coupled)
    found = solve_states(step, torch.cat([step.first[None], random(59, 2, 3, 2, 2, seed=9, scale=30.0)]), coupled)
    assert_near(found.states, step.loop()[:-1], rtol=0, atol=1e-6)


def test_a_coupled_solver_handles_states_that_are_not():
    step = Tanh(40, coupled=False)
    guess = step.first.expand(40, *step.first.shape)
    one, other = (solve_states(step, guess, coupled) for coupled in (False, True))
    assert_near(one.states, other.states, rtol=0, atol=1e-6)
    assert one.derivatives.ndim == 5 and other.derivatives.ndim == 6
    assert_near(one.derivatives, other.derivatives.diagonal(0, 2, 3).movedim(-1, 2), atol=1e-6, rtol=0)


def test_a_single_trial_needs_no_solving():
    step = Tanh(1, coupled=True)
    found = solve_states(step, step.first[None], coupled=True)
    assert torch.equal(found.states[0], step.first)
    assert_near(found.next_states[0], step.loop()[1])


def chaos(states):
    """The logistic map: nothing near a guess tells where it goes."""
    return 3.9 * states * (1 - states), states.sum(2)


def overflow(states):
    return states + torch.exp(1000 * (1 + states.square())), states.sum(2)


def no_number(states):
    return torch.sqrt(states - 10), states.sum(2)


@pytest.mark.parametrize("step", [chaos, overflow, no_number])
@pytest.mark.parametrize("coupled", [False, True])
def test_sweeps_that_do_not_converge_say_so(step, coupled):
    guess = torch.full((200, 1, 1, 2, 2), 0.3, dtype=torch.float64)
    assert solve_states(step, guess, coupled) is None


@pytest.mark.parametrize("coupled", [False, True])
def test_adjoints_equal_derivatives_through_the_loop(coupled):
    """A loss that weighs the states before each trial and the last: automatic derivatives through the loop."""
    step = Tanh(25, coupled)
    weights, last = random(25, 2, 3, 2, 2, seed=6), random(2, 3, 2, 2, seed=7)
    states = [step.first.clone().requires_grad_()]
    for push in step.push:
        states.append(step(states[-1], push)[0])
    for state in states:
        state.retain_grad()
    ((weights * torch.stack(states[:-1])).sum() + (last * states[-1]).sum()).backward()
    found = solve_states(step, step.first.expand(25, *step.first.shape), coupled)
    by_next, by_first = found.adjoint(weights, last)
    assert_near(by_first, states[0].grad, rtol=1e-5, atol=1e-6)
    assert_near(by_next, torch.stack([state.grad for state in states[1:]]), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- all trials as rows of one batch


def states_of_loop(model, data):
    """States before each trial and after the last, (n_trials + 1, n_states, n_sessions, n_actions), and logits."""
    states, logits, state = [model.set_initial_state(len(data))], [], None
    for trial in data.xs.unbind(1):
        output, state = model(trial[None], state)
        logits.append(output[0])
        states.append(state)
    return torch.stack([torch.stack(list(entry.values())) for entry in states]), torch.stack(logits)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("lengths", [[12, 12, 12, 12], [1, 3, 12, 5], [0, 2, 2, 9], [7, 0, 7, 7], [0, 0, 0, 0]])
def test_the_loop_goes_on_without_sessions_that_have_ended(random_data, model_class, lengths):
    data = random_data(missing=0.2, n_participants=3)
    for session, length in enumerate(lengths):
        data.xs[session, length:, : 2 * data.n_actions] = torch.nan
    model = make_model(model_class)
    with torch.no_grad():
        expected = states_of_loop(model, data)[0][:-1]
        found = StatesInLoop(model, model.read_inputs(data.xs, batch_first=True))()
    assert_near(found, expected)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("n_actions", [2, 4])
def test_every_trial_from_the_loops_states_gives_the_loops_next_states(random_data, model_class, n_actions):
    data = random_data(n_actions=n_actions, missing=0.2, unknown=0.2, padding=True, n_participants=3)
    model = make_model(model_class, n_actions)
    with torch.no_grad():
        before, logits = states_of_loop(model, data)
        trials = TrialsAtOnce(model, model.read_inputs(data.xs, batch_first=True))
        assert trials.state_names == tuple(model.init_values)
        after, output = trials(before[:-1])
    assert_near(after, before[1:])
    assert_near(output, logits)


def test_a_missing_trial_carries_its_states_over_exactly(random_data):
    data = random_data(missing=0.4)
    model = make_model(ChoiceRNN)
    trials = TrialsAtOnce(model, model.read_inputs(data.xs, batch_first=True))
    before = random(data.shape[1], 2, len(data), 2)
    with torch.no_grad():
        after, _ = trials(before)
    kept = (before == after).all(-1).all(1)
    assert torch.equal(kept, ~data.observed.T) and kept.any()

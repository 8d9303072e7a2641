"""The compiled likelihood against a plain loop, torch's autograd and the model with the same equations."""

import math

import numpy as np
import pytest
import torch

from spice.inference.likelihood import Likelihood
from spice.inference.refine import Refinement
from spice.inference.threads import WORTH_A_THREAD
from spice.precoded import (
    BANDIT_CONFIG,
    CHOICE_CONFIG,
    FORGETTING_RNN_CONFIG,
    RESCORLA_WAGNER_CONFIG,
    BanditRNN,
    ChoiceRNN,
    ForgettingRNN,
    RescorlaWagnerRNN,
)

GAPS = {"missing": 0.15, "unknown": 0.15, "padding": True}
CASES = [(2, 1), (2, 3), (3, 1), (3, 3)]  # actions, participants
MODELS = {
    "bandit": (BanditRNN, BANDIT_CONFIG),
    "choice": (ChoiceRNN, CHOICE_CONFIG),
    "forgetting": (ForgettingRNN, FORGETTING_RNN_CONFIG),
    "rescorla-wagner": (RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG),
}


def coefficients_of(library, n_rows=1, seed=1):
    """Random coefficients of every term and bias, such that states stay bounded."""
    rng = np.random.default_rng(seed)
    values = 0.3 * rng.standard_normal((n_rows, library.n_terms + library.n_actions))
    values[:, np.flatnonzero(library.powers > 1)] *= 0.1
    values[:, library.own] += 0.4
    return values


def plain_loop(data, terms, biases):
    """Negative log-likelihood of each session, one number at a time."""
    xs, ys, n_actions = data.xs.double().numpy(), data.ys.double().numpy(), data.n_actions
    modules = {
        ("x_value_reward", True): "x_value_reward_chosen",
        ("x_value_reward", False): "x_value_reward_not_chosen",
        ("x_value_choice", True): "x_value_choice_chosen",
        ("x_value_choice", False): "x_value_choice_not_chosen",
    }
    found = []
    for session in range(len(xs)):
        states = {"x_value_reward": [0.0] * n_actions, "x_value_choice": [0.0] * n_actions}
        total = 0.0
        for trial in range(xs.shape[1]):
            choice, reward = xs[session, trial, :n_actions], xs[session, trial, n_actions : 2 * n_actions]
            if not math.isnan(choice[0]):
                received = reward[list(choice).index(1.0)]
                for state, values in states.items():
                    for option in range(n_actions):
                        module = modules[state, choice[option] == 1]
                        if module not in terms or (module == "x_value_reward_chosen" and math.isnan(received)):
                            continue
                        inputs = {
                            module: values[option],
                            "c_reward": 0.0 if math.isnan(received) else received,
                            "c_outcome": 0.0 if math.isnan(reward[option]) else reward[option],
                        }
                        values[option] = sum(
                            weight
                            * math.prod(
                                inputs[factor.split("^")[0]] ** int((factor + "^1").split("^")[1])
                                for factor in term.split(" ")
                                if factor != "1"
                            )
                            for term, weight in terms[module].items()
                        )
            target = ys[session, trial]
            if not math.isnan(target[0]):
                logits = [
                    sum(values[option] for values in states.values()) + biases[option] for option in range(n_actions)
                ]
                total += math.log(sum(map(math.exp, logits))) - logits[list(target).index(1.0)]
        found.append(total)
    return np.array(found)


def by_participant(per_session, data):
    """Sums over the sessions of each participant, in the order of their numbers."""
    people = data.participants.numpy()
    return np.array([np.asarray(per_session)[people == person].sum() for person in np.unique(people)])


def alone(likelihood, coefficients, group=0, free=None):
    """One row: value, gradient, information by all coefficients."""
    free = np.ones(len(coefficients), bool) if free is None else free
    answer = likelihood(coefficients[None], free[None], np.array([group]))
    return answer.nll[0], answer.gradient[0], answer.fisher[0]


# ---------------------------------------------------------------------- value


@pytest.mark.parametrize(("n_actions", "n_participants"), CASES)
def test_value_equals_a_plain_loop(helpers, random_data, n_actions, n_participants):
    data = helpers.with_outcomes(random_data(6, 15, n_actions, n_participants=n_participants, **GAPS))
    posed = helpers.pose_problem(data, n_participants=n_participants)
    values = coefficients_of(posed.library, n_participants)
    found = posed.likelihood(values, np.zeros(values.shape, bool), np.arange(n_participants)).nll
    assert posed.problem.participants == list(range(n_participants))
    for person in range(n_participants):
        own = data[data.participants.numpy() == person]
        terms, biases = helpers.terms_of(posed.problem, values[person], person), values[person, posed.library.n_terms :]
        assert found[person] == pytest.approx(plain_loop(own, terms, biases).sum(), rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_actions", [2, 3])
def test_value_equals_a_plain_loop_in_other_models(helpers, random_data, model, n_actions):
    """Modules that some models lack leave their states as they are."""
    data = random_data(5, 15, n_actions, **GAPS)
    posed = helpers.pose_problem(data, *MODELS[model])
    values = coefficients_of(posed.library)
    expected = plain_loop(data, helpers.terms_of(posed.problem, values[0]), values[0, posed.library.n_terms :])
    assert alone(posed.likelihood, values[0])[0] == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("n_actions", "n_participants"), CASES)
def test_value_equals_the_models_own(helpers, random_data, model, n_actions, n_participants):
    """With the same equations in the modules' place, in the network's gauge: start values and readout are in them."""
    model_class, config = MODELS[model]
    people = n_participants if model in ("bandit", "choice") else 1
    data = random_data(6, 15, n_actions, n_participants=people, **GAPS)
    if model == "bandit":
        data = helpers.with_outcomes(data)
    torch.manual_seed(3)
    network = model_class.build(n_actions, people, hidden_size=2).double()
    with torch.no_grad():
        for beta in network.betas.values():  # readouts that differ between people
            beta.parameter.fill_(1.7)
            beta.embedding.weight.normal_(0.0, 2.0)
    posed = helpers.pose_problem(data, model_class, config, n_participants=people)
    refinement = Refinement(network, config, data, 1)
    values = coefficients_of(posed.library, people)
    if model != "bandit":
        values[:, posed.library.n_terms :] = 0.0  # no biases
    found = posed.likelihood(values, np.zeros(values.shape, bool), np.arange(people)).nll
    equations = {person: refinement.network_equations(person, values[person]) for person in range(people)}
    stand_in = refinement.model_with(equations, {p: values[p, posed.library.n_terms :] for p in range(people)})
    with torch.no_grad():
        logits = stand_in(data.xs, batch_first=True)[0]
    assert logits.dtype == torch.float64
    np.testing.assert_allclose(found, by_participant(helpers.nll_of(logits, data), data), rtol=1e-10)


def test_participants_in_any_order(helpers, random_data):
    """Sessions of people in turn, with numbers that are not in a row."""
    data = random_data(6, 15, n_participants=3, **GAPS)
    data.xs[..., -1] = torch.tensor([2.0, 0.0, 2.0, 4.0, 4.0, 2.0]).unsqueeze(1)
    posed = helpers.pose_problem(data, n_participants=5)
    values = coefficients_of(posed.library, 3)
    found = posed.likelihood(values, np.zeros(values.shape, bool), np.arange(3)).nll
    assert posed.problem.participants == [0, 2, 4]
    for group, person in enumerate(posed.problem.participants):
        own = data[data.participants.numpy() == person]
        terms, biases = helpers.terms_of(posed.problem, values[group], group), values[group, posed.library.n_terms :]
        assert found[group] == pytest.approx(plain_loop(own, terms, biases).sum(), rel=1e-12)
    scored = [int(data[data.participants.numpy() == person].n_scored) for person in (0, 2, 4)]
    assert posed.problem.trials.n_scored().tolist() == scored


def test_no_terms_at_all_is_chance(helpers, random_data):
    for n_actions in (2, 3, 4):
        data = random_data(4, 10, n_actions, missing=0.2)
        posed = helpers.pose_problem(data)
        nothing = np.zeros(posed.likelihood.n_coefficients)
        assert alone(posed.likelihood, nothing)[0] == pytest.approx(data.n_scored * np.log(n_actions), rel=1e-13)


def test_overflow_is_infinite(helpers, random_data):
    posed = helpers.pose_problem(random_data(4, 60))
    values = coefficients_of(posed.library, 4)
    values[1, posed.library.own] = 1e30  # 1e30 ** 60
    values[2, np.flatnonzero(posed.library.powers > 1)] = 1e8
    everything = np.ones(values.shape, bool)
    answer = posed.likelihood(values, everything, np.zeros(4, int))
    np.testing.assert_array_equal(np.isinf(answer.nll), [False, True, True, False])
    assert (answer.nll > 0).all()
    for row in (0, 3):  # its neighbours do not notice
        nll, gradient, _ = alone(posed.likelihood, values[row])
        assert answer.nll[row] == nll
        np.testing.assert_array_equal(answer.gradient[row], gradient)


def test_certain_choices_are_no_overflow(helpers, random_data):
    """Logits of thousands: probabilities of 0 and 1 in floating point."""
    data = random_data(2, 10)
    posed = helpers.pose_problem(data)
    values = np.zeros(posed.likelihood.n_coefficients)
    values[-1] = 5000.0
    nll, gradient, fisher = alone(posed.likelihood, values)
    wrong = int((data.ys[..., 0] == 1).sum())
    assert nll == pytest.approx(5000.0 * wrong, rel=1e-12)
    assert gradient[-1] == pytest.approx(wrong) and np.isfinite(fisher).all()


# ---------------------------------------------------------------------- gradient and information


@pytest.mark.parametrize(("n_actions", "n_participants"), CASES)
def test_gradient_equals_autograd(helpers, random_data, n_actions, n_participants):
    data = helpers.with_outcomes(random_data(6, 15, n_actions, n_participants=n_participants, **GAPS))
    posed = helpers.pose_problem(data, n_participants=n_participants)
    values = coefficients_of(posed.library, n_participants)
    for person in range(n_participants):
        nll, gradient, _ = alone(posed.likelihood, values[person], person)
        own = data[data.participants.numpy() == person]
        leaf = torch.tensor(values[person], requires_grad=True)
        terms, biases = helpers.terms_of(posed.problem, leaf, person), leaf[posed.library.n_terms :]
        expected = helpers.nll_of(helpers.recursion(own, terms, biases), own).sum()
        expected.backward()
        assert nll == pytest.approx(float(expected.detach()), rel=1e-12)
        size = float(leaf.grad.norm())
        assert (leaf.grad != 0).sum() > posed.library.n_terms / 2 and size > 0
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-8, atol=1e-10 * size)


@pytest.mark.parametrize("n_actions", [2, 3])
def test_gradient_equals_finite_differences_of_a_plain_loop(helpers, random_data, n_actions):
    data = helpers.with_outcomes(random_data(3, 8, n_actions, **GAPS))
    posed = helpers.pose_problem(data)
    values, step = coefficients_of(posed.library)[0], 1e-5

    def nll(numbers):
        return plain_loop(data, helpers.terms_of(posed.problem, numbers), numbers[posed.library.n_terms :]).sum()

    expected = [(nll(values + step * unit) - nll(values - step * unit)) / (2 * step) for unit in np.eye(len(values))]
    _, gradient, _ = alone(posed.likelihood, values)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.linalg.norm(expected))


@pytest.mark.parametrize(("n_actions", "n_participants"), CASES)
def test_information_equals_that_of_the_choices(helpers, random_data, n_actions, n_participants):
    """Sum over scored choices of J' (diag p - p p') J, with J from autograd through the recursion."""
    data = helpers.with_outcomes(random_data(6, 8, n_actions, n_participants=n_participants, **GAPS))
    posed = helpers.pose_problem(data, n_participants=n_participants)
    values = coefficients_of(posed.library, n_participants)
    for person in range(n_participants):
        own = data[data.participants.numpy() == person]

        def logits(leaf, own=own, person=person):
            return helpers.recursion(own, helpers.terms_of(posed.problem, leaf, person), leaf[posed.library.n_terms :])

        leaf = torch.tensor(values[person])
        slopes = torch.autograd.functional.jacobian(logits, leaf)[own.scored]
        p = torch.softmax(logits(leaf)[own.scored], -1)
        spread = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
        expected = torch.einsum("nai,nab,nbj->ij", slopes, spread, slopes).numpy()
        _, _, fisher = alone(posed.likelihood, values[person], person)
        np.testing.assert_allclose(fisher, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())
        np.testing.assert_array_equal(fisher, fisher.T)


def test_only_what_is_free_is_differentiated_by(helpers, random_data):
    posed = helpers.pose_problem(helpers.with_outcomes(random_data(4, 15, 3, **GAPS)))
    values = coefficients_of(posed.library)[0]
    rng = np.random.default_rng(0)
    nll, gradient, fisher = alone(posed.likelihood, values)
    for share in (0.0, 0.2, 0.5):
        free = rng.random(len(values)) < share
        some = alone(posed.likelihood, values, free=free)
        assert some[0] == nll
        np.testing.assert_allclose(some[1], np.where(free, gradient, 0.0), rtol=1e-12, atol=0)
        np.testing.assert_allclose(some[2], np.where(np.outer(free, free), fisher, 0.0), rtol=1e-12, atol=0)


def test_slopes_of_terms_whose_coefficient_is_0(helpers, random_data):
    """An absent term that is free has a gradient (the score test); one that is neither is left out."""
    data = random_data(4, 15, **GAPS)
    posed = helpers.pose_problem(data)
    values = coefficients_of(posed.library)[0]
    values[::3] = 0.0
    free = np.zeros(len(values), bool)
    free[::6] = True
    leaf = torch.tensor(values, requires_grad=True)
    terms, biases = helpers.terms_of(posed.problem, leaf), leaf[posed.library.n_terms :]
    helpers.nll_of(helpers.recursion(data, terms, biases), data).sum().backward()
    _, gradient, _ = alone(posed.likelihood, values, free=free)
    np.testing.assert_allclose(gradient, np.where(free, leaf.grad.numpy(), 0.0), rtol=1e-8, atol=1e-10)
    assert np.abs(gradient[free]).max() > 0.1


# ---------------------------------------------------------------------- rows


@pytest.mark.parametrize("n_actions", [2, 3])
def test_rows_together_equal_rows_alone(helpers, random_data, n_actions):
    posed = helpers.pose_problem(random_data(6, 15, n_actions, n_participants=3, **GAPS), n_participants=3)
    values, rng = coefficients_of(posed.library, 20), np.random.default_rng(0)
    free, group = rng.random(values.shape) < 0.5, rng.integers(3, size=20)
    free[3] = False
    together = posed.likelihood(values, free, group)
    for row in range(20):
        own = posed.likelihood(values[[row]], free[[row]], group[[row]])
        for one, all_rows in zip(own, together, strict=True):
            np.testing.assert_array_equal(one[0], all_rows[row])


def test_threads_do_not_change_results(helpers, random_data):
    posed = helpers.pose_problem(random_data(6, 40, n_participants=3, **GAPS), n_participants=3)
    n_rows = 12 * WORTH_A_THREAD // len(posed.problem.trials.choices)  # about four parts of unequal length
    values, rng = coefficients_of(posed.library, n_rows), np.random.default_rng(0)
    free, group = rng.random(values.shape) < 0.1, rng.integers(3, size=n_rows)
    answers = [
        Likelihood(posed.library, posed.problem.trials, n_threads)(values, free, group) for n_threads in (1, 2, 3, 7)
    ]
    for answer in answers[1:]:
        for one, other in zip(answer, answers[0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_rows(helpers, random_data):
    posed = helpers.pose_problem(random_data(2, 5))
    n = posed.likelihood.n_coefficients
    answer = posed.likelihood(np.zeros((0, n)), np.zeros((0, n), bool), np.zeros(0, int))
    assert answer.nll.shape == (0,) and answer.gradient.shape == (0, n) and answer.fisher.shape == (0, n, n)

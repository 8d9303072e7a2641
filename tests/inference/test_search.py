"""The search finds the structures of known agents, and what a number must gain."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from spice.equations import Equation
from spice.inference.criteria import UNUSUAL, price_of_a_number
from spice.inference.refine import Refinement
from spice.inference.report import Report
from spice.precoded import BANDIT_CONFIG, BanditRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = {(LEARNT, LEARNT), (LEARNT, "c_reward")}
TRUTH = {  # free terms, and tied modules that move
    "rescorla-wagner": (DELTA, set()),
    "forgetting": (DELTA | {(OTHERS, OTHERS)}, set()),
    "asymmetric rates": (DELTA | {(LEARNT, f"{LEARNT} c_reward")}, set()),
    "perseveration": (DELTA | {(REPEATED, "1")}, {NOT_REPEATED}),
    "slow choice trace": (DELTA | {(REPEATED, "1"), (REPEATED, REPEATED)}, {NOT_REPEATED}),
    "counterfactual": (DELTA | {(OTHERS, OTHERS)}, {OTHERS}),
}


def structure_of(refinement, refined):
    """Free terms and biases, and tied modules of states that move, of the best structure."""
    library, layout, rows = refinement.problem.library, refinement.layout, refined.fit.rows
    names = [module.name for module in library.modules]
    terms = {(names[library.module[n]], library.names[n]) for n in np.flatnonzero(rows.free[0, : library.n_terms])}
    biases = {("bias", k) for k in np.flatnonzero(rows.free[0, layout.biases])}
    states = {
        names[library.module[n]].rsplit("_", 1)[0].removesuffix("_not")
        for n in np.flatnonzero(rows.free[0, : library.n_terms])
    }
    tied = {
        name
        for name, tie in zip(names, rows.tied[0], strict=True)
        if tie and name.rsplit("_", 1)[0].removesuffix("_not") in states
    }
    return terms | biases, tied


# ---------------------------------------------------------------------- mechanisms


@pytest.mark.parametrize("name", TRUTH)
def test_mechanisms_are_found(searched, name):
    refinement, refined, _ = searched(name)
    assert structure_of(refinement, refined) == TRUTH[name]
    assert refined.fit.converged.all()


@pytest.mark.parametrize("name", ["rescorla-wagner", "forgetting"])
def test_mechanisms_are_found_among_three_options(searched, name):
    refinement, refined, _ = searched(name, n_actions=3)
    assert structure_of(refinement, refined) == TRUTH[name]


def test_a_bias_is_found(searched):
    refinement, refined, _ = searched("rescorla-wagner", bias=(0.0, 0.8))
    terms, tied = TRUTH["rescorla-wagner"]
    assert structure_of(refinement, refined) == (terms | {("bias", 1)}, tied)
    assert refined.biases[0] == 0 and refined.biases[1] == pytest.approx(0.8, abs=0.2)


def test_choices_at_random_have_no_equations(helpers):
    data = helpers.simulated(30, 60, seed=5, beta_reward=0.0)
    refinement = helpers.refinement_of(data)
    refined = refinement.run({0: None})[0]
    assert structure_of(refinement, refined) == (set(), set())
    assert refined.fit.nll[0] == pytest.approx(data.n_scored * np.log(2))


def unusual(refinement, rows):
    """Terms that cost more, told apart by their names: see DESIGN section 4 for what mechanisms are made of."""
    library, layout = refinement.problem.library, refinement.layout
    usual = {
        LEARNT: {LEARNT, "c_reward", f"{LEARNT} c_reward"},
        OTHERS: {OTHERS, "1"},  # counterfactual outcomes are usual only where they are tied, and so not free
        REPEATED: {"1", REPEATED},
        NOT_REPEATED: {"1"},
    }
    names = [(library.modules[m].name, term) for m, term in zip(library.module, library.names, strict=True)]
    free = {name for name, there in zip(names, rows.free[0], strict=False) if there}
    present = {name for name, there in zip(names, layout.present(rows)[0], strict=False) if there}
    strange = {(module, term) for module, term in free if term not in usual[module]}
    plainer = {
        (module, term): {term.replace(f"{module} ", "")}
        if term.startswith(f"{module} ")
        else {module}
        if term == f"{module}^2"
        else set(term.split(" "))
        if " " in term
        else {term.split("^")[0]} - {term}
        for module, term in present
    }
    lonely = {
        (module, term)
        for (module, term), others in plainer.items()
        if others and not any((module, other) in present for other in others)
    }
    return len(strange | lonely)


@pytest.mark.parametrize("name", TRUTH)
def test_the_criterion_of_all_that_was_fitted(searched, name):
    """Twice the objective plus one price for every number but the starts, which is log n at least.

    Terms that are no mechanism of the field, and products without a plainer term, cost `UNUSUAL` more.
    """
    refinement, refined, data = searched(name)
    visited = refined.visited
    assert refined.n_scored == data.n_scored == 6000
    prices = []
    for fit, score in zip(visited.fits, visited.scores, strict=True):
        size = fit.rows.free[0].sum() - fit.rows.free[0, refinement.layout.starts].sum()
        more = UNUSUAL * unusual(refinement, fit.rows)
        if size:
            prices.append((score - 2 * fit.loss[0] - more) / size)
        else:
            assert score == 2 * fit.loss[0]
    np.testing.assert_allclose(prices, prices[0], rtol=1e-6)
    assert prices[0] >= np.log(6000) - 1e-6
    assert visited.scores[visited.best()] == min(visited.scores)
    assert sorted(visited.places.values()) == list(range(len(visited.fits)))


def test_what_it_found_predicts_as_well_as_the_agent(searched, helpers, mechanisms):
    """The likelihood of the best structure is that of the model with its equations, and no worse than the truth's."""
    for name in TRUTH:
        refinement, refined, data = searched(name)
        model = refinement.model_with({0: refined.equations}, {0: refined.biases})
        with torch.no_grad():
            logits = model(data.xs, batch_first=True)[0]
        own = float(helpers.nll_of(logits, data).sum() + helpers.penalty(refinement.layout, refined.fit)[0])
        assert own == pytest.approx(refined.fit.loss[0], rel=1e-9)


def test_the_search_is_repeatable_and_goes_on_from_sindys_equations(searched, helpers):
    refinement, refined, data = searched("forgetting", n_sessions=20)
    controls = {name: BANDIT_CONFIG.inputs(name) for name in BANDIT_CONFIG.rnn_modules}
    proposal = {name: Equation(name, controls[name], {name: 0.97, "1": 0.1}) for name in controls}
    proposal[LEARNT] = Equation(LEARNT, controls[LEARNT], {"1": -0.3, LEARNT: 0.7, "c_reward": 0.9})
    proposal[NOT_REPEATED] = Equation(NOT_REPEATED, (), {NOT_REPEATED: 1.0})
    again, other = helpers.refinement_of(data).run({0: None})[0], helpers.refinement_of(data).run({0: proposal})[0]
    assert again.equations == refined.equations and again.visited.scores == refined.visited.scores
    assert structure_of(refinement, other) == structure_of(refinement, refined)
    assert other.fit.nll[0] == pytest.approx(refined.fit.nll[0], abs=1e-5)
    assert len(other.visited.fits) > 0


def test_people_are_searched_one_by_one(helpers, people_data):
    """The same as if each were alone."""
    torch.manual_seed(0)
    network = BanditRNN.build(2, 3, hidden_size=2).double()
    together = Refinement(network, BANDIT_CONFIG, people_data, 1)
    assert together.problem.participants == [0, 1, 2]
    for person in range(3):
        own = people_data[people_data.participants.numpy() == person]
        alone = Refinement(network, BANDIT_CONFIG, own, 1)
        assert alone.problem.participants == [person]
        one, other = together.run({person: None})[person], alone.run({0: None})[0]
        assert one.fit.nll[0] == pytest.approx(other.fit.nll[0], rel=1e-12)
        assert one.equations == other.equations and one.n_scored == 120


@pytest.mark.parametrize("n_trials", [1, 2, 5])
def test_hardly_any_data(random_data, helpers, n_trials):
    """One session: a result, whatever it may say, and no crash."""
    refinement = helpers.refinement_of(random_data(1, n_trials))
    refined = refinement.run({0: None})[0]
    assert refined.n_scored == n_trials and 0 <= refined.fit.nll[0] <= n_trials * np.log(2) + 1e-9
    form = Report(refinement, 0, refined, 0, {}).results().canonical
    assert isinstance(form.parameters, dict)


def test_a_participant_without_a_scored_choice(random_data, helpers):
    data = random_data(4, 10, n_participants=2)
    data.ys[1::2] = torch.nan
    refinement = helpers.refinement_of(data, n_participants=2)
    refined = refinement.run({1: None})[1]
    assert refined.n_scored == 0 and refined.fit.nll[0] == 0 and structure_of(refinement, refined) == (set(), set())


STRONG = {  # simulated in 4 sessions of 100 trials
    "slow trace": ({"beta_reward": 0.0, "beta_choice": 3.0, "alpha_choice": 0.3}, 3),
    "bias": ({"beta_reward": 0.0, "bias": (0.0, 3.0)}, 0),
}


@pytest.mark.parametrize("name", [pytest.param("slow trace"), "bias"])
def test_overwhelming_evidence_is_not_ignored(helpers, name):
    """Whatever the choices leave open, what is reported loses no more than some prices against the best structure."""
    parameters, seed = STRONG[name]
    refined = helpers.refinement_of(helpers.simulated(4, 100, seed=seed, **parameters)).run({0: None})[0]
    price = price_of_a_number(400, 20)
    lost = refined.fit.nll[0] - min(fit.nll[0] for fit in refined.visited.fits)
    assert 2 * lost <= 4 * price


def test_the_same_choice_throughout(helpers):
    """Whatever explains it, something does: chance would be 83 nats."""
    data = helpers.simulated(4, 30, seed=0, bias=(0.0, 50.0), beta_reward=0.0)
    refined = helpers.refinement_of(data).run({0: None})[0]
    assert refined.fit.nll[0] < 5.0 and np.isfinite(refined.fit.numbers).all()


# ---------------------------------------------------------------------- the price of a number


@pytest.mark.parametrize("n_candidates", [1, 5, 24, 100])
def test_the_price_is_log_n_but_never_below_bonferronis(n_candidates):
    """Twice that of a two-sided z test with 20 choices, in whose likelihood ratio chi-squared is not to be trusted."""
    threshold = norm.isf(0.05 / n_candidates / 2) ** 2
    for n_scored in (20, 100, 1000, 10_000, 10_000_000):
        expected = max(np.log(n_scored), threshold * (1 + 20 / n_scored))
        assert price_of_a_number(n_scored, n_candidates) == pytest.approx(expected, rel=1e-9)


def test_the_price_without_data_or_candidates_is_finite():
    prices = [price_of_a_number(n, k) for n in (0, 1, 2) for k in (0, 1)]
    assert np.isfinite(prices).all() and min(prices) > norm.isf(0.025) ** 2

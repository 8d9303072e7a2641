"""Moves between structures: neighbours that make sense, each once, written in one way."""

import numpy as np
import pytest

from spice.inference.moves import Moves
from spice.inference.structure import Structures

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]
CROSSED = (LEARNT, f"{LEARNT} c_reward")
TRACE = [(REPEATED, "1"), (REPEATED, REPEATED)]
TIED = [NOT_REPEATED]
STRUCTURES = {  # free numbers, tied modules
    "empty": ([], TIED),
    "delta rule": (DELTA, TIED),
    "two rates": ([*DELTA, CROSSED], TIED),
    "forgetting": ([*DELTA, (OTHERS, OTHERS)], TIED),
    "forgetting target": ([*DELTA, (OTHERS, OTHERS), (OTHERS, "1")], TIED),
    "counterfactual": ([*DELTA, (OTHERS, OTHERS)], [NOT_REPEATED, OTHERS]),
    "perseveration": ([*DELTA, (REPEATED, "1")], TIED),
    "slow trace": ([*DELTA, *TRACE], TIED),
    "two slow traces": ([*DELTA, *TRACE, (NOT_REPEATED, NOT_REPEATED)], []),
    "biased": ([1, 2], TIED),
}


@pytest.fixture(scope="module", params=["binary", "shown", "continuous"])
def posed(request, helpers, random_data):
    """Binary rewards (r² is r), outcomes of others shown, and continuous rewards."""
    if request.param == "continuous":
        return helpers.pose_problem(random_data(8, 30, n_actions=3))
    extra = {"alpha_counterfactual": 0.2} if request.param == "shown" else {}
    return helpers.pose_problem(helpers.simulated(8, 30, n_actions=3, **extra))


def as_they_are(rows):
    return np.hstack([rows.free, rows.tied])


def permitted(helpers, posed, name):
    """The structure, as settled; None where the data cannot tell its terms apart from others."""
    row = posed.moves.settle(helpers.structure(posed.layout, *STRUCTURES[name]))
    free = STRUCTURES[name][0]
    at = [posed.layout.biases[key] if isinstance(key, int) else helpers.number_of(posed.layout, *key) for key in free]
    kept = row.free[0, at].all()
    tied = OTHERS not in STRUCTURES[name][1] or posed.allowed[0, helpers.number_of(posed.layout, OTHERS, "c_outcome")]
    return row if kept and tied else None


NAMES = pytest.mark.parametrize("name", STRUCTURES)


def test_what_the_data_cannot_tell_apart_is_not_offered(helpers, posed):
    rewards = posed.data.xs[..., 3:6]
    binary = set(rewards[~rewards.isnan()].tolist()) <= {0.0, 1.0}
    shown = not bool(rewards.isnan().any())
    allowed = lambda *key: posed.allowed[0, helpers.number_of(posed.layout, *key)]  # noqa: E731
    assert allowed(LEARNT, "c_reward") and allowed(*CROSSED)
    assert allowed(LEARNT, "c_reward^2") != binary
    assert allowed(OTHERS, "c_outcome") == shown and allowed(OTHERS, f"{OTHERS} c_outcome") == shown


@NAMES
def test_neighbours_are_different_structures(helpers, posed, name):
    row = permitted(helpers, posed, name)
    if row is None:
        pytest.skip("not offered by these data")
    found = posed.moves.neighbours(row)
    keys = found.keys()
    assert len(set(keys)) == len(keys) > 20
    assert row.keys()[0] not in keys
    assert np.unique(as_they_are(found), axis=0).shape[0] == len(found)


def test_a_fits_row_is_not_among_its_neighbours(helpers, posed):
    row = posed.moves.settle(helpers.structure(posed.layout, *STRUCTURES["delta rule"]))
    assert row.keys()[0] not in posed.moves.neighbours(posed.layout.with_starts(row)).keys()


@NAMES
def test_settling_again_changes_nothing(helpers, posed, name):
    row = helpers.structure(posed.layout, *STRUCTURES[name])
    rows = Structures.concatenate([row, posed.moves.neighbours(row)])
    once = posed.moves.settle(rows)
    np.testing.assert_array_equal(as_they_are(once), as_they_are(posed.moves.settle(once)))


def test_settling_does_not_change_the_model(helpers, posed):
    """Of states that something moves, every coefficient stays what it was."""
    rows = posed.moves.neighbours(helpers.structure(posed.layout, [*DELTA, *TRACE, 1]))
    untidy = Structures(rows.free, rows.tied.copy())
    still = ~rows.free[:, helpers.number_of(posed.layout, REPEATED, "1")]
    untidy.tied[:, 3] &= rows.free[:, helpers.number_of(posed.layout, REPEATED, REPEATED)]  # both fixed alike
    numbers = np.random.default_rng(0).uniform(0.1, 0.9, rows.free.shape)
    before, after = (posed.layout.coefficients(numbers, entry)[0] for entry in (untidy, posed.moves.settle(untidy)))
    np.testing.assert_array_equal(before[~still], after[~still])
    np.testing.assert_array_equal(as_they_are(posed.moves.settle(untidy)), as_they_are(rows))


@NAMES
def test_every_free_number_is_allowed(helpers, posed, name):
    row = helpers.structure(posed.layout, *STRUCTURES[name])
    free = posed.moves.neighbours(row).free
    assert not free[:, ~posed.allowed[0]].any()
    assert not free[:, posed.layout.starts].any() and not free[:, posed.layout.biases[0]].any()


@NAMES
def test_neighbours_make_sense(helpers, posed, name):
    """One model, one structure: see DESIGN section 4 on the gauge."""
    rows = posed.moves.neighbours(helpers.structure(posed.layout, *STRUCTURES[name]))
    number = lambda *key: helpers.number_of(posed.layout, *key)  # noqa: E731
    names = [module.name for module in posed.library.modules]
    driven = posed.layout.driven(rows.free)
    learnt, others, not_repeated = map(names.index, (LEARNT, OTHERS, NOT_REPEATED))
    # a constant of the chosen option's value, or of the trace of the others: the gauge has none
    assert not rows.free[:, [number(LEARNT, "1"), number(NOT_REPEATED, "1")]].any()
    # a forgetting target needs a pull, and outcomes of its own have a constant already
    target = rows.free[:, number(OTHERS, "1")]
    assert not (target & (~rows.free[:, number(OTHERS, OTHERS)] | driven[:, others])).any()
    # nobody learns about the others who does not learn about the chosen option
    assert not (driven[:, others] & ~driven[:, learnt]).any()
    tied = rows.tied[:, others]
    assert not (tied & ~rows.free[:, number(LEARNT, "c_reward")]).any()
    # a trace that nothing moves is in its usual form
    still = ~rows.free[:, number(REPEATED, "1")]
    assert not rows.free[still][:, [number(REPEATED, REPEATED), number(NOT_REPEATED, NOT_REPEATED)]].any()
    assert rows.tied[still, not_repeated].all()
    assert not (rows.tied[:, not_repeated] & rows.free[:, number(NOT_REPEATED, NOT_REPEATED)]).any()


def shows_nowhere(posed, rows):
    """Free numbers of rows on which no coefficient depends."""
    numbers = np.random.default_rng(0).uniform(0.1, 0.9, rows.free.shape)
    _, jacobian = posed.layout.coefficients(numbers, rows)
    return rows.free & ~(jacobian != 0).any(1)


def tied_and_free(helpers, posed, rows):
    return rows.tied[:, 1] & rows.free[:, helpers.number_of(posed.layout, OTHERS, "c_outcome")]


@NAMES
def test_every_free_number_shows(helpers, posed, name):
    rows = posed.moves.neighbours(helpers.structure(posed.layout, *STRUCTURES[name]))
    assert not shows_nowhere(posed, rows[~tied_and_free(helpers, posed, rows)]).any()


def test_what_is_tied_is_not_free(helpers):
    posed = helpers.pose_problem(helpers.simulated(8, 30, alpha_counterfactual=0.2))
    rows = posed.moves.neighbours(helpers.structure(posed.layout, *STRUCTURES["counterfactual"]))
    assert not tied_and_free(helpers, posed, rows).any() and not shows_nowhere(posed, rows).any()


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("delta rule", "two rates"),
        ("delta rule", "forgetting"),
        ("delta rule", "counterfactual"),
        ("delta rule", "perseveration"),
        ("delta rule", "slow trace"),
        ("forgetting", "forgetting target"),
        ("forgetting", "counterfactual"),
        ("perseveration", "slow trace"),
        ("slow trace", "two slow traces"),
    ],
)
def test_mechanisms_are_neighbours(helpers, posed, here, there):
    """In both directions."""
    rows = [permitted(helpers, posed, name) for name in (here, there)]
    if None in rows:
        pytest.skip("not offered by these data")
    for one, other in (rows, rows[::-1]):
        assert other.keys()[0] in posed.moves.neighbours(one).keys()


def test_two_steps_at_a_time(helpers, posed):
    """Swaps and pairs: from no terms to the delta rule, and from one mechanism to another."""
    rows = {name: permitted(helpers, posed, name) for name in STRUCTURES}
    assert rows["delta rule"].keys()[0] in posed.moves.neighbours(rows["empty"]).keys()
    assert rows["perseveration"].keys()[0] in posed.moves.neighbours(rows["forgetting"]).keys()


def test_sizes_count_what_is_free_but_the_starts(helpers, posed):
    sizes = {name: posed.layout.sizes(helpers.structure(posed.layout, *entry))[0] for name, entry in STRUCTURES.items()}
    assert sizes == {name: len(entry[0]) for name, entry in STRUCTURES.items()}


def test_the_number_of_candidates(helpers, posed):
    """All that are told apart but the two constants that the gauge has no use for; biases but the first."""
    names = [module.name for module in posed.library.modules]
    terms = {
        (names[posed.library.module[n]], posed.library.names[n])
        for n in np.flatnonzero(posed.allowed[0][: posed.library.n_terms])
    }
    terms -= {(LEARNT, "1"), (NOT_REPEATED, "1")}
    assert posed.moves.n_candidates == len(terms) + 2


def test_the_empty_structure_is_settled(posed):
    empty = posed.moves.empty()
    assert not empty.free.any()
    np.testing.assert_array_equal(as_they_are(posed.moves.settle(empty)), as_they_are(empty))


def test_no_moves_at_all(helpers, random_data):
    """Nothing that the data could tell: no neighbours."""
    posed = helpers.pose_problem(random_data(2, 5))
    moves = Moves(posed.layout, np.zeros(posed.layout.n_numbers, bool))
    assert len(moves.neighbours(moves.empty())) == 0 and moves.n_candidates == 0

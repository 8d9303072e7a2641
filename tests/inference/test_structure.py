"""Structures: coefficients that follow from others, their derivatives, and where starts are free."""

import numpy as np
import pytest

from spice.inference.structure import Structures

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]
CROSSED = f"{LEARNT} c_reward"
TIED = [NOT_REPEATED]
OUTCOMES = [NOT_REPEATED, OTHERS]
FORGETS = (OTHERS, OTHERS)
STRUCTURES = {  # free numbers, tied modules
    "empty": ([], TIED),
    "delta rule": (DELTA, TIED),
    "sum of rewards": ([(LEARNT, "c_reward")], TIED),
    "two rates": ([*DELTA, (LEARNT, CROSSED)], TIED),
    "worse outcome alone": ([(LEARNT, LEARNT)], [NOT_REPEATED, LEARNT]),
    "worse outcome alone, forgetting": ([(LEARNT, LEARNT), FORGETS], [NOT_REPEATED, LEARNT]),
    "powers": ([*DELTA, (LEARNT, f"{LEARNT}^2"), (LEARNT, "c_reward^2")], TIED),
    "forgetting": ([*DELTA, FORGETS], TIED),
    "forgetting target": ([*DELTA, FORGETS, (OTHERS, "1")], TIED),
    "counterfactual": ([*DELTA, FORGETS], OUTCOMES),
    "counterfactual, two rates": ([*DELTA, (LEARNT, CROSSED), FORGETS], OUTCOMES),
    "own outcome scale": ([*DELTA, FORGETS, (OTHERS, "c_outcome")], TIED),
    "two inputs for the others": (
        [*DELTA, FORGETS, (OTHERS, "c_outcome"), (OTHERS, f"{OTHERS} c_reward"), (OTHERS, "c_reward c_outcome")],
        TIED,
    ),
    "last choice": ([(REPEATED, "1")], TIED),
    "tied trace": ([(REPEATED, "1"), (REPEATED, REPEATED)], TIED),
    "free trace": ([(REPEATED, "1"), (REPEATED, REPEATED), (NOT_REPEATED, NOT_REPEATED)], []),
    "everything": ([*DELTA, (LEARNT, CROSSED), FORGETS, (REPEATED, "1"), (REPEATED, REPEATED), 1, 2], OUTCOMES),
}


@pytest.fixture(scope="module")
def posed(helpers, random_data):
    return helpers.pose_problem(helpers.with_outcomes(random_data(4, 15, n_actions=3)))


@pytest.fixture(scope="module")
def row_of(helpers, posed):
    return lambda name: helpers.structure(posed.layout, *STRUCTURES[name])


def numbers_of(layout, seed=0):
    """Multipliers stay below 1 at every outcome."""
    return np.random.default_rng(seed).uniform(0.1, 0.45, (1, layout.n_numbers))


def expected_of(posed, row, numbers):
    """Coefficients by module and term, from the words of DESIGN section 4 alone."""
    layout, library, free, value = posed.layout, posed.library, row.free[0], numbers[0]
    names = [module.name for module in library.modules]
    at = {(names[library.module[n]], library.names[n]): n for n in range(library.n_terms)}
    found = {key: value[n] if free[n] else 0.0 for key, n in at.items()}
    for name in names:
        if not free[at[name, name]]:
            found[name, name] = float(name in (LEARNT, OTHERS))  # a value stays, a choice trace does not
    if row.tied[0, names.index(NOT_REPEATED)]:
        found[NOT_REPEATED, NOT_REPEATED] = found[REPEATED, REPEATED]
    start = value[layout.starts[0]]
    if row.tied[0, names.index(OTHERS)]:  # outcomes lead to the same value; the best one's, 1, is where it is kept
        rate = 1 - found[LEARNT, LEARNT] - found[LEARNT, CROSSED]
        best = (found[LEARNT, "c_reward"] - (1 - found[LEARNT, LEARNT]) * start) / rate
        found[OTHERS, "c_outcome"] = (1 - found[OTHERS, OTHERS]) * (best + start)
    if row.tied[0, names.index(LEARNT)]:  # an outcome of 1, the largest, leaves the value as it is
        found[LEARNT, CROSSED] = 1 - found[LEARNT, LEARNT]
        found[LEARNT, "c_reward"] = (1 - found[LEARNT, LEARNT]) * start
    for name in (LEARNT, OTHERS):
        if any(found[key] != 0 for key in at if key[0] == name and "c_" in key[1]):
            found[name, "1"] = -(1 - found[name, name]) * start
    biases = np.where(free[layout.biases], value[layout.biases], 0.0)
    return np.concatenate([[found[names[library.module[n]], library.names[n]] for n in range(library.n_terms)], biases])


@pytest.mark.parametrize("name", STRUCTURES)
def test_coefficients_are_those_of_the_design(posed, row_of, name):
    numbers, row = numbers_of(posed.layout), row_of(name)
    found, _ = posed.layout.coefficients(numbers, row)
    np.testing.assert_allclose(found[0], expected_of(posed, row, numbers), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("seed", [1, 2])
def test_jacobian_equals_finite_differences(posed, row_of, name, seed):
    row, numbers, step = row_of(name), numbers_of(posed.layout, seed), 1e-6
    _, jacobian = posed.layout.coefficients(numbers, row)
    for k, unit in enumerate(np.eye(posed.layout.n_numbers)):
        ahead, back = (posed.layout.coefficients(numbers + sign * step * unit, row)[0][0] for sign in (1, -1))
        np.testing.assert_allclose(jacobian[0, :, k], (ahead - back) / (2 * step), rtol=1e-7, atol=1e-8)


def test_rows_do_not_mix(posed, row_of):
    rows = Structures.concatenate([row_of(name) for name in STRUCTURES])
    numbers = np.concatenate([numbers_of(posed.layout, seed) for seed in range(len(rows))])
    values, slopes = posed.layout.coefficients(numbers, rows)
    for i in range(len(rows)):
        value, slope = posed.layout.coefficients(numbers[[i]], rows[[i]])
        np.testing.assert_array_equal(values[i], value[0])
        np.testing.assert_array_equal(slopes[i], slope[0])


def test_coefficients_that_are_needed_are_those_that_move(posed, row_of):
    for name in STRUCTURES:
        row, first, second = row_of(name), numbers_of(posed.layout, 1), numbers_of(posed.layout, 2)
        (one, jacobian), (other, _) = (posed.layout.coefficients(numbers, row) for numbers in (first, second))
        np.testing.assert_array_equal(posed.layout.needed(jacobian)[0], one[0] != other[0])


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_start_is_free_exactly_where_it_shows(posed, row_of, name):
    """Of a value with outcomes, unless it keeps all of itself; a choice trace starts at 0."""
    row = row_of(name)
    value, trace = posed.layout.starts
    learns = name not in ("empty", "sum of rewards", "last choice", "tied trace", "free trace")
    assert row.free[0, value] == learns and not row.free[0, trace]
    shows = [posed.layout.coefficients(numbers, row)[0] for numbers in (numbers_of(posed.layout),)]
    moved = numbers_of(posed.layout)
    moved[0, value] += 1.0
    assert learns == bool((posed.layout.coefficients(moved, row)[0] != shows[0]).any())


def test_the_terms_that_are_outcomes(helpers, posed):
    """The chosen option's is the reward received, that of the others their own; a choice trace has none."""
    number = lambda *key: helpers.number_of(posed.layout, *key)  # noqa: E731
    names = [module.name for module in posed.library.modules]
    outcomes = dict(zip(names, posed.layout.outcome.tolist(), strict=True))
    assert outcomes == {
        LEARNT: number(LEARNT, "c_reward"),
        OTHERS: number(OTHERS, "c_outcome"),
        REPEATED: -1,
        NOT_REPEATED: -1,
    }


def test_keys_tell_structures_apart(posed, row_of):
    rows = [row_of(name) for name in STRUCTURES]
    keys = Structures.concatenate([*rows, *rows]).keys()
    assert keys[: len(rows)] == keys[len(rows) :] and len(set(keys)) == len(rows)

"""Acceleration of fixed points: exact for linear maps after as many steps as there are numbers."""

import numpy as np

from spice.inference.fitting.em.anderson import LONGEST, Extrapolation


def test_a_linear_map_is_solved_in_as_many_steps_as_it_has_numbers():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    slow = axes @ np.diag([0.85, 0.5, 0.2]) @ axes.T  # plainly, 1e-8 takes over a hundred steps
    fixed = rng.normal(size=3)
    x, ahead = np.zeros(3), Extrapolation()
    for _ in range(5):
        x = x + ahead(x, slow @ (x - fixed) + fixed - x)
    np.testing.assert_allclose(x, fixed, atol=1e-8)


def test_steps_are_plain_at_first_and_never_too_long():
    ahead = Extrapolation()
    assert not ahead.knows
    np.testing.assert_array_equal(ahead(np.zeros(1), np.ones(1)), [1.0])
    assert ahead.knows
    step = ahead(np.ones(1), np.array([0.999]))  # says that the fixed point is a thousand steps away
    np.testing.assert_allclose(step, LONGEST * 0.999)
    ahead.forget()
    assert not ahead.knows

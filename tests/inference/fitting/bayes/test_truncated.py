"""Truncated normal distributions against scipy's, and derivatives against differences."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from spice.inference.fitting.bayes.predictive import truncated_draws
from spice.inference.fitting.bayes.truncated import log_mass, on_theta
from spice.inference.fitting.transforms import ABOVE, BELOW, BETWEEN, FREE

BOUNDS = {FREE: (-np.inf, np.inf), ABOVE: (0.0, np.inf), BELOW: (-np.inf, 1.0), BETWEEN: (0.0, 1.0)}


def exact_mass(m, s, low, high):
    """With 60 digits, from the tail in which the window lies."""
    with mpmath.workdps(60):
        m, s = mpmath.mpf(m), mpmath.mpf(s)
        a, b = (mpmath.mpf(low) - m) / s, (mpmath.mpf(high) - m) / s
        return mpmath.log(mpmath.ncdf(b) - mpmath.ncdf(a) if b < 0 else mpmath.ncdf(-a) - mpmath.ncdf(-b))


def cases(n=60):
    rng = np.random.default_rng(0)
    return [(float(rng.normal(0.5, 2)), float(10 ** rng.uniform(-1.3, 3))) for _ in range(n)]


@pytest.mark.parametrize("kind", [ABOVE, BELOW, BETWEEN])
def test_the_mass_and_its_slopes_have_full_precision_near_and_far(kind):
    low, high = BOUNDS[kind]
    for m, s in cases():
        value, by_m, by_s = log_mass(m, s, low, high)
        with mpmath.workdps(60):
            wanted, h = exact_mass(m, s, low, high), mpmath.mpf(s) / 10**15
            wanted_m = (exact_mass(m + h, s, low, high) - exact_mass(m - h, s, low, high)) / (2 * h)
            wanted_s = (exact_mass(m, s + h, low, high) - exact_mass(m, s - h, low, high)) / (2 * h)
        # the series of a narrow window ends at its sixth power: 0.1**6 / 180,000 of a nat
        assert value == pytest.approx(float(wanted), rel=1e-11, abs=1e-11), (m, s)
        assert by_m == pytest.approx(float(wanted_m), rel=1e-9, abs=1e-9 / s), (m, s)
        assert by_s == pytest.approx(float(wanted_s), rel=1e-9, abs=1e-9 / s), (m, s)


def test_without_bounds_there_is_nothing_to_lose():
    assert log_mass(3.0, 2.0, -np.inf, np.inf) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", [ABOVE, BELOW, BETWEEN])
@pytest.mark.parametrize(("m", "s"), [(0.3, 0.2), (0.02, 0.4), (0.9, 0.7), (0.5, 8.0)])
def test_moments_are_those_of_scipy_by_the_delta_method(kind, m, s):
    low, high = BOUNDS[kind]
    truncated = stats.truncnorm((low - m) / s, (high - m) / s, m, s)
    mean, sd = truncated.mean(), truncated.std()
    below, above = mean - low, high - mean
    if kind == ABOVE:
        mu, slope = np.log(below), 1 / below
    elif kind == BELOW:
        mu, slope = -np.log(above), 1 / above
    else:
        mu, slope = np.log(below / above), 1 / below + 1 / above
    np.testing.assert_allclose(on_theta(kind, m, s, low, high)[:2], (mu, sd * slope), rtol=1e-7)  # scipy's own limit


@pytest.mark.parametrize("kind", [ABOVE, BELOW, BETWEEN])
def test_slopes_of_the_moments_are_those_of_differences(kind):
    low, high = BOUNDS[kind]
    for m, s in cases():
        outside = max(low - m, m - high, 0.0) / s
        if outside > 5:
            continue  # differences lose their digits there
        h = 1e-5 * s
        found = on_theta(kind, m, s, low, high)
        by_m = (np.array(on_theta(kind, m + h, s, low, high)) - on_theta(kind, m - h, s, low, high))[:2] / (2 * h)
        by_s = (np.array(on_theta(kind, m, s + h, low, high)) - on_theta(kind, m, s - h, low, high))[:2] / (2 * h)
        wanted = (by_m[0], by_s[0], by_m[1], by_s[1])
        np.testing.assert_allclose(found[2:], wanted, rtol=2e-5, atol=2e-6 / s, err_msg=f"{m} {s}")


def test_locations_far_outside_stay_usable():
    for m in (-1e3, 1e3):
        assert np.isfinite(on_theta(BETWEEN, m, 0.01, 0.0, 1.0)).all()


def test_draws_have_scipys_distribution():
    rng = np.random.default_rng(1)
    for m, s, low, high in [(0.1, 0.3, 0.0, 1.0), (-2.0, 0.5, 0.0, np.inf), (4.0, 1.0, -np.inf, 1.0)]:
        draws = truncated_draws(np.full(2000, m), np.full(2000, s), low, high, rng)
        assert stats.kstest(draws, stats.truncnorm((low - m) / s, (high - m) / s, m, s).cdf).pvalue > 1e-3

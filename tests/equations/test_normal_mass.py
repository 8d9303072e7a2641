"""The normal distribution's mass between two numbers, beside 60 digits."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from spice.equations.normal_mass import log_normal_mass


@pytest.mark.parametrize("x", [-500.0, -40.0, -30.0001, -29.9999, -8.0, -1.0, 0.0])
def test_tails(x):
    np.testing.assert_allclose(log_normal_mass(-np.inf, x), stats.norm.logcdf(x), rtol=1e-14)
    assert log_normal_mass(-x, np.inf) == log_normal_mass(-np.inf, x)


LOWS = (-40.0, -3.0, -1e-10, 0.0, 1e-10, 0.5, 3.0, 12.0, 29.0, 31.0)
WIDTHS = (1e-300, 1e-20, 1e-9, 1e-3, 0.02, 0.3, 4.0, 100.0)


@pytest.mark.parametrize(("low", "high"), [(a, a + width) for a in LOWS for width in WIDTHS if a + width > a])
def test_windows(low, high):
    """The series of a narrow window ends at its sixth power: 0.1**6 / 180,000 of a nat; wider ones round off."""
    with mpmath.workdps(400):
        near, far = (mpmath.mpf(low), mpmath.mpf(high)) if low + high > 0 else (mpmath.mpf(-high), mpmath.mpf(-low))
        wanted = mpmath.log(mpmath.ncdf(-near) - mpmath.ncdf(-far))
    assert log_normal_mass(low, high) == pytest.approx(float(wanted), rel=1e-13, abs=1e-11)


def test_all_there_is():
    assert log_normal_mass(-np.inf, np.inf) == 0.0

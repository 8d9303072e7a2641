"""Compiled functions where numba finds no folder for them."""

import numba
import numpy as np
import pytest
from numba.core import caching

from spice.equations.caching import njit


def test_without_a_folder_functions_are_compiled_all_the_same(monkeypatch):
    monkeypatch.setattr(caching.FunctionCache._impl_class, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(lambda x: x)

    @njit
    def inverse(x):
        return 1.0 / x

    assert inverse(0.0) == np.inf and inverse(4.0) == 0.25
    assert isinstance(inverse, numba.core.dispatcher.Dispatcher)

"""Compiled functions that are kept between processes where they can be."""

from collections.abc import Callable
from typing import Any

import numba

# as in generated code: divisions by zero give infinity, no wrapper for C (a tenth of the time to compile)
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def njit(function: Callable) -> Callable:
    """Compile a function when it is first called, and keep it where there is a folder for it.

    numba keeps functions beside their module, else in the user's folder for caches. Where it may write to neither, as
    in a container with another user's installation, it raises; then each process compiles anew.
    """
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no locator available
        return numba.njit(**OPTIONS)(function)

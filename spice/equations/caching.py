"""Compiled functions that are kept between processes where they can be."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable], Callable]:
    """Like the function of this name of numba, but with ``cache=True`` only where there is a folder for it.

    And without the wrapper for C, which nobody calls and takes a tenth of the time to compile.

    numba keeps functions beside their module, else in the user's folder for caches. Where it may write to neither, as
    in a container with another user's installation, it raises; then each process compiles anew.

    Parameters
    ----------
    **options
        Of numba.
    """
    options = {"no_cfunc_wrapper": True} | options

    def compiled(function: Callable) -> Callable:
        try:
            return numba.njit(**options)(function)
        except RuntimeError:  # no locator available
            return numba.njit(**(options | {"cache": False}))(function)

    return compiled

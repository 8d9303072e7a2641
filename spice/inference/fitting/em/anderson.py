"""Acceleration of fixed-point iterations by what the last steps tell of the next ones."""

import numpy as np

MEMORY = 8  # steps
LONGEST = 10.0  # plain steps in one
ROUGH = 1e-3  # relative singular value below which a combination of past residuals is noise


class Extrapolation:
    """Anderson's acceleration of x -> F(x).

    Of the last points the combination is taken whose residual F(x) - x is the smallest, were F linear (Walker & Ni
    2011, SIAM J Numer Anal 49: 1715-1735).
    """

    def __init__(self) -> None:
        self._points: list[np.ndarray] = []
        self._residuals: list[np.ndarray] = []

    @property
    def knows(self) -> bool:
        """Whether there are earlier steps to learn from."""
        return bool(self._points)

    def __call__(self, point: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """The step to take from a point, given F(x) - x there."""
        self._points, self._residuals = [*self._points, point][-MEMORY:], [*self._residuals, residual][-MEMORY:]
        if len(self._points) == 1:
            return residual
        moves, changes = np.diff(self._points, axis=0).T, np.diff(self._residuals, axis=0).T
        step = residual - (moves + changes) @ np.linalg.lstsq(changes, residual, rcond=ROUGH)[0]
        longest = LONGEST * float(np.linalg.norm(residual))
        return step * min(1.0, longest / max(float(np.linalg.norm(step)), 1e-300))

    def forget(self) -> None:
        """Begin anew."""
        self._points, self._residuals = [], []

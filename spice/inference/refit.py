"""Maximum likelihood of many rows at once: damped Newton steps with the Fisher information, within bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from spice.inference.damping import DAMPING, foretold_gain, next_damping
from spice.inference.data import Trials
from spice.inference.likelihood import Likelihood
from spice.inference.limits import Limits
from spice.inference.structure import Layout, Structures

LARGEST = 100.0  # of any number in logit units: where choices separate, the likelihood has no maximum
ENOUGH = 1e-8  # nats: a step that promises less than this has converged
ROUGHLY = 1e-4  # the same where structures are only compared
ITERATIONS = 60
HALVINGS = 12  # of a step that leaves the limits

# rows, and numbers of shape (n_rows, n_numbers), to what is added to loss, gradient and information
Pull = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Fits:
    """Fitted rows.

    Attributes
    ----------
    rows : Structures
        Their structures.
    group : np.ndarray of int, shape (n_rows,)
        Participant of each.
    numbers : np.ndarray, shape (n_rows, n_numbers)
        Estimates; 0 where not free.
    loss : np.ndarray, shape (n_rows,)
        What was made small: negative log-likelihood, nats, plus the priors' part.
    nll : np.ndarray, shape (n_rows,)
        Negative log-likelihood, nats.
    fisher : np.ndarray, shape (n_rows, n_numbers, n_numbers)
        Expected information of the choices about the free numbers, without the priors'.
    prior : np.ndarray, shape (n_rows, n_numbers)
        Precision of each free number's prior.
    directions : np.ndarray, shape (n_rows, n_numbers, n_numbers)
        In columns, the directions in which numbers may move; 0 for those in which a bound holds them.
    converged : np.ndarray of bool, shape (n_rows,)
        Whether no step promises more.
    """

    rows: Structures
    group: np.ndarray
    numbers: np.ndarray
    loss: np.ndarray
    nll: np.ndarray
    fisher: np.ndarray
    prior: np.ndarray
    directions: np.ndarray
    converged: np.ndarray

    def __len__(self) -> int:
        return len(self.nll)

    def __getitem__(self, rows) -> "Fits":
        return Fits(*(getattr(self, name)[rows] for name in _FIELDS))

    @staticmethod
    def concatenate(parts: list["Fits"]) -> "Fits":
        """Rows of several after one another."""
        rows = Structures.concatenate([part.rows for part in parts])
        return Fits(rows, *(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS[1:]))


_FIELDS = ("rows", "group", "numbers", "loss", "nll", "fisher", "prior", "directions", "converged")


class Refit:
    """Fits rows of structures.

    Parameters
    ----------
    likelihood : Likelihood
        Compiled likelihood.
    layout : Layout
        Where numbers stand.
    extent : np.ndarray, shape (n_groups, n_terms, 2)
        Smallest and largest value of each term's product of inputs that a participant met.
    limits : Limits
        What the equations must keep.
    """

    def __init__(self, likelihood: Likelihood, layout: Layout, extent: np.ndarray, limits: Limits):
        self._likelihood, self._layout, self._extent, self._limits = likelihood, layout, extent, limits
        library = likelihood.library
        self._interactions = [
            np.flatnonzero((library.module == m) & (library.powers == 1) & library.reads)
            for m in range(len(library.modules))
        ]

    def on(self, trials: Trials, group: np.ndarray) -> "Refit":
        """The same on other trials.

        Parameters
        ----------
        trials : Trials
            The trials.
        group : np.ndarray of int, shape (n_groups,)
            The participant whose trials each of their groups was drawn from: limits are that participant's.
        """
        likelihood = Likelihood(self._likelihood.library, trials)
        return Refit(likelihood, self._layout, self._extent[group], self._limits.of(group))

    def nll(self, fits: Fits, group: np.ndarray) -> np.ndarray:
        """Negative log-likelihood of fitted rows on other groups' trials, nats, shape (n_rows,)."""
        coefficients, _ = self._layout.coefficients(fits.numbers, fits.rows)
        return self._likelihood(coefficients, np.zeros(coefficients.shape, bool), group).nll

    def __call__(
        self,
        rows: Structures,
        group: np.ndarray,
        numbers: np.ndarray,
        enough: float | np.ndarray = ENOUGH,
        pull: Pull | None = None,
    ) -> Fits:
        """Fit rows from given numbers on.

        Parameters
        ----------
        rows : Structures
            What is free.
        group : np.ndarray of int, shape (n_rows,)
            Participant of each row.
        numbers : np.ndarray, shape (n_rows, n_numbers)
            Where to begin.
        enough : float or np.ndarray, shape (n_rows,)
            Promised decrease, in nats, below which a row has converged.
        pull : Pull, optional
            What is added to the loss, and so to all that is returned of it; not finite: out of bounds.
        """
        enough = np.broadcast_to(enough, len(rows))
        rows = self._layout.with_starts(rows)
        n_rows, n = numbers.shape
        basis, low, high = self._bounds(rows, group)
        free = rows.free
        theta = np.where(free, np.einsum("rij,rj->ri", np.linalg.inv(basis), np.where(free, numbers, 0.0)), 0.0)
        theta = np.clip(theta, low, high)
        theta = theta * self._share_within_limits(rows, group, np.zeros_like(theta), theta, basis)[:, None]
        loss, gradient, curvature = self._evaluate(rows, group, theta, basis, pull and partial(pull, np.arange(n_rows)))
        damping, going, converged = np.full(n_rows, DAMPING[1]), np.isfinite(loss), np.zeros(n_rows, bool)
        for _ in range(ITERATIONS):
            at = np.flatnonzero(going)
            if not len(at):
                break
            step = _damped_step(theta[at], gradient[at], curvature[at], damping[at], free[at], low[at], high[at])
            promised = -(gradient[at] * step).sum(1) / 2
            small = (promised >= 0) & (promised * (1 + damping[at]) < enough[at])  # a step may be short for damping
            converged[at[small]] = True
            going[at[small]] = False
            at, step = at[~small], step[~small]
            if not len(at):
                break
            share = self._share_within_limits(rows[at], group[at], theta[at], step, basis[at])
            step *= share[:, None]
            new = theta[at] + step
            foretold = foretold_gain(gradient[at], curvature[at], step)
            answer = self._evaluate(rows[at], group[at], new, basis[at], pull and partial(pull, at))
            gain = loss[at] - answer[0]
            better = (gain > 0) & (share > 0)
            won = at[better]
            theta[won] = new[better]
            loss[won], gradient[won], curvature[won] = (part[better] for part in answer)
            damping[at] = next_damping(damping[at], gain, foretold, better)
            going[at] = damping[at] < DAMPING[2]
        inverse = np.linalg.inv(basis)
        numbers = np.where(free, np.einsum("rij,rj->ri", basis, theta), 0.0)
        prior = self._layout.precisions * free
        nll = loss - (prior * numbers**2).sum(1) / 2
        fisher = inverse.transpose(0, 2, 1) @ curvature @ inverse - prior[:, :, None] * np.eye(n)
        directions = basis * ~_held(theta, gradient, free, low, high)[:, None]
        return Fits(rows, group, numbers, loss, nll, fisher, prior, directions, converged)

    def _evaluate(self, rows: Structures, group, theta, basis, pull=None):
        """Loss, gradient and curvature, priors included, by the bounded numbers."""
        numbers = np.einsum("rij,rj->ri", basis, theta)
        coefficients, jacobian = self._layout.coefficients(numbers, rows)
        jacobian = jacobian @ basis
        answer = self._likelihood(coefficients, self._layout.needed(jacobian), group)
        prior_slope = self._layout.precisions * numbers * rows.free
        gradient = np.einsum("rci,rc->ri", jacobian, answer.gradient) + np.einsum("rij,ri->rj", basis, prior_slope)
        prior = (self._layout.precisions * rows.free)[:, :, None] * basis
        curvature = jacobian.transpose(0, 2, 1) @ answer.fisher @ jacobian + basis.transpose(0, 2, 1) @ prior
        loss = answer.nll + (prior_slope * numbers).sum(1) / 2
        if pull is not None:
            further, slope, bend = pull(numbers)
            loss = loss + further
            gradient = gradient + np.einsum("rij,ri->rj", basis, slope)
            curvature = curvature + basis.transpose(0, 2, 1) @ bend @ basis
        usable = self._limits.kept(coefficients, group)
        usable &= np.isfinite(curvature).all((1, 2)) & np.isfinite(gradient).all(1)
        return np.where(usable, loss, np.inf), gradient, curvature

    def _bounds(self, rows: Structures, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A basis in which multipliers are numbers of their own, and their bounds.

        Where one input changes a state's multiplier, the two numbers are the multipliers at its extremes.
        """
        n_rows, n = rows.free.shape
        basis = np.tile(np.eye(n), (n_rows, 1, 1))
        low, high = np.full((n_rows, n), -LARGEST), np.full((n_rows, n), LARGEST)
        usual, least_kept = self._layout.usual, self._limits.least
        for m, (own, interactions) in enumerate(zip(self._likelihood.library.own, self._interactions, strict=True)):
            if own < 0:
                continue
            low[:, own], high[:, own] = least_kept[m], 1.0
            alone = rows.free[:, interactions].sum(1) == 1
            for term in interactions:
                at = np.flatnonzero(alone & rows.free[:, term])
                least, most = self._extent[group[at], term].T
                at, least, most = (part[most > least] for part in (at, least, most))
                fixed = ~rows.free[at, own]
                for part, extreme in ((at[fixed], least[fixed]), (at[fixed], most[fixed])):
                    with np.errstate(divide="ignore", invalid="ignore"):
                        ends = np.sort(np.array([[least_kept[m] - usual[m]], [1.0 - usual[m]]]) / extreme, axis=0)
                    low[part, term] = np.maximum(low[part, term], np.where(extreme == 0, -LARGEST, ends[0]))
                    high[part, term] = np.minimum(high[part, term], np.where(extreme == 0, LARGEST, ends[1]))
                at, least, most = (part[~fixed] for part in (at, least, most))
                width = most - least
                basis[at, term, term], basis[at, term, own] = 1 / width, -1 / width
                basis[at, own, term], basis[at, own, own] = -least / width, 1 + least / width
                low[at, term], high[at, term] = least_kept[m], 1.0
        return basis, low, high

    def _share_within_limits(self, rows: Structures, group, theta, step, basis) -> np.ndarray:
        """The largest of the shares 1, 1/2, 1/4 ... of a step that keeps the limits; 0 where none does."""
        share, at = np.ones(len(group)), np.arange(len(group))
        for _ in range(HALVINGS):
            numbers = np.einsum("rij,rj->ri", basis[at], theta[at] + share[at, None] * step[at])
            kept = self._limits.kept(self._layout.coefficients(numbers, rows[at])[0], group[at])
            at = at[~kept]
            if not len(at):
                return share
            share[at] /= 2
        share[at] = 0.0
        return share


def _damped_step(theta, gradient, fisher, damping, free, low, high) -> np.ndarray:
    """Newton steps within the bounds."""
    held = _held(theta, gradient, free, low, high)
    return np.clip(theta + newton_steps(gradient, fisher, damping, ~held), low, high) - theta


def _held(theta, gradient, free, low, high) -> np.ndarray:
    """Numbers that do not move: those that are not free, and those at a bound that the gradient pushes against."""
    return ~free | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))


def newton_steps(gradient: np.ndarray, information: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Steps to the minimum of quadratics, each number on its own scale.

    Parameters
    ----------
    gradient : np.ndarray, shape (n_rows, n_numbers)
        Slopes.
    information : np.ndarray, shape (n_rows, n_numbers, n_numbers)
        Curvatures, positive semidefinite.
    damping : np.ndarray, shape (n_rows,)
        Added to the curvatures, relative to their diagonal.
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        What may move.
    """
    diagonal = np.einsum("rii->ri", information)
    scale = np.where(free & (diagonal > 0), 1 / np.sqrt(np.maximum(diagonal, 1e-300)), 0.0)
    scaled = information * scale[:, :, None] * scale[:, None, :]
    moving = scale > 0
    scaled = np.where(moving[:, :, None] & moving[:, None, :], scaled, 0.0)
    scaled = scaled + np.where(moving, damping[:, None], 1.0)[:, :, None] * np.eye(gradient.shape[1])
    return -np.linalg.solve(scaled, (scale * gradient)[:, :, None])[:, :, 0] * scale

"""The way of EM to a population: E steps, M steps, other modes, and importance sampling at the end."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spice.errors import DataError, join_problems
from spice.inference.fitting.em.anderson import Extrapolation
from spice.inference.fitting.em.guess import Guess, Step
from spice.inference.fitting.em.modes import Laplace, climb, climb_from, everybody_at, likeliest, skewness_of
from spice.inference.fitting.em.population_prior import PopulationPrior
from spice.inference.fitting.em.proposals import Proposal
from spice.inference.fitting.em.reweighting import Draws, Posterior, refined
from spice.inference.fitting.em.scoring import improved
from spice.inference.fitting.transforms import Scale
from spice.inference.fitting.uncertainty import standardised
from spice.inference.general.generated import Exact

FIRST, LATER, LAST = 20, 3, 100  # Newton steps at most: in the first E step, in later ones, to the end
FAR = 0.2  # change in an iteration, in units, up to which steps foretell the next ones
WORSE = 2.0  # growth of the change after which an extrapolation is taken back, if there is no evidence to judge it by
EXACT = 1e-10  # nats that no step may promise at the end
LEAST_SHARE = 0.02  # of a step, below which none leads on: evidence has kinks where likelihoods have
FINE = 0.2  # of the standard error of a mean: what EM may still want to change there
SAME = 1e-3  # nats within which starts count as ended in the same mode
ROUNDS = 5  # of new starts after convergence, at most
REDRAWN = 20  # times that draws are made anew, at most
WIDER = 2.0  # times the population's standard deviations, from where other modes are sought
FEW = 0.1  # share of people without enough effective draws, up to which draws decide whether EM has settled; of people
# with several modes, from which on draws around one of them do not do
CLOSE = 0.2  # change of the population, in units, up to which draws from before serve


Propose = Callable[[Posterior], Proposal]


class EM:
    """The state of a fit: a population, and where people with data are.

    Attributes
    ----------
    active : np.ndarray of int, shape (n_active,)
        People with scored choices: the others tell nothing of the population.
    matrix : np.ndarray, shape (n_active, n_columns)
        Their regressors, standardised.
    guess : Guess
        The population.
    points : Points
        Where they are.
    laplace : Laplace
        Their posteriors in the end.
    prior : PopulationPrior
        Of the population.
    begun : Guess
        The population at the beginning.
    starts : np.ndarray, shape (n_active,)
        Share of starts that ended in the best mode found.
    restless : np.ndarray of bool, shape (n_active,)
        Who has so many modes that better ones turned up after each convergence.
    unsure : np.ndarray of bool, shape (n_active,)
        Whose posterior is around a mode that is perhaps none, or not the best.
    settled : bool
        Whether EM has come to rest; with draws, if it is ``drawn`` to the end by these.
    few : np.ndarray of bool, shape (n_active,)
        Who has too few effective draws.
    told : np.ndarray, shape (n_active, n_parameters, n_parameters)
        Posterior covariances from which the population's errors follow: Laplace's, by which what cannot be told is
        exactly that; of people with several modes those of draws.
    """

    laplace: Laplace

    def __init__(
        self,
        likelihood: Any,
        scale: Scale,
        matrix: np.ndarray,
        active: np.ndarray,
        diagonal: bool,
        skewness: bool,
        prior: PopulationPrior,
    ):
        self._likelihood, self.scale, self.diagonal, self._skewness = likelihood, scale, diagonal, skewness
        self.prior = prior
        self.active = np.flatnonzero(active)
        self.matrix, self._change = standardised(matrix[active])
        self.n_iterations, self.change, self.moving, self.settled, self.drawn = 0, np.inf, 0, False, False
        self.starts = np.ones(len(self.active))
        self.restless, self.few = np.zeros((2, len(self.active)), bool)
        self._check_people()

    def _check_people(self) -> None:
        """With as few people as numbers there is no spread to estimate."""
        (people, columns), n = self.matrix.shape, len(self.scale.names)
        needed = columns + (1 if self.diagonal else n)
        if people < needed:
            usual = "; or covariance='diagonal'" if not self.diagonal and people > columns else ""
            effects = f", {columns - 1} column{'s' * (columns > 2)} of regressors" if columns > 1 else ""
            raise DataError(
                f"EM needs at least {needed} people with scored choices for {n} parameter{'s' * (n > 1)}{effects} and "
                f"the intercept, but there {'is' if people == 1 else 'are'} {people}: fit each person by "
                f"method='map'{usual}."
            )
        if np.linalg.matrix_rank(self.matrix) < columns:
            raise DataError("Regressors follow from each other among the people with scored choices; leave some out.")

    def evaluate(self, theta: np.ndarray, group: np.ndarray) -> Exact:
        """The likelihood of rows and its derivatives by theta."""
        with np.errstate(all="ignore"):  # what overflows is told by the result
            return self.scale.chain(self._likelihood(self.scale.natural(theta), group), theta)

    def begin(self, mean: np.ndarray, sd: np.ndarray, n_starts: int, rng: np.random.Generator, labels, place=None):
        """Put everybody at the likeliest of several points under the starting population."""
        mean, sd, self._rng = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float), rng
        coefficients = np.zeros((self.matrix.shape[1], len(mean)))
        coefficients[0] = mean
        self.guess = self.begun = self.prior.begin(Guess(coefficients, np.diag(sd)))
        z = np.concatenate([np.zeros((1, len(mean))), rng.normal(size=(max(n_starts, 1) - 1, len(mean)))])
        points, energy = everybody_at(self.evaluate, z, self.active, self.means(), self.guess.root)
        lost = np.flatnonzero(~np.isfinite(energy.min(0)))
        if len(lost):
            x = self.scale.natural(self.guess.coefficients[:1])[0]
            where = ", ".join(f"{name} = {value:.3g}" for name, value in zip(self.scale.names, x, strict=True))
            people = [int(person) for person in self.active[lost[:10]]]
            places = ["" if place is None else place(x[None], person) for person in people]
            problems = [
                f"participant {labels[person]}{first}: give another start=, or bounds."
                for person, first in zip(people, places, strict=True)
            ]
            raise DataError(join_problems(f"The likelihood is not finite at the start ({where}) or near it", problems))
        self.points = likeliest(points, energy)

    def means(self) -> np.ndarray:
        """What the population predicts of people with data, shape (n_active, n_parameters)."""
        return self.matrix @ self.guess.coefficients

    def coefficients(self) -> np.ndarray:
        """Of the regressors as they were given, shape (n_columns, n_parameters)."""
        return self._change @ self.guess.coefficients

    def run(self, n_starts: int, tolerance: float, max_iterations: int) -> None:
        """Iterate until nothing changes, and nobody's mode can be bettered from new starts."""
        for left in range(ROUNDS, -1, -1):
            self._iterate(tolerance, max_iterations)
            self.laplace = self._modes(EXACT, LAST)
            if n_starts < 2 or not left:
                return
            better = self._bettered(n_starts - 1)
            if not better.any():
                return
            self.restless = better if left == 1 else self.restless

    def _iterate(self, tolerance: float, max_iterations: int) -> None:
        """Until nothing changes. A step after which the evidence is lower was too long, and is taken back."""
        self.settled, most, ahead, units, taken = False, FIRST, Extrapolation(), np.ones(0), None
        while self.n_iterations < max_iterations:
            # what is left of Newton's way must be short against what EM itself changes
            enough = np.clip(5e-5 * min(self.change, 1.0) ** 2, 5e-5 * tolerance**2, 1e-3)
            found = self._modes(enough, most)
            skew = skewness_of(self.evaluate, self.points, found) if self._skewness else np.zeros_like(found.z)
            new = improved(self.guess, self.matrix, found, skew, self.prior, self.diagonal)
            scatter = self.guess.units(found)
            changes = self.guess.distances(new, self.matrix, scatter)
            value = found.log_evidence().sum() + self.prior.log_density(self.guess)
            self.change, self.moving = float(changes.max()), int(changes.argmax())
            self.n_iterations, most = self.n_iterations + 1, LATER if self.change >= tolerance else LAST
            if taken is not None and self._lost(taken, value):
                if taken.share < LEAST_SHARE:
                    self.settled = taken.change < FINE / np.sqrt(len(self.active))
                    return
                self.guess, self.change = taken.shorter(), taken.change
                ahead.forget()
                continue
            if (found.converged | found.stuck).all() and self.change < tolerance:
                self.guess, self.settled = new, True
                return
            share = 1.0 if taken is None else min(2 * taken.share, 1.0)
            if not len(units) or self.change > FAR or share < 1:
                units = np.where(np.isfinite(scatter), scatter, 1.0)
                ahead.forget()
            here, known = self.guess.vector(units), ahead.knows
            plain = new.vector(units) - here
            taken = Step(self.guess, units, here, plain, float(value), self.change, share, known)
            self.guess = new.with_vector(here + ahead(here, plain), units) if share == 1 else taken.part()

    def _lost(self, taken: Step, value: float) -> bool:
        """Whether a step led down. Without the correction for skewness EM does not climb the evidence."""
        if self._skewness:
            return value < taken.value - SAME
        return taken.extrapolated and self.change > WORSE * taken.change

    def _modes(self, enough: float, most: int) -> Laplace:
        return climb(self.evaluate, self.points, self.means(), self.guess.root, enough, most)

    def _bettered(self, n_more: int) -> np.ndarray:
        """Seek modes from draws of the population, made wider: too narrow if it missed modes. Whose was bettered."""
        z = WIDER * self._rng.normal(size=(n_more, len(self.scale.names)))
        where = self.active, self.means(), self.guess.root
        points, energy = climb_from(self.evaluate, z, *where, EXACT, LAST)
        own = self.laplace.energy
        lowest = np.minimum(own, energy.min(0))
        self.starts = (np.concatenate([own[None], energy]) < lowest + SAME).mean(0)
        better = own > lowest + SAME
        who = np.flatnonzero(better)
        self.points.put(who, likeliest(points, energy)[who])
        return better

    def posterior(self, seed: int | None, tolerance: float) -> Posterior:
        """Everybody's posterior: Laplace's, or with a seed by importance sampling.

        The population goes on to where EM ends with these, and modes with it: whether it has settled, they say. Kinks
        and ridges of likelihoods, at which Laplace's approximation jumps to and fro, do not matter to them. If it has
        settled with neither, or where people have several modes, draws from the population take the place of draws
        around modes.
        """
        found = Posterior.of_laplace(self.points, self.laplace)
        self.unsure, self.told = self.restless | ~self.laplace.converged, found.covariance
        if seed is None:
            return found
        self.drawn = True
        found, rests = self._by_draws(self._around, found, False, seed, tolerance)
        neither = not self.settled and not (rests and found.rough.mean() < FEW)
        self.settled = rests and not neither
        self.told = self.laplace.covariances()
        if neither or self.restless.any() or (self.starts < 1).mean() >= FEW:
            self.guess = self.begun
            found, rests = self._by_draws(self._across, found, True, seed, tolerance)
            self.settled = rests and bool(found.rough.mean() < FEW)
            self.unsure, self.told = self.unsure & found.rough, found.covariance
        self.few = found.rough
        return found

    def _around(self, _: Posterior) -> Proposal:
        return Proposal.around_modes(self.points, self.laplace)

    def _across(self, found: Posterior) -> Proposal:
        return Proposal.across(self.means(), self.guess.root, found.theta, found.covariance)

    def _by_draws(
        self, propose: Propose, found: Posterior, tempered: bool, seed: int, tolerance: float
    ) -> tuple[Posterior, bool]:
        """Draw and go on, until draws made with the population before serve for that to which they lead.

        Whether they do, and EM has ended with them.
        """
        rough = Posterior.of_laplace(self.points, self.laplace)
        for _ in range(REDRAWN):
            units = self.guess.units(self.laplace)
            units = np.where(np.isfinite(units), units, 1.0)
            draws = Draws(self._likelihood, self.scale, self.active, propose(found), tempered, seed)
            before = self.guess
            arguments = (self.matrix, self.prior, self.diagonal, units, tolerance)
            self.guess, ended = refined(draws, rough, before, *arguments)
            self.laplace = self._modes(EXACT, LAST)
            rough = Posterior.of_laplace(self.points, self.laplace)
            found = draws.posterior(self.guess, self.matrix, rough)
            if before.distances(self.guess, self.matrix, units).max() < CLOSE:
                return found, ended
        return found, False

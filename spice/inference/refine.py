"""Stage 3 as a whole: equations refitted and chosen by the likelihood of the choices."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from spice.equations import Equation, with_equations
from spice.errors import ModelFormError
from spice.inference.build import Problem, pose
from spice.inference.criteria import UNUSUAL, Criterion, penalty_of
from spice.inference.crossvalidation import held_out_nll, simplest_of_the_best
from spice.inference.gauge import network_equations
from spice.inference.likelihood import Likelihood
from spice.inference.limits import Limits
from spice.inference.moves import Moves
from spice.inference.refit import ENOUGH, Fits, Refit
from spice.inference.search import Search, Visited
from spice.inference.structure import Layout, Structures
from spice.inference.together import Dialogue, ToFit, together
from spice.inference.uncertainty import inclusion
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.modules import OptionBias
from spice.resources.rnn import BaseRNN
from spice.training import negative_log_likelihood

# This, `FEW` and `UNUSUAL` were chosen by simulation at 100 and 1,000 choices of six mechanisms (seeds from 1,000 on):
# the least strict ones with false terms in clearly less than `FALSE_TERMS` of the runs.
SURE = 0.8  # probability from which a term counts as decided on
RULED_OUT, MOST_HELD_OUT = 20.0, 50  # units of the information criterion, structures: more are not cross-validated
UNTOUCHED = 0.02  # SINDy's own coefficients this close to 1 are taken for 1
# relative difference of the compiled likelihood from the model's own
AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-3}


@dataclass(frozen=True)
class Refined:
    """What stage 3 found for one participant.

    Attributes
    ----------
    equations : dict of str to Equation
        In the network's gauge, by module.
    biases : np.ndarray, shape (n_actions,)
        Bias of each option.
    fit : Fits
        The best structure's fit, one row.
    visited : Visited
        All structures that were fitted, scored by the Bayesian information criterion.
    n_scored : int
        Scored choices.
    """

    equations: dict[str, Equation]
    biases: np.ndarray
    fit: Fits
    visited: Visited
    n_scored: int


class Refinement:
    """The search for everybody's equations.

    Parameters
    ----------
    model : BaseRNN
        The network, or its equations.
    config : SpiceConfig
        Modules, signals and libraries.
    dataset : DatasetRNN
        The data.
    degree : int
        Degree of the libraries.
    estimation : {"map", "mle"}, default "map"
        Whether numbers have weak priors.
    criterion : {"calibrated", "bic", "aic", "ebic", "cv"}, default "calibrated"
        What decides between structures.

    Raises
    ------
    ModelFormError
        If the model's updates are no polynomials of single states, or its logits not their weighted sum.
    """

    def __init__(
        self,
        model: BaseRNN,
        config: SpiceConfig,
        dataset: DatasetRNN,
        degree: int,
        estimation: str = "map",
        criterion: str = "calibrated",
    ):
        self._config, self._model, self._criterion = config, model, criterion
        self.problem: Problem = pose(model, config, dataset, degree)
        library = self.problem.library
        self.layout = Layout(library, estimation)
        self._likelihood = Likelihood(library, self.problem.trials)
        extent, told_apart = self.problem.met()
        self._refit = Refit(self._likelihood, self.layout, extent, Limits(self.problem))
        self._has_bias = isinstance(getattr(model, "bias", None), OptionBias)
        biases = np.full((len(told_apart), library.n_actions), self._has_bias)
        starts = np.zeros((len(told_apart), len(library.states)), bool)
        self._allowed = np.hstack([told_apart, starts, biases])
        self.starts = np.array([model.init_values[name] for name in library.states])
        self.readout = self._read_out(model)
        self._check_form(model, dataset)

    def _read_out(self, model: BaseRNN) -> np.ndarray:
        """Factor of each state in the logits, shape (n_groups, n_states)."""
        participants = torch.as_tensor(self.problem.participants)
        with torch.no_grad():
            betas = {
                name: value[:, 0].double().cpu().numpy() for name, value in model.scaling_values(participants).items()
            }
        ones = np.ones(len(participants))
        return np.stack([betas.get(name, ones) for name in self.problem.library.states], axis=1)

    def _check_form(self, model: BaseRNN, dataset: DatasetRNN) -> None:
        """Compare the compiled likelihood with the model's own at random coefficients."""
        library, generator = self.problem.library, np.random.default_rng(0)
        values = 0.2 * generator.standard_normal(library.n_terms + library.n_actions)
        values[library.own] += 0.4
        values[np.flatnonzero(library.powers > 1)] *= 0.05
        if not self._has_bias:
            values[library.n_terms :] = 0.0
        rows = np.tile(values, (len(self.problem.participants), 1))
        group = np.arange(len(rows))
        compiled = self._likelihood(rows, np.zeros(rows.shape, bool), group).nll
        equations = {
            participant: self.network_equations(g, rows[g]) for g, participant in enumerate(self.problem.participants)
        }
        stand_in = self.model_with(equations, {p: rows[g, library.n_terms :] for g, p in enumerate(equations)})
        with torch.no_grad():
            logits = stand_in(dataset.xs, batch_first=True)[0].double()
            own = float(negative_log_likelihood(logits, dataset.ys.to(logits)))
        tolerance = AGREEMENT[next(model.parameters()).dtype]
        if not abs(own - compiled.sum()) <= tolerance * abs(own):
            raise ModelFormError(
                f"the compiled likelihood differs from the model's own ({compiled.sum():.6g} against {own:.6g})."
            )

    def network_equations(self, group: int, coefficients: np.ndarray) -> dict[str, Equation]:
        """Equations of one participant in the network's gauge."""
        inputs = {name: self._config.inputs(name) for name in self._config.rnn_modules}
        library, units = self.problem.library, self.problem.units[group]
        return network_equations(library, coefficients, units, inputs, self.starts, self.readout[group])

    def model_with(self, equations: Mapping[int, Mapping[str, Equation]], biases: Mapping[int, np.ndarray]) -> BaseRNN:
        """A copy of the model with these equations and biases."""
        model = with_equations(self._model, equations)
        if self._has_bias:
            for participant, values in biases.items():
                model.bias.refined[participant] = torch.as_tensor(values)
        return model

    def run(self, proposals: Mapping[int, Mapping[str, Equation] | None]) -> dict[int, Refined]:
        """Search for several participants, side by side.

        Parameters
        ----------
        proposals : mapping of int to mapping of str to Equation, or to None
            By number of the participant among those of the data: SINDy's equations by module, one of the starts.
        """
        dialogues = [self._refine(group, proposal) for group, proposal in proposals.items()]
        return dict(zip(proposals, together(dialogues, self._refit, self._likelihood), strict=True))

    def _refine(self, group: int, proposal: Mapping[str, Equation] | None) -> Dialogue[Refined]:
        """One participant's structure and numbers."""
        n_scored = int(self.problem.trials.n_scored()[group])
        moves = Moves(self.layout, self._allowed[group])
        if self._criterion == "calibrated":
            best, visited = yield from self._calibrated(group, moves, n_scored, proposal)
        else:
            name = "bic" if self._criterion == "cv" else self._criterion
            search = Search(
                self.layout, moves, group, Criterion(self.layout, penalty_of(name, n_scored, moves.n_candidates))
            )
            visited = yield from search.run(*self._first_structures(moves, proposal))
            best = visited.fits[visited.best() if name == self._criterion else self._best_held_out(visited)]
        fit = yield ToFit(group, best.rows, best.numbers, ENOUGH)
        coefficients = self.layout.coefficients(fit.numbers, fit.rows)[0][0]
        equations = self.network_equations(group, coefficients)
        return Refined(equations, coefficients[self.problem.library.n_terms :], fit, visited, n_scored)

    def _best_held_out(self, visited: Visited) -> int:
        """Of the structures that the information criterion does not rule out, the simplest of the best predictors."""
        scores = np.array(visited.scores)
        order = np.argsort(scores)[:MOST_HELD_OUT]
        order = order[scores[order] <= scores.min() + RULED_OUT]
        fits = Fits.concatenate([visited.fits[i] for i in order])
        nll = held_out_nll(self._refit, self.problem.trials, fits)
        return int(order[simplest_of_the_best(nll, self.layout.sizes(fits.rows))])

    def _calibrated(
        self, group: int, moves: Moves, n_scored: int, proposal: Mapping[str, Equation] | None
    ) -> Dialogue[tuple[Fits, Visited]]:
        """What is in good structures for sure, and among that the structure worth its numbers."""
        bic, strict = (
            Criterion(self.layout, penalty_of(name, n_scored, moves.weigh(np.exp(-UNUSUAL / 2))), UNUSUAL)
            for name in ("bic", "calibrated")
        )
        wide = Search(self.layout, moves, group, bic)
        visited = yield from wide.run(*self._first_structures(moves, proposal))
        decided = Moves(self.layout, self._allowed[group] & (inclusion(visited, self.layout) >= SURE))
        narrow = Search(self.layout, decided, group, strict, visited)
        found = yield from narrow.run(*self._first_structures(decided, proposal))
        best = found.fits[found.best()]
        for key, place in found.places.items():
            wide.keep(key, found.fits[place])
        # terms that share overwhelming evidence are none of them sure, and still one of them has to stay
        everything = Fits.concatenate(visited.fits)
        scores = narrow.score(everything)
        if scores.min() < min(found.scores) - strict.one_more(best.rows)[0]:
            best = everything[[int(scores.argmin())]]
        return best, visited

    def _first_structures(self, moves: Moves, proposal: Mapping[str, Equation] | None) -> tuple[Structures, np.ndarray]:
        """No learning, the delta rule with and without perseveration, with rates of outcomes apart, SINDy's proposal.

        Where rates differ between outcomes the likelihood has several maxima: learning mostly from better and mostly
        from worse outcomes are two starts.
        """
        library, layout = self.problem.library, self.layout
        empty = moves.empty()
        delta, traces, apart = (np.zeros(layout.n_numbers, bool) for _ in range(3))
        plain, better, worse = (np.zeros(layout.n_numbers) for _ in range(3))
        for m, own in enumerate(library.own):
            state = library.modules[m].state
            if layout.base[m] != m or own < 0:
                continue
            if library.is_value[state] and layout.outcome[m] >= 0:
                outcome, crossed = layout.outcome[m], layout.crossed(m)
                delta[[own, outcome]], plain[[own, outcome]] = True, (0.6, 1.0)
                if crossed >= 0:
                    apart[crossed] = True
                    numbers = [own, crossed, outcome, layout.starts[state]]
                    better[numbers], worse[numbers] = (0.9, -0.5, 1.05, 1.5), (0.5, 0.4, 0.9, 1.5)
            elif not library.is_value[state] and library.constant[m] >= 0:
                traces[library.constant[m]] = True
        starts = [(empty.free[0], plain), (delta, plain), (delta | traces, plain)]
        starts += [(delta | apart, better), (delta | apart, worse)] if apart.any() else []
        if proposal is not None:
            starts.append((self._proposed(proposal)[0], plain))
        rows = Structures(np.stack([free for free, _ in starts]), np.repeat(empty.tied, len(starts), axis=0))
        return moves.settle(rows), np.stack([numbers for _, numbers in starts])

    def _proposed(self, proposal: Mapping[str, Equation]) -> np.ndarray:
        """The terms of SINDy's equations; own coefficients of about 0 or 1 are not estimated."""
        library = self.problem.library
        free = np.zeros((1, self.layout.n_numbers), bool)
        for term, name in enumerate(library.names):
            module = library.modules[library.module[term]].name
            value = proposal[module].coefficients.get(name, 0.0)
            own = library.own[library.module[term]] == term
            free[0, term] = value != 0.0 and not (own and abs(value - 1.0) < UNTOUCHED)
        return free

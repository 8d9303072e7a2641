"""The loss of a network and its exact gradient, in bounded memory: all trials at once, or trial by trial."""

import copy
from concurrent.futures import ThreadPoolExecutor

import torch

from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training.at_once import AtOnce
from spice.training.evaluation import Evaluation
from spice.training.in_loop import InLoop
from spice.training.loss import scored_choices
from spice.training.parameters import ParameterVector

PER_THREAD = 50_000  # values of a state (trials x sessions x actions) from which a thread of its own pays


class Objective:
    """Negative log-likelihood of choices as a function of rows of parameter vectors.

    Parameters
    ----------
    model : BaseRNN
        The network; the values of its parameters play no role.
    dataset : DatasetRNN
        Sessions.
    evaluation : Evaluation
        How to evaluate them.
    n_threads : int, default 1
        Threads over which large data are spread.
    """

    def __init__(self, model: BaseRNN, dataset: DatasetRNN, evaluation: Evaluation, n_threads: int = 1):
        vector, like = ParameterVector(model), next(model.parameters())
        xs, chosen = dataset.xs.to(like.device), scored_choices(dataset.ys.to(like))
        n_groups = (
            min(n_threads, max(xs[..., : dataset.n_actions].numel() // PER_THREAD, 1)) if evaluation.at_once else 1
        )
        size = -(-len(dataset) // n_groups)
        model.set_initial_state()  # what an earlier pass left cannot be copied
        self._groups: list[AtOnce | InLoop] = []
        for part in zip(xs.split(size), chosen.split(size), strict=True):
            own = copy.deepcopy(model) if self._groups else model  # a model serves one thread
            make = AtOnce(own, vector, *part, evaluation) if evaluation.at_once else InLoop(own, vector, *part)
            self._groups.append(make)

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood and gradient.

        Parameters
        ----------
        rows : torch.Tensor, shape (n_rows, n_parameters)
            Parameter vectors.

        Returns
        -------
        nll : torch.Tensor, shape (n_rows,)
            Sum over all scored choices, in nats; not finite where a module's output is not.
        gradient : torch.Tensor, shape (n_rows, n_parameters)
            Its gradient.
        """
        if len(self._groups) == 1:
            results = [self._groups[0].evaluate(rows)]
        else:
            with ThreadPoolExecutor(len(self._groups)) as pool:
                results = list(pool.map(lambda group: _in_one_thread(group, rows), self._groups))
        losses, gradients = zip(*results, strict=True)
        return torch.stack(losses).sum(0).double().cpu(), torch.stack(gradients).sum(0)

    @property
    def fallbacks(self) -> int:
        """How often sweeps did not converge, so that the states had to be found trial by trial."""
        return sum(group.fallbacks for group in self._at_once())

    @property
    def solutions(self) -> list[torch.Tensor | None]:
        """The states that the next sweeps begin from; a fit that goes on where it was stopped needs them."""
        return [piece.last for group in self._at_once() for piece in group.pieces]

    @solutions.setter
    def solutions(self, values: list[torch.Tensor | None]) -> None:
        pieces = [piece for group in self._at_once() for piece in group.pieces]
        for piece, value in zip(pieces, values, strict=True):
            piece.last = value

    def _at_once(self) -> list[AtOnce]:
        return [group for group in self._groups if isinstance(group, AtOnce)]


def _in_one_thread(group: AtOnce | InLoop, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    torch.set_num_threads(1)  # of this thread: there are several
    return group.evaluate(rows)


class Posterior:
    """Negative log posterior density per scored choice, up to a constant, and its gradient.

    Parameters
    ----------
    objective : Objective
        Negative log-likelihood.
    precisions : torch.Tensor, shape (n_parameters,)
        Precisions of the Gaussian priors.
    n_scored : int
        Number of scored choices.
    """

    def __init__(self, objective: Objective, precisions: torch.Tensor, n_scored: int):
        self.objective, self._precisions, self._n_scored = objective, precisions, n_scored

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of parameters to losses (n_rows,), nats per scored choice, and gradients (n_rows, n_parameters)."""
        nll, gradient = self.objective(rows)
        pull = self._precisions * rows
        penalty = 0.5 * (pull * rows).sum(1)
        return (nll + penalty.cpu()) / self._n_scored, (gradient + pull) / self._n_scored

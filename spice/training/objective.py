"""The loss of a network and its exact gradient, in bounded memory: all trials at once, or trial by trial."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import torch

from spice.resources.dataset import DatasetRNN
from spice.resources.parallel import StatesInLoop
from spice.resources.rnn import BaseRNN
from spice.training.at_once import AtOnce, states_in_loop
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
    n_rows : int, default 1
        Number of parameter vectors that will be evaluated together, at most.
    """

    def __init__(
        self, model: BaseRNN, dataset: DatasetRNN, evaluation: Evaluation, n_threads: int = 1, n_rows: int = 1
    ):
        vector, like = ParameterVector(model), next(model.parameters())
        xs, chosen = dataset.xs.to(like.device), scored_choices(dataset.ys.to(like))
        n_values = len(dataset) * dataset.shape[1] * dataset.n_actions
        models = _copies(model, min(n_threads, max(n_values // PER_THREAD, 1)) if evaluation.at_once else 1)
        # every thread gets long and short sessions, side by side with those of their length: blocks hold little padding
        order = dataset.observed.sum(1).argsort(stable=True)
        order = torch.cat([order[i :: len(models)] for i in range(len(models))])
        xs, chosen = xs[order], chosen[order]
        self._vector, self._size = vector, -(-len(dataset) // len(models))
        self._loop: StatesInLoop | None = None
        if evaluation.at_once and not evaluation.sweeps:
            self._loop = StatesInLoop(model, model.read_inputs(xs, batch_first=True))
        parts = zip(models, xs.split(self._size), chosen.split(self._size), strict=False)  # perhaps fewer than models
        self._groups: list[AtOnce | InLoop]
        if evaluation.at_once:
            self._groups = [AtOnce(own, vector, part, target, evaluation, n_rows) for own, part, target in parts]
        else:
            self._groups = [InLoop(own, vector, part, target) for own, part, target in parts]
        self._pool = ThreadPoolExecutor(len(self._groups))

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
        tasks = [partial(group.evaluate, rows) for group in self._groups]
        if self._loop is not None:  # its many small operations gain nothing from threads
            states = states_in_loop(self._loop, self._vector, rows).split(self._size, dim=3)
            tasks = [partial(task, states=part) for task, part in zip(tasks, states, strict=True)]
        if len(tasks) == 1:
            results = [tasks[0]()]
        else:
            futures = [self._pool.submit(_in_one_thread, task) for task in tasks]
            try:
                results = [future.result() for future in futures]
            finally:  # after an interruption no thread may go on with the model
                wait(futures)
        losses, gradients = zip(*results, strict=True)
        return torch.stack(losses).sum(0).double().cpu(), torch.stack(gradients).sum(0)

    @property
    def fallbacks(self) -> int:
        """How often sweeps did not converge, so that the states had to be found trial by trial."""
        return sum(group.fallbacks for group in self._at_once())

    @property
    def solutions(self) -> list[torch.Tensor | None]:
        """The states that the next sweeps begin from; a fit that goes on where it was stopped needs them."""
        if self._loop is not None:  # which begins from nothing
            return []
        return [piece.last for group in self._at_once() for piece in group.pieces]

    @solutions.setter
    def solutions(self, values: list[torch.Tensor | None]) -> None:
        pieces = [piece for group in self._at_once() for piece in group.pieces]
        fitting = [value is None or len(value) == piece.n_trials for value, piece in zip(values, pieces, strict=False)]
        if len(values) == len(pieces) and all(fitting):  # else cut differently, for another number of threads
            for piece, value in zip(pieces, values, strict=True):
                piece.take(value)

    def _at_once(self) -> list[AtOnce]:
        return [group for group in self._groups if isinstance(group, AtOnce)]


def _copies(model: BaseRNN, number: int) -> list[BaseRNN]:
    """A model for each thread; one alone if it cannot be copied, because it keeps results of a pass."""
    model.set_initial_state()
    try:
        return [model, *(copy.deepcopy(model) for _ in range(number - 1))]
    except (RuntimeError, NotImplementedError, TypeError):
        return [model]


def _in_one_thread(task: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.set_num_threads(1)  # of this thread: there are several
    return task()


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

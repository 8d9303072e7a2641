"""Fit a network by minimising the negative log-likelihood of the choices."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from spice.errors import ConvergenceWarning, ModuleOutputError, SpiceWarning
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training.checkpoint import Checkpoint, fingerprint
from spice.training.evaluation import Evaluation
from spice.training.lbfgs import NO_STEP, NOT_FINITE
from spice.training.method import MINI_BATCH, choose_evaluation, choose_optimizer, is_large, restore_buffers
from spice.training.objective import Objective, Posterior
from spice.training.parameters import ParameterVector
from spice.training.progress import Progress
from spice.training.result import Epoch, TrainingResult
from spice.training.runs import AdamRun, LBFGSRun, Run, StopFit, is_flat
from spice.training.validation import Validation, split_sessions

# values per operation (sessions x actions x hidden units) from which several threads for each pay in the trial loop:
# on fewer they wait for each other
PARALLEL_VALUES = 200_000
TOLERANCE = 1e-3  # decrease of the total loss (nats) in an iteration below which L-BFGS has converged
# the same in 50 iterations, nats per parameter: a fifth of what noise alone gives each. Held-out choices were no
# longer predicted better well before (16 simulated people; 20 and 101 people of Dezfouli et al. 2019)
SLOW = 0.1
INTERRUPTED = "interrupted"
STOPPED = "stopped by a callback"

Callback = Callable[[Epoch], Any]


def fit_network(
    model: BaseRNN,
    dataset: DatasetRNN,
    optimizer: str = "auto",
    epochs: int = 1024,
    learning_rate: float = 1e-2,
    batch_size: int | None = None,
    weight_decay: float = 0.0,
    nonlinearity_decay: float = 0.0,
    embedding_decay: float = 0.0,
    other_starts: Sequence[BaseRNN] = (),
    validation_fraction: float = 0.0,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike | None = None,
    verbose: bool = False,
    generator: torch.Generator | None = None,
) -> TrainingResult:
    """Fit a network in place; afterwards it holds the best parameters met.

    Parameters
    ----------
    model : BaseRNN
        The network.
    dataset : DatasetRNN
        Sessions to fit.
    optimizer : {"auto", "lbfgs", "adam"}
        Full-batch L-BFGS with a strong-Wolfe line search (Nocedal & Wright 2006, algorithms 7.4 and 3.5), or Adam;
        "auto" is L-BFGS unless mini-batches, dropout or data too large for a full batch ask for Adam.
    epochs : int
        Passes over the data at most, whichever the optimiser; several starts make theirs together.
    learning_rate : float
        Adam's step; for L-BFGS that of the first step only.
    batch_size : int, optional
        Sessions per step (Adam); default all, or as many as a million values for data too large for that.
    weight_decay : float
        Precision of a Gaussian prior on the modules' weights.
    nonlinearity_decay : float
        Precision of a Gaussian prior on the output weights of the modules' tanh networks.
    embedding_decay : float
        Precision of a Gaussian prior on the participant embeddings and on all weights that read them.
    other_starts : sequence of BaseRNN
        The same model with other random parameters: fitted beside it as rows of one batch, the best one is kept.
    validation_fraction : float
        Share of the sessions that are held out, not fitted, and stop the fit when they are predicted no better.
    callbacks : sequence of callable
        Called with an `Epoch` after each pass over the data; one that returns True ends the fit.
    checkpoint : path-like, optional
        File that is written during the fit (every 30 seconds, and when it is stopped); if it is there already, the
        fit goes on from it and ends as it would have ended. Deleted when the fit has converged.
    verbose : bool
        Whether to show a progress bar.
    generator : torch.Generator, optional
        Order of the mini-batches.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ConfigError
        If the optimiser is unknown or does not go with dropout or mini-batches.
    ModuleOutputError
        If a module returns non-finite values.
    FileError
        If the checkpoint is of another fit.
    """
    train, held_out = split_sessions(dataset, validation_fraction)
    settings = {
        "weights": weight_decay,
        "nonlinearity": nonlinearity_decay,
        "people": embedding_decay,
        "optimizer": choose_optimizer(optimizer, batch_size, model, train),
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "validation_fraction": validation_fraction,
    }
    n_starts = 1 + len(other_starts)
    mark = "" if checkpoint is None else fingerprint(model, dataset, settings | {"n_starts": n_starts})
    file = Checkpoint(checkpoint, mark)
    batches = [train] if settings["optimizer"] == "lbfgs" else mini_batches(train, batch_size)
    evaluation = choose_evaluation(model, batches[0], n_starts)
    used = 1 if evaluation.at_once else _threads_of_the_loop(model, batches[0])
    with _threads(used) as n_threads, _in_training(model, own_random_state=checkpoint is not None):
        fit = _Fit(model, batches, held_out, other_starts, settings, evaluation, generator, n_threads)
        return fit.execute(epochs, file, callbacks, verbose)


class _Fit:
    """A fit in progress."""

    def __init__(
        self,
        model: BaseRNN,
        batches: Sequence[DatasetRNN],
        held_out: DatasetRNN | None,
        other_starts: Sequence[BaseRNN],
        settings: Mapping[str, Any],
        evaluation: Evaluation,
        generator: torch.Generator | None,
        n_threads: int,
    ):
        self._model, self._batches = model, batches
        starts = torch.stack([ParameterVector(start).read() for start in (model, *other_starts)])
        precisions = ParameterVector(model).precisions(settings).to(starts.device)
        n_scored = max(sum(batch.n_scored for batch in batches), 1)
        if starts.device.type != "cpu":
            n_threads = 1  # several would wait for the same device
        self._losses = [
            Posterior(
                Objective(model, batch, evaluation, n_threads, len(starts)),
                precisions * (batch.n_scored / n_scored),
                n_scored,
            )
            for batch in batches
        ]
        self._run: Run
        if settings["optimizer"] == "lbfgs":
            limits = (TOLERANCE / n_scored, SLOW * starts.shape[1] / n_scored)
            self._run = LBFGSRun(starts, self._losses[0], settings["learning_rate"], *limits)
        else:
            self._run = AdamRun(starts, self._losses, settings["learning_rate"], generator)
        held_out_loss = None if held_out is None else Objective(model, held_out, evaluation)
        self._validation = Validation(held_out_loss, 0 if held_out is None else held_out.n_scored, len(starts))
        self._snapshot: dict[str, Any] = {}  # what a checkpoint would hold: the end of the last whole epoch
        self._result = TrainingResult(
            optimizer=settings["optimizer"], all_trials_at_once=evaluation.at_once, evaluation=evaluation.reason
        )

    def execute(self, epochs: int, file: Checkpoint, callbacks: Sequence[Callback], verbose: bool) -> TrainingResult:
        """Run to the end, put the best parameters into the model, and say how it went."""
        result = self._result
        saved = file.read()
        if saved is not None:
            self._restore(saved)
        progress = Progress(epochs, done=len(result.loss), shown=verbose)
        try:
            if len(result.loss) >= epochs:
                raise StopFit(_spent(epochs))
            result.reason = self._run.run(self._end_epoch(epochs, file, [progress, *callbacks]), self._watch)
            result.converged = result.reason not in (NO_STEP, NOT_FINITE)
        except StopFit as stop:
            result.reason = str(stop)
            result.converged = result.optimizer == "adam" and result.reason != STOPPED and is_flat(result.loss)
        except KeyboardInterrupt:
            if not result.loss:  # nothing is fitted: an estimator of random weights would be no use
                raise
            result.reason = INTERRUPTED
        finally:
            progress.close()
        if result.converged:
            file.remove()
        else:
            file.write(self._snapshot)
        self._keep_best()
        _report(result, epochs)
        return result

    def _end_epoch(self, epochs: int, file: Checkpoint, callbacks: Sequence[Callback]) -> Callable[[float], None]:
        """What is done after each pass over the data."""
        result = self._result

        def end_epoch(loss: float) -> None:
            if not math.isfinite(loss) and (result.optimizer == "adam" or not result.loss):
                self._blame()
            result.loss.append(loss)
            held_out = self._validation.losses[-1] if self._validation.losses else None
            epoch = Epoch(len(result.loss), loss, min(result.loss), held_out)
            if file.is_kept:
                self._snapshot = self._state()
            stopped = [is_true(callback(epoch)) for callback in callbacks]
            if file.is_due():
                file.write(self._snapshot)
            if any(stopped):
                raise StopFit(STOPPED)
            if len(result.loss) >= epochs:
                raise StopFit(_spent(epochs))

        return end_epoch

    def _watch(self, row: int, parameters: torch.Tensor) -> bool:
        """Look at the held-out sessions, without dropout."""
        self._model.eval()
        try:
            return self._validation.watch(row, parameters)
        finally:
            self._model.train()

    def _keep_best(self) -> None:
        losses, found = self._run.found()
        best = self._validation.best()
        ParameterVector(self._model).write(found[int(losses.argmin())] if best is None else best)
        self._result.validation_loss, self._result.start_losses = self._validation.losses, losses.tolist()

    def _blame(self) -> None:
        """Turn a loss that is no number into an error that says which module is to blame."""
        ParameterVector(self._model).write(self._run.current()[0])
        finite = True
        for batch in self._batches:
            with torch.no_grad(), self._model.checking_modules():
                finite &= bool(self._model(batch.xs, batch_first=True)[0].isfinite().all())
        what = "gradient of the loss is" if finite else "logits are"
        raise ModuleOutputError(
            f"the {what} not finite although every module's output is: check the model's own formulas, "
            "or lower learning_rate."
        )

    def _state(self) -> dict[str, Any]:
        return {
            "run": self._run.state(),
            "validation": self._validation.state(),
            "loss": list(self._result.loss),
            "buffers": {name: buffer.clone() for name, buffer in self._model.named_buffers()},
            "solutions": [loss.objective.solutions for loss in self._losses],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._snapshot = state
        self._run.restore(state["run"])
        restore_buffers(self._model, state["buffers"])
        self._validation.restore(state["validation"])
        self._result.loss = list(state["loss"])
        for loss, solutions in zip(self._losses, state["solutions"], strict=True):
            loss.objective.solutions = solutions


def mini_batches(dataset: DatasetRNN, batch_size: int | None) -> list[DatasetRNN]:
    """Sessions cut into mini-batches at random, the same at every call; one of all of them by default."""
    if batch_size is None:
        batch_size = max(MINI_BATCH // (dataset.shape[1] * dataset.n_actions), 1) if is_large(dataset) else len(dataset)
    if batch_size >= len(dataset):
        return [dataset]
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    return [dataset[rows] for rows in order.split(batch_size)]


@contextmanager
def _threads(used: int) -> Iterator[int]:
    """Let torch's operations use so many threads, yield how many they might have used, and restore that."""
    allowed = torch.get_num_threads()
    torch.set_num_threads(used)
    try:
        yield allowed
    finally:
        torch.set_num_threads(allowed)


def _threads_of_the_loop(model: BaseRNN, batch: DatasetRNN) -> int:
    """As many threads as pay in the loop over trials."""
    n_values = len(batch) * model.n_actions * model.hidden_size
    return 1 if n_values < PARALLEL_VALUES else torch.get_num_threads()


@contextmanager
def _in_training(model: BaseRNN, own_random_state: bool) -> Iterator[None]:
    """Put the model into training mode and back; with a random state of its own, the user's stays as it is.

    A fit that goes on from a checkpoint as if it had not been stopped sets torch's random state.
    """
    with torch.random.fork_rng(enabled=own_random_state):
        model.train()
        try:
            yield
        finally:
            model.eval()
            model.set_initial_state()  # drop the last pass: its tensors hold the graph


def is_true(value: Any) -> bool:
    """Whether a callback said True, be it Python's or NumPy's: whatever else it returns means nothing."""
    return isinstance(value, (bool, np.bool_)) and bool(value)


def _spent(epochs: int) -> str:
    return f"all {epochs} epochs used"


def _report(result: TrainingResult, epochs: int) -> None:
    if result.reason == INTERRUPTED:
        warnings.warn(
            f"the fit was interrupted after {len(result.loss)} epochs; the best parameters so far are kept.",
            SpiceWarning,
            stacklevel=6,
        )
    elif result.reason == NO_STEP:
        warnings.warn(
            f"the network did not converge: after {len(result.loss)} epochs {NO_STEP} although the gradient promises "
            "one; check the model's own formulas (a derivative that is cut off?), or use dtype='float64'.",
            ConvergenceWarning,
            stacklevel=6,
        )
    elif not result.converged and result.reason != STOPPED:
        warnings.warn(
            f"the network did not converge within {epochs} epochs; raise epochs (the best parameters so far are kept).",
            ConvergenceWarning,
            stacklevel=6,
        )

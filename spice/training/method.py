"""How to fit: which optimiser, and whether to evaluate all trials at once or one after another."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from spice.errors import ConfigError, did_you_mean
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective
from spice.training.parameters import ParameterVector

OPTIMIZERS = ("auto", "lbfgs", "adam")
FULL_BATCH = 100_000_000  # trials x sessions x actions up to which data and states of a full batch take less than 8 GB
MINI_BATCH = 1_000_000  # the same, of one step of Adam on larger data
# measured by benchmarks/evaluation_ways.py on a CPU; on other devices each operation of a loop costs far more
SHORTEST = 8  # trials of a session from which all at once are faster
SWEEPS = 500  # sessions x actions up to which sweeps find states faster than the loop
MOST = 4000  # sessions x actions from which the loop's own operations are large enough
SAMPLE = 400_000  # trials x sessions x actions on which all trials at once are compared with the loop
JITTER = 0.1  # standard deviation of the parameters' change there: a weight of 0 would hide what it weighs
AGREEMENT = {torch.float64: 1e-5, torch.float32: 1e-3}  # of the gradients there, relative to the largest entry


def choose_optimizer(optimizer: str, batch_size: int | None, model: nn.Module, dataset: DatasetRNN) -> str:
    """The optimiser that ``"auto"`` stands for, or the one asked for if it fits.

    Parameters
    ----------
    optimizer : str
        "auto", "lbfgs" or "adam".
    batch_size : int or None
        Sessions per step.
    model : torch.nn.Module
        The network.
    dataset : DatasetRNN
        The sessions.
    """
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer={optimizer!r} is unknown{did_you_mean(optimizer, OPTIMIZERS)}; choose one of "
            f"{', '.join(OPTIMIZERS)}."
        )
    noisy = is_noisy(model)
    if optimizer == "lbfgs" and (noisy or batch_size is not None):
        raise ConfigError(
            "optimizer='lbfgs' needs the same loss at every evaluation, but "
            f"{'dropout' if noisy else 'batch_size'} is set; "
            "use optimizer='adam', or leave that out."
        )
    if optimizer == "auto":
        return "adam" if noisy or batch_size is not None or is_large(dataset) else "lbfgs"
    return optimizer


def is_large(dataset: DatasetRNN) -> bool:
    """Whether the data are too large for a full batch."""
    return len(dataset) * dataset.shape[1] * dataset.n_actions > FULL_BATCH


def is_noisy(model: nn.Module) -> bool:
    """Whether the model draws random numbers in training."""
    return any(isinstance(module, _DropoutNd) and module.p > 0 for module in model.modules())


def choose_evaluation(model: BaseRNN, dataset: DatasetRNN, n_rows: int = 1) -> Evaluation:
    """All trials at once where the model allows it and it pays.

    Whether it allows it is measured: loss and gradient must be the same either way, at parameters away from the
    present ones.

    Parameters
    ----------
    model : BaseRNN
        The network.
    dataset : DatasetRNN
        The sessions.
    n_rows : int
        Parameter vectors that are evaluated together.
    """
    if type(model).forward is not BaseRNN.forward:
        return Evaluation(reason="the model has a forward of its own")
    if is_noisy(model):
        return Evaluation(reason="dropout draws anew in every trial")
    if dataset.shape[1] < SHORTEST:
        return Evaluation(reason="sessions are short")
    many = next(model.parameters()).device.type == "cpu" and len(dataset) * dataset.n_actions > MOST
    if many:
        return Evaluation(reason="sessions are many")
    training, buffers = model.training, {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        agreeing = _first_that_agrees(model.train(), _sample(dataset), min(n_rows, 2))
    except Exception as error:  # whatever a user's step does with rows that are trials
        return Evaluation(reason=f"step cannot take all trials at once ({type(error).__name__}: {error})")
    finally:  # a look at the model changes nothing in it
        model.train(training)
        restore_buffers(model, buffers)
    if agreeing is None:
        return Evaluation(reason="states of an option depend on those of others, or on other sessions")
    few = len(dataset) * dataset.n_actions < SWEEPS or next(model.parameters()).device.type != "cpu"
    return replace(agreeing, sweeps=few, reason="loss and gradient are the same, and it is faster")


def restore_buffers(model: nn.Module, buffers: Mapping[str, torch.Tensor]) -> None:
    """Give a model's buffers these values."""
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


def _sample(dataset: DatasetRNN) -> DatasetRNN:
    """As many whole sessions as are compared, with targets all over."""
    n_sessions = min(len(dataset), max(SAMPLE // (dataset.shape[1] * dataset.n_actions), 1))
    sessions = torch.linspace(0, len(dataset) - 1, n_sessions).long()
    xs = dataset.xs[sessions, : max(SAMPLE // dataset.n_actions, 1)]
    options = torch.arange(xs.shape[0] * xs.shape[1]).view(xs.shape[:2]) % dataset.n_actions
    return dataset.replace(xs, torch.nn.functional.one_hot(options, dataset.n_actions))


def _first_that_agrees(model: BaseRNN, sample: DatasetRNN, n_rows: int) -> Evaluation | None:
    """All trials at once, with states by themselves or coupled: what gives loss and gradient of the loop."""
    vector = ParameterVector(model)
    noise = torch.randn(n_rows, len(vector), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = (vector.read().cpu() + JITTER * noise).to(next(model.parameters()).device)
    nll, gradient = Objective(model, sample, Evaluation())(rows)
    for coupled in (False, True) if len(model.init_values) > 1 else (False,):
        evaluation = Evaluation(at_once=True, coupled=coupled)
        other_nll, other_gradient = Objective(model, sample, evaluation)(rows)
        difference = vector.difference(gradient, other_gradient)
        difference = max(difference, float(((nll - other_nll) / nll).abs().max()))
        if difference <= AGREEMENT[next(model.parameters()).dtype]:
            return evaluation
    return None

"""How to fit: which optimiser, and whether to evaluate all trials at once or one after another."""

from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call

from spice.errors import ConfigError, did_you_mean
from spice.resources.dataset import DatasetRNN
from spice.resources.parallel import TrialsAtOnce, state_derivatives
from spice.resources.rnn import BaseRNN
from spice.training.evaluation import Evaluation
from spice.training.objective import Objective
from spice.training.parameters import ParameterVector

OPTIMIZERS = ("auto", "lbfgs", "adam")
FULL_BATCH = 100_000_000  # trials x sessions x actions up to which data and states of a full batch take less than 8 GB
MINI_BATCH = 1_000_000  # the same, of one step of Adam on larger data
SHORTEST = 8  # trials of a session from which sweeps pay (benchmarks/README.md)
SWEEPS = 1000  # sessions x actions up to which sweeps find states faster than the loop
SAMPLE = (4, 8)  # sessions and trials on which sweeps are compared with the loop
JITTER = 0.3  # standard deviation of the parameters' change there: a weight of 0 would hide what it weighs
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
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())


def choose_evaluation(model: BaseRNN, dataset: DatasetRNN, n_rows: int = 1) -> Evaluation:
    """All trials at once where the model allows it and it pays.

    Whether it allows it is measured: loss and gradient of a few trials must be the same either way, at parameters
    away from the present ones.

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
    try:
        evaluation, difference = _compare(model, _sample(dataset), n_rows)
    except Exception as error:  # whatever a user's step does with rows that are trials
        return Evaluation(reason=f"step cannot take all trials at once ({type(error).__name__}: {error})")
    if not difference <= AGREEMENT[next(model.parameters()).dtype]:
        return Evaluation(reason="states of an option depend on those of others")
    return replace(
        evaluation, sweeps=len(dataset) * dataset.n_actions < SWEEPS, reason="the same on a sample, and faster"
    )


def _sample(dataset: DatasetRNN) -> DatasetRNN:
    """A few trials of a few sessions, with targets all over."""
    sessions = torch.linspace(0, len(dataset) - 1, min(SAMPLE[0], len(dataset))).long()
    xs = dataset.xs[sessions, : SAMPLE[1]]
    options = torch.arange(xs.shape[0] * xs.shape[1]).view(xs.shape[:2]) % dataset.n_actions
    return dataset.replace(xs, torch.nn.functional.one_hot(options, dataset.n_actions))


def _compare(model: BaseRNN, sample: DatasetRNN, n_rows: int) -> tuple[Evaluation, float]:
    """All trials at once, and the relative difference of the gradients so found from those through the loop."""
    vector = ParameterVector(model)
    noise = torch.randn(n_rows, len(vector), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = (vector.read().cpu() + JITTER * noise).to(next(model.parameters()).device)
    evaluation = Evaluation(at_once=True, coupled=_is_coupled(model, vector, rows[0], sample))
    results = [Objective(model, sample, way)(rows) for way in (Evaluation(), evaluation)]
    (nll, gradient), (other_nll, other_gradient) = results
    difference = (gradient - other_gradient).abs().max() / gradient.abs().max()
    return evaluation, float(max(difference, (nll - other_nll).abs().max() / nll.abs().max()))


def _is_coupled(model: BaseRNN, vector: ParameterVector, row: torch.Tensor, sample: DatasetRNN) -> bool:
    """Whether a state depends on another one of the same option."""
    trials = TrialsAtOnce(model, model.read_inputs(sample.xs, batch_first=True))
    n_states = len(trials.state_names)
    shape = (sample.shape[1], 1, n_states, len(sample), sample.n_actions)
    states = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    states = states.to(next(model.parameters())).requires_grad_()
    parameters = {name: value[0] for name, value in vector.named(row.unsqueeze(0), prefix="model.").items()}
    next_states, _ = functional_call(trials, parameters, (states[:, 0],))
    by_states = state_derivatives(next_states.unsqueeze(1), states, coupled=True)
    others = ~torch.eye(n_states, dtype=torch.bool, device=states.device)
    return bool((by_states[:, 0][:, others] != 0).any())

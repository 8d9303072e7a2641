"""Fit a network by minimising the negative log-likelihood of the choices."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from spice.errors import ConfigError, ConvergenceWarning, ModuleOutputError, SpiceWarning, did_you_mean
from spice.resources.dataset import DatasetRNN
from spice.resources.modules import ParticipantEmbedding, ScalingParameter, UpdateModule
from spice.resources.rnn import BaseRNN
from spice.training.loss import negative_log_likelihood
from spice.training.progress import Progress

OPTIMIZERS = ("auto", "lbfgs", "adam")
CHUNK = 20  # L-BFGS iterations between two looks at the budget
RESTARTS = 3  # of L-BFGS after an overshoot
PARALLEL_VALUES = 200_000  # values per operation (sessions x actions x hidden units) from which several threads pay
RATE_SD = 5.0  # prior standard deviation of constants and gains (inverse temperature times learning rate)
TOLERANCE = 1e-3  # change of the total loss (nats) below which L-BFGS has converged


class _BudgetSpentError(Exception):
    """All epochs are used."""


@dataclass
class TrainingResult:
    """How a fit went.

    Attributes
    ----------
    loss : list of float
        Loss (negative log-likelihood plus penalty, nats per scored trial) of each epoch, one epoch being one pass
        over the data.
    converged : bool
        Whether the optimiser met its criterion.
    reason : str
        Why the fit ended.
    """

    loss: list[float] = field(default_factory=list)
    converged: bool = False
    reason: str = ""


@dataclass
class _Best:
    """The best parameters so far."""

    parameters: list[nn.Parameter]
    loss: float = float("inf")
    values: list[torch.Tensor] | None = None

    def offer(self, loss: float) -> None:
        if loss < self.loss:
            self.loss = loss
            self.values = [parameter.detach().clone() for parameter in self.parameters]

    def restore(self) -> None:
        if self.values is not None:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, self.values, strict=True):
                    parameter.copy_(value)


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
        Full-batch L-BFGS with a strong-Wolfe line search (Nocedal & Wright 2006, algorithms 7.5 and 3.5), or Adam;
        "auto" is L-BFGS unless mini-batches or dropout ask for Adam.
    epochs : int
        Passes over the data at most, whichever the optimiser.
    learning_rate : float
        Adam's step; for L-BFGS that of the first step only.
    batch_size : int, optional
        Sessions per step (Adam); default all.
    weight_decay : float
        Precision of a Gaussian prior on the modules' weights.
    nonlinearity_decay : float
        Precision of a Gaussian prior on the output weights of the modules' tanh networks.
    embedding_decay : float
        Precision of a Gaussian prior on the participant embeddings and on all weights that read them.
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
    """
    optimizer = choose_optimizer(optimizer, batch_size, model)
    device = next(model.parameters()).device
    xs, ys = dataset.xs.to(device), dataset.ys.to(device)
    n_scored = max(dataset.n_scored, 1)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    best, result, progress = _Best(parameters), TrainingResult(), Progress(epochs, verbose)
    penalty = _penalty(model, weight_decay, nonlinearity_decay, embedding_decay)

    def loss_of(rows: torch.Tensor | slice) -> torch.Tensor:
        logits, _ = model(xs[rows], batch_first=True)
        share = 1.0 if isinstance(rows, slice) else float((~ys[rows].isnan().any(-1)).sum()) / n_scored
        loss = negative_log_likelihood(logits, ys[rows].to(logits.dtype)) / n_scored + share * penalty() / n_scored
        _require_finite(loss.item(), model, xs)
        return loss

    def end_epoch(loss: float) -> None:
        best.offer(loss)
        result.loss.append(loss)
        progress.update(loss)
        if len(result.loss) >= epochs:
            raise _BudgetSpentError

    model.train()
    try:
        with _threads_for(len(dataset) * model.n_actions * model.hidden_size):
            if optimizer == "lbfgs":
                _run_lbfgs(parameters, loss_of, end_epoch, learning_rate, TOLERANCE / n_scored, best)
            else:
                _run_adam(parameters, loss_of, end_epoch, learning_rate, batch_size, len(dataset), generator)
        result.converged, result.reason = True, "the loss no longer changes"
    except _BudgetSpentError:
        result.reason = f"all {epochs} epochs used"
        result.converged = optimizer == "adam" and _is_flat(result.loss)
    except KeyboardInterrupt:
        if not result.loss:  # nothing is fitted: an estimator of random weights would be no use
            raise
        result.reason = "interrupted"
    finally:
        progress.close()
        best.restore()
        model.eval()
    _report(result, epochs)
    return result


def choose_optimizer(optimizer: str, batch_size: int | None, model: nn.Module) -> str:
    """The optimiser that ``"auto"`` stands for, or the one asked for if it fits."""
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer={optimizer!r} is unknown{did_you_mean(optimizer, OPTIMIZERS)}; choose one of "
            f"{', '.join(OPTIMIZERS)}."
        )
    noisy = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    if optimizer == "lbfgs" and (noisy or batch_size is not None):
        raise ConfigError(
            "optimizer='lbfgs' needs the same loss at every evaluation, but "
            f"{'dropout' if noisy else 'batch_size'} is set; "
            "use optimizer='adam', or leave that out."
        )
    if optimizer == "auto":
        return "adam" if noisy or batch_size is not None else "lbfgs"
    return optimizer


@contextmanager
def _threads_for(n_values: int) -> Iterator[None]:
    """One thread where each operation is on few values: more would wait for each other. Restored afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if n_values >= PARALLEL_VALUES else 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run_lbfgs(parameters, loss_of, end_epoch, learning_rate, tolerance, best) -> None:
    """L-BFGS; where a line search overshoots to infinity, anew from the best parameters with a smaller step."""
    for attempt in range(RESTARTS + 1):
        try:
            return _run_lbfgs_once(parameters, loss_of, end_epoch, learning_rate / 10**attempt, tolerance)
        except ModuleOutputError:
            if best.values is None or attempt == RESTARTS:
                raise
            best.restore()


def _run_lbfgs_once(parameters, loss_of, end_epoch, learning_rate, tolerance) -> None:
    """L-BFGS to its end; `end_epoch` stops it by raising."""
    method = torch.optim.LBFGS(
        parameters,
        lr=learning_rate,
        max_iter=1,
        history_size=20,
        tolerance_grad=1e-8,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        method.zero_grad()
        loss = loss_of(slice(None))
        loss.backward()
        end_epoch(loss.item())
        return loss

    method.step(closure)
    # after the first, careful step the quasi-Newton step is the natural one
    group = method.param_groups[0]
    group["lr"], group["max_iter"], group["max_eval"] = 1.0, CHUNK, 10 * CHUNK
    state = method.state[method._params[0]]
    done = -1
    while state["n_iter"] != done:
        done = state["n_iter"]
        method.step(closure)
        if state["n_iter"] - done < CHUNK:
            return


def _run_adam(parameters, loss_of, end_epoch, learning_rate, batch_size, n_sessions, generator) -> None:
    """Adam (Kingma & Ba 2015) until `end_epoch` raises."""
    method = torch.optim.Adam(parameters, lr=learning_rate)
    while True:
        whole = batch_size is None or batch_size >= n_sessions
        batches = [slice(None)] if whole else torch.randperm(n_sessions, generator=generator).split(batch_size)
        total = 0.0
        for rows in batches:
            method.zero_grad()
            loss = loss_of(rows)
            loss.backward()
            total += loss.item()
            if whole:  # before the step: the loss is that of these parameters
                end_epoch(total)
            method.step()
        if not whole:
            end_epoch(total)


def _penalty(
    model: BaseRNN, weight_decay: float, nonlinearity_decay: float, embedding_decay: float
) -> Callable[[], torch.Tensor | float]:
    """Negative log density of the Gaussian priors, up to a constant."""
    decays = {
        "weights": weight_decay,
        "rates": weight_decay / RATE_SD**2,
        "nonlinearity": nonlinearity_decay,
        "people": embedding_decay,
    }
    groups = [
        (decays[kind], parameter)
        for module in model.modules()
        if isinstance(module, (UpdateModule, ScalingParameter, ParticipantEmbedding))
        for kind, parameters in module.priors().items()
        for parameter in parameters
        if decays[kind]
    ]

    def penalty() -> torch.Tensor | float:
        return sum((0.5 * decay * parameter.square().sum() for decay, parameter in groups), 0.0)

    return penalty


def _require_finite(loss: float, model: BaseRNN, xs: torch.Tensor) -> None:
    """Turn a loss that is no number into an error that says which module is to blame."""
    if loss == loss and abs(loss) != float("inf"):
        return
    with torch.no_grad(), model.checking_modules():
        model(xs, batch_first=True)
    raise ModuleOutputError(
        "the logits are not finite although every module's output is: check the model's own formulas, "
        "or lower learning_rate."
    )


def _is_flat(loss: list[float]) -> bool:
    """Whether the mean loss of the last two tenths of the epochs differs by less than 1e-4 nats per trial."""
    tenth = len(loss) // 10
    if tenth < 2:
        return False
    return abs(sum(loss[-tenth:]) - sum(loss[-2 * tenth : -tenth])) / tenth < 1e-4


def _report(result: TrainingResult, epochs: int) -> None:
    if result.reason == "interrupted":
        warnings.warn(
            f"the fit was interrupted after {len(result.loss)} epochs; the best parameters so far are kept.",
            SpiceWarning,
            stacklevel=4,
        )
    elif not result.converged:
        warnings.warn(
            f"the network did not converge within {epochs} epochs; raise epochs (the best parameters so far are kept).",
            ConvergenceWarning,
            stacklevel=4,
        )

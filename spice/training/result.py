"""What is known of a fit: while it runs, and when it has ended."""

from dataclasses import dataclass, field


@dataclass
class TrainingResult:
    """How a fit went.

    Attributes
    ----------
    loss : list of float
        Loss (negative log-likelihood plus penalty, nats per scored trial) of each epoch, one epoch being one pass
        over the data; of several starts the lowest.
    validation_loss : list of float
        Negative log-likelihood per scored choice of the sessions held out, each time they were looked at; of several
        starts in turn.
    converged : bool
        Whether the optimiser met its criterion.
    reason : str
        Why the fit ended.
    optimizer : str
        ``"lbfgs"`` or ``"adam"``.
    all_trials_at_once : bool
        Whether all trials were evaluated at once, or one after another.
    evaluation : str
        Why.
    start_losses : list of float
        Final loss of each start.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    converged: bool = False
    reason: str = ""
    optimizer: str = ""
    all_trials_at_once: bool = False
    evaluation: str = ""
    start_losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Epoch:
    """What a callback is told after each pass over the data.

    Attributes
    ----------
    number : int
        Number of the epoch, from 1 on.
    loss : float
        Loss of this epoch, nats per scored trial.
    best_loss : float
        The lowest so far.
    validation_loss : float or None
        Latest negative log-likelihood per scored choice of the sessions held out, if there are any.
    """

    number: int
    loss: float
    best_loss: float
    validation_loss: float | None

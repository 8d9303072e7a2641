"""Negative log-likelihood of choices under a model's logits."""

import torch


def scored_choices(ys: torch.Tensor) -> torch.Tensor:
    """One-hot choices with zeros where there is none to score.

    Parameters
    ----------
    ys : torch.Tensor, shape (..., n_actions)
        One-hot choices; NaN where there is none.
    """
    return torch.where(ys.isnan().any(-1, keepdim=True), 0.0, ys)


def log_likelihood(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of choices, in nats.

    Parameters
    ----------
    logits : torch.Tensor, shape (..., n_actions)
        Logits.
    chosen : torch.Tensor, shape (..., n_actions)
        One-hot choices, zeros where there is none to score.

    Returns
    -------
    torch.Tensor, shape (...)
    """
    # actions first: along a last axis of few elements log_softmax is several times slower
    log_probabilities = torch.log_softmax(logits.movedim(-1, 0).contiguous(), dim=0)
    return (log_probabilities * chosen.movedim(-1, 0)).sum(0)


def negative_log_likelihood(logits: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """Sum the negative log-likelihood of the choices, in nats.

    Parameters
    ----------
    logits : torch.Tensor, shape (n_sessions, n_trials, n_actions)
        Logits of the choice that follows each trial.
    ys : torch.Tensor, shape (n_sessions, n_trials, n_actions)
        That choice, one-hot; NaN where there is none to score.

    Returns
    -------
    torch.Tensor, scalar
    """
    return -log_likelihood(logits, scored_choices(ys)).sum()

"""Negative log-likelihood of choices under a model's logits."""

import torch


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
    scored = ~ys.isnan().any(-1, keepdim=True)
    chosen = torch.where(scored, ys, 0.0)
    return -(torch.log_softmax(logits, dim=-1) * chosen).sum()

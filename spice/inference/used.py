"""Which trials of a dataset count."""

import numpy as np
import torch

from spice.resources.dataset import DatasetRNN


def trials_in_use(dataset: DatasetRNN) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """First trial of each session, mask of the trials up to each session's end, and scored choices."""
    scored = dataset.scored
    used = dataset.observed | scored
    kept = used.flip(1).cumsum(1).flip(1) > 0
    sessions = np.concatenate([[0], np.cumsum(kept.sum(1).numpy())]).astype(np.int64)
    choices = torch.where(scored, dataset.ys.nan_to_num(0.0).argmax(-1), -1)[kept]
    return sessions, kept, choices.numpy().astype(np.int16)

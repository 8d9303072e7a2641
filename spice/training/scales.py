"""Scales of the modules' inputs, from the data."""

import torch

from spice.resources.dataset import DatasetRNN
from spice.resources.modules import UpdateModule
from spice.resources.rnn import BaseRNN


def set_input_scales(model: BaseRNN, dataset: DatasetRNN) -> None:
    """Divide inputs much larger or smaller than 1 by their root mean square, so that any unit trains equally well.

    Binary rewards and states keep a scale of 1.

    Parameters
    ----------
    model : BaseRNN
        The network, before training; changed in place.
    dataset : DatasetRNN
        The data it will be fitted to.
    """
    with torch.no_grad(), model.recording() as record:
        model(dataset.xs, batch_first=True)
    for name, module in model.submodules_rnn.items():
        if isinstance(module, UpdateModule) and module.input_size:
            inputs = record.call(name).inputs.nan_to_num(0).flatten(0, 2)
            used = inputs != 0
            mean_square = inputs.square().sum(0) / used.sum(0).clamp(min=1)
            far_from_1 = (mean_square < 0.01) | (mean_square > 4)
            module.input_scale = torch.where(far_from_1 & (mean_square > 0), mean_square.sqrt(), 1.0)

"""A model's parameters as one vector, so that optimisers see numbers and restarts are rows."""

from collections.abc import Mapping

import torch
from torch import nn

from spice.resources.modules import OptionBias, ParticipantEmbedding, ScalingParameter, UpdateModule

RATE_SD = 5.0  # prior standard deviation of constants and gains (inverse temperature times learning rate)


class ParameterVector:
    """The trainable parameters of a model as a vector in double precision.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its parameters are read and written, not kept.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._sizes = [value.numel() for value in self._parameters.values()]

    def __len__(self) -> int:
        return sum(self._sizes)

    def read(self) -> torch.Tensor:
        """The model's parameters, shape (n_parameters,)."""
        return torch.cat([value.detach().double().reshape(-1) for value in self._parameters.values()])

    def write(self, values: torch.Tensor) -> None:
        """Set the model's parameters."""
        with torch.no_grad():
            for parameter, part in zip(self._parameters.values(), values.split(self._sizes), strict=True):
                parameter.copy_(part.view_as(parameter))

    def named(self, rows: torch.Tensor, prefix: str = "") -> dict[str, torch.Tensor]:
        """Rows of vectors as tensors by name, for `torch.func.functional_call`.

        Parameters
        ----------
        rows : torch.Tensor, shape (n_rows, n_parameters)
            Vectors.
        prefix : str
            Put before the names.

        Returns
        -------
        dict of str to torch.Tensor, each (n_rows, *shape of the parameter)
            Differentiable, in the model's own precision.
        """
        parts = rows.to(next(iter(self._parameters.values())).dtype).split(self._sizes, dim=1)
        return {
            prefix + name: part.view(len(rows), *value.shape)
            for (name, value), part in zip(self._parameters.items(), parts, strict=True)
        }

    def difference(self, rows: torch.Tensor, others: torch.Tensor) -> float:
        """Largest relative difference of two gradients, each parameter tensor by its own largest entry.

        Entries a million times smaller than the largest of all count as rounding. NaN where either is.
        """
        floor = 1e-6 * float(rows.abs().max())
        pairs = zip(rows.split(self._sizes, dim=1), others.split(self._sizes, dim=1), strict=True)
        return float(max((a - b).abs().max() / max(float(a.abs().max()), floor, 1e-300) for a, b in pairs))

    def precisions(self, decays: Mapping[str, float]) -> torch.Tensor:
        """Precision of each parameter's Gaussian prior, shape (n_parameters,).

        Parameters
        ----------
        decays : mapping
            Precision of the kinds ``"weights"`` (constants and gains have five times that standard deviation),
            ``"nonlinearity"`` and ``"people"`` (see ``UpdateModule.priors``).
        """
        decays = {**decays, "rates": decays["weights"] / RATE_SD**2}
        of_parameter = {
            id(parameter): decays[kind]
            for module in self.model.modules()
            if isinstance(module, (UpdateModule, ScalingParameter, OptionBias, ParticipantEmbedding))
            for kind, parameters in module.priors().items()
            for parameter in parameters
        }
        values = [of_parameter.get(id(value), 0.0) for value in self._parameters.values()]
        return torch.cat(
            [torch.full((size,), value, dtype=torch.float64) for size, value in zip(self._sizes, values, strict=True)]
        )

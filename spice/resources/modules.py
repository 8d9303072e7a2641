"""The small networks that models are made of: one per cognitive mechanism."""

import math

import torch
from torch import nn

START_SPREAD = 0.2  # standard deviation of untrained participant embeddings, that of their usual prior
START_CARRIED = 0.5  # share of a state's value that an untrained module carries to the next trial


class UpdateModule(nn.Module):
    """Update of one state: a leaky memory plus a small tanh network.

    The memory carries a share of the value to the next trial and adds a constant and a gain times each input. The
    share may depend on the inputs (a learning rate after reward, another after none); it is a sine, so that it stays
    within [-1, 1] and can reach both ends: no state grows without bound. People differ in these rates, which depend
    linearly on the participant embedding. All else is left to the tanh network of value, inputs and embedding.

    Parameters
    ----------
    input_size : int
        Number of inputs besides the state's value.
    embedding_size : int, default 0
        Length of the participant embedding that the module reads.
    hidden_size : int, default 8
        Number of hidden units.
    dropout : float, default 0
        Dropout rate before the output.

    Notes
    -----
    Inputs are divided by the buffer ``input_scale`` (set before training), so that points between 0 and 100 are
    learned from as easily as rewards of 0 and 1.
    """

    elementwise = True

    def __init__(self, input_size: int, embedding_size: int = 0, hidden_size: int = 8, dropout: float = 0.0):
        super().__init__()
        self.input_size = input_size
        self.hidden = nn.Linear(1 + input_size, hidden_size)
        self.embedding = nn.Linear(embedding_size, hidden_size, bias=False) if embedding_size else None
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.output = nn.Linear(hidden_size, 1)
        n_rates = 2 + 2 * input_size  # constant, gains; arcsine of the share carried, its dependence on the inputs
        self.rates = nn.Parameter(torch.zeros(n_rates))
        self.rates_embedding = nn.Linear(embedding_size, n_rates, bias=False) if embedding_size else None
        self.input_scale: torch.Tensor
        self.register_buffer("input_scale", torch.ones(input_size))
        # start as a leaky memory: from "the state stays as it is", constants would pile up over a session, and the
        # fit can end where the drifts of two states cancel
        with torch.no_grad():
            self.rates[1 + input_size] = math.asin(START_CARRIED)
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
            if self.rates_embedding is not None:
                self.rates_embedding.weight.mul_(0.1)

    def forward(
        self,
        value: torch.Tensor,
        inputs: torch.Tensor,
        embedding: torch.Tensor | None = None,
        participant: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Next value of the state.

        Parameters
        ----------
        value : torch.Tensor, shape (n_batch, n_actions)
            The state.
        inputs : torch.Tensor, shape (n_batch, n_actions, input_size)
            What the update depends on.
        embedding : torch.Tensor, shape (n_batch, embedding_size), optional
            Participant embedding.
        participant : torch.Tensor, shape (n_batch,), optional
            Unused here: equations in a module's place look their coefficients up by it.

        Returns
        -------
        torch.Tensor, shape (n_batch, n_actions)
        """
        # features come first, the batch last: every operation then runs along the batch
        flat = value.reshape(1, -1)
        inputs = torch.movedim(inputs / self.input_scale, -1, 0).flatten(1)
        person = None if embedding is None else embedding.T.repeat_interleave(value.shape[1], dim=1)
        memory = self._memory(flat, inputs, person)
        return (memory + self._network(flat, inputs, person)).reshape(value.shape)

    def _memory(self, value: torch.Tensor, inputs: torch.Tensor, person: torch.Tensor | None) -> torch.Tensor:
        """The leaky memory, shape (1, n_values)."""
        if self.rates_embedding is None or person is None:
            rates = self.rates.view(2, -1)
            gain, share = torch.addmm(rates[:, :1], rates[:, 1:], inputs).split(1)
        else:
            rates = torch.addmm(self.rates.unsqueeze(-1), self.rates_embedding.weight, person)
            constants, slopes = rates.view(2, 1 + self.input_size, -1).split([1, self.input_size], dim=1)
            gain, share = constants.squeeze(1) + (slopes * inputs).sum(1) if self.input_size else constants.squeeze(1)
        return torch.addcmul(gain, torch.sin(share), value)

    def _network(self, value: torch.Tensor, inputs: torch.Tensor, person: torch.Tensor | None) -> torch.Tensor:
        """The tanh network, shape (1, n_values)."""
        features, weights = torch.cat([value, inputs]), self.hidden.weight
        if self.embedding is not None and person is not None:
            features = torch.cat([features, person])
            weights = torch.cat([weights, self.embedding.weight], dim=1)
        # tanh(z) = 2 sigmoid(2 z) - 1: torch's sigmoid is several times faster in double precision, and the factors
        # cost nothing on the weights
        hidden = torch.sigmoid(torch.addmm(2 * self.hidden.bias.unsqueeze(-1), 2 * weights, features))
        bias, output = self.output.bias, self.output.weight
        if self.dropout is not None:
            return torch.addmm(bias, output, self.dropout(2 * hidden - 1))
        return torch.addmm(bias - output.sum(), 2 * output, hidden)

    def priors(self) -> dict[str, list[torch.Tensor]]:
        """Parameters by kind of prior: rates, nonlinearity, people (what reads the embedding), other weights."""
        people = [module.weight for module in (self.embedding, self.rates_embedding) if module is not None]
        return {
            "rates": [self.rates],
            "nonlinearity": [self.output.weight],
            "people": people,
            "weights": [self.hidden.weight, self.hidden.bias, self.output.bias],
        }


class ScalingParameter(nn.Module):
    """A scaling parameter (inverse temperature), one for all or a linear function of the embedding.

    Parameters
    ----------
    embedding_size : int, default 0
        Length of the participant embedding; 0 for one parameter common to all.
    """

    def __init__(self, embedding_size: int = 0):
        super().__init__()
        self.parameter = nn.Parameter(torch.ones(1))
        self.embedding = nn.Linear(embedding_size, 1, bias=False) if embedding_size else None

    def priors(self) -> dict[str, list[torch.Tensor]]:
        """Parameters by kind of prior."""
        return {"people": [] if self.embedding is None else [self.embedding.weight]}

    def forward(self, embedding: torch.Tensor | None = None) -> torch.Tensor:
        """The parameter, shape (n_batch, 1), or (1,) without an embedding."""
        return self.parameter if self.embedding is None else self.parameter + self.embedding(embedding)


class ParticipantEmbedding(nn.Embedding):
    """One trainable vector per participant, with dropout.

    Parameters
    ----------
    n_participants : int
        Number of participants.
    embedding_size : int
        Length of each vector.
    dropout : float, default 0
        Dropout rate.
    """

    def __init__(self, n_participants: int, embedding_size: int, dropout: float = 0.0):
        super().__init__(n_participants, embedding_size)
        self.dropout = nn.Dropout(dropout) if dropout else None
        with torch.no_grad():
            self.weight.mul_(START_SPREAD)

    def priors(self) -> dict[str, list[torch.Tensor]]:
        """Parameters by kind of prior."""
        return {"people": [self.weight]}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Vectors of the participants with these numbers, shape (..., embedding_size)."""
        vectors = super().forward(input)
        return vectors if self.dropout is None else self.dropout(vectors)

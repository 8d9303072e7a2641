"""The small networks that models are made of: one per cognitive mechanism."""

import math

import torch
from torch import nn

START_SPREAD = 0.2  # standard deviation of untrained participant embeddings, that of their usual prior
START_CARRIED = 0.5  # share of a state's value that an untrained module carries to the next trial


class StateUpdate(nn.Module):
    """What updates one state: a network, or an equation in its place.

    What depends on the participant alone is computed once a pass (`prepare`), the rest in every trial (`update`).
    """

    elementwise = False  # whether elements may be computed apart from each other

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
            Participant embedding: networks read it.
        participant : torch.Tensor, shape (n_batch,), optional
            Participant numbers: equations look their coefficients up by them.

        Returns
        -------
        torch.Tensor, shape (n_batch, n_actions)
        """
        return self.update(value, inputs, self.prepare(value, embedding, participant))

    def prepare(
        self, value: torch.Tensor, embedding: torch.Tensor | None, participant: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """What does not change from trial to trial, for values of this shape; arguments as in `forward`."""
        raise NotImplementedError

    def update(self, value: torch.Tensor, inputs: torch.Tensor, prepared: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Next value of the state, given what was prepared."""
        raise NotImplementedError


class UpdateModule(StateUpdate):
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

    def prepare(
        self, value: torch.Tensor, embedding: torch.Tensor | None, participant: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Rates, what the hidden units add to their inputs, weights of hidden units and of the output.

        Features come first, the batch last: every operation then runs along the batch. Without an embedding all
        values share one column.
        """
        rates, offsets = self.rates.unsqueeze(-1), self.hidden.bias.unsqueeze(-1)
        if embedding is not None and self.embedding is not None and self.rates_embedding is not None:
            person = embedding.T.repeat_interleave(value.shape[1], dim=1)
            rates = torch.addmm(rates, self.rates_embedding.weight, person)
            offsets = torch.addmm(offsets, self.embedding.weight, person)
        gains, shares = rates.chunk(2)
        if not self.input_size:  # a constant share
            shares = torch.sin(shares)
        # tanh(z) = 2 sigmoid(2 z) - 1: torch's sigmoid is several times faster in double precision, and the factors
        # cost nothing on the weights
        output = self.output.weight
        return gains, shares, 2 * offsets, 2 * self.hidden.weight, self.output.bias - output.sum(), 2 * output

    def update(self, value: torch.Tensor, inputs: torch.Tensor, prepared: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """As `StateUpdate.update`."""
        gains, shares, offsets, weights, bias, output = prepared
        features = value.reshape(1, -1)
        if not self.input_size:
            memory = torch.addcmul(gains, shares, features)
        else:
            inputs = torch.movedim(inputs / self.input_scale, -1, 0).flatten(1)
            gain, share = (part[:1] + (part[1:] * inputs).sum(0, keepdim=True) for part in (gains, shares))
            memory = torch.addcmul(gain, torch.sin(share), features)
            features = torch.cat([features, inputs])
        hidden = torch.sigmoid(torch.addmm(offsets, weights, features))
        if self.dropout is not None:
            hidden = (self.dropout(2 * hidden - 1) + 1) / 2
        return (memory + torch.addmm(bias, output, hidden)).reshape(value.shape)

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


class OptionBias(nn.Module):
    """A constant part of each option's logit, common to all or a linear function of the embedding.

    Parameters
    ----------
    n_actions : int
        Number of options.
    n_participants : int, default 1
        Number of participants, for biases that were refined by likelihood.
    embedding_size : int, default 0
        Length of the participant embedding; 0 for biases common to all.

    Notes
    -----
    The buffer ``refined`` (n_participants, n_actions) holds the biases of stage 3, in the place of the network's; NaN
    where there are none.
    """

    def __init__(self, n_actions: int, n_participants: int = 1, embedding_size: int = 0):
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(n_actions))
        self.embedding = nn.Linear(embedding_size, n_actions, bias=False) if embedding_size else None
        self.refined: torch.Tensor
        self.register_buffer("refined", torch.full((max(n_participants, 1), n_actions), torch.nan))

    def priors(self) -> dict[str, list[torch.Tensor]]:
        """Parameters by kind of prior."""
        return {"rates": [self.parameter], "people": [] if self.embedding is None else [self.embedding.weight]}

    def forward(self, embedding: torch.Tensor | None, participant: torch.Tensor) -> torch.Tensor:
        """The biases, shape (n_batch, n_actions); participant numbers of shape (n_batch,)."""
        bias = self.parameter if self.embedding is None else self.parameter + self.embedding(embedding)
        refined = self.refined[participant % len(self.refined)]
        return torch.where(refined.isnan(), bias, refined)


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

"""What is refitted of a model of any form: coefficients, scaling parameters and biases as rows of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from spice.equations import Equation, with_equations
from spice.equations.terms import term_exponents
from spice.inference.general.elimination import covariance_of
from spice.inference.general.newton import Minima, Region
from spice.inference.refit import LARGEST
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.modules import OptionBias, ScalingParameter
from spice.resources.rnn import BaseRNN
from spice.sindy.stability import multiplier_rows

Proposals = Mapping[int, Mapping[str, Equation]]


@dataclass(frozen=True)
class Numbers:
    """What is refitted: coefficients by module and term, scaling parameters, biases.

    Attributes
    ----------
    sources : list of (str, str)
        (module, term), ("beta", state) or ("bias", "bias_1").
    start : np.ndarray, shape (n_rows, n_numbers)
        Values to begin from, one row for each participant.
    free : np.ndarray of bool, shape (n_rows, n_numbers)
        What each participant has.
    region : Region
        No multiplier of a state leaves [-1, 1], or what SINDy's exceeds that by.
    """

    sources: list[tuple[str, str]]
    start: np.ndarray
    free: np.ndarray
    region: Region

    @property
    def targets(self) -> list[tuple[int, float]]:
        """What terms may be set to: all to 0, a state's own to 1 too."""
        terms = [(k, source) for k, source in enumerate(self.sources) if source[0] not in ("beta", "bias")]
        return [(k, 0.0) for k, _ in terms] + [(k, 1.0) for k, (module, term) in terms if module == term]

    def held_where_scale_is_free(self, first: Minima) -> "Numbers | None":
        """The same with scaling parameters held, if the choices cannot tell them from the states' own scale.

        Parameters
        ----------
        first : Minima
            The fit with them free.
        """
        betas = np.array([kind == "beta" for kind, _ in self.sources])
        for row, free in enumerate(self.free):
            if not (free & betas).any() or not first.converged[row]:
                continue
            covariance = covariance_of(first.hessian[row], free, self.region, row, first.numbers[row], unknown=np.inf)
            errors = np.sqrt(np.diag(covariance)[betas & free])
            if not (errors < np.abs(first.numbers[row, betas & free])).all():
                return replace(self, free=self.free & ~betas)
        return None


def numbers_of(network: BaseRNN, config: SpiceConfig, dataset: DatasetRNN, proposals: Proposals) -> Numbers:
    """All terms that anybody has; what belongs to one participant alone, where the model keeps it for each."""
    sources = list({(m, term): 0 for entry in proposals.values() for m in entry for term in entry[m].coefficients})
    rows = np.array([[entry[m].coefficients.get(term, 0.0) for m, term in sources] for entry in proposals.values()])
    untouched = [m == term and bool((column == 1).all()) for (m, term), column in zip(sources, rows.T, strict=True)]
    free = (rows != 0) & ~np.array(untouched, bool)
    people = torch.as_tensor(list(proposals))
    with torch.no_grad():
        if network.n_participants == 1:
            for state, beta in network.betas.items():
                if isinstance(beta, ScalingParameter) and beta.embedding is None:
                    sources.append(("beta", state))
                    rows = np.column_stack([rows, beta.parameter.double().numpy()])
        if isinstance(getattr(network, "bias", None), OptionBias):
            values = network.bias.forward(network.embed(people), people).expand(len(people), -1).double().numpy()
            sources += [("bias", f"bias_{k}") for k in range(1, network.n_actions)]
            rows = np.column_stack([rows, values[:, 1:] - values[:, :1]])
    free = np.column_stack([free, np.ones((len(rows), rows.shape[1] - free.shape[1]), bool)])
    return Numbers(sources, rows, free, _region(network, config, dataset, proposals, sources, rows))


def _region(network, config: SpiceConfig, dataset: DatasetRNN, proposals: Proposals, sources, start) -> Region:
    """Multipliers at all inputs that modules met; no number in logit units beyond what probabilities tell apart."""
    with torch.no_grad(), network.recording() as record:
        network(dataset.xs, batch_first=True)
    combinations, most = [np.eye(len(sources))], [np.full(len(sources), LARGEST)]
    for module in config.rnn_modules:
        equation = next(iter(proposals.values()))[module]
        places = [k for k, (name, _) in enumerate(sources) if name == module]
        exponents = np.array([term_exponents(equation.features, sources[k][1]) for k in places])
        if not places or not (exponents[:, 0] == 1).any():
            continue
        call = record.call(module)
        used = (call.action != 0) & ~call.inputs.isnan().any(-1)
        inputs = call.inputs[used].double().numpy()
        limits = np.zeros((0, len(sources)))
        if len(inputs):
            found = multiplier_rows(np.column_stack([np.zeros(len(inputs)), inputs]), exponents)
            limits = np.zeros((len(found), len(sources)))
            limits[:, places] = found
        combinations.append(limits)
        most.append(np.ones(len(limits)))
    together = np.concatenate(combinations)
    return Region(together, np.maximum(np.concatenate(most), np.abs(start @ together.T)))


def equations_of(proposals: Proposals, numbers: Numbers, values: np.ndarray) -> list[dict[str, Equation]]:
    """Equations of each participant."""
    places = {source: k for k, source in enumerate(numbers.sources)}
    found = []
    for row, entry in zip(values, proposals.values(), strict=True):
        terms = {m: {term: float(row[places[m, term]]) for term in e.coefficients} for m, e in entry.items()}
        found.append(
            {m: Equation(m, e.controls, {t: v for t, v in terms[m].items() if v != 0}) for m, e in entry.items()}
        )
    return found


def model_with(network: BaseRNN, proposals: Proposals, numbers: Numbers, values: np.ndarray) -> BaseRNN:
    """A copy of the network with equations, scaling parameters and biases of these values."""
    equations = equations_of(proposals, numbers, values)
    model = with_equations(network, dict(zip(proposals, equations, strict=True)))
    with torch.no_grad():
        for k, (kind, name) in enumerate(numbers.sources):
            if kind == "beta":
                getattr(model.betas[name], "parameter").fill_(values[0, k])  # noqa: B009, mypy takes it for a module
            if kind == "bias":
                for row, person in enumerate(proposals):
                    model.bias.refined[person, 0] = 0.0
                    model.bias.refined[person, int(name.rpartition("_")[2])] = values[row, k]
    return model

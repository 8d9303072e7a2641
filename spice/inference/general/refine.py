"""Stage 3 for models that are no polynomials of single states: SINDy's terms, refitted, and fewer of them."""

import warnings
from copy import deepcopy

import numpy as np
import torch

from spice.equations import Equation, with_equations
from spice.errors import ConvergenceWarning, ModelFormError, SpiceWarning
from spice.inference.criteria import penalty_of
from spice.inference.general.elimination import Fit, eliminate
from spice.inference.general.newton import Minima, newton
from spice.inference.general.numbers import Numbers, Proposals, equations_of, model_with, numbers_of
from spice.inference.general.tables import results_of
from spice.inference.general.torch_fit import TorchFit
from spice.inference.results import Results
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN

MOST_COMPILED = 20  # parameters of a generated likelihood: more take minutes to compile


def refine_generally(
    network: BaseRNN, config: SpiceConfig, dataset: DatasetRNN, proposals: Proposals, criterion: str = "calibrated"
) -> tuple[dict[int, dict[str, Equation]], BaseRNN, dict[int, Results]]:
    """Refit SINDy's equations by the likelihood of the choices, and drop terms that it does not need.

    Parameters
    ----------
    network : BaseRNN
        The fitted network.
    config : SpiceConfig
        Modules and signals.
    dataset : DatasetRNN
        The data.
    proposals : mapping of int to mapping of str to Equation
        SINDy's equations by participant number and module.
    criterion : {"calibrated", "bic", "aic", "ebic"}, default "calibrated"
        What decides which terms are dropped; "ebic" counts each number's share of the number of candidates.

    Returns
    -------
    equations : dict of int to dict of str to Equation
        Refined equations.
    model : BaseRNN
        A copy of the network with them; with its own scaling parameters and biases refitted too.
    results : dict of int to Results
        Tables of estimates; no canonical form.
    """
    dataset = dataset[torch.isin(dataset.participants, torch.as_tensor(list(proposals)))]
    proposals = {person: proposals[person] for person in dataset.participants.unique().tolist()}
    exact = deepcopy(network).double().cpu().eval()
    numbers = numbers_of(exact, config, dataset, proposals)
    fit = _compiled_fit(exact, dataset, proposals, numbers)
    if fit is None:
        fit = TorchFit(lambda rows: model_with(exact, proposals, numbers, rows), dataset, numbers)
    rows = np.arange(len(proposals))
    first = fit(numbers.start, numbers.free, rows)
    if (held := numbers.held_where_scale_is_free(first)) is not None:
        numbers = held
        first = fit(numbers.start, numbers.free, rows)
    scored = [int(dataset[dataset.participants.numpy() == person].n_scored) for person in proposals]
    prices = np.array([float(penalty_of(criterion, n, len(numbers.targets))(np.ones(1))[0]) for n in scored])
    found = eliminate(fit, numbers.region, first, numbers.free, numbers.targets, prices)
    stuck = [
        dataset.label("participant", p) for p, done in zip(proposals, found.best.converged, strict=True) if not done
    ]
    if stuck:
        warnings.warn(
            f"the likelihood's maximum was not reached for participant(s) {', '.join(map(str, stuck[:10]))}: their "
            "numbers are approximate.",
            ConvergenceWarning,
            stacklevel=5,
        )
    model = model_with(network, proposals, numbers, found.best.numbers)
    labels = [dataset.label("participant", person) for person in proposals]
    equations = equations_of(proposals, numbers, found.best.numbers)
    tables = results_of(found, numbers, list(proposals.values()), equations, labels, list(network.init_values))
    return dict(zip(proposals, equations, strict=True)), model, dict(zip(proposals, tables, strict=True))


def _compiled_fit(network: BaseRNN, dataset: DatasetRNN, proposals: Proposals, numbers: Numbers) -> Fit | None:
    """Newton's method on generated code; None, with a warning, where there can be none."""
    from spice.equations.tracing import trace
    from spice.inference.general.generated import GeneratedLikelihood

    try:
        model = trace(with_equations(network, proposals), {person: person for person in proposals})
        if len(model.parameters) > MOST_COMPILED:
            raise ModelFormError(f"its {len(model.parameters)} parameters would take minutes to compile.")
    except ModelFormError as error:
        warnings.warn(
            f"the equations of {type(network).__name__} are refined by torch, slower than by compiled code: {error}",
            SpiceWarning,
            stacklevel=6,
        )
        return None
    likelihood = GeneratedLikelihood(model, dataset)
    base = np.array([list(model.values(person).values()) for person in proposals])
    by_source = {parameter.source: k for k, parameter in enumerate(model.parameters.values())}
    known = [k for k, source in enumerate(numbers.sources) if source in by_source]
    places = [by_source[numbers.sources[k]] for k in known]

    def evaluate(values: np.ndarray, rows: np.ndarray):
        full = base[rows].copy()
        full[:, places] = values[:, known]
        answer = likelihood(full, rows)
        gradient, hessian = np.zeros(values.shape), np.zeros((*values.shape, values.shape[1]))
        gradient[:, known] = answer.gradient[:, places]
        hessian[np.ix_(range(len(rows)), known, known)] = answer.hessian[np.ix_(range(len(rows)), places, places)]
        return answer.nll, gradient, hessian

    def fit(values: np.ndarray, free: np.ndarray, rows: np.ndarray) -> Minima:
        return newton(evaluate, values, free, numbers.region, rows)

    return fit

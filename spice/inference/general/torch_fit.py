"""Maximum likelihood through a torch model, where nothing can be compiled: L-BFGS on gradients by autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, minimize

from spice.equations.module import EquationModule
from spice.inference.general.newton import Minima
from spice.inference.general.numbers import Numbers
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.training.loss import log_likelihood, scored_choices

STEP = 1e-4  # of differences of gradients, for the Hessian
ITERATIONS = 200


class TorchFit:
    """Fits all participants' numbers at once; those of one do not touch another's likelihood.

    Parameters
    ----------
    model_with : callable
        Numbers, shape (n_rows, n_numbers), to a model that has them.
    dataset : DatasetRNN
        The data, one row of numbers for each of its participants in the order of their numbers.
    numbers : Numbers
        What is fitted.
    """

    def __init__(self, model_with: Callable[[np.ndarray], BaseRNN], dataset: DatasetRNN, numbers: Numbers):
        self._dataset, self._numbers = dataset, numbers
        self._model = model_with(np.where(numbers.start == 0, 1.0, numbers.start))
        people, self._row = dataset.participants.unique(return_inverse=True)
        self._people = people
        self._places = self._tables()

    def __call__(self, values: np.ndarray, free: np.ndarray, rows: np.ndarray) -> Minima:
        """Fit some rows from given values on, the others held where they began."""
        everything = self._numbers.start.copy()
        everything[rows] = values
        moving = np.zeros(everything.shape, bool)
        moving[rows] = free
        result_ok = np.ones(len(everything), bool)
        if moving.any():
            everything, result_ok = self._minimise(everything, moving)
        nll, _ = self._evaluate(everything)
        return Minima(everything[rows], nll[rows], self._hessian(everything, moving)[rows], result_ok[rows])

    def _minimise(self, values: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L-BFGS within the limits of single numbers; combinations are kept by going back towards the start."""
        region, scale = self._numbers.region, max(self._dataset.n_scored, 1)
        alone = (region.combinations != 0).sum(1) == 1
        most = np.full(values.shape, np.inf)
        for limit in np.flatnonzero(alone):
            number = int(np.flatnonzero(region.combinations[limit])[0])
            most[:, number] = np.minimum(
                most[:, number], region.most[:, limit] / abs(region.combinations[limit, number])
            )

        def function(free_values: np.ndarray) -> tuple[float, np.ndarray]:
            trial = values.copy()
            trial[moving] = free_values
            nll, gradient = self._evaluate(trial)
            if not (np.isfinite(nll).all() and np.isfinite(gradient).all()):
                return 1e10, np.zeros(len(free_values))
            return nll.sum() / scale, gradient[moving] / scale

        bounds = Bounds(-most[moving], most[moving])
        options = {"maxiter": ITERATIONS, "ftol": 1e-14, "gtol": 1e-9}
        found = minimize(function, values[moving], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        new = values.copy()
        new[moving] = found.x
        before, after = self._evaluate(values)[0], self._evaluate(new)[0]
        for row in range(len(values)):
            step = new[row] - values[row]
            share = 1.0 if region.keeps(row, new[row]) else region.share(row, values[row], step)
            new[row] = values[row] + share * step
        shortened = self._evaluate(new)[0]
        worse = ~(shortened <= before)
        new[worse] = values[worse]
        return new, np.full(len(values), bool(found.success)) & (shortened <= after + 1e-6)

    def _evaluate(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Negative log-likelihood and gradient of every row."""
        leaf = torch.tensor(values, requires_grad=True)
        self._set(leaf)
        logits = self._model(self._dataset.xs, batch_first=True)[0].double()
        chosen = scored_choices(self._dataset.ys.double())
        sessions = -log_likelihood(logits, chosen).sum(-1)
        (gradient,) = torch.autograd.grad(sessions.sum(), leaf, allow_unused=True)
        nll = torch.zeros(len(values), dtype=torch.float64).index_add(0, self._row, sessions.detach())
        return nll.numpy(), np.zeros(values.shape) if gradient is None else gradient.numpy()

    def _hessian(self, values: np.ndarray, moving: np.ndarray) -> np.ndarray:
        """Second derivatives of every row by central differences, each number of all rows at once."""
        n = values.shape[1]
        found = np.zeros((len(values), n, n))
        for k in np.flatnonzero(moving.any(0)):
            step = np.zeros(values.shape)
            step[:, k] = STEP * (1 + np.abs(values[:, k]))
            ahead, back = self._evaluate(values + step)[1], self._evaluate(values - step)[1]
            found[:, k] = (ahead - back) / (2 * step[:, k, None])
        return (found + found.transpose(0, 2, 1)) / 2

    def _tables(self) -> dict[str, list[tuple[int, int]]]:
        """By module, for each of its terms' columns the number that fills it."""
        found: dict[str, list[tuple[int, int]]] = {}
        for k, (module, term) in enumerate(self._numbers.sources):
            stand_in = self._model.submodules_sindy[module] if module in self._model.submodules_sindy else None
            if isinstance(stand_in, EquationModule):
                found.setdefault(module, []).append((stand_in.terms.index(term), k))
        return found

    def _set(self, leaf: torch.Tensor) -> None:
        """Let the model's coefficients, scaling parameters and biases be these numbers."""
        for name, places in self._places.items():
            module: Any = self._model.submodules_sindy[name]
            table = torch.zeros(tuple(module.coefficients.shape), dtype=torch.float64)
            columns, numbers = zip(*places, strict=True)
            index = (self._people.unsqueeze(1), torch.tensor(columns).unsqueeze(0))
            module.coefficients = table.index_put(index, leaf[:, list(numbers)])
        refined = None
        for k, (kind, name) in enumerate(self._numbers.sources):
            if kind == "beta":
                del self._model.betas[name].parameter
                self._model.betas[name].parameter = leaf[0, k].reshape(1)
            if kind == "bias":
                refined = torch.zeros_like(self._model.bias.refined) if refined is None else refined
                column = torch.full_like(self._people, int(name.rpartition("_")[2]))
                refined = refined.index_put((self._people, column), leaf[:, k])
        if refined is not None:
            self._model.bias.refined = refined

"""What a fitted estimator does: predict, score, print, tabulate, save and load."""

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from tqdm import tqdm

from spice.building import build_model, pooled
from spice.equations import Equation, format_number, with_equations
from spice.errors import (
    ConfigError,
    DataError,
    FileError,
    SpiceWarning,
    did_you_mean,
)
from spice.inference import RecoveryReport, Results, canonical_block
from spice.parameters import check_parameters
from spice.precoded import BANDIT_CONFIG, BanditRNN
from spice.resources.agents import Seed, make_generator
from spice.resources.alignment import align
from spice.resources.columns import Columns
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.environments import Bandits
from spice.resources.model_agent import ModelAgent
from spice.resources.resimulation import simulate_again
from spice.resources.rnn import BaseRNN
from spice.resources.validation import check_dataset, check_several_sessions
from spice.saving import ModelCard, equations_of, load_tensors, read_model_file, save_equations, save_network
from spice.training import negative_log_likelihood
from spice.training.fit import INTERRUPTED as STOPPED_BY_USER

if TYPE_CHECKING:
    import pandas as pd

    from spice.equations import SymbolicModel

DATA = ("_stage", "_dataset")  # attributes that hold data: not saved, not copied


class FittedSpice(BaseEstimator):
    """All of `SpiceEstimator` but its parameters and `fit`."""

    rnn_class: Any
    spice_config: Any
    n_actions: int | None
    n_participants: int | None
    hidden_size: int
    embedding_size: int | None
    dropout: float
    missing_reward: str
    device: Any
    dtype: str
    random_state: int | None
    verbose: bool
    _dataset: DatasetRNN  # that of the fit

    # ------------------------------------------------------------------ use

    def predict(self, X: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Choice probabilities of network and equations.

        Parameters
        ----------
        X : DatasetRNN or array_like, shape (n_sessions, n_trials, n_features)
            Choices and outcomes; row t predicts the choice of trial t + 1.

        Returns
        -------
        prob_rnn, prob_spice : np.ndarray, shape (n_sessions, n_trials, n_actions), or None
            Probabilities by the network and by the equations (None for a half that was not loaded); NaN in the
            padding after a session's end, and by the equations of participants that have none.
        """
        self._check_fitted()
        dataset = self._aligned(X, None)
        trailing = dataset.observed.flip(1).cumsum(1).flip(1) == 0
        results: list[np.ndarray | None] = []
        for model in (getattr(self, "rnn_model_", None), getattr(self, "spice_model_", None)):
            if model is None:
                results.append(None)
                continue
            with torch.no_grad():
                logits = self._logits(model, dataset).movedim(-1, 0).contiguous()  # the fast way for few options
                probabilities = torch.softmax(logits, dim=0).movedim(0, -1).cpu()
            results.append(probabilities.masked_fill(trailing.unsqueeze(-1), torch.nan).double().numpy())
        if results[1] is not None and (without := self._without_equations(dataset)):
            warnings.warn(
                f"there are no equations for participant(s) {without}: their predictions by equations are NaN.",
                SpiceWarning,
                stacklevel=2,
            )
        return results[0], results[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood per scored choice of the equations, in nats.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        float
        """
        self._check_fitted()
        if not hasattr(self, "spice_model_"):
            raise NotFittedError("score needs the equations: load them with load_spice(path_spice=...), or fit.")
        dataset = self._aligned(X, y)
        if not dataset.n_scored:
            raise DataError("there is no choice to score: give y, or a DatasetRNN whose ys are not all missing.")
        without = self._without_equations(dataset)
        if without:
            raise DataError(f"there are no equations for participant(s) {without}: leave them out, or fit them.")
        with torch.no_grad():
            logits = self._logits(self.spice_model_, dataset)
            return -float(negative_log_likelihood(logits, dataset.ys.to(logits))) / dataset.n_scored

    def _logits(self, model: BaseRNN, dataset: DatasetRNN) -> torch.Tensor:
        return model(dataset.xs, batch_first=True)[0]

    def _without_equations(self, dataset: DatasetRNN) -> str:
        """The data's participants that have no equations, listed."""
        if self.spice_model_.n_participants == 1:
            return ""
        labels = {self.participants_[code] for code in dataset.participants.tolist()}
        without = [label for label in self.participants_ if label in labels and label not in self.equations_]
        return ", ".join(map(str, without[:10])) + (" ..." if len(without) > 10 else "")

    # ------------------------------------------------------------------ read

    def print_spice_model(self, participant_id: Any = None) -> None:
        """Print the equations, and the scaling parameters where the model has any.

        Parameters
        ----------
        participant_id : optional
            Label of the participant; default is the first that has equations.
        """
        print(self.format_spice_model(participant_id))

    def format_spice_model(self, participant_id: Any = None) -> str:
        """The text that `print_spice_model` prints."""
        self._check_fitted()
        if not hasattr(self, "equations_"):
            raise NotFittedError("there are no equations: load them with load_spice(path_spice=...), or fit.")
        known = list(self.equations_)
        label = known[0] if participant_id is None else participant_id
        if label not in self.equations_:
            raise ConfigError(f"there are no equations for participant {label!r}{did_you_mean(label, known)}.")
        lines = [str(equation) for equation in self.equations_[label].values()]
        number = torch.tensor([self.participants_.index(label)])
        with torch.no_grad():
            betas = self.spice_model_.scaling_values(number.to(self.device))
        lines += [f"beta({state}) = {format_number(value.item())}" for state, value in betas.items()]
        if hasattr(self, "canonical_"):
            lines += canonical_block(self._results[label])
        if len(known) > 1:
            lines.insert(0, f"participant {label} (one of {len(known)}):")
        return "\n".join(lines)

    def symbolic_model(self, participant: Any = None) -> "SymbolicModel":
        """The model with its equations as expressions: to print, typeset, differentiate or evaluate.

        Parameters
        ----------
        participant : optional
            Label: the terms and values of this participant alone; default everybody's terms, each parameter with a
            value per participant.

        Returns
        -------
        SymbolicModel

        Raises
        ------
        ModelFormError
            If the model's code cannot be written as expressions.
        """
        from spice.equations.tracing import trace

        self._check_fitted()
        if not hasattr(self, "equations_"):
            raise NotFittedError("there are no equations: load them with load_spice(path_spice=...), or fit.")
        known = list(self.equations_)
        if participant is not None and participant not in known:
            raise ConfigError(
                f"there are no equations for participant {participant!r}{did_you_mean(participant, known)}."
            )
        shared = self.spice_model_.n_participants == 1
        wanted = known[:1] if shared else known if participant is None else [participant]
        return trace(self.spice_model_, {label: 0 if shared else self.participants_.index(label) for label in wanted})

    def summary(self, form: str = "terms", intervals: str = "wald") -> "pd.DataFrame":
        """Estimates with their uncertainty.

        Parameters
        ----------
        form : {"terms", "canonical"}
            One row per term of the equations, in the network's gauge, or one per parameter of the canonical form.
        intervals : {"wald", "profile", "bootstrap"}
            From the information matrix (rates on the scale of logits); from the profile of the likelihood, right also
            where it is skewed or ends at a bound; or percentiles of 500 session bootstraps, with their standard errors:
            right also where the model is not, with sessions enough (20, say). The last two need the data of the fit.

        Returns
        -------
        pandas.DataFrame
            Columns participant, module, term, estimate, se, ci_low, ci_high (95 %), inclusion (probability that the
            term is in the model), sindy (SINDy's first value); only what is in the model. The standard error is NaN of
            what the data do not identify, and of what a bound holds (a learning rate of 1).
        """
        import pandas as pd

        if form not in ("terms", "canonical"):
            raise ConfigError(f"form={form!r} is unknown; choose 'terms' or 'canonical'.")
        if intervals not in ("wald", "profile", "bootstrap"):
            raise ConfigError(f"intervals={intervals!r} is unknown; choose 'wald', 'profile' or 'bootstrap'.")
        self._check_refined("estimates")
        results = self._results
        if intervals != "wald":
            numbers = self._numbers(self._results)
            stage = self._of_the_fit("_stage", f"intervals={intervals!r}")
            if intervals == "bootstrap":
                check_several_sessions(self._sessions_of(numbers), "the bootstrap draws", "use intervals='profile'")
            found = stage.with_intervals(form, intervals, self.random_state)
            results = {label: found[number] for label, number in numbers.items()}
        tables = [
            entry.terms.assign(participant=label) if form == "terms" else entry.canonical.table(label)
            for label, entry in results.items()
        ]
        return pd.concat(tables, ignore_index=True)

    def check_recovery(
        self, n: int = 20, environment: Bandits | None = None, random_state: Any = None
    ) -> RecoveryReport:
        """Simulate from the fitted equations with the same design, fit anew, and see what is recovered.

        The design: participants, sessions, missing trials and inputs are those of the fit. Every data set goes through
        all stages, with the settings of this estimator.

        Parameters
        ----------
        n : int, default 20
            Number of data sets.
        environment : Bandits, optional
            The task. Without it outcomes are those of the data: what an option pays in a trial is drawn from the five
            trials of the session closest in time in which its outcome was seen; where all outcomes were shown, they
            are shown again. The task itself is better, if there is one.
        random_state : int or numpy.random.Generator, optional
            Seed of simulations and fits; default is numpy's global state.

        Returns
        -------
        RecoveryReport
            True and recovered parameters, how often each was found, and how well. ``print`` shows a table,
            `spice.utils.plotting.plot_recovery` draws it.

        Raises
        ------
        NotFittedError
            If the equations were not refined, or the data of the fit are not there (loaded or copied estimator).
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ConfigError(f"n must be a whole number from 1 on, not {n!r}.")
        self._check_refined("estimates to recover")
        dataset: DatasetRNN = self._of_the_fit("_dataset", "check_recovery")
        generator = make_generator(random_state)
        found = []
        for _ in tqdm(range(n), desc="recovery", unit="data set", disable=None if self.verbose else True, leave=False):
            again = self._simulate_again(dataset, environment, generator)
            seed = int(generator.integers(2**31))
            refit = clone(self).set_params(random_state=seed, verbose=False, callbacks=None, checkpoint=None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SpiceWarning)
                refit.fit(again)
            if refit.history_.reason == STOPPED_BY_USER or "_results" not in vars(refit):
                raise KeyboardInterrupt
            found.append(refit._results)
        truth = self._results
        if self.spice_model_.n_participants == 1:  # the same for all who are there: it counts once
            truth = dict(list(truth.items())[:1])
        return RecoveryReport.of(truth, found)

    def _simulate_again(self, dataset: DatasetRNN, environment: Bandits | None, seed: Seed) -> DatasetRNN:
        """Data with the same design; those of people without equations stay as they are."""
        known = torch.tensor([self.participants_[code] in self.equations_ for code in dataset.participants.tolist()])
        again = dataset[:]
        own = simulate_again(ModelAgent(self.spice_model_), dataset[known], environment, seed)
        again.xs[known], again.ys[known] = own.xs, own.ys
        return again

    # ------------------------------------------------------------------ save and load

    def save_spice(self, path_rnn: Any = None, path_spice: Any = None) -> None:
        """Save network, equations, or both.

        The files hold tensors and plain data only; writing is atomic.

        Parameters
        ----------
        path_rnn : path-like, optional
            Where to save the network.
        path_spice : path-like, optional
            Where to save the equations (with the scaling parameters they need).
        """
        self._check_fitted()
        if path_rnn is None and path_spice is None:
            raise ConfigError("save_spice needs path_rnn, path_spice, or both.")
        if path_rnn is not None:
            if not hasattr(self, "rnn_model_"):
                raise ConfigError("there is no network to save: only equations were loaded; leave path_rnn out.")
            save_network(path_rnn, self._card(self.rnn_model_), self.rnn_model_)
        if path_spice is not None:
            if not hasattr(self, "spice_model_"):
                raise ConfigError("there are no equations to save: only a network was loaded; leave path_spice out.")
            numbers = self._numbers(self.equations_)
            equations = {numbers[label]: entry for label, entry in self.equations_.items()}
            results = {numbers[label]: entry for label, entry in self.__dict__.get("_results", {}).items()}
            people = [self.participants_.index(label) for label in self.equations_]
            save_equations(path_spice, self._card(self.spice_model_), self.spice_model_, equations, results, people)

    def load_spice(self, path_rnn: Any = None, path_spice: Any = None) -> Self:
        """Load network, equations, or both; nothing in the files is executed.

        Parameters
        ----------
        path_rnn : path-like, optional
            A file of `save_spice`.
        path_spice : path-like, optional
            Likewise. With only one of the two, the other half of `predict` is None.

        Returns
        -------
        SpiceEstimator
            Itself.

        Raises
        ------
        FileError
            If a file is damaged, hostile, or of another model.
        """
        if path_rnn is None and path_spice is None:
            raise ConfigError("load_spice needs path_rnn, path_spice, or both.")
        check_parameters(self.get_params(deep=False))
        files = {
            kind: (path, *read_model_file(path, kind, self._config, self._sizes()))
            for kind, path in (("rnn", path_rnn), ("spice", path_spice))
            if path is not None
        }
        cards = [card for _, card, _ in files.values()]
        if len({(card.n_actions, *card.participants) for card in cards}) > 1:
            raise FileError("path_rnn and path_spice are of different fits: their actions or participants differ.")
        models = {}
        for kind, (path, card, payload) in files.items():
            models[kind] = self._build(card.n_actions, card.n_participants)
            card.name_columns(models[kind])
            load_tensors(models[kind], payload, path, modules=kind == "rnn")
        equations: dict[int, dict[str, Equation]] = {}
        results: dict[int, Results] = {}
        people: list[int] = []
        if "spice" in files:
            path, card, payload = files["spice"]
            shared = models["spice"].n_participants == 1
            equations, results, people = equations_of(payload, card, self._config, path, shared)
            models["spice"] = with_equations(models["spice"], equations)
        self._take_on(cards[0])  # only now: a file that does not fit leaves the estimator as it was
        if "rnn" in models:
            self._set_network(models["rnn"])
        if "spice" in models:
            numbers = {self.participants_[number]: 0 if shared else number for number in people}
            self._set_equations(equations, models["spice"])
            self.equations_ = self.sindy_equations_ = {label: equations[number] for label, number in numbers.items()}
            if results:
                self._set_results({label: results[number] for label, number in numbers.items()})
        return self

    def _card(self, model: BaseRNN) -> ModelCard:
        return ModelCard.of(model, self._config, self.n_participants_, self.participants_, self.labels_)

    def _sizes(self) -> dict[str, int | None]:
        return {name: getattr(self, name) for name in ("n_actions", "n_participants", "embedding_size")}

    def _forget(self) -> None:
        """Drop an earlier fit, so that nothing of it is taken for the new one's."""
        own = ("rnn_agent", "spice_agent", "_results", *DATA)
        for name in [n for n in vars(self) if n.endswith("_") or n in own]:
            delattr(self, name)

    def _take_on(self, card: ModelCard) -> None:
        """Take on a file's numbers and labels."""
        self._forget()
        self.n_actions_, self.n_participants_ = card.n_actions, card.n_participants
        self.participants_ = tuple(card.participants)
        self.labels_ = {name: tuple(labels) for name, labels in card.labels.items()}

    # ------------------------------------------------------------------ parts

    @property
    def _model_class(self) -> type[BaseRNN]:
        return BanditRNN if self.rnn_class is None else self.rnn_class

    @property
    def _config(self) -> SpiceConfig:
        return BANDIT_CONFIG if self.rnn_class is None and self.spice_config is None else self.spice_config

    def _build(self, n_actions: int, n_participants: int) -> BaseRNN:
        sizes = {"hidden_size": self.hidden_size, "dropout": self.dropout}
        model = build_model(self._model_class, self._config, n_actions, n_participants, self.embedding_size, **sizes)
        return model.to(device=self.device, dtype=getattr(torch, self.dtype))

    def _set_network(self, model: BaseRNN) -> None:
        model.eval()
        model.set_initial_state()  # drop the last pass: its tensors hold the graph
        self.rnn_model_ = model
        self.rnn_agent = ModelAgent(model)

    def _set_equations(self, equations: dict[int, dict[str, Equation]], model: BaseRNN) -> None:
        self.spice_model_ = model
        if model.n_participants == 1:
            wanted = self.participants_ if self.spice_participant_id is None else (self.spice_participant_id,)
            self.equations_ = dict.fromkeys(wanted, equations[0])
        else:
            self.equations_ = {self.participants_[participant]: entry for participant, entry in equations.items()}
        self.spice_agent = ModelAgent(model)

    def _set_results(self, results: dict[Any, Results]) -> None:
        self._results = results
        self.sindy_equations_ = {label: dict(entry.sindy) for label, entry in results.items()}
        self.canonical_ = {label: entry.canonical for label, entry in results.items()}
        self.structures_ = {label: entry.structures.assign(participant=label) for label, entry in results.items()}
        self.undecided_ = {label: entry.undecided.assign(participant=label) for label, entry in results.items()}

    def _numbers(self, labels: Iterable[Any]) -> dict[Any, int]:
        """Participant number of each label in the equations."""
        shared = self.spice_model_.n_participants == 1
        return {label: 0 if shared else self.participants_.index(label) for label in labels}

    def _sessions_of(self, numbers: Mapping[Any, int]) -> DatasetRNN:
        """Sessions of the fit of these participants, by label and number."""
        dataset = pooled(self._dataset) if self.spice_model_.n_participants == 1 else self._dataset
        return dataset[torch.isin(dataset.participants, torch.tensor(list(numbers.values())))]

    # ------------------------------------------------------------------ checks

    def _check_fitted(self) -> None:
        if not hasattr(self, "rnn_model_") and not hasattr(self, "spice_model_"):
            raise NotFittedError("this SpiceEstimator is not fitted yet; call fit or load_spice first.")

    def _check_refined(self, what: str) -> None:
        self._check_fitted()
        if not hasattr(self, "canonical_"):
            raise NotFittedError(f"there are no {what}: the equations were not refined (refine=True, and fit).")

    def _of_the_fit(self, name: str, what: str) -> Any:
        """What only the estimator that was fitted has: neither files nor copies hold the data."""
        if name not in vars(self):
            raise NotFittedError(
                f"{what} needs the data of the fit, which a loaded or copied estimator does not have; call fit."
            )
        return vars(self)[name]

    def _aligned(self, X: Any, y: Any) -> DatasetRNN:
        """Check the data and bring them into the order of those of the fit."""
        columns = self._any_model().columns or Columns.make(self.n_actions_, 2 * self.n_actions_ + 1)
        dataset = DatasetRNN.of(X, y, self.n_actions_, columns)
        if self._any_model().n_participants == 1:
            check_dataset(dataset, None, self.missing_reward)
            return align(pooled(dataset), columns, (), {})
        labels = dataset.labels.get("participant")
        check_dataset(dataset, self.n_participants_ if labels is None else len(labels), self.missing_reward)
        return align(dataset, columns, self.participants_, self.labels_)

    def _any_model(self) -> BaseRNN:
        return self.rnn_model_ if hasattr(self, "rnn_model_") else self.spice_model_

    def __getattr__(self, name: str) -> Any:
        """Say that an attribute of a fit is not there yet."""
        if name in ("canonical_", "undecided_", "structures_") and {"rnn_model_", "spice_model_"} & set(vars(self)):
            raise NotFittedError(f"there is no {name}: the equations were not refined (refine=True, and fit).")
        if name in ("rnn_agent", "spice_agent") or (name.endswith("_") and not name.startswith("_")):
            raise NotFittedError(f"there is no {name} yet; call fit or load_spice first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in DATA}

"""What a fitted estimator holds, and how it is saved and loaded."""

from collections.abc import Iterable
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from spice.building import build_model
from spice.equations import Equation, with_equations
from spice.errors import ConfigError, FileError
from spice.inference import Results
from spice.parameters import check_parameters
from spice.precoded import BANDIT_CONFIG, BanditRNN
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.files import check_paths
from spice.resources.model_agent import ModelAgent
from spice.resources.rnn import BaseRNN
from spice.saving import ModelCard, equations_of, load_tensors, read_model_file, save_equations, save_network

DATA = ("_stage", "_dataset")  # attributes that hold data: not saved, not copied


class StoredSpice(BaseEstimator):
    """Network, equations and results of a fit; `FittedSpice` says what can be done with them."""

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
        check_paths(path_rnn=path_rnn, path_spice=path_spice)
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
        check_paths(path_rnn=path_rnn, path_spice=path_spice)
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

    # ------------------------------------------------------------------ checks

    def _check_fitted(self) -> None:
        if not hasattr(self, "rnn_model_") and not hasattr(self, "spice_model_"):
            raise NotFittedError("this SpiceEstimator is not fitted yet; call fit or load_spice first.")

    def _of_the_fit(self, name: str, what: str) -> Any:
        """What only the estimator that was fitted has: neither files nor copies hold the data."""
        if name not in vars(self):
            raise NotFittedError(
                f"{what} needs the data of the fit, which a loaded or copied estimator does not have; call fit."
            )
        return vars(self)[name]

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

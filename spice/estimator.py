"""SpiceEstimator: from choice data to readable equations in one fit."""

import contextlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from spice.building import pooled, warn_if_shared
from spice.errors import (
    ConfigError,
    DataError,
    FidelityWarning,
    LibraryWarning,
    SpiceWarning,
    StabilityWarning,
)
from spice.fitted import FittedSpice
from spice.parameters import check_parameters
from spice.resources.config import SpiceConfig
from spice.resources.dataset import DatasetRNN
from spice.resources.rnn import BaseRNN
from spice.resources.validation import check_dataset, check_several_sessions
from spice.sindy import find_equations
from spice.sindy.fidelity import run_model, warn_if_unfaithful
from spice.sindy.probes import probe_sessions
from spice.sindy.samples import collect_samples
from spice.training import TrainingResult, fit_network
from spice.training.scales import set_input_scales

__all__ = ["SpiceConfig", "SpiceEstimator"]

INTERRUPTED = {
    False: "interrupted while distilling: the network is fitted, there are no equations. predict works for the "
    "network; call fit again for the equations.",
    True: "interrupted while refining: the equations are SINDy's; call fit again for the refined ones.",
}


class SpiceEstimator(FittedSpice):
    """Fit a network to choices and distil it into equations.

    Stage 1 fits a recurrent network whose states are updated by small modules; stage 2 (SINDy) distils every module
    into a sparse equation, for every participant; stage 3 refines the equations by the likelihood of the choices: it
    estimates their numbers anew and keeps the terms that the choices support.

    Parameters
    ----------
    rnn_class : type, a subclass of BaseRNN, optional
        The model; ready ones are in ``spice.precoded``. Default: ``BanditRNN``, which has values, choice traces and
        biases, for those who do not know the model.
    spice_config : SpiceConfig, optional
        Its modules, signals, libraries and filters; default with ``BanditRNN``: ``BANDIT_CONFIG``.
    n_actions : int, optional
        Number of options; default from the data.
    n_participants : int, optional
        Number of participants; default from the data.
    hidden_size : int, default 8
        Hidden units per module.
    embedding_size : int, optional
        Length of the participant embedding; default is the model's own.
    dropout : float, default 0
        Dropout rate inside the modules; above 0 the optimiser must be Adam.
    optimizer : {"auto", "lbfgs", "adam"}, default "auto"
        Optimiser of the network: full-batch L-BFGS, or Adam; "auto" is L-BFGS unless ``batch_size``, dropout or very
        large data (sessions x trials x actions above 100 million) ask for Adam.
    learning_rate : float, default 1e-2
        Adam's step size; for L-BFGS that of the first step (later ones come from its line search).
    epochs : int, default 1024
        Passes over the data at most, whichever the optimiser; L-BFGS usually converges much earlier.
    batch_size : int, optional
        Sessions per step of Adam; default all (of very large data as many as a million values).
    n_starts : int, default 1
        Random starts of the network, fitted together as rows of one batch (where trials are run one after another,
        in turn); the best is kept. An epoch is a pass of all of them.
    validation_fraction : float, default 0
        Share of the sessions that the network is not fitted to: the fit ends when it predicts them no better for ten
        iterations, and the parameters that predicted them best are kept. 0: the fit ends when its loss no longer falls.
    callbacks : sequence of callable, optional
        Called after each epoch with its number, loss, best loss and validation loss (`spice.training.Epoch`); one that
        returns True ends the fit.
    checkpoint : path-like, optional
        File that keeps an unfinished fit: written every 30 seconds and when the fit is stopped, deleted when it has
        converged. If it is there already, the fit goes on from it, from its random starts whatever ``random_state``
        says, and ends as it would have without the stop.
    weight_decay : float, default 1
        Precision of the Gaussian prior on the modules' weights (1: standard normal; constants and gains have five times
        that standard deviation). Its weight against the data is
        that of a prior: it fades as trials accumulate.
    nonlinearity_decay : float, default 100
        Precision of the Gaussian prior on the modules' tanh networks: larger keeps the network closer to what
        equations of low degree can say, smaller lets it go its own way.
    embedding_decay : float, default 30
        Precision of the Gaussian prior on participant embeddings and on all weights that read them: larger makes people
        more alike.
    sindy_degree : int, default 1
        Degree of the polynomial libraries.
    sindy_optimizer : {"STLSQ", "SR3", "SSR", "FROLS"} or pysindy optimizer, default "STLSQ"
        How to sparsify.
    sindy_threshold : float, default 0.05
        Terms whose root-mean-square contribution to the logits, added up over a state's memory, is smaller are dropped.
        Optimizers given as objects have thresholds of their own.
    sindy_data : {"on-policy", "off-policy"}, default "on-policy"
        Whether modules are distilled on the participants' own trials, or on probes with random choices.
    refine : bool, default True
        Whether to refine the equations by the likelihood of the choices (stage 3).
    estimation : {"map", "mle"}, default "map"
        How stage 3 estimates numbers. "map": with weak normal priors around 0 that keep those finite which the choices
        do not identify; standard deviations, in logit units: 10 for what the best outcome adds to the worst, a constant
        and for biases, 5 for the start of a value, 1 for factors of a state's higher powers; a state's own coefficient
        and its interactions have none. "mle": maximum likelihood, no priors.
    criterion : {"calibrated", "bic", "aic", "ebic", "cv"}, default "calibrated"
        What decides which terms stage 3 keeps. "calibrated": false terms in at most one data set of twenty, with few
        choices and with many. "bic", "aic": Schwarz's and Akaike's; "ebic": the extended one that knows how many terms
        were on offer (Chen & Chen 2008); "cv": the likelihood of sessions that were left out, in ten folds.
    spice_participant_id : optional
        Distil this participant only (the label the user gave); default all.
    missing_reward : {"error", "skip"}, default "error"
        What to do with a choice whose reward is missing: refuse, or score the choice and update nothing from it.
    device : str or torch.device, default "cpu"
        Where to compute.
    dtype : {"float64", "float32"}, default "float64"
        Precision of the network.
    random_state : int, optional
        Seed of the network's starts; default is torch's global state.
    verbose : bool, default False
        Whether to show a progress bar (on a terminal only), and to warn of terms in the default library that the data
        cannot tell apart (of other libraries that is always said).

    Attributes
    ----------
    equations_ : dict
        ``equations_[participant][module]`` is an `Equation`; participants by the labels in the data.
    sindy_equations_ : dict
        SINDy's equations, before they were refined.
    canonical_ : dict
        ``canonical_[participant]`` is the same model in the field's own terms (`spice.inference.CanonicalForm`):
        ``.parameters`` (learning rates, inverse temperature ...), ``.estimates`` (with standard errors and intervals),
        ``.equations`` (sympy) and ``.gauge``. Only with ``refine=True``.
    undecided_ : dict
        ``undecided_[participant]`` is a DataFrame like `summary`'s of the terms that the data do not decide on.
    structures_ : dict
        ``structures_[participant]`` is a DataFrame of all structures that were fitted, the best first: terms, how many
        numbers they count, negative log-likelihood, criterion above the best's, and weight. They are the criterion's
        own; what is reported is what such structures agree on.
    rnn_agent, spice_agent : ModelAgent
        Agents made of the network and of the equations.
    rnn_model_, spice_model_ : BaseRNN
        The network, and the same model with equations in its modules' place.
    history_ : TrainingResult
        Loss of each epoch, and whether and why the fit ended.
    timing_ : dict of str to float
        Seconds per stage: ``"network"``, ``"sindy"``, ``"refine"``, ``"total"``.
    participants_ : tuple
        Labels of the participants, by number.
    n_actions_, n_participants_ : int
        As found in the data.
    """

    def __init__(
        self,
        rnn_class: Any = None,
        spice_config: Any = None,
        n_actions: int | None = None,
        n_participants: int | None = None,
        hidden_size: int = 8,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        optimizer: str = "auto",
        learning_rate: float = 1e-2,
        epochs: int = 1024,
        batch_size: int | None = None,
        n_starts: int = 1,
        validation_fraction: float = 0.0,
        callbacks: Any = None,
        checkpoint: Any = None,
        weight_decay: float = 1.0,
        nonlinearity_decay: float = 100.0,
        embedding_decay: float = 30.0,
        sindy_degree: int = 1,
        sindy_optimizer: Any = "STLSQ",
        sindy_threshold: float = 0.05,
        sindy_data: str = "on-policy",
        refine: bool = True,
        estimation: str = "map",
        criterion: str = "calibrated",
        spice_participant_id: Any = None,
        missing_reward: str = "error",
        device: Any = "cpu",
        dtype: str = "float64",
        random_state: int | None = None,
        verbose: bool = False,
    ):
        self.rnn_class = rnn_class
        self.spice_config = spice_config
        self.n_actions = n_actions
        self.n_participants = n_participants
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.n_starts = n_starts
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.weight_decay = weight_decay
        self.nonlinearity_decay = nonlinearity_decay
        self.embedding_decay = embedding_decay
        self.sindy_degree = sindy_degree
        self.sindy_optimizer = sindy_optimizer
        self.sindy_threshold = sindy_threshold
        self.sindy_data = sindy_data
        self.refine = refine
        self.estimation = estimation
        self.criterion = criterion
        self.spice_participant_id = spice_participant_id
        self.missing_reward = missing_reward
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "SpiceEstimator":
        """Fit network and equations.

        Parameters
        ----------
        X : DatasetRNN or array_like, shape (n_sessions, n_trials, n_features)
            Choices, outcomes and inputs.
        y : array_like, shape (n_sessions, n_trials, n_actions), optional
            The choice that follows each row, one-hot; not needed with a ``DatasetRNN``.

        Returns
        -------
        SpiceEstimator
            Itself.
        """
        check_parameters(self.get_params(deep=False))
        dataset = DatasetRNN.of(X, y, self.n_actions)
        self._check_data(dataset)
        to_distil = self._participants_to_distil(dataset)
        visited = dataset if self.sindy_data == "on-policy" else probe_sessions(dataset)
        n_participants = self.n_participants or self._count_participants(dataset)

        started = time.perf_counter()
        with self._seeded():
            model = self._build(dataset.n_actions, n_participants)
            model.columns = dataset.columns
            warn_if_shared(model, dataset)
            own = dataset
            if model.n_participants == 1:  # the same for everybody: one set of equations, from all trials
                own, visited, to_distil = pooled(dataset), pooled(visited), [0]
            model.read_design(own)
            set_input_scales(model, dataset)
            if self.refine and self.criterion == "cv":
                people = own[torch.isin(own.participants, torch.tensor(to_distil))]
                check_several_sessions(people, "criterion='cv' holds out", "choose another criterion")
            collect_samples(model, self._config, visited)  # a wrong configuration shows before the fit, not after
            history = self._train(model, own)
        self._forget()
        self.n_actions_, self.n_participants_ = dataset.n_actions, n_participants
        self.participants_ = tuple(dataset.label("participant", code) for code in range(n_participants))
        self.labels_, self._dataset = dict(dataset.labels), dataset[:]  # a copy: the user may change theirs
        self.history_ = history
        self._set_network(model)
        trained = distilled = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", SpiceWarning)
                self._distil(own, visited, to_distil)
            distilled = time.perf_counter()
            refined = self.refine and self._refine(own)
            # once equations are refined, what is true of SINDy's alone is of no interest, nor that a library which the
            # user did not choose offers more than the data can tell apart
            settled: tuple[type[SpiceWarning], ...] = (StabilityWarning, FidelityWarning)
            if self.rnn_class is None and self.spice_config is None and not self.verbose:
                settled = (*settled, LibraryWarning)
            for entry in said:
                if not (refined and issubclass(entry.category, settled)):
                    warnings.warn(entry.message, stacklevel=2)
        except KeyboardInterrupt:
            warnings.warn(INTERRUPTED[hasattr(self, "sindy_equations_")], SpiceWarning, stacklevel=2)
        ended = time.perf_counter()
        distilled = max(distilled, trained)
        self.timing_ = {
            "network": trained - started,
            "sindy": distilled - trained,
            "refine": ended - distilled,
            "total": ended - started,
        }
        return self

    def _train(self, model: BaseRNN, dataset: DatasetRNN) -> TrainingResult:
        """Stage 1."""
        other_starts = [self._build(model.n_actions, model.n_participants) for _ in range(self.n_starts - 1)]
        return fit_network(
            model,
            dataset,
            optimizer=self.optimizer,
            epochs=self.epochs,
            learning_rate=float(self.learning_rate),
            batch_size=self.batch_size,
            other_starts=other_starts,
            validation_fraction=float(self.validation_fraction),
            callbacks=self.callbacks or (),
            checkpoint=self.checkpoint,
            weight_decay=float(self.weight_decay),
            nonlinearity_decay=float(self.nonlinearity_decay),
            embedding_decay=float(self.embedding_decay),
            verbose=self.verbose,
        )

    def _distil(self, dataset: DatasetRNN, visited: DatasetRNN, participants: list[int]) -> None:
        """Stage 2."""
        equations, model = find_equations(
            self.rnn_model_,
            self._config,
            dataset,
            participants,
            visited=None if self.sindy_data == "on-policy" else visited,
            degree=self.sindy_degree,
            optimizer=self.sindy_optimizer,
            threshold=float(self.sindy_threshold),
        )
        self._set_equations(equations, model)
        self.sindy_equations_ = self.equations_

    def _refine(self, dataset: DatasetRNN) -> bool:
        """Stage 3; whether the model can be refined."""
        from spice.inference import refine_equations  # here, for the time that importing takes

        shared = self.rnn_model_.n_participants == 1
        numbers = {label: 0 if shared else self.participants_.index(label) for label in self.sindy_equations_}
        proposals = {numbers[label]: entry for label, entry in self.sindy_equations_.items()}
        settings = (self.sindy_degree, self.estimation, self.criterion)
        stage = refine_equations(self.rnn_model_, self._config, dataset, proposals, *settings)
        if stage is None:
            return False
        self._stage = stage
        self._set_equations(stage.equations, stage.model)
        self._set_results({label: stage.results[number] for label, number in numbers.items()})
        own = dataset[torch.isin(dataset.participants, torch.as_tensor(list(proposals)))]
        noise = float(sum(parameter.numel() for parameter in self.rnn_model_.parameters()))
        warn_if_unfaithful(run_model(self.rnn_model_, own), run_model(self.spice_model_, own), own, by_chance=noise)
        return True

    def _participants_to_distil(self, dataset: DatasetRNN) -> list[int]:
        present = dataset.participants.unique().tolist()
        if self.spice_participant_id is None:
            return present
        chosen = dataset.code("participant", self.spice_participant_id)
        if chosen not in present:
            raise ConfigError(
                f"spice_participant_id={self.spice_participant_id!r} is not among the data's participants."
            )
        return [chosen]

    def _check_data(self, dataset: DatasetRNN) -> None:
        if self.n_actions is not None and dataset.n_actions != self.n_actions:
            raise DataError(f"the data have {dataset.n_actions} actions, but n_actions={self.n_actions}.")
        check_dataset(dataset, self.n_participants, self.missing_reward)
        if not dataset.n_scored:
            raise DataError("there is no choice to fit: ys are all missing.")
        labels = dataset.labels.get("participant")
        known = len(labels) if labels else None
        if known is not None and max(self.n_participants or 0, int(dataset.participants.max()) + 1) > known:
            raise DataError(
                f"the data label {known} participants, but there are more (by number, or n_participants="
                f"{self.n_participants}); leave n_participants out, and give every participant a label."
            )

    @staticmethod
    def _count_participants(dataset: DatasetRNN) -> int:
        return max(int(dataset.participants.max()) + 1, len(dataset.labels.get("participant", ())))

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        """Torch's random state from ``random_state``, restored afterwards; untouched without one."""
        if self.random_state is None:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            yield

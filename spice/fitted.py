"""What a fitted estimator does: predict, score, print, tabulate, simulate."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tqdm import tqdm

from spice.building import pooled
from spice.equations import format_number
from spice.errors import ConfigError, DataError, ModelFormError, SpiceWarning, did_you_mean
from spice.inference import RecoveryReport, canonical_block
from spice.resources.agents import Seed, make_generator
from spice.resources.alignment import align
from spice.resources.arguments import in_words, is_whole
from spice.resources.columns import Columns
from spice.resources.dataset import DatasetRNN
from spice.resources.environments import Bandits
from spice.resources.model_agent import ModelAgent
from spice.resources.resimulation import simulate_again
from spice.resources.rnn import BaseRNN
from spice.resources.validation import check_dataset, check_several_sessions
from spice.stored import StoredSpice
from spice.training import negative_log_likelihood
from spice.training.fit import INTERRUPTED as STOPPED_BY_USER

if TYPE_CHECKING:
    import pandas as pd

    from spice.equations import SymbolicModel


class FittedSpice(StoredSpice):
    """All of `SpiceEstimator` but its parameters and `fit`."""

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
        self._check_label(label)
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

    def symbolic_model(self, participant: Any = None, gauge: str | None = None) -> "SymbolicModel":
        """The model with its equations as expressions: to print, typeset, simulate, or fit by `spice.inference.fit`.

        Parameters
        ----------
        participant : optional
            Label: the terms and values of this participant alone; default everybody's terms, each parameter with a
            value per participant.
        gauge : {None, "canonical", "network"}
            In the field's own parameters (``canonical_``), or with the coefficients of the equations. With None, the
            canonical one wherever every state has such a form.

        Returns
        -------
        SymbolicModel

        Raises
        ------
        ModelFormError
            If the model's code cannot be written as expressions, or a state has no canonical form.
        ConfigError
            If there is no such gauge or participant.
        """
        if gauge not in (None, "canonical", "network"):
            raise ConfigError(f"gauge={gauge!r} is unknown; choose 'canonical' or 'network'.")
        self._check_fitted()
        if not hasattr(self, "equations_"):
            raise NotFittedError("there are no equations: load them with load_spice(path_spice=...), or fit.")
        known = list(self.equations_)
        if participant is not None:
            self._check_label(participant)
        shared = self.spice_model_.n_participants == 1
        wanted = known[:1] if shared else known if participant is None else [participant]
        if gauge != "network" and (gauge == "canonical" or self._all_canonical(wanted)):
            return self._canonical_model(wanted)
        from spice.equations.tracing import trace

        return trace(self.spice_model_, {label: 0 if shared else self.participants_.index(label) for label in wanted})

    def _all_canonical(self, labels: Sequence[Any]) -> bool:
        """Whether these participants' forms make one model."""
        try:
            self._canonical_model(labels)
        except ModelFormError:
            return False
        return True

    def _canonical_model(self, labels: Sequence[Any]) -> "SymbolicModel":
        from spice.inference.canonical_model import canonical_model

        if not hasattr(self, "canonical_"):
            raise ModelFormError("there is no canonical form, because stage 3 was left out (refine=False).")
        return canonical_model({label: self.canonical_[label] for label in labels})

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
        if not is_whole(n, 1):
            raise ConfigError(f"n must be a whole number from 1 on, not {n!r}.")
        n = int(n)
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

    def _sessions_of(self, numbers: Mapping[Any, int]) -> DatasetRNN:
        """Sessions of the fit of these participants, by label and number."""
        dataset = pooled(self._dataset) if self.spice_model_.n_participants == 1 else self._dataset
        return dataset[torch.isin(dataset.participants, torch.tensor(list(numbers.values())))]

    # ------------------------------------------------------------------ checks

    def _check_label(self, label: Any) -> None:
        """Whether a participant has equations."""
        known = list(self.equations_)
        if isinstance(label, Hashable) and label in known:
            return
        listed = ", ".join(map(repr, known[:10])) + (", ..." if len(known) > 10 else "")
        raise ConfigError(
            f"there are no equations for participant {in_words(label)}{did_you_mean(label, known)}; there are for "
            f"{listed}."
        )

    def _check_refined(self, what: str) -> None:
        self._check_fitted()
        if not hasattr(self, "canonical_"):
            raise NotFittedError(f"there are no {what}: the equations were not refined (refine=True, and fit).")

    def _aligned(self, X: Any, y: Any) -> DatasetRNN:
        """Check the data and bring them into the order of those of the fit."""
        columns = self._any_model().columns or Columns.make(self.n_actions_, 2 * self.n_actions_ + 1)
        dataset = DatasetRNN.of(X, y, self.n_actions_, columns)
        if self._any_model().n_participants == 1:
            check_dataset(dataset, None, self.missing_reward)
            codes = {name: labels for name, labels in self.labels_.items() if name != "participant"}
            return align(pooled(dataset), columns, (), codes)
        labels = dataset.labels.get("participant")
        check_dataset(dataset, self.n_participants_ if labels is None else len(labels), self.missing_reward)
        return align(dataset, columns, self.participants_, self.labels_)

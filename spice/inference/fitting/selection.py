"""Which model: for groups of people by their evidences, for everybody's models by nested likelihoods."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betainc, gammainc, gammaincinv, gammaln, logsumexp, psi

from spice.errors import ConfigError, ConvergenceWarning, DataError, IdentificationWarning, first_of, join_problems
from spice.resources.arguments import as_numbers, in_words

if TYPE_CHECKING:
    import pandas as pd

ITERATIONS = 10_000  # of the variational scheme, at most
SETTLED = 1e-10  # relative change of the Dirichlet's counts that ends it
PRIOR_COUNT = 1.0  # of each model: all frequencies are equally likely beforehand
NODES = 400  # of the quadrature of exceedance probabilities
WORSE = 1e-6  # nats, beyond what optimisers leave
CRITERIA = ("evidence", "bic", "aic")


@dataclass(frozen=True)
class ModelSelection:
    """Models as random effects: every person may use another one.

    Attributes
    ----------
    frequencies : pd.Series by model
        Expected share of people who use it.
    counts : pd.Series by model
        Parameters of the Dirichlet posterior of the frequencies.
    exceedance : pd.Series by model
        Probability that it is more frequent than every other one.
    protected : pd.Series by model
        The same, given that frequencies may all be equal: what should be reported.
    omnibus_risk : float
        Probability that all models are equally frequent, and differences chance.
    assignments : pd.DataFrame, participant x model
        Probability that a participant uses it.
    """

    frequencies: "pd.Series"
    counts: "pd.Series"
    exceedance: "pd.Series"
    protected: "pd.Series"
    omnibus_risk: float
    assignments: "pd.DataFrame"

    def summary(self) -> str:
        """Frequencies and exceedance probabilities as text."""
        import pandas as pd

        table = pd.DataFrame(
            {"frequency": self.frequencies, "exceedance": self.exceedance, "protected exceedance": self.protected}
        )
        title = f"{len(self.assignments)} people, {len(table)} models; omnibus risk {self.omnibus_risk:.3f}"
        return f"{title}\n{table.round(3).to_string()}"


def select_models(evidences: Any, criterion: str = "evidence") -> ModelSelection:
    """Bayesian model selection for a group of people.

    Stephan, Penny, Daunizeau, Moran & Friston (2009), NeuroImage 46: 1004-1017, equations 11-16; Bayesian omnibus risk
    and protected exceedance probabilities of Rigoux, Stephan, Friston & Daunizeau (2014), NeuroImage 84: 971-985.
    Exceedance probabilities are integrated numerically, not sampled.

    Parameters
    ----------
    evidences : pd.DataFrame, or mapping of str to FitResult
        Log evidences, participant x model; or fits of the same data, by the model's name. From the evidences of EM,
        which are those of the people to whom the population was fitted, each person's share of the population's numbers
        is taken: what such evidences gain by chance (marginal AIC, Vaida & Blanchard 2005, Biometrika 92: 351-370).
    criterion : {"evidence", "bic", "aic"}, default "evidence"
        What is taken from fits: Laplace's log evidence, or -BIC / 2 or -AIC / 2 in its place (maximum likelihood).

    Returns
    -------
    ModelSelection
        Frequencies, exceedance probabilities and everybody's likely model.

    Raises
    ------
    ConfigError
        If there are fewer than two models, fits have no evidences for people, or they are of different methods.
    DataError
        If evidences are missing or infinite, or fits are of different people or choices.

    Warns
    -----
    ConvergenceWarning
        Where a fit has not converged.
    """
    import pandas as pd

    table = evidences if isinstance(evidences, pd.DataFrame) else _evidences_of(evidences, criterion)
    names, values = list(table.columns), as_numbers(table, "evidences")
    if len(names) < 2:
        raise ConfigError("models are compared with each other: give the evidences of at least two.")
    bad = ~np.isfinite(values)
    if bad.any() or not len(values):
        problems = [
            f"{names[k]!r} of participant {table.index[i]!r} is {values[i, k]}." for i, k in np.argwhere(bad)[:10]
        ]
        raise DataError(join_problems("The evidences cannot be compared", problems or ["there are no people."]))
    counts, assignments = _posterior(values)
    risk = _omnibus_risk(values, counts, assignments)
    exceedance = exceedance_probabilities(counts)
    protected = exceedance * (1 - risk) + risk / len(names)
    columns = [counts / counts.sum(), counts, exceedance, protected]
    frequencies, count, exceeds, protects = (pd.Series(column, index=names) for column in columns)
    people = pd.DataFrame(assignments, index=table.index, columns=names)
    return ModelSelection(frequencies, count, exceeds, protects, risk, people)


def _evidences_of(fits: Mapping[str, Any], criterion: str) -> "pd.DataFrame":
    """A table of evidences from fits of the same choices."""
    import pandas as pd

    if criterion not in CRITERIA:
        raise ConfigError(f"criterion must be 'evidence', 'bic' or 'aic', not {criterion!r}.")
    if not isinstance(fits, Mapping) or not fits:
        raise ConfigError("evidences must be a DataFrame, participant x model, or a dict of fits by model.")
    _check_are_fits(fits)
    columns, problems, (first, *_) = {}, [], fits.items()
    for name, fit in fits.items():
        found = fit.log_evidence if criterion == "evidence" else getattr(fit, criterion)
        if not isinstance(found, pd.Series):
            problems.append(
                f"{name!r} has no {criterion} for each participant (method {fit.method!r}, pooling {fit.pooling!r}); "
                "fit by method='map' or 'em', or use criterion='bic'."
            )
            continue
        columns[name] = found - _gained_by_chance(fit) if criterion == "evidence" else -found / 2
    mixed = {fit.method for fit in fits.values()} if not problems else set()
    if len(mixed) > 1:
        each = ", ".join(f"{name!r} by {fit.method!r}" for name, fit in fits.items())
        problems.append(
            f"they are of different methods ({each}), whose numbers mean different things; fit all by the same method."
        )
    error = ConfigError if problems else DataError
    problems += [
        f"{first[0]!r} and {name!r} {why}" for name, fit in fits.items() for why in _differences(first[1], fit)
    ]
    if problems:
        raise error(join_problems("The fits cannot be compared", problems))
    scored = first[1].n_trials > 0  # people without choices say nothing of models
    for text in _not_converged({repr(name): fit for name, fit in fits.items()}, list(scored.index), scored.to_numpy()):
        warnings.warn(text, ConvergenceWarning, stacklevel=3)  # who called select_models
    return pd.DataFrame(columns)[scored]


def _check_are_fits(fits: Mapping[str, Any]) -> None:
    wrong = [f"{name!r} is {in_words(given)}." for name, given in fits.items() if not hasattr(given, "n_trials")]
    if wrong:
        raise ConfigError(join_problems("Models are compared by what fit(model, dataset) returns", wrong))


def _gained_by_chance(fit: Any) -> float:
    """What a population gains in each person's log evidence by having been fitted to these people."""
    if fit.method != "em":
        return 0.0
    return float(fit.aic / 2 + fit.log_evidence.sum()) / max(int((fit.n_trials > 0).sum()), 1)


def _posterior(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (n_models,) of the Dirichlet posterior, and probabilities of models, (n_people, n_models)."""
    counts = np.full(values.shape[1], PRIOR_COUNT)
    for _ in range(ITERATIONS):
        weights = values + psi(counts) - psi(counts.sum())
        assignments = np.exp(weights - logsumexp(weights, axis=1, keepdims=True))
        before, counts = counts, PRIOR_COUNT + assignments.sum(0)
        if np.abs(counts - before).max() <= SETTLED * counts.sum():
            break
    return counts, assignments


def _omnibus_risk(values: np.ndarray, counts: np.ndarray, assignments: np.ndarray) -> float:
    """Probability that all models are equally frequent, against frequencies with a flat Dirichlet prior.

    From the free energies of both (Rigoux et al. 2014): of the first exactly the log evidence.
    """
    n_models = len(counts)
    equal = float(logsumexp(values, axis=1).sum() - len(values) * np.log(n_models))
    log_r = psi(counts) - psi(counts.sum())
    with np.errstate(divide="ignore"):
        entropy = -(assignments * np.where(assignments > 0, np.log(assignments), 0.0)).sum()
    prior = gammaln(n_models * PRIOR_COUNT) - n_models * gammaln(PRIOR_COUNT) + (PRIOR_COUNT - 1) * log_r.sum()
    posterior = gammaln(counts.sum()) - gammaln(counts).sum() + ((counts - 1) * log_r).sum()
    different = (assignments * (values + log_r)).sum() + entropy + prior - posterior
    return float(1 / (1 + np.exp(np.clip(different - equal, -700, 700))))


def exceedance_probabilities(counts: np.ndarray) -> np.ndarray:
    """Probability of each Dirichlet-distributed frequency to be the largest.

    The frequencies are gamma variates divided by their sum, so the probability of the k-th is that the k-th gamma
    variate exceeds the others: one integral of their distribution functions over the k-th's quantiles.

    Parameters
    ----------
    counts : np.ndarray, shape (n_models,)
        Parameters of the Dirichlet distribution.

    Returns
    -------
    np.ndarray, shape (n_models,)
    """
    if len(counts) == 2:
        first = float(betainc(counts[1], counts[0], 0.5))  # P(r_2 < 1/2)
        return np.array([first, 1 - first])
    t, weights = np.polynomial.legendre.leggauss(NODES)
    # quantiles u = (1 + tanh(s)) / 2: nodes crowd where distribution functions are steep at the ends
    s = 20.0 * t
    u, slope = 1 / (1 + np.exp(-2 * s)), 20.0 * weights / (2 * np.cosh(s) ** 2)
    found = np.empty(len(counts))
    for k, count in enumerate(counts):
        x = gammaincinv(count, u)
        others = np.delete(counts, k)
        found[k] = (slope * np.prod(gammainc(others[:, None], x), axis=0)).sum()
    return found / found.sum()


@dataclass(frozen=True)
class LikelihoodRatio:
    """A test of a model against a larger one that contains it.

    Attributes
    ----------
    table : pd.DataFrame by participant
        ``statistic`` (twice the gain in log-likelihood), ``df`` (parameters more), ``p``; NaN where nothing was scored.
        Without rows where everybody shares parameters.
    statistic : float
        Sum over people.
    df : int
        Its degrees of freedom.
    p : float
        Probability of a sum as large or larger by chance, were the smaller model true of everybody.
    """

    table: "pd.DataFrame"
    statistic: float
    df: int
    p: float

    def summary(self) -> str:
        """The sum, and how many people reject the smaller model."""
        each = (
            f"; p < .05 for {int((self.table['p'] < 0.05).sum())} of {len(self.table)} people"
            if len(self.table)
            else ""
        )
        return f"likelihood-ratio test: chi2({self.df}) = {self.statistic:.2f}, p = {self.p:.3g}{each}"


def likelihood_ratio_test(small: Any, large: Any, assume_nested: bool = False) -> LikelihoodRatio:
    """Test a model against a larger one that contains it, both fitted by maximum likelihood to the same choices.

    Parameters
    ----------
    small, large : FitResult
        Fits by method "mle" with the same pooling.
    assume_nested : bool, default False
        Whether the smaller model is a special case of the larger one although its parameters have other names (one
        learning rate against two). By default its parameters must be among the larger one's; that the others can be
        set such that the models agree is for you to know.

    Returns
    -------
    LikelihoodRatio
        Wilks' chi-squared tests, of each participant and of the sum.

    Raises
    ------
    ConfigError
        Listing what is wrong with the fits.
    DataError
        If they are of different people or choices.

    Warns
    -----
    ConvergenceWarning
        Where the larger model fits worse, or a fit has not converged.
    IdentificationWarning
        Where an estimate lies at a bound: the statistic then follows a mixture of chi-squareds (Self & Liang 1987, JASA
        82: 605-610), and p is too large.
    """
    _check_are_fits({"small": small, "large": large})
    _check_fits(small, large, assume_nested)
    more = large.parameters.shape[1] - small.parameters.shape[1]
    scored = (small.n_trials > 0).to_numpy()
    gain = 2 * (small.nll - large.nll).to_numpy(dtype=float)
    if small.pooling == "complete":
        gain, scored = np.array([gain[scored].sum()]), np.array([True])
        labels: list[Any] = list(large.parameters.index)
    else:
        labels = list(large.nll.index)
    _warn_of_fits(small, large, labels, gain, scored)
    return _chi_squared(gain, scored, more, [] if small.pooling == "complete" else labels)


def _check_fits(small: Any, large: Any, assume_nested: bool) -> None:
    problems = [
        f"the {which} model was fitted by method={fit.method!r}; likelihood ratios need method='mle'."
        for which, fit in (("smaller", small), ("larger", large))
        if fit.method != "mle"
    ]
    if small.pooling != large.pooling:
        problems.append(f"the fits differ in pooling ({small.pooling!r} and {large.pooling!r}).")
    few, many = list(small.parameters.columns), list(large.parameters.columns)
    if len(few) >= len(many):
        problems.append(f"the larger model must have more parameters, but {len(few)} and {len(many)} were fitted.")
    strange = [name for name in few if name not in many]
    if strange and not assume_nested:
        problems.append(
            f"{', '.join(map(repr, strange))} of the smaller model is not in the larger one; if the smaller is a "
            "special case all the same, say assume_nested=True."
        )
    if problems:
        raise ConfigError(join_problems("The models cannot be tested against each other", problems))
    different = [f"the fits {why}" for why in _differences(small, large)]
    if different:
        raise DataError(join_problems("The models cannot be tested against each other", different))


def _differences(one: Any, other: Any) -> list[str]:
    """In what the data of two fits differ, at most one."""
    if one is other or one.dataset is other.dataset:
        return []
    if list(one.nll.index) != list(other.nll.index):
        return ["are of different participants; fit both to the same data."]
    if not one.n_trials.equals(other.n_trials):
        return ["are of different numbers of choices; fit both to the same data."]
    mine, others = np.asarray(one.dataset.ys), np.asarray(other.dataset.ys)
    if not np.array_equal(mine, others, equal_nan=True):
        return ["are of different choices; fit both to the same data."]
    return []


def _warn_of_fits(small: Any, large: Any, labels: list[Any], gain: np.ndarray, scored: np.ndarray) -> None:
    worse = [label for label, there in zip(labels, scored & (gain < -WORSE), strict=True) if there]
    notes = _not_converged({"the smaller model": small, "the larger model": large}, labels, scored)
    if worse:
        notes.append(
            f"the larger model fits worse for {_some(worse)}: its optimum was missed, fit it with more starts."
        )
    for text in notes:
        warnings.warn(text, ConvergenceWarning, stacklevel=3)  # who called likelihood_ratio_test
    held: dict[str, None] = {}
    people = []
    for row, label in enumerate(labels):
        names = [name for fit in (small, large) for name in fit.at_bound.columns[fit.at_bound.to_numpy(bool)[row]]]
        if names and scored[row]:
            people.append(label)
            held |= dict.fromkeys(names)
    if held:
        warnings.warn(
            f"{', '.join(held)} at a bound for {_some(people)}: the statistic then follows a mixture of chi-squareds, "
            "and p is too large.",
            IdentificationWarning,
            stacklevel=3,
        )


def _not_converged(fits: Mapping[str, Any], labels: list[Any], scored: np.ndarray) -> list[str]:
    """What to say of people with choices for whom a fit, by its name, has not converged."""
    people = {
        name: [labels[row] for row in np.flatnonzero(scored & ~fit.converged.to_numpy(bool))]
        for name, fit in fits.items()
    }
    return [
        f"{name} has not converged for {_some(those)}: what is compared there is no optimum's."
        for name, those in people.items()
        if those
    ]


def _some(labels: list[Any]) -> str:
    return f"participant{'s' if len(labels) > 1 else ''} {first_of(labels)}"


def _chi_squared(gain: np.ndarray, scored: np.ndarray, more: int, labels: list[Any]) -> LikelihoodRatio:
    import pandas as pd
    from scipy.stats import chi2

    gain = np.maximum(gain, 0.0)
    total, df = float(gain[scored].sum()), more * int(scored.sum())
    table = pd.DataFrame({"statistic": gain, "df": float(more), "p": chi2.sf(gain, more)})
    table.loc[~scored] = np.nan
    table.index = pd.Index(labels or table.index, name="participant")
    return LikelihoodRatio(table if labels else table.iloc[:0], total, df, float(chi2.sf(total, df)))

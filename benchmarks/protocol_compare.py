"""What a method says of the protocol's people, beside the truth."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import protocol_oracle as oracle
import recovery_scores as scores
from protocol_data import People

OWNERS = ("reward", "reward", "reward", "forgetting", "choice", "slow choice")  # mechanisms of `oracle.NAMES`


@dataclass(frozen=True)
class Found:
    """What a method says of everybody.

    Attributes
    ----------
    mechanisms : dict of str to np.ndarray of bool, shape (n_people,)
        Whether each was found.
    parameters : np.ndarray, shape (n_people, 6)
        In the order of `protocol_oracle.NAMES`, neutral where absent.
    unread : dict of str to np.ndarray of bool, shape (n_people,)
        People whose model says something about this mechanism that cannot be read.
    probability : dict of str to np.ndarray, shape (n_people,), or None
        Of each mechanism.
    """

    mechanisms: dict[str, np.ndarray]
    parameters: np.ndarray
    unread: dict[str, np.ndarray]
    probability: dict[str, np.ndarray] | None = None

    def part(self, n: int) -> "Found":
        """The first n people."""
        tables = [{name: values[:n] for name, values in table.items()} for table in (self.mechanisms, self.unread)]
        probability = self.probability and {name: values[:n] for name, values in self.probability.items()}
        return replace(
            self, mechanisms=tables[0], parameters=self.parameters[:n], unread=tables[1], probability=probability
        )


def compare(found: Found, people: People) -> dict[str, Any]:
    """Rates of each mechanism, correlation of each parameter, and calibration where there are probabilities.

    Correlations over all people take 0 for a parameter that is absent or cannot be read.
    """
    compared: dict[str, Any] = {"mechanisms": {}, "parameters": {}}
    for name in oracle.MECHANISMS:
        rates = scores.detection(found.mechanisms[name], people.present[name], found.unread[name])
        if found.probability is not None:
            rates["power_at_2_percent"] = scores.power(found.probability[name], people.present[name])
            rates["calibration"] = scores.calibration(found.probability[name], people.present[name])
        read = ~found.unread[name]
        rates["of_those_read"] = scores.detection(found.mechanisms[name][read], people.present[name][read])
        compared["mechanisms"][name] = rates | {"unread": float(found.unread[name].mean())}
    estimates, truth = _zero_where_absent(found.parameters, found.mechanisms), people.parameters
    truth = _zero_where_absent(truth, people.present)
    for k, name in enumerate(oracle.NAMES):
        both = found.mechanisms[OWNERS[k]] & people.present[OWNERS[k]]
        compared["parameters"][name] = scores.correlation(estimates[:, k], truth[:, k], both)
    if found.probability is not None:
        pairs = [(found.probability[name], people.present[name]) for name in oracle.MECHANISMS]
        compared["calibration"] = scores.calibration(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    return compared


def _zero_where_absent(parameters: np.ndarray, mechanisms: dict[str, np.ndarray]) -> np.ndarray:
    """Parameters with 0 instead of the neutral choice rate 1 of people without choice."""
    parameters = parameters.copy()
    parameters[~mechanisms["choice"], oracle.NAMES.index("alpha_choice")] = 0.0
    return parameters


def gap(nll: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Mean excess of people's held-out negative log-likelihood over the true model's, and its standard error."""
    excess = nll - true
    return {"mean": float(excess.mean()), "se": float(excess.std(ddof=1) / np.sqrt(len(excess)))}


def show_rates(rates: dict[str, Any]) -> str:
    """True- and false-positive rate with their intervals; a dash where there is nobody."""
    parts = [
        (*part["ci"], part["rate"]) if part["n"] else () for part in (rates["true_positive"], rates["false_positive"])
    ]
    return " / ".join("{2:.2f} [{0:.2f}, {1:.2f}]".format(*part) if part else "-" for part in parts)


def show_correlation(entry: dict[str, Any] | None) -> str:
    """Correlations (Pearson's / of ranks) in those who have the parameter, truly and as found, and over all people."""
    if entry is None:
        return ""
    keys = ("both", "ranks_both", "all", "ranks_all")
    both, ranks, everybody, all_ranks = (f"{entry[key]:.2f}" if np.isfinite(entry[key]) else "-" for key in keys)
    return f"{both} / {ranks} ({entry['n_both']}), {everybody} / {all_ranks}"

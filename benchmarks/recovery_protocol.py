"""The peer's synthetic protocol: which mechanisms of which people are found (``recovery.py --only protocol``).

128 people by default, each with mechanisms of their own, 4 blocks of 100 trials (``protocol_data.py``). Compared with:

- the truth, in true- and false-positive rates, correlations and on fresh blocks;
- an oracle that knows the family and the start value: maximum likelihood of all its 15 sub-models, the Bayesian
  information criterion picks for each person (``protocol_oracle.py``);
- the peer's own code on the first few people (``protocol_peer.py``), beside SPICE (fitted to everybody) and the oracle
  on the same people.

SPICE is ``SpiceEstimator()``, fitted once to everybody, and read from ``canonical_``. A state that cannot be read
counts against it: none of its mechanisms is found where it is there, and each is a false one where it is not.
"""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import protocol_oracle as oracle
import protocol_peer
import recovery_scores as scores
from protocol_compare import Found, compare, gap, show_correlation, show_rates
from protocol_data import BLOCKS, People, mean_nll, simulate

from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.resources.dataset import DatasetRNN

FIELD = {"reward": "beta", "forgetting": "forgetting", "choice": "perseveration"}
FIELD |= {"slow choice": "alpha_choice", "asymmetry": "alpha_reward"}
STATES = {"x_value_reward": ("reward", "forgetting", "asymmetry"), "x_value_choice": ("choice", "slow choice")}
METHODS = ("oracle", "oracle, start estimated", "spice")
PUBLISHED = {"reward": 0.85, "forgetting": 0.48, "choice": 0.29, "asymmetry": 0.30}  # an oracle's, at <= .02 false ones


# ---------------------------------------------------------------------- methods


def by_oracle(people: People, start_known: bool) -> tuple[Found, np.ndarray]:
    """Picks of the Bayesian information criterion among the sub-models of the true family; parameters and start."""
    everybody = zip(people.choices[:, :BLOCKS], people.rewards[:, :BLOCKS], strict=True)
    picks = [oracle.pick(*person, start_known) for person in everybody]
    parameters = np.array([pick.parameters for pick in picks])
    found = Found(
        {name: np.array([name in pick.mechanisms for pick in picks]) for name in oracle.MECHANISMS},
        parameters[:, : len(oracle.NAMES)],
        {name: np.zeros(len(picks), bool) for name in oracle.MECHANISMS},
        {name: np.array([pick.inclusion[name] for pick in picks]) for name in oracle.MECHANISMS},
    )
    return found, parameters


def by_spice(estimator: SpiceEstimator) -> Found:
    """What the canonical forms say."""
    forms = [estimator.canonical_[participant] for participant in estimator.participants_]
    read = [form.parameters for form in forms]
    mechanisms = {name: np.array([FIELD[name] in parameters for parameters in read]) for name in FIELD}
    probability = {name: np.array([form.inclusion.get(FIELD[name], 0.0) for form in forms]) for name in FIELD}
    unread = {
        name: np.array([state in form.unread for form in forms]) for state, names in STATES.items() for name in names
    }
    return Found(
        mechanisms,
        np.array([[_parameter(name, parameters) for name in oracle.NAMES] for parameters in read]),
        unread,
        probability,
    )


def _parameter(name: str, parameters: dict[str, float]) -> float:
    if name in ("alpha_reward", "alpha_penalty"):
        return parameters.get(name, parameters.get("alpha", 0.0))
    return parameters.get(name, float(oracle.NEUTRAL[oracle.NAMES.index(name)]))


def person_nll(dataset: DatasetRNN, probabilities: np.ndarray) -> np.ndarray:
    """Negative log-likelihood per trial of each person, by predicted probabilities; nobody misses a trial."""
    nll = -np.log((probabilities * dataset.ys.numpy()).sum(-1)).mean(-1)
    return nll.reshape(-1, BLOCKS).mean(1)


# ---------------------------------------------------------------------- the run


def run(n_people: int, peer_people: int, peer_env: Path, seed: int = 0) -> dict[str, Any]:
    """Simulate, fit with every method, print the tables.

    Parameters
    ----------
    n_people, peer_people : int
        People to simulate, from 2 on, and how many of them the peer is given (0: it is left out).
    peer_env : Path
        Folder of the peer's environment.
    seed : int
        Of the simulation and of SPICE.

    Returns
    -------
    dict
        Every figure.
    """
    people = simulate(n_people, seed)
    begin = time.perf_counter()
    best, best_parameters = by_oracle(people, start_known=True)
    oracle_seconds = time.perf_counter() - begin
    fair, fair_parameters = by_oracle(people, start_known=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpiceWarning)
        estimator = SpiceEstimator(random_state=seed).fit(people.train)
    found = by_spice(estimator)
    true = mean_nll(people, people.parameters)
    network, equations = (person_nll(people.fresh, p) for p in estimator.predict(people.fresh))
    names = [set(estimator.canonical_[participant].parameters) for participant in estimator.participants_]
    known = {*oracle.NAMES, "alpha", "initial_value"}
    others = sorted(set().union(*names) - known)
    out: dict[str, Any] = {
        "people": n_people, "seed": seed, "published_oracle": PUBLISHED,
        "oracle": compare(best, people), "oracle, start estimated": compare(fair, people),
        "spice": compare(found, people),
        "nll_true": float(true.mean()),
        "nll_minus_true": {
            "spice": gap(equations, true), "network": gap(network, true),
            "oracle": gap(mean_nll(people, best_parameters), true),
            "oracle, start estimated": gap(mean_nll(people, fair_parameters), true),
        },
        "outside_the_family": {name: sum(name in entry for entry in names) for name in others},
        "people_outside_the_family": scores.share(np.array([bool(entry - known) for entry in names])),
        "seconds": {"oracle": oracle_seconds} | estimator.timing_,
        "warnings": sorted({f"{type(entry.message).__name__}: {entry.message}" for entry in caught}),
        "each": each(people, {"oracle": best, "oracle, start estimated": fair, "spice": found}),
    }  # fmt: skip
    show(out)
    if peer_people:
        n = min(peer_people, n_people)
        few = people.part(n)
        out["peer"] = protocol_peer.run(few, true[:n], peer_env)
        out["peer"]["others"] = {"SPICE": compare(found.part(n), few), "oracle": compare(best.part(n), few)}
        picked = mean_nll(few, best_parameters[:n])
        out["peer"]["others_nll_minus_true"] = {"SPICE": gap(equations[:n], true[:n]), "oracle": gap(picked, true[:n])}
        protocol_peer.show(out["peer"])
    return out


def each(people: People, methods: dict[str, Found]) -> dict[str, Any]:
    """Everybody's truth, and what each method says, as lists."""
    truth = {"parameters": people.parameters.tolist()}
    truth["mechanisms"] = {name: values.tolist() for name, values in people.present.items()}
    said = {
        name: {
            "parameters": found.parameters.tolist(),
            "mechanisms": {key: values.tolist() for key, values in found.mechanisms.items()},
            "unread": {key: values.tolist() for key, values in found.unread.items()},
            "probability": found.probability and {key: values.tolist() for key, values in found.probability.items()},
        }
        for name, found in methods.items()
    }
    return {"names": oracle.NAMES, "truth": truth} | said


def show(out: dict[str, Any]) -> None:
    """Print the tables of the oracle and of SPICE."""
    print(f"\nthe peer's protocol, {out['people']} people: found where it is there / where it is not, 95 % intervals")
    print(f"{'':<14}{'published':>10} {'there':>6} {'not':>5}   " + "".join(f"{m:<34}" for m in METHODS) + "unread")
    for name in oracle.MECHANISMS:
        cells = [out[method]["mechanisms"][name] for method in METHODS]
        published = f"{PUBLISHED[name]:.2f}" if name in PUBLISHED else ""
        there, absent = (cells[0][kind]["n"] for kind in ("true_positive", "false_positive"))
        texts = "".join(f"{show_rates(cell):<34}" for cell in cells)
        print(f"{name:<14}{published:>10} {there:>6} {absent:>5}   {texts}{cells[-1]['unread']:.2f}")
    print(f"{'correlation / of ranks: those with both, all':<46}" + "".join(f"{m:<34}" for m in METHODS))
    for name in oracle.NAMES:
        cells = [out[method]["parameters"][name] for method in METHODS]
        texts = "".join(f"{show_correlation(cell):<34}" for cell in cells)
        print(f"{name:<46}{texts}")
    for method in METHODS:
        if "calibration" in out[method]:
            show_calibration(method, out[method])
    gaps = ", ".join(f"{k} {v['mean']:.4f} ({v['se']:.4f})" for k, v in out["nll_minus_true"].items())
    print(f"NLL of fresh blocks minus that of the true models ({out['nll_true']:.4f}), mean (s.e.): {gaps}")
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in out["seconds"].items()))
    more = out["people_outside_the_family"]
    print(f"terms from outside the family in {more['rate']:.2f} of people: {out['outside_the_family']}", flush=True)


def show_calibration(method: str, compared: dict[str, Any]) -> None:
    """Print Brier scores, the reliability table, and the power at 2 % false positives."""
    whole, each_one = compared["calibration"], compared["mechanisms"]
    scored = ", ".join(f"{name} {entry['calibration']['brier']:.3f}" for name, entry in each_one.items())
    print(f"{method}: Brier score {whole['brier']:.3f} (by shares alone {whole['brier_of_share']:.3f}); {scored}")
    bins = [(row["probability"], row["present"]["rate"], row["present"]["n"]) for row in whole["table"]]
    print(
        "  mean probability, share present (number): " + "; ".join("{:.2f}, {:.2f} ({})".format(*row) for row in bins)
    )
    powers = ", ".join(f"{name} {entry['power_at_2_percent']:.2f}" for name, entry in each_one.items())
    print(f"  found with a threshold that lets in 2 % false ones: {powers}")

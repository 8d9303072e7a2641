"""The peer's own code on people of its protocol, and how its equations are read.

Its model is ``ChoiceRNN`` with an embedding per participant, the richest of its ready ones that runs (those of
``Weinhardt2025RNN`` call a module that it does not have), with its configuration and 1024 epochs; the network is
distilled twice, with the default libraries of degree 1, which cannot say that learning rates are asymmetric, and with
degree 2.

The package has no rule for what a mechanism is. It sets coefficients within .05 of 0 to 0 and within .05 of 1 to 1, and
counts an inverse temperature of more than .01 as a parameter; so, here:

- reward: the value's inverse temperature counts, and so does a term with the reward in the chosen option's update;
- forgetting: reward, and the update of the option not chosen is not x <- x;
- asymmetry: reward, and so does the term value x reward;
- choice: the trace's inverse temperature counts, and the updates of chosen and other option differ by more than .05;
- slow choice: choice, and the trace's next value depends on its last.

Parameters are read from equations of degree 1 in the textbook way (alpha: 1 minus the value's own coefficient ...).
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peer
import protocol_oracle as oracle
from fit_speed import run_peer
from protocol_compare import Found, compare, gap, show_correlation, show_rates
from protocol_data import BLOCKS, People

SUFFIXES = {1: "", 2: "_2"}  # of the answers' names, by degree of the libraries
COUNTS = 0.01  # an inverse temperature
DIFFERS = 0.05  # a coefficient
EPOCHS, LEARNING_RATE = 1024, 1e-2
JOB = {"job": "fit", "model": "ChoiceRNN", "config": "CHOICE_CONFIG", "epochs": EPOCHS, "learning_rate": LEARNING_RATE}
JOB |= {"seed": 0, "threads": 1, "predictions": False, "terms": True, "degree": 2}


def run(people: People, true: np.ndarray, folder: Path, epochs: int = EPOCHS) -> dict[str, Any]:
    """Fit the peer's model, and compare its equations with libraries of either degree.

    Parameters
    ----------
    people : People
        Whom to fit.
    true : np.ndarray, shape (n_people,)
        Negative log-likelihood per trial of the fresh sessions by the true models.
    folder : Path
        The peer's environment; it is built if there is none.
    epochs : int
        Of the network's fit.

    Returns
    -------
    dict
        ``people``, and under ``degrees`` what `protocol_compare.compare` gives, the gap to the true models, and the
        coefficients; ``seconds`` of the fit; ``error``, where there was one.
    """
    try:
        versions = peer.ensure_environment(folder)
    except peer.PeerError as error:
        return {"people": len(true), "degrees": {}, "error": str(error)}
    out: dict[str, Any] = {"people": len(true), "versions": versions, "degrees": {}}
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "people.npz")
        parts = {"train": people.train, "fresh": people.fresh}
        arrays = {
            f"{part}_{name}": getattr(data, name).numpy() for part, data in parts.items() for name in ("xs", "ys")
        }
        np.savez(path, **arrays)
        answer = run_peer(folder, JOB | {"data": path, "participants": len(true), "epochs": epochs})
    for degree, suffix in SUFFIXES.items():
        if f"terms{suffix}" in answer:
            names = {"terms": "terms" + suffix, "equations": "equations" + suffix, "networks": "networks"}
            answers = {kind: answer[name] for kind, name in names.items()}
            out["degrees"][str(degree)] = _judge(answers, people, true, degree)
    if "failed" in answer:
        out["error"] = answer["failed"]["error"]
    return out | {"seconds": answer.get("fitted")}


def _judge(answer: dict[str, Any], people: People, true: np.ndarray, degree: int) -> dict[str, Any]:
    """Compare what one set of equations says with the truth."""
    coefficients = answer["terms"]["people"]
    mechanisms = [mechanisms_of(person) for person in coefficients]
    found = {name: np.array([entry[name] for entry in mechanisms]) for name in oracle.MECHANISMS}
    parameters = np.array([parameters_of(*pair) for pair in zip(coefficients, mechanisms, strict=True)])
    compared = compare(Found(found, parameters, {name: np.zeros(len(true), bool) for name in found}), people)
    if degree > 1:
        del compared["parameters"]  # no textbook form
    gaps = {}
    for kind in ("equations", "networks"):
        fresh = answer[kind].get("fresh")
        gaps[kind] = gap(np.array(fresh).reshape(-1, BLOCKS).mean(1), true) if fresh else answer[kind]
    return compared | {"nll_minus_true": gaps, "coefficients": coefficients}


def mechanisms_of(person: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Which mechanisms one person's coefficients hold.

    Parameters
    ----------
    person : dict of str to dict of str to float
        Coefficients by module and term; inverse temperatures by state under ``betas``.
    """
    chosen, others = person["x_value_reward_chosen"], person["x_value_reward_not_chosen"]
    reward = abs(person["betas"]["x_value_reward"]) > COUNTS
    reward &= any(value != 0 for term, value in chosen.items() if "c_reward" in term)
    moved = any(abs(value - (term == "x_value_reward_not_chosen")) > DIFFERS for term, value in others.items())
    repeated, rest = _alike(person, "x_value_choice_chosen"), _alike(person, "x_value_choice_not_chosen")
    choice = abs(person["betas"]["x_value_choice"]) > COUNTS
    choice &= any(abs(repeated[term] - rest[term]) > DIFFERS for term in repeated)
    slow = any(abs(table[term]) > DIFFERS for table in (repeated, rest) for term in table if term != "1")
    return {
        "reward": reward,
        "forgetting": reward and moved,
        "choice": choice,
        "slow choice": choice and slow,
        "asymmetry": reward and abs(chosen.get("x_value_reward_chosen c_reward", 0.0)) > DIFFERS,
    }


def _alike(person: dict[str, dict[str, float]], module: str) -> dict[str, float]:
    """A module's coefficients, its own state named x."""
    return {term.replace(module, "x"): value for term, value in person[module].items()}


def parameters_of(person: dict[str, dict[str, float]], mechanisms: dict[str, bool]) -> np.ndarray:
    """Parameters in the order of `protocol_oracle.NAMES`; neutral where absent or without a fixed point."""
    chosen, others = _alike(person, "x_value_reward_chosen"), _alike(person, "x_value_reward_not_chosen")
    repeated, rest = _alike(person, "x_value_choice_chosen"), _alike(person, "x_value_choice_not_chosen")
    found = oracle.NEUTRAL.copy()
    if mechanisms["reward"] and chosen["x"] != 1:
        alpha = 1 - chosen["x"]
        found[:3] = person["betas"]["x_value_reward"] * chosen["c_reward"] / alpha, alpha, alpha
    if mechanisms["forgetting"]:
        found[3] = 1 - others["x"]
    if mechanisms["choice"] and repeated["x"] != 1:
        found[4] = person["betas"]["x_value_choice"] * (repeated["1"] - rest["1"]) / (1 - repeated["x"])
        found[5] = 1 - repeated["x"]
    return found


def show(out: dict[str, Any]) -> None:
    """Print the peer's rates beside SPICE's and the oracle's of the same people."""
    print(f"\nautospice {peer.VERSION}, its ChoiceRNN, the first {out['people']} people (SPICE: fitted to everybody)")
    if "error" in out:
        print(f"it failed: {out['error']}", flush=True)
    methods = {f"autospice, degree {degree}": entry for degree, entry in out["degrees"].items()} | out["others"]
    print(" " * 14 + "".join(f"{name:<40}" for name in methods))
    for mechanism in oracle.MECHANISMS:
        cells = [show_rates(entry["mechanisms"][mechanism]) for entry in methods.values()]
        print(f"{mechanism:<14}" + "".join(f"{cell:<40}" for cell in cells))
    print("correlation / of ranks: those with both, all")
    for name in oracle.NAMES:
        cells = [show_correlation(entry.get("parameters", {}).get(name)) for entry in methods.values()]
        print(f"{name:<14}" + "".join(f"{cell:<40}" for cell in cells))
    for name, gaps in out["others_nll_minus_true"].items():
        print(f"NLL of fresh blocks minus true, {name}: {gaps['mean']:.4f} ({gaps['se']:.4f})")
    for degree, entry in out["degrees"].items():
        for kind, gaps in entry["nll_minus_true"].items():
            text = f"{gaps['mean']:.4f} ({gaps['se']:.4f})" if "mean" in gaps else str(gaps)
            print(f"NLL of fresh blocks minus true, autospice, degree {degree}, {kind}: {text}", flush=True)

"""The canonical form as a symbolic model, to be fitted, sampled and simulated like one written by hand."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from spice.errors import ModelFormError
from spice.resources.arguments import is_number

if TYPE_CHECKING:
    from spice.equations import SymbolicModel
    from spice.inference.results import CanonicalForm

UNIT = ("alpha", "alpha_reward", "alpha_penalty", "forgetting", "alpha_choice", "alpha_counterfactual")
ABSENT = {"forgetting": 0.0, "alpha_counterfactual": 0.0, "perseveration": 0.0, "alpha_choice": 1.0}


def canonical_model(forms: "Mapping[Hashable, CanonicalForm]") -> "SymbolicModel":
    """Write canonical forms as one model.

    Parameters
    ----------
    forms : mapping of label to CanonicalForm
        Forms of the participants. The model has every parameter that one of them has; for the others it has the value
        that leaves it out.

    Returns
    -------
    SymbolicModel
        With the states ``Q`` (value) and ``K`` (choice trace) and the parameters' names and values of
        `spice.inference.CanonicalForm`.

    Raises
    ------
    ModelFormError
        If a state of someone has no canonical form, or people's forms do not fit into one model.
    """
    from spice.equations import Parameter, SymbolicModel
    from spice.equations.agent_inputs import ROUNDING

    unread = sorted({state for form in forms.values() for state in form.unread})
    if unread:
        raise ModelFormError(
            f"{', '.join(unread)} cannot be read in the canonical gauge; take the network's: gauge='network'."
        )
    values = {label: dict(form.parameters) for label, form in forms.items()}
    names = list(dict.fromkeys(name for own in values.values() for name in own))
    if {"alpha_reward", "alpha"} <= set(names):
        names = [n for n in names if n != "alpha"]
        values = {label: _two_rates(own) for label, own in values.items()}
    if not names:
        raise ModelFormError("no term is supported by the choices: there is nothing to fit.")
    if {"forgetting", "alpha_counterfactual"} <= set(names):
        raise ModelFormError(
            "some participants forget options not chosen and others learn about them; take one participant at a time."
        )
    outcomes = _outcomes(forms)
    parameters = {}
    for name in names:
        own = {label: _value(name, values[label]) for label in forms}
        same = len(set(own.values())) == 1
        unit = name in UNIT and all(is_number(value, -ROUNDING, 1.0 + ROUNDING) for value in own.values())
        low = 0.0 if unit or (name == "beta" and min(own.values()) > 0) else None
        parameters[name] = Parameter(low, 1.0 if unit else None, value=own.popitem()[1] if same else own)
    return SymbolicModel(**_expressions(names, outcomes), parameters=parameters)


def _two_rates(own: dict[str, float]) -> dict[str, float]:
    rate = own.pop("alpha", None)
    return own if rate is None else own | {"alpha_reward": rate, "alpha_penalty": rate}


def _outcomes(forms: "Mapping[Hashable, CanonicalForm]") -> list[float]:
    """The worse and the better outcome, where each has a rate of its own."""
    found = {tuple(form.outcomes) for form in forms.values() if form.outcomes}
    if len(found) > 1:
        raise ModelFormError(
            "the outcomes that have rates of their own differ between participants; take one participant at a time."
        )
    return list(found.pop()) if found else [0.0, 1.0]


def _value(name: str, own: Mapping[str, float]) -> float:
    """A participant's value; where a start or a rate is not in the model, one that changes nothing."""
    if name in own:
        return own[name]
    if name == "forgetting_target":
        return own.get("initial_value", 0.0)
    return ABSENT.get(name, 0.5 if name in UNIT else 0.0)


def _expressions(names: Sequence[str], outcomes: Sequence[float]) -> dict:
    """States, updates and logits in terms of the parameters' names."""
    from spice.equations import State

    states: dict[str, State] = {}
    updates, logits = [], []
    if "beta" in names:
        states["Q"] = State("initial_value")
        middle = sum(outcomes) / len(outcomes)
        rate = "alpha" if "alpha" in names else f"where(reward > {middle!r}, alpha_reward, alpha_penalty)"
        updates.append(("Q", "chosen", f"Q + {rate} * (reward - Q)"))
        if "forgetting" in names:
            target = "forgetting_target" if "forgetting_target" in names else "initial_value"
            updates.append(("Q", "unchosen", f"Q + forgetting * ({target} - Q)"))
        if "alpha_counterfactual" in names:
            updates.append(("Q", "unchosen", "Q + alpha_counterfactual * (outcome - Q)"))
        logits.append("beta * Q")
    if "perseveration" in names:
        states["K"] = State(0.0)
        rate = "alpha_choice" if "alpha_choice" in names else "1"
        updates.append(("K", "everywhere", f"K + {rate} * (chosen - K)"))
        logits.append("perseveration * K")
    biases = [name for name in names if name.startswith("bias")]
    options = [1 if name == "bias" else int(name.removeprefix("bias_")) for name in biases]
    logits += [f"where(option == {option}, {name}, 0)" for option, name in zip(options, biases, strict=True)]
    return {"states": states, "updates": updates, "logits": " + ".join(logits)}

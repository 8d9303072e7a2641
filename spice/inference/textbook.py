"""The canonical form as people read it: sympy equations and lines of text."""

from collections.abc import Mapping, Sequence
from math import ceil, inf, log10
from typing import TYPE_CHECKING

from spice.equations import format_number
from spice.inference.uncertainty import Estimate

if TYPE_CHECKING:
    import sympy

MOST_DIGITS = 6
GREEK = {
    "beta": "β",
    "alpha": "α",
    "alpha_reward": "α(better outcome)",
    "alpha_penalty": "α(worse outcome)",
    "alpha_choice": "α(choice)",
    "alpha_counterfactual": "α(counterfactual)",
}


def canonical_equations(
    parameters: Mapping[str, float], unread: Sequence[str] = (), outcomes: Sequence[float] = (0.0, 1.0)
) -> "dict[str, sympy.Expr]":
    """The updates in the canonical gauge, in symbols named as the parameters.

    Parameters
    ----------
    parameters : mapping of str to float
        The parameters of the model; only their names matter.
    unread : sequence of str
        States without a canonical form, which stand in the logits by their own names.
    outcomes : sequence of float
        The worse and the better outcome, where each has a rate of its own.

    Returns
    -------
    dict of str to sympy.Expr
        ``"Q_chosen"``, ``"Q_others"``, ``"K_chosen"``, ``"K_others"`` (next values, as far as they change) and
        ``"logits"``, of plain symbols (``sympy.Symbol("Q")`` is the one in them): ``Q`` and ``K``, value and choice
        trace of an option; ``r``, its outcome; ``bias``, its bias; and the parameters by their names.
    """
    import sympy

    symbols = {name: sympy.Symbol(name) for name in ["Q", "K", "r", *parameters]}
    q, k, r = symbols["Q"], symbols["K"], symbols["r"]
    found: dict[str, sympy.Expr] = {}
    logits = sympy.Integer(0)
    if "beta" in parameters:
        if "alpha" in parameters:
            rate = symbols["alpha"]
        else:
            better = sympy.Gt(r, sympy.Float(sum(outcomes) / len(outcomes)))
            rate = sympy.Piecewise((symbols["alpha_reward"], better), (symbols["alpha_penalty"], True))
        found["Q_chosen"] = q + rate * (r - q)
        if "forgetting" in parameters:
            target = symbols.get("forgetting_target", symbols["initial_value"])
            found["Q_others"] = q + symbols["forgetting"] * (target - q)
        if "alpha_counterfactual" in parameters:
            found["Q_others"] = q + symbols["alpha_counterfactual"] * (r - q)
        logits += symbols["beta"] * q
    if "perseveration" in parameters:
        rate = symbols.get("alpha_choice", sympy.Integer(1))
        found |= {"K_chosen": k + rate * (1 - k), "K_others": k - rate * k}
        logits += symbols["perseveration"] * k
    if any(name.startswith("bias") for name in parameters):
        logits += sympy.Symbol("bias")
    for state in unread:
        logits += sympy.Symbol(state)
    found["logits"] = logits
    return found


def canonical_lines(estimates: Mapping[str, Estimate], unread: Sequence[str] = ()) -> list[str]:
    """The canonical form as lines of text: updates with their numbers, then parameters with intervals.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        The parameters.
    unread : sequence of str
        States without a canonical form, which stand in the logits by their own names.
    """
    if not estimates:
        return []
    value = {name: _shown(entry)[0] for name, entry in estimates.items()}
    lines: list[str] = []
    logits: list[str] = []
    if "beta" in estimates:
        if "alpha" in estimates:
            lines.append(f"Q ← Q + {value['alpha']} (r − Q)   chosen option")
        else:
            lines.append(f"Q ← Q + {value['alpha_reward']} (r − Q)   chosen option, the better outcome")
            lines.append(f"Q ← Q + {value['alpha_penalty']} (r − Q)   chosen option, the worse outcome")
        if "forgetting" in estimates:
            target = value.get("forgetting_target", "Q0")
            lines.append(f"Q ← Q + {value['forgetting']} ({target} − Q)   other options")
        if "alpha_counterfactual" in estimates:
            lines.append(f"Q ← Q + {value['alpha_counterfactual']} (r − Q)   other options, whose outcomes are shown")
        logits.append(f"{value['beta']} Q")
    if "perseveration" in estimates:
        rate = value.get("alpha_choice")
        lines.append("K = 1[last choice]" if rate is None else f"K ← K + {rate} (1[chosen] − K)   all options")
        logits.append(f"{value['perseveration']} K")
    logits += unread
    if any(name.startswith("bias") for name in value):
        logits.append("bias")
    lines.append("logits = " + (" + ".join(logits).replace("+ -", "- ") or "0"))
    return lines + [_with_interval(name, entry) for name, entry in estimates.items()]


def _with_interval(name: str, estimate: Estimate) -> str:
    shown = GREEK.get(name, "Q0" if name == "initial_value" else name.replace("_", " "))
    number, low, high = _shown(estimate)
    if estimate.at_bound:
        return f"{shown} = {number} (at its bound)"
    if estimate.se == 0:
        return f"{shown} = {number} (fixed)"
    if estimate.se != estimate.se:
        return f"{shown} = {number} (the data do not identify it)"
    return f"{shown} = {number}  [{low}, {high}]"


def _shown(estimate: Estimate) -> tuple[str, str, str]:
    """An estimate and the ends of its interval, with decimals of which the last counts (rewards in points)."""
    width = (estimate.high - estimate.low) / 2
    if not 0 < width < inf:
        return format_number(estimate.value), "", ""
    usual = 2 if width < 10 else 1 if width < 100 else 0
    digits = min(max(usual, ceil(log10(2 / width))), MOST_DIGITS)
    value, low, high = (f"{number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return value, low, high

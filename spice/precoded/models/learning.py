"""Models of learning the values of options."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spice.equations import SymbolicModel

CHOSEN = ("q", "chosen", "q + alpha * (reward - q)")
START = 0.5


def rescorla_wagner() -> "SymbolicModel":
    """Rescorla-Wagner: the chosen option's value follows its reward.

    Parameters of the model: ``alpha`` (learning rate), ``beta`` (inverse temperature). Values start at .5.

    Source: Rescorla & Wagner (1972); Wilson & Collins (2019, eLife 8: e49547), model 3.
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(START)},
        updates=[CHOSEN],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "beta": Parameter(0)},
    )


def forgetting() -> "SymbolicModel":
    """Rescorla-Wagner in which the values of options that are not chosen return to the start.

    Parameters of the model: ``alpha``, ``forgetting`` (forgetting rate), ``beta``.

    Source: Ito & Doya (2009, J Neurosci 29: 9861), with forgetting to the start value.
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(START)},
        updates=[CHOSEN, ("q", "unchosen", f"q + forgetting * ({START} - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "forgetting": Parameter(0, 1), "beta": Parameter(0)},
    )


def two_learning_rates() -> "SymbolicModel":
    """Rescorla-Wagner with learning rates for prediction errors above and below 0.

    Parameters of the model: ``alpha_reward``, ``alpha_penalty``, ``beta``.

    Source: Frank et al. (2007, PNAS 104: 16311).
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(START)},
        updates=[("q", "chosen", "q + where(reward > q, alpha_reward, alpha_penalty) * (reward - q)")],
        logits="beta * q",
        parameters={"alpha_reward": Parameter(0, 1), "alpha_penalty": Parameter(0, 1), "beta": Parameter(0)},
    )


def counterfactual() -> "SymbolicModel":
    """Rescorla-Wagner that learns from the outcomes of options not chosen too, where these are shown.

    Parameters of the model: ``alpha``, ``alpha_counterfactual``, ``beta``.

    Source: Palminteri et al. (2015, Nat Commun 6: 8096).
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(START)},
        updates=[CHOSEN, ("q", "unchosen", "q + alpha_counterfactual * (outcome - q)")],
        logits="beta * q",
        parameters={"alpha": Parameter(0, 1), "alpha_counterfactual": Parameter(0, 1), "beta": Parameter(0)},
    )


def pearce_hall() -> "SymbolicModel":
    """Learning whose rate follows surprise: ``kappa`` times an associability, which moves to the size of the errors.

    Parameters of the model: ``kappa`` (scale of the learning rate), ``eta`` (rate of the associability), ``beta``. The
    associability belongs to the option and starts at 1.

    Source: Pearce & Hall (1980); the hybrid of Li et al. (2011, Nat Neurosci 14: 1250).
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(START), "associability": State(1.0)},
        let={"delta": "reward - q"},
        updates=[
            ("q", "chosen", "q + kappa * associability * delta"),
            ("associability", "chosen", "(1 - eta) * associability + eta * abs(delta)"),
        ],
        logits="beta * q",
        parameters={"kappa": Parameter(0, 1), "eta": Parameter(0, 1), "beta": Parameter(0)},
    )

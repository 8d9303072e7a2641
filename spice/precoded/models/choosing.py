"""Models of choosing, and what any model may be extended by: lapses and biases."""

from typing import TYPE_CHECKING, Any, TypeVar

from spice.equations.compiled_model import CompiledModel
from spice.errors import ConfigError
from spice.resources.arguments import in_words, is_whole

if TYPE_CHECKING:
    from spice.equations import SymbolicModel

Model = TypeVar("Model", "SymbolicModel", CompiledModel)


def choice_kernel() -> "SymbolicModel":
    """Rescorla-Wagner with a choice kernel: options that were chosen are chosen again, or avoided.

    Parameters of the model: ``alpha``, ``alpha_choice`` (rate of the kernel), ``beta``, ``perseveration`` (weight of
    the kernel).

    Source: Wilson & Collins (2019, eLife 8: e49547), model 5.
    """
    from spice.equations import Parameter, State, SymbolicModel

    return SymbolicModel(
        states={"q": State(0.5), "k": State(0.0)},
        updates=[
            ("q", "chosen", "q + alpha * (reward - q)"),
            ("k", "everywhere", "k + alpha_choice * (chosen - k)"),
        ],
        logits="beta * q + perseveration * k",
        parameters={
            "alpha": Parameter(0, 1),
            "alpha_choice": Parameter(0, 1),
            "beta": Parameter(0),
            "perseveration": Parameter(),
        },
    )


def win_stay_lose_shift() -> "SymbolicModel":
    """Stay after a reward above 0, else shift to any other option; at random with probability ``epsilon``.

    The last choice whose outcome is known decides; before there is one, all options are alike.

    Source: Wilson & Collins (2019, eLife 8: e49547), model 2.
    """
    from spice.equations import Parameter, State, SymbolicModel

    plan = "(1 - epsilon) * where(reward > 0, chosen, (1 - chosen) / (n_actions - 1)) + epsilon / n_actions"
    return SymbolicModel(
        states={"plan": State("1 / n_actions")},
        updates=[("plan", "everywhere", plan)],
        logits="log(plan)",
        parameters={"epsilon": Parameter(0, 1)},
    )


def with_lapse(model: Model, name: str = "lapse") -> Model:
    """A model whose choices lapse: with some probability any of the options on offer is chosen.

    Where a model has something hidden, such as task sets, the person lapses in acting, not in what is hidden.

    Parameters
    ----------
    model : SymbolicModel or CompiledModel
        The model.
    name : str, default "lapse"
        Name of the new parameter, between 0 and 1.

    Returns
    -------
    SymbolicModel or CompiledModel
        A symbolic one has probabilities in place of logits.

    Raises
    ------
    ConfigError
        If it is no model, has a parameter of this name, or is a compiled one that has a lapse rate already.

    Source: Wilson & Collins (2019, eLife 8: e49547), Appendix 4.
    """
    from spice.equations import Parameter
    from spice.equations.parsing import Softmax, symbol

    _check(model, [name])
    if isinstance(model, CompiledModel):
        if model.lapse is not None:
            raise ConfigError(f"{model.name!r} has a lapse rate already: {model.lapse!r}.")
        return model.replace(parameters=model.parameters | {name: Parameter(0, 1)}, lapse=name)
    lapse, n_actions = symbol(name), symbol("n_actions")

    def mixture(part: Any) -> Any:
        one = _in_one(part)
        mixed = (1 - lapse) * (Softmax(one) if model.probabilities is None else one) + lapse / n_actions
        return (mixed,) * len(part) if isinstance(part, tuple) else mixed  # it stays a model of so many options

    given = {when: mixture(part) for when, part in model.given_choices.items()}
    probabilities = given if None not in given else given[None]
    return model.replace(
        logits=None, probabilities=probabilities, parameters=model.parameters | {name: Parameter(0, 1)}
    )


def with_bias(model: Model, n_actions: int, name: str = "bias") -> Model:
    """A model with a bias for each option but the first, whose bias is 0.

    Parameters
    ----------
    model : SymbolicModel or CompiledModel
        The model; a symbolic one must have logits, a compiled one no lapses yet.
    n_actions : int
        Number of options.
    name : str, default "bias"
        The new parameters are ``bias_1``, ``bias_2`` and so on.

    Raises
    ------
    ConfigError
        If the model has probabilities, lapses, or parameters of these names; if ``n_actions`` is no number of options,
        or the model has another number, or a compiled one has biases already.
    """
    from spice.equations import Parameter
    from spice.equations.parsing import symbol

    if not is_whole(n_actions, 2):
        raise ConfigError(f"n_actions must be a whole number from 2 on, not {in_words(n_actions)}.")
    names: list[str] = [f"{name}_{option}" for option in range(1, n_actions)]
    _check(model, names)
    if isinstance(model, CompiledModel):
        if model.biases or model.lapse is not None:
            what = "biases already" if model.biases else "a lapse rate: add biases first, then lapses"
            raise ConfigError(f"{model.name!r} has {what}.")
        return model.replace(parameters=model.parameters | dict.fromkeys(names, Parameter()), biases=names)
    if model.probabilities is not None:
        raise ConfigError("biases are added to logits, but the model has probabilities: add biases first, then lapses.")
    if model.n_actions not in (None, n_actions):
        raise ConfigError(f"the model has logits for {model.n_actions} options, not {n_actions}.")
    biases: list[Any] = [0, *map(symbol, names)]

    def biased(part: Any) -> tuple[Any, ...]:
        own = part if isinstance(part, tuple) else (part,) * n_actions
        return tuple(entry + bias for entry, bias in zip(own, biases, strict=True))

    given = {when: biased(part) for when, part in model.given_choices.items()}
    parameters = model.parameters | {entry: Parameter() for entry in names}
    return model.replace(logits=given if None not in given else given[None], parameters=parameters)


def _check(model: Any, names: list[str]) -> None:
    """Check that a model can be extended by parameters of these names."""
    from spice.equations import SymbolicModel

    if not isinstance(model, (SymbolicModel, CompiledModel)):
        raise ConfigError(
            f"lapses and biases are added to a SymbolicModel or a CompiledModel, not to {in_words(model)}."
        )
    taken = [name for name in names if name in model.parameters]
    if taken:
        raise ConfigError(f"the model has a parameter {taken[0]!r} already; give another name=.")


def _in_one(part: Any) -> Any:
    """One expression for all options, of one for each."""
    from sympy import Eq, Piecewise

    from spice.equations.parsing import symbol

    if not isinstance(part, tuple):
        return part
    *cases, last = [(entry, Eq(symbol("option"), k)) for k, entry in enumerate(part)]
    return Piecewise(*cases, (last[0], True))

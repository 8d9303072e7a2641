"""What a model of the user's own may hand over and return: a sentence for each usual slip."""

from collections.abc import Mapping
from typing import Any

import torch

from spice.errors import ConfigError, join_problems
from spice.resources.arguments import in_words, is_number, is_whole
from spice.resources.modules import UpdateModule


def check_start_values(model: str, init_values: Any) -> None:
    """Check a class's ``init_values``: a finite number for each state.

    Raises
    ------
    ConfigError
        If they are anything else.
    """
    if not isinstance(init_values, Mapping):
        raise ConfigError(
            f"init_values of {model} must give each state's start value, e.g. {{'x_value_reward': 0.5}}, not "
            f"{in_words(init_values)}."
        )
    problems = [
        f"that of {name!r} must be a number, not {in_words(value)}."
        for name, value in init_values.items()
        if not is_number(value)
    ]
    if problems:
        raise ConfigError(join_problems(f"init_values of {model} cannot be used", problems))


def check_sizes(function: str, **sizes: Any) -> list[int]:
    """Sizes of a network's parts as ints: whole numbers from 0 on, None for 0.

    Raises
    ------
    ConfigError
        If one is not.
    """
    for name, size in sizes.items():
        if size is not None and not is_whole(size, 0):
            raise ConfigError(f"{name} of {function} must be a whole number from 0 on, not {in_words(size)}.")
    return [0 if size is None else int(size) for size in sizes.values()]


def check_step(model: str, found: Any) -> None:
    """Check what a model's ``step`` returned: the next states by name, and the logits.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    is_two = isinstance(found, (tuple, list)) and len(found) == 2
    if not (is_two and isinstance(found[0], Mapping) and isinstance(found[1], torch.Tensor)):
        raise ConfigError(
            f"step of {model} must return the next states by name and the logits, return {{'x_value_reward': value}}, "
            f"value; it returned {_kinds(found)}."
        )


def check_forward(model: str, found: Any, shape: tuple[int, int, int]) -> None:
    """Check what a model's ``forward`` returned with ``batch_first=True``: logits, states, or more besides.

    Parameters
    ----------
    model : str
        Name of the model.
    found
        What was returned.
    shape : tuple of int
        Shape of the logits: (n_sessions, n_trials, n_actions).

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if not isinstance(found, (tuple, list)) or len(found) < 2 or not isinstance(found[0], torch.Tensor):
        raise ConfigError(
            f"forward of {model} must return logits and states, return self.post_forward_pass(logits, batch_first), "
            f"self.get_state(); it returned {_kinds(found)}."
        )
    if tuple(found[0].shape) != shape:
        raise ConfigError(
            f"forward of {model} returned logits of shape {tuple(found[0].shape)}, but with batch_first=True they are "
            f"{shape} (sessions, trials, actions): return self.post_forward_pass(logits, batch_first), "
            "self.get_state()."
        )


def stack_inputs(module: str, inputs: Any, value: torch.Tensor) -> torch.Tensor:
    """Inputs of a module as one tensor.

    Parameters
    ----------
    module : str
        Its name.
    inputs : torch.Tensor, or tuple or list of them, each (n_batch, n_actions), or None
        What it is called with.
    value : torch.Tensor, shape (n_batch, n_actions)
        The state.

    Returns
    -------
    torch.Tensor, shape (n_batch, n_actions, n_inputs)

    Raises
    ------
    ConfigError
        If they are no tensors, or of other shapes.
    """
    if inputs is None:
        return value.new_zeros((*value.shape, 0))
    if isinstance(inputs, torch.Tensor):
        if inputs.ndim == 3 and inputs.shape[:2] == value.shape:
            return inputs
        if inputs.ndim == 3 and all(n in (1, size) for n, size in zip(inputs.shape, value.shape, strict=False)):
            return inputs.expand(*value.shape, -1)
        if inputs.shape == value.shape and inputs.dtype == value.dtype:
            return inputs.unsqueeze(-1)
    parts = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    for position, part in enumerate(parts):
        if not isinstance(part, torch.Tensor):
            raise ConfigError(
                f"input {position} of the module {module!r} must be a tensor of shape (n_batch, n_actions), e.g. "
                f"trial.reward, not {in_words(part)}."
            )
        part = part.unsqueeze(-1) if part.ndim == 1 else part
        try:
            parts[position] = part.to(value.dtype).expand_as(value)
        except RuntimeError:
            raise ConfigError(
                f"input {position} of the module {module!r} has shape {tuple(part.shape)}, but must have (n_batch, "
                f"n_actions) = {tuple(value.shape)}."
            ) from None
    if len(parts) == 1:
        return parts[0].unsqueeze(-1)  # without a copy
    return torch.stack(parts, dim=-1) if parts else value.new_zeros((*value.shape, 0))


def check_mask(name: str, action: Any, value: torch.Tensor) -> torch.Tensor | None:
    """The mask that a module is called with, in the shape of the state, (n_batch, n_actions).

    Raises
    ------
    ConfigError
        If it is no tensor that can be brought into this shape.
    """
    if action is None:
        return None
    try:
        return action if action.shape == value.shape else action.expand_as(value)
    except (AttributeError, RuntimeError):
        what = f"a tensor of shape {tuple(action.shape)}" if isinstance(action, torch.Tensor) else in_words(action)
        raise ConfigError(
            f"action of the module {name!r} must say for each option whether the update applies, a tensor of shape "
            f"(n_batch, n_actions) = {tuple(value.shape)} such as trial.action or 1 - trial.action, not {what}."
        ) from None


def check_call(name: str, module: Any, n_inputs: int, embedding: Any) -> None:
    """Check that a network that was set up here is called with what it was set up for; others know for themselves.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not isinstance(module, UpdateModule):
        return
    if module.input_size != n_inputs:
        raise ConfigError(
            f"the module {name!r} was set up with input_size={module.input_size}, but is called with {n_inputs} "
            "input(s): set input_size to the number of inputs that call_module gets."
        )
    if embedding is None and module.embedding is not None:
        raise ConfigError(
            f"the module {name!r} was set up with an embedding size, but is called without an embedding: give "
            "call_module participant_embedding=trial.embedding."
        )


def _kinds(found: Any) -> str:
    if isinstance(found, (tuple, list)):
        return f"{len(found)} things ({', '.join(type(part).__name__ for part in found)})"
    return "nothing" if found is None else f"one thing ({type(found).__name__})"

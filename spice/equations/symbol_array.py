"""Tensors of sympy expressions: what a model's own code is traced with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy
import torch
from sympy.logic.boolalg import Boolean

from spice.errors import ModelFormError

UNKNOWN = sympy.Symbol("unknown")  # a NaN


class Tape:
    """Numbers the arrays of a run in the order in which they are made, and puts symbols in the place of some.

    Attributes
    ----------
    replaced : dict of int to np.ndarray
        By number of an array, the entries that symbols were put in the place of.
    n_arrays : int
        Arrays so far.
    """

    def __init__(self) -> None:
        self._cuts: dict[int, np.ndarray] = {}
        self.replaced: dict[int, np.ndarray] = {}
        self.n_arrays = 0

    def rewind(self, n_arrays: int, cuts: dict[int, np.ndarray]) -> None:
        """Begin a run: numbers start at ``n_arrays``; ``cuts`` are the symbols to go on with, by number of an array."""
        self.n_arrays, self._cuts, self.replaced = n_arrays, cuts, {}

    def note(self, entries: np.ndarray) -> tuple[int, np.ndarray]:
        """Number of a new array, and the entries to go on with."""
        number = self.n_arrays
        self.n_arrays += 1
        cut = self._cuts.get(number)
        if cut is None or cut.size != entries.size or all(entry.is_Atom for entry in entries.flat):
            return number, entries
        self.replaced[number] = entries
        return number, cut.reshape(entries.shape)


class SymbolArray(torch.Tensor):
    """An array of expressions and numbers that torch functions and a model's own code take for a tensor.

    Parameters
    ----------
    entries : array_like
        Expressions and numbers.
    tape : Tape
        What numbers the arrays of one run.
    """

    entries: np.ndarray
    tape: Tape
    number: int

    @staticmethod
    def __new__(cls, entries: Any, tape: Tape):
        """Make a tensor that has the shape and nothing else."""
        number, entries = tape.note(np.asarray(entries, dtype=object))
        made = torch.Tensor._make_wrapper_subclass(cls, entries.shape, dtype=torch.float64)  # type: ignore[attr-defined]
        made.entries, made.tape, made.number = entries, tape, number
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """What reaches torch itself has no symbolic form."""
        raise _unknown(str(func))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """What torch calls in the place of its functions and methods."""
        name, kwargs = func.__name__, kwargs or {}
        if name == "__get__":
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)  # shape, dtype ...
        tape = next(part.tape for part in _leaves((*args, *kwargs.values())) if isinstance(part, cls))
        if name in _UNCHANGED and isinstance(args[0], cls):
            return args[0]
        if name in ("unbind", "__iter__", "split", "chunk"):
            parts = [cls(part, tape) for part in _parts(name, *args, **kwargs)]
            return iter(parts) if name == "__iter__" else tuple(parts)
        if name in ("__len__", "size", "dim", "numel"):
            shape = args[0].entries.shape
            return {"__len__": len(shape) and shape[0], "dim": len(shape), "numel": args[0].entries.size}.get(
                name, torch.Size(shape) if len(args) < 2 else torch.Size(shape)[args[1]]
            )
        if name in ("__bool__", "item", "__float__", "__int__", "tolist", "numpy", "__index__"):
            raise ModelFormError(_BRANCHES)
        if name == "__setitem__":
            entries = args[0].entries.copy()
            entries[_plain(args[1])] = _plain(args[2])
            args[0].number, args[0].entries = tape.note(entries)
            return None
        in_place = name in _IN_PLACE or (name.endswith("_") and not name.startswith("_"))
        plain = name.strip("_").removeprefix("i" if name in _IN_PLACE else "")
        function = _FUNCTIONS.get(_ALIASES.get(plain, plain))
        if function is None:
            raise _unknown(name)
        try:
            made = function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})
        except TypeError as error:
            raise ModelFormError(_BRANCHES if "truth value" in str(error) else f"{name}: {error}") from error
        result = np.asarray(made, dtype=object)
        if in_place:
            args[0].number, args[0].entries = tape.note(result)
            return args[0]
        return cls(result, tape)


_BRANCHES = "its updates branch on, or take out, values of states or inputs."


def _unknown(name: str) -> ModelFormError:
    return ModelFormError(f"its updates call torch's {name!r}, which has no symbolic form here.")


def _leaves(values: Any) -> Any:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _plain(value: Any) -> Any:
    """Arrays of objects for tensors, whole numbers exactly."""
    if isinstance(value, SymbolArray):
        return value.entries
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().numpy()
        return array if array.dtype == bool else _exact(array)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry) for entry in value)
    return value


def _exact(array: np.ndarray) -> np.ndarray:
    def number(x: Any) -> sympy.Expr:
        return sympy.Integer(int(x)) if float(x).is_integer() else sympy.Float(float(x))

    return np.asarray(np.frompyfunc(number, 1, 1)(array), dtype=object)


def _elementwise(function: Callable) -> Callable:
    def apply(*arguments: Any, **_: Any) -> np.ndarray:
        return np.asarray(np.frompyfunc(function, len(arguments), 1)(*arguments), dtype=object)

    return apply


def _comparison(relation: Callable) -> Callable:
    def compare(a: Any, b: Any) -> Any:
        found = relation(a, b)
        return bool(found) if found in (True, False) else found

    return _elementwise(compare)


def _where(condition: Any, first: Any, second: Any) -> np.ndarray:
    def choose(c: Any, a: Any, b: Any) -> Any:
        if c in (True, False, 1, 0):
            return a if c else b
        return sympy.Piecewise((a, c if isinstance(c, Boolean) else sympy.Ne(c, 0)), (b, True))

    return _elementwise(choose)(condition, first, second)


def _not(value: Any) -> Any:
    return not value if value in (True, False) else sympy.Not(value)


def _sizes(sizes: tuple) -> tuple:
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def _expand(array: np.ndarray, *sizes: Any) -> np.ndarray:
    shape = _sizes(sizes)
    kept = (1,) * (len(shape) - array.ndim) + array.shape
    return np.broadcast_to(array.reshape(kept), [b if a == -1 else a for a, b in zip(shape, kept, strict=True)])


def _sum(array: np.ndarray, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return array.sum(axis=tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim)


def _mean(array: np.ndarray, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    total = np.asarray(_sum(array, dim, keepdim), dtype=object)
    return total * sympy.Rational(total.size, array.size)


def _clamp(array: np.ndarray, min: Any = None, max: Any = None) -> np.ndarray:  # noqa: A002
    for limit, function in ((min, sympy.Max), (max, sympy.Min)):
        if limit is not None:
            array = _elementwise(function)(array, _elementwise(sympy.sympify)(limit))
    return array


def _parts(name: str, array: "SymbolArray", size: Any = None, dim: int = 0) -> list[np.ndarray]:
    entries = array.entries
    if name in ("unbind", "__iter__"):
        return list(np.moveaxis(entries, size or dim, 0))
    if name == "chunk":
        return np.array_split(entries, size, axis=dim)
    cuts = np.cumsum(size)[:-1] if isinstance(size, (list, tuple)) else range(size, entries.shape[dim], size)
    return np.split(entries, list(cuts), axis=dim)


def _full(value: int) -> Callable:
    return lambda array, *_, **__: np.full(array.shape, sympy.Integer(value), dtype=object)


def _new(value: int) -> Callable:
    return lambda array, *sizes, **_: np.full(_sizes(sizes), sympy.Integer(value), dtype=object)


_UNCHANGED = ("to", "contiguous", "clone", "detach", "double", "float", "cpu", "type_as", "requires_grad_", "type")
_IN_PLACE = ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__ipow__")
_ALIASES = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "subtract": "sub",
    "multiply": "mul",
    "rmul": "mul",
    "radd": "add",
    "view": "reshape",
    "concat": "cat",
    "clip": "clamp",
    "logical_and": "and",
    "logical_or": "or",
    "logical_not": "invert",
    "bitwise_not": "invert",
    "greater": "gt",
    "less": "lt",
    "absolute": "abs",
    "permute": "transpose",
    "swapaxes": "transpose",
}
_FUNCTIONS: dict[str, Callable] = {
    "add": lambda a, b, alpha=1: a + alpha * b,
    "sub": lambda a, b, alpha=1: a - alpha * b,
    "rsub": lambda a, b: b - a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "rdiv": lambda a, b: b / a,
    "rtruediv": lambda a, b: b / a,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "rpow": lambda a, b: b**a,
    "square": lambda a: a**2,
    "reciprocal": lambda a: 1 / a,
    "addcmul": lambda a, b, c, value=1: a + value * b * c,
    "lerp": lambda a, b, w: a + w * (b - a),
    "exp": _elementwise(sympy.exp),
    "log": _elementwise(sympy.log),
    "log1p": _elementwise(lambda x: sympy.log(1 + x)),
    "sqrt": _elementwise(sympy.sqrt),
    "abs": _elementwise(sympy.Abs),
    "tanh": _elementwise(sympy.tanh),
    "sin": _elementwise(sympy.sin),
    "cos": _elementwise(sympy.cos),
    "relu": _elementwise(lambda x: sympy.Max(0, x)),
    "sigmoid": _elementwise(lambda x: 1 / (1 + sympy.exp(-x))),
    "softplus": _elementwise(lambda x: sympy.log(1 + sympy.exp(x))),
    "sign": _elementwise(sympy.sign),
    "maximum": _elementwise(sympy.Max),
    "minimum": _elementwise(sympy.Min),
    "clamp": _clamp,
    "where": _where,
    "gt": _comparison(sympy.Gt),
    "ge": _comparison(sympy.Ge),
    "lt": _comparison(sympy.Lt),
    "le": _comparison(sympy.Le),
    "eq": _comparison(sympy.Eq),
    "ne": _comparison(sympy.Ne),
    "and": _elementwise(sympy.And),
    "or": _elementwise(sympy.Or),
    "invert": _elementwise(_not),
    "bool": _elementwise(lambda x: x != 0 if x.is_number else sympy.Ne(x, 0)),
    "isnan": _elementwise(lambda x: UNKNOWN in x.free_symbols),
    "nan_to_num": lambda a, nan=0.0, **_: _elementwise(
        lambda x: sympy.sympify(nan) if UNKNOWN in x.free_symbols else x
    )(a),
    "any": lambda a, dim=None, keepdim=False: np.asarray(a, bool).any(axis=dim, keepdims=keepdim),
    "all": lambda a, dim=None, keepdim=False: np.asarray(a, bool).all(axis=dim, keepdims=keepdim),
    "getitem": lambda a, key: a[key],
    "select": lambda a, dim, index: np.take(a, index, axis=dim),
    "unsqueeze": lambda a, dim: np.expand_dims(a, dim),
    "squeeze": lambda a, dim=None: a if dim is not None and a.shape[dim] != 1 else np.squeeze(a, dim),
    "expand": _expand,
    "expand_as": lambda a, b: _expand(a, *b.shape),
    "broadcast_to": _expand,
    "repeat": lambda a, *sizes: np.tile(a, _sizes(sizes)),
    "reshape": lambda a, *sizes: a.reshape(_sizes(sizes)),
    "transpose": lambda a, i, j: np.swapaxes(a, i, j),
    "movedim": lambda a, i, j: np.moveaxis(a, i, j),
    "flatten": lambda a, start=0, end=-1: a.reshape((*a.shape[:start], -1)),
    "sum": _sum,
    "mean": _mean,
    "stack": lambda parts, dim=0: np.stack(np.broadcast_arrays(*parts), axis=dim),
    "cat": lambda parts, dim=0: np.concatenate(parts, axis=dim),
    "zeros_like": _full(0),
    "ones_like": _full(1),
    "new_zeros": _new(0),
    "new_ones": _new(1),
}

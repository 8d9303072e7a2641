"""Arrays of sympy expressions that torch functions accept: what a model's own ``forward`` is traced with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy
import torch

from spice.errors import ModelFormError


class SymbolArray:
    """An array of sympy expressions in a tensor's place.

    Parameters
    ----------
    entries : array_like
        Expressions and numbers.
    """

    dtype = torch.float64
    device = torch.device("cpu")
    requires_grad = False

    def __init__(self, entries: Any):
        self.entries = np.array(entries, dtype=object)

    @property
    def shape(self) -> torch.Size:
        """As a tensor's."""
        return torch.Size(self.entries.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.entries.ndim

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator["SymbolArray"]:
        return (SymbolArray(part) for part in self.entries)

    def __getitem__(self, key: Any) -> "SymbolArray":
        return SymbolArray(self.entries[_plain(key)])

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__") or not hasattr(torch.Tensor, name):
            raise AttributeError(name)
        return lambda *args, **kwargs: _call(name, (self, *args), kwargs)

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """What torch calls for its functions of such arrays."""
        return _call(func.__name__, args, kwargs or {})

    def __bool__(self) -> bool:
        raise ModelFormError("its updates branch on the values of states or inputs.")


def _plain(value: Any) -> Any:
    if isinstance(value, SymbolArray):
        return value.entries
    if isinstance(value, torch.Tensor):
        return _numbers(value.detach().cpu().numpy())
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry) for entry in value)
    return value


def _numbers(array: np.ndarray) -> np.ndarray:
    """Whole numbers exactly, others as they are."""
    if array.dtype == bool or array.dtype == object:
        return array
    exact = np.frompyfunc(lambda x: sympy.Integer(int(x)) if float(x).is_integer() else sympy.Float(float(x)), 1, 1)
    return np.asarray(exact(array), dtype=object)


def _elementwise(function: Callable) -> Callable:
    return lambda *args: np.asarray(np.frompyfunc(function, len(args), 1)(*args), dtype=object)


def _where(condition: Any, first: Any, second: Any) -> np.ndarray:
    return _elementwise(
        lambda c, a, b: (a if c else b) if isinstance(c, (bool, np.bool_)) else sympy.Piecewise((a, c), (b, True))
    )(condition, first, second)


def _expand(array: np.ndarray, *sizes: Any) -> np.ndarray:
    shape = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    kept = (1,) * (len(shape) - array.ndim) + array.shape
    return np.broadcast_to(array.reshape(kept), [b if a == -1 else a for a, b in zip(shape, kept, strict=True)])


def _reshape(array: np.ndarray, *sizes: Any) -> np.ndarray:
    return array.reshape(sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes)


def _sum(array: np.ndarray, dim: Any = None, keepdim: bool = False, **_: Any) -> np.ndarray:
    return np.asarray(array.sum(axis=dim, keepdims=keepdim), dtype=object)


def _clamp(array: np.ndarray, min: Any = None, max: Any = None) -> np.ndarray:  # noqa: A002
    for limit, function in ((min, sympy.Max), (max, sympy.Min)):
        if limit is not None:
            array = _elementwise(lambda x, f=function, b=limit: f(x, sympy.sympify(b)))(array)
    return array


_UNCHANGED = ("to", "contiguous", "clone", "detach", "double", "float", "nan_to_num", "cpu", "type_as")
_FUNCTIONS: dict[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "rsub": lambda a, b: b - a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "true_divide": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "square": lambda a: a**2,
    "addcmul": lambda a, b, c, value=1: a + value * b * c,
    "lerp": lambda a, b, w: a + w * (b - a),
    "exp": _elementwise(sympy.exp),
    "log": _elementwise(sympy.log),
    "sqrt": _elementwise(sympy.sqrt),
    "abs": _elementwise(sympy.Abs),
    "tanh": _elementwise(sympy.tanh),
    "sin": _elementwise(sympy.sin),
    "cos": _elementwise(sympy.cos),
    "sigmoid": _elementwise(lambda x: 1 / (1 + sympy.exp(-x))),
    "maximum": _elementwise(sympy.Max),
    "minimum": _elementwise(sympy.Min),
    "clamp": _clamp,
    "where": _where,
    "gt": _elementwise(sympy.Gt),
    "ge": _elementwise(sympy.Ge),
    "lt": _elementwise(sympy.Lt),
    "le": _elementwise(sympy.Le),
    "isnan": lambda a: np.zeros(a.shape, bool),
    "unsqueeze": lambda a, dim: np.expand_dims(a, dim if dim >= 0 else a.ndim + 1 + dim),
    "squeeze": lambda a, dim=None: np.squeeze(a, dim),
    "expand": _expand,
    "expand_as": lambda a, b: np.broadcast_to(a, b.shape),
    "reshape": _reshape,
    "view": _reshape,
    "transpose": lambda a, i, j: np.swapaxes(a, i, j),
    "movedim": lambda a, i, j: np.moveaxis(a, i, j),
    "flatten": lambda a, start=0, end=-1: a.reshape((*a.shape[:start], -1)),
    "sum": _sum,
    "stack": lambda parts, dim=0: np.stack(parts, axis=dim),
    "cat": lambda parts, dim=0: np.concatenate(parts, axis=dim),
    "new_zeros": lambda a, *sizes: np.full(sizes[0] if isinstance(sizes[0], tuple) else sizes, sympy.Integer(0)),
    "zeros_like": lambda a: np.full(a.shape, sympy.Integer(0)),
    "ones_like": lambda a: np.full(a.shape, sympy.Integer(1)),
}


def _call(name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    """One torch function or method by its name."""
    name = name.strip("_") if name not in _FUNCTIONS else name
    first = args[0]
    if name in _UNCHANGED:
        return first
    if name == "unbind":
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        return tuple(SymbolArray(part) for part in np.moveaxis(_plain(first), dim, 0))
    if name not in _FUNCTIONS:
        raise ModelFormError(f"its updates call torch's {name!r}, which has no symbolic form here.")
    return SymbolArray(_FUNCTIONS[name](*(_plain(entry) for entry in args), **kwargs))


def _binary(name: str, swapped: bool = False) -> Callable:
    def method(self: SymbolArray, other: Any) -> SymbolArray:
        return _call(name, (other, self) if swapped else (self, other), {})

    return method


for _name, _function in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"), ("pow", "pow")):
    setattr(SymbolArray, f"__{_name}__", _binary(_function))
    setattr(SymbolArray, f"__r{_name}__", _binary(_function, swapped=True))
for _name in ("gt", "ge", "lt", "le"):
    setattr(SymbolArray, f"__{_name}__", _binary(_name))
SymbolArray.__neg__ = lambda self: _call("neg", (self,), {})  # type: ignore[attr-defined]

"""The interpreter of recorded formulas: arrays whose entries are balls, or Taylor polynomials of balls. No torch.

A formula is a straight line of torch's elementary operations (``trace.py`` records it); here each is carried out on
NumPy arrays of objects. Nothing is rounded but within the balls. An operation that is not in the table, and a
comparison that the balls leave open, are errors: there is no guess.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flint import acb, arb
from numpy.typing import NDArray

Array = NDArray[Any]


class Undecided(ArithmeticError):
    """A ball does not tell on which side of a branch it lies; the message is the question."""


class Formula:
    """A recorded formula, ready to be evaluated: ``{"inputs", "constants", "steps", "outputs"}``."""

    def __init__(self, recorded: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        """``tensors``: those of the profile's file, by name. Raises ``ValueError`` for what cannot be a formula."""
        self._inputs: list[str] = recorded["inputs"]
        self._steps = recorded["steps"]
        self._outputs: dict[str, Any] = recorded["outputs"]
        self._known: dict[int, Any] = {}
        for name, constant in recorded["constants"].items():
            self._known[int(name)] = _constant(constant, tensors)
        for step in self._steps:
            if step["op"] not in OPERATIONS:
                raise ValueError(f"operation {step['op']!r} is not one that can be enclosed")
            if self._known.keys() >= set(references([step["args"], step["kwargs"]])):
                # Of constants only: once for all points.
                self._known[step["to"]] = self._carried_out(step, self._known)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """The outputs, from the inputs by name: arrays of balls or of Taylor polynomials, with the recorded shapes."""
        values = dict(self._known)
        values.update({k: inputs[name] for k, name in enumerate(self._inputs)})
        for step in self._steps:
            if step["to"] not in values:
                values[step["to"]] = self._carried_out(step, values)
        return {name: _resolved(reference, values) for name, reference in self._outputs.items()}

    @staticmethod
    def _carried_out(step: Mapping[str, Any], values: Mapping[int, Any]) -> Any:
        args = [_resolved(a, values) for a in step["args"]]
        kwargs = {name: _resolved(a, values) for name, a in step["kwargs"].items()}
        return OPERATIONS[step["op"]](*args, **kwargs)


def exact(values: Array) -> Array:
    """Floating-point numbers as exact balls; integers and truth values stay."""
    return _each(lambda v: arb(float(v)), values) if values.dtype.kind == "f" else values


def _constant(recorded: Mapping[str, Any], tensors: Mapping[str, Array]) -> Array:
    if "tensor" in recorded:
        return exact(tensors[recorded["tensor"]])
    flat = [float.fromhex(v) if isinstance(v, str) else v for v in recorded["values"]]
    kind = {"float": float, "int": np.int64, "bool": bool}[recorded["kind"]]
    return exact(np.array(flat, dtype=kind).reshape(recorded["shape"]))


def references(arg: Any) -> list[int]:
    """The values to which the arguments of a step refer."""
    if isinstance(arg, Mapping):
        return [arg["ref"]] if "ref" in arg else [r for a in arg.values() for r in references(a)]
    return [r for a in arg for r in references(a)] if isinstance(arg, list) else []


def _resolved(arg: Any, values: Mapping[int, Any]) -> Any:
    """An argument: a reference to a value, and the part of it that is meant, or a number, or a list of these."""
    if isinstance(arg, Mapping):
        if "hex" in arg:
            return arb(float.fromhex(arg["hex"]))
        value = values[arg["ref"]]
        return value[arg["part"]] if "part" in arg else value
    return [_resolved(a, values) for a in arg] if isinstance(arg, list) else arg


# -- what the operations do -----------------------------------------------------------------------------------------


def _each(function: Callable[..., Any], *arrays: Any) -> Array:
    """Entry by entry, with broadcasting, to an array of objects whatever its size."""
    return _plain(np.frompyfunc(function, len(arrays), 1)(*arrays))


def _plain(found: Any) -> Array:
    """An array of what NumPy returned: of a single entry it returns the entry itself."""
    if isinstance(found, np.ndarray):
        return found
    array = np.empty((), dtype=object)
    array[()] = found
    return array


def _method(name: str) -> Callable[[Array], Array]:
    def value(v: Any) -> Any:
        return _ANALYTIC[name](v) if isinstance(v, acb) and name in _ANALYTIC else getattr(v, name)()

    return lambda a: _each(value, a)


_ANALYTIC: dict[str, Callable[[Any], Any]] = {
    "log": lambda v: v.log(analytic=True),
    "log1p": lambda v: (1 + v).log(analytic=True),
    "sqrt": lambda v: v.sqrt(analytic=True),
    "asinh": lambda v: (v + (v * v + 1).sqrt(analytic=True)).log(analytic=True),
}
"""Of complex balls, what is not finite on a branch cut: error bounds of quadrature need functions that are analytic."""


def _sigmoid(a: Array) -> Array:
    return _each(lambda v: 1 / ((-v).exp() + 1), a)


def _softplus(a: Array, beta: Any = 1, threshold: Any = 20) -> Array:
    """As torch defines it: ln(1 + e^v), and v itself beyond the threshold."""
    if float(beta) != 1:
        raise ValueError("softplus with another beta than 1 cannot be enclosed")
    return _each(lambda v: v if _holds(v, ">", threshold) else v.exp().log1p(), a)


def _of_balls(a: Any, b: Any) -> tuple[Any, Any]:
    """Both, unless they are whole numbers, with which torch has rules of its own."""
    if not any(isinstance(v, arb) or (isinstance(v, np.ndarray) and v.dtype == object) for v in (a, b)):
        raise ValueError("quotients and powers of whole numbers cannot be enclosed")
    return a, b


def _power(a: Array, power: Any) -> Array:
    _of_balls(a, None)
    if isinstance(power, np.ndarray):
        raise ValueError("a power that is a tensor cannot be enclosed")
    whole = isinstance(power, int) or (isinstance(power, arb) and power.is_integer())
    exponent = int(float(power)) if whole else power
    return _each(lambda v: v.pow(acb(exponent), analytic=not whole) if isinstance(v, acb) else v**exponent, a)


def _holds(a: Any, relation: str, b: Any) -> bool:
    """Whether a relation holds between the values of two balls. Raises ``Undecided`` where it depends."""
    a, b = (getattr(v, "value", v) for v in (a, b))
    if isinstance(a, acb) or isinstance(b, acb):
        raise Undecided("complex numbers have no order")
    if not isinstance(a, arb) and not isinstance(b, arb):
        return bool(_PLAIN[relation](a, b))
    difference = arb(a) - arb(b)
    for sign, is_so in ((1, difference > 0), (-1, difference < 0), (0, difference.is_zero())):
        if is_so:
            return bool(_PLAIN[relation](sign, 0))
    said = (ball.str(8, radius=not ball.is_exact()) for ball in map(arb, (a, b)))
    raise Undecided("whether " + f" {relation} ".join(said))


_PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def _comparison(relation: str) -> Callable[[Array, Any], Array]:
    return lambda a, b: _each(lambda v, w: _holds(v, relation, w), a, b).astype(bool)


def _searchsorted(breaks: Array, at: Array, *, out_int32: bool = False, right: bool = False, side: Any = None) -> Array:
    relation = "<=" if right or side == "right" else "<"
    return _each(lambda v: sum(_holds(b, relation, v) for b in breaks), at).astype(np.int64)


def _clamp(a: Array, low: Any = None, high: Any = None) -> Array:
    def clamped(v: Any) -> Any:
        if low is not None and _holds(v, "<", low):
            return v * 0 + low
        if high is not None and _holds(v, ">", high):
            return v * 0 + high
        return v

    found = _each(clamped, a)
    return found.astype(a.dtype) if a.dtype != object else found


def _where(condition: Array, a: Any, b: Any) -> Array:
    return _each(lambda c, v, w: v if c else w, condition, a, b)


def _abs(a: Array) -> Array:
    return _each(lambda v: -v if _holds(v, "<", 0) else v, a)


def _sum(a: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    if dtype not in (None, "float64"):
        raise ValueError(f"a sum in {dtype} cannot be enclosed")
    axes = None if not dim and dim != 0 else tuple(np.atleast_1d(dim).tolist())
    return _plain(np.sum(a, axis=axes, keepdims=keepdim))


def _matmul(a: Array, b: Array) -> Array:
    return _plain(np.matmul(a, b))


def _added(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return _plain(np.add(a, b if _one(alpha) else np.multiply(b, alpha)))


def _subtracted(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return _plain(np.subtract(a, b if _one(alpha) else np.multiply(b, alpha)))


def _one(alpha: Any) -> bool:
    return isinstance(alpha, int) and alpha == 1


def _addmm(bias: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    return np.asarray(bias * beta + np.matmul(a, b) * alpha)


def _index(a: Array, indices: Sequence[Array | None]) -> Array:
    return _plain(a[tuple(slice(None) if i is None else i for i in indices)])


def _slice(a: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    chosen: list[Any] = [slice(None)] * a.ndim
    chosen[dim] = slice(start, end, step)
    return np.asarray(a[tuple(chosen)])


def _select(a: Array, dim: int, index: int) -> Array:
    return _plain(np.take(a, index, axis=dim))


def _split(a: Array, size: Any, dim: int = 0) -> list[Array]:
    sizes = size if isinstance(size, list) else [size] * math.ceil(a.shape[dim] / size)
    return np.split(a, np.cumsum(sizes)[:-1], axis=dim)


MOST_ENTRIES = 10**7
"""Of an array that is made from a shape alone: more is no formula, but a way to keep the reader busy."""


def _shape(sizes: Sequence[int]) -> tuple[int, ...]:
    if math.prod(sizes) > MOST_ENTRIES:
        raise ValueError(f"an array of {math.prod(sizes):.3g} entries is more than {MOST_ENTRIES:.0e}")
    return tuple(sizes)


def _expand(a: Array, size: Sequence[int], **_: Any) -> Array:
    lead = len(size) - a.ndim
    return np.broadcast_to(a, _shape([a.shape[k - lead] if n == -1 else n for k, n in enumerate(size)]))


def _filled(shape: Sequence[int], value: Any) -> Array:
    return _each(lambda _: arb(float(value)), np.zeros(_shape(shape)))


def _like(value: Any) -> Callable[..., Array]:
    return lambda a, *_, **__: _filled(a.shape, value)


def _squeezed(a: Array, dim: Any = None) -> Array:
    axes = range(a.ndim) if dim is None else [d % a.ndim for d in np.atleast_1d(dim).tolist()]
    return a.reshape([n for k, n in enumerate(a.shape) if k not in axes or n != 1])


def _same(a: Array, *_: Any, dtype: str | None = None, **__: Any) -> Array:
    if dtype not in (None, "float64") and (a.dtype == object or dtype not in ("int64", "bool")):
        raise ValueError(f"numbers are made {dtype} on the way, which cannot be enclosed")
    if a.dtype == object or dtype is None:
        return a
    return exact(a.astype(float)) if dtype == "float64" else a.astype(dtype)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _added,
    "sub": _subtracted,
    "rsub": lambda a, b, alpha=1: _subtracted(b, a, alpha=alpha),
    "mul": lambda a, b: _plain(np.multiply(a, b)),
    "div": lambda a, b: _plain(np.divide(*_of_balls(a, b))),
    "neg": lambda a: _plain(np.negative(a)),
    "reciprocal": lambda a: _each(lambda v: 1 / v, _of_balls(a, None)[0]),
    "pow": _power,
    **{name: _method(name) for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sqrt", "asinh")},
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "abs": _abs,
    "clamp": _clamp,
    "where": _where,
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "bitwise_not": lambda a: _plain(np.invert(a)),
    "logical_not": lambda a: _plain(np.logical_not(a)),
    "searchsorted": _searchsorted,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": _matmul,
    "dot": _matmul,
    "addmm": _addmm,
    "sum": _sum,
    "t": lambda a: a.T,
    "transpose": lambda a, i, j: np.swapaxes(a, i, j),
    "permute": lambda a, dims: np.transpose(a, dims),
    "view": lambda a, shape: a.reshape(shape),
    "_unsafe_view": lambda a, shape: a.reshape(shape),
    "expand": _expand,
    "select": _select,
    "slice": _slice,
    "unsqueeze": lambda a, dim: np.expand_dims(a, dim),
    "squeeze": _squeezed,
    "cat": lambda parts, dim=0: np.concatenate(parts, axis=dim),
    "stack": lambda parts, dim=0: np.stack(parts, axis=dim),
    "split": _split,
    "split_with_sizes": _split,
    "unbind": lambda a, dim=0: [_plain(part) for part in np.moveaxis(a, dim, 0)],
    "index": _index,
    **dict.fromkeys(("detach", "clone", "lift_fresh", "_to_copy"), _same),
    "zeros_like": _like(0),
    "ones_like": _like(1),
    "full_like": lambda a, value, **_: _filled(a.shape, value),
    "new_zeros": lambda a, shape, **_: _filled(shape, 0),
    "new_ones": lambda a, shape, **_: _filled(shape, 1),
    "new_full": lambda a, shape, value, **_: _filled(shape, value),
    "zeros": lambda shape, **_: _filled(shape, 0),
    "ones": lambda shape, **_: _filled(shape, 1),
    "full": lambda shape, value, **_: _filled(shape, value),
    "scalar_tensor": lambda value, **_: _filled((), value),
}
"""What each of torch's operations does to arrays of balls."""

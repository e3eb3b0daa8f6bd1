"""Recording a formula: what torch does to its inputs, operation by operation, with every constant exact.

The formula that is recorded is the one that runs: a profile's ``fields``, a problem's ``scaled_residual``. Nothing is
folded or rounded on the way, for a constant is kept as it enters and what is computed from it is a step like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from usd_bench.certificate.evaluate import OPERATIONS, references
from usd_bench.errors import CertificateError


def record(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    inputs: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
) -> dict[str, Any]:
    """The formula of ``function`` at inputs of these shapes, as JSON data for ``evaluate.Formula``.

    ``stored``: tensors of a file, to which constants that equal them bit by bit refer by name. Raises
    ``CertificateError`` for an operation that cannot be enclosed.
    """
    recorder = _Recorder({name: tensor.clone() for name, tensor in inputs.items()}, stored)
    with torch.no_grad(), recorder:
        outputs = function(dict(recorder.inputs))
    found = {name: recorder.reference(value) for name, value in outputs.items()}
    needed = set(references(list(found.values())))
    steps = []
    for step in reversed(recorder.steps):
        if step["to"] in needed:
            needed.update(references([step["args"], step["kwargs"]]))
            steps.append(step)
            if step["op"] not in OPERATIONS:
                raise CertificateError(
                    f"the profile or its equation uses torch's {step['op']!r}, for which there are no balls"
                )
    return {
        "inputs": list(inputs),
        "constants": {name: value for name, value in recorder.constants.items() if int(name) in needed},
        "steps": steps[::-1],
        "outputs": found,
    }


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries every operation out, and notes it."""

    def __init__(self, inputs: dict[str, Tensor], stored: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inputs = inputs
        self.constants: dict[str, Any] = {}
        self.steps: list[dict[str, Any]] = []
        self._stored = stored
        self._alive: list[Tensor] = list(inputs.values())  # so that no identity is given twice
        self._references: dict[int, dict[str, int]] = {id(t): {"ref": k} for k, t in enumerate(inputs.values())}
        self._next = len(inputs)
        self._varying = set(range(len(inputs)))
        """What depends on the inputs: of the rest, numbers may be read, for they are constants."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._schema.is_mutable:
            raise CertificateError(f"the profile or its equation changes a tensor in place, by torch's {func}")
        step = {
            "op": func.overloadpacket.__name__,
            "args": [self._argument(a) for a in args],
            "kwargs": {k: self._argument(a) for k, a in (kwargs or {}).items() if k not in _WHERE and a is not None},
        }
        result = func(*args, **(kwargs or {}))
        to = self._new()
        self.steps.append({**step, "to": to})
        varies = not self._varying.isdisjoint(references([step["args"], step["kwargs"]]))
        parts = result if isinstance(result, (list, tuple)) else [result]
        if varies:
            self._varying.add(to)
            if not all(isinstance(part, Tensor) for part in parts):
                raise CertificateError(f"the profile or its equation reads a number off its input, by torch's {func}")
        for part, tensor in enumerate(parts):
            if isinstance(tensor, Tensor):
                _check_type(tensor)
            self._alive.append(tensor)
            self._references[id(tensor)] = {"ref": to} if tensor is result else {"ref": to, "part": part}
        return result

    def reference(self, tensor: Tensor) -> dict[str, int]:
        """Where a tensor came from; one that no step has made is a constant."""
        if id(tensor) not in self._references:
            self._alive.append(tensor)
            self._references[id(tensor)] = {"ref": self._new()}
            self.constants[str(self._references[id(tensor)]["ref"])] = self._constant(tensor)
        return self._references[id(tensor)]

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _argument(self, arg: Any) -> Any:
        if isinstance(arg, Tensor):
            return self.reference(arg)
        if isinstance(arg, (list, tuple)):
            return [self._argument(a) for a in arg]
        if isinstance(arg, float):
            return {"hex": arg.hex()}
        return str(arg).removeprefix("torch.") if isinstance(arg, torch.dtype) else arg

    def _constant(self, tensor: Tensor) -> dict[str, Any]:
        for name, stored in self._stored.items():
            if tensor.dtype == stored.dtype and tensor.shape == stored.shape and torch.equal(tensor, stored):
                return {"tensor": name}
        _check_type(tensor)
        kind = _KINDS[tensor.dtype]
        values = [v.hex() if kind == "float" else v for v in tensor.flatten().tolist()]
        return {"shape": list(tensor.shape), "kind": kind, "values": values}


_KINDS = {torch.float64: "float", torch.int64: "int", torch.bool: "bool"}
"""The types that the interpreter computes with: numbers of others have roundings and ranges of their own."""


def _check_type(tensor: Tensor) -> None:
    if tensor.dtype not in _KINDS:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CertificateError(
            f"the profile or its equation computes with {kind}; expected float64, as `.to(x.dtype)` makes it"
        )


_WHERE = ("device", "layout", "pin_memory", "memory_format", "non_blocking")
"""Arguments that say where numbers lie, and not which they are."""

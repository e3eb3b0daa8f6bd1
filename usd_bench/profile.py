"""Profiles: λ and fields that can be evaluated and differentiated anywhere, whatever method found them.

On disk a profile is one safetensors file: its tensors, and a JSON header that says which problem and which
solver it belongs to, so that the solver can rebuild it. Never pickle: a profile file runs no code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor


class Profile(ABC):
    """A self-similar profile: the exponent ``lam`` and its fields."""

    lam: float

    @abstractmethod
    def fields(self, x: Tensor) -> dict[str, Tensor]:
        """Field values (N,) at points ``x`` (N, d), differentiable twice with torch.autograd, row by row."""

    def tensors(self) -> dict[str, Tensor]:
        """What must be stored for the solver's ``restore`` to rebuild this profile, λ aside."""
        return {}


class FunctionProfile(Profile):
    """A profile given by a formula: exact solutions and tests."""

    def __init__(self, lam: float, function: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self.lam = lam
        self._function = function

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        return self._function(x)


def on_grid(profile: Profile, axes: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Field values on the tensor product of the axes, each of shape (len(axis), ...)."""
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    shape = tuple(len(axis) for axis in axes)
    with torch.no_grad():
        return {name: values.reshape(shape) for name, values in profile.fields(points).items()}

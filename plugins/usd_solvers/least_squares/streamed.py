"""By the normal equations, with JᵀJ summed over blocks of rows: memory P² and one block, whatever N is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from usd_solvers.least_squares.cholesky import lower_gram
from usd_solvers.least_squares.damped import inverse_scale
from usd_solvers.least_squares.operator import Operator


class Streamed:
    """What ``Cholesky`` is for a matrix, for an operator. Loses κ² ε."""

    def __init__(self, jacobian: Operator, damping: Tensor) -> None:
        self._jacobian = jacobian
        gram = sum_of(lower_gram(block) for block in jacobian.blocks())
        self._inverse_scale = inverse_scale(gram.diagonal())
        gram *= self._inverse_scale * self._inverse_scale[:, None]
        gram.diagonal().add_(damping)
        self._factor, _ = torch.linalg.cholesky_ex(gram)

    def minimise(self, b: Tensor) -> Tensor:
        """The minimiser d (P,) for b (N,)."""
        right = self._inverse_scale * self._jacobian.transposed(b)
        d: Tensor = self._inverse_scale * torch.cholesky_solve(right[:, None], self._factor)[:, 0]
        return d

    def times(self, d: Tensor) -> Tensor:
        """J d (N,)."""
        return self._jacobian.times(d)

    def length(self, d: Tensor) -> Tensor:
        """‖D d‖."""
        length: Tensor = torch.linalg.vector_norm(d / self._inverse_scale)
        return length


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, one held at a time beside the sum."""
    total = None
    for part in parts:
        total = part if total is None else total.add_(part)
    assert total is not None
    return total

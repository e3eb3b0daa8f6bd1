"""The Jacobian as an operator, and what the solvers that never hold it share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from usd_solvers.least_squares.damped import DampedProblem
from usd_solvers.least_squares.group import sum_over_rows


@dataclass(frozen=True)
class Operator:
    """``times``: J d (N,) for d (P,). ``transposed``: Jᵀ b (P,) for b (N,). ``blocks``: its rows, some at a time."""

    times: Callable[[Tensor], Tensor]
    transposed: Callable[[Tensor], Tensor]
    blocks: Callable[[], Iterator[Tensor]]

    def with_columns(self, factors: Tensor) -> Operator:
        """The same with column p multiplied by ``factors[p]``."""
        return Operator(
            lambda d: self.times(factors * d),
            lambda b: factors * self.transposed(b),
            lambda: (block.mul_(factors) for block in self.blocks()),
        )


class OperatorLeastSquares(DampedProblem):
    """A damped problem whose Jacobian is an operator."""

    def __init__(self, jacobian: Operator) -> None:
        self._jacobian = jacobian

    def times(self, d: Tensor) -> Tensor:
        self.jvp += 1
        return self._jacobian.times(d)

    def transposed(self, b: Tensor) -> Tensor:
        self.vjp += 1
        return self.inverse_scale * sum_over_rows(self._jacobian.transposed(b))


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, one held at a time beside the sum."""
    total = None
    for part in parts:
        total = part if total is None else total.add_(part)
    assert total is not None
    return total

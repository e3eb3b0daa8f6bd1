"""The processes among which rows are shared: sums over rows are sums over all of them.

Under ``torchrun``, where ``torch.distributed`` has been initialised, every process holds all parameters, draws the same
points and takes its share of them. Elsewhere there is one process, and nothing here does anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def share(x: Tensor) -> Tensor:
    """This process's rows of a tensor that all have: every ``size``-th."""
    return x[distributed.get_rank() :: size()] if size() > 1 else x


def sum_over_rows(part: Tensor) -> Tensor:
    """The sum of every process's part, the same bits in all of them; in place."""
    if size() > 1:
        distributed.all_reduce(part)
    return part


def stacked(part: Tensor) -> Tensor:
    """Every process's part, of one shape, one below the other."""
    if size() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(size())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)

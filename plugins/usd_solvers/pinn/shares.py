"""How many of the points, panels or neurons of a later stage go where."""

from __future__ import annotations

import torch
from torch import Tensor


def shares(size: Tensor) -> Tensor:
    """Shares (N,) of which one half is even and the other in proportion to ``size`` (N,), a residual's."""
    return 1 + size / size.mean()


def drawn(share: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Indices (number,) of N, without repetition, in proportion to ``share`` (N,), which may be on a device: nothing is
    read from there.

    By the largest of Gumbel variables added to the logarithms. Source: Efraimidis & Spirakis, Inf. Process. Lett. 97
    (2006) 181.
    """
    uniform = torch.rand(len(share), generator=generator, dtype=share.dtype).to(share.device)
    return (share.log() - (-uniform.log()).log()).topk(number).indices

"""Chebyshev series in the features, in the place of networks."""

from __future__ import annotations

from itertools import product
from math import comb

import torch
from torch import Tensor

from usd_bench.jets import Channels, Jet
from usd_solvers.pinn.ansatz import Ansatz
from usd_solvers.pinn.network import Network, Trace


class ChebyshevSeries(Network):
    """Products of Chebyshev polynomials, one in each feature, up to a total degree: a linear layer on their jets.

    ``hidden``: the degree. The constant is the layer's bias. Features lie in [-1, 1] by the problem's contract.
    Source: Trefethen, Approximation Theory and Approximation Practice (2013), chapters 3 and 4; total degree:
    Trefethen, Proc. AMS 145 (2017) 4837.
    """

    def __init__(self, features: int, hidden: tuple[int, ...]) -> None:
        (degree,) = hidden
        powers = product(range(degree + 1), repeat=features)
        self._powers = torch.tensor([p for p in powers if 0 < sum(p) <= degree])  # (terms, features)
        self._degree = degree
        super().__init__(len(self._powers), ())

    def initial(self, generator: torch.Generator) -> Tensor:
        """Zero: the fields are their lift."""
        return torch.zeros(self.size, dtype=torch.float64)

    def forward(self, theta: Tensor, features: Tensor, channels: Channels) -> tuple[Tensor, Trace]:
        basis = self._basis(features, channels)
        output, trace = super().forward(theta, basis, channels)
        return output, Trace([*trace.inputs, features], trace.pre)

    def jacobian(self, theta: Tensor, trace: Trace, channels: Channels, seeds: Tensor, out: Tensor) -> Tensor:
        by_basis = super().jacobian(theta, trace, channels, seeds, out)
        with torch.enable_grad():
            features = trace.inputs[1].detach().requires_grad_()
            basis = self._basis(features, channels)
            rows = [torch.autograd.grad(basis, features, row, retain_graph=True)[0] for row in by_basis]
        return torch.stack(rows)

    def _basis(self, features: Tensor, channels: Channels) -> Tensor:
        """Jets of all products but the constant, (channels, N, terms), from those of the features."""
        x = Jet(features, channels)
        before, now = x * 0.0 + 1.0, x
        polynomials = [before, now]
        for _ in range(self._degree - 1):
            before, now = now, 2.0 * (x * now) - before
            polynomials.append(now)
        every = torch.stack([jet.data for jet in polynomials], -1)  # (channels, N, features, degrees)
        powers = self._powers.to(features.device)
        total = Jet(every[:, :, 0, powers[:, 0]], channels)
        for i in range(1, powers.shape[1]):
            total = total * Jet(every[:, :, i, powers[:, i]], channels)
        return total.data


class ChebyshevAnsatz(Ansatz):
    """A series for each field instead of a network."""

    Function = ChebyshevSeries


def degree_for(features: int, coefficients: int) -> int:
    """The highest total degree with at most so many coefficients, at least 1."""
    degree = 1
    while comb(degree + 1 + features, features) <= coefficients:
        degree += 1
    return degree

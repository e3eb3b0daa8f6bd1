"""Trial functions: for each field a Chebyshev series in each feature of the problem, and λ, in one flat vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from usd_bench.jets import Jet
from usd_bench.problem import Problem


class Polynomials:
    """Chebyshev series of one degree. Stateless: the coefficients (P,) are an argument, λ the last of them."""

    def __init__(self, problem: Problem, degree: int) -> None:
        self._problem, self._degree = problem, degree
        probe = problem.points(problem.collocation(1, torch.Generator().manual_seed(0)))
        lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
        self.size = len(problem.fields) * degree * len(problem.features(probe, lam)) + 1

    def residual(self, theta: Tensor, x: Tensor) -> Tensor:
        """Scaled residuals (equations, N) at points (N, d), differentiable in the coefficients."""
        problem, lam = self._problem, theta[-1]
        functions = self._raw(theta, problem.features(Jet.coordinates(x, problem.all_channels), lam))
        jets = {name: function.restrict(problem.channels[name]).data for name, function in functions.items()}
        return problem.scaled_residual(problem.trial(jets, x, lam), problem.points(x), lam)

    def fields(self, theta: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Field values (N,) at points (N, d), differentiable in both."""
        points, lam = self._problem.points(x), theta[-1]
        found: dict[str, Tensor] = self._problem.lift(
            self._raw(theta, self._problem.features(points, lam)), points, lam
        )
        return found

    def _raw(self, theta: Tensor, features: tuple[Any, ...]) -> dict[str, Any]:
        """The raw function of every field, zero at its pin; of tensors or of jets."""
        problem, raw = self._problem, {}
        own = theta[:-1].view(len(problem.fields), -1)
        for field, coefficients in zip(problem.fields, own, strict=True):
            pin = problem.points(theta.new_tensor([problem.pins[field.name]]))
            at_pin = self._basis(problem.features(pin, theta[-1]))
            terms = zip(coefficients, self._basis(features), at_pin, strict=True)
            raw[field.name] = sum(c * (function - value) for c, function, value in terms)
        return raw

    def _basis(self, features: tuple[Any, ...]) -> list[Any]:
        """T_1 … T_degree of each feature: the constant is pinned away."""
        basis = []
        for feature in features:
            before, now = 0 * feature + 1, feature
            for _ in range(self._degree):
                basis.append(now)
                before, now = now, 2 * (feature * now) - before
        return basis

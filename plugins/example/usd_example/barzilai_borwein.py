"""Gradient descent whose steps come from two points: no learning rate, and no line search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import Solver, SolverConfig, State
from usd_example.polynomials import Polynomials


class BarzilaiBorweinConfig(SolverConfig):
    """Settings: checked, shown in errors, stored with every run."""

    degree: int = Field(8, ge=1, le=40, description="of the Chebyshev series, in each feature")
    points: int = Field(200, ge=8, description="collocation points")
    first: float = Field(1e-3, gt=0, description="the first step, along the gradient")


@dataclass(kw_only=True)
class BarzilaiBorweinState(State):
    """Tensors and numbers only: a checkpoint holds all of it."""

    theta: Tensor
    """Coefficients, and λ at the end (P,)."""
    points: Tensor
    """(N, d)."""
    step_before: Tensor
    """What was added to the coefficients last (P,); zeros at first."""
    gradient_before: Tensor
    """The gradient where that step began (P,)."""


class BarzilaiBorwein(Solver):
    """The mean square of the scaled residual by gradients, with the step |s|² / s·y of the last two points.

    Source: Barzilai & Borwein, IMA J. Numer. Anal. 8 (1988) 141, eq. 5.
    """

    Config: ClassVar[type[SolverConfig]] = BarzilaiBorweinConfig
    State: ClassVar[type[State]] = BarzilaiBorweinState
    config: BarzilaiBorweinConfig

    def supports(self, problem: Problem) -> str | None:
        """Nonlocal terms are beyond it."""
        return "nonlocal terms, which this method does not compute" if problem.nonlocal_terms else None

    def init(self, problem: Problem, seed: int, device: str) -> BarzilaiBorweinState:
        generator = torch.Generator().manual_seed(seed)
        points = problem.collocation(self.config.points, generator).to(device)
        theta = points.new_zeros(Polynomials(problem, self.config.degree).size)
        theta[-1] = problem.bracket.guess
        zero = torch.zeros_like(theta)
        return BarzilaiBorweinState(theta=theta, points=points, step_before=zero, gradient_before=zero)

    def step(self, problem: Problem, state: State) -> BarzilaiBorweinState:
        assert isinstance(state, BarzilaiBorweinState)
        theta = state.theta.clone().requires_grad_()
        with torch.enable_grad():
            loss = Polynomials(problem, self.config.degree).residual(theta, state.points).square().mean()
            (gradient,) = torch.autograd.grad(loss, theta)
        s, y = state.step_before, gradient - state.gradient_before
        # Where the curvature along s is not positive, or at the first step, a small one; nothing waits for the device.
        curvature = s.dot(y)
        length = torch.where(curvature > 0, s.square().sum() / curvature.clamp(min=1e-300), self.config.first)
        step = -length * gradient
        work = replace(state.counters, residual=state.counters.residual + 1, vjp=state.counters.vjp + 1)
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=state.theta + step,
            step_before=step,
            gradient_before=gradient,
            counters=work,
        )

    def profile(self, problem: Problem, state: State) -> Profile:
        assert isinstance(state, BarzilaiBorweinState)
        return PolynomialProfile(problem, self.config.degree, state.theta)

    def restore(self, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> Profile:
        return PolynomialProfile(problem, self.config.degree, tensors["theta"])


class PolynomialProfile(Profile):
    """The fields at given coefficients."""

    def __init__(self, problem: Problem, degree: int, theta: Tensor) -> None:
        self._polynomials, self._theta = Polynomials(problem, degree), theta.detach().cpu().clone()
        self.lam = float(self._theta[-1])

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        return self._polynomials.fields(self._theta.to(x.device), x)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self._theta}

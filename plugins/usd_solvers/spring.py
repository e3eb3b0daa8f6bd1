"""SPRING: natural gradient in kernel form on small batches, with momentum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.least_squares.cholesky import Cholesky
from usd_solvers.least_squares.kernel import Kernel
from usd_solvers.least_squares.momentum import with_momentum
from usd_solvers.pinn.objective import Objective
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState


class SPRINGConfig(NetworkConfig):
    """Settings of ``spring``."""

    resample: int = Field(1, ge=1, description="iterations between two draws of the points")
    batch: int = Field(200, ge=8, description="collocation points of a batch, if points is not given")
    damping: float = Field(1e-6, gt=0, description="added to the kernel's diagonal")
    momentum: float = Field(0.9, ge=0, lt=1, description="part of the step before that is kept")
    learning_rate: float = Field(0.1, gt=0, description="step size")
    longest: float = Field(0.1, gt=0, description="largest length of a step, in the parameters")


@dataclass(kw_only=True)
class SPRINGState(NetworkState):
    """The network state and the direction before (P,)."""

    before: Tensor


class SPRING(NetworkSolver):
    """Subsampled projected-increment natural gradient descent, with the constraint on a step's length.

    Source: Goldshlager, Abrahamsen & Lin, arXiv:2401.10190, algorithm 1; on residuals: arXiv:2505.12149.
    """

    bibtex: ClassVar[str] = """@article{goldshlager2024spring,
  author = {Goldshlager, Gil and Abrahamsen, Nilin and Lin, Lin},
  title = {A {Kaczmarz}-inspired approach to accelerate the optimization of neural network wavefunctions},
  journal = {Journal of Computational Physics},
  volume = {516},
  pages = {113351},
  year = {2024},
  eprint = {2401.10190},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = SPRINGConfig
    State: ClassVar[type[State]] = SPRINGState
    eval_every: ClassVar[int] = 50
    config: SPRINGConfig

    def begin(self, **common: Any) -> SPRINGState:
        return SPRINGState(before=torch.zeros_like(common["theta"]), **common)

    def number(self, problem: Problem) -> int:
        return self.config.points or self.config.batch

    @torch.no_grad()
    def step(self, problem: Problem, state: SPRINGState) -> SPRINGState:
        x, rng = self.fresh_points(problem, state)
        objective = Objective("residual", self.ansatz(problem, state), state.theta, x)
        r, jacobian = objective.linearise(state.theta)
        formed = state.formed | ((r @ r).sqrt() < self.config.release)
        jacobian.mul_(objective.weight)[:, -1] *= self.lam_moves(problem, formed, state.iteration)
        method = Kernel if len(jacobian) < jacobian.shape[1] else Cholesky
        system = method(jacobian, r.new_tensor(self.config.damping), marquardt=False)
        direction = with_momentum(system, -r, state.before, self.config.momentum)
        rate = (self.config.longest / torch.linalg.vector_norm(direction)).clamp(max=self.config.learning_rate)
        work = state.counters
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, state.theta + rate * direction, formed),
            points=x,
            rng=rng,
            formed=formed,
            before=direction,
            counters=replace(
                work,
                residual=work.residual + 1,
                jacobian=work.jacobian + 1,
                linear_solve=work.linear_solve + 1,
            ),
        )

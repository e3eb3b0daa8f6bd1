"""Energy natural gradient descent: the gradient in the metric JᵀJ of the residual, and a search along it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig
from usd_solvers.least_squares.cholesky import Cholesky
from usd_solvers.least_squares.kernel import Kernel
from usd_solvers.least_squares.line_search import HALVINGS, best_length
from usd_solvers.pinn.objective import Objective
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState


class ENGDConfig(NetworkConfig):
    """Settings of ``engd``."""

    damping: float = Field(1e-10, gt=0, description="added to the metric's diagonal: constant, no gain ratio")


class ENGD(NetworkSolver):
    """Energy natural gradient descent, in the kernel form for fewer rows than parameters (by Woodbury's identity).

    Source: Müller & Zeinhofer, arXiv:2302.13163; the kernel form: Guzmán-Cordero et al., arXiv:2505.12149.
    """

    bibtex: ClassVar[str] = """@inproceedings{mueller2023engd,
  author = {M{\\"u}ller, Johannes and Zeinhofer, Marius},
  title = {Achieving High Accuracy with {PINNs} via Energy Natural Gradient Descent},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2302.13163},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = ENGDConfig
    config: ENGDConfig

    def begin(self, **common: Any) -> NetworkState:
        return NetworkState(**common)

    @torch.no_grad()
    def step(self, problem: Problem, state: NetworkState) -> NetworkState:
        x, rng = self.fresh_points(problem, state)
        objective = Objective("residual", self.ansatz(problem, state), state.theta, x)
        r, jacobian = objective.linearise(state.theta)
        loss = r @ r
        formed = state.formed | (loss.sqrt() < self.config.release)
        jacobian.mul_(objective.weight)[:, -1] *= self.lam_moves(problem, formed, state.iteration)
        method = Kernel if len(jacobian) < jacobian.shape[1] else Cholesky
        step = method(jacobian, loss.new_tensor(self.config.damping), marquardt=False).minimise(-r)

        def at(length: Tensor) -> Tensor:
            return self.confine(problem, state.theta + length * step, formed)

        length, reached = best_length(lambda length: objective.rows(at(length)).square().sum(), state.theta)
        work = state.counters
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=torch.where(reached < loss, at(length), state.theta),
            points=x,
            rng=rng,
            formed=formed,
            counters=replace(
                work,
                residual=work.residual + HALVINGS + 1,
                jacobian=work.jacobian + 1,
                linear_solve=work.linear_solve + 1,
            ),
        )

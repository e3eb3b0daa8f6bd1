"""L-BFGS with a strong Wolfe line search, on fixed points."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.solver import SolverConfig
from usd_solvers.pinn.descent import Descent
from usd_solvers.pinn.solver import NetworkConfig

LINE_SEARCH = 25
"""Evaluations of a line search at most. Unless told, torch leaves it one where a step has one iteration, and a first
trial that is too long ends the run."""


FACTOR = 1e12
"""Of the loss. torch drops a step from the history where the gradient's change along it is below 1e-10, whatever the
loss: at a residual of 1e-4 nearly always. The method itself does not depend on a factor."""


class Scaled(torch.optim.LBFGS):
    """torch's, on ``FACTOR`` times the loss."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        def scaled() -> Tensor:
            loss = closure()
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad *= FACTOR
            return loss * FACTOR

        return super().step(scaled) / FACTOR  # type: ignore[no-untyped-call, no-any-return]


class LBFGSConfig(NetworkConfig):
    """Settings of ``lbfgs``."""

    resample: int = Field(
        10**6, ge=1, description="iterations between two draws of the points, which spoil its history"
    )
    history: int = Field(100, ge=1, description="steps that the inverse Hessian is made of")


class LBFGS(Descent):
    """L-BFGS, as implemented in torch.optim. Source: Liu & Nocedal, Math. Program. 45 (1989) 503."""

    bibtex: ClassVar[str] = """@article{liu1989lbfgs,
  author = {Liu, Dong C. and Nocedal, Jorge},
  title = {On the limited memory {BFGS} method for large scale optimization},
  journal = {Mathematical Programming},
  volume = {45},
  pages = {503--528},
  year = {1989},
}"""
    Config: ClassVar[type[SolverConfig]] = LBFGSConfig
    eval_every: ClassVar[int] = 50
    config: LBFGSConfig

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        return Scaled(
            parameters,
            lr=1.0,
            max_iter=1,
            max_eval=1 + LINE_SEARCH,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=self.config.history,
            line_search_fn="strong_wolfe",
        )

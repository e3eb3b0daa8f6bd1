"""L-BFGS with a strong Wolfe line search, on fixed points."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.solver import SolverConfig
from usd_solvers.pinn.descent import Descent
from usd_solvers.pinn.solver import NetworkConfig


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
        return torch.optim.LBFGS(
            parameters,
            lr=1.0,
            max_iter=1,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=self.config.history,
            line_search_fn="strong_wolfe",
        )

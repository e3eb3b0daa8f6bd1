"""Shampoo: gradients preconditioned by roots of their second moments, side by side of each weight matrix."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig
from usd_solvers.pinn.descent import Descent
from usd_solvers.pinn.extra import missing
from usd_solvers.pinn.solver import NetworkConfig


class ShampooConfig(NetworkConfig):
    """Settings of ``shampoo``."""

    learning_rate: float = Field(0.1, gt=0, description="step size")


class Shampoo(Descent):
    """Shampoo, as implemented in pytorch-optimizer, without momentum and with roots computed in every iteration.

    With the package's momentum, which mixes gradients before and after preconditioning, or with roots of every tenth
    iteration, it diverges on a quadratic (version 4.1.0). Source: Gupta, Koren & Singer, arXiv:1802.09568.
    """

    bibtex: ClassVar[str] = """@inproceedings{gupta2018shampoo,
  author = {Gupta, Vineet and Koren, Tomer and Singer, Yoram},
  title = {Shampoo: Preconditioned Stochastic Tensor Optimization},
  booktitle = {International Conference on Machine Learning},
  year = {2018},
  eprint = {1802.09568},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = ShampooConfig
    config: ShampooConfig

    def supports(self, problem: Problem) -> str | None:
        return missing("pytorch_optimizer") or super().supports(problem)

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        import pytorch_optimizer

        return pytorch_optimizer.Shampoo(
            parameters,
            lr=self.config.learning_rate,
            preconditioning_compute_steps=1,
        )

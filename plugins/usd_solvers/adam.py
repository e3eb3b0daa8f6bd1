"""Adam: the first-order baseline, on the same networks, points and residual as Gauss-Newton."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.solver import SolverConfig
from usd_solvers.pinn.descent import Descent
from usd_solvers.pinn.solver import NetworkConfig


class AdamConfig(NetworkConfig):
    """Settings of ``adam``."""

    learning_rate: float = Field(1e-3, gt=0, description="step size")


class Adam(Descent):
    """Adam, as implemented in torch.optim.

    Source: Kingma & Ba, arXiv:1412.6980.
    """

    bibtex: ClassVar[str] = """@inproceedings{kingma2015adam,
  author = {Kingma, Diederik P. and Ba, Jimmy},
  title = {Adam: A Method for Stochastic Optimization},
  booktitle = {International Conference on Learning Representations},
  year = {2015},
  eprint = {1412.6980},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = AdamConfig
    config: AdamConfig

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.config.learning_rate)

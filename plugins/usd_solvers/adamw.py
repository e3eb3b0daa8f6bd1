"""AdamW with a learning rate that falls along half a cosine."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.solver import SolverConfig
from usd_solvers.pinn.descent import Descent
from usd_solvers.pinn.solver import NetworkConfig


class AdamWConfig(NetworkConfig):
    """Settings of ``adamw``."""

    learning_rate: float = Field(3e-3, gt=0, description="step size at the beginning")
    period: int = Field(20000, ge=1, description="iterations after which the step size has fallen to a hundredth")
    weight_decay: float = Field(0.0, ge=0, description="shrinking of all parameters but λ, per unit of step size")


class AdamW(Descent):
    """AdamW, as implemented in torch.optim.

    Source: Loshchilov & Hutter, arXiv:1711.05101; the schedule: arXiv:1608.03983, eq. (5).
    """

    bibtex: ClassVar[str] = """@inproceedings{loshchilov2019adamw,
  author = {Loshchilov, Ilya and Hutter, Frank},
  title = {Decoupled Weight Decay Regularization},
  booktitle = {International Conference on Learning Representations},
  year = {2019},
  eprint = {1711.05101},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = AdamWConfig
    config: AdamWConfig

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        fallen = min(iteration / self.config.period, 1.0)
        rate = self.config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * fallen)) / 2)
        groups = [
            {"params": parameters[:-1], "weight_decay": self.config.weight_decay},
            {"params": parameters[-1:], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate)

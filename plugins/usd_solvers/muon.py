"""Muon: momentum made orthogonal, for the matrices; AdamW for biases and λ."""

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


class MuonConfig(NetworkConfig):
    """Settings of ``muon``."""

    learning_rate: float = Field(3e-3, gt=0, description="step size of the matrices")
    adam_learning_rate: float = Field(1e-3, gt=0, description="step size of biases and λ")
    momentum: float = Field(0.95, ge=0, lt=1, description="part of the momentum that is kept")


class Muon(Descent):
    """Muon, as implemented in pytorch-optimizer. Source: Jordan et al. 2024; Liu et al., arXiv:2502.16982."""

    bibtex: ClassVar[str] = """@misc{jordan2024muon,
  author = {Jordan, Keller and Jin, Yuchen and Boza, Vlado and You, Jiacheng and Cesista, Franz and Newhouse, Laker and
            Bernstein, Jeremy},
  title = {Muon: An optimizer for hidden layers in neural networks},
  year = {2024},
  url = {https://kellerjordan.github.io/posts/muon/},
}"""
    Config: ClassVar[type[SolverConfig]] = MuonConfig
    config: MuonConfig

    def supports(self, problem: Problem) -> str | None:
        return missing("pytorch_optimizer") or super().supports(problem)

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        import pytorch_optimizer

        groups = [
            {"params": [p for p in parameters if p.ndim == 2], "use_muon": True},
            {"params": [p for p in parameters if p.ndim < 2], "use_muon": False},
        ]
        return pytorch_optimizer.Muon(
            groups,
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            adamw_lr=self.config.adam_learning_rate,
        )

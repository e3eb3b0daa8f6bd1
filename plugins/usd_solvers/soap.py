"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

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


class SOAPConfig(NetworkConfig):
    """Settings of ``soap``."""

    learning_rate: float = Field(3e-3, gt=0, description="step size")
    frequency: int = Field(10, ge=1, description="iterations between two updates of the eigenbasis")


class SOAP(Descent):
    """SOAP, as implemented in pytorch-optimizer. Source: Vyas et al., arXiv:2409.11321."""

    bibtex: ClassVar[str] = """@article{vyas2024soap,
  author = {Vyas, Nikhil and Morwani, Depen and Zhao, Rosie and Kwun, Mujin and Shapira, Itai and Brandfonbrener, David
            and Janson, Lucas and Kakade, Sham},
  title = {{SOAP}: Improving and Stabilizing {Shampoo} using {Adam}},
  year = {2024},
  eprint = {2409.11321},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = SOAPConfig
    config: SOAPConfig

    def supports(self, problem: Problem) -> str | None:
        return missing("pytorch_optimizer") or super().supports(problem)

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        import pytorch_optimizer

        return pytorch_optimizer.SOAP(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=0.0,
            precondition_frequency=self.config.frequency,
        )

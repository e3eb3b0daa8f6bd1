"""Adam first, then L-BFGS: the usual recipe for networks that are to satisfy equations."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig
from usd_solvers.adam import Adam, AdamConfig
from usd_solvers.lbfgs import LBFGS, LBFGSConfig
from usd_solvers.pinn.descent import Descent, DescentState
from usd_solvers.pinn.solver import NetworkState


class AdamLBFGSConfig(AdamConfig):
    """Settings of ``adam_lbfgs``."""

    resample: int = Field(5, ge=1, description="iterations of Adam between two draws of the points; L-BFGS keeps them")
    first: int = Field(1000, ge=0, description="iterations of Adam")
    history: int = Field(100, ge=1, description="steps that the inverse Hessian of L-BFGS is made of")


class AdamLBFGS(Descent):
    """Adam for the ``first`` iterations, then L-BFGS with a strong Wolfe line search on the last points.

    Source: Rathore, Lei, Frangella, Lu & Udell, arXiv:2402.01868, section 3 (why both).
    """

    bibtex: ClassVar[str] = """@inproceedings{rathore2024challenges,
  author = {Rathore, Pratik and Lei, Weimu and Frangella, Zachary and Lu, Lu and Udell, Madeleine},
  title = {Challenges in Training {PINNs}: A Loss Landscape Perspective},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2402.01868},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = AdamLBFGSConfig
    eval_every: ClassVar[int] = 100
    config: AdamLBFGSConfig

    def step(self, problem: Problem, state: DescentState) -> DescentState:
        if state.iteration == self.config.first:
            state = replace(state, memory={})  # what Adam remembers means nothing to its successor
        return super().step(problem, state)

    def fresh_points(self, problem: Problem, state: NetworkState) -> tuple[Tensor, Tensor]:
        if state.iteration >= self.config.first:
            return state.points, state.rng
        return super().fresh_points(problem, state)

    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        if iteration < self.config.first:
            adam = AdamConfig.model_validate({"learning_rate": self.config.learning_rate})
            return Adam(adam).optimiser(parameters, iteration)
        lbfgs = LBFGSConfig.model_validate({"history": self.config.history})
        return LBFGS(lbfgs).optimiser(parameters, iteration)

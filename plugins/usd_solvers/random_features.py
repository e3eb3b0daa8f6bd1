"""Random features: one wide hidden layer that stays as it was drawn, its output layer by damped Gauss-Newton."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from usd_bench.jets import Channels
from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig, GaussNewtonState
from usd_solvers.pinn.ansatz import Ansatz
from usd_solvers.pinn.network import Network
from usd_solvers.pinn.solver import Widths


class RandomFeaturesConfig(GaussNewtonConfig):
    """Settings of ``random_features``: those of ``gauss_newton`` with other defaults, and no trained hidden layer."""

    hidden: Widths | None = Field(None, max_length=0, description="not used: the hidden layer is given by wide")
    stages: int = Field(1, ge=1, le=1, description="1")
    warm_start: Literal["none"] = Field("none", description="none: the hidden layer is random")
    linear_solver: Literal["qr", "cholesky", "semi_normal"] = Field("qr", description="features are nearly dependent")
    wide: int = Field(300, ge=2, description="neurons of each field's layer")
    frequency: float = Field(8.0, gt=2, description="half of the highest rate of neurons, per unit of the features")


class RandomFeatures(GaussNewton):
    """Levenberg-Marquardt on the output layers and λ; neurons are scattered over the points, at rates from 4 up.

    Source: Huang, Zhu & Siew, Neurocomputing 70 (2006) 489; for equations: Chen, Chi, E & Yang, J. Mach. Learn. 1
    (2022) 268.
    """

    bibtex: ClassVar[str] = """@article{chen2022randomfeatures,
  author = {Chen, Jingrun and Chi, Xurong and E, Weinan and Yang, Zhouwang},
  title = {Bridging Traditional and Machine Learning-Based Algorithms for Solving {PDEs}: The Random Feature Method},
  journal = {Journal of Machine Learning},
  volume = {1},
  pages = {268--298},
  year = {2022},
}"""
    Config: ClassVar[type[SolverConfig]] = RandomFeaturesConfig
    config: RandomFeaturesConfig

    def hidden(self, problem: Problem) -> tuple[int, ...]:
        return (1,)  # of the stage below, which is zero

    def init(self, problem: Problem, seed: int, device: str) -> GaussNewtonState:
        generator = torch.Generator().manual_seed(seed)
        points = self.first_points(problem, self.number(problem), generator)
        lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
        features = problem.feature_jet(points, lam, Channels.of(problem.coords, ()))[0]
        layer, evenly = Network(features.shape[1], (self.wide,)), torch.ones(len(features), dtype=torch.float64)
        layers = [layer.scattered(generator, self.config.frequency, features, evenly) for _ in problem.fields]
        nothing = torch.zeros(Ansatz(problem, self.hidden(problem)).size, dtype=torch.float64)
        earlier = torch.cat([nothing, torch.ones(1, dtype=torch.float64), *layers]).to(device)
        size = self.Trial.stacked(problem, self.hidden(problem), self.wide, earlier).size
        theta = torch.zeros(size, dtype=torch.float64, device=device)
        theta[-1] = problem.bracket.guess if self.config.lam_start is None else self.config.lam_start
        state = self.begin(
            theta=theta,
            earlier=earlier,
            points=points.to(device),
            rng=generator.get_state(),
            formed=torch.zeros((), dtype=torch.bool, device=device),
        )
        if problem.nonlocal_terms:
            self._terms(problem, state)
        return state

    def begin(self, **common: Any) -> GaussNewtonState:
        state = super().begin(**common)
        state.damping = torch.full_like(state.damping, self.config.damping)
        return state

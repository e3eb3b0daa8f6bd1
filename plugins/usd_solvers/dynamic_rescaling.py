"""Dynamic rescaling: the rescaled equation evolves in time to its stable profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.collocation.linear import solve
from usd_bench.collocation.mesh import Mesh
from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import SolverConfig, State
from usd_solvers.spectral.solver import MESHES, SpectralConfig, SpectralSolver, SpectralState, counted, pack

FOLLOW = 0.3
"""How fast λ follows what the rates say it is, per unit of τ. Below 1, or the two would swing ever wider."""

REMESH = 20
"""Steps from one adaptation of the mesh to the next."""

STILL = 1e-14
"""Change of λ and of the rate per unit of τ below which rounding is all that moves."""


class DynamicRescalingConfig(SpectralConfig):
    """Settings of ``dynamic_rescaling``."""

    tolerance: float = Field(1e-9, gt=0, description="relative size of the last coefficients at which a mesh serves")
    angles: int = Field(40, ge=20, description="most points across β")
    time_step: float = Field(0.2, gt=0, le=1, description="step in τ; the profile reached does not depend on it")


@dataclass(kw_only=True)
class DynamicRescalingState(SpectralState):
    """Also ``rate`` (0-d): by how much the blow-up's rate differs from that of the profile sought."""

    rate: Tensor


class DynamicRescaling(SpectralSolver):
    """The rescaled equation in time τ, from the zero trial function until nothing moves; λ is read from its rates.

    Fields grow and lengths shrink at rates chosen so that solutions which blow up stand still: with c_l = 1 + λ(τ) and
    c_ω = a(τ) - 1,

        field_τ = -equation(fields; λ) + a · power · field

    a keeps the normalisation at the origin, and λ follows c_l / |c_ω| - 1, so that both come to rest where a = 0.
    (With c_l constant the profile's amplitude already settles, at the rate c_l.) One iteration is one step of the
    linearly implicit Euler method, on spectral elements; fields without an evolution equation are solved for at once.
    Unstable profiles repel the evolution, so order 0 only. Deterministic: the seed is not used.
    Source: McLaughlin, Papanicolaou, Sulem & Sulem, Phys. Rev. A 34 (1986) 1200; Chen, Hou & Huang, Ann. PDE 8
    (2022) 24, section 2; time stepping: Hairer & Wanner, Solving Ordinary Differential Equations II (1996), IV.7.
    """

    bibtex: ClassVar[str] = """@article{mclaughlin1986,
  author = {McLaughlin, David W. and Papanicolaou, George C. and Sulem, Catherine and Sulem, Pierre-Louis},
  title = {Focusing singularity of the cubic {Schr{\\"o}dinger} equation},
  journal = {Physical Review A},
  volume = {34},
  pages = {1200--1210},
  year = {1986},
}
@article{chen2022houluo,
  author = {Chen, Jiajie and Hou, Thomas Y. and Huang, De},
  title = {Asymptotically self-similar blowup of the {Hou-Luo} model for the {3D} {Euler} equations},
  journal = {Annals of PDE},
  volume = {8},
  pages = {24},
  year = {2022},
  eprint = {2106.05422},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = DynamicRescalingConfig
    State: ClassVar[type[State]] = DynamicRescalingState
    config: DynamicRescalingConfig

    def supports(self, problem: Problem) -> str | None:
        if not problem.evolution or not problem.time_power:
            return "the problem does not say how its fields evolve"
        if problem.order:
            return f"order {problem.order} is unstable: an evolution leaves it; order 0 is what it reaches"
        return super().supports(problem)

    def init(self, problem: Problem, seed: int, device: str) -> DynamicRescalingState:
        common = self.trial_on_mesh(problem, device)
        return DynamicRescalingState(rate=torch.zeros_like(common["scalars"][0]), **common)

    def system(self, problem: Problem, mesh: Mesh, varied: tuple[str, ...] = ()) -> Collocation:
        """The system in which no field is held at the origin: what fields are there evolves too."""
        key = (id(problem), *(part.tolist() for part in mesh.tensors().values()))
        if self._last is None or self._last[0] != key or self._last[1].problem is not problem:
            self._last = key, Collocation(problem, mesh, varied, pinned=False)
        return self._last[1]

    def step(self, problem: Problem, state: DynamicRescalingState) -> DynamicRescalingState:
        system, at = self.unpack(problem, state)
        change, rate = self._euler(system, at, state.rate)
        at = at + change
        meshes, better = state.meshes, system
        if meshes < MESHES and (state.iteration + 1) % REMESH == 0:
            better, at = self.remeshed(system, at, self.config.tolerance)
            meshes += better is not system
        moved = max(abs(float(change.scalars[0])), abs(float(rate - state.rate)))
        return replace(
            counted(state, 1),
            iteration=state.iteration + 1,
            rate=rate,
            meshes=meshes,
            settled=int(moved < STILL * self.config.time_step),
            **pack(better, at),
        )

    def _euler(self, system: Collocation, at: Unknowns, rate: Tensor) -> tuple[Unknowns, Tensor]:
        """The change of the unknowns over a time step, and the rate at its end.

        Unknowns of the linear system are the changes of the fields and of (λ, a).
        """
        per_time = 1 / self.config.time_step
        problem = system.problem
        mass = system.mass(at)
        linear = system.with_mass(system.linearise(at), mass, per_time)
        grown = torch.zeros_like(linear.residual)
        for equation, name in problem.evolution.items():
            row = problem.equations.index(equation)
            grown[row] = problem.time_power[name] * mass.value[equation].view(system.shape[1:])
        linear = replace(linear, border=torch.cat([linear.border, -grown[..., None]], -1))

        one, none = torch.eye(2, dtype=rate.dtype, device=rate.device), torch.zeros_like(rate)
        error, normal = system.condition("normalisation", at)
        normal = Unknowns(normal.fields, torch.cat([normal.scalars, none[None]]))
        pull = FOLLOW * (1 + at.scalars[0])  # λ_τ = pull · a
        follows = Unknowns(system.zero(at.scalars).fields, per_time * one[0] - pull * one[1])
        rows = -linear.residual + rate * grown
        found = solve(system, linear, rows, -linear.ends, [(normal, -error), (follows, pull * rate)])
        return Unknowns(found.fields, found.scalars[:1]), rate + found.scalars[1]

    def profile(self, problem: Problem, state: DynamicRescalingState) -> Profile:
        return PiecewiseProfile.of(*self.unpack(problem, state))

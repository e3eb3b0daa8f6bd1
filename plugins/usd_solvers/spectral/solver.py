"""The base of collocation solvers: a state that is nodal values on a mesh, Newton's method, and a mesh that adapts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.collocation.mesh import Mesh, adapted, graded, spanned, transfer
from usd_bench.collocation.piecewise import PiecewiseProfile, mesh_of, projected
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import Solver, SolverConfig, State
from usd_solvers.spectral.newton import newton_step

MESHES = 8
"""Adaptations at fixed parameters. Where the tolerance is below rounding, they would go on for ever."""


class SpectralConfig(SolverConfig):
    """Settings that every collocation solver has."""

    degree: int = Field(8, ge=4, le=24, description="collocation points per element")
    tolerance: float = Field(1e-12, gt=0, description="relative size of the last coefficients at which a mesh serves")
    elements: int = Field(160, ge=8, description="most elements along s")
    angles: int = Field(80, ge=20, description="most points across β")
    stretch: float = Field(1.0, gt=0, description="length of the s-axis over the problem's: truncation studies")
    warm_start: Literal["none", "reference"] = Field("none", description="start from the stored profile, if asked to")


@dataclass(kw_only=True)
class SpectralState(State):
    """Nodal values of all fields one after another, λ, and the mesh that carries them."""

    values: Tensor
    scalars: Tensor
    breaks: Tensor
    angles: int
    wall: Tensor
    focus: Tensor
    width: Tensor
    meshes: int = 0
    """Meshes left behind at fixed parameters: after ``MESHES`` of them the last one is kept."""
    settled: int = 0
    """1 where the last step changed neither λ nor the mesh: there is nothing left to improve."""


StateT = TypeVar("StateT", bound=SpectralState)


class SpectralSolver(Solver):
    """A solver whose trial functions are polynomials on a mesh. Subclasses say which way Newton's method goes."""

    Config: ClassVar[type[SolverConfig]] = SpectralConfig
    State: ClassVar[type[State]] = SpectralState
    config: SpectralConfig

    def supports(self, problem: Problem) -> str | None:
        if len(problem.coords) > 2:
            return f"{len(problem.coords)} coordinates; collocation here has at most two"
        if len(problem.coords) == 2 and problem.nonlocal_terms:
            return "nonlocal terms in two dimensions; collocation here has them in one"
        orders = Collocation.orders_of(problem)
        if not set(orders.values()) <= {1, 2}:
            return f"fields of order {orders} in {problem.coords[0]}; collocation here takes orders 1 and 2"
        if not any(condition.kind == "admissibility" for condition in problem.conditions()):
            return "no admissibility condition, which would determine λ"
        if self.config.warm_start == "reference" and problem.reference() is None:
            return "warm_start=reference, but there is no stored profile of this problem and order"
        return None

    def finished(self, state: SpectralState) -> bool:
        return bool(state.settled)

    def restore(self, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> Profile:
        return PiecewiseProfile.from_tensors(problem, lam, tensors)

    # -- parts that continuation shares ------------------------------------------------------------------------

    def trial_on_mesh(self, problem: Problem, device: str, known: Profile | None = None) -> dict[str, Any]:
        """The state's fields for the known profile, or the zero trial function on a first mesh."""
        lam = problem.bracket.guess
        low, high = self.ends(problem, lam)
        if self.config.warm_start == "reference":
            known = problem.reference()
        if known is None:
            mesh = Mesh.of(problem, graded(low, high, 0.8, 0.1), self.config.degree, min(32, self.config.angles))
            mesh = mesh.to(device)
            system = self.system(problem, mesh)
            return pack(system, system.zero(torch.tensor([lam], dtype=torch.float64, device=device)))
        mesh = spanned(replace(mesh_of(problem, known), degree=self.config.degree), low, high)
        at = projected(problem, known, mesh)
        system = self.system(problem, mesh.to(device))
        fields = system.joined({name: values.to(device) for name, values in at.fields.items()})
        return pack(system, Unknowns(fields, at.scalars.to(device)))

    def ends(self, problem: Problem, lam: float) -> tuple[float, float]:
        """Where the s-axis is cut."""
        low, high = problem.extent(lam)[0]
        return self.config.stretch * low, self.config.stretch * high

    def refine(self, problem: Problem, state: StateT, tolerance: float | None = None) -> StateT:
        """One Newton step at fixed parameters, and a better mesh where λ has settled on this one."""
        system, at = self.unpack(problem, state)
        step = newton_step(system, at, [])
        better, at = system, step.unknowns
        if step.settled and state.meshes < MESHES:
            better, at = self.remeshed(system, at, tolerance or self.config.tolerance)
        return replace(
            counted(state, 1),
            iteration=state.iteration + 1,
            settled=int(step.settled and better is system),
            meshes=state.meshes + (better is not system),
            **pack(better, at),
        )

    def remeshed(self, system: Collocation, at: Unknowns, tolerance: float) -> tuple[Collocation, Unknowns]:
        """System and unknowns on a mesh where coefficients decay to the tolerance; the same where they do."""
        orders = system.orders_across(system.problem)
        mesh = adapted(system.mesh, at.fields, orders, tolerance, self.config.elements, self.config.angles)
        if mesh is system.mesh:
            return system, at
        new = self.system(system.problem, mesh, system.varied)
        return new, Unknowns(new.joined(transfer(system.mesh, mesh, at.fields, orders)), at.scalars)

    _last: tuple[Any, Collocation] | None = None

    def system(self, problem: Problem, mesh: Mesh, varied: tuple[str, ...] = ()) -> Collocation:
        """The system of a mesh; the last one is kept, for its operators take as long as a Newton step."""
        key = (id(problem), varied, mesh.angles, *(part.tolist() for part in mesh.tensors().values()))
        if self._last is None or self._last[0] != key or self._last[1].problem is not problem:
            self._last = key, Collocation(problem, mesh, varied)
        return self._last[1]

    def unpack(
        self, problem: Problem, state: SpectralState, varied: tuple[str, ...] = ()
    ) -> tuple[Collocation, Unknowns]:
        """System and unknowns of a state."""
        mesh = Mesh.from_tensors(problem, self.config.degree, state.angles, vars(state))
        system = self.system(problem, mesh, varied)
        shapes = {name: values.shape for name, values in system.zero(state.scalars).fields.items()}
        parts = torch.split(state.values, [shape.numel() for shape in shapes.values()])
        fields = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return system, Unknowns(fields, state.scalars)


def pack(system: Collocation, at: Unknowns) -> dict[str, Any]:
    """What a state says of a system and its unknowns."""
    none = at.scalars[:0]
    return {
        "wall": none,
        "focus": none,
        "width": none,
        "values": torch.cat([values.flatten() for values in at.fields.values()]),
        "scalars": at.scalars,
        **system.mesh.tensors(),
        "angles": system.mesh.angles,
    }


def counted(state: StateT, steps: int) -> StateT:
    """The state with the work of Newton steps added; residuals of shortened steps and polishing are not told apart."""
    work = state.counters
    more = {name: getattr(work, name) + steps for name in ("residual", "jacobian", "linear_solve")}
    return replace(state, counters=replace(work, **more))

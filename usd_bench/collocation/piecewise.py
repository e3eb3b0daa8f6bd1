"""Profiles given by polynomials on a mesh, and the projection of any other profile to one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from usd_bench.collocation.mesh import Mesh, adapted, graded, local_angle
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.elements import Elements, lobatto, polynomials, to_coefficients
from usd_bench.problem import Problem
from usd_bench.profile import Profile

TOLERANCE = 1e-9
"""To which the coefficients of a projected profile should decay."""


class PiecewiseProfile(Profile):
    """A problem's lift of raw trial functions that are Chebyshev series on elements in s, and in β.

    ``coefficients[f]``: (E, nodes, angles). Beyond the mesh the raw functions keep their last value.
    """

    def __init__(self, problem: Problem, lam: float, mesh: Mesh, coefficients: Mapping[str, Tensor]) -> None:
        self.lam = lam
        self.mesh = mesh
        self.coefficients = dict(coefficients)
        self._problem = problem

    @classmethod
    def of(cls, system: Collocation, at: Unknowns) -> PiecewiseProfile:
        """The profile of a system's unknowns."""
        coefficients = {}
        for name, values in at.fields.items():
            along = to_coefficients(values.shape[1], True).to(values.device)
            across = to_coefficients(values.shape[2], False).to(values.device)
            coefficients[name] = torch.einsum("mn,ena,ba->emb", along, values, across).detach().cpu()
        return cls(system.problem, at.lam, system.mesh.to("cpu"), coefficients)

    @classmethod
    def from_tensors(cls, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> PiecewiseProfile:
        """The profile that ``tensors()`` described."""
        coefficients = {field.name: tensors[field.name] for field in problem.fields}
        orders = Collocation.orders_of(problem)
        name = problem.fields[0].name
        _, nodes, angles = coefficients[name].shape
        mesh = Mesh(Elements(tensors["breaks"]), nodes - orders[name], angles, float(tensors["crowding"]))
        return cls(problem, lam, mesh, coefficients)

    def tensors(self) -> dict[str, Tensor]:
        crowding = torch.tensor(self.mesh.crowding, dtype=torch.float64)
        return {"breaks": self.mesh.elements.breaks, "crowding": crowding, **self.coefficients}

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        lam = x.new_tensor(self.lam)
        lifted: dict[str, Tensor] = self._problem.lift(self.raw(x), self._problem.points(x), lam)
        return lifted

    def raw(self, x: Tensor) -> dict[str, Tensor]:
        """The raw trial functions (N,) at ``x`` (N, d)."""
        element, local = self.mesh.elements.locate(x[:, 0])
        if self.mesh.angles == 1:
            return {
                name: (polynomials(local, c.shape[1]) * c[element, :, 0]).sum(1)
                for name, c in self.coefficients.items()
            }
        eta = local_angle(x[:, 1], self._problem.extent(self.lam)[1], self.mesh.crowding)
        across = polynomials(eta, self.mesh.angles)
        return {
            name: torch.einsum("nm,nma,na->n", polynomials(local, c.shape[1]), c[element], across)
            for name, c in self.coefficients.items()
        }


def mesh_of(problem: Problem, profile: Profile) -> Mesh:
    """A profile's own mesh if it is made of polynomials, else one that is refined to its variation."""
    if isinstance(profile, PiecewiseProfile):
        return profile.mesh
    low, high = problem.extent(float(profile.lam))[0]
    flat = len(problem.coords) == 1
    mesh = Mesh(Elements(graded(low, high, 0.8, 0.1)), 12, 1 if flat else 24, 0.0 if flat else 4.0)
    for _ in range(6):
        better = adapted(mesh, projected(problem, profile, mesh).fields, TOLERANCE, 100, 36)
        if better is mesh:
            break
        mesh = better
    return mesh


def projected(problem: Problem, profile: Profile, mesh: Mesh) -> Unknowns:
    """The raw functions whose lift is the profile, at the nodes of a mesh: a lift is affine in them."""
    lam = torch.tensor(float(profile.lam), dtype=torch.float64)
    values = {}
    for name, order in Collocation.orders_of(problem).items():
        s = mesh.elements.points(lobatto(mesh.degree + order)).flatten()
        x = s[:, None] if len(problem.coords) == 1 else torch.cartesian_prod(s, mesh.beta(problem.extent(0.0)[1]))
        with torch.no_grad():
            if isinstance(profile, PiecewiseProfile):
                raw = profile.raw(x)[name]
            else:
                constant = [{f.name: torch.full_like(x[:, 0], value) for f in problem.fields} for value in (0.0, 1.0)]
                zero, one = (problem.lift(raw, problem.points(x), lam)[name] for raw in constant)
                raw = (profile.fields(x)[name].to(torch.float64) - zero) / (one - zero)
        values[name] = raw.view(len(mesh.elements), -1, mesh.angles)
    return Unknowns(values, lam[None])

"""Profiles given by polynomials on a mesh, and the projection of any other profile to one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from usd_bench.collocation.mesh import Mesh, adapted, graded
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.elements import lobatto, polynomials, to_coefficients
from usd_bench.problem import Problem
from usd_bench.profile import Profile

TOLERANCE = 1e-9
"""To which the coefficients of a projected profile should decay."""


OFF, OFF_ACROSS = 8, 80
"""Points per element between the nodes, in one dimension and in two."""


class PiecewiseProfile(Profile):
    """A problem's lift of raw trial functions that are Chebyshev series on elements in s, and on two panels in β.

    ``coefficients[f]``: (E, nodes), or (E, nodes, angles + 2). Beyond the mesh the raw functions keep their last value.
    """

    def __init__(self, problem: Problem, lam: float, mesh: Mesh, coefficients: Mapping[str, Tensor]) -> None:
        self.lam = lam
        self.mesh = mesh
        self.coefficients = dict(coefficients)
        self._problem = problem

    @classmethod
    def of(cls, system: Collocation, at: Unknowns) -> PiecewiseProfile:
        """The profile of a system's unknowns."""
        mesh, orders = system.mesh.to("cpu"), system.orders_across(system.problem)
        coefficients = {}
        for name, values in at.fields.items():
            values = values.detach().cpu()
            found = torch.einsum("mn,ena->ema", to_coefficients(values.shape[1], True), values)
            coefficients[name] = found[..., 0] if mesh.across is None else mesh.across.series(found, orders[name])
        return cls(system.problem, at.lam, mesh, coefficients)

    @classmethod
    def from_tensors(cls, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> PiecewiseProfile:
        """The profile that ``tensors()`` described."""
        coefficients = {field.name: tensors[field.name] for field in problem.fields}
        name = problem.fields[0].name
        degree = coefficients[name].shape[1] - Collocation.orders_of(problem)[name]
        mesh = Mesh.from_tensors(problem, degree, coefficients[name].shape[-1] - 2, tensors)
        return cls(problem, lam, mesh, coefficients)

    def tensors(self) -> dict[str, Tensor]:
        return {**self.mesh.tensors(), **self.coefficients}

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        lam = x.new_tensor(self.lam)
        lifted: dict[str, Tensor] = self._problem.lift(self.raw(x), self._problem.points(x), lam)
        return lifted

    def raw(self, x: Tensor) -> dict[str, Tensor]:
        """The raw trial functions (N,) at ``x`` (N, d)."""
        element, local = self.mesh.elements.locate(x[:, 0])
        if self.mesh.across is None:
            return {n: (polynomials(local, c.shape[1]) * c[element]).sum(1) for n, c in self.coefficients.items()}
        across = self.mesh.across.of(element).polynomials(x[:, 1:])[:, 0]
        return {
            name: torch.einsum("nm,nma,na->n", polynomials(local, c.shape[1]), c[element], across)
            for name, c in self.coefficients.items()
        }


def between_nodes(problem: Problem, profile: PiecewiseProfile) -> Tensor:
    """Points off the nodes (M, d), as many in narrow elements as in wide ones: held-out points may step over a layer.

    Of every element within the range of the held-out points: ``OFF`` in one dimension, ``OFF_ACROSS`` in two, drawn
    with a fixed seed.
    """
    every = problem.evaluation()
    low, high = every.min(0).values, every.max(0).values
    count = OFF if profile.mesh.across is None else OFF_ACROSS
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(
        len(profile.mesh.elements) * count, len(problem.coords), generator=generator, dtype=torch.float64
    )
    left = profile.mesh.elements.breaks[:-1].repeat_interleave(count)
    width = profile.mesh.elements.breaks.diff().repeat_interleave(count)
    x = low + (high - low) * share
    x[:, 0] = left + width * share[:, 0]
    return x[(x[:, 0] >= low[0]) & (x[:, 0] <= high[0])]


def mesh_of(problem: Problem, profile: Profile) -> Mesh:
    """A profile's own mesh if it is made of polynomials, else one that is refined to its variation."""
    if isinstance(profile, PiecewiseProfile):
        return profile.mesh
    low, high = problem.extent(float(profile.lam))[0]
    mesh = Mesh.of(problem, graded(low, high, 0.8, 0.1), 12, 32)
    for _ in range(6):
        fields = projected(problem, profile, mesh).fields
        better = adapted(mesh, fields, Collocation.orders_across(problem), TOLERANCE, 100, 44)
        if better is mesh:
            break
        mesh = better
    return mesh


def projected(problem: Problem, profile: Profile, mesh: Mesh) -> Unknowns:
    """The raw functions whose lift is the profile, at the nodes of a mesh: a lift is affine in them."""
    lam = torch.tensor(float(profile.lam), dtype=torch.float64)
    values = {}
    for name, order in Collocation.orders_of(problem).items():
        x = mesh.points(lobatto(mesh.degree + order))
        with torch.no_grad():
            if isinstance(profile, PiecewiseProfile):
                raw = profile.raw(x)[name]
            else:
                constant = [{f.name: torch.full_like(x[:, 0], value) for f in problem.fields} for value in (0.0, 1.0)]
                zero, one = (problem.lift(raw, problem.points(x), lam)[name] for raw in constant)
                raw = (profile.fields(x)[name].to(torch.float64) - zero) / (one - zero)
        values[name] = raw.view(len(mesh.elements), -1, mesh.angles)
    return Unknowns(values, lam[None])

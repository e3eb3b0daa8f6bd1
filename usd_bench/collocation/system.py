"""The discrete system: raw trial functions that are polynomials on elements in s, and in β.

A field with derivatives up to order m in s has degree k+m-1 on each element and m-1 continuous derivatives, and
the equations hold at the k Gauss points of each element (times the angles of the mesh): as many equations as
unknowns, up to the conditions at the two ends. Those are the same for every problem:

- a field of first order is pinned at the left end, where its limit is known (its raw function vanishes);
- a field of second order is level at both ends: its limits carry the whole variation;
- λ closes the system: the mean error of the admissibility conditions vanishes.

Conditions in β are the lift's. Source: de Boor & Swartz, SIAM J. Numer. Anal. 10 (1973) 582; Ascher, Mattheij &
Russell, Numerical Solution of Boundary Value Problems (1995), chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from usd_bench.collocation.mesh import Mesh
from usd_bench.elements import differentiation, gauss, interpolation, lobatto
from usd_bench.jets import slope
from usd_bench.problem import Problem

Kind = Literal["normalisation", "admissibility"]
"""Of conditions that close the system with a scalar."""


@dataclass(frozen=True)
class Unknowns:
    """Nodal values of each raw trial function, (E, nodes, angles), and the scalars: λ, then the varied parameters.

    Values at a break belong to both its elements, and are equal; where these have other angles, those of a
    first-order field are the left one's, interpolated, and those of a second-order field the right one's.
    """

    fields: dict[str, Tensor]
    scalars: Tensor

    @property
    def lam(self) -> float:
        return float(self.scalars[0])

    def __add__(self, other: Unknowns) -> Unknowns:
        return Unknowns({n: v + other.fields[n] for n, v in self.fields.items()}, self.scalars + other.scalars)

    def __mul__(self, factor: float) -> Unknowns:
        return Unknowns({name: v * factor for name, v in self.fields.items()}, self.scalars * factor)


@dataclass(frozen=True)
class Linearised:
    """The residual and its derivatives at some unknowns."""

    residual: Tensor
    """Scaled residual at the collocation points, (equations, E, k, angles)."""
    seeds: dict[str, Tensor]
    """By the raw jets of each field at the same point, (equations, channels, E, k, angles)."""
    border: Tensor
    """By the scalars, (equations, E, k, angles, scalars)."""
    ends: Tensor
    """Errors of the conditions at the breaks, (E+1, fields, angles)."""
    closure: Tensor
    """The error that determines λ, 0-d."""
    closure_row: Unknowns
    """Its derivatives."""
    through: Tensor | None = None
    """Nonlocal part: the derivative by the density, (equations, N, N), or None for a local problem."""
    density_rows: dict[str, Tensor] | None = None
    """The density's derivative by the raw values of each field at the collocation points, (N,)."""


@dataclass(frozen=True)
class Mass:
    """What evolves: the field that each evolving equation moves, over that equation's scale, and its derivatives by the
    raw function and by λ, all (N,) at the collocation points and by equation.
    """

    value: dict[str, Tensor]
    by_raw: dict[str, Tensor]
    by_lam: dict[str, Tensor]


class Collocation:
    """The discrete system of one problem on one mesh.

    ``varied``: continuous parameters that are unknowns too. ``pinned``: whether first-order fields are pinned at the
    left end; else they are level there, as perturbations are, whose limit is not known.
    """

    def __init__(self, problem: Problem, mesh: Mesh, varied: tuple[str, ...] = (), pinned: bool = True) -> None:
        self.problem = problem
        self.mesh = mesh
        self.varied = varied
        self.pinned = pinned
        self.elements = mesh.elements
        self.order = self.orders_of(problem)
        device = mesh.elements.breaks.device
        local = gauss(mesh.degree)[0]
        self.x = mesh.points(local)
        self._along = {m: _along(lobatto(mesh.degree + m), local, device) for m in set(self.order.values())}
        self._across, self.onward, self.back = {}, {}, {}
        for name, order in self.orders_across(problem).items():
            self._across[name], self.onward[name], self.back[name] = _across(mesh, order)
        s = self.elements.points(local.to(device)).flatten()
        self._terms = problem.operators(self.elements, mesh.degree, s)

    @staticmethod
    def orders_of(problem: Problem) -> dict[str, int]:
        """For each field, the highest derivative in s that its channels have."""
        return {name: max(index.count(0) for index in c.indices) for name, c in problem.channels.items()}

    @staticmethod
    def orders_across(problem: Problem) -> dict[str, int]:
        """For each field, the highest derivative in β that its channels have."""
        return {name: max(index.count(1) for index in c.indices) for name, c in problem.channels.items()}

    def zero(self, scalars: Tensor) -> Unknowns:
        """The trial function with nothing added."""
        return Unknowns(
            {
                name: scalars.new_zeros(len(self.elements), self.mesh.degree + m, self.mesh.angles)
                for name, m in self.order.items()
            },
            scalars,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(equations, E, k, angles)."""
        return len(self.problem.equations), len(self.elements), self.mesh.degree, self.mesh.angles

    # -- residual -----------------------------------------------------------------------------------------------------

    def residual(self, at: Unknowns) -> Tensor:
        """Scaled residual, (equations, E, k, angles)."""
        with torch.no_grad():
            raw = self.raw_jets(at.fields)
            return self._equations(raw, self._nonlocal(raw, at.scalars), at.scalars).view(self.shape)

    def raw_jets(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw jets (channels, N) at the collocation points."""
        return {
            name: torch.stack(
                [
                    torch.einsum("ekn,ena,eba->ekb", self._scaled(name, i), values, self._across[name][j]).flatten()
                    for i, j in self._orders(name)
                ]
            )
            for name, values in fields.items()
        }

    def values_at_points(self, field: str) -> Tensor:
        """From nodal values to values at the Gauss points of any element, (k, nodes)."""
        return self._along[self.order[field]][0]

    def _scaled(self, field: str, order: int) -> Tensor:
        """From nodal values to the derivative of that order in s at the Gauss points: (E, k, nodes)."""
        return self._along[self.order[field]][order] / self.elements.half[:, None, None] ** order

    def _orders(self, field: str) -> list[tuple[int, int]]:
        """For each channel of the field: how often it differentiates along s and across."""
        return [(index.count(0), index.count(1)) for index in self.problem.channels[field].indices]

    def problem_at(self, scalars: Tensor) -> tuple[Problem, Tensor]:
        """The problem with its varied parameters, and λ."""
        return self.problem.vary(**dict(zip(self.varied, scalars[1:], strict=True))), scalars[0]

    def _equations(self, raw: dict[str, Tensor], terms: Mapping[str, Tensor], scalars: Tensor) -> Tensor:
        """Scaled residual (equations, N) from raw jets and nonlocal terms at the collocation points."""
        problem, lam = self.problem_at(scalars)
        u = problem.trial(raw, self.x, lam)
        vars(u).update(terms)
        return problem.scaled_residual(u, problem.points(self.x), lam)

    def _nonlocal(self, raw: dict[str, Tensor], scalars: Tensor) -> dict[str, Tensor]:
        if not self._terms:
            return {}
        density = self._density(raw, scalars)
        return {name: matrix @ density for name, matrix in self._terms.items()}

    def _density(self, raw: dict[str, Tensor], scalars: Tensor) -> Tensor:
        problem, lam = self.problem_at(scalars)
        return problem.density(problem.trial(raw, self.x, lam), problem.points(self.x))

    # -- linearisation ------------------------------------------------------------------------------------------------

    def linearise(self, at: Unknowns) -> Linearised:
        """Residual and all derivatives: ∂residual/∂jet pointwise, times the matrices that make the jets."""
        with torch.no_grad():
            raw = self.raw_jets(at.fields)
            terms = self._nonlocal(raw, at.scalars)
        inputs = [tensor.requires_grad_() for tensor in (*raw.values(), *terms.values())]
        with torch.enable_grad():
            residual = self._equations(raw, terms, at.scalars)
            seeds = [
                torch.autograd.grad(row.sum(), inputs, retain_graph=True, materialize_grads=True) for row in residual
            ]
        raw = {name: jet.detach() for name, jet in raw.items()}
        terms = {name: term.detach() for name, term in terms.items()}
        border = _slopes(lambda scalars: self._equations(raw, terms, scalars), at.scalars)
        through, density_rows = None, None
        if terms:
            by_term = torch.stack([torch.stack(s[len(raw) :]) for s in seeds])  # (equations, terms, N)
            through = torch.zeros_like(next(iter(self._terms.values()))).repeat(len(by_term), 1, 1)
            for i, matrix in enumerate(self._terms.values()):
                through += by_term[:, i, :, None] * matrix
            density_rows = self._density_rows(raw, at.scalars)
            border = border + through @ _slopes(lambda scalars: self._density(raw, scalars), at.scalars)
        closure, closure_row = self.condition("admissibility", at)
        return Linearised(
            residual=residual.detach().view(self.shape),
            seeds={
                n: torch.stack([s[i] for s in seeds]).reshape(len(seeds), -1, *self.shape[1:])
                for i, n in enumerate(raw)
            },
            border=border.view(*self.shape, -1),
            ends=self.ends(at.fields),
            closure=closure,
            closure_row=closure_row,
            through=through,
            density_rows=density_rows,
        )

    def block(self, name: str, linear: Linearised, elements: slice = slice(None)) -> Tensor:
        """The residual's derivative by the nodal values of a field in the same element, for some of the E elements:
        (E, equations, k, angles, nodes, angles). All at once they take gigabytes where profiles are hard.
        """
        seed = linear.seeds[name][:, :, elements]
        q, _, e, k, a = seed.shape
        block = seed.new_zeros(e, q, k, a, k + self.order[name], a)
        for c, (i, j) in enumerate(self._orders(name)):
            along = torch.einsum("qekb,ekn->eqkbn", seed[:, c], self._scaled(name, i)[elements])
            if j == 0:
                block.diagonal(dim1=3, dim2=5).add_(along.transpose(3, 4))
            else:
                block += along[..., None] * self._across[name][j][elements, None, None, :, None, :]
        return block

    def _density_rows(self, raw: dict[str, Tensor], scalars: Tensor) -> dict[str, Tensor]:
        inputs = {name: jet.clone().requires_grad_() for name, jet in raw.items()}
        with torch.enable_grad():
            density = self._density(inputs, scalars)
            found = torch.autograd.grad(density.sum(), list(inputs.values()), materialize_grads=True)
        return {name: by_jet[0] for name, by_jet in zip(inputs, found, strict=True)}

    # -- the rescaled dynamics, mass · ∂τ unknowns + residual = 0 ----------------------------------------------------

    def mass(self, at: Unknowns) -> Mass:
        """What of the unknowns the evolving equations move."""
        evolution, points = self.problem.evolution, self.problem.points(self.x)
        raw = {name: jet[0].requires_grad_() for name, jet in self.raw_jets(at.fields).items()}
        lam = at.scalars[0].detach()
        scale = self.problem.scale(points, lam)

        def evolved(at_lam: Tensor) -> dict[str, Tensor]:
            lifted = self.problem.lift(raw, points, at_lam)
            return {equation: lifted[name] / scale[equation] for equation, name in evolution.items()}

        with torch.enable_grad():
            value = evolved(lam)
            by_raw = {eq: torch.autograd.grad(value[eq].sum(), raw[name])[0] for eq, name in evolution.items()}
        raw = {name: values.detach() for name, values in raw.items()}
        return Mass(
            value={equation: values.detach() for equation, values in value.items()},
            by_raw=by_raw,
            by_lam=dict(
                zip(evolution, slope(lambda at_lam: torch.stack(list(evolved(at_lam).values())), lam), strict=True)
            ),
        )

    def with_mass(self, linear: Linearised, mass: Mass, factor: float) -> Linearised:
        """The derivatives of residual + factor · mass."""
        seeds, border = {name: seed.clone() for name, seed in linear.seeds.items()}, linear.border.clone()
        for equation, name in self.problem.evolution.items():
            row, value = self.problem.equations.index(equation), self.problem.channels[name].indices.index(())
            seeds[name][row, value] += factor * mass.by_raw[equation].view(self.shape[1:])
            border[row, ..., 0] += factor * mass.by_lam[equation].view(self.shape[1:])
        return replace(linear, seeds=seeds, border=border)

    # -- conditions ---------------------------------------------------------------------------------------------------

    def ends(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Errors at the breaks, (E+1, fields, angles): pinned or level at the ends, equal slopes in between."""
        rows = []
        for name, values in fields.items():
            row = values.new_zeros(len(self.elements) + 1, self.mesh.angles)
            if self.order[name] == 1:
                row[0] = values[0, 0] if self.pinned else self.end_slopes(name)[0][0] @ values[0]
            else:
                left, right = self.end_slopes(name)
                row[:-1] += torch.einsum("en,ena->ea", left, values)
                row[1:] -= torch.einsum("en,ena,eba->eb", right, values, self.onward[name])
            rows.append(row)
        return torch.stack(rows, 1)

    def joined(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The fields, made equal at the breaks between elements of different angles."""
        found = {}
        for name, values in fields.items():
            found[name] = values = values.clone()
            if self.order[name] == 1:
                values[1:, 0] = torch.einsum("ea,eba->eb", values[:-1, -1], self.onward[name][:-1])
            else:
                values[:-1, -1] = torch.einsum("ea,eba->eb", values[1:, 0], self.back[name][:-1])
        return found

    def end_slopes(self, name: str) -> tuple[Tensor, Tensor]:
        """From nodal values to the slope at the left and at the right end of each element, (E, nodes) both."""
        d = differentiation(lobatto(self.mesh.degree + self.order[name])).to(self.x.device)
        return d[0] / self.elements.half[:, None], d[-1] / self.elements.half[:, None]

    def condition(self, kind: Kind, at: Unknowns) -> tuple[Tensor, Unknowns]:
        """The mean error of the conditions of a kind, summed over them (0-d), and its derivatives."""
        fields = {name: v.detach().requires_grad_() for name, v in at.fields.items()}
        scalars = at.scalars.detach().requires_grad_()
        with torch.enable_grad():
            error = self._error(kind, fields, scalars)
            found = torch.autograd.grad(error, [*fields.values(), scalars], materialize_grads=True)
        return error.detach(), Unknowns(dict(zip(fields, found[:-1], strict=True)), found[-1])

    def admissibility(self, at: Unknowns) -> float:
        """The mean error of the admissibility conditions."""
        with torch.no_grad():
            return float(self._error("admissibility", at.fields, at.scalars))

    def _error(self, kind: Kind, fields: Mapping[str, Tensor], scalars: Tensor) -> Tensor:
        problem, lam = self.problem_at(scalars)
        total = scalars.new_zeros(())
        for condition in problem.conditions():
            if condition.kind == kind:
                x = condition.at.to(scalars.device)
                u = problem.trial({name: self._raw_jet_at(name, values, x) for name, values in fields.items()}, x, lam)
                if self._terms:
                    density = self._density(self.raw_jets(fields), scalars)
                    rows = problem.operators(self.elements, self.mesh.degree, x[:, 0])
                    vars(u).update({name: row @ density for name, row in rows.items()})
                total = total + condition.error(u, problem.points(x), lam).mean()
        return total

    def _raw_jet_at(self, name: str, values: Tensor, x: Tensor) -> Tensor:
        """Raw jet (channels, M) at a few points (M, d) anywhere on the mesh."""
        element, local = self.elements.locate(x[:, 0])
        nodes = lobatto(self.mesh.degree + self.order[name]).to(x.device)
        row, d = interpolation(nodes, local), differentiation(nodes)
        along = [row, row @ d, row @ d @ d]
        across = row.new_ones(len(x), 1)
        if self.mesh.across is not None:
            order = self.orders_across(self.problem)[name]
            across = self.mesh.across.of(element).rows(x[:, 1:], order)[:, 0]
        return torch.stack(
            [
                torch.einsum(
                    "mn,mna,mb,mba->m",
                    along[i] / self.elements.half[element, None] ** i,
                    values[element],
                    across,
                    self._across[name][j][element],
                )
                for i, j in self._orders(name)
            ]
        )


def _along(nodes: Tensor, local: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """From values at the nodes of a unit element: value, first and second derivative at the local points."""
    value, d = interpolation(nodes, local), differentiation(nodes)
    return value.to(device), (value @ d).to(device), (value @ d @ d).to(device)


def _across(mesh: Mesh, order: int) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """For fields of that order in β, matrices (E, angles, angles) from values at the angles of each element: to value,
    first and second derivative by β there; to values at the next element's angles; and back from those.
    """
    e = len(mesh.elements)
    if mesh.across is None:
        one = torch.ones(e, 1, 1, dtype=torch.float64, device=mesh.elements.breaks.device)
        return [one], one, one
    following = mesh.across.of(torch.arange(1, e + 1, device=mesh.elements.breaks.device).clamp(max=e - 1))
    onward, back = mesh.across.rows(following.beta(), order), following.rows(mesh.across.beta(), order)
    return mesh.across.derivatives(order), onward, back


def _slopes(function: Callable[[Tensor], Tensor], scalars: Tensor) -> Tensor:
    """The derivative of a function of the scalars by each of them, stacked last."""

    def along(i: int) -> Tensor:
        return slope(lambda value: function(torch.cat([scalars[:i], value[None], scalars[i + 1 :]])), scalars[i])

    return torch.stack([along(i) for i in range(len(scalars))], -1)

"""Collocation: derivatives against differences, two linear solvers against each other, meshes, profiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.collocation.linear import Blocks, Dense, solve
from usd_bench.collocation.mesh import Mesh, adapted, angle, graded, local_angle, tail_across, tails_along, transfer
from usd_bench.collocation.piecewise import PiecewiseProfile, projected
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.elements import Elements, chebyshev, lobatto
from usd_bench.metrics import measure
from usd_bench.problem import Problem
from usd_problems.boussinesq import Boussinesq
from usd_problems.burgers import Burgers
from usd_problems.ccf import CCF
from usd_problems.gclm import GCLM
from usd_problems.hou_luo import HouLuo
from usd_problems.ipm import IPM

CASES = [
    pytest.param(Burgers(), (), id="burgers"),
    pytest.param(CCF(), ("exponent",), id="ccf"),
    pytest.param(GCLM(a=0.2), ("a",), id="gclm"),
    pytest.param(HouLuo(), ("exponent",), id="hou_luo"),
    pytest.param(IPM(), ("exponent",), id="ipm"),
    pytest.param(Boussinesq(), ("exponent",), id="boussinesq"),
]


def small_system(problem: Problem, varied: tuple[str, ...] = (), pinned: bool = True) -> Collocation:
    flat = len(problem.coords) == 1
    low, high = problem.extent(problem.bracket.guess)[0]
    breaks = torch.tensor([low, -3.0, -0.5, 1.0, 4.0, high], dtype=torch.float64)
    return Collocation(problem, Mesh(Elements(breaks), 5, 1 if flat else 4, 0.0 if flat else 2.0), varied, pinned)


def arbitrary(system: Collocation, seed: int = 0, size: float = 0.1) -> Unknowns:
    """Smooth unknowns that are continuous at the breaks."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.rand(3, generator=generator, dtype=torch.float64)
    fields = {}
    for i, (name, order) in enumerate(system.order.items()):
        s = system.elements.points(lobatto(system.mesh.degree + order))[..., None]
        beta = system.mesh.beta((0.0, 1.5)) if system.mesh.angles > 1 else torch.zeros(1, dtype=torch.float64)
        fields[name] = size * torch.sin(waves[0] * (i + 1) * s.clamp(-5, 5) + waves[1]) * torch.cos(waves[2] * beta)
    values = [system.problem.bracket.guess, *(float(getattr(system.problem, v)) for v in system.varied)]
    return Unknowns(fields, torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize(("problem", "varied"), CASES)
def test_the_linearisation_is_the_derivative_of_residual_ends_and_closure(problem, varied) -> None:
    system = small_system(problem, varied)
    at, towards = arbitrary(system), arbitrary(system, 1)
    towards = Unknowns(towards.fields, torch.tensor([0.3, -0.2][: 1 + len(varied)], dtype=torch.float64))
    linear = system.linearise(at)
    step = 1e-5
    ahead, behind = at + towards * step, at + towards * -step
    expected = (system.residual(ahead) - system.residual(behind)) / (2 * step)
    found = linear.border @ towards.scalars
    for name, block in linear.blocks.items():
        found = found + torch.einsum("eqkbna,ena->qekb", block, towards.fields[name])
    if linear.through is not None:
        density = sum(
            linear.density_rows[name] * torch.einsum("kn,ena->eka", system.values_at_points(name), values).flatten()
            for name, values in towards.fields.items()
        )
        found = found + (linear.through @ density).view(found.shape)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))
    closure = (system.admissibility(ahead) - system.admissibility(behind)) / (2 * step)
    row = linear.closure_row
    product = sum(float((row.fields[n] * v).sum()) for n, v in towards.fields.items())
    assert product + float(row.scalars @ towards.scalars) == pytest.approx(closure, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("problem", [Burgers(), IPM(), Boussinesq()], ids=["burgers", "ipm", "boussinesq"])
def test_block_elimination_solves_the_same_system_as_the_full_matrix(problem, pinned: bool) -> None:
    system = small_system(problem, pinned=pinned)
    linear = system.linearise(arbitrary(system))
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(*system.shape, 2, generator=generator, dtype=torch.float64)
    ends = torch.randn(*linear.ends.shape, 2, generator=generator, dtype=torch.float64)
    for i, order in enumerate(system.order.values()):
        if order == 1:
            ends[1:, i] = 0  # first-order fields have a condition at the left end only
    found, expected = (kind(system, linear).solve(rows, ends) for kind in (Blocks, Dense))
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-7, atol=1e-9 * float(values.abs().max()))
        assert torch.allclose(found[name][1:, 0], found[name][:-1, -1], atol=1e-9 * float(values.abs().max()))


@pytest.mark.parametrize(("problem", "varied"), CASES)
def test_a_bordered_solve_meets_every_row(problem, varied) -> None:
    system = small_system(problem, varied)
    linear = system.linearise(arbitrary(system))
    extra = [(linear.closure_row, torch.tensor(0.7, dtype=torch.float64))]
    if varied:
        covector = Unknowns(system.zero(linear.border.new_zeros(2)).fields, torch.tensor([1.0, 2.0]).double())
        extra.append((covector, torch.tensor(-0.4, dtype=torch.float64)))
    found = solve(system, linear, linear.residual, linear.ends, extra)
    for row, value in extra:
        product = sum(float((row.fields[n] * v).sum()) for n, v in found.fields.items())
        assert product + float(row.scalars @ found.scalars) == pytest.approx(float(value), abs=1e-8)


@given(st.floats(-6, 6), st.integers(2, 20))
def test_the_map_of_angles_is_inverted_and_its_slope_is_its_derivative(crowding: float, n: int) -> None:
    crowding = 0.0 if abs(crowding) < 1e-3 else crowding
    span = (0.0, 1.5)
    eta = chebyshev(n).clone().requires_grad_()
    beta, slope = angle(eta, span, crowding)
    assert torch.allclose(local_angle(beta, span, crowding), eta, atol=1e-12)
    (derivative,) = torch.autograd.grad(beta.sum(), eta)
    assert crowding == 0 or torch.allclose(derivative, slope, rtol=1e-10)
    assert 0 < beta.min() <= beta.max() < 1.5


def test_a_mesh_is_refined_where_the_field_is_steep_and_coarsened_where_it_is_not() -> None:
    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        s = mesh.elements.points(lobatto(9))[..., None]
        return {"f": torch.tanh(20 * (s - 2)) * torch.cos(mesh.beta((0.0, 1.5)))}

    mesh = Mesh(Elements(graded(-30, 30, 0.8, 0.1)), 8, 6)
    assert tails_along(fields(mesh)).max().item() > 1e-4
    for _ in range(8):
        mesh = adapted(mesh, fields(mesh), 1e-10, 200, 20)
    assert tails_along(fields(mesh)).max().item() < 1e-10
    assert float(tail_across(fields(mesh))) < 1e-10
    widths = mesh.elements.half
    assert widths[mesh.elements.locate(torch.tensor([2.0]).double())[0]].item() < 0.1
    assert widths[0].item() > 1
    assert adapted(mesh, fields(mesh), 1e-10, 200, 20) is mesh


def test_polynomials_survive_the_transfer_between_meshes() -> None:
    old = Mesh(Elements(torch.tensor([-1.0, 0.3, 2.0]).double()), 5, 4, 1.5)
    new = Mesh(Elements(torch.tensor([-1.0, -0.2, 0.9, 1.1, 2.0]).double()), 5, 7, 1.5)

    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        return {"f": mesh.elements.points(lobatto(6))[..., None] ** 3 * chebyshev(mesh.angles) ** 2}

    assert torch.allclose(transfer(old, new, fields(old))["f"], fields(new)["f"], atol=1e-12)


@pytest.mark.parametrize("problem", [CCF(), IPM()], ids=["ccf", "ipm"])
def test_a_profile_keeps_its_values_through_tensors_and_projection(problem) -> None:
    system = small_system(problem)
    at = arbitrary(system)
    profile = PiecewiseProfile.of(system, at)
    again = PiecewiseProfile.from_tensors(problem, profile.lam, profile.tensors())
    x = system.x[::3]
    for name, values in profile.fields(x).items():
        assert torch.equal(again.fields(x)[name], values)
    for name, values in projected(problem, profile, system.mesh).fields.items():
        assert torch.allclose(values, at.fields[name], atol=1e-12)


def test_the_harness_measures_the_residual_that_collocation_solves_for() -> None:
    """At the Gauss points both are one number: one definition of the equation, two ways to its jets."""
    problem = HouLuo()
    low, high = problem.extent(problem.bracket.guess)[0]
    system = Collocation(problem, Mesh(Elements(graded(low, high, 0.5, 0.1)), 12))
    at = arbitrary(system, size=0.0)
    inside = (system.x[:, 0] > -20) & (system.x[:, 0] < 15)
    problem.evaluation = lambda: system.x[inside][::7]
    measured = measure(problem, PiecewiseProfile.of(system, at))
    expected = system.residual(at).view(2, -1)[:, inside][:, ::7]
    assert torch.allclose(measured.scaled, expected, atol=1e-11)

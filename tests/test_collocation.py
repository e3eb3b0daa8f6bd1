"""Collocation: derivatives against differences, two linear solvers against each other, meshes, profiles."""

from __future__ import annotations

import math
from dataclasses import replace
from lzma import LZMAError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.collocation.angles import WALL, Angles
from usd_bench.collocation.compact import COARSEST, FINEST, packed, rounding_step, unpacked
from usd_bench.collocation.linear import Blocks, Dense, solve
from usd_bench.collocation.mesh import Mesh, adapted, graded, tails_across, tails_along, transfer
from usd_bench.collocation.piecewise import PiecewiseProfile, projected
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.elements import Elements, differentiation, gauss, lobatto
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
    """Five elements; in two dimensions the angles of each are others."""
    low, high = problem.extent(problem.bracket.guess)[0]
    mesh = Mesh.of(problem, torch.tensor([low, -3.0, -0.5, 1.0, 4.0, high], dtype=torch.float64), 5, 15)
    if mesh.across is not None:
        focus, width = torch.tensor([[0.5, 0.4, 0.6, 0.8, 1.0], [3.0, 0.6, 0.5, 0.4, 0.5]], dtype=torch.float64)
        mesh = replace(mesh, across=replace(mesh.across, focus=focus, width=width))
    return Collocation(problem, mesh, varied, pinned)


def arbitrary(system: Collocation, seed: int = 0, size: float = 0.1) -> Unknowns:
    """Smooth unknowns that are continuous at the breaks."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.rand(3, generator=generator, dtype=torch.float64)
    fields = {}
    for i, (name, order) in enumerate(system.order.items()):
        s = system.elements.points(lobatto(system.mesh.degree + order))[..., None]
        beta = torch.zeros(1, 1, dtype=torch.float64) if system.mesh.across is None else system.mesh.across.beta()
        wave = torch.sin(waves[0] * (i + 1) * s.clamp(-5, 5) + waves[1])
        fields[name] = size * wave * torch.cos(waves[2] * beta[:, None])
    values = [system.problem.bracket.guess, *(float(getattr(system.problem, v)) for v in system.varied)]
    return Unknowns(system.joined(fields), torch.tensor(values, dtype=torch.float64))


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
    for name in linear.seeds:
        block = system.block(name, linear)
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
def test_block_elimination_meets_every_equation_and_condition(problem, pinned: bool) -> None:
    system = small_system(problem, pinned=pinned)
    linear = system.linearise(arbitrary(system))
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(*system.shape, 2, generator=generator, dtype=torch.float64)
    ends = torch.randn(*linear.ends.shape, 2, generator=generator, dtype=torch.float64)
    for i, order in enumerate(system.order.values()):
        if order == 1:
            ends[1:, i] = 0  # first-order fields have a condition at the left end only
    found = Blocks(system, linear).solve(rows, ends)
    products = sum(torch.einsum("eqkbna,enac->qekbc", system.block(n, linear), found[n]) for n in found)
    assert torch.allclose(products, rows, atol=1e-8 * max(float(v.abs().max()) for v in found.values()))
    for column in range(2):
        fields = {name: values[..., column] for name, values in found.items()}
        size = max(float(v.abs().max()) for v in fields.values())
        assert torch.allclose(system.ends(fields), ends[..., column], atol=1e-8 * size)
        for name, values in system.joined(fields).items():
            assert torch.allclose(values, fields[name], atol=1e-12 * size)


def test_block_elimination_and_the_full_matrix_agree() -> None:
    system = small_system(Burgers())
    linear = system.linearise(arbitrary(system))
    rows, ends = linear.residual[..., None], linear.ends[..., None]
    found, expected = (kind(system, linear).solve(rows, ends) for kind in (Blocks, Dense))
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-9, atol=1e-12)


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


def angles(number: int, focus: float, width: float, wall: float = 0.05) -> Angles:
    maps = (torch.tensor([value], dtype=torch.float64) for value in (focus, width))
    return Angles((0.0, 1.5), number, wall, *maps)


@given(st.floats(0, 1), st.floats(0.01, 3), st.floats(1e-3, 0.2), st.integers(14, 40))
def test_angles_fill_their_range_and_are_located_in_it(focus: float, width: float, wall: float, number: int) -> None:
    across = angles(number, focus, width, wall)
    beta = across.beta()
    assert 0 < beta.min() <= beta.max() < 1.5
    assert bool((beta.diff() > 0).all())
    near, eta = across.locate(beta)
    assert torch.equal(near[0], torch.arange(number) < WALL)
    expected = torch.cat([gauss(WALL)[0], gauss(number - WALL)[0]])
    assert torch.allclose(eta[0], expected, atol=1e-11)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("focus", "width"), [(0.5, 3.0), (0.9, 0.2), (0.0, 0.5)])
def test_derivatives_and_values_across_are_those_of_a_smooth_function(order: int, focus: float, width: float) -> None:
    across = angles(40, focus, width)
    wave = torch.sin(2 * across.beta() + 0.3)
    value, first, second = (torch.einsum("eab,eb->ea", d, wave) for d in across.derivatives(order))
    assert torch.allclose(value, wave)
    assert torch.allclose(first, 2 * torch.cos(2 * across.beta() + 0.3), atol=1e-8)
    assert torch.allclose(second, -4 * wave, atol=1e-5)
    at = torch.linspace(0, 1.5, 50, dtype=torch.float64)[None]
    expected = torch.sin(2 * at + 0.3)
    assert torch.allclose(torch.einsum("ena,ea->en", across.rows(at, order), wave), expected, atol=1e-10)
    series = across.series(wave[:, None], order)[:, 0]
    assert torch.allclose(torch.einsum("enc,ec->en", across.polynomials(at), series), expected, atol=1e-10)


@pytest.mark.parametrize(("focus", "width"), [(0.5, 3.0), (0.9, 0.1), (0.6, 0.25)])
def test_transport_at_the_stagnation_point_has_no_growing_mode_thanks_to_the_wall_panel(focus, width) -> None:
    """Ipm's T/cos²β follows a ∂s + b ∂β = 0, which carries wall values away: modes decay, or are constant."""
    lam = 0.15

    def fastest(beta: torch.Tensor, d: torch.Tensor) -> float:
        a = 1 + lam - (2 + lam) / 2 * torch.cos(2 * beta)
        b = (2 + lam) / 2 * torch.sin(2 * beta)
        return float(torch.linalg.eigvals(-(b / a)[:, None] * d).real.max())

    across = replace(angles(40, focus, width), span=(0.0, math.pi / 2))
    assert fastest(across.beta()[0], across.derivatives(1)[1][0]) < 1e-6
    nodes = gauss(40)[0]  # one polynomial instead
    assert fastest((nodes + 1) * math.pi / 4, differentiation(nodes) * 4 / math.pi) > 3


def test_a_mesh_is_refined_where_the_field_is_steep_and_coarsened_where_it_is_not() -> None:
    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        s = mesh.elements.points(lobatto(9))[..., None]
        return {"f": torch.tanh(20 * (s - 2)) * torch.cos(mesh.across.beta())[:, None]}

    mesh = Mesh.of(IPM(), graded(-30, 30, 0.8, 0.1), 8, 24)
    assert tails_along(fields(mesh)).max().item() > 1e-4
    for _ in range(8):
        mesh = adapted(mesh, fields(mesh), {"f": 1}, 1e-10, 200, 30)
    assert tails_along(fields(mesh)).max().item() < 1e-10
    assert tails_across(mesh.across, fields(mesh)).max().item() < 1e-10
    widths = mesh.elements.half
    assert widths[mesh.elements.locate(torch.tensor([2.0]).double())[0]].item() < 0.1
    assert widths[0].item() > 1
    assert adapted(mesh, fields(mesh), {"f": 1}, 1e-10, 200, 30) is mesh


def test_angles_follow_a_front_that_moves_from_element_to_element() -> None:
    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        s = mesh.elements.points(lobatto(9))[..., None]
        return {"f": torch.tanh((mesh.across.beta()[:, None] - 0.8 - 0.05 * s) / 0.1)}

    mesh = Mesh.of(IPM(), graded(-8, 8, 0.8, 0.1), 8, 32)
    for _ in range(8):
        mesh = adapted(mesh, fields(mesh), {"f": 1}, 1e-8, 80, 80)
    assert tails_across(mesh.across, fields(mesh)).max().item() < 1e-8
    even = replace(mesh, across=replace(mesh.across, width=torch.full_like(mesh.across.width, 3.0)))
    assert tails_across(even.across, fields(even)).max().item() > 1e-7
    assert mesh.across.focus[0] < 0.45 < 0.6 < mesh.across.focus[-1]


def test_the_wall_panel_becomes_as_thin_as_the_layer_there() -> None:
    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        s = mesh.elements.points(lobatto(9))[..., None]
        return {"f": torch.exp(-mesh.across.beta()[:, None] / 0.005) + 0 * s}

    mesh = Mesh.of(IPM(), graded(-8, 8, 0.8, 0.1), 8, 32)
    for _ in range(8):
        mesh = adapted(mesh, fields(mesh), {"f": 1}, 1e-8, 80, 80)
    assert tails_across(mesh.across, fields(mesh)).max().item() < 1e-8
    assert mesh.across.wall < 0.01


def test_polynomials_survive_the_transfer_between_meshes() -> None:
    old = Mesh.of(IPM(), torch.tensor([-1.0, 0.3, 2.0]).double(), 5, 16, 0.3, 3.0)
    new = Mesh.of(IPM(), torch.tensor([-1.0, -0.2, 0.9, 1.1, 2.0]).double(), 5, 19, 0.6, 2.0)

    def fields(mesh: Mesh) -> dict[str, torch.Tensor]:
        return {"f": mesh.elements.points(lobatto(6))[..., None] ** 3 * torch.cos(mesh.across.beta())[:, None]}

    assert torch.allclose(transfer(old, new, fields(old), {"f": 1})["f"], fields(new)["f"], atol=1e-4)


@given(exponent=st.floats(-16, -2))
def test_coefficients_are_rounded_as_finely_as_a_residual_needs(exponent: float) -> None:
    step = rounding_step(10**exponent)
    assert FINEST <= step <= COARSEST
    assert math.log2(step).is_integer()
    assert step == FINEST or 3e8 * step <= 10**exponent  # amplified as on ipm 7
    tensor = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    again = unpacked(*packed({"f": tensor}, step))["f"]
    assert (again - tensor).abs().max().item() <= step  # half a step, of a largest coefficient that is rounded up


def test_packed_coefficients_are_the_same_to_rounding_and_take_few_bytes() -> None:
    generator = torch.Generator().manual_seed(0)
    decay = torch.logspace(0, -16, 30, dtype=torch.float64)
    tensor = torch.randn(8, 9, 30, generator=generator, dtype=torch.float64) * decay
    small, shapes = packed({"f": tensor, "breaks": tensor[0, 0]})
    again = unpacked(small, shapes)
    assert torch.equal(again["breaks"], tensor[0, 0])
    assert torch.allclose(again["f"], tensor, rtol=0, atol=2.0**-60 * 8)
    assert small["f"].numel() < 0.75 * tensor.numel() * 8
    small["f"] = small["f"][:-40]
    with pytest.raises((LZMAError, ValueError, EOFError)):
        unpacked(small, shapes)


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
        assert torch.allclose(values[:, 1:-1], at.fields[name][:, 1:-1], atol=1e-12)


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

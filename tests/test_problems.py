"""Problems: each equation is the named equation, and what a problem says of its answer is true."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from usd_bench.jets import differentiate, equation_namespace
from usd_bench.metrics import compute, measure
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.registry import Registry
from usd_problems.boussinesq import Boussinesq, ToyBoussinesq
from usd_problems.burgers import Burgers
from usd_problems.ccf import CCF
from usd_problems.clm import CLM
from usd_problems.gclm import GCLM
from usd_problems.hou_luo import HouLuo
from usd_problems.ipm import IPM, ToyIPM

EVERY = [
    pytest.param(lambda order=order, cls=cls: cls(order=order), id=f"{cls.__name__}-{order}")
    for cls, orders in (
        (Burgers, range(4)),
        (IPM, range(13)),
        (ToyIPM, range(1)),
        (Boussinesq, range(13)),
        (ToyBoussinesq, range(1)),
        (HouLuo, range(11)),
        (CCF, range(4)),
        (GCLM, range(1)),
        (CLM, range(1)),
    )
    for order in orders
]


def jets(problem: Problem, profile: Profile, x: Tensor):
    x = x.clone().requires_grad_()
    fields = profile.fields(x)
    return equation_namespace({name: differentiate(v, x, problem.channels[name]) for name, v in fields.items()})


def gradient(f: Tensor, y: Tensor) -> Tensor:
    return torch.autograd.grad(f.sum(), y, create_graph=True)[0]


# -- the equation is the named equation ------------------------------------------------------------------------


def test_ipm_in_log_polar_form_is_the_cartesian_equation() -> None:
    """Transport -λR + ((1+λ)y + U)·∇R = 0 with U = (-∂2ψ, ∂1ψ), and Δψ = -∂1 R, for arbitrary R and ψ."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(50, 2, generator=generator, dtype=torch.float64) * 2 + 0.1).requires_grad_()
    lam = torch.tensor(0.83, dtype=torch.float64)

    def density(y: Tensor) -> Tensor:
        return y[:, 0] ** 2 * (1 + 0.3 * y[:, 1]) * torch.exp(-0.2 * y[:, 0] ** 2)

    def stream(y: Tensor) -> Tensor:
        return y[:, 0] * y[:, 1] / (1 + 0.5 * y[:, 0] ** 2 + y[:, 1] ** 2)

    R, psi = density(y), stream(y)
    dR, dpsi = gradient(R, y), gradient(psi, y)
    U = torch.stack([-dpsi[:, 1], dpsi[:, 0]], 1)
    transport = -lam * R + (((1 + lam) * y + U) * dR).sum(1)
    laplacian = gradient(dpsi[:, 0], y)[:, 0] + gradient(dpsi[:, 1], y)[:, 1]
    biot_savart = laplacian + dR[:, 0]

    r = y.norm(dim=1)
    x = torch.stack([r.log(), torch.atan2(y[:, 1], y[:, 0])], 1).detach().requires_grad_()
    radius = x[:, 0].exp()
    cartesian = torch.stack([radius * x[:, 1].cos(), radius * x[:, 1].sin()], 1)
    problem = IPM()
    fields = {"T": density(cartesian) / radius**2, "chi": stream(cartesian) / radius**2}
    u = equation_namespace({n: differentiate(v, x, problem.channels[n]) for n, v in fields.items()})
    residual = problem.residual(u, problem.points(x), lam)
    assert torch.allclose(residual["transport"] * r**2, transport, rtol=1e-11, atol=1e-12)
    assert torch.allclose(residual["biot_savart"], biot_savart, rtol=1e-11, atol=1e-12)


def test_boussinesq_in_log_polar_form_is_the_cartesian_equation() -> None:
    """Ω + ((1+λ)y + U)·∇Ω = ∂1 Θ, (1-λ)Θ + ((1+λ)y + U)·∇Θ = 0, Δψ = Ω, for arbitrary Ω, Θ and ψ."""
    generator = torch.Generator().manual_seed(1)
    y = (torch.rand(50, 2, generator=generator, dtype=torch.float64) * 2 + 0.1).requires_grad_()
    lam = torch.tensor(1.7, dtype=torch.float64)

    def functions(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vorticity = -y[:, 0] * torch.exp(-0.3 * y[:, 0] ** 2 - 0.1 * y[:, 1])
        temperature = y[:, 0] ** 2 / (1 + y[:, 0] ** 2 + 0.5 * y[:, 1])
        return vorticity, temperature, y[:, 0] * y[:, 1] / (1 + 0.5 * y[:, 0] ** 2 + y[:, 1] ** 2)

    vorticity, temperature, psi = functions(y)
    d_vorticity, d_temperature, d_psi = (gradient(f, y) for f in (vorticity, temperature, psi))
    speed = (1 + lam) * y + torch.stack([-d_psi[:, 1], d_psi[:, 0]], 1)
    laplacian = gradient(d_psi[:, 0], y)[:, 0] + gradient(d_psi[:, 1], y)[:, 1]
    r = y.norm(dim=1)
    x = torch.stack([r.log(), torch.atan2(y[:, 1], y[:, 0])], 1).detach().requires_grad_()
    radius = x[:, 0].exp()
    values = functions(torch.stack([radius * x[:, 1].cos(), radius * x[:, 1].sin()], 1))
    problem = Boussinesq()
    fields = dict(zip(("G", "T", "chi"), (v / radius**k for v, k in zip(values, (1, 2, 2), strict=True)), strict=True))
    u = equation_namespace({n: differentiate(v, x, problem.channels[n]) for n, v in fields.items()})
    residual = problem.residual(u, problem.points(x), lam)
    expected = {
        "vorticity": (vorticity + (speed * d_vorticity).sum(1) - d_temperature[:, 0]) / r,
        "temperature": ((1 - lam) * temperature + (speed * d_temperature).sum(1)) / r**2,
        "biot_savart": laplacian - vorticity,
    }
    for name, value in expected.items():
        assert torch.allclose(residual[name], value, rtol=1e-11, atol=1e-12), name


@pytest.mark.parametrize("exponent", [1.0, 1.3])
def test_one_dimensional_models_in_log_form_are_their_equations(exponent: float) -> None:
    """gclm: Ω + ((1+λ)y + aU)Ω' - ΩW; hou_luo: Ω + vyΩ' - Θ', vyΘ' - (λ-1)Θ, for arbitrary Ω, Θ, U/y and W."""
    y = torch.linspace(0.3, 3, 30, dtype=torch.float64, requires_grad=True)
    lam, a = torch.tensor(0.8, dtype=torch.float64), 0.4
    V, W = torch.cos(y.detach()), torch.sin(y.detach())

    def envelope(y: Tensor) -> Tensor:
        return 1 / (1 + y**2) + 0.2 * torch.sin(y)

    omega, theta = y**exponent * envelope(y), y ** (exponent + 1) * envelope(2 * y)
    x = y.detach().log()[:, None].requires_grad_()
    gclm, hou_luo = GCLM(a=a).vary(exponent=exponent), HouLuo().vary(exponent=exponent)
    G = differentiate(envelope(x[:, 0].exp()), x, gclm.channels["G"])
    T = differentiate(envelope(2 * x[:, 0].exp()), x, hou_luo.channels["T"])
    u = equation_namespace({"G": G, "T": T})
    vars(u).update(V=V, W=W)
    stretching = omega + ((1 + lam) * y + a * y * V) * gradient(omega, y) - omega * W
    found = gclm.residual(u, gclm.points(x), lam)["vorticity"] * y**exponent
    assert torch.allclose(found, stretching, rtol=1e-12, atol=1e-13)
    speed = (1 + lam + V) * y
    found = hou_luo.residual(u, hou_luo.points(x), lam)
    vorticity = omega + speed * gradient(omega, y) - gradient(theta, y)
    temperature = speed * gradient(theta, y) - (lam - 1) * theta
    assert torch.allclose(found["vorticity"] * y**exponent, vorticity, rtol=1e-12, atol=1e-13)
    assert torch.allclose(found["temperature"] * y ** (exponent + 1), temperature, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("make", [CLM, lambda: GCLM(a=0.5)], ids=["clm", "gclm-1/2"])
def test_exact_solutions_have_residual_and_conditions_at_rounding(make) -> None:
    problem = make()
    measured = measure(problem, problem.reference())
    assert measured.scaled.abs().max().item() < 1e-10
    assert max(measured.conditions.values()) < 1e-11


def test_a_wrong_exponent_of_the_exact_solution_has_a_residual() -> None:
    problem = CLM()
    wrong = problem.reference()
    wrong.lam = 0.01
    assert measure(problem, wrong).scaled.abs().max().item() > 1e-3


@pytest.mark.parametrize("order", range(4))
def test_burgers_in_log_form_is_the_profile_equation(order: int) -> None:
    """-λU + ((1+λ)y + U)U' for an arbitrary U = -y + y^(m+1) W."""
    m, lam = 2 * order + 2, torch.tensor(0.37, dtype=torch.float64)
    y = torch.linspace(0.2, 2.5, 40, dtype=torch.float64, requires_grad=True)

    def profile(y: Tensor) -> Tensor:
        return 1 / (1 + y**m) + 0.1 * torch.sin(y)

    U = -y + y ** (m + 1) * profile(y)
    expected = -lam * U + ((1 + lam) * y + U) * gradient(U, y)
    problem = Burgers(order=order)
    x = y.detach().log()[:, None].requires_grad_()
    u = equation_namespace({"W": differentiate(profile(x[:, 0].exp()), x, problem.channels["W"])})
    residual = problem.residual(u, problem.points(x), lam)["transport"]
    assert torch.allclose(residual * y ** (m + 1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", range(4))
def test_burgers_reference_solves_the_implicit_formula(order: int) -> None:
    """Y = -U - U^(2n+3), the exact solution with C = 1."""
    problem = Burgers(order=order)
    y = torch.logspace(-2, 3, 60, dtype=torch.float64)
    W = problem.reference().fields(y.log()[:, None])["W"]
    m = 2 * order + 2
    U = -y + y ** (m + 1) * W if order == 0 else None
    if U is not None:
        near = y < 2
        assert torch.allclose((-U - U ** (m + 1))[near], y[near], rtol=1e-12)
    # In a form that does not cancel: v = -U/y = 1 - y^m W satisfies v (1 + (y v)^m) = 1, so W = v^(m+1).
    v = W ** (1 / (m + 1))
    assert torch.allclose(v * (1 + (y * v) ** m), torch.ones_like(v), rtol=1e-12)


@pytest.mark.parametrize("order", range(4))
def test_burgers_reference_has_residual_and_conditions_at_rounding(order: int) -> None:
    problem = Burgers(order=order)
    measured = measure(problem, problem.reference())
    assert measured.scaled.abs().max().item() < 1e-12
    assert max(measured.conditions.values()) < 1e-13


def test_burgers_has_no_smooth_profile_at_another_exponent() -> None:
    """The residual at the origin is (λm - 1) W: a wrong λ cannot hide."""
    problem = Burgers(order=1)
    x = problem.evaluation()
    u = jets(problem, problem.reference(), x)
    wrong = problem.scaled_residual(u, problem.points(x), torch.tensor(0.26, dtype=torch.float64))
    assert wrong.abs().max().item() > 0.03


# -- what trial functions are given ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
def test_features_are_bounded_and_finite_on_the_whole_domain(make) -> None:
    problem = make()
    lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
    jet = problem.feature_jet(problem.evaluation(), lam, problem.all_channels)
    assert torch.isfinite(jet).all()
    assert jet[0].abs().max().item() <= 1 + 1e-12


@pytest.mark.parametrize("make", EVERY)
def test_the_lift_builds_in_every_condition_but_the_choice_of_exponent(make) -> None:
    """Raw functions that vanish at their pins, arbitrary otherwise, give fields that satisfy the conditions."""
    problem = make()
    lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
    for condition in problem.conditions():
        if (isinstance(problem, Burgers) or problem.nonlocal_terms) and condition.kind == "admissibility":
            continue  # it is a condition on λ, or on an integral
        points = problem.points(condition.at)
        features = torch.stack(problem.features(points, lam), -1)
        raw = {}
        for name, pin in problem.pins.items():
            at_pin = problem.features(problem.points(torch.tensor([pin], dtype=torch.float64)), lam)
            raw[name] = (features - torch.stack(at_pin, -1)).sum(-1).sin()
        u = equation_namespace_of_values(problem.lift(raw, points, lam))
        assert condition.error(u, points, lam).abs().max().item() < 1e-12


def equation_namespace_of_values(values):
    from types import SimpleNamespace

    return SimpleNamespace(**values)


@pytest.mark.parametrize("make", EVERY)
def test_points_are_double_precision_repeatable_and_inside_the_domain(make) -> None:
    problem = make()
    draw = [problem.collocation(65, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draw)
    for x in (draw[0], problem.evaluation(), *(c.at for c in problem.conditions())):
        assert x.dtype == torch.float64
        assert torch.isfinite(x).all()
        assert x.shape[1] == len(problem.coords)
        if "beta" in problem.coords:
            assert x[:, 1].min() >= 0
            assert x[:, 1].max() <= math.pi / 2
    assert len(draw[0]) == 65


@pytest.mark.parametrize("make", EVERY)
def test_collocation_never_meets_the_held_out_points(make) -> None:
    problem = make()
    x = problem.collocation(200, torch.Generator().manual_seed(0))
    assert torch.cdist(x, problem.evaluation()).min().item() > 0


# -- what is known ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
def test_every_target_names_a_source_and_lies_inside_the_bracket(make) -> None:
    problem = make()
    assert problem.bracket.low < problem.bracket.guess < problem.bracket.high
    if problem.target is None:
        assert isinstance(problem, IPM | Boussinesq | CCF)
        assert problem.order > {IPM: 6, Boussinesq: 7, CCF: 2}[type(problem)]  # beyond what is published
        return
    assert problem.target.source
    assert problem.target.digits >= 4
    assert problem.bracket.low < problem.target.lam < problem.bracket.high
    assert problem.bracket.guess != problem.target.lam or problem.target.lam == 0


@pytest.mark.parametrize(
    ("cls", "order"), [(Burgers, 4), (Burgers, -1), (IPM, 13), (IPM, "x"), (CCF, 4), (Burgers, 0.5)]
)
def test_an_order_out_of_range_is_refused(cls, order) -> None:
    with pytest.raises(ValidationError):
        cls(order=order)


def test_toy_ipm_is_the_same_equation_as_ipm() -> None:
    assert ToyIPM.residual is IPM.residual
    assert ToyIPM.conditions is IPM.conditions
    assert ToyIPM.evaluation is IPM.evaluation
    assert ToyIPM.scale is IPM.scale


def test_every_metric_is_finite_where_a_reference_exists() -> None:
    problem = Burgers()
    metrics = {entry.name: entry.load() for entry in Registry.load().of("metrics")}
    values = compute(metrics, measure(problem, problem.reference()))
    assert all(math.isfinite(value) for value in values.values())
    assert values["err_max"] == 0
    assert values["lam_digits"] == problem.target.digits


def test_gclm_has_a_gaussian_envelope_where_the_rate_vanishes() -> None:
    problem = GCLM(a=0.6890665337007457)
    x = problem.points(problem.evaluation())
    at, near = (problem.scale(x, torch.tensor(lam, dtype=torch.float64))["vorticity"] for lam in (-1.0, -1 + 1e-9))
    assert bool(torch.isfinite(at).all())
    assert (at - near).abs().max() < 1e-8

"""The Hilbert operators: known transform pairs to rounding, at any point, and at the order of their panels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from usd_bench.elements import Elements, gauss
from usd_problems.hilbert import hilbert_operators, legendre_q


def panels(width: float) -> Elements:
    return Elements(torch.linspace(-40, 60, 1 + round(100 / width), dtype=torch.float64))


def density(elements: Elements, nodes: int, function) -> Tensor:
    return function(elements.points(gauss(nodes)[0]).flatten().exp())


PAIRS = {
    # Ω, HΩ, U/y
    "y/(1+y^2)": (
        lambda y: y / (1 + y**2),
        lambda y: -1 / (1 + y**2),
        lambda y: -torch.atan(y) / y,
    ),
    "2y/(1+y^2)^2": (
        lambda y: 2 * y / (1 + y**2) ** 2,
        lambda y: (y**2 - 1) / (1 + y**2) ** 2,
        lambda y: -1 / (1 + y**2),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("where", ["gauss points", "breaks and between"])
def test_known_pairs_hold_to_rounding(pair: str, where: str) -> None:
    omega, transform, mean_velocity = PAIRS[pair]
    elements, nodes = panels(0.5), 16
    at = elements.points(gauss(nodes)[0]).flatten()
    if where != "gauss points":
        at = torch.cat([elements.breaks[1:-1], torch.linspace(-30, 30, 301, dtype=torch.float64)])
    found = {
        name: matrix @ density(elements, nodes, omega)
        for name, matrix in hilbert_operators(elements, nodes, at).items()
    }
    y = at.exp()
    assert (found["W"] - transform(y)).abs().max().item() < 1e-12
    assert (found["V"] - mean_velocity(y)).abs().max().item() < 1e-13


def test_the_error_falls_at_the_order_of_the_panels() -> None:
    omega, transform, _ = PAIRS["y/(1+y^2)"]
    errors = []
    for width in (2.0, 1.0):
        elements = panels(width)
        at = elements.points(gauss(6)[0]).flatten()
        found = hilbert_operators(elements, 6, at)["W"] @ density(elements, 6, omega)
        errors.append((found - transform(at.exp())).abs().max().item())
    assert math.log2(errors[0] / errors[1]) > 5


def test_terms_on_uneven_panels_agree_with_even_ones() -> None:
    omega, _, _ = PAIRS["2y/(1+y^2)^2"]
    uneven = Elements(
        torch.cat([torch.linspace(-40, -1, 60), torch.linspace(-0.9, 0.9, 40), torch.linspace(1, 60, 70)]).double()
    )
    at = torch.linspace(-5, 5, 41, dtype=torch.float64)
    found = [hilbert_operators(e, 16, at)["V"] @ density(e, 16, omega) for e in (panels(1.0), uneven)]
    assert torch.allclose(*found, atol=1e-13)


@pytest.mark.parametrize("x", [-2.5, -1.3, -1.0001, -0.4, 0.7, 0.999, 1.001, 1.1, 1.6, 2.9])
def test_legendre_functions_satisfy_closed_forms_and_recurrence(x: float) -> None:
    point = torch.tensor([x], dtype=torch.float64)
    q0 = 0.5 * ((1 + point) / (1 - point)).abs().log()
    q = legendre_q(point, q0, 12)[0]
    assert q[1].item() == pytest.approx(x * q0.item() - 1, rel=1e-9, abs=1e-13)
    for k in range(1, 12):
        left, right = (k + 1) * q[k + 1], (2 * k + 1) * x * q[k] - k * q[k - 1]
        assert left.item() == pytest.approx(right.item(), rel=1e-11, abs=1e-14)
    if abs(x) > 1:  # the decaying solution: Q_k falls like (|x| + sqrt(x^2-1))^-k
        assert abs(q[12].item()) < abs(q[0].item()) * (abs(x) + math.sqrt(x * x - 1)) ** -12

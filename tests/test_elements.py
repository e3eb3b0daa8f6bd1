"""Elements: interpolation, differentiation and coefficients are exact for polynomials."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.elements import (
    Elements,
    differentiation,
    gauss,
    interpolation,
    lobatto,
    polynomials,
    to_coefficients,
)


@given(st.integers(3, 30), st.booleans())
def test_interpolation_and_differentiation_are_exact_for_polynomials(n: int, ends: bool) -> None:
    nodes = lobatto(n) if ends else gauss(n)[0]
    at = torch.linspace(-1, 1, 17, dtype=torch.float64)
    coefficients = torch.linspace(1, -1, n, dtype=torch.float64)
    values = polynomials(nodes, n) @ coefficients
    assert torch.allclose(interpolation(nodes, at) @ values, polynomials(at, n) @ coefficients, atol=1e-12)
    assert torch.allclose(to_coefficients(n, ends) @ values, coefficients, atol=1e-12)
    x = nodes.clone().requires_grad_()
    (slope,) = torch.autograd.grad((polynomials(x, n) @ coefficients).sum(), x)
    assert torch.allclose(differentiation(nodes) @ values, slope, atol=1e-10 * n**2)


def test_interpolation_at_a_node_is_its_value() -> None:
    nodes = lobatto(9)
    assert torch.equal(interpolation(nodes, nodes), torch.eye(9, dtype=torch.float64))


def test_gauss_integrates_polynomials_of_twice_its_degree() -> None:
    nodes, weights = gauss(6)
    assert float((weights * nodes**10).sum()) == pytest.approx(2 / 11, rel=1e-14)


def test_points_are_located_in_their_element_and_outside_at_the_ends() -> None:
    elements = Elements(torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64))
    index, local = elements.locate(torch.tensor([-5.0, 0.25, 1.0, 2.0, 9.0], dtype=torch.float64))
    assert index.tolist() == [0, 0, 1, 1, 1]
    assert local.tolist() == [-1.0, -0.5, -1.0, 0.0, 1.0]


def test_splitting_halves_the_chosen_elements() -> None:
    elements = Elements(torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)).split(torch.tensor([False, True]))
    assert elements.breaks.tolist() == [0.0, 1.0, 2.0, 3.0]

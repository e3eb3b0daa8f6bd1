"""Chebyshev series in the features: the basis against numpy, derivatives against autograd, convergence by degree."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch

from tests.test_network import points_and_terms
from usd_bench.jets import Channels, Jet, differentiate
from usd_bench.metrics import RES_MAX, measure
from usd_bench.registry import Registry
from usd_problems.burgers import Burgers
from usd_solvers.chebyshev_gn import ChebyshevGN, ChebyshevGNConfig
from usd_solvers.pinn.chebyshev import ChebyshevAnsatz, ChebyshevSeries, degree_for

F64 = torch.float64
CHANNELS = Channels.of(("s", "beta"), ("ss", "betabeta"))


def series(features: int = 3, degree: int = 4) -> tuple[ChebyshevSeries, torch.Tensor]:
    network = ChebyshevSeries(features, (degree,))
    return network, torch.randn(network.size, generator=torch.Generator().manual_seed(1), dtype=F64)


@pytest.mark.parametrize(("features", "degree"), [(1, 7), (2, 5), (4, 3)])
def test_the_terms_are_products_of_chebyshev_polynomials_up_to_the_total_degree(features: int, degree: int) -> None:
    network, theta = series(features, degree)
    assert network.size == comb(features + degree, features)
    z = torch.rand(9, features, generator=torch.Generator().manual_seed(2), dtype=F64) * 2 - 1
    found, _ = network.forward(theta, z[None], Channels.of(("s",), ()))
    coefficients = np.zeros((degree + 1,) * features)
    for power, value in zip(network._powers.tolist(), theta[:-1].tolist(), strict=True):
        coefficients[tuple(power)] = value
    coefficients[(0,) * features] = theta[-1].item()
    expected = coefficients
    for i in range(features):  # one axis after the other, point by point
        expected = np.polynomial.chebyshev.chebval(z[:, i].numpy(), expected, tensor=i == 0)
    assert np.allclose(found[0].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_its_jets_are_the_derivatives() -> None:
    network, theta = series()
    x = torch.rand(6, 2, generator=torch.Generator().manual_seed(3), dtype=F64).requires_grad_()

    def features(s, beta):
        return torch.stack([s.sin(), (s * beta).cos(), beta.tanh()], -1)

    value = network.forward(theta, features(x[:, 0], x[:, 1])[None], Channels.of(("s", "beta"), ()))[0][0]
    expected = differentiate(value, x, CHANNELS).data
    c = Jet.coordinates(x.detach(), CHANNELS)
    jets = torch.stack([c.s.sin().data, (c.s * c.beta).cos().data, c.beta.tanh().data], -1)
    assert torch.allclose(network.forward(theta, jets, CHANNELS)[0], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["burgers", "hou_luo", "ipm"])
def test_the_jacobian_equals_autograd_to_rounding(name: str) -> None:
    problem = Registry.load().get("problems", name).load()()
    generator = torch.Generator().manual_seed(5)
    x, terms = points_and_terms(problem, 12, generator)
    ansatz = ChebyshevAnsatz(problem, (3,), terms=terms)
    theta = ansatz.initial(generator, "cpu")
    assert theta[:-1].abs().max().item() == 0
    theta += 0.1 * torch.randn(theta.shape, generator=generator, dtype=F64)
    _, jacobian = ansatz.linearise(theta, x)
    expected = torch.autograd.functional.jacobian(lambda t: ansatz.residual(t, x).flatten(), theta)
    assert (jacobian - expected).abs().max().item() <= 1e-12 * expected.abs().max().item()


def test_on_burgers_the_residual_falls_geometrically_with_the_degree() -> None:
    """The exact profile is analytic in the features."""
    found = []
    for degree in (4, 8, 16):
        problem, solver = Burgers(), ChebyshevGN(ChebyshevGNConfig(degree=degree, points=400))
        state = solver.init(problem, 0, "cpu")
        for _ in range(12):
            state = solver.step(problem, state)
        found.append(RES_MAX.compute(measure(problem, solver.profile(problem, state))))
    assert found[1] < found[0] / 30
    assert found[2] < found[1] / 1000


@pytest.mark.parametrize(("features", "coefficients"), [(2, 500), (4, 500), (4, 6), (9, 5)])
def test_the_degree_is_the_highest_with_so_many_coefficients(features: int, coefficients: int) -> None:
    degree = degree_for(features, coefficients)
    assert degree == 1 or comb(features + degree, features) <= coefficients
    assert comb(features + degree + 1, features) > coefficients

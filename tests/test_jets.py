"""Jets: Taylor arithmetic equals automatic differentiation, for every operation and every channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.jets import Channels, Jet, differentiate

COORDS = ("s", "beta")
ALL = Channels.of(COORDS, ("ss", "sbeta", "betabeta"))

FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda s, b: s + 2 * b - 1,
    "reversed difference": lambda s, b: 1 - s * b,
    "product": lambda s, b: s * b * (s - b),
    "exp": lambda s, b: (s * b).exp(),
    "expm1": lambda s, b: (s - b).expm1() * b,
    "log": lambda s, b: (2 + s * s + b).log(),
    "log1p": lambda s, b: (s * s + b * b).log1p(),
    "sin cos": lambda s, b: (s * b).sin() * (s + b).cos(),
    "tanh": lambda s, b: (s + 3 * b * s).tanh(),
    "sigmoid": lambda s, b: (-2 * s + b).sigmoid(),
    "quotient": lambda s, b: (1 + b) / (2 + s * s) / 3,
    "reversed quotient": lambda s, b: 2 / (1 + s * s + b),
    "power": lambda s, b: (3 + s + b) ** -1.5 + s**3,
    "square root": lambda s, b: (3 + s * b).sqrt(),
    "nested": lambda s, b: ((1 + (2 * s).exp()).log() * -0.3).exp() * b.cos(),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(points=st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 1.5)), min_size=1, max_size=5))
def test_every_channel_equals_autograd_to_rounding(name: str, points: list[tuple[float, float]]) -> None:
    formula = FORMULAS[name]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    expected = differentiate(formula(x[:, 0], x[:, 1]), x, ALL)
    coordinates = Jet.coordinates(x.detach(), ALL)
    jet = formula(coordinates.s, coordinates.beta)
    scale = expected.data.abs().max().item() + 1
    assert (jet.data - expected.data).abs().max().item() <= 1e-12 * scale


def test_a_scalar_tensor_on_the_left_scales_every_channel() -> None:
    x = torch.rand(4, 2, dtype=torch.float64)
    s = Jet.coordinates(x, ALL).s
    factor = torch.tensor(3.0, dtype=torch.float64)
    assert torch.equal((factor * s).data, (s * factor).data)
    assert torch.equal((factor + s).data, (s + factor).data)
    assert torch.equal((factor - s).data, (-s + factor).data)
    assert torch.equal((factor / (1 + s)).data, ((1 + s).reciprocal() * factor).data)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_whole_powers_are_smooth_at_zero(power: int) -> None:
    s = Jet.coordinates(torch.zeros(1, 2, dtype=torch.float64), ALL).s
    expected = {0: s * 0 + 1, 1: s, 2: s * s, 3: s * s * s}[power]
    assert torch.equal((s**power).data, expected.data)


def test_a_product_of_jets_keeps_the_channels_both_know() -> None:
    x = torch.rand(4, 2, dtype=torch.float64)
    few = Channels.of(COORDS, ("s", "beta"))
    product = Jet.coordinates(x, ALL).s * Jet.coordinates(x, few).beta
    assert product.channels == few


def test_a_product_of_jets_with_different_channels_keeps_those_they_share() -> None:
    x = torch.rand(4, 2, dtype=torch.float64)
    one, two = Channels.of(COORDS, ("ss",)), Channels.of(COORDS, ("s", "beta"))
    product = Jet.coordinates(x, one).s * Jet.coordinates(x, two).s
    assert product.channels.names == ("", "s")
    assert torch.equal(product.data[1], 2 * x[:, 0])


def test_a_coordinate_may_begin_with_the_name_of_another() -> None:
    assert Channels.of(("x", "xi"), ("xi", "xx")).indices == ((), (0,), (1,), (0, 0))


def test_channels_contain_the_first_derivatives_that_second_ones_need() -> None:
    assert Channels.of(COORDS, ("betabeta",)).names == ("", "beta", "betabeta")
    assert ALL.names == ("", "s", "beta", "ss", "sbeta", "betabeta")


@pytest.mark.parametrize(
    ("name", "words"), [("y", "not made of"), ("sss", "order 3"), ("sx", "not made of"), ("betas", "order of")]
)
def test_an_impossible_derivative_is_refused_with_its_name(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Channels.of(COORDS, (name,))


def test_a_function_that_ignores_the_point_has_derivative_zero() -> None:
    x = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    jet = differentiate(torch.ones(3, dtype=torch.float64), x, ALL)
    assert torch.equal(jet.data[1:], torch.zeros(5, 3, dtype=torch.float64))

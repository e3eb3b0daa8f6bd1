"""Jets: a function and its derivatives as one object, carried through formulas by Taylor's rules.

A jet holds the channels ``f, f_s, f_ss, ...`` of a function of the problem's coordinates, each evaluated
at the same points. Arithmetic on jets applies the product and chain rules exactly, so a formula written
once for values (``(2 * s).exp()``) gives every derivative an equation needs, without nested autodiff.
Source: Griewank & Walther, Evaluating Derivatives (2008), chapter 13 (Taylor arithmetic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Channels:
    """Which derivatives a jet carries: the value, first and second derivatives, in that order.

    ``names`` are the suffixes used in equations: ``""`` (the value), ``"s"``, ``"betabeta"``.
    A second derivative always comes with the first derivatives that its chain rule needs.
    """

    coords: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, coords: tuple[str, ...], wanted: Iterable[str]) -> Channels:
        """The smallest closed set of channels that contains the ``wanted`` derivatives.

        Raises ``ValueError`` for a derivative that is not made of the coordinates, or is beyond second order.
        """
        found: set[tuple[int, ...]] = {()}
        for name in wanted:
            index = _parse(name, coords)
            if name != "".join(coords[axis] for axis in index):
                raise ValueError(f"derivative {name!r} must be written in the order of the coordinates")
            found.add(index)
            found.update((axis,) for axis in index)
        ordered = sorted(found, key=lambda index: (len(index), index))
        return cls(coords, tuple("".join(coords[axis] for axis in index) for index in ordered))

    @cached_property
    def indices(self) -> tuple[tuple[int, ...], ...]:
        """For each channel, the axes it differentiates: ``()``, ``(0,)``, ``(0, 0)``, ``(0, 1)``."""
        return tuple(_parse(name, self.coords) for name in self.names)

    @cached_property
    def first(self) -> tuple[int, ...]:
        """Positions of the first derivatives."""
        return tuple(c for c, index in enumerate(self.indices) if len(index) == 1)

    @cached_property
    def second(self) -> tuple[tuple[int, int, int], ...]:
        """For each second derivative: its position and the positions of its two first derivatives."""
        where = {index: c for c, index in enumerate(self.indices)}
        return tuple(
            (c, where[(index[0],)], where[(index[1],)]) for c, index in enumerate(self.indices) if len(index) == 2
        )

    def __len__(self) -> int:
        return len(self.names)

    def positions(self, other: Channels) -> list[int]:
        """Where the channels of ``other`` (a subset) stand among these."""
        return [self.names.index(name) for name in other.names]


def _parse(name: str, coords: tuple[str, ...]) -> tuple[int, ...]:
    """``"betabeta"`` -> ``(1, 1)`` for coordinates ``("s", "beta")``."""
    axes: list[int] = []
    rest = name
    while rest:
        for axis, coord in sorted(enumerate(coords), key=lambda item: -len(item[1])):  # "xi" before "x"
            if rest.startswith(coord):
                axes.append(axis)
                rest = rest[len(coord) :]
                break
        else:
            raise ValueError(f"derivative {name!r} is not made of the coordinates {', '.join(coords)}")
    if len(axes) > 2:
        raise ValueError(f"derivative {name!r} is of order {len(axes)}; jets carry derivatives up to order 2")
    return tuple(sorted(axes))


class Jet:
    """The channels of one function at N points: ``data[c, ...]`` is the derivative ``channels.names[c]``."""

    __slots__ = ("channels", "data")

    def __init__(self, data: Tensor, channels: Channels) -> None:
        self.data = data
        self.channels = channels

    @classmethod
    def coordinates(cls, x: Tensor, channels: Channels) -> SimpleNamespace:
        """The coordinates themselves as jets, by name. ``x``: (N, d)."""
        zero, one = torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])
        jets = {}
        for axis, coord in enumerate(channels.coords):
            rows = [x[:, axis] if not index else one if index == (axis,) else zero for index in channels.indices]
            jets[coord] = cls(torch.stack(rows), channels)
        return SimpleNamespace(**jets)

    @property
    def value(self) -> Tensor:
        """The undifferentiated channel."""
        return self.data[0]

    def restrict(self, channels: Channels) -> Jet:
        """The same function with fewer channels."""
        if channels == self.channels:
            return self
        return Jet(take(self.data, self.channels, channels), channels)

    def named(self, field: str) -> dict[str, Tensor]:
        """``{"T": ..., "T_s": ...}``: the channels under the names that equations use."""
        return {f"{field}_{name}" if name else field: self.data[c] for c, name in enumerate(self.channels.names)}

    def _common(self, other: Jet) -> tuple[Jet, Jet]:
        """Both with the channels that both have: a formula is known as far as its parts are."""
        if self.channels == other.channels:
            return self, other
        shared = tuple(name for name in self.channels.names if name in other.channels.names)
        channels = Channels(self.channels.coords, shared)
        return self.restrict(channels), other.restrict(channels)

    # -- arithmetic ---------------------------------------------------------------------------------------

    def __add__(self, other: Jet | Tensor | float) -> Jet:
        if isinstance(other, Jet):
            f, g = self._common(other)
            return Jet(f.data + g.data, f.channels)
        return Jet(torch.cat([(self.data[0] + other)[None], self.data[1:]]), self.channels)

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return Jet(-self.data, self.channels)

    def __sub__(self, other: Jet | Tensor | float) -> Jet:
        return self + (-other)

    def __rsub__(self, other: Tensor | float) -> Jet:
        return (-self) + other

    def __mul__(self, other: Jet | Tensor | float) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.data * other, self.channels)
        left, right = self._common(other)
        f, g, channels = left.data, right.data, left.channels
        rows = [f[0] * g[0], *(f[i] * g[0] + f[0] * g[i] for i in channels.first)]
        rows += [f[c] * g[0] + f[i] * g[j] + f[j] * g[i] + f[0] * g[c] for c, i, j in channels.second]
        return Jet(torch.stack(rows), channels)

    __rmul__ = __mul__

    def reciprocal(self) -> Jet:
        inverse = 1 / self.value
        return self.compose(inverse, -inverse * inverse, 2 * inverse * inverse * inverse)

    def __truediv__(self, other: Jet | Tensor | float) -> Jet:
        return self * (other.reciprocal() if isinstance(other, Jet) else 1 / other)

    def __rtruediv__(self, other: Tensor | float) -> Jet:
        return self.reciprocal() * other

    def __pow__(self, power: float) -> Jet:
        u, twice = self.value, power * (power - 1)
        first = power * u ** (power - 1) if power else torch.zeros_like(u)
        # At u = 0 a factor of zero does not help against a power that is negative.
        return self.compose(u**power, first, twice * u ** (power - 2) if twice else torch.zeros_like(u))

    def sqrt(self) -> Jet:
        root = self.value.sqrt()
        return self.compose(root, 0.5 / root, -0.25 / (root * self.value))

    def compose(self, f: Tensor, f1: Tensor, f2: Tensor) -> Jet:
        """``f(self)`` from the value and the first two derivatives of the scalar function f at ``self.value``."""
        u = self.data
        rows = [f, *(f1 * u[i] for i in self.channels.first)]
        rows += [f1 * u[c] + f2 * u[i] * u[j] for c, i, j in self.channels.second]
        return Jet(torch.stack(rows), self.channels)

    def exp(self) -> Jet:
        e = self.value.exp()
        return self.compose(e, e, e)

    def log(self) -> Jet:
        inverse = 1 / self.value
        return self.compose(self.value.log(), inverse, -inverse * inverse)

    def expm1(self) -> Jet:
        e = self.value.exp()
        return self.compose(self.value.expm1(), e, e)

    def log1p(self) -> Jet:
        inverse = 1 / (1 + self.value)
        return self.compose(self.value.log1p(), inverse, -inverse * inverse)

    def sin(self) -> Jet:
        s, c = self.value.sin(), self.value.cos()
        return self.compose(s, c, -s)

    def cos(self) -> Jet:
        s, c = self.value.sin(), self.value.cos()
        return self.compose(c, -s, -c)

    def tanh(self) -> Jet:
        t = self.value.tanh()
        slope = 1 - t * t
        return self.compose(t, slope, -2 * t * slope)

    def sigmoid(self) -> Jet:
        p = self.value.sigmoid()
        slope = p * (1 - p)
        return self.compose(p, slope, slope * (1 - 2 * p))

    # ``torch.exp(jet)`` and friends would silently drop the derivatives, so the functions are methods only,
    # with the names that tensors have too: one formula serves values and jets.


def take(data: Tensor, channels: Channels, wanted: Channels) -> Tensor:
    """Of jet data (channels, ...), the channels that are wanted; they must be among them."""
    if wanted == channels:
        return data
    # Stacked slices: indexing with a list would copy the list to the device and wait for it.
    return torch.stack([data[c] for c in channels.positions(wanted)])


def equation_namespace(jets: Mapping[str, Jet]) -> SimpleNamespace:
    """``u`` as equations read it: ``u.T``, ``u.T_s``, ``u.chi_betabeta``, plain tensors of shape (N,)."""
    names: dict[str, Tensor] = {}
    for field, jet in jets.items():
        names.update(jet.named(field))
    return SimpleNamespace(**names)


def differentiate(value: Tensor, x: Tensor, channels: Channels) -> Jet:
    """The jet of an autograd-differentiable function: ``value`` (N,) computed row by row from ``x`` (N, d).

    This is how the harness differentiates whatever a solver returns: independent of the solver's own jets.
    A value that does not depend on ``x`` has derivative zero.
    """

    def gradient(f: Tensor) -> Tensor:
        if not f.requires_grad:
            return torch.zeros_like(x)
        (g,) = torch.autograd.grad(f.sum(), x, create_graph=True, allow_unused=True)
        return torch.zeros_like(x) if g is None else g

    slopes = gradient(value)
    curvature = {
        axis: gradient(slopes[:, axis]) for axis in {index[0] for index in channels.indices if len(index) == 2}
    }
    rows = []
    for index in channels.indices:
        if len(index) == 0:
            rows.append(value)
        elif len(index) == 1:
            rows.append(slopes[:, index[0]])
        else:
            rows.append(curvature[index[0]][:, index[1]])
    return Jet(torch.stack(rows), channels)


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The derivative of a tensor function of a scalar (0-d), by two backward passes: d/dv of (v · f)'.

    Forward-mode would do it in one, but its first use imports a second's worth of torch.
    """
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        value = function(at)
        if not value.requires_grad:
            return torch.zeros_like(value)
        v = torch.zeros_like(value, requires_grad=True)
        (product,) = torch.autograd.grad(value, at, v, create_graph=True, materialize_grads=True)
        if not product.requires_grad:
            return torch.zeros_like(value)
        (result,) = torch.autograd.grad(product, v)
    return result

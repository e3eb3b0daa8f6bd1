"""Taylor polynomials with balls for coefficients: jets of any order, and what encloses a function on a box.

A polynomial in d increments, cut off above a total degree, whose coefficients are real balls: what is computed from
points holds the exact coefficient, what is computed from a box those of every point in it. No torch.
Source: Johansson, Arb, IEEE Trans. Comput. 66 (2017) 1281 (balls); Griewank & Walther, Evaluating Derivatives (2008),
chapter 13 (Taylor arithmetic); Tucker, Validated Numerics (2011), chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import factorial, prod
from typing import Any

from flint import arb


@dataclass(frozen=True)
class Monomials:
    """The monomials of ``axes`` increments up to a total ``degree``, by degree, and how they multiply."""

    axes: int
    degree: int
    powers: tuple[tuple[int, ...], ...]
    products: tuple[tuple[int, int, int], ...]
    """(i, j, k): monomial i times monomial j is monomial k; those above the degree are cut off."""

    @classmethod
    @lru_cache
    def of(cls, axes: int, degree: int) -> Monomials:
        powers = sorted((p for p in product(range(degree + 1), repeat=axes) if sum(p) <= degree), key=_graded)
        where = {p: k for k, p in enumerate(powers)}
        pairs = (
            (i, j, tuple(map(sum, zip(p, q, strict=True)))) for i, p in enumerate(powers) for j, q in enumerate(powers)
        )
        return cls(axes, degree, tuple(powers), tuple((i, j, where[r]) for i, j, r in pairs if r in where))


def _graded(powers: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    return sum(powers), powers


class Taylor:
    """A truncated polynomial: ``coefficients[k]`` belongs to ``monomials.powers[k]``."""

    __slots__ = ("coefficients", "monomials")

    def __init__(self, coefficients: Sequence[Any], monomials: Monomials) -> None:
        self.coefficients = coefficients
        self.monomials = monomials

    @classmethod
    def coordinates(cls, at: Sequence[Any], degree: int) -> list[Taylor]:
        """The coordinates around a point or a box ``at``, as polynomials."""
        monomials = Monomials.of(len(at), degree)
        rows = []
        for axis, value in enumerate(at):
            unit = tuple(int(a == axis) for a in range(len(at)))
            rows.append(cls([value, *(arb(int(p == unit)) for p in monomials.powers[1:])], monomials))
        return rows

    @property
    def value(self) -> Any:
        """The constant coefficient."""
        return self.coefficients[0]

    def derivative(self, index: Sequence[int], degree: int) -> Taylor:
        """The derivative by the axes in ``index`` up to ``degree``, at most this one's degree less their number."""
        monomials = Monomials.of(self.monomials.axes, degree)
        shift = [list(index).count(axis) for axis in range(monomials.axes)]
        where = {p: k for k, p in enumerate(self.monomials.powers)}
        found = []
        for powers in monomials.powers:
            higher = tuple(p + s for p, s in zip(powers, shift, strict=True))
            factor = prod(factorial(h) // factorial(p) for h, p in zip(higher, powers, strict=True))
            found.append(self.coefficients[where[higher]] * factor)
        return Taylor(found, monomials)

    def __add__(self, other: Any) -> Taylor:
        if isinstance(other, Taylor):
            return Taylor([a + b for a, b in zip(self.coefficients, other.coefficients, strict=True)], self.monomials)
        return Taylor([self.coefficients[0] + other, *self.coefficients[1:]], self.monomials)

    __radd__ = __add__

    def __neg__(self) -> Taylor:
        return Taylor([-a for a in self.coefficients], self.monomials)

    def __sub__(self, other: Any) -> Taylor:
        if isinstance(other, Taylor):
            return Taylor([a - b for a, b in zip(self.coefficients, other.coefficients, strict=True)], self.monomials)
        return Taylor([self.coefficients[0] - other, *self.coefficients[1:]], self.monomials)

    def __rsub__(self, other: Any) -> Taylor:
        return Taylor([other - self.coefficients[0], *(-a for a in self.coefficients[1:])], self.monomials)

    def __mul__(self, other: Any) -> Taylor:
        if not isinstance(other, Taylor):
            return Taylor([a * other for a in self.coefficients], self.monomials)
        found: list[Any] = [0] * len(self.coefficients)
        a, b = self.coefficients, other.coefficients
        for i, j, k in self.monomials.products:
            found[k] += a[i] * b[j]
        return Taylor(found, self.monomials)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Taylor:
        if isinstance(other, Taylor):
            return self * other._raised(-1)
        return Taylor([a / other for a in self.coefficients], self.monomials)

    def __rtruediv__(self, other: Any) -> Taylor:
        return Taylor([other * a for a in self._raised(-1).coefficients], self.monomials)

    def __pow__(self, power: Any) -> Taylor:
        if not isinstance(power, int) or power < 0:
            return self._raised(power)
        result: Taylor = Taylor([arb(1), *([arb(0)] * (len(self.coefficients) - 1))], self.monomials)
        square = self
        while power:  # by its binary digits
            if power & 1:
                result = result * square
            power >>= 1
            if power:
                square = square * square
        return result

    def _raised(self, power: Any) -> Taylor:
        """To a power that is an int or a ball, where the value is not 0."""
        outer, factor = [], arb(1)
        for k in range(self.monomials.degree + 1):
            outer.append(factor * self.value ** (power - k))
            factor = factor * (power - k) / (k + 1)
        return self._composed(outer)

    def _composed(self, outer: Sequence[Any]) -> Taylor:
        """f(self) from the Taylor coefficients of the scalar function f at ``self.value``, by Horner's rule."""
        increment = Taylor([arb(0), *self.coefficients[1:]], self.monomials)
        result = Taylor([outer[-1], *([arb(0)] * (len(self.coefficients) - 1))], self.monomials)
        for coefficient in reversed(outer[:-1]):
            result = result * increment + coefficient
        return result

    def exp(self) -> Taylor:
        return self._exponential(self.value.exp())

    def expm1(self) -> Taylor:
        return self._exponential(self.value.expm1())

    def _exponential(self, value: Any) -> Taylor:
        e = self.value.exp()
        return self._composed([value, *(e / factorial(k) for k in range(1, self.monomials.degree + 1))])

    def log(self) -> Taylor:
        return self._logarithm(self.value.log(), 1 / self.value)

    def log1p(self) -> Taylor:
        return self._logarithm(self.value.log1p(), 1 / (1 + self.value))

    def _logarithm(self, value: Any, inverse: Any) -> Taylor:
        rows, power = [value], -arb(1)
        for k in range(1, self.monomials.degree + 1):
            power = -power * inverse
            rows.append(power / k)
        return self._composed(rows)

    def sqrt(self) -> Taylor:
        return self._raised(arb(0.5))

    def sin(self) -> Taylor:
        s, c = self.value.sin(), self.value.cos()
        return self._composed([(s, c, -s, -c)[k % 4] / factorial(k) for k in range(self.monomials.degree + 1)])

    def cos(self) -> Taylor:
        s, c = self.value.sin(), self.value.cos()
        return self._composed([(c, -s, -c, s)[k % 4] / factorial(k) for k in range(self.monomials.degree + 1)])

    def tanh(self) -> Taylor:
        rows = [self.value.tanh()]
        for k in range(self.monomials.degree):  # t' = 1 - t^2
            square = sum((rows[i] * rows[k - i] for i in range(k + 1)), arb(0))
            rows.append(((1 if k == 0 else 0) - square) / (k + 1))
        return self._composed(rows)

    def asinh(self) -> Taylor:
        (near,) = Taylor.coordinates([self.value], self.monomials.degree)
        slope = (near * near + 1)._raised(arb(-0.5))
        return self._composed([self.value.asinh(), *(c / (k + 1) for k, c in enumerate(slope.coefficients[:-1]))])

"""Enclosures of a profile's residual at points and over boxes, from recorded formulas. No torch.

Over a box around c with half-widths h, a residual r is at most the sum of |r_α(c)| h^α below a degree K, from Taylor
coefficients at the centre, and of |r_α(box)| h^α at K, from those of all points of the box: Lagrange's remainder.
Source: Tucker, Validated Numerics (2011), chapter 5; Neumaier, Reliable Computing 9 (2003) 43.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from math import prod
from typing import Any

import numpy as np
from flint import arb, ctx

from usd_bench.certificate.evaluate import Array, Formula, Undecided
from usd_bench.certificate.taylor import Monomials, Taylor

Jets = dict[str, dict[str, list[int]]]
"""For each field, its jets by name, each with the axes it differentiates: ``{"T": {"T": [], "T_s": [0]}}``."""


HIGHEST = 30
"""Of degrees on boxes, and of derivatives in an equation."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Ball arithmetic with so many bits; centres are rounded to them, and radii hold the rounding."""
    before, ctx.prec = ctx.prec, bits
    try:
        yield
    finally:
        ctx.prec = before


def upper(ball: Any) -> float:
    """A floating-point number at least as large as every |value| in the ball; infinite where there is no bound."""
    if not ball.is_finite():
        return math.inf
    bound = ball.abs_upper()
    value = float(bound)
    while arb(value) < bound:
        value = math.nextafter(value, math.inf)
    return value


def exact_point(at: Sequence[str]) -> list[Any]:
    """A point from the hexadecimal digits of its coordinates."""
    return [arb(float.fromhex(value)) for value in at]


@dataclass(frozen=True)
class Formulas:
    """What a certificate says of profile and problem, as data."""

    fields: Mapping[str, Any]
    residual: Mapping[str, Any]
    jets: Jets
    density: Mapping[str, Any] | None = None
    terms: Mapping[str, Any] | None = None
    """``{"of": "module:Class", "low", "high"}``: what encloses the nonlocal terms, and where the density ends."""


class Enclosure:
    """A profile and its equation in ball arithmetic, at the precision that holds when it is made."""

    def __init__(self, formulas: Formulas, tensors: Mapping[str, Array]) -> None:
        """``tensors``: those of the profile's file. Raises ``ValueError`` for formulas that are none."""
        self._fields = Formula(formulas.fields, tensors)
        self._residual = Formula(formulas.residual, tensors)
        self._jets = formulas.jets
        self._order = max(len(axes) for jets in formulas.jets.values() for axes in jets.values())
        if self._order > HIGHEST:
            raise ValueError(f"a derivative of order {self._order} is higher than {HIGHEST}")
        self._terms = None
        if formulas.terms is not None and formulas.density is not None:
            module, _, name = formulas.terms["of"].partition(":")
            if module.partition(".")[0] not in plugin_packages():
                raise ValueError(f"{module} belongs to no installed plugin of usd-bench")
            ends = (arb(float.fromhex(formulas.terms[end])) for end in ("low", "high"))
            density = Density(self._fields, Formula(formulas.density, tensors))
            kind = getattr(importlib.import_module(module), name)
            if not (isinstance(kind, type) and issubclass(kind, Terms)):
                raise ValueError(f"{formulas.terms['of']} does not enclose nonlocal terms")
            self._terms = kind(density, *ends)

    def inputs(self, at: Sequence[Any], degree: int) -> dict[str, Array]:
        """Coordinates and jets at a point or over a box, as Taylor polynomials of that degree, by name."""
        series = self._fields(x=_row(Taylor.coordinates(at, degree + self._order)))
        found = {"x": _row(Taylor.coordinates(at, degree))}
        for field, jets in self._jets.items():
            value = series[field][0]
            for name, axes in jets.items():
                if isinstance(value, Taylor):
                    found[name] = _entry(value.derivative(axes, degree))
                else:  # a field that does not vary
                    found[name] = _entry(arb(0) if axes else value)
        if self._terms is not None:
            if degree > 0:
                raise ValueError("nonlocal terms are enclosed at points, not over boxes")
            found |= {name: _entry(value) for name, value in self._terms(at[0]).items()}
        return found

    def residual(self, at: Sequence[Any], degree: int = 0) -> dict[str, list[Any]]:
        """For each equation the Taylor coefficients of its scaled residual, in the order of ``Monomials``."""
        found = _coefficients(self._residual(**self.inputs(at, degree)))
        count = len(Monomials.of(len(at), degree).powers)  # a residual that does not vary has but one
        return {name: [*values, *([arb(0)] * (count - len(values)))] for name, values in found.items()}

    def at_point(self, at: Sequence[Any]) -> dict[str, Any]:
        """The scaled residual of each equation at a point."""
        return {name: coefficients[0] for name, coefficients in self.residual(at).items()}

    def errors(self, condition: Formula, at: Sequence[Any]) -> Any:
        """The error of a side condition at a point."""
        return _coefficients(condition(**self.inputs(at, 0)))["error"][0]


def plugin_packages() -> set[str]:
    """The packages that register with usd-bench here: of these a certificate may name a module, of no others."""
    return {point.module.partition(".")[0] for point in entry_points(group="usd_bench")}


class Terms(ABC):
    """What encloses nonlocal terms: named by ``Problem.enclosed_terms``, in a module that needs no torch."""

    def __init__(self, density: Density, low: Any, high: Any) -> None:
        """``low``, ``high``: balls without a radius, outside which the density counts as zero."""
        self._density, self._low, self._high = density, low, high

    @abstractmethod
    def __call__(self, at: Any) -> dict[str, Any]:
        """The terms by name at a point, a ball without a radius. Raises ``ArithmeticError`` where balls do not tell."""


class Density:
    """The function on which nonlocal terms depend, of one coordinate."""

    def __init__(self, fields: Formula, density: Formula) -> None:
        self._fields, self._density = fields, density

    def __call__(self, at: Any) -> Any:
        """At a point or over a ball, real or complex; where it is not analytic, the result is not finite."""
        x = _row([at])
        try:
            return self._density(x=x, **self._fields(x=x))["density"][0]
        except (Undecided, ZeroDivisionError):
            return at * arb.nan()

    def series(self, at: Any, length: int) -> list[Any]:
        """Its Taylor coefficients at a point, or over a ball."""
        x = _row(Taylor.coordinates([at], length - 1))
        return list(self._density(x=x, **self._fields(x=x))["density"][0].coefficients)


@dataclass(frozen=True)
class Box:
    """A box of exact corners, and how it came from another by halving: ``"0-1+"``: the left half along axis 0, of that
    the right one along axis 1.
    """

    low: tuple[Any, ...]
    high: tuple[Any, ...]
    path: str = ""

    @classmethod
    def of(cls, domain: Sequence[Sequence[str]]) -> Box:
        """From the hexadecimal digits of its ends."""
        low, high = zip(*(exact_point(ends) for ends in domain), strict=True)
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise ValueError("every side of a box must have a positive length")
        return cls(tuple(low), tuple(high))

    def half(self, axis: int, side: str) -> Box:
        """One of its halves along an axis, ``side`` being - or +."""
        middle = (self.low[axis] + self.high[axis]) / 2
        if not middle.is_exact():
            raise ValueError(f"box {self.path!r} cannot be halved exactly; use more bits")
        low, high = list(self.low), list(self.high)
        (high if side == "-" else low)[axis] = middle
        return Box(tuple(low), tuple(high), f"{self.path}{axis}{side}")


@dataclass(frozen=True)
class Bound:
    """What is known of the residual over a box: bounds by equation, and how much each axis adds to them."""

    by_equation: dict[str, float]
    by_axis: list[float]
    at_centre: float = 0.0
    """The largest residual at the box's centre: no bound can be smaller."""
    why: str = ""
    """Where there is no bound: what balls do not tell."""

    @property
    def largest(self) -> float:
        return max(self.by_equation.values())


def over_box(enclosure: Enclosure, box: Box, degree: int) -> Bound:
    """Bounds of |scaled residual| over a box, infinite where balls are too wide to tell."""
    sides = list(zip(box.low, box.high, strict=True))
    centre, half = [(a + b) / 2 for a, b in sides], [(b - a) / 2 for a, b in sides]
    if not all(c.is_exact() for c in centre):
        raise ValueError(f"the centre of box {box.path!r} is not a number of that many bits; use more")
    try:
        near = enclosure.residual(centre, degree - 1)
        wide = enclosure.residual([arb.union(a, b) for a, b in sides], degree)
    except (Undecided, ZeroDivisionError) as error:
        return Bound({"": math.inf}, [0.0] * len(sides), why=str(error))
    powers = Taylor.coordinates(centre, degree)[0].monomials.powers
    bounds, by_axis = {}, [0.0] * len(sides)
    for name, remainder in wide.items():
        total = arb(0)
        for k, power in enumerate(powers):
            coefficient = near[name][k] if sum(power) < degree else remainder[k]
            part = abs(coefficient) * prod((h**p for h, p in zip(half, power, strict=True)), start=arb(1))
            total += part
            if sum(power) == degree:
                by_axis = [known + p * upper(part) if p else known for known, p in zip(by_axis, power, strict=True)]
        bounds[name] = upper(total)
    return Bound(bounds, by_axis, max(upper(coefficients[0]) for coefficients in near.values()))


def leaves(domain: Box, paths: Sequence[str]) -> list[Box]:
    """The boxes of these paths. Raises ``ValueError`` unless they cover the domain."""
    found: list[Box] = []
    given = set(paths)

    def descend(box: Box, below: set[str]) -> None:
        if box.path in below:
            if len(below) > 1:
                raise ValueError(f"box {box.path!r} is given with a part of itself")
            found.append(box)
            return
        axes = {path[len(box.path)] for path in below}
        if len(axes) != 1:
            raise ValueError(f"the boxes do not cover {box.path!r}")
        (axis,) = axes
        for side in "-+":
            half = box.half(int(axis), side)
            descend(half, {path for path in below if path.startswith(half.path)})

    descend(domain, given)
    return found


def _row(values: Sequence[Any]) -> Array:
    row = np.empty((1, len(values)), dtype=object)
    row[0] = values
    return row


def _entry(value: Any) -> Array:
    entry = np.empty(1, dtype=object)
    entry[0] = value
    return entry


def _coefficients(found: Mapping[str, Array]) -> dict[str, list[Any]]:
    by_name = {name: array.reshape(-1)[0] for name, array in found.items()}
    return {name: list(v.coefficients) if isinstance(v, Taylor) else [v] for name, v in by_name.items()}

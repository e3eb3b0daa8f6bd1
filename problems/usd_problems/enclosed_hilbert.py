"""Enclosures of the Hilbert transform of an odd function on the half line: ``hilbert.py`` in ball arithmetic, no torch.

With z = s - t, for a density Ω that is cut off outside [low, high]:

    W(s) = (1/π) PV ∫ Ω(t) [coth z - 1] dt,        V(s) = (1/π) ∫ Ω(t) e^-z ln tanh(|z|/2) dt

Near the target, Ω is its Taylor polynomial with Lagrange's remainder, against moments of the kernels. All else goes by
Gauss's rule on panels, each with a bound of its error from the largest value on a rectangle around its Bernstein
ellipse. Source: Trefethen, Approximation Theory and Approximation Practice (2013), theorem 19.3; kernels:
docs/mathematics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from flint import acb, arb, ctx

from usd_bench.certificate.enclosure import Density, Terms

NODES = 20
RHO = 4
"""Of the Bernstein ellipses: the rule's error falls like RHO^(-2 NODES)."""

NEAR_BITS, LENGTH = 6, 14
"""Targets have a neighbourhood of 2^-NEAR_BITS to both sides, where this many Taylor coefficients are taken."""

HALVINGS = 14
"""Of a panel, at most, before a density counts as one that cannot be enclosed."""

EXACT = 2300
"""Bits with which floating-point numbers are added exactly."""


@dataclass(frozen=True)
class Panel:
    """An interval with the density at its Gauss points, times the weights, and its bound around the ellipse."""

    low: Any
    high: Any
    points: list[tuple[Any, Any]]
    bound: Any

    @property
    def half(self) -> Any:
        return (self.high - self.low) / 2


class HilbertTerms(Terms):
    """W = HΩ and V = U/y at points, for one density."""

    def __init__(self, density: Density, low: Any, high: Any) -> None:
        super().__init__(density, low, high)
        self._near = arb(2) ** -NEAR_BITS
        self._rule = [arb.legendre_p_root(NODES, k, weight=True) for k in range(NODES)]

    def __call__(self, at: Any) -> dict[str, Any]:
        with ctx.workprec(EXACT):  # so that they are numbers, and what lies between can be told from what does not
            left, right = at - self._near, at + self._near
        if not (self._low < left and right < self._high):
            raise ArithmeticError(f"{at} is too close to the end of the density")
        w, v = self._neighbourhood(at, left, right)
        for panel in self._panels:
            for part in self._outside(panel, at, left, right):
                more_w, more_v = self._far(part, at)
                w, v = w + more_w, v + more_v
        return {"W": w / arb.pi(), "V": v / arb.pi()}

    # -- far from the target ---------------------------------------------------------------------------------------

    @cached_property
    def _panels(self) -> list[Panel]:
        """Panels on which the density is analytic enough, from those of length 1."""
        found: list[Panel] = []
        count = int(float((self._high - self._low).ceil()))
        width = (self._high - self._low) / count
        for k in range(count):
            high = self._high if k == count - 1 else self._low + width * (k + 1)
            found += self._analytic((self._low + width * k).mid(), high.mid())
        return found

    def _analytic(self, low: Any, high: Any, halvings: int = 0) -> Iterator[Panel]:
        bound = self._around(low, high)
        if not (bound.is_finite() and bound * _rule_error() < arb(2) ** -60):
            if halvings == HALVINGS:
                raise ArithmeticError(f"the density is not smooth enough between {low.str(6)} and {high.str(6)}")
            middle = ((low + high) / 2).mid()
            yield from self._analytic(low, middle, halvings + 1)
            yield from self._analytic(middle, high, halvings + 1)
        else:
            yield self._panel(low, high, bound)

    def _around(self, low: Any, high: Any) -> Any:
        """The largest |Ω| on the rectangle that holds the panel's ellipse."""
        centre, half = (low + high) / 2, (high - low) / 2
        across = half * (RHO + arb(1) / RHO) / 2
        up = half * (RHO - arb(1) / RHO) / 2
        value = self._density(acb(arb.union(centre - across, centre + across), arb.union(-up, up)))
        return acb(value).abs_upper() if acb(value).is_finite() else arb.pos_inf()

    def _panel(self, low: Any, high: Any, bound: Any) -> Panel:
        centre, half = (low + high) / 2, (high - low) / 2
        nodes = [(centre + half * x, half * w) for x, w in self._rule]
        return Panel(low, high, [(t, self._density(t) * w) for t, w in nodes], bound)

    def _outside(self, panel: Panel, at: Any, left: Any, right: Any) -> Iterator[Panel]:
        """The parts of a panel outside the target's neighbourhood, each far from the target for its width."""
        if panel.low >= left and panel.high <= right:
            return
        if panel.high <= left or panel.low >= right:
            distance = at - panel.high if panel.high <= left else panel.low - at
            if distance > panel.half * arb("1.2"):  # the ellipse reaches 1.125 half-widths beyond the panel
                yield panel
                return
            cuts = [((panel.low + panel.high) / 2).mid()]
        else:
            cuts = [cut.mid() for cut in (left, right) if panel.low < cut < panel.high]
        ends = [panel.low, *cuts, panel.high]
        for low, high in pairwise(ends):
            if not (low >= left and high <= right):
                # What bounds the density around the whole bounds it around a part: the rectangle holds both.
                yield from self._outside(self._panel(low, high, panel.bound), at, left, right)

    def _far(self, panel: Panel, at: Any) -> tuple[Any, Any]:
        """Of both integrals the part over a panel, with the error of the rule."""
        gradient = velocity = arb(0)
        for t, value in panel.points:
            w, v = _kernels(at - t)
            gradient += value * w
            velocity += value * v
        reach = panel.half * (RHO + arb(1) / RHO) / 2
        centre = (panel.low + panel.high) / 2
        distance = abs(at - centre) - reach  # of the ellipse's bounding rectangle, along the axis
        # |coth z| <= coth Re z and |ln tanh(z/2)| = |2 artanh e^-z| <= 2 artanh e^-Re z, for Re z > 0.
        error = panel.bound * panel.half * _rule_error()
        of_gradient = (distance.coth() + 1) * error
        of_velocity = (-(at - centre) + reach).exp() * 2 * (-distance).exp().atanh() * error
        return gradient + _around_zero(of_gradient), velocity + _around_zero(of_velocity)

    # -- around the target -----------------------------------------------------------------------------------------

    def _neighbourhood(self, at: Any, left: Any, right: Any) -> tuple[Any, Any]:
        """The part of both integrals within the neighbourhood.

        With t = s + τ: only odd powers of τ meet coth τ, and only even ones ln tanh(|τ|/2), for the density times e^τ.
        """
        series = self._density.series(at, LENGTH)
        wide = self._density.series(arb.union(left, right), LENGTH + 1)
        tilted = [sum((series[i] / arb(k - i).fac() for i in range(k + 1)), arb(0)) for k in range(LENGTH)]
        exponential = arb.union(-self._near, self._near).exp()
        wide_tilted = sum((wide[i] * exponential / arb(LENGTH - i).fac() for i in range(LENGTH + 1)), arb(0))
        coth, logarithm = self._moments
        gradient = -2 * sum((series[k] * coth[k] for k in range(1, LENGTH, 2)), arb(0))
        gradient -= 2 * sum((series[k] * self._near ** (k + 1) / (k + 1) for k in range(0, LENGTH, 2)), arb(0))
        velocity = 2 * sum((tilted[k] * logarithm[k] for k in range(0, LENGTH, 2)), arb(0))
        # Lagrange's remainder on both sides: its size times that of the kernel, |coth τ| + 1 and |ln tanh(τ/2)|.
        of_gradient = 2 * abs(wide[LENGTH]) * (coth[LENGTH] + self._near ** (LENGTH + 1) / (LENGTH + 1))
        of_velocity = 2 * abs(wide_tilted) * -logarithm[LENGTH]
        return gradient + _around_zero(of_gradient), velocity + _around_zero(of_velocity)

    @cached_property
    def _moments(self) -> tuple[list[Any], list[Any]]:
        """∫ τ^k coth τ dτ (k > 0) and ∫ τ^k ln tanh(τ/2) dτ from 0 to the end of the neighbourhood."""
        end, coth, logarithm = self._near, [arb(0)], []
        for k in range(LENGTH + 1):
            if k:
                coth.append(_integral(_times_coth, k - 1, end))
            of_log = end ** (k + 1) / (k + 1) * (end.log() - arb(1) / (k + 1))
            logarithm.append(_integral(_log_tanh_less_log, k, end) + of_log)
        return coth, logarithm


def _times_coth(t: Any, analytic: bool) -> Any:
    """τ coth τ = cosh τ / sinc iτ, which is analytic at 0."""
    return t.cosh() / (acb(0, 1) * t).sinc()


def _log_tanh_less_log(t: Any, analytic: bool) -> Any:
    """ln(tanh(τ/2) / τ) = ln(sinc(iτ/2) / (2 cosh(τ/2))), which is analytic at 0."""
    return ((acb(0, 1) * t / 2).sinc() / (2 * (t / 2).cosh())).log(analytic=analytic)


def _kernels(z: Any) -> tuple[Any, Any]:
    """Coth z - 1 and e^-z ln tanh(|z|/2) = -2 e^-z artanh e^-|z|, for a ball that does not hold 0."""
    if z > 0:
        e = (-z).exp()
        return 2 * e * e / (1 - e * e), -2 * e * e.atanh()
    e = z.exp()
    return -2 / (1 - e * e), -2 * e.atanh() / e


def _rule_error() -> Any:
    """Of Gauss's rule on [-1, 1], for a function bounded by 1 on its ellipse."""
    return arb(64) / 15 * arb(RHO) ** (-2 * (NODES - 1)) / (1 - arb(RHO) ** -2)


def _around_zero(radius: Any) -> Any:
    """The ball around 0 that holds all values up to a bound."""
    bound = radius.abs_upper() if radius.is_finite() else arb.nan()
    return arb.union(-bound, bound)


def _integral(function: Callable[[Any, bool], Any], power: int, end: Any) -> Any:
    """∫ τ^power function(τ) dτ from 0; with more bits, for the error of quadrature is absolute and integrals small."""

    def integrand(t: Any, analytic: bool) -> Any:
        return t**power * function(t, analytic)

    with ctx.workprec(ctx.prec + 2 * NEAR_BITS * LENGTH):
        return acb.integral(integrand, 0, acb(end)).real

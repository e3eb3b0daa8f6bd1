"""Collocation points across β, and the functions that their values determine.

The range of β has two panels with Gauss points: a narrow one at the lower end, the wall, and one for the rest, where a
map of each element's own crowds the points about its fields' steepest part. A field with derivatives up to order m in
β is a polynomial on each panel, with m-1 continuous derivatives. Both ends of β are singular points, from which a
smooth solution is chosen by its degree alone.

The wall panel is there for stability: a first-order field depends on it as the flow does, from the wall to the axis.
One polynomial across all angles has spurious modes that grow along s at rates of up to 1/a, a the dilation at the wall,
where the flow only has decaying ones: docs/decisions/0009.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from usd_bench.elements import differentiation, gauss, interpolation, polynomials, to_coefficients

WALL = 10
"""Points in the wall panel."""


@dataclass(frozen=True)
class Angles:
    """``number`` points across the range ``span`` in each of E elements.

    ``wall``: the wall panel's share of the range. The points of the other panel crowd about ``focus`` (E,) within
    ``width`` (E,), both as shares of the range too.
    """

    span: tuple[float, float]
    number: int
    wall: float
    focus: Tensor
    width: Tensor

    @property
    def outer(self) -> int:
        """Points outside the wall panel."""
        return self.number - WALL

    def to(self, device: str | torch.device) -> Angles:
        return replace(self, focus=self.focus.to(device), width=self.width.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """What files say of them, but for their number and range."""
        return {"wall": self.focus.new_tensor(self.wall), "focus": self.focus, "width": self.width}

    def of(self, element: Tensor) -> Angles:
        """The angles of the elements (N,)."""
        return replace(self, focus=self.focus[element], width=self.width[element])

    # -- the points ---------------------------------------------------------------------------------------------------

    def beta(self) -> Tensor:
        """The angles, (E, number)."""
        wall, outer = (gauss(n)[0].to(self.focus) for n in (WALL, self.outer))
        wall = self.span[0] + self._wall_slope * (wall + 1)
        return torch.cat([wall.expand(len(self.focus), -1), self._map(outer)[0]], 1)

    @property
    def _wall_slope(self) -> float:
        return self.wall * (self.span[1] - self.span[0]) / 2

    def _map(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """β of the outer panel's local coordinates (n,), with its first and second derivative, (E, n) each.

        Source: Tee & Trefethen, SIAM J. Sci. Comput. 28 (2006) 1798, eq. 3.2.
        """
        low, half = (part[:, None] for part in self._ends())
        at = low + half * (eta + 1)
        length = self.span[1] - self.span[0]
        size = self.width[:, None] * length
        sinh, cosh = size * at.sinh(), size * at.cosh()
        return self.span[0] + self.focus[:, None] * length + sinh, half * cosh, half**2 * sinh

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Of the argument of sinh in the outer panel: lower end, and half the range."""
        low = ((self.wall - self.focus) / self.width).asinh()
        return low, (((1 - self.focus) / self.width).asinh() - low) / 2

    def locate(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """For angles (E, n): whether they are in the wall panel, and their local coordinate in their panel.

        The coordinate is differentiable.
        """
        share = (beta - self.span[0]) / (self.span[1] - self.span[0])
        low, half = (part[:, None] for part in self._ends())
        outer = (((share - self.focus[:, None]) / self.width[:, None]).asinh() - low) / half - 1
        wall = share < self.wall
        return wall, torch.where(wall, 2 * share / self.wall - 1, outer)

    # -- functions through values at the points -----------------------------------------------------------------------

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Local nodes of both panels, the break between them included: as last one of the wall, first one outside."""
        one = torch.ones(1, dtype=self.focus.dtype)
        wall, outer = (gauss(n)[0] for n in (WALL, self.outer))
        return torch.cat([wall, one]).to(self.focus), torch.cat([-one, outer]).to(self.focus)

    def _with_break(self, values: Tensor, order: int) -> Tensor:
        """Values (E, n, number) with that at the break inserted, (E, n, number + 1)."""
        at_break = torch.einsum("ena,ea->en", values, self._break(order))[..., None]
        return torch.cat([values[..., :WALL], at_break, values[..., WALL:]], -1)

    def _break(self, order: int) -> Tensor:
        """From values at the points to that at the break, (E, number).

        Of a first-order field it is what the wall panel says; of a second-order field, what makes slopes equal.
        """
        wall, outer = self._nodes()
        if order < 2:
            row = interpolation(wall[:-1], wall[-1:])[0]
            return torch.cat([row, row.new_zeros(self.outer)]).expand(len(self.focus), -1)
        left = differentiation(wall)[-1] / self._wall_slope
        right = differentiation(outer)[0] / self._map(outer[:1])[1]
        row = torch.cat([-left[:-1].expand(len(right), -1), right[:, 1:]], 1)
        return row / (left[-1] - right[:, :1])

    def derivatives(self, order: int) -> tuple[Tensor, Tensor, Tensor]:
        """From values at the points to value, first and second derivative by β there, (E, number, number) each."""
        wall, outer = self._nodes()
        e, n = self.focus.shape[0], self.number
        one = torch.eye(n, dtype=wall.dtype, device=wall.device).expand(e, n, n)
        full = self._with_break(one.transpose(1, 2), order).transpose(1, 2)  # (E, number + 1, number)
        d, far = differentiation(wall), differentiation(outer)
        _, slope, curvature = (part[..., None] for part in self._map(outer[1:]))
        first = [d[:-1] / self._wall_slope @ full[:, : WALL + 1], far[1:] / slope @ full[:, WALL:]]
        second = [
            (d @ d)[:-1] / self._wall_slope**2 @ full[:, : WALL + 1],
            ((far @ far)[1:] / slope**2 - far[1:] * (curvature / slope**3)) @ full[:, WALL:],
        ]
        return one, torch.cat(first, 1), torch.cat(second, 1)

    def rows(self, beta: Tensor, order: int) -> Tensor:
        """From values at the points to those at angles (E, n): (E, n, number)."""
        wall, outer = self._nodes()
        near, eta = self.locate(beta)
        row = eta.new_zeros(*eta.shape, self.number + 1)
        row[..., : WALL + 1] = interpolation(wall, eta.flatten()).view(*eta.shape, -1) * near[..., None]
        row[..., WALL:] += interpolation(outer, eta.flatten()).view(*eta.shape, -1) * ~near[..., None]
        value = torch.cat([row[..., :WALL], row[..., WALL + 1 :]], -1)
        return value + row[..., WALL, None] * self._break(order)[:, None]

    # -- series -------------------------------------------------------------------------------------------------------

    def series(self, values: Tensor, order: int) -> Tensor:
        """Chebyshev coefficients of both panels one after another, (E, n, number + 2), of values (E, n, number)."""
        wall, outer = self._nodes()
        full = self._with_break(values, order)
        to_wall, to_outer = (torch.linalg.inv(polynomials(nodes, len(nodes))) for nodes in (wall, outer))
        return torch.cat([full[..., : WALL + 1] @ to_wall.T, full[..., WALL:] @ to_outer.T], -1)

    def polynomials(self, beta: Tensor) -> Tensor:
        """What multiplies the coefficients of ``series`` at angles (E, n): (E, n, number + 2)."""
        near, eta = self.locate(beta)
        wall = polynomials(eta, WALL + 1) * near[..., None]
        return torch.cat([wall, polynomials(eta, self.outer + 1) * ~near[..., None]], -1)

    def tails(self, values: Tensor) -> Tensor:
        """The largest of the last coefficients of values (E, n, number) in the wall panel and outside, (2, E)."""
        wall, outer = (to_coefficients(n, False).to(values.device) for n in (WALL, self.outer))
        last = values[..., :WALL] @ wall[-2:].T, values[..., WALL:] @ outer[-3:].T
        return torch.stack([part.abs().amax((1, 2)) for part in last])

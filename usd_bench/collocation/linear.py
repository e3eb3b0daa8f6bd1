"""Linear systems of collocation: every element couples to its neighbours through its ends only.

``Blocks`` eliminates the inside of each element, then the ends by block elimination along them: the cost grows
linearly in the number of elements. ``Dense`` is for nonlocal problems, where everything couples. Both solve for the
fields at fixed scalars; ``solve`` adds the scalars and the rows that determine them.
Source: Ascher, Mattheij & Russell (1995), chapter 7 (condensation); Govaerts, Numerical Methods for Bifurcations
of Dynamical Equilibria (2000), chapter 3 (bordering).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from usd_bench.collocation.system import Collocation, Linearised, Unknowns


class Factored(ABC):
    """A factored system in the fields, at fixed scalars."""

    @abstractmethod
    def solve(self, rows: Tensor, ends: Tensor) -> dict[str, Tensor]:
        """Nodal values (E, nodes, angles, columns) of the fields, from the right-hand sides of the equations
        (equations, E, k, angles, columns) and of the conditions at the breaks (E+1, fields, angles, columns).
        """


def factor(system: Collocation, linear: Linearised) -> Factored:
    """The factorisation that suits the system."""
    return Blocks(system, linear) if linear.through is None else Dense(system, linear)


class Blocks(Factored):
    """Condensation to the ends of elements, then block elimination along them.

    Inside an element belong: of a first-order field all nodes but the left (it is carried to the right), of a
    second-order field all but both ends. That keeps every local problem well posed.
    """

    def __init__(self, system: Collocation, linear: Linearised) -> None:
        _, e, k, _ = system.shape
        self._system, self._names = system, list(linear.seeds)
        self._first = [name for name in self._names if system.order[name] == 1]
        self._second = [name for name in self._names if system.order[name] == 2]
        self._edge = [*self._first, *self._second]
        self._slopes = {name: system.end_slopes(name) for name in self._second}
        self._lu, response = [], []
        # One at a time: they need not be in memory at once, and torch 2.13's batched LU on several CPU threads returns
        # garbage.
        for i in range(e):
            flat = {n: system.block(n, linear, slice(i, i + 1)).flatten(0, 3) for n in self._names}
            inside = torch.cat([flat[n][:, 1 : k + 1].flatten(1) for n in self._names], 1)
            right = (flat[n][:, k + 1] @ system.back[n][i] for n in self._second)
            self._lu.append(torch.linalg.lu_factor(inside))
            outside = torch.cat([*(flat[n][:, 0] for n in self._edge), *right], 1)
            response.append(torch.linalg.lu_solve(*self._lu[-1], outside))
        self._response = torch.stack(response)  # inside = solution - response · (left ends, right second ends)
        self._eliminate(*self._condense())

    def solve(self, rows: Tensor, ends: Tensor) -> dict[str, Tensor]:
        _, e, k, a = self._system.shape
        cut = len(self._first) * a
        inside = self._solve_inside(rows.transpose(0, 1).reshape(e, -1, rows.shape[-1]))
        values, left, right = self._at_ends(inside)
        b = torch.stack([ends[:, self._names.index(name)] for name in self._edge], 1).flatten(1, 2)
        if not self._system.pinned:
            b[0, :cut] -= self._start_slopes(inside[:1])[0]
        b[1:, :cut] += values
        b[:-1, cut:] -= left
        b[1:, cut:] += right
        edge = self._substitute(b)
        inside = inside - self._response @ torch.cat([edge[:-1], edge[1:, cut:]], 1)
        parts = dict(zip(self._names, torch.unflatten(inside, 1, (-1, k, a)).unbind(1), strict=True))
        at_break = dict(zip(self._edge, torch.unflatten(edge, 1, (-1, a)).unbind(1), strict=True))
        found = {}
        for name in self._names:
            nodes = [at_break[name][:-1, None], parts[name]]
            if name in self._second:
                nodes.append((self._system.back[name] @ at_break[name][1:])[:, None])
            found[name] = torch.cat(nodes, 1)
        return found

    def _solve_inside(self, b: Tensor) -> Tensor:
        return torch.stack([torch.linalg.lu_solve(*lu, column) for lu, column in zip(self._lu, b, strict=True)])

    def _at_ends(self, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What inside values (E, n, columns) are at the ends: values of first-order fields at the right end, slopes
        of second-order fields at the left and at the right end. At the right end for the next element's angles.
        """
        _, _, k, a = self._system.shape
        parts = dict(zip(self._names, torch.unflatten(inside, 1, (-1, k, a)).unbind(1), strict=True))
        none = inside.new_zeros(len(inside), 0, inside.shape[-1])

        def slopes(side: int) -> list[Tensor]:
            return [torch.einsum("en,enac->eac", self._slopes[n][side][:, 1:-1], parts[n]) for n in self._second]

        onward = self._system.onward
        values = [onward[n] @ parts[n][:, -1] for n in self._first]
        right = [onward[n] @ slope for n, slope in zip(self._second, slopes(1), strict=True)]
        return torch.cat([none, *values], 1), torch.cat([none, *slopes(0)], 1), torch.cat([none, *right], 1)

    def _start_slopes(self, inside: Tensor) -> Tensor:
        """Of inside values (1, n, columns), the slopes of first-order fields at the very left, (1, ·, columns)."""
        _, _, k, a = self._system.shape
        parts = dict(zip(self._names, torch.unflatten(inside, 1, (-1, k, a)).unbind(1), strict=True))
        found = [
            torch.einsum("n,enac->eac", self._system.end_slopes(name)[0][0, 1:], parts[name]) for name in self._first
        ]
        return torch.cat([inside.new_zeros(1, 0, inside.shape[-1]), *found], 1)

    def _condense(self) -> tuple[Tensor, Tensor, Tensor]:
        """The block tridiagonal matrix for the values at the breaks: lower, diagonal and upper blocks."""
        _, e, _, a = self._system.shape
        size, cut = len(self._names) * a, len(self._first) * a
        values, left, right = self._at_ends(-self._response)
        one = torch.eye(a, dtype=values.dtype, device=values.device)
        for i, name in enumerate(self._second):
            rows = slice(i * a, (i + 1) * a)
            for side, slopes in ((0, left), (1, right)):
                row = self._slopes[name][side]
                turn = self._system.onward[name] if side else one
                slopes[:, rows, cut + i * a : cut + (i + 1) * a] += row[:, 0, None, None] * turn
                slopes[:, rows, size + i * a : size + (i + 1) * a] += row[:, -1, None, None] * (
                    turn @ self._system.back[name]
                )
        lower, upper = values.new_zeros(e, size, size), values.new_zeros(e, size, size)
        diagonal = values.new_zeros(e + 1, size, size)
        diagonal[:, :cut, :cut] = torch.eye(cut, dtype=values.dtype, device=values.device)
        diagonal[1:, :cut, cut:] -= values[:, :, size:]
        diagonal[:-1, cut:] += left[:, :, :size]
        diagonal[1:, cut:, cut:] -= right[:, :, size:]
        lower[:, :cut], lower[:, cut:] = -values[:, :, :size], -right[:, :, :size]
        upper[:, cut:, cut:] = left[:, :, size:]
        if not self._system.pinned:
            start = self._start_slopes(-self._response[:1])[0]
            for i, name in enumerate(self._first):
                rows = slice(i * a, (i + 1) * a)
                start[rows, rows] += self._system.end_slopes(name)[0][0, 0] * one
            diagonal[0, :cut], upper[0, :cut, cut:] = start[:, :size], start[:, size:]
        return lower, diagonal, upper

    def _eliminate(self, lower: Tensor, diagonal: Tensor, upper: Tensor) -> None:
        self._lower = lower
        self._pivots = [torch.linalg.lu_factor(diagonal[0])]
        self._carries = []
        for below, pivot, above in zip(lower, diagonal[1:], upper, strict=True):
            self._carries.append(torch.linalg.lu_solve(*self._pivots[-1], above))
            self._pivots.append(torch.linalg.lu_factor(pivot - below @ self._carries[-1]))

    def _substitute(self, b: Tensor) -> Tensor:
        done = [torch.linalg.lu_solve(*self._pivots[0], b[0])]
        for below, pivot, row in zip(self._lower, self._pivots[1:], b[1:], strict=True):
            done.append(torch.linalg.lu_solve(*pivot, row - below @ done[-1]))
        for i in range(len(done) - 2, -1, -1):
            done[i] = done[i] - self._carries[i] @ done[i + 1]
        return torch.stack(done)


class Dense(Factored):
    """One matrix for everything; in one dimension only."""

    def __init__(self, system: Collocation, linear: Linearised) -> None:
        q, e, k, a = system.shape
        device = system.x.device
        self.index: dict[str, Tensor] = {}
        size = 0
        for name, order in system.order.items():  # neighbours share the node at their break
            nodes = k + order
            along = torch.arange(e, device=device)[:, None] * (nodes - 1) + torch.arange(nodes, device=device)
            self.index[name] = size + along[..., None] * a + torch.arange(a, device=device)
            size += (e * (nodes - 1) + 1) * a
        matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
        row = torch.arange(q * e * k * a, device=device).view(q, e, k, a)
        for name in linear.seeds:
            block = system.block(name, linear)
            rows = row.transpose(0, 1)[..., None, None].expand(block.shape)
            columns = self.index[name][:, None, None, None].expand(block.shape)
            matrix.index_put_((rows.flatten(), columns.flatten()), block.flatten(), accumulate=True)
            if linear.through is not None and linear.density_rows is not None:
                by_value = (linear.through * linear.density_rows[name]).view(-1, e, k, a)
                value = system.values_at_points(name)
                spread = torch.einsum("reka,kn->rena", by_value, value).flatten(1)
                matrix[: row.numel()].index_add_(1, self.index[name].flatten(), spread)
        self._ends = _end_rows(system)
        for at, (i, field, angle) in enumerate(self._ends, start=row.numel()):
            name = list(system.order)[field]
            if system.order[name] == 1:
                row = system.end_slopes(name)[0][0]
                if system.pinned:
                    row = torch.eye(1, len(row), dtype=row.dtype, device=device)[0]
                matrix[at].index_add_(0, self.index[name][0, :, angle], row)
                continue
            left, right = system.end_slopes(name)
            if i < e:
                matrix[at].index_add_(0, self.index[name][i, :, angle], left[i])
            if i > 0:
                matrix[at].index_add_(0, self.index[name][i - 1, :, angle], -right[i - 1])
        self.matrix = matrix
        self._system = system
        self._lu: tuple[Tensor, Tensor] | None = None

    def mass(self, weights: dict[str, Tensor]) -> Tensor:
        """The matrix of the evolved fields over their scale, in the same rows and columns: ``weights`` by equation,
        (N,) at the collocation points.
        """
        q, e, k, a = self._system.shape
        row = torch.arange(q * e * k * a, device=self.matrix.device).view(q, e, k, a)
        result = torch.zeros_like(self.matrix)
        for equation, name in self._system.problem.evolution.items():
            value = self._system.values_at_points(name)
            entries = weights[equation].view(e, k, 1, a) * value[None, :, :, None]
            rows = row[self._system.problem.equations.index(equation)][:, :, None].expand(entries.shape)
            columns = self.index[name][:, None].expand(entries.shape)
            result.index_put_((rows.flatten(), columns.flatten()), entries.flatten(), accumulate=True)
        return result

    def solve(self, rows: Tensor, ends: Tensor) -> dict[str, Tensor]:
        i, field, angle = torch.tensor(self._ends, device=rows.device).T
        if self._lu is None:
            self._lu = torch.linalg.lu_factor(self.matrix)
        solution = torch.linalg.lu_solve(*self._lu, torch.cat([rows.flatten(0, 3), ends[i, field, angle]]))
        return {name: solution[index] for name, index in self.index.items()}


def _end_rows(system: Collocation) -> list[tuple[int, int, int]]:
    """(break, field, angle) of every condition at the breaks."""
    return [
        (i, field, angle)
        for field, order in enumerate(system.order.values())
        for i in range(len(system.elements) + 1 if order == 2 else 1)
        for angle in range(system.mesh.angles)
    ]


def solve(
    system: Collocation,
    linear: Linearised,
    rows: Tensor,
    ends: Tensor,
    extra: Sequence[tuple[Unknowns, Tensor]],
    factored: Factored | None = None,
) -> Unknowns:
    """The fields and scalars with ``J · unknowns = rows``, the conditions at the breaks, and one (covector, value)
    per scalar: block elimination with the scalars' columns as further right-hand sides.
    """
    scalars = linear.border.shape[-1]
    right = torch.cat([rows[..., None], linear.border], -1)
    at_ends = torch.cat([ends[..., None], ends.new_zeros(*ends.shape, scalars)], -1)
    found = (factored or factor(system, linear)).solve(right, at_ends)
    matrix, target = [], []
    for covector, value in extra:
        products = torch.stack([torch.einsum("ena,enac->c", covector.fields[n], found[n]) for n in found]).sum(0)
        matrix.append(covector.scalars - products[1:])
        target.append(value - products[0])
    solution = torch.linalg.solve(torch.stack(matrix), torch.stack(target))
    return Unknowns({n: v[..., 0] - v[..., 1:] @ solution for n, v in found.items()}, solution)

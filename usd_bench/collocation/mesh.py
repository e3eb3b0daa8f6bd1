"""Meshes: elements along s, angles across β, and how both follow the profile they carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from usd_bench.collocation.angles import WALL, Angles
from usd_bench.elements import Elements, interpolation, lobatto, to_coefficients
from usd_bench.problem import Problem

FOCI = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.66, 0.72, 0.77, 0.81, 0.85, 0.88, 0.91, 0.94, 0.97, 1.0)
WIDTHS = (3.0, 0.8, 0.4, 0.25, 0.15, 0.1, 0.07, 0.05, 0.035, 0.025, 0.017)
"""Where in its range, and within what part of it, the points in β of an element may crowd."""

STIFFNESS = 0.3
"""Decades in the last coefficients that a step to the next focus or width must gain from one element to the next."""

NARROWEST, WIDEST = 1e-5, 8.0
"""Smallest and largest half-width of an element."""

GRADING = 0.25
"""Largest change of an element's size over a distance of one."""

FLOOR = 1e-15
"""Relative size of coefficients that are rounding."""

THINNEST = 1e-4
"""Smallest share of the range of β that the wall panel takes."""

FEWEST = 20
"""Angles, at least."""

HYSTERESIS = 3.0
"""How much smaller the last coefficients in β must become for the angles to move."""


@dataclass(frozen=True)
class Mesh:
    """Elements along s with ``degree`` collocation points each, and the angles of each; none in one dimension."""

    elements: Elements
    degree: int
    across: Angles | None = None

    @classmethod
    def of(
        cls, problem: Problem, breaks: Tensor, degree: int, angles: int, focus: float = 1.0, width: float = 0.05
    ) -> Mesh:
        """A mesh for a problem of which little is known; in one dimension the last three have no meaning."""
        if len(problem.coords) == 1:
            return cls(Elements(breaks), degree)
        maps = (breaks.new_full((len(breaks) - 1,), value) for value in (focus, width))
        across = Angles(problem.extent(0.0)[1], angles, 0.05, *maps)
        return cls(Elements(breaks), degree, across)

    @classmethod
    def from_tensors(cls, problem: Problem, degree: int, angles: int, tensors: Mapping[str, Tensor]) -> Mesh:
        """The mesh that ``tensors()`` described."""
        mesh = cls(Elements(tensors["breaks"]), degree)
        if len(problem.coords) == 1:
            return mesh
        wall, focus, width = float(tensors["wall"]), tensors["focus"], tensors["width"]
        return replace(mesh, across=Angles(problem.extent(0.0)[1], angles, wall, focus, width))

    def to(self, device: str | torch.device) -> Mesh:
        across = None if self.across is None else self.across.to(device)
        return replace(self, elements=Elements(self.elements.breaks.to(device)), across=across)

    @property
    def angles(self) -> int:
        """Collocation points across."""
        return 1 if self.across is None else self.across.number

    def points(self, local: Tensor) -> Tensor:
        """The points with given local coordinates in each element, at each of its angles, (E · n · angles, d)."""
        s = self.elements.points(local.to(self.elements.breaks.device))
        if self.across is None:
            return s.view(-1, 1)
        s = s[..., None].expand(-1, -1, self.angles)
        return torch.stack([s, self.across.beta()[:, None].expand(s.shape)], -1).flatten(0, 2)

    def tensors(self) -> dict[str, Tensor]:
        """What files say of a mesh."""
        return {"breaks": self.elements.breaks} | ({} if self.across is None else self.across.tensors())


def graded(low: float, high: float, finest: float, growth: float, centre: float = 0.0) -> Tensor:
    """Breaks from ``low`` to ``high``: width ``finest`` at the ``centre``, growing in proportion to the distance."""

    def half(length: float) -> Tensor:
        number = max(1, math.ceil(math.asinh(length * growth) / (finest * growth)))
        return torch.sinh(torch.linspace(0, math.asinh(length * growth), number + 1, dtype=torch.float64)) / growth

    return torch.cat([(centre - half(centre - low)).flip(0)[:-1], centre + half(high - centre)])


def spanned(mesh: Mesh, low: float, high: float) -> Mesh:
    """The same mesh, cut or lengthened to end at ``low`` and ``high``."""
    breaks = mesh.elements.breaks
    inner = breaks[(breaks > low + 0.5) & (breaks < high - 0.5)]
    return on_elements(mesh, Elements(torch.cat([breaks.new_tensor([low]), inner, breaks.new_tensor([high])])))


def on_elements(mesh: Mesh, elements: Elements) -> Mesh:
    """The same mesh across β on other elements."""
    nearest = mesh.elements.locate(elements.centre)[0]
    return replace(mesh, elements=elements, across=mesh.across and mesh.across.of(nearest))


# -- how well a mesh carries its fields ------------------------------------------------------------------------------


def tails_along(fields: dict[str, Tensor]) -> Tensor:
    """For each element, the last Chebyshev coefficients in s of its worst field, relative to that field, (E,)."""
    worst = []
    for values in fields.values():
        coefficients = torch.einsum("mn,ena->ema", to_coefficients(values.shape[1], True).to(values.device), values)
        worst.append(coefficients[:, -2:].abs().amax((1, 2)) / _size(values))
    return torch.stack(worst).amax(0)


def tails_across(across: Angles, fields: dict[str, Tensor]) -> Tensor:
    """The last Chebyshev coefficients in β of the worst field, relative to that field, in both panels of each element,
    (2, E).
    """
    return torch.stack([across.tails(values) / _size(values) for values in fields.values()]).amax(0)


def _size(values: Tensor) -> Tensor:
    """Of a field in each element; a raw function that is small is small beside the one it is added to."""
    return values.abs().amax((1, 2)).clamp(min=1.0)


def adapted(
    mesh: Mesh,
    fields: dict[str, Tensor],
    orders: dict[str, int],
    tolerance: float,
    most_elements: int,
    most_angles: int,
) -> Mesh:
    """A mesh on which the coefficients of these fields should decay to ``tolerance``, coarser where they do so early.

    ``orders``: of each field across. Returns ``mesh`` itself when it serves already.
    """
    elements = _refined(mesh, tails_along(fields), tolerance, most_elements)
    across = mesh.across and _across(mesh.across, fields, orders, tolerance, most_angles)
    better = mesh if across is mesh.across else replace(mesh, across=across)
    return better if elements is mesh.elements else on_elements(better, elements)


def _across(across: Angles, fields: dict[str, Tensor], orders: dict[str, int], tolerance: float, most: int) -> Angles:
    """Maps and a number of angles that suit the fields; or the same angles, if they do."""
    at_wall, outside = tails_across(across, fields)
    if float(torch.maximum(at_wall, outside).max()) <= tolerance:
        fewer = replace(across, number=max(FEWEST, 2 * round(0.4 * across.number)))
        serves = float(tails_across(fewer, at_angles(across, fewer, fields, orders)).max()) < 0.1 * tolerance
        return fewer if serves and fewer.number < across.number else across
    better, tails = _focused(across, outside, fields, orders, tolerance)
    worst, number = float(tails.max()), across.number
    if worst > tolerance:
        growth = 1.05 * math.log(tolerance) / math.log(worst)
        number = max(number, min(most, 2 * math.ceil(number / 2 * min(1.6, max(1.15, growth)))))
    worst, wall = float(at_wall.max()), across.wall
    if worst > tolerance:
        wall = max(THINNEST, wall * max(0.3, (tolerance / 3 / worst) ** (1 / WALL)))
    return better if (number, wall) == (across.number, across.wall) else replace(better, number=number, wall=wall)


def _focused(
    across: Angles, now: Tensor, fields: dict[str, Tensor], orders: dict[str, int], tolerance: float
) -> tuple[Angles, Tensor]:
    """For each element, the map in β under which its fields have short tails, and those tails; ``now``: present ones.

    Neighbours get the same map unless there is something to gain.
    """
    maps = torch.tensor(list(product(FOCI, WIDTHS)), dtype=now.dtype, device=now.device)
    steps = torch.tensor(list(product(range(len(FOCI)), range(len(WIDTHS)))), dtype=now.dtype, device=now.device)
    found = (replace(across, focus=f.expand(len(now)), width=w.expand(len(now))) for f, w in maps)
    tails = torch.stack([tails_across(other, at_angles(across, other, fields, orders))[1] for other in found])
    chosen = _cheapest(tails.clamp(min=0.1 * tolerance).log10(), STIFFNESS * torch.cdist(steps, steps, p=1))
    best = tails.gather(0, chosen[None])[0]
    if not best.max() < now.max() / HYSTERESIS:
        return across, now
    return replace(across, focus=maps[chosen, 0], width=maps[chosen, 1]), best


def _cheapest(cost: Tensor, step: Tensor) -> Tensor:
    """The sequence of choices (E,) with the lowest sum of their costs (choices, E) and of the steps between them."""
    total, came = cost[:, 0], []
    for column in cost.T[1:]:
        best = (total + step).min(1)
        came.append(best.indices)
        total = best.values + column
    choice = total.argmin()
    sequence = [choice]
    for back in reversed(came):
        choice = back[choice]
        sequence.append(choice)
    return torch.stack(sequence[::-1])


def _refined(mesh: Mesh, along: Tensor, tolerance: float, most: int) -> Elements:
    """Elements of the sizes at which coefficients would decay to ``tolerance``: a tail falls like size^degree.

    Returns the same elements where they serve, or are as many as there may be and no better placed elsewhere.
    """
    elements = mesh.elements
    factor = (tolerance / 3 / along.clamp(min=FLOOR)) ** (1 / mesh.degree)
    size = (elements.half * factor.clamp(0.25, 1.6)).clamp(NARROWEST, WIDEST)
    distance = (elements.centre[:, None] - elements.centre).abs()
    size = (size + GRADING * (distance - elements.half).clamp(min=0)).amin(1)
    shares = elements.half / size  # how many there should be in the place of each
    number = min(math.ceil(float(shares.sum())), most)
    if bool((along > tolerance).any()):
        if number <= len(elements) and float(shares.max()) < 10 ** (1 / mesh.degree) * float(shares.sum()) / number:
            return elements
    elif number >= 0.7 * len(elements):
        return elements
    counts = torch.cat([size.new_zeros(1), shares.cumsum(0)])
    at = torch.linspace(0, float(counts[-1]), number + 1, dtype=size.dtype, device=size.device)
    index = torch.searchsorted(counts, at, right=True).sub(1).clamp(0, len(elements) - 1)
    share = (at - counts[index]) / (counts[index + 1] - counts[index])
    breaks = elements.breaks[index] + share.clamp(0, 1) * 2 * elements.half[index]
    breaks[0], breaks[-1] = elements.breaks[0], elements.breaks[-1]
    return Elements(breaks)


# -- from one mesh to another ----------------------------------------------------------------------------------------


def at_angles(old: Angles, new: Angles, fields: dict[str, Tensor], orders: dict[str, int]) -> dict[str, Tensor]:
    """Fields at other angles of the same elements."""
    beta = new.beta()
    rows = {order: old.rows(beta, order) for order in set(orders.values())}
    return {name: torch.einsum("eba,ena->enb", rows[orders[name]], values) for name, values in fields.items()}


def transfer(old: Mesh, new: Mesh, fields: dict[str, Tensor], orders: dict[str, int]) -> dict[str, Tensor]:
    """Nodal values on the old mesh interpolated to the new one. Points beyond the old ends take the end's value."""
    moved = {}
    for name, values in fields.items():
        nodes = lobatto(values.shape[1]).to(values.device)
        s = new.elements.points(nodes)
        element, local = old.elements.locate(s.flatten())
        along = torch.einsum("mn,mna->ma", interpolation(nodes, local), values[element])
        if old.across is not None and new.across is not None:
            rows = old.across.of(element).rows(new.across.beta().repeat_interleave(len(nodes), 0), orders[name])
            along = torch.einsum("mba,ma->mb", rows, along)
        moved[name] = along.view(*s.shape, -1)
    return moved

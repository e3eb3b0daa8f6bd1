"""Meshes: elements along s, Chebyshev points across β, and how both follow the profile they carry."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from usd_bench.elements import Elements, chebyshev, interpolation, lobatto, to_coefficients

CROWDINGS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
"""Maps in β from which the one that suits a profile is chosen."""

NARROWEST, WIDEST = 1e-5, 8.0
"""Smallest and largest half-width of an element."""

GRADING = 0.25
"""Largest change of an element's size over a distance of one."""

FLOOR = 1e-15
"""Relative size of coefficients that are rounding."""


@dataclass(frozen=True)
class Mesh:
    """Elements along s with polynomials of ``degree`` (one more per further derivative), ``angles`` points across β.

    ``crowding``: how strongly the angles crowd towards the upper end of β, or, negative, the lower: 0 for Chebyshev
    points, else by a factor of about e^crowding. One-dimensional meshes have one angle.
    """

    elements: Elements
    degree: int
    angles: int = 1
    crowding: float = 0.0

    def to(self, device: str | torch.device) -> Mesh:
        return replace(self, elements=Elements(self.elements.breaks.to(device)))

    def beta(self, span: tuple[float, float]) -> Tensor:
        """The angles in the range ``span``."""
        return angle(chebyshev(self.angles), span, self.crowding)[0]


def angle(eta: Tensor, span: tuple[float, float], crowding: float) -> tuple[Tensor, Tensor]:
    """β and dβ/dη at local coordinates η in [-1, 1]: a sinh map that crowds points at one end.

    Source: Tee & Trefethen, SIAM J. Sci. Comput. 28 (2006) 1798.
    """
    low, high = span
    if crowding == 0:
        return low + (high - low) * (eta + 1) / 2, torch.full_like(eta, (high - low) / 2)
    scale, z = (high - low) / math.sinh(crowding), crowding * (1 - eta) / 2
    if crowding < 0:
        z = crowding * (1 + eta) / 2
        return low + scale * torch.sinh(z), scale * crowding / 2 * torch.cosh(z)
    return high - scale * torch.sinh(z), scale * crowding / 2 * torch.cosh(z)


def local_angle(beta: Tensor, span: tuple[float, float], crowding: float) -> Tensor:
    """The inverse of ``angle``; differentiable."""
    low, high = span
    if crowding < 0:
        return 2 * torch.asinh((beta - low) / (high - low) * math.sinh(crowding)) / crowding - 1
    share = (high - beta) / (high - low)
    return 1 - 2 * (torch.asinh(share * math.sinh(crowding)) / crowding if crowding else share)


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
    return replace(mesh, elements=Elements(torch.cat([breaks.new_tensor([low]), inner, breaks.new_tensor([high])])))


# -- how well a mesh carries its fields ------------------------------------------------------------------------------


def tails_along(fields: dict[str, Tensor]) -> Tensor:
    """For each element, the last Chebyshev coefficients in s of its worst field, relative to that field, (E,)."""
    worst = []
    for values in fields.values():
        coefficients = torch.einsum("mn,ena->ema", to_coefficients(values.shape[1], True).to(values.device), values)
        worst.append(coefficients[:, -2:].abs().amax((1, 2)) / _size(values))
    return torch.stack(worst).amax(0)


def tail_across(fields: dict[str, Tensor]) -> Tensor:
    """The last Chebyshev coefficients in β of the worst field, relative to that field, 0-d."""
    return torch.stack(
        [
            (values @ to_coefficients(values.shape[2], False).T.to(values.device))[..., -3:].abs().max() / _size(values)
            for values in fields.values()
        ]
    ).max()


def _size(values: Tensor) -> Tensor:
    return values.abs().max().clamp(min=1.0)


def adapted(mesh: Mesh, fields: dict[str, Tensor], tolerance: float, most_elements: int, most_angles: int) -> Mesh:
    """A mesh on which the coefficients of these fields should decay to ``tolerance``, coarser where they do so early.

    Returns ``mesh`` itself when it serves already.
    """
    along = tails_along(fields)
    elements, angles, crowding = mesh.elements, mesh.angles, mesh.crowding
    wanted = _equidistributed(mesh, along, tolerance / 3, most_elements)
    if bool((along > tolerance).any()) or len(wanted) < 0.7 * len(elements):
        elements = wanted
    if angles > 1:
        tail = float(tail_across(fields))
        fewer = max(8, 2 * round(0.4 * angles))
        if tail > tolerance:
            crowding = min(CROWDINGS, key=lambda c: float(tail_across(_across(mesh, fields, angles, c))))
            angles = max(8, min(most_angles, 2 * round(0.625 * angles)))
        elif fewer < angles and float(tail_across(_across(mesh, fields, fewer, crowding))) < 0.1 * tolerance:
            angles = fewer
    if elements is mesh.elements and angles == mesh.angles and crowding == mesh.crowding:
        return mesh
    if len(elements) >= len(mesh.elements) >= most_elements and angles == mesh.angles and crowding == mesh.crowding:
        return mesh  # nothing left to give
    return replace(mesh, elements=elements, angles=angles, crowding=crowding)


def _equidistributed(mesh: Mesh, along: Tensor, tolerance: float, most: int) -> Elements:
    """Elements of the sizes at which coefficients would decay to ``tolerance``: a tail falls like size^degree."""
    elements = mesh.elements
    factor = (tolerance / along.clamp(min=FLOOR)) ** (1 / mesh.degree)
    size = (elements.half * factor.clamp(0.25, 1.6)).clamp(NARROWEST, WIDEST)
    distance = (elements.centre[:, None] - elements.centre).abs()
    size = (size + GRADING * (distance - elements.half).clamp(min=0)).amin(1)
    counts = torch.cat([size.new_zeros(1), (elements.half / size).cumsum(0)])  # elements needed up to each break
    number = min(math.ceil(float(counts[-1])), most)
    at = torch.linspace(0, float(counts[-1]), number + 1, dtype=size.dtype, device=size.device)
    index = torch.searchsorted(counts, at, right=True).sub(1).clamp(0, len(elements) - 1)
    share = (at - counts[index]) / (counts[index + 1] - counts[index])
    breaks = elements.breaks[index] + share.clamp(0, 1) * 2 * elements.half[index]
    breaks[0], breaks[-1] = elements.breaks[0], elements.breaks[-1]
    return Elements(breaks)


def _across(mesh: Mesh, fields: dict[str, Tensor], angles: int, crowding: float) -> dict[str, Tensor]:
    """Fields interpolated to other angles."""
    if angles == mesh.angles and crowding == mesh.crowding:
        return fields
    beta = angle(chebyshev(angles), (0.0, 1.0), crowding)[0]
    rows = interpolation(chebyshev(mesh.angles), local_angle(beta, (0.0, 1.0), mesh.crowding))
    return {name: values @ rows.T.to(values.device) for name, values in fields.items()}


def transfer(old: Mesh, new: Mesh, fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """Nodal values on the old mesh interpolated to the new one. Points beyond the old ends take the end's value."""
    moved = {}
    for name, values in _across(old, fields, new.angles, new.crowding).items():
        nodes = lobatto(values.shape[1]).to(values.device)
        s = new.elements.points(nodes).flatten()
        element, local = old.elements.locate(s)
        moved[name] = torch.einsum("mn,mna->ma", interpolation(nodes, local), values[element]).view(
            len(new.elements), len(nodes), -1
        )
    return moved

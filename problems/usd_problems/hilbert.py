"""The Hilbert transform of an odd function on the half line, in the logarithmic coordinate, on Gauss panels.

For Ω odd and y = e^s, with H f(x) = (1/π) PV ∫ f(z) / (x - z) dz:

    HΩ(s)  = (1/π) PV ∫ Ω(t) [coth(s - t) - 1] dt                  W, the velocity's gradient
    U/y(s) = (1/π) ∫ Ω(t) e^(t-s) ln tanh(|s - t| / 2) dt          V, with U' = HΩ and U(0) = 0

Product integration: on panels near the target, the singular factor (1/x or ln|x|) against Legendre polynomials is
known in closed form (functions of the second kind) and the smooth rest goes by Gauss's rule; far panels go by
Gauss's rule alone. Source: kernels, docs/mathematics.md; Legendre functions, DLMF 14; Gil, Segura & Temme,
Numerical Methods for Special Functions (2007), chapter 4 (recurrences).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from usd_bench.elements import Elements, gauss

NEAR = 3.0
"""Half-widths from a panel's centre within which a target is near."""


def hilbert_operators(panels: Elements, nodes: int, at: Tensor) -> dict[str, Tensor]:
    """Matrices (len(at), panels · nodes) from Ω at the Gauss points of the panels to W = HΩ and V = U/y at ``at``."""
    local, weights = (a.to(at.device) for a in gauss(nodes))
    t = panels.points(local)  # (E, n)
    h = panels.half[:, None]
    distance = at[:, None, None] - t  # (M, E, n)
    x = ((at[:, None] - panels.centre) / panels.half)[..., None]  # targets in each panel's coordinate (M, E, 1)
    near = x.abs() < NEAR
    z = torch.where(near, x - local, 1.0)  # distance over h
    hit = z == 0
    z = torch.where(hit, 1.0, z)
    # Far: the kernels themselves. Near: the kernels less their singular parts 1/(h z) and ln|z|.
    far_distance = torch.where(near, 1.0, distance)
    near_distance = torch.where(hit, 0.0, h * z)
    gradient = torch.where(near, _coth_less_inverse(near_distance), 1 / torch.tanh(far_distance)) - 1
    decay = (-distance).clamp(max=700).exp()
    log_tanh = torch.where(near, _log_tanh_less_log(near_distance) + torch.log(h / 2), _log_tanh(far_distance))
    gradient, velocity = gradient * h * weights, decay * log_tanh * h * weights
    # The singular parts, on the near pairs only.
    target, panel, _ = near.nonzero(as_tuple=True)
    to_break = (at[:, None] - panels.breaks).abs().clamp(min=1e-30).log()  # one number for both panels that meet there
    inverse, log = _singular(x[target, panel, 0], 0.5 * (to_break[target, panel] - to_break[target, panel + 1]), nodes)
    gradient[target, panel] += inverse
    velocity[target, panel] += log * decay[target, panel] * panels.half[panel, None]
    return {"W": gradient.flatten(1) / math.pi, "V": velocity.flatten(1) / math.pi}


def _coth_less_inverse(x: Tensor) -> Tensor:
    """Coth x - 1/x, by its series where the two cancel."""
    small = x.abs() < 0.3
    square = torch.where(small, x * x, 0.0)
    series = torch.zeros_like(x)
    for coefficient in reversed(_COTH):
        series = series * square + coefficient
    safe = torch.where(small, 1.0, x)
    return torch.where(small, x * series, 1 / torch.tanh(safe) - 1 / safe)


_COTH = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875, 4 / 18243225, -3617 / 162820783125)
"""coth x = 1/x + x/3 - x^3/45 + ... (DLMF 4.33.4)."""


def _log_tanh_less_log(x: Tensor) -> Tensor:
    """ln(tanh(|x|/2) / (|x|/2)); smooth, -x^2/12 + ... at 0."""
    small = x.abs() < 1e-4
    safe = torch.where(small, 1.0, x.abs())
    return torch.where(small, -x * x / 12, torch.log(torch.tanh(safe / 2) / (safe / 2)))


def _log_tanh(x: Tensor) -> Tensor:
    """Ln tanh(|x|/2), accurate where it is small."""
    return torch.log1p(-2 / (x.abs().clamp(max=700).exp() + 1))


def _singular(x: Tensor, q0: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Quadrature weights (M, nodes) on [-1, 1] for PV ∫ f(τ)/(x-τ) dτ and ∫ f(τ) ln|x-τ| dτ.

    ``q0``: Q_0(x), which diverges at the ends, where neighbouring panels cancel.
    """
    q = legendre_q(x, q0, nodes)
    k = torch.arange(nodes, dtype=x.dtype, device=x.device)
    inverse = 2 * q[:, :nodes]
    log = torch.empty_like(inverse)
    log[:, 1:] = 2 / (2 * k[1:] + 1) * (q[:, 2 : nodes + 1] - q[:, : nodes - 1])
    log[:, 0] = _x_log(x + 1) - _x_log(x - 1) - 2
    local, weights = gauss(nodes)
    vander = torch.from_numpy(np.polynomial.legendre.legvander(local.numpy(), nodes - 1))
    to_legendre = (vander * weights[:, None]).T * ((2 * k + 1) / 2).cpu()[:, None]
    to_legendre = to_legendre.to(x.device)
    return inverse @ to_legendre, log @ to_legendre


def _x_log(x: Tensor) -> Tensor:
    return torch.xlogy(x, x.abs())


def legendre_q(x: Tensor, first: Tensor, degree: int) -> Tensor:
    """Q_0 … Q_degree (M, degree+1): on [-1, 1] the principal values, outside the decaying functions.

    ``first``: Q_0 = ln|(1+x)/(1-x)| / 2.

    Forward recurrence where nothing grows faster than Q, else Miller's backward recurrence.
    """
    rho = x.abs() + (x * x - 1).clamp(min=0).sqrt()  # Q_k falls like rho^-k
    forward = rho ** (2 * degree) < 10
    rows = [first, x * first - 1]
    for k in range(1, degree):
        rows.append(((2 * k + 1) * x * rows[k] - k * rows[k - 1]) / (k + 1))
    up = torch.stack(rows[: degree + 1], 1)
    if bool(forward.all()):
        return up
    safe = torch.where(forward, 3.0, x)
    least = float(rho[~forward].min())
    start = degree + 2 + math.ceil(40 / (2 * math.log(least)))
    above, here = torch.zeros_like(safe), torch.full_like(safe, 1e-280)
    kept: list[Tensor] = []
    for k in range(start, 0, -1):
        above, here = here, ((2 * k + 1) * safe * here - (k + 1) * above) / k
        grown = here.abs() > 1e200
        if bool(grown.any()):
            factor = torch.where(grown, 1e-200, 1.0)
            above, here, kept = above * factor, here * factor, [row * factor for row in kept]
        if k - 1 <= degree:
            kept.append(here)
    down = torch.stack(kept[::-1], 1)
    down = down * (first / down[:, 0])[:, None]
    return torch.where(forward[:, None], up, down)

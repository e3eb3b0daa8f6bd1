"""Updates of the inverse Hessian H from a step s and the change y of the gradient: the self-scaled Broyden family.

    H₊ = (H - H y yᵀ H / yᵀHy + φ yᵀHy v vᵀ) / τ + s sᵀ / yᵀs,    v = s / yᵀs - H y / yᵀHy

All satisfy the secant equation H₊ y = s. BFGS is τ = φ = 1. Source: Al-Baali, Comput. Optim. Appl. 9 (1998) 191; Urbán,
Stefanou & Pons, J. Comput. Phys. 523 (2025) 113656, arXiv:2405.04230, eqs. (10)-(23).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Update = Callable[[float, float, int], tuple[float, float]]
"""τ and φ from b = sᵀBs / yᵀs (B = H⁻¹), h = yᵀHy / yᵀs and the dimension."""


def bfgs(b: float, h: float, n: int) -> tuple[float, float]:
    """τ = φ = 1."""
    return 1.0, 1.0


def ssbfgs(b: float, h: float, n: int) -> tuple[float, float]:
    """τ = min(1, 1/b), φ = 1: shrinks eigenvalues of B that the step has shown to be too large."""
    return min(1.0, 1 / b), 1.0


def ssbroyden(b: float, h: float, n: int) -> tuple[float, float]:
    """Al-Baali's switch between BFGS and DFP by how far B is from the curvature along the step."""
    a = b * h - 1  # non-negative by Cauchy and Schwarz; zero where s and Hy are parallel and all φ are one
    if a <= 1e-14:
        return min(1.0, 1 / b), 1.0
    low = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
    theta = max((low - 1) / a, min(1 / low, (1 - b) / b))
    sigma = 1 + a * theta
    spread = abs(sigma) ** (1 / (1 - n)) if n > 1 else 1.0
    shrink = min(1.0, 1 / b)
    tau = shrink * min(spread, 1 / theta) if theta > 0 else min(shrink * spread, sigma)
    return tau, (1 - theta) / sigma


def updated(inverse: Tensor, s: Tensor, y: Tensor, b: float, update: Update) -> Tensor:
    """H₊ (n, n) from H = ``inverse``; ``b`` is sᵀBs / yᵀs, which the line search knows without B.

    The first matrix is a multiple of the identity; where yᵀs is not positive, H stays.
    """
    curvature = float(y @ s)
    if curvature <= 0:
        return inverse
    hy = inverse @ y
    yhy = float(y @ hy)
    tau, phi = update(b, yhy / curvature, len(s))
    v = s / curvature - hy / yhy
    return (inverse - torch.outer(hy, hy) / yhy + phi * yhy * torch.outer(v, v)) / tau + torch.outer(s, s) / curvature

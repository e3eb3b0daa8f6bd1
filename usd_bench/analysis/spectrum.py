"""Stability: eigenvalues of the linearised rescaled dynamics about a profile, in its symmetry class.

With τ = -ln(1-t) a perturbation grows as e^(μτ), where μ δ = -(linearised equations) δ, fields without an evolution
equation following at once. Perturbations are bounded at the origin and level there, so for μ > 0 none of the
|y|^ε that make a false continuum are among them. Two eigenvalues are known for every profile, and say how accurate the
others are: μ = 1 (another blow-up time) and μ = 0 (another scale). An order-n profile has n more with positive real
part. Source: Eggers & Fontelos, Nonlinearity 22 (2009) R1, section 3; docs/mathematics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.linalg import eig
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs
from torch import Tensor

from usd_bench.collocation.linear import Blocks, Dense
from usd_bench.collocation.mesh import Mesh
from usd_bench.collocation.piecewise import mesh_of, projected
from usd_bench.collocation.system import Collocation, Linearised, Mass
from usd_bench.errors import SpectrumError
from usd_bench.problem import Problem
from usd_bench.profile import Profile

SHIFT = 0.55
"""Where eigenvalues are sought first: those nearest to it come out most accurately."""

SYMMETRY = {1.0: "blow-up time", 0.0: "scale"}
"""Eigenvalues that every profile has."""

COUNT = 16
"""Eigenvalues computed unless more are asked for: those of a continuous spectrum are among them."""

RECOGNISED = 1e-2
"""Largest distance of an eigenvalue from a symmetry's: beyond, the profile is not one."""

NEUTRAL = 1e-3
"""Real parts below this count as not growing."""

ACCURACY = 1e-8
"""Relative error of an eigenvalue's inverse, at which Arnoldi's iteration stops."""

DRIFT = 5e-4
"""Largest distance between an eigenvalue and its counterpart on another mesh. Source: Boyd, Chebyshev and Fourier
Spectral Methods (2001), section 7.3 (drift)."""


Eigenfunctions = Callable[[int], dict[str, Tensor]]
"""The i-th one's nodal values. Computed when asked for: in two dimensions each takes a substitution."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues by falling real part, their eigenfunctions, and what they say."""

    eigenvalues: np.ndarray
    eigenfunctions: list[dict[str, Tensor]] = field(repr=False)
    """Nodal values of each evolved field's raw function, real parts, largest value 1: (E, nodes, angles)."""
    mesh: Mesh = field(repr=False)
    residual: float
    """Largest scaled residual of the profile at the collocation points: what the linearisation is about."""

    @property
    def symmetry_errors(self) -> dict[str, float]:
        """Distance of the nearest eigenvalue from each symmetry mode: the accuracy check."""
        return {name: float(np.abs(self.eigenvalues - at).min()) for at, name in SYMMETRY.items()}

    @property
    def unstable(self) -> np.ndarray:
        """Eigenvalues with positive real part other than the symmetry modes, by falling real part."""
        return np.array([mu for i, mu in enumerate(self.eigenvalues) if self.meaning(i) == "unstable"])

    def meaning(self, i: int) -> str:
        """What the i-th eigenvalue is: a symmetry, unstable, or stable."""
        for at, name in SYMMETRY.items():
            if int(np.abs(self.eigenvalues - at).argmin()) == i:
                return f"symmetry: {name}"
        return "unstable" if self.eigenvalues[i].real > NEUTRAL else "stable"


def spectrum(problem: Problem, profile: Profile, count: int = COUNT) -> Spectrum:
    """Of the ``count`` eigenvalues nearest to the unstable range, those that do not depend on the mesh.

    Computed on two meshes: the discrete form of a continuous spectrum drifts from one to the other, an eigenvalue
    does not. The symmetries' eigenvalues are kept in any case, and their errors told: that of the scale is at the edge
    of the continuous spectrum, which moves it by some 1e-3 where profiles are hard. Raises ``SpectrumError``
    where there is nothing to find.
    """
    if not problem.evolution:
        raise SpectrumError(f"{type(problem).__name__} does not say how its fields evolve; it has no spectrum here")
    mesh = mesh_of(problem, profile)
    across = mesh.across and replace(mesh.across, number=round(0.88 * mesh.angles))
    coarser = replace(mesh, degree=mesh.degree - 2, across=across)
    others = _eigen(problem, profile, coarser, count + 4)[1]
    found, values, function = _eigen(problem, profile, mesh, count)
    stays = {i for i, mu in enumerate(values) if np.abs(others - mu).min() < DRIFT * max(1.0, abs(mu))}
    stays |= {int(np.abs(values - at).argmin()) for at in SYMMETRY}
    order = sorted(stays, key=lambda i: (-values[i].real, values[i].imag))
    result = Spectrum(values[order], [], mesh, found)
    for name, error in result.symmetry_errors.items():
        if error > RECOGNISED:
            raise SpectrumError(
                f"no eigenvalue is near that of a change of {name}: the nearest is {error:.1e} away, so this is no "
                f"solution (residual {found:.1e}); solve more accurately"
            )
    return replace(result, eigenfunctions=[_normalised(function(i)) for i in order])


def _eigen(problem: Problem, profile: Profile, mesh: Mesh, count: int) -> tuple[float, np.ndarray, Eigenfunctions]:
    """Largest residual, eigenvalues and eigenfunctions on one mesh."""
    system = Collocation(problem, mesh, pinned=False)
    at = projected(problem, profile, mesh)
    linear = system.linearise(at)
    mass = system.mass(at)
    solve = _dense if linear.through is not None else _shift_invert
    return float(linear.residual.abs().max()), *solve(system, linear, mass, count)


def _dense(system: Collocation, linear: Linearised, mass: Mass, count: int) -> tuple[np.ndarray, Eigenfunctions]:
    """All eigenvalues of the full pencil, of which those of largest real part are kept."""
    assembled = Dense(system, linear)
    right = assembled.mass(mass.by_raw)
    values, vectors = eig(-assembled.matrix.numpy(), right.numpy())
    finite = np.isfinite(values) & (np.abs(values) < 1e3)
    values, vectors = values[finite], vectors[:, finite]
    keep = np.argsort(-values.real, kind="stable")[:count]
    vectors = vectors[:, keep].real.copy()
    return values[keep], lambda i: {n: torch.from_numpy(vectors[:, i])[index] for n, index in assembled.index.items()}


def _shift_invert(system: Collocation, linear: Linearised, mass: Mass, count: int) -> tuple[np.ndarray, Eigenfunctions]:
    """Arnoldi on M (J + σM)^-1, whose eigenvalues are 1/(σ - μ)."""
    names = list(linear.seeds)
    q, e, k, a = system.shape
    factored = Blocks(system, system.with_mass(linear, mass, SHIFT))
    rows = [system.problem.equations.index(equation) for equation in system.problem.evolution]
    still = torch.zeros(e + 1, len(names), a, 1, dtype=torch.float64)

    def fields(vector: np.ndarray) -> dict[str, Tensor]:
        right = torch.zeros(q, e, k, a, 1, dtype=torch.float64)
        right[rows] = torch.from_numpy(np.ascontiguousarray(vector)).view(len(rows), e, k, a, 1)
        return {name: values[..., 0] for name, values in factored.solve(right, still).items()}

    def apply(vector: np.ndarray) -> np.ndarray:
        found = fields(vector)
        parts = [
            mass.by_raw[equation] * torch.einsum("kn,ena->eka", system.values_at_points(name), found[name]).flatten()
            for equation, name in system.problem.evolution.items()
        ]
        result: np.ndarray = torch.cat(parts).numpy()
        return result

    size = len(rows) * e * k * a
    start = np.random.default_rng(0).standard_normal(size)
    try:
        inverse, vectors = eigs(
            LinearOperator((size, size), apply, dtype=np.float64), k=count, v0=start, tol=ACCURACY, maxiter=40
        )
    except ArpackNoConvergence as error:
        inverse, vectors = error.eigenvalues, error.eigenvectors
        if not len(inverse):
            raise SpectrumError("no eigenvalue converged; refine the profile") from None
    return SHIFT - 1 / inverse, lambda i: fields(vectors[:, i].real.copy())


def _normalised(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    size = max(float(values.abs().max()) for values in fields.values())
    return {name: values / (size or 1.0) for name, values in fields.items()}

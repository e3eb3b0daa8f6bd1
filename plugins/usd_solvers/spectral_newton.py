"""Newton's method on spectral elements: the independent, non-neural answer."""

from __future__ import annotations

from typing import ClassVar

from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_solvers.spectral.solver import SpectralSolver, SpectralState


class SpectralNewton(SpectralSolver):
    """Collocation of the residual on spectral elements, solved by damped Newton from the zero trial function.

    Whenever λ has settled on a mesh, the mesh is adapted: elements to the decay of the coefficients, points across
    β likewise, until both decay to the tolerance. One iteration is one Newton step. Deterministic: the seed is not
    used. Source: de Boor & Swartz 1973 (collocation at Gauss points); docs/mathematics.md (trial functions).
    """

    eval_every: ClassVar[int] = 1

    bibtex: ClassVar[str] = """@article{deboor1973,
  author = {de Boor, Carl and Swartz, Blair},
  title = {Collocation at {Gaussian} Points},
  journal = {SIAM Journal on Numerical Analysis},
  volume = {10},
  pages = {582--606},
  year = {1973},
}"""

    def init(self, problem: Problem, seed: int, device: str) -> SpectralState:
        return SpectralState(**self.trial_on_mesh(problem, device))

    def step(self, problem: Problem, state: SpectralState) -> SpectralState:
        return self.refine(problem, state)

    def profile(self, problem: Problem, state: SpectralState) -> Profile:
        return PiecewiseProfile.of(*self.unpack(problem, state))

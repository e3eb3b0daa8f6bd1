"""The Córdoba-Córdoba-Fontelos equation: transport by the Hilbert transform of what is transported."""

from __future__ import annotations

from pydantic import Field as Checked

from usd_bench.problem import Bracket, ProblemParameters, Target
from usd_problems.gclm import GCLM

PUBLISHED = {
    0: Target(1.1807776628998, 12, "Wang et al. 2025, arXiv:2509.14185"),
    1: Target(0.6057337012032, 11, "Wang et al. 2025, arXiv:2509.14185; Eggers & Fontelos 2020"),
    2: Target(0.47132422, 8, "Wang et al. 2025, arXiv:2511.22819; arXiv:2509.14185 prints 0.471324863862"),
}


class CCF(GCLM):
    """Córdoba-Córdoba-Fontelos θ_t - (Hθ) θ_x = 0, written for ω = θ_x: ``gclm`` with a = -1.

        Ω + ((1+λ) y - U) Ω' - Ω U' = 0,    U' = HΩ

    Orders 0, 1, 2 are published; the layer where 1+λ - U/y is smallest sharpens with the order (0.59, 0.15, 0.03).
    Source: Córdoba, Córdoba & Fontelos, Ann. Math. 162 (2005) 1377; Eggers & Fontelos, Nonlinearity 33 (2020) 325.
    """

    bibtex = """@article{wang2025discovery,
  author = {Wang, Yongji and others},
  title = {Discovery of Unstable Singularities},
  year = {2025},
  eprint = {2509.14185},
  archiveprefix = {arXiv},
}"""

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=3, description="0 stable; n has n unstable modes")

    a = -1.0
    continuous = ("exponent",)

    @property
    def target(self) -> Target | None:
        return PUBLISHED.get(self.order)

    @property
    def bracket(self) -> Bracket:
        guess, half = ((1.18, 0.3), (0.6, 0.1), (0.47, 0.03), (0.45, 0.01))[self.order]
        return Bracket(guess - half, guess, guess + half, hold=True)

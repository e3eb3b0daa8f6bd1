"""SSBFGS: a full inverse Hessian, scaled by itself, by the BFGS formula."""

from __future__ import annotations

from typing import ClassVar

from usd_solvers.quasi_newton.solver import QuasiNewton
from usd_solvers.quasi_newton.update import Update, ssbfgs


class SSBFGS(QuasiNewton):
    """Self-scaled BFGS with Al-Baali's factor, on networks at fixed points.

    Source: Al-Baali, Comput. Optim. Appl. 9 (1998) 191; on networks: Urbán, Stefanou & Pons, arXiv:2405.04230;
    Kiyani et al., arXiv:2501.16371.
    """

    bibtex: ClassVar[str] = """@article{albaali1998,
  author = {Al-Baali, Mehiddin},
  title = {Numerical Experience with a Class of Self-Scaling Quasi-{Newton} Algorithms},
  journal = {Journal of Optimization Theory and Applications},
  volume = {96},
  pages = {533--553},
  year = {1998},
}
@article{urban2025unveiling,
  author = {Urb{\\'a}n, Jorge F. and Stefanou, Petros and Pons, Jos{\\'e} A.},
  title = {Unveiling the optimization process of physics informed neural networks: How accurate and competitive can
           {PINNs} be?},
  journal = {Journal of Computational Physics},
  volume = {523},
  pages = {113656},
  year = {2025},
  eprint = {2405.04230},
  archiveprefix = {arXiv},
}"""
    update: ClassVar[Update] = staticmethod(ssbfgs)

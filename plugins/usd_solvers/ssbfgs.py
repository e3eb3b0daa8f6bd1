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

    update: ClassVar[Update] = staticmethod(ssbfgs)

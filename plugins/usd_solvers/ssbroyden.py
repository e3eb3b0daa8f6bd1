"""SSBroyden: a full inverse Hessian, scaled by itself, by a formula between BFGS and DFP."""

from __future__ import annotations

from typing import ClassVar

from usd_solvers.quasi_newton.solver import QuasiNewton
from usd_solvers.quasi_newton.update import Update, ssbroyden


class SSBroyden(QuasiNewton):
    """Self-scaled Broyden with Al-Baali's factors, on networks at fixed points.

    Source: Al-Baali, Comput. Optim. Appl. 9 (1998) 191; on networks: Urbán, Stefanou & Pons, arXiv:2405.04230;
    Kiyani et al., arXiv:2501.16371.
    """

    update: ClassVar[Update] = staticmethod(ssbroyden)

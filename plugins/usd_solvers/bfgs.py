"""BFGS with a full inverse Hessian, by scipy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from usd_solvers.quasi_newton.solver import Objective, QuasiNewton, QuasiNewtonState


class BFGS(QuasiNewton):
    """BFGS as implemented in scipy.optimize.minimize, one iteration at a time, on networks at fixed points.

    Source: Nocedal & Wright, Numerical Optimization (2006), section 6.1.
    """

    bibtex: ClassVar[str] = """@book{nocedal2006,
  author = {Nocedal, Jorge and Wright, Stephen J.},
  title = {Numerical Optimization},
  edition = {2},
  publisher = {Springer},
  year = {2006},
}"""

    def advance(
        self, objective: Objective, theta: Tensor, loss: float, gradient: Tensor, state: QuasiNewtonState
    ) -> tuple[Tensor, Tensor, bool]:
        def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = objective(torch.from_numpy(point).to(theta))
            return value, slope.cpu().numpy()

        known = state.inverse.cpu().numpy() if len(state.inverse) else None
        found = scipy.optimize.minimize(
            value_and_slope,
            theta.cpu().numpy(),
            jac=True,
            method="BFGS",
            options={"maxiter": 1, "gtol": 0.0, "hess_inv0": known},
        )
        inverse = torch.from_numpy((found.hess_inv + found.hess_inv.T) / 2).to(theta)
        after = torch.from_numpy(found.x).to(theta)
        return after, inverse, bool((after == theta).all())

"""What runs are compared by."""

from __future__ import annotations

MEASURES: dict[str, str] = {
    "residual": "residual",
    "err_max": "error of the profile",
    "lam_error": "relative error of λ",
}
"""What a run is to make small. The residual is the largest scaled one, or violation of a side condition."""

COSTS: dict[str, str] = {
    "time_solve_s": "seconds in the solver",
    "iteration": "iterations",
    "work": "evaluations of the residual, its Jacobian, and products with it",
}
"""What it costs."""

"""Registers the built-in solvers."""

from __future__ import annotations

from usd_bench.hookspecs import Register, hookimpl


@hookimpl
def register_solvers(register: Register) -> None:
    register(
        "gauss_newton",
        "usd_solvers.gauss_newton:GaussNewton",
        summary="Levenberg-Marquardt with geodesic acceleration on networks",
    )
    register("adam", "usd_solvers.adam:Adam", summary="Adam on the same networks: the first-order baseline")

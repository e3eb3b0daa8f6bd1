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
    register(
        "spectral_newton",
        "usd_solvers.spectral_newton:SpectralNewton",
        summary="Newton's method on spectral elements: near double precision",
    )
    register(
        "continuation",
        "usd_solvers.continuation:Continuation",
        summary="unstable profiles from the stable one, along the curve of finite regularity",
    )
    register("adam", "usd_solvers.adam:Adam", summary="Adam on the same networks: the first-order baseline")

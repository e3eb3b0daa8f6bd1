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
    register(
        "dynamic_rescaling",
        "usd_solvers.dynamic_rescaling:DynamicRescaling",
        summary="the rescaled equation in time, to its stable profile; λ from its rates",
    )
    for name, reference, summary in (
        ("adam", "adam:Adam", "Adam on the same networks: the first-order baseline"),
        ("adam_lbfgs", "adam_lbfgs:AdamLBFGS", "Adam first, then L-BFGS"),
        ("adamw", "adamw:AdamW", "AdamW with a cosine schedule"),
        ("soap", "soap:SOAP", "Adam in the eigenbasis of Shampoo's preconditioner"),
        ("shampoo", "shampoo:Shampoo", "gradients preconditioned by roots of their second moments"),
        ("muon", "muon:Muon", "orthogonal momentum for matrices, AdamW for the rest"),
        ("bfgs", "bfgs:BFGS", "BFGS with a full inverse Hessian, by scipy"),
        ("ssbfgs", "ssbfgs:SSBFGS", "self-scaled BFGS"),
        ("ssbroyden", "ssbroyden:SSBroyden", "self-scaled Broyden"),
        ("engd", "engd:ENGD", "energy natural gradient, with a line search"),
        ("spring", "spring:SPRING", "natural gradient in kernel form on small batches, with momentum"),
        ("hessian_free", "hessian_free:HessianFree", "truncated Gauss-Newton by products with the Jacobian"),
        ("nncg", "nncg:NNCG", "Newton-CG with a Nyström preconditioner"),
        ("scipy_least_squares", "scipy_least_squares:ScipyLeastSquares", "scipy's trf, dogbox or lm"),
        ("chebyshev_gn", "chebyshev_gn:ChebyshevGN", "Gauss-Newton on Chebyshev series in the features"),
        ("random_features", "random_features:RandomFeatures", "a fixed random layer, its output by Gauss-Newton"),
        ("lbfgs", "lbfgs:LBFGS", "L-BFGS with a strong Wolfe line search"),
    ):
        register(name, f"usd_solvers.{reference}", summary=summary)

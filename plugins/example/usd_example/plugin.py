"""What usd-bench finds by the entry point. Imports no torch: targets are named, and imported when they are used."""

from usd_bench.hookspecs import Register, hookimpl


@hookimpl
def register_solvers(register: Register) -> None:
    register(
        "barzilai_borwein",
        "usd_example.barzilai_borwein:BarzilaiBorwein",
        summary="gradient descent on Chebyshev series, with steps from two points",
    )


@hookimpl
def register_metrics(register: Register) -> None:
    register("res_far", "usd_example.far:RES_FAR", summary="largest scaled residual in the outer half of the domain")

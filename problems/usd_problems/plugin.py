"""Registers the built-in problems."""

from __future__ import annotations

from usd_bench.hookspecs import Register, hookimpl


@hookimpl
def register_problems(register: Register) -> None:
    register("burgers", "usd_problems.burgers:Burgers", summary="inviscid Burgers before its shock, 1-D, exact")
    register("ipm", "usd_problems.ipm:IPM", summary="incompressible porous media at a wall, 2-D")
    register("toy_ipm", "usd_problems.ipm:ToyIPM", summary="the same equation as ipm, at laptop size")
    register(
        "boussinesq",
        "usd_problems.boussinesq:Boussinesq",
        summary="Boussinesq at a wall, 2-D: 3-D axisymmetric Euler with boundary, to leading order",
        aliases=("euler3d_boundary",),
    )
    register(
        "toy_boussinesq",
        "usd_problems.boussinesq:ToyBoussinesq",
        summary="the same equations as boussinesq, at laptop size",
        aliases=("toy_euler",),
    )
    register("hou_luo", "usd_problems.hou_luo:HouLuo", summary="Hou-Luo model of Euler on the wall, 1-D, nonlocal")
    register("gclm", "usd_problems.gclm:GCLM", summary="generalised Constantin-Lax-Majda, 1-D, nonlocal")
    register("clm", "usd_problems.clm:CLM", summary="Constantin-Lax-Majda, 1-D, nonlocal, exact")
    register("ccf", "usd_problems.ccf:CCF", summary="Córdoba-Córdoba-Fontelos, 1-D, nonlocal")

"""Registers the built-in problems."""

from __future__ import annotations

from usd_bench.hookspecs import Register, hookimpl


@hookimpl
def register_problems(register: Register) -> None:
    register("burgers", "usd_problems.burgers:Burgers", summary="inviscid Burgers before its shock, 1-D, exact")
    register("ipm", "usd_problems.ipm:IPM", summary="incompressible porous media at a wall, 2-D")
    register("toy_ipm", "usd_problems.ipm:ToyIPM", summary="the same equation as ipm, at laptop size")

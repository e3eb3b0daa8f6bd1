"""A program for ``torchrun``: Gauss-Newton iterations with shared rows; the first process writes the parameters."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, distributed

from usd_bench.registry import Registry
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig

SETTINGS = {
    "cholesky": {},
    "semi_normal": {"linear_solver": "semi_normal"},
    "streamed": {"linear_solver": "streamed", "chunk": 7},
    "lsmr": {"linear_solver": "lsmr", "lsmr_iterations": 80},
    "dogleg": {"direction": "dogleg", "linear_solver": "semi_normal"},
    "gradient": {"loss": "gradient"},
    "stages": {"stages": 2, "stage_iterations": 2, "wide": 20},
}
"""61 points and two processes: shares of different size."""


def steps() -> dict[str, Tensor]:
    problem, found = Registry.load().get("problems", "toy_ipm").load()(), {}
    for name, config in SETTINGS.items():
        solver = GaussNewton(GaussNewtonConfig(hidden="5x4", points=61, resample=2, damping=1.0, **config))
        state = solver.init(problem, 0, "cpu")
        for _ in range(4):
            state = solver.step(problem, state)
        found[name] = state.theta
    return found


def refusals() -> list[str | None]:
    registry = Registry.load()
    ipm, ccf = registry.get("problems", "toy_ipm").load()(), registry.get("problems", "ccf").load()()
    return [
        GaussNewton(GaussNewtonConfig(linear_solver="qr")).supports(ipm),
        GaussNewton(GaussNewtonConfig()).supports(ccf),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    result = {"steps": steps(), "refusals": refusals(), "processes": distributed.get_world_size()}
    if distributed.get_rank() == 0:
        torch.save(result, sys.argv[1])
    distributed.destroy_process_group()

"""One Gauss-Newton iteration and its Jacobian, and the way to a residual."""

from __future__ import annotations

import time
from typing import Any, ClassVar

SIZES = {
    "burgers, 400 points, 16x16": ("burgers", 400, "16x16"),
    "ipm, 2000 points, 21x20x21": ("ipm", 2000, "21x20x21"),
    "boussinesq, 1000 points, 13x13x13": ("boussinesq", 1000, "13x13x13"),
    "ccf, 1000 points, 24x24": ("ccf", 1000, "24x24"),
}
"""Problem, points and layer widths of each field's network."""


def _begun(name: str, seed: int, **config: Any) -> tuple[Any, Any, Any]:
    """Problem, solver, and its first state."""
    import torch

    from usd_bench.registry import Registry
    from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig

    torch.set_num_threads(1)
    problem, solver = Registry.load().get("problems", name).load()(), GaussNewton(GaussNewtonConfig(**config))
    return problem, solver, solver.init(problem, seed, "cpu")


class Iteration:
    """Assembly of the Jacobian, and a whole iteration with its memory."""

    params: ClassVar = list(SIZES)
    param_names: ClassVar = ["size"]
    timeout = 300

    def setup(self, size: str) -> None:
        name, points, hidden = SIZES[size]
        self.problem, self.solver, self.state = _begun(name, 0, points=points, hidden=hidden)
        self.ansatz = self.solver.ansatz(self.problem, self.state)

    def time_jacobian(self, size: str) -> None:
        self.ansatz.linearise(self.state.theta, self.state.points)

    def time_iteration(self, size: str) -> None:
        self.solver.step(self.problem, self.state)

    def peakmem_iteration(self, size: str) -> None:
        self.solver.step(self.problem, self.state)


class ToResidual:
    """From random networks to a root mean square residual at the points, by seed. Lower is better."""

    params: ClassVar = [["burgers", "toy_ipm"], [0, 1, 2]]
    param_names: ClassVar = ["problem", "seed"]
    timeout = 600
    target: ClassVar = {"burgers": 1e-8, "toy_ipm": 1e-5}
    most = 300

    def setup_cache(self) -> dict[tuple[str, int], tuple[int, float]]:
        problems, seeds = self.params
        return {(name, seed): self.reached(name, seed) for name in problems for seed in seeds}

    def reached(self, name: str, seed: int) -> tuple[int, float]:
        problem, solver, state = _begun(name, seed)
        spent = 0.0
        for iteration in range(self.most):
            residual = solver.ansatz(problem, state).residual(state.theta, state.points)
            if float(residual.square().mean().sqrt()) < self.target[name]:
                return iteration, spent
            start = time.perf_counter()
            state = solver.step(problem, state)
            spent += time.perf_counter() - start
        return self.most, float("nan")

    def track_iterations(self, cache: dict[tuple[str, int], tuple[int, float]], name: str, seed: int) -> int:
        return cache[name, seed][0]

    def track_seconds(self, cache: dict[tuple[str, int], tuple[int, float]], name: str, seed: int) -> float:
        return cache[name, seed][1]

    track_iterations.unit = "iterations"
    track_seconds.unit = "s"

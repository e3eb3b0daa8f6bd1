"""How far one Gauss-Newton iteration is from the arithmetic floor: ``python benchmarks/floor.py --help``.

The floor is the time that (2NP² + P³/3) floating-point operations take at the rate of a matrix product measured in the
same run: what the normal equations cost if everything else were free and symmetry not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import click
import torch
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.registry import Registry
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig, GaussNewtonState
from usd_solvers.least_squares.cholesky import lower_gram


def seconds(work: Callable[[], object], device: str, repeat: int) -> float:
    """Median time of a call; the device is waited for on both sides."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for _ in range(repeat + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return median(times[1:])


def measured(solver: GaussNewton, problem: Problem, state: GaussNewtonState) -> tuple[Callable[[], object], Tensor]:
    """The solver's Jacobian at a state as a call without arguments, and the buffer that it writes."""
    ansatz, chunk = solver.ansatz(problem, state), solver.config.chunk
    _, buffer = ansatz.linearise(state.theta, state.points, chunk=chunk)
    return lambda: ansatz.linearise(state.theta, state.points, buffer, chunk), buffer


@click.command()
@click.option("--problem", default="ipm", show_default=True)
@click.option("--points", default=2000, show_default=True, help="Points; rows are points times equations.")
@click.option("--hidden", default="21x20x21", show_default=True, help="Layer widths of each field's network.")
@click.option("--repeat", default=5, show_default=True, help="Timings of which the median is taken.")
@click.option("--threads", type=int, help="Threads.  [default: torch's]")
@click.option("--device", default="cpu", show_default=True)
def main(problem: str, points: int, hidden: str, repeat: int, threads: int | None, device: str) -> None:
    """Time the parts of one iteration and print them beside the floor.

    \b
    python benchmarks/floor.py
    python benchmarks/floor.py --points 8000 --hidden 30x30x30
    """
    if threads:
        torch.set_num_threads(threads)
    equation = Registry.load().get("problems", problem).load()()
    solver = GaussNewton(GaussNewtonConfig(hidden=hidden, points=points))
    state = solver.init(equation, 0, device)
    assemble, jacobian = measured(solver, equation, state)
    n, p = jacobian.shape
    square = torch.randn(2000, 2000, dtype=torch.float64, device=device)
    rate = 2 * 2000**3 / seconds(lambda: square @ square, device, repeat)
    floor = (2 * n * p**2 + p**3 / 3) / rate
    product = seconds(lambda: jacobian.T @ jacobian, device, repeat)
    parts = {
        "floor": floor,
        "JᵀJ": product,
        "its lower half": seconds(lambda: lower_gram(jacobian), device, repeat),
        "Jacobian": seconds(assemble, device, repeat),
        "iteration": seconds(lambda: solver.step(equation, state), device, repeat),
    }
    click.echo(f"{problem}, {n} rows, {p} parameters, {torch.get_num_threads()} threads, {device}")
    click.echo(f"matrix product of order 2000: {rate / 1e9:.0f} GFLOP/s\n")
    click.echo(f"{'':16}{'seconds':>9}{'/ floor':>9}{'/ JᵀJ':>9}")
    for name, value in parts.items():
        click.echo(f"{name:16}{value:9.3f}{value / floor:9.2f}{value / product:9.2f}")


if __name__ == "__main__":
    main()

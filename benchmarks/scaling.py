"""How the time of an iteration grows with rows and parameters: ``python benchmarks/scaling.py --help``."""

from __future__ import annotations

from functools import partial

import click
import numpy as np
import torch
from floor import measured, seconds

from usd_bench.registry import Registry
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig

POINTS = (1000, 2000, 4000, 8000)
WIDTHS = (12, 17, 24, 34)


@click.command()
@click.option("--problem", default="ipm", show_default=True)
@click.option("--repeat", default=5, show_default=True, help="Timings of which the median is taken.")
def main(problem: str, repeat: int) -> None:
    """Time Jacobian and iteration at four numbers of points, then at four widths, and print the slopes in logarithms.

    \b
    python benchmarks/scaling.py
    """
    equation = Registry.load().get("problems", problem).load()()
    click.echo(f"{problem}, {torch.get_num_threads()} threads, medians of {repeat}")
    by_points = [(points, 20) for points in POINTS]
    by_width = [(4000, width) for width in WIDTHS]
    for varied, sizes, column in (("rows", by_points, 0), ("parameters", by_width, 1)):
        click.echo(f"\n{'rows':>8}{'parameters':>12}{'Jacobian s':>12}{'iteration s':>13}")
        table = []
        for points, width in sizes:
            solver = GaussNewton(GaussNewtonConfig(hidden=f"{width}x{width}x{width}", points=points))
            state = solver.init(equation, 0, "cpu")
            assemble, buffer = measured(solver, equation, state)
            iterate = partial(solver.step, equation, state)
            row = (*buffer.shape, seconds(assemble, "cpu", repeat), seconds(iterate, "cpu", repeat))
            click.echo(f"{row[0]:>8}{row[1]:>12}{row[2]:>12.3f}{row[3]:>13.3f}")
            table.append(row)
        logs = np.log(np.array(table))
        slopes = [np.polyfit(logs[:, column], logs[:, c], 1)[0] for c in (2, 3)]
        click.echo(f"slope in {varied}: Jacobian {slopes[0]:.2f}, iteration {slopes[1]:.2f}")


if __name__ == "__main__":
    main()

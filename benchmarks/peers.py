"""Gauss-Newton here beside what else there is, in one run: ``python benchmarks/peers.py --help``.

Every method gets the same problem, networks, initial parameters and points, and minimises the same scaled residual:
the equations are the problem's own, in torch and, through a thin wrapper, in JAX; that the residuals agree is checked
first. Compilation is not counted. Nobody's λ is held, but ours where our method holds it.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import click
import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pandas as pd
import scipy
import torch

from usd_bench.errors import one_line
from usd_bench.registry import Registry
from usd_bench.reproducibility import commit
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig
from usd_solvers.lbfgs import LBFGS, LBFGSConfig

jax.config.update("jax_enable_x64", True)


class Value:
    """A JAX array with the methods that problems call on tensors."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __neg__(self) -> Value:
        return Value(-self.array)

    def __add__(self, other: Any) -> Value:
        return Value(self.array + _array(other))

    def __sub__(self, other: Any) -> Value:
        return Value(self.array - _array(other))

    def __mul__(self, other: Any) -> Value:
        return Value(self.array * _array(other))

    def __truediv__(self, other: Any) -> Value:
        return Value(self.array / _array(other))

    def __pow__(self, other: Any) -> Value:
        return Value(self.array ** _array(other))

    def __rsub__(self, other: Any) -> Value:
        return Value(_array(other) - self.array)

    def __rtruediv__(self, other: Any) -> Value:
        return Value(_array(other) / self.array)

    __radd__, __rmul__ = __add__, __mul__

    def __getattr__(self, name: str) -> Callable[[], Value]:
        function = {"sigmoid": jax.nn.sigmoid}.get(name) or getattr(jnp, name)
        return lambda: Value(function(self.array))


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Value) else value


class Peer:
    """The residual of a problem's networks as its users would write it: functions of one point, vectorised.

    ``lib``: what torch and JAX have under different names. Derivatives are nested forward mode.
    """

    def __init__(self, problem: Any, hidden: tuple[int, ...], wrap: Any, unwrap: Any, lib: SimpleNamespace) -> None:
        self.problem, self.hidden, self.wrap, self.unwrap, self.lib = problem, hidden, wrap, unwrap, lib

    def rows(self, theta: Any, x: Any) -> Any:
        """Scaled residuals (N, equations)."""
        return self.lib.vmap(lambda point: self.row(theta, point))(x)

    def row(self, theta: Any, point: Any) -> Any:
        problem, u = self.problem, {}
        x = self.coordinates(point)
        lam = self.wrap(theta[-1])
        for field in problem.fields:

            def value(*at: Any, name: str = field.name) -> Any:
                return self.field(name, theta, self.lib.stack(at))

            for derivative in ("", *field.derivatives):
                function, rest = value, derivative
                while rest:
                    axis, coordinate = next((i, c) for i, c in enumerate(problem.coords) if rest.startswith(c))
                    function, rest = self._slope(function, axis), rest[len(coordinate) :]
                u[f"{field.name}_{derivative}" if derivative else field.name] = self.wrap(function(*point))
        residual, scale = problem.residual(SimpleNamespace(**u), x, lam), problem.scale(x, lam)
        return self.lib.stack([self.unwrap(residual[name] / scale[name]) for name in problem.equations])

    def _slope(self, function: Any, axis: int) -> Any:
        def derivative(*at: Any) -> Any:
            along = [self.lib.ones_like(a) if i == axis else self.lib.zeros_like(a) for i, a in enumerate(at)]
            return self.lib.jvp(function, tuple(at), tuple(along))[1]

        return derivative

    def coordinates(self, point: Any) -> SimpleNamespace:
        return SimpleNamespace(**{name: self.wrap(point[i]) for i, name in enumerate(self.problem.coords)})

    def field(self, name: str, theta: Any, point: Any) -> Any:
        """One field at one point (d,)."""
        problem, lam = self.problem, theta[-1]
        x, start, raw = self.coordinates(point), 0, {}
        for field in problem.fields:
            pin = self.lib.asarray(problem.pins[field.name])
            ends = [
                self.network(theta, start, problem.features(at, self.wrap(lam))) for at in (x, self.coordinates(pin))
            ]
            raw[field.name], start = self.wrap(ends[0][0] - ends[1][0]), ends[0][1]
        sizes = problem.size(x, self.wrap(lam))
        raw |= {key: raw[key] * size for key, size in sizes.items()}
        return self.unwrap(problem.lift(raw, x, self.wrap(lam))[name])

    def network(self, theta: Any, start: int, features: tuple[Any, ...]) -> tuple[Any, int]:
        h = self.lib.stack([self.unwrap(f) for f in features])
        widths = (len(features), *self.hidden, 1)
        for layer, (into, out) in enumerate(pairwise(widths)):
            weights, start = theta[start : start + out * into].reshape(out, into), start + out * into
            h, start = weights @ h + theta[start : start + out], start + out
            h = self.lib.tanh(h) if layer < len(self.hidden) else h
        return h[0], start


TORCH = SimpleNamespace(
    vmap=torch.func.vmap,
    jvp=torch.func.jvp,
    stack=lambda parts: torch.stack(list(parts)),
    tanh=torch.tanh,
    ones_like=torch.ones_like,
    zeros_like=torch.zeros_like,
    asarray=lambda values: torch.tensor(values, dtype=torch.float64),
)
JAX = SimpleNamespace(
    vmap=jax.vmap,
    jvp=jax.jvp,
    stack=lambda parts: jnp.stack(list(parts)),
    tanh=jnp.tanh,
    ones_like=jnp.ones_like,
    zeros_like=jnp.zeros_like,
    asarray=jnp.asarray,
)


def timed(work: Callable[[], Any], repeat: int) -> float:
    """Median seconds of a call after one that is not counted."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return median(times[1:])


def path(steps: Any, target: float, limit: float) -> tuple[float, float, int]:
    """Seconds and steps to the target, and the smallest residual; ``steps`` yields one after each step."""
    start, best, count = time.perf_counter(), float("inf"), 0
    for residual in steps:
        count += 1
        best = min(best, float(residual))
        spent = time.perf_counter() - start
        if best <= target:
            return spent, best, count
        if spent > limit:
            break
    return float("nan"), best, count


@click.command()
@click.option("--problem", default="toy_ipm", show_default=True)
@click.option("--points", default=1500, show_default=True)
@click.option("--hidden", default="12x12x12", show_default=True, help="Layer widths of each field's network.")
@click.option("--seed", default=0, show_default=True)
@click.option("--repeat", default=5, show_default=True, help="Timings of which the median is taken.")
@click.option("--target", default=1e-6, show_default=True, help="Root mean square residual at the points to reach.")
@click.option("--limit", default=60.0, show_default=True, help="Seconds each method may take to the target.")
@click.option("--threads", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("peers.parquet"), show_default=True)
def main(
    problem: str, points: int, hidden: str, seed: int, repeat: int, target: float, limit: float, threads: int, out: Path
) -> None:
    """Time assembly, one step and the way to a residual; write Parquet; print ratios to ours.

    \b
    python benchmarks/peers.py
    python benchmarks/peers.py --problem burgers --points 400 --hidden 16x16 --target 1e-8
    """
    torch.set_num_threads(threads)
    equation = Registry.load().get("problems", problem).load()()
    solver = GaussNewton(GaussNewtonConfig(hidden=hidden, points=points, resample=10**6))
    state = solver.init(equation, seed, "cpu")
    ansatz, theta, x = solver.ansatz(equation, state), state.theta, state.points
    widths = tuple(int(width) for width in hidden.split("x"))
    in_torch = Peer(equation, widths, lambda v: v, lambda v: v, TORCH)
    in_jax = Peer(equation, widths, Value, _array, JAX)
    xj, start = jnp.asarray(x.numpy()), jnp.asarray(theta.numpy())

    def flat(t: Any) -> Any:
        return in_jax.rows(t, xj).T.reshape(-1)

    ours, jacobian = ansatz.linearise(theta, x)
    difference = float(np.abs(np.asarray(jax.jit(flat)(start)) - ours.numpy()).max())
    if not difference < 1e-9:
        raise click.ClickException(f"the residuals differ by {difference:.1e}: not the same problem")
    rows: list[dict[str, Any]] = []

    def note(what: str, method: str, seconds: float, best: float | None = None, steps: int | None = None) -> None:
        rows.append({"what": what, "method": method, "seconds": seconds, "best": best, "steps": steps})
        reached = "" if best is None else f"   smallest residual {best:.1e}, {steps} steps"
        click.echo(f"{what:10}{method:32}{seconds:10.4f} s{reached}")

    # -- assembly ------------------------------------------------------------------------------------------------------
    by_equation = jax.vmap(jax.jacrev(in_jax.row), in_axes=(None, 0), out_axes=1)
    by_jax = jax.jit(lambda t: by_equation(t, xj).reshape(-1, t.size))
    by_torch = torch.func.vmap(torch.func.jacrev(in_torch.row), in_dims=(None, 0))
    note("assembly", "usd-bench", timed(lambda: ansatz.linearise(theta, x), repeat))
    note("assembly", "J'J", timed(lambda: jacobian.T @ jacobian, repeat))
    note("assembly", "jax.jit(vmap(jacrev))", timed(lambda: by_jax(start), repeat))
    note("assembly", "torch.func vmap(jacrev)", timed(lambda: by_torch(theta, x), repeat))

    # -- steps, and the way to the target ------------------------------------------------------------------------------
    rms = jax.jit(lambda t: jnp.sqrt(jnp.mean(flat(t) ** 2)))

    def gauss_newton() -> Any:
        current = state
        while True:
            current = solver.step(equation, current)
            yield ansatz.residual(current.theta, x).square().mean().sqrt()

    note("step", "usd-bench", timed(lambda: solver.step(equation, state), repeat))
    note("target", "usd-bench", *path(gauss_newton(), target, limit))

    method = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)
    # Its interactive interface: the function returns its value and nothing else to carry along.
    common: Any = {"fn": lambda t, _: (flat(t), None), "args": None, "options": {}, "tags": frozenset()}
    initial = method.init(**common, y=start, f_struct=jax.eval_shape(flat, start), aux_struct=None)
    step = equinox.filter_jit(lambda y, inner: method.step(**common, y=y, state=inner)[:2])

    def levenberg_marquardt() -> Any:
        t, inner = start, initial
        while True:
            t, inner = step(t, inner)
            yield rms(t)

    try:
        note("step", "optimistix LM", timed(lambda: step(start, initial), repeat))
        note("target", "optimistix LM", *path(levenberg_marquardt(), target, limit))
    except jax.errors.JaxRuntimeError as error:  # its Jacobian by forward mode needs every tangent at once
        click.echo(f"optimistix LM: {one_line(error)}", err=True)
        for what in ("step", "target"):
            note(what, "optimistix LM, out of memory", float("nan"))

    seen: list[float] = []
    began = time.perf_counter()

    class Enough(Exception):
        pass

    def watched(t: Any) -> Any:
        value = np.asarray(flat_jit(jnp.asarray(t)))
        seen.append(float(np.sqrt(np.mean(value**2))))
        if seen[-1] <= target or time.perf_counter() - began > limit:
            raise Enough
        return value

    flat_jit = jax.jit(flat)
    by_jax(start), flat_jit(start)
    began = time.perf_counter()
    with suppress(Enough):
        scipy.optimize.least_squares(watched, np.asarray(start), jac=lambda t: np.asarray(by_jax(jnp.asarray(t))))
    spent = time.perf_counter() - began
    note("step", "scipy least_squares (trf)", spent / len(seen))
    note("target", "scipy least_squares (trf)", spent if min(seen) <= target else float("nan"), min(seen), len(seen))

    def first_order(kind: str) -> Any:
        parameters = theta.clone().requires_grad_()
        optimiser: Any = (
            torch.optim.Adam([parameters], lr=1e-3)
            if kind == "Adam"
            else LBFGS(LBFGSConfig()).optimiser([parameters], 0)  # torch's, with room to search and a loss it can see
        )

        def closure() -> Any:
            optimiser.zero_grad()
            loss = ansatz.residual(parameters, x).square().mean()
            loss.backward()
            return loss

        while True:
            yield optimiser.step(closure).detach().sqrt()

    for kind in ("Adam", "L-BFGS"):
        moves = first_order(kind)
        note("step", f"torch {kind}", timed(lambda: next(moves), repeat))  # noqa: B023
        note("target", f"torch {kind}", *path(first_order(kind), target, limit))

    frame = pd.DataFrame(rows)
    own = frame[frame["method"] == "usd-bench"].set_index("what")["seconds"]
    frame["ratio"] = frame["seconds"] / frame["what"].map(own)
    setting = {
        "problem": problem,
        "rows": len(ours),
        "parameters": len(theta),
        "threads": threads,
        "target": target,
        "limit": limit,
        "commit": commit(),
        "machine": platform.machine(),
        "versions": json.dumps(
            {m.__name__: m.__version__ for m in (torch, jax, optimistix, scipy)} | {"python": platform.python_version()}
        ),
    }
    frame = frame.assign(**setting)
    frame.to_parquet(out)
    click.echo(f"\n{problem}: {len(ours)} rows, {len(theta)} parameters, {threads} threads; {out}")
    click.echo(frame[["what", "method", "seconds", "ratio", "best", "steps"]].to_string(index=False))


if __name__ == "__main__":
    main()

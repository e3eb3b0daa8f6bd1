"""Networks fitted to a known profile, for a run that is asked to start from one."""

from __future__ import annotations

import torch
from torch import Tensor

from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.jets import Channels
from usd_bench.problem import Problem
from usd_solvers.least_squares.cholesky import Cholesky
from usd_solvers.least_squares.gain import Damping, judge
from usd_solvers.pinn.network import Network

ITERATIONS = 200
"""Of Levenberg and Marquardt's method, from a random network."""


def fitted(network: Network, theta: Tensor, features: Tensor, target: Tensor) -> Tensor:
    """Parameters of a network whose values at ``features`` (N, features) are near ``target`` (N,)."""
    value = Channels(("x",), ("",))
    damping = Damping(theta.new_tensor(1e-2), theta.new_tensor(2.0))

    def misfit(parameters: Tensor) -> Tensor:
        return network.forward(parameters, features[None], value)[0][0] - target

    for _ in range(ITERATIONS):
        output, trace = network.forward(theta, features[None], value)
        r = output[0] - target
        jacobian = theta.new_empty(1, len(r), network.size)
        network.jacobian(theta, trace, value, torch.ones_like(r)[None, None], jacobian)
        system = Cholesky(jacobian[0], damping.value)
        step = system.minimise(-r)
        change = system.times(step)
        accept, gain = judge(r @ r, misfit(theta + step).square().sum(), -(2 * r + change) @ change)
        damping = damping.after(accept, gain)
        theta = torch.where(accept, theta + step, theta)
    return theta


def raw_functions(problem: Problem, profile: PiecewiseProfile, x: Tensor) -> dict[str, Tensor]:
    """What networks have to be at ``x`` (N, d) for their lift to be the profile: its raw functions over their size."""
    sizes = problem.size(problem.points(x), torch.tensor(profile.lam, dtype=x.dtype))
    return {name: raw / sizes.get(name, 1.0) for name, raw in profile.raw(x).items()}

"""The trial functions of network solvers: one network per field, lifted by the problem, and λ.

Parameters are one flat vector (P,): the networks in the order of the problem's fields, then λ. Everything a
descent method needs is here: the residual, and the residual with its row-wise Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from usd_bench.jets import Channels, Jet, equation_namespace
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_solvers.pinn.network import Network, Trace


@dataclass(frozen=True)
class _Pass:
    """One evaluation of every network: raw jets (channels, N) and traces, at the points and at the pin."""

    raw: dict[str, Tensor]
    traces: dict[str, Trace]
    pin_traces: dict[str, Trace]


class Ansatz:
    """Networks for a problem. Stateless: the parameters are an argument of every method."""

    def __init__(self, problem: Problem, hidden: tuple[int, ...]) -> None:
        self.problem = problem
        self.hidden = hidden
        value = Channels.of(problem.coords, ())
        probe = torch.zeros(1, len(problem.coords), dtype=torch.float64)
        features = problem.feature_jet(probe, torch.ones((), dtype=torch.float64), value).shape[-1]
        self._value = value
        self._networks = {f.name: Network(features, hidden) for f in problem.fields}
        self._slices: dict[str, slice] = {}
        start = 0
        for name, network in self._networks.items():
            self._slices[name] = slice(start, start + network.size)
            start += network.size
        self.size = start + 1  # and λ

    def initial(self, generator: torch.Generator, device: str) -> Tensor:
        """Random networks, and λ at the problem's guess."""
        parts = [network.initial(generator) for network in self._networks.values()]
        return torch.cat([*parts, torch.tensor([self.problem.bracket.guess], dtype=torch.float64)]).to(device)

    def residual(self, theta: Tensor, x: Tensor) -> Tensor:
        """Scaled residuals (equations, N); differentiable in ``theta``."""
        lam = theta[-1]
        return self._equations(self._networks_at(theta, lam, x, detach=False).raw, lam, x)

    def linearise(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled residuals (equations · N,) and their Jacobian (equations · N, P), row by row.

        Four cheap parts instead of nested autodiff: the networks' jets forward once; ∂residual/∂jet by one
        backward pass per equation through the pointwise formulas only; the transposed sweep through the
        layers; and one forward-mode pass for the λ column.
        """
        problem, lam = self.problem, theta[-1]
        n = x.shape[0]
        with torch.no_grad():
            run = self._networks_at(theta, lam, x, detach=True)
        raw = {name: jet.requires_grad_() for name, jet in run.raw.items()}
        with torch.enable_grad():
            residual = self._equations(raw, lam, x)
            names = list(raw)
            seeds = [
                torch.autograd.grad(
                    row.sum(), [raw[name] for name in names], retain_graph=True, materialize_grads=True
                )
                for row in residual
            ]
        jacobian = theta.new_empty(len(problem.equations), n, self.size)
        with torch.no_grad():
            for position, name in enumerate(names):
                network, part = self._networks[name], self._slices[name]
                local = theta[part]
                seed = torch.stack([s[position] for s in seeds])
                block = jacobian[..., part]
                network.jacobian(local, run.traces[name], problem.channels[name], seed, block)
                at_pin = theta.new_empty(1, 1, network.size)
                network.jacobian(local, run.pin_traces[name], self._value, theta.new_ones(1, 1, 1), at_pin)
                block -= seed[:, 0, :, None] * at_pin
            _, column = torch.func.jvp(
                lambda value: self._equations(self._networks_at(theta, value, x, detach=False).raw, value, x),
                (lam,),
                (torch.ones_like(lam),),
            )
            jacobian[..., -1] = column
        return residual.detach().flatten(), jacobian.view(-1, self.size)

    def profile(self, theta: Tensor) -> NetworkProfile:
        return NetworkProfile(self, theta.detach().cpu().clone())

    def values(self, theta: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Field values (N,) at ``x`` (N, d), differentiable in both."""
        lam = theta[-1]
        features = torch.stack(self.problem.features(self.problem.points(x), lam), dim=-1)[None]
        raw = {}
        for name, network in self._networks.items():
            local = theta[self._slices[name]]
            output, _ = network.forward(local, features, self._value)
            pinned, _ = network.forward(local, self._pin_features(name, lam), self._value)
            raw[name] = output[0] - pinned[0]
        lifted: dict[str, Tensor] = self.problem.lift(raw, self.problem.points(x), lam)
        return lifted

    def _pin_features(self, name: str, lam: Tensor) -> Tensor:
        pin = lam.new_tensor([self.problem.pins[name]])
        return self.problem.feature_jet(pin, lam, self._value)

    def _networks_at(self, theta: Tensor, lam: Tensor, x: Tensor, *, detach: bool) -> _Pass:
        problem = self.problem
        every = problem.all_channels
        features = problem.feature_jet(x, lam, every)
        raw, traces, pin_traces = {}, {}, {}
        for name, network in self._networks.items():
            channels, local = problem.channels[name], theta[self._slices[name]]
            own = features if channels == every else features[every.positions(channels)]
            output, traces[name] = network.forward(local, own, channels)
            pinned, pin_traces[name] = network.forward(local, self._pin_features(name, lam), self._value)
            raw[name] = torch.cat([output[:1] - pinned, output[1:]])
        return _Pass(raw, traces, pin_traces)

    def _equations(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> Tensor:
        problem = self.problem
        jets = {name: Jet(data, problem.channels[name]) for name, data in raw.items()}
        lifted = problem.lift(jets, Jet.coordinates(x, problem.all_channels), lam)
        u = equation_namespace({name: jet.restrict(problem.channels[name]) for name, jet in lifted.items()})
        return problem.scaled_residual(u, problem.points(x), lam)


class NetworkProfile(Profile):
    """The fields of an ansatz at fixed parameters."""

    def __init__(self, ansatz: Ansatz, theta: Tensor) -> None:
        self._ansatz = ansatz
        self._theta = theta
        self.lam = float(theta[-1])

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        return self._ansatz.values(self._theta.to(x.device), x)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self._theta}

"""The trial functions of network solvers: one network per field, lifted by the problem, and λ.

Parameters are one flat vector (P,): the networks in the order of the problem's fields, then λ. Everything a
descent method needs is here: the residual, and the residual with its row-wise Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from usd_bench.jets import Channels, slope, take
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
        return self._equations(self._networks_at(theta, lam, x).raw, lam, x)

    def linearise(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled residuals (equations · N,) and their Jacobian (equations · N, P), row by row.

        Cheap parts instead of nested autodiff: the networks' jets forward once; ∂residual/∂jet by one backward
        pass per equation through the pointwise formulas only; the transposed sweep through the layers, which
        ends at the features; and λ's part of formulas and features, pointwise again.
        """
        problem, lam = self.problem, theta[-1]
        with torch.no_grad():
            run = self._networks_at(theta, lam, x)
        raw = {name: jet.requires_grad_() for name, jet in run.raw.items()}
        with torch.enable_grad():
            residual = self._equations(raw, lam, x)
            seeds = [
                torch.autograd.grad(row.sum(), list(raw.values()), retain_graph=True, materialize_grads=True)
                for row in residual
            ]
        jacobian = theta.new_empty(len(problem.equations), x.shape[0], self.size)
        fixed = {name: jet.detach() for name, jet in raw.items()}
        lam_column = slope(lambda value: self._equations(fixed, value, x), lam)
        slope_of_features = slope(lambda value: problem.feature_jet(x, value, problem.all_channels), lam)
        with torch.no_grad():
            for position, (name, network) in enumerate(self._networks.items()):
                local, channels = theta[self._slices[name]], problem.channels[name]
                seed = torch.stack([s[position] for s in seeds])
                block = jacobian[..., self._slices[name]]
                by_features = network.jacobian(local, run.traces[name], channels, seed, block)
                lam_column += (by_features * self._own(slope_of_features, name)).sum((1, 3))
                # The pin's value is subtracted from every row.
                at_pin = theta.new_empty(1, 1, network.size)
                one = theta.new_ones(1, 1, 1)
                by_pin_features = network.jacobian(local, run.pin_traces[name], self._value, one, at_pin)
                slope_of_pin = slope(partial(self._pin_features, name), lam)
                block -= seed[:, 0, :, None] * at_pin
                lam_column -= seed[:, 0] * (by_pin_features * slope_of_pin).sum()
        jacobian[..., -1] = lam_column
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
        # Filled on the device: a tensor made from numbers would be copied there, and waited for.
        pin = torch.stack([lam.new_full((), value) for value in self.problem.pins[name]])[None]
        return self.problem.feature_jet(pin, lam, self._value)

    def _networks_at(self, theta: Tensor, lam: Tensor, x: Tensor) -> _Pass:
        features = self.problem.feature_jet(x, lam, self.problem.all_channels)
        raw, traces, pin_traces = {}, {}, {}
        for name, network in self._networks.items():
            channels, local = self.problem.channels[name], theta[self._slices[name]]
            output, traces[name] = network.forward(local, self._own(features, name), channels)
            pinned, pin_traces[name] = network.forward(local, self._pin_features(name, lam), self._value)
            raw[name] = torch.cat([output[:1] - pinned, output[1:]])
        return _Pass(raw, traces, pin_traces)

    def _own(self, features: Tensor, name: str) -> Tensor:
        """Of feature jets with every channel, those that a field needs."""
        return take(features, self.problem.all_channels, self.problem.channels[name])

    def _equations(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> Tensor:
        problem = self.problem
        return problem.scaled_residual(problem.trial(raw, x, lam), problem.points(x), lam)


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

"""The trial functions of network solvers: one network per field, lifted by the problem, and λ.

Parameters are one flat vector (P,): the networks in the order of the problem's fields, then λ. Everything a
descent method needs is here: the residual, and the residual with its row-wise Jacobian.

In later stages wide networks times a small amplitude are added to those of the stages before, whose parameters stay as
they are. Their one hidden layer stays as it was drawn, so that fields depend linearly on the parameters, and the last
parameter is what is added to λ, in units of the amplitude. Source: Wang & Lai, J. Comput. Phys. 504 (2024) 112865
(stages); Chen, Chi, E & Yang, J. Mach. Learn. 1 (2022) 268 (random features).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.jets import Channels, Jet, slope, take
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_solvers.least_squares.operator import Operator
from usd_solvers.pinn.fit import fitted, raw_functions
from usd_solvers.pinn.frequency import median_frequency
from usd_solvers.pinn.network import Network, Trace
from usd_solvers.pinn.shares import shares


@dataclass(frozen=True)
class _Pass:
    """One evaluation of every network: raw jets (channels, N) and traces, at the points and at the pin."""

    raw: dict[str, Tensor]
    traces: dict[str, Trace]
    pin_traces: dict[str, Trace]


@dataclass(frozen=True)
class Below:
    """An earlier stage at its final parameters, and the size of what is added to it (0-d)."""

    ansatz: Ansatz
    theta: Tensor
    amplitude: Tensor


class Ansatz:
    """Networks for a problem. Stateless: the parameters are an argument of every method."""

    Function: ClassVar[type[Network]] = Network
    """What stands for each field in the first stage."""

    def __init__(
        self,
        problem: Problem,
        hidden: tuple[int, ...],
        below: Below | None = None,
        fixed: Tensor | None = None,
        terms: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.problem = problem
        self._terms = terms or {}
        self.hidden = hidden
        self.below = below
        self._fixed = fixed  # of a later stage: begins with the hidden layers of all fields
        value = Channels.of(problem.coords, ())
        probe = torch.zeros(1, len(problem.coords), dtype=torch.float64)
        features = problem.feature_jet(probe, torch.ones((), dtype=torch.float64), value).shape[-1]
        self._value = value
        function = self.Function if below is None else Network
        self._networks = {f.name: function(features, hidden) for f in problem.fields}
        sizes = {name: network.size for name, network in self._networks.items()}
        outputs = {name: network.output_size for name, network in self._networks.items()}
        self._hidden_slices = _slices({name: size - outputs[name] for name, size in sizes.items()})
        self.hidden_size = sum(sizes.values()) - sum(outputs.values())
        self._slices = _slices(sizes if below is None else outputs)
        self.size = sum((sizes if below is None else outputs).values()) + 1  # and λ

    @classmethod
    def stacked(
        cls,
        problem: Problem,
        hidden: tuple[int, ...],
        wide: int,
        earlier: Tensor,
        terms: Mapping[str, Tensor] | None = None,
    ) -> Ansatz:
        """The ansatz above earlier stages. ``earlier``: for each of them its parameters, and of the next stage the
        amplitude and the hidden layers, ``wide`` neurons each. ``terms``: see ``residual``.
        """
        ansatz = cls(problem, hidden, terms=terms)
        while len(earlier):
            theta, amplitude, earlier = earlier[: ansatz.size], earlier[ansatz.size], earlier[ansatz.size + 1 :]
            ansatz = cls(problem, (wide,), Below(ansatz, theta, amplitude), fixed=earlier, terms=terms)
            earlier = earlier[ansatz.hidden_size :]
        return ansatz

    def initial(self, generator: torch.Generator, device: str) -> Tensor:
        """Random networks, and λ at the problem's guess."""
        parts = [network.initial(generator) for network in self._networks.values()]
        return torch.cat([*parts, torch.tensor([self.problem.bracket.guess], dtype=torch.float64)]).to(device)

    def parts(self, theta: Tensor) -> list[Tensor]:
        """The flat parameters of a first stage layer by layer: weights (out, in), biases (out,), at the end λ (1,)."""
        by_network = [network.layers(self._local(theta, name)) for name, network in self._networks.items()]
        return [*(part for layers in by_network for layer in layers for part in layer), theta[-1:]]

    def fitted_to(self, profile: PiecewiseProfile, theta: Tensor, x: Tensor) -> Tensor:
        """``theta`` with its networks fitted to the profile at ``x`` (N, d); λ stays. Of a first stage."""
        features = self.problem.feature_jet(x, theta.new_tensor(profile.lam), self._value)[0]
        target = raw_functions(self.problem, profile, x)
        parts = [
            fitted(network, self._local(theta, name), features, target[name])
            for name, network in self._networks.items()
        ]
        return torch.cat([*parts, theta[-1:]])

    def next_stage(self, theta: Tensor, x: Tensor, residual: Tensor, wide: int, generator: torch.Generator) -> Tensor:
        """What a stage on top of this one adds to ``earlier``: amplitude and hidden layers suit the residual at ``x``
        (equations, N).

        The amplitude is the residual's size over its median frequency, at which hidden layers vary. Reads from the
        device.
        """
        features = self.problem.feature_jet(x, self.lam(theta), self._value)[0]
        frequency = median_frequency(features, residual)
        amplitude = residual.square().mean().sqrt() / frequency
        network = Network(features.shape[1], (wide,))
        share = shares(residual.abs().sum(0))
        hidden = [network.scattered(generator, frequency, features, share) for _ in self._networks]
        return torch.cat([theta, amplitude[None], *hidden])

    def lam(self, theta: Tensor) -> Tensor:
        """λ (0-d)."""
        if self.below is None:
            return theta[-1]
        return self.below.ansatz.lam(self.below.theta) + self.below.amplitude * theta[-1]

    def residual(self, theta: Tensor, x: Tensor) -> Tensor:
        """Scaled residuals (equations, N); differentiable in ``theta``.

        With nonlocal terms ``x`` must be the points to which the matrices of the terms belong.
        """
        lam = self.lam(theta)
        raw = self._added(self._networks_at(theta, lam, x).raw, lam, x)
        return self._equations(raw, self._nonlocal(raw, lam, x), lam, x)

    def linearise(
        self, theta: Tensor, x: Tensor, out: Tensor | None = None, chunk: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scaled residuals (equations · N,) and their Jacobian (equations · N, P), row by row.

        ``out``: where the Jacobian is written. ``chunk``: points at a time, by which memory besides is bounded; rows of
        nonlocal problems depend on all points and are made together.
        """
        shape = len(self.problem.equations), len(x), self.size
        jacobian = theta.new_empty(shape) if out is None else out.view(shape)
        if chunk is None or self._terms:
            residual = self._linearised(theta, x, jacobian)
        else:
            parts = zip(torch.split(x, chunk), torch.split(jacobian, chunk, dim=1), strict=True)
            residual = torch.cat([self._linearised(theta, *part) for part in parts], 1)
        return residual.flatten(), jacobian.view(-1, self.size)

    def _linearised(self, theta: Tensor, x: Tensor, jacobian: Tensor) -> Tensor:
        """Write the Jacobian (equations, N, P), and return the residuals (equations, N).

        Cheap parts instead of nested autodiff: the networks' jets forward once; ∂residual/∂jet by one backward
        pass per equation through the pointwise formulas only; the transposed sweep through the layers, which
        ends at the features; and λ's part of formulas and features, pointwise again. What nonlocal terms add is their
        matrices times the Jacobian of the density.
        """
        problem, lam = self.problem, self.lam(theta)
        with torch.no_grad():
            run = self._networks_at(theta, lam, x)
            raw = self._added(run.raw, lam, x)
            terms = self._nonlocal(raw, lam, x)
        inputs = [tensor.requires_grad_() for tensor in (*raw.values(), *terms.values())]
        with torch.enable_grad():
            residual = self._equations(raw, terms, lam, x)
            seeds = [
                torch.autograd.grad(row.sum(), inputs, retain_graph=True, materialize_grads=True) for row in residual
            ]
        raw = {name: jet.detach() for name, jet in raw.items()}
        terms = {name: term.detach() for name, term in terms.items()}
        lam_column = slope(lambda value: self._equations(self._added(run.raw, value, x), terms, value, x), lam)
        slope_of_features = slope(lambda value: problem.feature_jet(x, value, problem.all_channels), lam)
        through, density_seeds = None, self._density_seeds(raw, lam, x) if terms else {}
        if terms:
            by_term = torch.stack([torch.stack(s[len(raw) :]) for s in seeds])  # (equations, terms, N)
            through = torch.einsum("etn,tnm->enm", by_term, torch.stack(list(self._terms.values())))
            lam_column += through @ slope(lambda value: self._density(self._added(run.raw, value, x), value, x), lam)
        with torch.no_grad():
            for position, name in enumerate(raw):
                block = jacobian[..., self._slices[name]]
                seed = torch.stack([s[position] for s in seeds])
                lam_column += self._sweep(theta, name, run, seed, slope_of_features, block)
                if through is not None:
                    of_density = theta.new_empty(1, x.shape[0], block.shape[-1])
                    by_lam = self._sweep(theta, name, run, density_seeds[name], slope_of_features, of_density)
                    block += through @ of_density[0]
                    lam_column += through @ by_lam[0]
        jacobian[..., -1] = self._amplified(lam_column)
        return residual.detach()

    def operator(self, theta: Tensor, x: Tensor, chunk: int) -> tuple[Tensor, Operator]:
        """Scaled residuals (equations · N,) and their Jacobian as an operator; ``chunk``: points per block of rows.

        Products are by backward passes; Jᵀb is linear in b, so that its derivative by b, transposed, is J. Rows of
        nonlocal problems depend on all points and come in one block.
        """
        with torch.enable_grad():
            theta_in = theta.detach().requires_grad_()
            residual = self.residual(theta_in, x).flatten()
            b = torch.zeros_like(residual, requires_grad=True)
            (product,) = torch.autograd.grad(residual, theta_in, b, create_graph=True)

        def times(d: Tensor) -> Tensor:
            return torch.autograd.grad(product, b, d, retain_graph=True)[0]

        def transposed(right: Tensor) -> Tensor:
            return torch.autograd.grad(residual, theta_in, right, retain_graph=True)[0]

        def blocks() -> Iterator[Tensor]:
            for part in (x,) if self._terms else torch.split(x, chunk):
                yield self.linearise(theta, part)[1]

        return residual.detach(), Operator(times, transposed, blocks)

    def _sweep(
        self, theta: Tensor, name: str, run: _Pass, seed: Tensor, slope_of_features: Tensor, out: Tensor
    ) -> Tensor:
        """Write ∂(Σ seed · raw jet)/∂θ of one field into ``out``, for seeds (E, channels, N); return the part by λ that
        comes through the features, (E, N).
        """
        network, local, channels = self._networks[name], self._local(theta, name), self.problem.channels[name]
        seed = self._amplified(seed)
        by_features = network.jacobian(local, run.traces[name], channels, seed, out)
        by_lam = (by_features * self._own(slope_of_features, name)).sum((1, 3))
        # The pin's value is subtracted from every row.
        at_pin = theta.new_empty(1, 1, out.shape[-1])
        one = theta.new_ones(1, 1, 1)
        by_pin_features = network.jacobian(local, run.pin_traces[name], self._value, one, at_pin)
        slope_of_pin = slope(partial(self._pin_features, name), self.lam(theta))
        for rows, by_value in zip(out, seed[:, 0], strict=True):
            rows.addmm_(by_value[:, None], at_pin[0], alpha=-1)
        return by_lam - seed[:, 0] * (by_pin_features * slope_of_pin).sum()

    def steepness(self, theta: Tensor, x: Tensor) -> Tensor:
        """√(1 + |∇u|²) (N,) of all fields together, by the first derivatives that the equations read."""
        lam = self.lam(theta)
        u = vars(self._trial(self._added(self._networks_at(theta, lam, x).raw, lam, x), lam, x))
        names = [f"{f.name}_{of}" for f in self.problem.fields for of in f.derivatives if of in self.problem.coords]
        return torch.stack([torch.ones_like(x[:, 0]), *(u[name] for name in names)]).square().sum(0).sqrt()

    def values(self, theta: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Field values (N,) at ``x`` (N, d), differentiable in both."""
        lam = self.lam(theta)
        features = torch.stack(self.problem.features(self.problem.points(x), lam), dim=-1)[None]
        raw, points = self._raw_values(theta, lam, features), self.problem.points(x)
        sized = {name: raw[name] * factor for name, factor in self.problem.size(points, lam).items()}
        lifted: dict[str, Tensor] = self.problem.lift(raw | sized, points, lam)
        return lifted

    def _raw_values(self, theta: Tensor, lam: Tensor, features: Tensor) -> dict[str, Tensor]:
        raw = {}
        for name, network in self._networks.items():
            local = self._local(theta, name)
            output, _ = network.forward(local, features, self._value)
            pinned, _ = network.forward(local, self._pin_features(name, lam), self._value)
            raw[name] = self._amplified(output[0] - pinned[0])
        if self.below is None:
            return raw
        known = self.below.ansatz._raw_values(self.below.theta, lam, features)
        return {name: known[name] + value for name, value in raw.items()}

    def _added(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Jets of this stage's networks, added to those of the earlier stages."""
        if self.below is None:
            return raw
        under = self.below.ansatz
        known = under._added(under._networks_at(self.below.theta, lam, x).raw, lam, x)
        return {name: known[name] + self._amplified(jet) for name, jet in raw.items()}

    def _local(self, theta: Tensor, name: str) -> Tensor:
        """All parameters of a field's network."""
        own = theta[self._slices[name]]
        return own if self._fixed is None else torch.cat([self._fixed[self._hidden_slices[name]], own])

    def _amplified(self, tensor: Tensor) -> Tensor:
        return tensor if self.below is None else self.below.amplitude * tensor

    def _pin_features(self, name: str, lam: Tensor) -> Tensor:
        # Filled on the device: a tensor made from numbers would be copied there, and waited for.
        pin = torch.stack([lam.new_full((), value) for value in self.problem.pins[name]])[None]
        return self.problem.feature_jet(pin, lam, self._value)

    def _networks_at(self, theta: Tensor, lam: Tensor, x: Tensor) -> _Pass:
        features = self.problem.feature_jet(x, lam, self.problem.all_channels)
        raw, traces, pin_traces = {}, {}, {}
        for name, network in self._networks.items():
            channels, local = self.problem.channels[name], self._local(theta, name)
            output, traces[name] = network.forward(local, self._own(features, name), channels)
            pinned, pin_traces[name] = network.forward(local, self._pin_features(name, lam), self._value)
            raw[name] = torch.cat([output[:1] - pinned, output[1:]])
        return _Pass(raw, traces, pin_traces)

    def _own(self, features: Tensor, name: str) -> Tensor:
        """Of feature jets with every channel, those that a field needs."""
        return take(features, self.problem.all_channels, self.problem.channels[name])

    def _equations(self, raw: dict[str, Tensor], terms: Mapping[str, Tensor], lam: Tensor, x: Tensor) -> Tensor:
        problem = self.problem
        u = self._trial(raw, lam, x)
        vars(u).update(terms)
        return problem.scaled_residual(u, problem.points(x), lam)

    def _nonlocal(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The nonlocal terms (N,) at the points."""
        if not self._terms:
            return {}
        density = self._density(raw, lam, x)
        return {name: matrix @ density for name, matrix in self._terms.items()}

    def _density(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> Tensor:
        return self.problem.density(self._trial(raw, lam, x), self.problem.points(x))

    def _trial(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> SimpleNamespace:
        """The jets of the fields from those of the networks (channels, N)."""
        problem = self.problem
        sizes = problem.size(Jet.coordinates(x, problem.all_channels), lam)
        sized = {name: (Jet(raw[name], problem.channels[name]) * factor).data for name, factor in sizes.items()}
        return problem.trial(raw | sized, x, lam)

    def _density_seeds(self, raw: dict[str, Tensor], lam: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The density's derivative by the raw jets of each field, (1, channels, N)."""
        inputs = {name: jet.clone().requires_grad_() for name, jet in raw.items()}
        with torch.enable_grad():
            density = self._density(inputs, lam, x)
            found = torch.autograd.grad(density.sum(), list(inputs.values()), materialize_grads=True)
        return {name: by_jet[None] for name, by_jet in zip(inputs, found, strict=True)}


class NetworkProfile(Profile):
    """The fields of networks at fixed parameters, with those of earlier stages."""

    def __init__(
        self,
        trial: type[Ansatz],
        problem: Problem,
        hidden: tuple[int, ...],
        wide: int,
        theta: Tensor,
        earlier: Tensor,
    ) -> None:
        self._trial, self._problem, self._hidden, self._wide = trial, problem, hidden, wide
        self._theta, self._earlier = (part.detach().cpu().clone() for part in (theta, earlier))
        self.lam = float(self._ansatz("cpu").lam(self._theta))

    def fields(self, x: Tensor) -> dict[str, Tensor]:
        return self._ansatz(x.device).values(self._theta.to(x.device), x)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self._theta, "earlier": self._earlier}

    def _ansatz(self, device: str | torch.device) -> Ansatz:
        return self._trial.stacked(self._problem, self._hidden, self._wide, self._earlier.to(device))


def _slices(sizes: dict[str, int]) -> dict[str, slice]:
    """Consecutive slices of these sizes."""
    ends = dict(zip(sizes, accumulate(sizes.values()), strict=True))
    return {name: slice(end - sizes[name], end) for name, end in ends.items()}

"""A tanh network on jets: forward by Taylor's rules, and the transposed sweep that gives its Jacobian.

All layers act on channels-first tensors (channels, N, width), so each layer is one matrix product for the
value and all derivatives together. The reverse sweep is written out rather than left to autograd: it carries
several equations at once and writes parameter derivatives row by row, which autograd cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from usd_bench.jets import Channels

SLOWEST = 4.0
"""Of scattered neurons, in radians per unit of the features, which span two."""


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves for the reverse sweep: each layer's input, and its tanh's derivatives."""

    inputs: list[Tensor]
    pre: list[Tensor]


class Network:
    """A multilayer perceptron with tanh between layers and one output. Parameters live in a flat vector.

    Per layer the vector holds the weights (out, in) row by row, then the biases (out).
    """

    def __init__(self, features: int, hidden: tuple[int, ...]) -> None:
        widths = (features, *hidden, 1)
        self.shapes = tuple(zip(widths[1:], widths[:-1], strict=True))
        self.size = sum(out * (into + 1) for out, into in self.shapes)

    @property
    def output_size(self) -> int:
        """Parameters of the last layer, which stand last."""
        return self.shapes[-1][1] + 1

    def initial(self, generator: torch.Generator) -> Tensor:
        """Glorot-sized random weights; a last layer ten times smaller starts the fields near their lift."""
        parts = []
        for layer, (out, into) in enumerate(self.shapes):
            last = layer == len(self.shapes) - 1
            weights = torch.randn(out, into, generator=generator, dtype=torch.float64) / math.sqrt(into)
            biases = torch.randn(out, generator=generator, dtype=torch.float64) * 0.3
            parts += [(weights * 0.1 if last else weights).flatten(), biases * 0 if last else biases]
        return torch.cat(parts)

    def scattered(self, generator: torch.Generator, frequency: float, features: Tensor, share: Tensor) -> Tensor:
        """Parameters of a single hidden layer whose neurons turn over at some of the features (N, features), chosen
        with probabilities proportional to ``share`` (N,), at rates from ``SLOWEST`` to twice the frequency: one rate
        alone does no better where it fits, and fails where the frequency is that of a layer or of the points' spacing.
        """
        width, into = self.shapes[0]
        between = torch.rand(width, 1, generator=generator, dtype=torch.float64)
        scale = SLOWEST ** (1 - between) * (2 * frequency) ** between
        weights = torch.randn(width, into, generator=generator, dtype=torch.float64) / math.sqrt(into) * scale
        chosen = torch.multinomial(share.cpu(), width, replacement=True, generator=generator)
        weights, centres = weights.to(features), features[chosen.to(features.device)]
        return torch.cat([weights.flatten(), -(weights * centres).sum(1)])

    def layers(self, theta: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights (out, in) and biases (out,) of each layer, views of the flat vector."""
        layers, start = [], 0
        for out, into in self.shapes:
            middle, end = start + out * into, start + out * (into + 1)
            layers.append((theta[start:middle].view(out, into), theta[middle:end]))
            start = end
        return layers

    def forward(self, theta: Tensor, features: Tensor, channels: Channels) -> tuple[Tensor, Trace]:
        """Output jet (channels, N) for feature jets (channels, N, features)."""
        inputs, pre, h = [], [], features
        layers = self.layers(theta)
        for layer, (weights, biases) in enumerate(layers):
            inputs.append(h)
            z = h @ weights.T
            z = torch.cat([(z[0] + biases)[None], z[1:]])
            pre.append(z)
            h = z if layer == len(layers) - 1 else _tanh(z, channels)
        return h[..., 0], Trace(inputs, pre)

    def jacobian(self, theta: Tensor, trace: Trace, channels: Channels, seeds: Tensor, out: Tensor) -> Tensor:
        """Write ∂(Σ_c seeds[e, c, n] · output[c, n])/∂θ into ``out`` (E, N, size), for every equation and row.

        ``out`` may be (E, N, output_size) instead: then by the last layer's parameters only. Returns the derivative by
        the feature jets, (E, channels, N, features).
        """
        layers = self.layers(theta)
        delta = seeds[..., None]  # (E, channels, N, width of the layer's output)
        end, skipped = self.size, self.size - out.shape[-1]
        for layer in reversed(range(len(layers))):
            weights, _ = layers[layer]
            rows, into = weights.shape
            start = end - rows * (into + 1)
            if start >= skipped:
                d, a = delta.permute(0, 2, 3, 1), trace.inputs[layer].permute(1, 0, 2)
                middle = start + rows * into - skipped
                for into_rows, of_equation in zip(
                    out, d, strict=True
                ):  # one at a time: the product is as large as they
                    into_rows[:, start - skipped : middle].copy_((of_equation @ a).flatten(-2))
                out[..., middle : end - skipped] = delta[:, 0]
            end = start
            delta = delta @ weights
            if layer:
                delta = _tanh_transposed(delta, trace.pre[layer - 1], channels)
        return delta


def _tanh(z: Tensor, channels: Channels) -> Tensor:
    """Tanh of a jet: (channels, N, width) to the same."""
    t = z[0].tanh()
    slope = 1 - t * t
    rows = [t, *(slope * z[i] for i in channels.first)]
    if channels.second:
        bend = -2 * t * slope
        rows += [slope * z[c] + bend * z[i] * z[j] for c, i, j in channels.second]
    return torch.stack(rows)


def _tanh_transposed(bar: Tensor, z: Tensor, channels: Channels) -> Tensor:
    """The transpose of tanh's derivative on jets: adjoints (E, channels, N, width) of the output to the input's."""
    t = z[0].tanh()
    slope = 1 - t * t
    bend = -2 * t * slope
    out = slope * bar
    for i in channels.first:
        out[:, 0] += bend * z[i] * bar[:, i]
    if channels.second:
        third = -2 * slope * (1 - 3 * t * t)
        for c, i, j in channels.second:
            out[:, 0] += (bend * z[c] + third * z[i] * z[j]) * bar[:, c]
            out[:, i] += bend * z[j] * bar[:, c]
            out[:, j] += bend * z[i] * bar[:, c]
    return out

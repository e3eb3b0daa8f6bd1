"""Coefficients in few bytes: rounded where float64 says more than the function needs, then compressed."""

from __future__ import annotations

import lzma
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

FINEST, COARSEST = 2.0**-60, 2.0**-53
"""Rounding steps of a coefficient, relative to the largest of its element."""

AMPLIFIED = 1e9
"""By how much second derivatives amplify rounding at most, and some: 3e8 was measured on `ipm` 7."""

SMALLEST = 2.0**-10
"""Largest coefficient below which an element counts as this large: the functions are added to others of size one."""

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


def rounding_step(residual: float) -> float:
    """The coarsest step of which a profile with this residual shows no more than a tenth of it."""
    return min(max(2.0 ** math.floor(math.log2(residual / AMPLIFIED)), FINEST), COARSEST)


def packed(tensors: Mapping[str, Tensor], step: float = FINEST) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Bytes for every tensor of at least two dimensions, the rest as it is; and the shapes of the former.

    ``step``: to which they are rounded, relative to the largest coefficient of an element.
    """
    small, shapes = {}, {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            small[name] = tensor
            continue
        steps = _steps(tensor, step)
        whole = (tensor / steps).round().to(torch.int64).numpy()
        planes = np.ascontiguousarray(whole.reshape(-1, 1).view(np.uint8).T)  # like bytes together compress better
        data = lzma.compress(planes.tobytes(), lzma.FORMAT_RAW, filters=FILTERS)
        small[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        small[f"{name}.steps"] = steps.flatten()
        shapes[name] = list(tensor.shape)
    return small, shapes


def unpacked(small: Mapping[str, Tensor], shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors that ``packed`` took, to the rounding step. Raises ``lzma.LZMAError`` for damaged bytes."""
    tensors = {name: tensor for name, tensor in small.items() if name.removesuffix(".steps") not in shapes}
    for name, shape in shapes.items():
        data = lzma.decompress(small[name].numpy().tobytes(), lzma.FORMAT_RAW, filters=FILTERS)
        planes = np.frombuffer(data, np.uint8).reshape(8, -1)
        whole = torch.from_numpy(np.ascontiguousarray(planes.T).view(np.int64).reshape(shape))
        steps = small[f"{name}.steps"]
        tensors[name] = whole.to(steps.dtype) * steps.view(-1, *[1] * (len(shape) - 1))
    return tensors


def _steps(tensor: Tensor, step: float) -> Tensor:
    """A power of two for each element, so that rounding is exact."""
    size = tensor.abs().amax(tuple(range(1, tensor.ndim)), keepdim=True).clamp(min=SMALLEST)
    return step * torch.exp2(size.log2().ceil())

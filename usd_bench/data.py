"""Sample data of a problem: grid, starting fields, and the data of its side conditions, as one npz file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from usd_bench import __version__
from usd_bench.problem import Problem


def sample(problem: Problem, name: str, n: int) -> dict[str, Any]:
    """Arrays by name: the axes of an ``n``-point grid per coordinate, the starting fields on it (float64), and
    for each kind of side condition its points and the starting fields' values there; ``meta`` is JSON text.
    """
    lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
    axes = problem.grid(n)
    grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    shape = tuple(len(axis) for axis in axes)
    arrays: dict[str, Any] = dict(zip(problem.coords, (axis.numpy() for axis in axes), strict=True))
    for field, values in problem.starting_fields(grid, lam).items():
        arrays[field] = values.reshape(shape).numpy()
    kinds: dict[str, list[torch.Tensor]] = {}
    names: dict[str, list[str]] = {}
    for condition in problem.conditions():
        kinds.setdefault(condition.kind, []).append(condition.at)
        names.setdefault(condition.kind, []).append(condition.name)
    for kind, parts in kinds.items():
        at = torch.cat(parts)
        arrays[f"{kind}_at"] = at.numpy()
        for field, values in problem.starting_fields(at, lam).items():
            arrays[f"{kind}_{field}"] = values.numpy()
    meta = {
        "problem": name,
        "parameters": problem.parameters.model_dump(mode="json"),
        "n": n,
        "coords": list(problem.coords),
        "fields": [f.name for f in problem.fields],
        "lam": float(lam),
        "conditions": names,
        "usd_bench": __version__,
    }
    arrays["meta"] = np.array(json.dumps(meta, sort_keys=True, ensure_ascii=False))
    return arrays


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Numbers and text only, so nothing is pickled; the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)

"""What a torch optimiser remembers between two steps, as named tensors: the content of a state and of a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SCALARS = {"int": torch.int64, "float": torch.float64, "bool": torch.bool}


def recalled(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> torch.optim.Optimizer:
    """The optimiser, with the state that ``of`` gave for one of the same parameters; empty: as it is."""
    if tensors:
        known, fresh = from_tensors(tensors), optimiser.state_dict()
        groups = [group | more for group, more in zip(fresh["param_groups"], known["groups"], strict=True)]
        optimiser.load_state_dict({"state": known["state"], "param_groups": groups})
    return optimiser


def of(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers: its state, and the count of steps that some keep with their settings."""
    found = optimiser.state_dict()
    counts = [{key: group[key] for key in ("step",) if key in group} for group in found["param_groups"]]
    return to_tensors({"state": found["state"], "groups": counts})


def to_tensors(value: Any, name: str = "") -> dict[str, Tensor]:
    """Nested dicts and lists of tensors, numbers and None, flat and copied. A name is a path, such as ``0/GG/#1``.

    Raises ``TypeError`` for anything else, which a checkpoint could not hold.
    """
    if isinstance(value, Tensor):
        return {name: value.detach().clone()}
    if isinstance(value, dict):
        parts = {str(key): item for key, item in value.items()}
    elif isinstance(value, list):
        parts = {f"#{i}": item for i, item in enumerate(value)}
    elif value is None:
        return {f"{name}:none": torch.zeros(0)}
    elif type(value).__name__ in SCALARS:
        kind = type(value).__name__
        return {f"{name}:{kind}": torch.tensor(value, dtype=SCALARS[kind])}
    else:
        raise TypeError(f"an optimiser's state holds a {type(value).__name__} at {name!r}")
    found: dict[str, Tensor] = {f"{name}:{type(value).__name__}": torch.zeros(0)} if not parts else {}
    for key, item in parts.items():
        found |= to_tensors(item, f"{name}/{key}" if name else key)
    return found


def from_tensors(tensors: dict[str, Tensor]) -> Any:
    """What ``to_tensors`` was given; keys that are whole numbers are numbers again."""
    tree: dict[str, Any] = {}
    for path in sorted(tensors, key=_order):
        *folders, last = path.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        name, _, kind = last.partition(":")
        value: Any = tensors[path]
        if kind:
            value = {"none": None, "list": [], "dict": {}}[kind] if kind not in SCALARS else value.item()
        at[name] = value
    return _listed(tree)


def _order(path: str) -> list[tuple[int, str]]:
    return [(int(part[1:].partition(":")[0]) if part.startswith("#") else -1, part) for part in path.split("/")]


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    items = {key: _listed(value) for key, value in tree.items()}
    if items and all(key.startswith("#") for key in items):
        return list(items.values())
    return {int(key) if key.isdigit() else key: value for key, value in items.items()}

"""Tensors on disk: safetensors with a JSON header, written atomically, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from usd_bench.errors import CheckpointError
from usd_bench.files import write_atomically

FORMAT = 1


def write_tensors(path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors under a JSON header ``{"kind", "format", ...}``."""
    full = json.dumps({"kind": kind, "format": FORMAT, **header}, sort_keys=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={"usd_bench": full}))


def kind_of(path: Path) -> str | None:
    """What a file says it is, or None for one that cannot be read or says nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("usd_bench", "null"))
    except (SafetensorError, OSError, json.JSONDecodeError):
        return None
    return str(header["kind"]) if isinstance(header, dict) and "kind" in header else None


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file. Raises ``CheckpointError`` when it is not an intact file of that kind."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("usd_bench", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except SafetensorError as error:  # its words are of headers and offsets
        raise CheckpointError(f"{path} cannot be read as a {kind}: it is damaged, or another kind of file") from error
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as a {kind}: {error}") from None
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise CheckpointError(f"{path} is not a usd-bench {kind}")
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {header.get('format')}; this version reads format {FORMAT}")
    return header, tensors

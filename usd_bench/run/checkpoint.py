"""Checkpoints: which run one belongs to, so that no other is resumed from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usd_bench.errors import CheckpointError
from usd_bench.tensorfile import read_tensors


def check_checkpoint(
    path: Path, problem: str, parameters: Mapping[str, Any], solver: str, config: Mapping[str, Any], seed: int
) -> str:
    """Refuse a checkpoint of another problem, solver, config or seed; return the file's SHA-256."""
    header, _ = read_tensors(path, "checkpoint")
    expected = {"problem": problem, "parameters": parameters, "solver": solver, "config": config, "seed": seed}
    for what, wanted in expected.items():
        if header.get(what) != wanted:
            raise CheckpointError(
                f"{path} is a checkpoint with {what} {json.dumps(header.get(what))}, not {json.dumps(wanted)}; "
                "resume it with the selectors it was made with"
            )
    return hashlib.sha256(path.read_bytes()).hexdigest()

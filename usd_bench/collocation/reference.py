"""Stored reference profiles: what is known of a problem's answer beyond λ, with where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path
from typing import Any

from torch import Tensor

from usd_bench.collocation.compact import FINEST, packed, unpacked
from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.errors import CheckpointError
from usd_bench.files import write_atomically
from usd_bench.problem import Problem
from usd_bench.tensorfile import read_tensors, write_tensors

KIND = "reference"


def stored_profile(problem: Problem) -> PiecewiseProfile | None:
    """The profile stored for the problem's parameters, or None. Raises ``CheckpointError`` for a damaged file."""
    found = _read(problem.reference_path)
    return None if found is None else PiecewiseProfile.from_tensors(problem, found[0]["lam"], found[1])


def provenance(problem: Problem) -> dict[str, Any] | None:
    """What is said of the stored profile: command, commit, error estimate, residual, eigenvalues; or None.

    A profile that is still being built has no residual yet, and nothing is said of it.
    """
    found = _read(problem.reference_path)
    return None if found is None or "res_max" not in found[0] else dict(found[0])


def store(problem: Problem, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a reference profile; ``header`` must hold ``lam``, and may say how coefficients are to be rounded."""
    small, shapes = packed(tensors, header.get("rounding", FINEST))
    write_tensors(problem.reference_path, KIND, {**header, "packed": shapes}, small)
    _cached.cache_clear()


@contextmanager
def kept(problem: Problem) -> Iterator[None]:
    """Whatever was stored for the problem is there again if the block raises."""
    path = problem.reference_path
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True) if before is None else write_atomically(path, before)
        _cached.cache_clear()
        raise


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    return _cached(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=64)
def _cached(path: Path, modified: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, small = read_tensors(path, KIND)
    try:
        return header, unpacked(small, header["packed"])
    except (KeyError, ValueError, LZMAError) as error:
        raise CheckpointError(f"{path} cannot be unpacked: {error}") from None

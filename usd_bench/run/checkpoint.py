"""Checkpoints: a state at an iteration, in two generations, and the trace so far; from which a run goes on.

``last.ckpt`` is the newest state, ``best.ckpt`` that of the profile which the row describes; ``last.previous.ckpt`` and
``best.previous.ckpt`` are what they were before. ``trace.jsonl`` grows by a line with every evaluation. A run that was
interrupted goes on from the newest state that is intact, with the lines before it, and ends with the bits of a run that
was not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from usd_bench import __version__
from usd_bench.errors import CheckpointError, SelectorError, StoreError
from usd_bench.files import sha256
from usd_bench.tensorfile import read_tensors, write_tensors

LAST, BEST, TRACE = "last.ckpt", "best.ckpt", "trace.jsonl"


@dataclass(frozen=True)
class Every:
    """How often a checkpoint is written: every so many iterations, or seconds."""

    iterations: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Every:
        """``100`` or ``30s``. Raises ``SelectorError``."""
        with contextlib.suppress(ValueError):
            if text.endswith("s") and 0 < (seconds := float(text[:-1])) < float("inf"):
                return cls(seconds=seconds)
            if (iterations := int(text)) > 0:
                return cls(iterations=iterations)
        raise SelectorError(f"cannot read --checkpoint-every {text!r}; expected iterations, as 100, or seconds, as 30s")

    def over(self, iterations: int, seconds: float) -> bool:
        """Whether it is time again, so many iterations and seconds after the last."""
        if self.iterations is not None:
            return iterations >= self.iterations
        return self.seconds is not None and seconds >= self.seconds


@dataclass(frozen=True)
class Interrupted:
    """Where an interrupted run stood."""

    header: Mapping[str, Any]
    state: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    """State of the best profile before that iteration; empty where there was none."""
    lines: list[dict[str, Any]]
    """What ``trace.jsonl`` says of the evaluations before it: ``row``, ``best``, and ``tracked``."""

    @property
    def iteration(self) -> int:
        return int(self.header["iteration"])


def identity(
    problem: str, parameters: Mapping[str, Any], solver: str, config: Mapping[str, Any], seed: int, run_id: str
) -> dict[str, Any]:
    """What the header of a checkpoint says about the run it belongs to."""
    return {
        "problem": problem,
        "parameters": parameters,
        "solver": solver,
        "config": config,
        "seed": seed,
        "run_id": run_id,
        "version": __version__,
    }


def check_checkpoint(path: Path, wanted: Mapping[str, Any]) -> str:
    """Refuse a checkpoint whose ``identity`` differs but for the run; return the file's SHA-256."""
    header, _ = read_tensors(path, "checkpoint")
    for what, value in wanted.items():
        if what != "run_id" and header.get(what) != value:
            raise CheckpointError(
                f"{path} is a checkpoint with {what} {json.dumps(header.get(what))}, not {json.dumps(value)}; "
                "resume it with what it was made with"
            )
    return sha256(path.read_bytes())


def write_checkpoint(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint; what was there becomes the previous one. At any moment one of the two is whole."""
    previous = _previous(path)
    if path.is_file():
        # Under a name of this process's own first: another command may be at the same run.
        own = previous.with_name(f".{previous.name}.{os.getpid()}")
        try:
            own.unlink(missing_ok=True)
            try:
                os.link(path, own)
            except OSError:  # a file system without links
                shutil.copy2(path, own)
            os.replace(own, previous)
            own.unlink(missing_ok=True)  # it stays where both were the same file already
        except FileNotFoundError:
            pass  # the other command has ended the run and removed it
        except OSError as error:
            raise StoreError(f"cannot write {previous}: {error.strerror or error}") from error
    write_tensors(path, "checkpoint", header, tensors)


def interrupted(folder: Path, run_id: str, measured_at: Callable[[int], bool]) -> Interrupted | None:
    """Where the run in a folder of artifacts stood, from its newest whole checkpoint with the whole trace before it;
    None where there is none. ``measured_at``: the iterations of which the trace has a line.

    What is damaged or missing is told on standard error and passed over.
    """
    lines = _lines(folder / TRACE)
    for header, state in _generations(folder / LAST, run_id):
        before = [line for line in lines if line["row"]["iteration"] < header["iteration"]]
        again = [line for line in lines if line["row"]["iteration"] == header["iteration"]]
        if [line["row"]["iteration"] for line in before] != list(filter(measured_at, range(header["iteration"]))):
            print(f"{folder / TRACE}: the trace before iteration {header['iteration']} is not whole", file=sys.stderr)
            continue
        best = next((line["row"]["iteration"] for line in reversed(before) if line["best"]), None)
        found: Mapping[str, Tensor] = {}
        if best is not None:
            matching = (t for h, t in _generations(folder / BEST, run_id) if h["iteration"] == best)
            found = next(matching, {})
        if best is None or found or any(line["best"] for line in again):
            return Interrupted(header, state, found, before)
        print(f"{folder / LAST}: the best profile before iteration {header['iteration']} is lost", file=sys.stderr)
    return None


def forget(folder: Path) -> None:
    """Remove what only a run that goes on needs."""
    for name in (TRACE, _previous(Path(LAST)).name, _previous(Path(BEST)).name):
        (folder / name).unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous" + path.suffix)


def _generations(path: Path, run_id: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    for candidate in (path, _previous(path)):
        if candidate.is_file():
            try:
                header, tensors = read_tensors(candidate, "checkpoint")
            except CheckpointError as error:
                print(f"passed over: {error}", file=sys.stderr)
            else:
                if header.get("run_id") == run_id:
                    yield header, tensors


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a trace, one for each iteration; one that was cut off ends it."""
    found: dict[int, dict[str, Any]] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            read = json.loads(line)
            found[read["row"]["iteration"]] = read
    return [found[iteration] for iteration in sorted(found)]

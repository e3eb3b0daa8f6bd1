"""Atomic files: a reader sees the whole file or none, whenever the writer is killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from usd_bench.errors import StoreError


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary file beside the target, flush to disk, rename. Readers skip names that begin with a dot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())  # mkstemp makes it private; results are for sharing
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def check_writable(folder: Path) -> None:
    """Raise ``StoreError`` unless files can be made in ``folder``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}; choose another --out") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

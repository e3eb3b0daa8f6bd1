"""Atomic files: a reader sees the whole file or none, whenever the writer is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from usd_bench.errors import StoreError


def sha256(content: bytes) -> str:
    """The SHA-256 of what a file holds, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


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
    """Raise ``StoreError`` unless a store can be written in ``folder``: found out before a run, not after it."""
    for part in (folder / name for name in ("runs", "trace", "env", "artifacts")):
        try:
            part.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=part):
                pass
        except (OSError, ValueError) as error:  # ValueError: a name that the file system cannot spell
            name = str(part).encode(errors="backslashreplace").decode()
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"cannot write to {name}: {reason}; choose another --out") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

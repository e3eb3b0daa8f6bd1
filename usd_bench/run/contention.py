"""Whether runs had their cores for themselves: timings on shared cores are marked, never taken as they are.

Every run of a machine registers its threads for as long as it lives, whatever started it: ``--jobs``, a second command,
a cluster's workers. A file in the folder for temporary files, locked by its owner, is the registration: the system
unlocks it when the owner ends, however that happens.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from usd_bench.reproducibility import cores

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Cores:
    """The threads of this user's runs on this machine, and whether they were ever more than its cores."""

    def __init__(self, threads: int) -> None:
        self._own = threads
        self._file: IO[str] | None = None
        self._shared = False

    def __enter__(self) -> Cores:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                folder = self._folder()
                folder.mkdir(mode=0o700, exist_ok=True)
                self._path = folder / str(os.getpid())
                hidden = self._path.with_name(f".{self._path.name}")  # until it is locked: others remove what is not
                self._file = hidden.open("w", encoding="ascii")
                self._file.write(str(self._own))
                self._file.flush()
                fcntl.flock(self._file, fcntl.LOCK_EX)
                hidden.replace(self._path)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._file.close()

    def contended(self) -> bool | None:
        """Whether, now or when this was asked before, runs used more threads than there are cores; None where the
        system does not tell.
        """
        if self._file is None:
            return None
        self._shared = self._shared or self._own + sum(self._others()) > cores()
        return self._shared

    def _others(self) -> Iterator[int]:
        for path in self._folder().iterdir():
            if path == self._path or path.name.startswith("."):
                continue
            with contextlib.suppress(OSError, ValueError), path.open(encoding="ascii") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:  # its owner lives
                    yield int(file.read())
                else:
                    path.unlink(missing_ok=True)

    @staticmethod
    def _folder() -> Path:
        return Path(tempfile.gettempdir()) / f"usd-bench-cores-{os.getuid()}"

"""Stores elsewhere: pushed to and pulled from any URL that fsspec knows (a folder, https, s3, gs, hf).

What is there is what its manifest says: the SHA-256 of every file by name, written last. A file without one was never
finished and does not count, so that neither end needs renames or locks, and a push that was cut off goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

from usd_bench.errors import StoreError, one_line
from usd_bench.files import sha256, write_atomically
from usd_bench.store.merge import Merged, merge
from usd_bench.store.reader import PACKED

MANIFEST = "usd-bench-store.json"
FORMAT = 1

Progress = Callable[[int, int], None]
"""``progress(done, total)`` files."""


def silent(done: int, total: int) -> None:
    """No progress."""


@dataclass
class Pushed:
    """What a push did, by name."""

    sent: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)


def push(store: Path, url: str, artifacts: bool = True, overwrite: bool = False, progress: Progress = silent) -> Pushed:
    """Copy a store's files to a URL, those aside that are there already.

    Raises ``StoreError`` for what is no store, for a URL that cannot be written, and for a file that is there with
    another content, as of a run that was repeated, unless it is to be overwritten.
    """
    if not (store / "runs").is_dir():
        raise StoreError(f"{store} is no store: it has no runs/")
    remote, result = _Remote(url), Pushed()
    known = remote.manifest(absent={})
    found = {str(PurePosixPath(path.relative_to(store))): path for path in _files(store, artifacts)}
    digests = {name: sha256(path.read_bytes()) for name, path in found.items()}
    other = sorted(name for name in digests if name in known and known[name] != digests[name])
    if other and not overwrite:
        raise StoreError(f"{url} has another {other[0]}, and {len(other) - 1} more; --overwrite replaces them")
    missing = [name for name in found if known.get(name) != digests[name]]
    result.there = sorted(digests.keys() - set(missing))
    # Rows last: until they are there, what belongs to them is not missed.
    for done, name in enumerate(sorted(missing, key=lambda name: (name.startswith("runs/"), name))):
        remote.write(name, found[name].read_bytes())
        result.sent.append(name)
        progress(done + 1, len(missing))
    remote.write(MANIFEST, json.dumps({"format": FORMAT, "files": {**known, **digests}}, indent=1).encode())
    return result


def pull(url: str, out: Path, artifacts: bool = True, progress: Progress = silent) -> Merged:
    """Merge the store at a URL into ``out``. Runs that are there are not fetched again, and nothing is added before
    every file has the content that the manifest says.

    Raises ``StoreError`` for a URL without a store, and for a file that differs from its manifest.
    """
    remote = _Remote(url)
    manifest = remote.manifest()
    rows = [name for name in manifest if name.startswith("runs/") and _run_of(name)]
    same = {_run_of(name) for name in rows if _here(name, manifest, out)}
    wanted = [name for name in manifest if _wanted(name, manifest, out, artifacts, same)]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=out) as folder:
        (Path(folder) / "runs").mkdir()
        for done, name in enumerate(wanted):
            content = remote.read(name)
            if sha256(content) != manifest[name]:
                raise StoreError(f"{name} at {url} is not the file of its manifest; nothing was added")
            write_atomically(Path(folder) / name, content)
            progress(done + 1, len(wanted))
        result = merge([Path(folder)], out, artifacts)
        for name in wanted:  # what a run that was here already lacked
            if name.startswith("artifacts/") and _run_of(name) in same:
                write_atomically(out / name, (Path(folder) / name).read_bytes())
    result.kept += sorted(same)
    return result


class _Remote:
    """A folder at a URL. Whatever a driver raises is a ``StoreError``."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._fs, self._root = url_to_fs(url)
        except ImportError as error:
            raise StoreError(f"{url} needs a driver: {one_line(error)}") from None
        except ValueError as error:
            raise StoreError(f"{url}: {error}; known: {', '.join(sorted(fsspec.available_protocols()))}") from None

    def manifest(self, absent: dict[str, str] | None = None) -> dict[str, str]:
        """Digests by name, or ``absent`` where there is no manifest, if that is allowed."""
        try:
            said = json.loads(self._fs.cat_file(self._path(MANIFEST)))
        except FileNotFoundError:
            if absent is not None:
                return absent
            raise StoreError(f"there is no store at {self._url}: it has no {MANIFEST}") from None
        except ValueError:
            raise StoreError(f"{MANIFEST} at {self._url} cannot be read as JSON") from None
        except Exception as error:
            raise StoreError(f"{self._url} cannot be read: {one_line(error)}") from error
        if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("files"), dict):
            raise StoreError(f"{MANIFEST} at {self._url} is of another version; this usd-bench reads format {FORMAT}")
        names: dict[str, str] = said["files"]
        for name in names:
            if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                raise StoreError(f"{MANIFEST} at {self._url} names {name!r}, which is not in the store")
        return names

    def read(self, name: str) -> bytes:
        try:
            content: bytes = self._fs.cat_file(self._path(name))
        except Exception as error:
            raise StoreError(f"{name} at {self._url} cannot be read: {one_line(error)}") from error
        return content

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, content)
        except Exception as error:
            raise StoreError(f"{name} cannot be written to {self._url}: {one_line(error)}") from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _files(store: Path, artifacts: bool) -> Iterator[Path]:
    for kind in ("env", "trace", "artifacts", "runs") if artifacts else ("env", "trace", "runs"):
        for path in sorted((store / kind).rglob("*")):
            if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(store).parts):
                yield path


def _run_of(name: str) -> str:
    """The run that a file belongs to; "" for one of many, or of none."""
    parts = PurePosixPath(name).parts
    run_id = parts[1].removesuffix(".parquet") if len(parts) > 1 and parts[0] != "env" else ""
    return "" if run_id.startswith(PACKED) else run_id


def _here(name: str, manifest: Mapping[str, str], out: Path) -> bool:
    """Whether a store has a file, with the content of the manifest."""
    path = out / name
    return path.is_file() and sha256(path.read_bytes()) == manifest[name]


def _wanted(name: str, manifest: Mapping[str, str], out: Path, artifacts: bool, same: set[str]) -> bool:
    """Whether a file is to be fetched: rows and traces of runs that are here are not, nor any file that is."""
    if name.startswith("artifacts/") and not artifacts:
        return False
    if _run_of(name) in same:
        return name.startswith("artifacts/") and not (out / name).is_file()
    return not _here(name, manifest, out)

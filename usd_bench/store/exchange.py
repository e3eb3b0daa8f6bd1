"""Stores elsewhere: pushed to and pulled from any URL that fsspec knows (a folder, https, s3, gs, hf).

What is there is what its manifest says: the SHA-256 of every file by name, written last, and every few seconds of a
long push. A file that it does not name was never finished and does not count, so that neither end needs renames or
locks, and a push that was cut off goes on.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from usd_bench.errors import StoreError, one_line
from usd_bench.files import sha256, write_atomically
from usd_bench.store.merge import Merged, merge
from usd_bench.store.reader import PACKED, files
from usd_bench.store.schema import KINDS

MANIFEST = "usd-bench-store.json"
FORMAT = 1

FOLDERS = (*KINDS, "artifacts")

MANIFEST_EVERY = 10.0
"""Seconds after which a push writes the manifest of what it has sent."""

Progress = Callable[[int, int], None]
"""``progress(done, total)`` files."""


def silent(done: int, total: int) -> None:
    """No progress."""


@dataclass
class Pushed:
    """What a push did, by name."""

    sent: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Of the manifest that was there, files that are gone and that this store does not have: no longer named."""


def push(store: Path, url: str, artifacts: bool = True, overwrite: bool = False, progress: Progress = silent) -> Pushed:
    """Copy a store's files to a URL, those aside that are there already.

    Raises ``StoreError`` for what is no store, for a URL that cannot be written, and for a file that is there with
    another content, as of a run that was repeated, unless it is to be overwritten.
    """
    if not (store / "runs").is_dir():
        raise StoreError(f"{store} is no store: it has no runs/")
    remote = _Remote(url)
    if remote.lies_in(store):
        raise StoreError(f"{url} is in the store itself; choose a place outside {store}")
    said = remote.manifest(absent={})
    present = remote.names() if said else set()
    known = {name: digest for name, digest in said.items() if name in present}
    found = {str(PurePosixPath(path.relative_to(store))): path for path in _files(store, artifacts)}
    digests = {name: sha256(path.read_bytes()) for name, path in found.items()}
    other = sorted(name for name in digests if name in known and known[name] != digests[name])
    if other and not overwrite:
        raise StoreError(f"{url} has another {other[0]}, and {len(other) - 1} more; --overwrite replaces them")
    missing = {name for name in found if known.get(name) != digests[name]}
    result = Pushed(there=sorted(digests.keys() - missing), lost=sorted(said.keys() - known.keys() - digests.keys()))
    told = time.monotonic()
    # Rows last: until they are there, what belongs to them is not missed.
    for name in sorted(missing, key=lambda name: (name.startswith("runs/"), name)):
        remote.write(name, found[name].read_bytes())
        known[name] = digests[name]
        result.sent.append(name)
        progress(len(result.sent), len(missing))
        if time.monotonic() - told > MANIFEST_EVERY:
            remote.tell(known)
            told = time.monotonic()
    remote.tell(known)
    return result


def pull(url: str, out: Path, artifacts: bool = True, progress: Progress = silent) -> Merged:
    """Merge the store at a URL into ``out``. Runs that are there are not fetched again, and nothing is added before
    every file has the content that the manifest says.

    Raises ``StoreError`` for a URL without a store, and for a file that differs from its manifest.
    """
    remote = _Remote(url)
    manifest = {n: digest for n, digest in remote.manifest().items() if artifacts or not n.startswith("artifacts/")}
    missing = {name for name, digest in manifest.items() if not _holds(out / name, digest)}
    same = {_run_of(name) for name in manifest.keys() - missing if name.startswith("runs/")} - {""}
    other = sorted(name for name in missing if _run_of(name) in same and (out / name).is_file())
    wanted = sorted(missing.difference(other))
    result = _fetched(remote, wanted, manifest, out, same, progress) if wanted else Merged()
    result.kept += sorted(same)
    result.skipped += [f"{url} has another {name}; the one in {out} is kept" for name in other]
    return result


def _fetched(
    remote: _Remote, wanted: Sequence[str], manifest: Mapping[str, str], out: Path, same: set[str], progress: Progress
) -> Merged:
    """Fetch files, and add them to ``out`` when all are as the manifest says. ``same``: runs whose rows are there."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=out) as folder:
            (Path(folder) / "runs").mkdir()
            for done, name in enumerate(wanted):
                content = remote.read(name)
                if sha256(content) != manifest[name]:
                    raise StoreError(f"{name} at {remote.url} is not the file of its manifest; nothing was added")
                write_atomically(Path(folder) / name, content)
                progress(done + 1, len(wanted))
            result = merge([Path(folder)], out)
            result.skipped = [message.replace(folder, remote.url) for message in result.skipped]
            for name in wanted:
                if _run_of(name) in same:  # what a run that was here lacked
                    write_atomically(out / name, (Path(folder) / name).read_bytes())
    except BaseException:
        with suppress(OSError):
            out.rmdir()  # if there was nothing
        raise
    return result


class _Remote:
    """A folder at a URL. Whatever a driver raises is a ``StoreError``."""

    def __init__(self, url: str) -> None:
        if not url.strip():
            raise StoreError("the URL is empty; expected a folder, or one as s3://bucket/results")
        self.url = url
        try:
            self._fs, self._root = url_to_fs(url)
        except ImportError as error:
            raise StoreError(f"{url} needs a driver: {one_line(error)}") from None
        except ValueError as error:
            raise StoreError(f"{url}: {error}; known: {', '.join(sorted(fsspec.available_protocols()))}") from None
        except Exception as error:  # of a driver that connects at once
            raise StoreError(f"{url} cannot be reached: {one_line(error)}") from error

    def manifest(self, absent: dict[str, str] | None = None) -> dict[str, str]:
        """Digests by name, or ``absent`` where there is no manifest, if that is allowed."""
        try:
            said = json.loads(self._fs.cat_file(self._path(MANIFEST)))
        except FileNotFoundError:
            if absent is not None:
                return absent
            raise StoreError(f"there is no store at {self.url}: it has no {MANIFEST}") from None
        except ValueError:
            raise StoreError(f"{MANIFEST} at {self.url} cannot be read as JSON") from None
        except Exception as error:
            raise StoreError(f"{self.url} cannot be read: {one_line(error)}") from error
        if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("files"), dict):
            raise StoreError(f"{MANIFEST} at {self.url} is of another version; this usd-bench reads format {FORMAT}")
        names: dict[str, str] = said["files"]
        for name in names:
            if not _of_a_store(name):
                raise StoreError(f"{MANIFEST} at {self.url} names {name!r}, which is no file of a store")
        return names

    def lies_in(self, folder: Path) -> bool:
        """Whether it is in that folder of this machine, or the folder itself."""
        return isinstance(self._fs, LocalFileSystem) and Path(self._root).resolve().is_relative_to(folder.resolve())

    def tell(self, digests: Mapping[str, str]) -> None:
        """Write the manifest."""
        self.write(MANIFEST, json.dumps({"format": FORMAT, "files": digests}, indent=1).encode())

    def names(self) -> set[str]:
        """What is there, whatever the manifest says."""
        try:
            self._fs.invalidate_cache()
            found = self._fs.find(self._root)
        except Exception as error:
            raise StoreError(f"{self.url} cannot be listed: {one_line(error)}") from error
        return {path.removeprefix(self._path("")) for path in found}

    def read(self, name: str) -> bytes:
        try:
            content: bytes = self._fs.cat_file(self._path(name))
        except Exception as error:
            raise StoreError(f"{name} at {self.url} cannot be read: {one_line(error)}") from error
        return content

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, content)
        except Exception as error:
            raise StoreError(f"{name} cannot be written to {self.url}: {one_line(error)}") from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _of_a_store(name: str) -> bool:
    """Whether a name is that of a file below one of the folders of a store, on any system."""
    paths = PurePosixPath(name), PureWindowsPath(name)
    below = all(len(path.parts) > 1 and path.parts[0] in FOLDERS and ".." not in path.parts for path in paths)
    return below and "\0" not in name


def _files(store: Path, artifacts: bool) -> Iterator[Path]:
    for kind in KINDS:
        yield from files(store, kind)
    for path in (store / "artifacts").rglob("*") if artifacts else ():
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(store).parts):
            yield path


def _run_of(name: str) -> str:
    """The run that a file belongs to; "" for one of many, or of none."""
    parts = PurePosixPath(name).parts
    run_id = parts[1].removesuffix(".parquet") if len(parts) > 1 and parts[0] != "env" else ""
    return "" if run_id.startswith(PACKED) else run_id


def _holds(path: Path, digest: str) -> bool:
    """Whether there is a file, with this content."""
    return path.is_file() and sha256(path.read_bytes()) == digest

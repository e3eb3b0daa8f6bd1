"""The registry: finds plugins, isolates a broken one, and remembers who provided what.

Plugins are loaded one at a time, each with a plugin manager of its own, and what one registers counts only
once all its hooks have returned: a plugin that fails half-way leaves nothing behind but its reason.

Environment: ``USD_BENCH_NO_PLUGINS=1`` loads the built-ins only; ``USD_BENCH_PLUGINS=a,b`` only the named
plugins beside them; ``USD_BENCH_STRICT_PLUGINS=1`` makes a broken plugin an error.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from usd_bench import hookspecs
from usd_bench.errors import PluginError, SelectorError, did_you_mean, one_line

DISTRIBUTION = "usd-bench"
KINDS = ("problems", "solvers", "metrics", "trackers", "commands")

Kind = Literal["problems", "solvers", "metrics", "trackers", "commands"]


@dataclass(frozen=True)
class Plugin:
    """Where a plugin came from and how loading it went."""

    name: str
    origin: str
    """Distribution name, or the path of a one-file plugin."""
    version: str
    module: str
    state: Literal["loaded", "failed", "disabled"] = "loaded"
    reason: str = ""
    explicit: bool = False
    """Asked for by ``--plugins-dir``, so that a failure is the user's error rather than a warning."""

    def __str__(self) -> str:
        return f"{self.name} ({self.origin} {self.version})".replace(" )", ")")


@dataclass(frozen=True)
class Entry:
    """One registered thing: its name, what it is, and who provides it."""

    name: str
    target: str | Any
    summary: str
    aliases: tuple[str, ...]
    plugin: Plugin

    def load(self) -> Any:
        """The object behind the target. Raises ``PluginError`` when it is not there."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"{self.name!r} of plugin {self.plugin} cannot be loaded from {self.target!r}: {one_line(error)}"
            ) from error


@dataclass
class Registry:
    """Everything that plugins offer. ``conflicts`` holds the messages of names claimed twice."""

    plugins: list[Plugin] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    strict: bool = False
    """Whether a broken plugin is an error rather than a warning."""

    @classmethod
    def load(cls, plugin_dirs: Iterable[Path] = (), environ: Mapping[str, str] = os.environ) -> Registry:
        """Find and load every plugin. Never raises for a broken one: see ``check``."""
        registry = cls(strict=environ.get("USD_BENCH_STRICT_PLUGINS", "") not in ("", "0"))
        excluded = _excluded(environ)
        for point in sorted(entry_points(group=hookspecs.GROUP), key=_order):
            plugin = Plugin(point.name, point.dist.name if point.dist else "?", _version(point), point.module)
            if not _built_in(point) and (why := excluded(point.name)):
                registry.plugins.append(replace(plugin, state="disabled", reason=why))
            else:
                registry._add(plugin, point.load)
        for directory in dict.fromkeys(path.resolve() for path in plugin_dirs):
            for path in _plugin_files(directory):
                plugin = Plugin(path.stem, str(path), "", path.stem, explicit=True)
                registry._add(plugin, partial(_import_file, path))
        return registry

    def check(self) -> list[str]:
        """Raise ``PluginError`` for what must stop a command; return warnings for the rest."""
        if self.conflicts:
            raise PluginError(self.conflicts[0])
        warnings = []
        for plugin in self.plugins:
            if plugin.state == "failed":
                message = f"plugin {plugin} was skipped: {plugin.reason}"
                if plugin.explicit or self.strict:
                    raise PluginError(message)
                warnings.append(message)
        return warnings

    def get(self, kind: Kind, name: str) -> Entry:
        """The entry of that name or alias. Raises ``SelectorError`` with what is close, or why it is missing."""
        entries = self.entries[kind]
        if name in entries:
            return entries[name]
        for entry in entries.values():
            if name in entry.aliases:
                return entry
        broken = [str(plugin) for plugin in self.plugins if plugin.state == "failed"]
        missing = f"; plugin {', '.join(broken)} failed to load (usd-bench plugins doctor)" if broken else ""
        raise SelectorError(f"unknown {kind.removesuffix('s')} {name!r}{did_you_mean(name, entries)}{missing}")

    def of(self, kind: Kind) -> Iterator[Entry]:
        """All entries of a kind by name."""
        return iter(sorted(self.entries[kind].values(), key=lambda entry: entry.name))

    def provided_by(self, plugin: Plugin) -> dict[str, list[str]]:
        """Names that a plugin registered, by kind."""
        return {
            kind: names
            for kind in KINDS
            if (names := [e.name for e in self.entries[kind].values() if e.plugin.module == plugin.module])
        }

    def _add(self, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
        twin = next((p for p in self.plugins if p.name == plugin.name and p.state != "disabled"), None)
        if twin is not None:
            self.conflicts.append(f"two plugins are named {plugin.name!r}: {twin} and {plugin}; remove or rename one")
            return
        staged: list[tuple[str, Entry]] = []
        try:
            manager = pluggy.PluginManager(hookspecs.GROUP)
            manager.add_hookspecs(hookspecs)
            manager.register(load(), plugin.name)
            manager.check_pending()
            for kind in KINDS:

                def register(
                    name: str, target: str | Any, *, summary: str = "", aliases: tuple[str, ...] = (), kind: str = kind
                ) -> None:
                    for word in (name, *aliases):
                        if not isinstance(word, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", word):
                            raise ValueError(f"cannot register {word!r}: a name has letters, digits, _ . and - only")
                    staged.append((kind, Entry(name, target, str(summary), tuple(aliases), plugin)))

                getattr(manager.hook, f"register_{kind}")(register=register)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise what it likes; it is still only a plugin
            self.plugins.append(replace(plugin, state="failed", reason=one_line(error)))
            return
        clashes = [clash for kind, entry in staged if (clash := self._clash(kind, entry, staged))]
        if clashes:
            self.conflicts += clashes
            self.plugins.append(replace(plugin, state="failed", reason=clashes[0]))
            return
        self.plugins.append(plugin)
        for kind, entry in staged:
            self.entries[kind][entry.name] = entry

    def _clash(self, kind: str, entry: Entry, staged: list[tuple[str, Entry]]) -> str:
        names = {entry.name, *entry.aliases}
        others = [*self.entries[kind].values(), *(e for k, e in staged if k == kind and e is not entry)]
        for other in others:
            if names & {other.name, *other.aliases}:
                name = sorted(names & {other.name, *other.aliases})[0]
                return (
                    f"{kind.removesuffix('s')} {name!r} is provided by both {other.plugin} and {entry.plugin}; "
                    "uninstall one, or switch one off with USD_BENCH_PLUGINS"
                )
        return ""


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    """Built-ins first, then by name, whatever order folders are listed in."""
    return not _built_in(point), point.name, point.dist.name if point.dist else ""


def _built_in(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == DISTRIBUTION


def _version(point: EntryPoint) -> str:
    return point.dist.version if point.dist else ""


def _excluded(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Why a plugin of that name is not loaded, and what would load it; "" for one that is."""
    if environ.get("USD_BENCH_NO_PLUGINS", "") not in ("", "0"):
        return lambda name: "switched off by USD_BENCH_NO_PLUGINS; unset it to have it"
    chosen = environ.get("USD_BENCH_PLUGINS")
    if chosen is None:
        return lambda name: ""
    names = {name.strip() for name in chosen.split(",")}
    return lambda name: "" if name in names else f"not in USD_BENCH_PLUGINS={chosen}; add it there, or unset that"


def _plugin_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise PluginError(f"--plugins-dir {directory} is not a folder; give one that holds plugin files (*.py)")
    return sorted(path for path in directory.glob("*.py") if not path.name.startswith("_"))


def _import_file(path: Path) -> ModuleType:
    """Import a one-file plugin under its own name, so that ``"stem:Class"`` targets resolve."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    if known is not None or importlib.util.find_spec(path.stem) is not None:
        raise ImportError(f"a module named {path.stem!r} exists already; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module

"""What both suites ask of a plugin: that it is found, costs nothing to register, and says what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

from usd_bench.registry import Entry, Registry


class PluginConformance:
    """Names what is tested, and where it lies."""

    kind: ClassVar[Literal["problems", "solvers"]]
    name: ClassVar[str]
    plugins_dir: ClassVar[Path | None] = None
    """The folder of a plugin in one file; None: the plugin is installed."""

    def _folders(self) -> list[Path]:
        return [] if self.plugins_dir is None else [self.plugins_dir]

    def _registry(self) -> Registry:
        registry = Registry.load(self._folders())
        assert not registry.conflicts, registry.conflicts
        return registry

    def _entry(self) -> Entry:
        return self._registry().get(self.kind, self.name)

    def _command(self, *arguments: str, cwd: Path) -> Any:
        """The JSON that ``usd-bench`` prints, run as a user would."""
        folders = [part for folder in self._folders() for part in ("--plugins-dir", str(folder.resolve()))]
        command = [sys.executable, "-m", "usd_bench", *arguments, *folders, "--json", "-q", "--threads", "1"]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", env=os.environ)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def test_registering_imports_no_torch(self) -> None:
        """Every command loads every plugin, and none must wait for torch: give targets as ``module:Class``."""
        if self.plugins_dir is not None:
            return  # one file is imported whole, when it is asked for
        code = (
            "import sys; from usd_bench.registry import Registry; registry = Registry.load();"
            f"registry.get({self.kind!r}, {self.name!r});"
            "assert 'torch' not in sys.modules, 'registering the plugin imported torch'"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_it_says_what_it_is(self) -> None:
        """A summary for lists, a docstring that names its source, and a description of every setting."""
        entry = self._entry()
        cls = entry.load()
        assert entry.summary, f"{self.name} has no summary; give one to register()"
        text = " ".join((cls.__doc__ or "").split())
        assert "Source:" in text, f"the docstring of {cls.__name__} does not say 'Source: ...'"
        settings = cls.Config if self.kind == "solvers" else cls.Parameters
        bare = [name for name, field in settings.model_fields.items() if not field.description]
        assert not bare, f"{settings.__name__}: no description of {', '.join(bare)}; use Field(..., description=...)"

"""New plugins from templates: complete distributions, which pass their own tests."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from usd_bench import __version__
from usd_bench.errors import PluginError
from usd_bench.files import write_atomically

Kind = Literal["problem", "solver"]

SHARED = {"README.md": "README.md", "tests.yml": ".github/workflows/tests.yml", "gitignore": ".gitignore"}
"""Templates of both kinds, and where they go."""


def create(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a distribution for a problem or solver of that name into a folder that is new or empty.

    Raises ``PluginError`` for a name that is no name of a module, or a folder with something in it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} cannot be the name of a module; use small letters, digits and _, as in my_{kind}")
    if folder.exists() and any(folder.iterdir()):
        raise PluginError(f"{folder} is there already, with something in it; choose another --into")
    words = name.split("_")
    values = {
        "name": name,
        "package": f"usd_{name}",
        "distribution": f"usd-{name.replace('_', '-')}",
        "cls": "".join(word.capitalize() for word in words),
        "kind": kind,
        "version": __version__,
        "title": " ".join(words),
    }
    targets = {
        "pyproject.toml": "pyproject.toml",
        f"{kind}_plugin.py": f"{values['package']}/plugin.py",
        f"{kind}.py": f"{values['package']}/{name}.py",
        f"{kind}_tests.py": "tests/test_conformance.py",
        **SHARED,
    }
    written = []
    templates = files("usd_bench.scaffold") / "templates"
    for template, target in targets.items():
        text = (templates / f"{template}.txt").read_text(encoding="utf-8")
        path = folder / target
        write_atomically(path, Template(text).substitute(values).encode())
        written.append(path)
    init = folder / values["package"] / "__init__.py"
    write_atomically(init, f'"""A {kind} for usd-bench: {values["title"]}."""\n'.encode())
    return sorted([*written, init])

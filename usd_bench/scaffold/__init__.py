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

SHARED = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "tests.yml": ".github/workflows/tests.yml",
    "gitignore": ".gitignore",
}
"""Templates of both kinds, and where they go."""


def create(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a distribution for a problem or solver of that name into a folder that is new or empty.

    Raises ``PluginError`` for a name that is no name of a module, or a folder with something in it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} cannot be the name of a module; use small letters, digits and _, as in my_{kind}")
    if folder.exists() and any(folder.iterdir()):
        raise PluginError(f"{folder} is there already, with something in it; choose another --into")
    package = f"usd_{name}"
    contents = {
        f"{package}/__init__.py": f'"""A {kind} for usd-bench: {name.replace("_", " ")}."""\n',
        f"{package}/plugin.py": rendered(f"{kind}_plugin.py", kind, name),
        f"{package}/{name}.py": rendered(f"{kind}.py", kind, name),
        "tests/test_conformance.py": rendered(f"{kind}_tests.py", kind, name),
        **{target: rendered(template, kind, name) for template, target in SHARED.items()},
    }
    for target, text in contents.items():
        write_atomically(folder / target, text.encode())
    return sorted(folder / target for target in contents)


def rendered(template: str, kind: Kind, name: str) -> str:
    """A template with the names that belong to this plugin."""
    text = (files("usd_bench.scaffold") / "templates" / f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(
        name=name,
        package=f"usd_{name}",
        distribution=f"usd-{name.replace('_', '-')}",
        cls="".join(word.capitalize() for word in name.split("_")),
        kind=kind,
        version=__version__,
    )

"""YAML files that know their lines, for errors that say where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from usd_bench.errors import ConfigError, did_you_mean


def load(path: Path, example: str) -> tuple[dict[str, Any], yaml.Node]:
    """A YAML mapping and its nodes, which know their lines. Raises ``ConfigError``."""
    try:
        text = path.read_text(encoding="utf-8")
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if not isinstance(data, dict) or node is None or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{path}:1: expected a mapping, such as '{example}'")
    for line, key in _repeated(node):
        raise ConfigError(f"{path}:{line}: {key} is given twice")
    return data, node


def said(path: Path, node: yaml.Node, error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, with its line. ``model``: whose keys are meant where one is unknown."""
    first = error.errors()[0]
    return f"{path}:{line_of(node, first['loc'])}: {_message(first, model)}"


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{name}: no such key{did_you_mean(str(error['loc'][-1]), model.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Line and name of every key that a mapping has already."""
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen and key.value != "<<":
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            below.append(value)
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    for one in below:
        yield from _repeated(one)


def line_of(node: yaml.Node, loc: Sequence[str | int]) -> int:
    """The line of the deepest node on the way to ``loc``."""
    line = node.start_mark.line + 1
    for part in loc:
        below = None
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part in pairs:
                key, below = pairs[part]
                line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            below = node.value[part]
            line = below.start_mark.line + 1
        if below is None:
            break
        node = below
    return line

"""Selectors: ``name[param=value,param=[a,b]]``, several separated by commas.

A list value is a grid: ``burgers[order=[0,1]]`` stands for two selections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from usd_bench.errors import SelectorError, did_you_mean

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Selection:
    """One name with one value for each parameter that the user gave. A model checks the values; from the command line
    they are text.
    """

    name: str
    parameters: dict[str, Any]


def parse(text: str) -> list[Selection]:
    """All selections in ``text``, grids expanded, in the order written. Raises ``SelectorError``."""
    selections: list[Selection] = []
    for item in _split(text, text):
        name, bracket, rest = item.partition("[")
        name = name.strip()
        if not name or (bracket and not rest.endswith("]")) or "]" in name:
            raise SelectorError(f"cannot read {item!r} in selector {text!r}; expected name or name[param=value]")
        axes = [_axis(part, text) for part in _split(rest[:-1], text)] if bracket else []
        names = [key for key, _ in axes]
        if len(set(names)) < len(names):
            raise SelectorError(f"a parameter is given twice in {item!r}; give a grid as {names[0]}=[a,b]")
        for values in product(*(values for _, values in axes)):
            selections.append(Selection(name, dict(zip(names, values, strict=True))))
    if not selections:
        raise SelectorError("an empty selector selects nothing; expected for example burgers[order=0]")
    return selections


def _axis(part: str, text: str) -> tuple[str, list[str]]:
    key, equals, value = part.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key or not value:
        raise SelectorError(f"cannot read {part!r} in selector {text!r}; expected param=value or param=[a,b]")
    if value.startswith("[") and value.endswith("]"):
        values = _split(value[1:-1], text)
        if not values:
            raise SelectorError(f"the list of {key!r} in selector {text!r} is empty")
        return key, values
    return key, [value]


def _split(text: str, whole: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    return [part for part in (piece.strip() for piece in _pieces(text, whole)) if part]


def _pieces(text: str, whole: str) -> Iterator[str]:
    depth, start = 0, 0
    for position, character in enumerate(text):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    if depth != 0:
        raise SelectorError(f"brackets do not match in selector {whole!r}")
    yield text[start:]


def checked(name: str, model: type[M], values: dict[str, Any]) -> M:
    """The values as the typed model of ``name``, or a ``SelectorError`` that says what is wrong in one line."""
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "?"
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(key, model.model_fields)
            raise SelectorError(f"{name} has no parameter {key!r}{hint or '; it takes none'}") from None
        about = model.model_fields[key].description if key in model.model_fields else None
        message = first["msg"][:1].lower() + first["msg"][1:]
        meaning = f" ({key}: {about})" if about else ""
        raise SelectorError(f"{name}[{key}={first['input']}]: {message}{meaning}") from None

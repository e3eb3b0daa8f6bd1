"""The report: one HTML page with its data and its scripts inside, which opens from a disk without a network."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import Any

PARTS = {"style": ("uPlot.min.css", "style.css"), "script": ("uPlot.iife.min.js", "report.js")}
"""Files of ``page/`` that go inline, in this order."""


def html_page(data: dict[str, Any], title: str) -> str:
    """The page. ``data``: see ``report_data``."""
    page = files("usd_bench.report") / "page"

    def text(name: str) -> str:
        return (page / name).read_text(encoding="utf-8")

    # A "<" in a string could end the script element, or begin what looks like another.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    found = text("page.html")
    for key, value in {
        "title": escape(title),  # first: data and scripts may hold what looks like a place for one
        "style": "\n".join(map(text, PARTS["style"])),
        "data": content,
        "script": "\n".join(map(text, PARTS["script"])),
    }.items():
        found = found.replace(f"<!--{key}-->", value)
    return found

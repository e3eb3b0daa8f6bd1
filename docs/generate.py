"""Fill the generated parts of the docs from the code: ``python docs/generate.py``; ``--check`` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from usd_bench.analysis.truth import markdown, shown, truth_rows
from usd_bench.cli.list import known_problems
from usd_bench.collocation.reference import provenance
from usd_bench.registry import Registry
from usd_bench.store.schema import KINDS

HERE = Path(__file__).parent

SHOWN = (
    "ccf[order=[0,1,2]]",
    "hou_luo[order=[0,4,10]]",
    f"ipm[order={list(range(8))}]",
    f"boussinesq[order={list(range(8))}]",
)
"""Profiles in the README."""


def columns(kind: str) -> str:
    """The columns of a kind of row as a Markdown table."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for field in KINDS[kind]:
        lines.append(f"| `{field.name}` | {field.type} | {field.metadata[b'about'].decode()} |")
    return "\n".join(lines)


def truth() -> str:
    """Published and own values of λ as a Markdown table."""
    return markdown(truth_rows(known_problems(Registry.load())))


def profiles() -> str:
    """Some stored profiles, with what they cost, as a Markdown table."""
    lines = [
        "| profile | our λ | error estimate | residual | growing modes | solver seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, problem in known_problems(Registry.load(), SHOWN):
        header = provenance(problem)
        if header is not None:
            cells = [
                f"`{name}[order={problem.order}]`",
                shown(header["lam"], header["lam_error"]),
                f"{header['lam_error']:.0e}",
                f"{header['res_max']:.1e}",
                str(len(header["unstable"])),
                f"{header['time_s']:.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def generated(text: str) -> str:
    """The text with every generated part as it should be."""
    text = re.sub(
        r"<!-- truth -->\n.*?<!-- end -->", lambda match: f"<!-- truth -->\n{truth()}\n<!-- end -->", text, flags=re.S
    )
    text = re.sub(
        r"<!-- profiles -->\n.*?<!-- end -->",
        lambda match: f"<!-- profiles -->\n{profiles()}\n<!-- end -->",
        text,
        flags=re.S,
    )
    return re.sub(
        r"<!-- columns: (\w+) -->\n.*?<!-- end -->",
        lambda match: f"<!-- columns: {match[1]} -->\n{columns(match[1])}\n<!-- end -->",
        text,
        flags=re.S,
    )


def main() -> int:
    stale = []
    for path in [HERE.parent / "README.md", *sorted(HERE.rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        if generated(text) != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(generated(text), encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(HERE.parent)} {'is stale' if '--check' in sys.argv else 'written'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())

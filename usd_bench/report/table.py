"""The summary as a table for papers and pages: Markdown or LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

COLUMNS: dict[str, Callable[[pd.Series], str]] = {
    "problem": lambda r: str(r["instance"]),
    "solver": lambda r: str(r["method"]),
    "solved": lambda r: f"{r['solved']} of {r['runs']}",
    "rate": lambda r: f"{r['rate_low']:.2f} … {r['rate_high']:.2f}",
    "expected": lambda r: _number(r["expected"]),
    "× best": lambda r: _number(r["ratio"]),
    "median residual": lambda r: _number(r["residual"]),
    "digits of λ": lambda r: "–" if math.isnan(r["digits"]) else f"{r['digits']:.1f}",
}


def markdown(summary: pd.DataFrame, caption: str) -> str:
    """A Markdown table under its caption."""
    lines = [caption, "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(show(row) for show in COLUMNS.values())} |" for _, row in summary.iterrows()]
    return "\n".join(lines)


def latex(summary: pd.DataFrame, caption: str) -> str:
    """A ``table`` with booktabs rules."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(caption)}}}"]
    lines += [r"\begin{tabular}{ll" + "r" * (len(COLUMNS) - 2) + "}", r"\toprule"]
    lines += [" & ".join(map(_escaped, COLUMNS)) + r" \\", r"\midrule"]
    lines += [" & ".join(_escaped(show(row)) for show in COLUMNS.values()) + r" \\" for _, row in summary.iterrows()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.3g}"


ESCAPES = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "_&%#${}"},
    "×": r"$\times$",
    "λ": r"$\lambda$",
    "…": r"\dots{}",
    "–": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in text)

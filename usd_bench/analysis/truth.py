"""What is known of λ: published values beside our own stored profiles, one row per problem and order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from usd_bench.collocation.reference import provenance
from usd_bench.problem import Problem

Row = dict[str, Any]


def truth_rows(problems: Iterable[tuple[str, Problem]]) -> list[Row]:
    """For each named problem: the published λ, ours with its error estimate, and how they compare."""
    return [_row(name, problem) for name, problem in problems]


def _row(name: str, problem: Problem) -> Row:
    target, ours = problem.target, provenance(problem)
    row: Row = {
        "problem": name,
        "order": problem.order,
        "parameters": problem.parameters.model_dump(mode="json"),
        "published": None if target is None else target.lam,
        "published_digits": None if target is None else target.digits,
        "source": None if target is None else target.source,
        "ours": None,
        "error_estimate": None,
        "difference": None,
        "digits": None,
        "res_max": None,
        "unstable": None,
        "symmetry_error": None,
    }
    if ours is not None:
        row.update(
            ours=ours["lam"],
            error_estimate=ours["lam_error"],
            difference=None if target is None else ours["lam"] - target.lam,
            digits=digits(ours["lam"], ours["lam_error"]),
            res_max=ours["res_max"],
            unstable=ours["unstable"],
            symmetry_error=ours["symmetry_error"],
        )
    return row


def digits(value: float, error: float) -> int:
    """Significant digits of ``value`` that an error of this size leaves."""
    return max(0, math.floor(-math.log10(max(error, 1e-16) / (abs(value) or 1.0))))


def shown(value: float | None, error: float | None = None) -> str:
    """A number with the digits that its error leaves, or a dash."""
    if value is None:
        return "-"
    if error is None:
        return f"{value:.15g}"
    return f"{value:.{max(1, min(15, -math.floor(math.log10(max(error, 1e-15)))))}f}"


def modes(row: Row) -> str:
    """The eigenvalues of growing modes as people read them."""
    if row["unstable"] is None:
        return "-"
    parts = (f"{re:.6g}" + (f" ± {im:.6g}i" if im else "") for re, im in row["unstable"] if im >= 0)
    return ", ".join(parts) or "none"


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table, for the docs."""
    lines = [
        "| problem | order | published λ | our λ | estimate | difference | residual | unstable modes μ | source |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["problem"] + _extra(row),
            str(row["order"]),
            shown(row["published"]),
            shown(row["ours"], row["error_estimate"]),
            _small(row["error_estimate"]),
            _small(row["difference"]),
            _small(row["res_max"]),
            f"{len(row['unstable'])}: {modes(row)}" if row["unstable"] is not None else "-",
            row["source"] or "new",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _extra(row: Row) -> str:
    """Parameters other than the order."""
    extra = {key: value for key, value in row["parameters"].items() if key != "order"}
    return f" {json.dumps(extra)[1:-1]}".replace('"', "") if extra else ""

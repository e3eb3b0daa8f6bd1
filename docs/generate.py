"""Fill the generated parts of the docs from the code: ``python docs/generate.py``; ``--check`` only compares."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from usd_bench.analysis.frames import runs_frame, trace_frame
from usd_bench.analysis.summary import summary
from usd_bench.analysis.truth import markdown, shown, truth_rows
from usd_bench.cli.list import known_problems
from usd_bench.collocation.reference import provenance
from usd_bench.registry import Registry
from usd_bench.scaffold import rendered
from usd_bench.store.reader import read, read_frame
from usd_bench.store.schema import KINDS

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "results" / "published"
PEERS, ACCURACY, STANDARD = (PUBLISHED / name for name in ("peers", "accuracy", "standard"))

WHAT = {"assembly": "Jacobian", "step": "step", "target": "time to the residual"}

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


def peers() -> str:
    """Times of other methods over ours, from the files that ``benchmarks/peers.py`` wrote, as a Markdown table."""
    frames = [pd.read_parquet(path) for path in sorted(PEERS.glob("*.parquet"))]
    frames.sort(key=lambda frame: int(frame["rows"][0] * frame["parameters"][0]))
    head = [
        "{problem}: {rows} × {parameters}, to {target:g} within {limit:g} s".format(**frame.iloc[0]) for frame in frames
    ]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(frames) + 1) + "|"]
    by_row = [{(row["what"], row["method"].partition(",")[0]): row for _, row in frame.iterrows()} for frame in frames]
    for what, method in by_row[0]:
        cells = [_ratio(rows.get((what, method))) for rows in by_row]
        lines.append(f"| {WHAT[what]}, {method} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in json.loads(frames[0]["versions"][0]).items())
    commits = ", ".join(sorted({f"`{frame['commit'][0][:7]}`" for frame in frames}))
    return "\n".join([*lines, "", f"{frames[0]['threads'][0]} threads; commit {commits}; {versions}."])


def accuracy() -> str:
    """What ``gauss_newton`` reached from random networks, from the rows of ``results/published/accuracy``."""
    runs = runs_frame(read(ACCURACY, "runs")[0])
    default = Registry.load().get("solvers", "gauss_newton").load().Config().model_dump(mode="json")
    lines = [
        "| problem | `gauss_newton[…]` | goal | seeds | reached | res_max | err_max | digits of λ | iterations "
        "| solver seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (instance, _), group in runs.groupby(["instance", "method"]):
        done = group[group["status"].isin(["converged", "budget"])]
        settings = {k: v for k, v in json.loads(group["config"].iloc[0]).items() if v != default[k]}
        cells = [
            f"`{instance}`",
            "`" + ",".join(f"{name}={value}" for name, value in settings.items()) + "`",
            f"{GOALS[instance]:.0e}",
            str(len(group)),
            str((group["residual"] <= GOALS[instance]).sum()),
            *(_range(done[name], form) for name, form in RANGES.items()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    other = runs[~runs["status"].isin(["converged", "budget"])]
    ends = ", ".join(f"{row['instance']} seed {row['seed']} {row['status']}" for _, row in other.iterrows())
    commits = ", ".join(sorted({f"`{commit[:7]}`" for commit in runs["commit"]}))
    threads = ", ".join(sorted({str(count) for count in runs["threads"]}))
    tail = f"Commit {commits}, {threads} thread." + (f" Not counted in the ranges: {ends}." if ends else "")
    return "\n".join([*lines, "", tail])


def standard() -> str:
    """The best methods on each problem of the standard suite, from ``results/published/standard``."""
    rows, trace = read(STANDARD, "runs")[0], read_frame(STANDARD, "trace")[0]
    runs = runs_frame(rows)
    found = summary(runs, trace_frame(runs, trace), STANDARD_TARGET)
    lines = [
        f"| problem | solver | runs | median res_max | digits of λ | reached {STANDARD_TARGET:g} | expected seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for instance in STANDARD_PROBLEMS:
        chosen = found[found["instance"] == instance]
        for _, row in chosen.sort_values(["expected", "residual"]).head(BEST).iterrows():
            cells = [f"`{instance}`", f"`{row['method']}`", str(row["runs"]), f"{row['residual']:.1e}"]
            expected = f"{row['expected']:.3g}" if math.isfinite(row["expected"]) else "never"
            cells += [f"{row['digits']:.1f}", f"{row['solved']} of {row['runs']}", expected]
            lines.append("| " + " | ".join(cells) + " |")
    methods = runs["solver"].nunique()
    commits = ", ".join(sorted({f"`{commit[:7]}`" for commit in runs["commit"]}))
    tail = f"{len(runs)} runs of {methods} solvers, 1 thread each, two at a time; commit {commits}."
    return "\n".join([*lines, "", tail])


STANDARD_TARGET, BEST = 1e-5, 5
STANDARD_PROBLEMS = (
    "burgers[order=0]",
    "burgers[order=1]",
    "ccf[order=0]",
    "hou_luo[order=0]",
    "toy_ipm[order=0]",
    "toy_boussinesq[order=0]",
)
"""Of the standard suite, those that every solver ran."""

GOALS = {
    "burgers[order=0]": 1e-12,
    "burgers[order=1]": 1e-11,
    "ccf[order=0]": 1e-11,
    "ccf[order=1]": 1e-9,
    "ipm[order=0]": 1e-8,
    "ipm[order=1]": 1e-6,
    "boussinesq[order=0]": 1e-7,
    "boussinesq[order=1]": 1e-6,
}
"""The residual that we set out to reach on each problem, before measuring."""

RANGES = {"res_max": ".1e", "err_max": ".1e", "lam_digits": ".1f", "iterations": ".0f", "time_solve_s": ".0f"}


def _range(values: pd.Series, form: str) -> str:
    low, high = (f"{value:{form}}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} … {high}"


def _ratio(row: Any) -> str:
    if row is None:
        return ""
    if math.isnan(row["seconds"]):
        return "out of memory" if "out of memory" in row["method"] else f"not reached: {row['best']:.0e}"
    if row["method"] == "usd-bench":
        return f"{row['seconds']:.3g} s"
    return f"{row['ratio']:.3g} ×"


def template(name: str) -> str:
    """A file of the packages that ``usd-bench new`` makes, as a block."""
    kind = "problem" if name.startswith("problem") else "solver"
    chosen = {"problem": "my_equation", "solver": "my_method"}[kind]
    language = "toml" if name.endswith(".toml") else "python"
    return f"```{language}\n{rendered(name, kind, chosen)}```"


PARTS: dict[str, Callable[..., str]] = {
    "truth": truth,
    "profiles": profiles,
    "peers": peers,
    "accuracy": accuracy,
    "standard": standard,
    "columns": columns,
    "template": template,
}
"""What a pair of comments ``<!-- name: argument -->`` … ``<!-- end -->`` is filled with."""


def generated(text: str) -> str:
    """The text with every generated part as it should be."""

    def filled(match: re.Match[str]) -> str:
        arguments = [match[2]] if match[2] else []
        return f"{match[0].splitlines()[0]}\n{PARTS[match[1]](*arguments)}\n<!-- end -->"

    names = "|".join(PARTS)
    return re.sub(rf"<!-- ({names})(?:: ([\w.]+))? -->\n.*?<!-- end -->", filled, text, flags=re.S)


def checksums() -> str:
    """Of every published Parquet file, as ``sha256sum -c`` reads them: no value changes unseen."""
    paths = sorted(PUBLISHED.rglob("*.parquet"))
    return "".join(
        f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(PUBLISHED).as_posix()}\n" for path in paths
    )


def main() -> int:
    files = [HERE.parent / "README.md", *sorted(HERE.rglob("*.md"))]
    wanted = {path: generated(path.read_text(encoding="utf-8")) for path in files}
    wanted[PUBLISHED / "SHA256SUMS"] = checksums()
    check = "--check" in sys.argv
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
        print(f"{path.relative_to(HERE.parent)} {'is stale' if check else 'written'}")
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main())

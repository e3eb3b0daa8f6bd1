"""Submissions: a store made ready for a pull request into ``results/published``, and whether one is what was signed.

The signature is a digest of everything: what was said of the runs, the machines' records, and every file. It shows that
something was changed after it was made. It does not show who made it: whoever changes a file can sign again.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from usd_bench.errors import StoreError
from usd_bench.files import sha256, write_atomically
from usd_bench.reproducibility import digest
from usd_bench.store.merge import merge, pack
from usd_bench.store.reader import read
from usd_bench.store.validate import validated

NAME = "submission.json"
FORMAT = 1


def submit(store: Path, folder: Path, *, how: str, beside: str, contact: str) -> dict[str, Any]:
    """Write rows, traces and environments of a store into a new folder, packed, with ``submission.json``.

    ``how``: suite or commands; ``beside``: what else ran on the machine; ``contact``: whom to ask. Raises
    ``StoreError`` for a store with faults, and for a folder with something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is there already, with something in it; choose another")
    if not how.strip():
        raise StoreError("--how is empty; say which suite or commands made the runs")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".submission-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        merged = merge([store], made, artifacts=False)
        if merged.skipped:
            raise StoreError(f"{merged.skipped[0]}; see usd-bench validate {store}")
        if not merged.added:
            raise StoreError(f"{store} has no runs to submit")
        pack(made)
        (made / "artifacts").rmdir()
        _check_rules(made, store)
        said = {"format": FORMAT, "how": how, "beside": beside, "contact": contact, **_facts(made)}
        said["signature"] = digest(said)
        write_atomically(made / NAME, json.dumps(said, indent=2, ensure_ascii=False).encode())
        made.replace(folder)  # all of it or nothing
    return said


def check(folder: Path) -> dict[str, Any]:
    """What a submission says, if it holds. Raises ``StoreError`` for the first thing that does not."""
    try:
        said: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{folder} has no {NAME}; `usd-bench results submission` makes it") from None
    except ValueError:
        raise StoreError(f"{folder / NAME} cannot be read as JSON") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise StoreError(f"{folder / NAME} is of another version; this usd-bench reads format {FORMAT}")
    if said.get("signature") != digest({name: value for name, value in said.items() if name != "signature"}):
        raise StoreError(f"{folder / NAME} is not what was signed")
    facts = _facts(folder)
    lacking = [name for name in ("how", "beside", "contact", *facts) if name not in said]
    if lacking:
        raise StoreError(f"{folder / NAME} says nothing of {', '.join(lacking)}")
    for name in sorted(said["files"].keys() | facts["files"].keys()):
        if said["files"].get(name) != facts["files"].get(name):
            raise StoreError(f"{folder / name} is not the file that was signed")
    for name, value in facts.items():
        if said.get(name) != value:
            raise StoreError(f"{folder / NAME}: {name} are {value}, not {said.get(name)}")
    _check_rules(folder, folder)
    return said


def _check_rules(folder: Path, named: Path) -> None:
    faults = validated(folder).faults
    if faults:
        raise StoreError(f"{named} has {len(faults)} faults, first: {faults[0]}; see usd-bench validate {named}")


def _facts(folder: Path) -> dict[str, Any]:
    """What the files themselves say."""
    runs, skipped = read(folder, "runs")
    env, more = read(folder, "env")
    if skipped or more:
        raise StoreError([*skipped, *more][0])
    code = [json.loads(row["code"]) for row in runs]
    return {
        "runs": len(runs),
        "statuses": dict(sorted(Counter(row["status"] for row in runs).items())),
        "commits": sorted({str(row["commit"]) for row in runs}),
        "code": {name: sorted({c[name] for c in code if name in c}) for name in sorted({n for c in code for n in c})},
        "machines": {
            row["env_id"]: json.loads(row["record"]) for row in sorted(env, key=lambda row: str(row["env_id"]))
        },
        "files": {
            str(path.relative_to(folder).as_posix()): sha256(path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != NAME
        },
    }

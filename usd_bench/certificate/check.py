"""The checker: whether a certificate holds, from its own data and the profile's file. It needs no torch and no plugin
but the module that encloses nonlocal terms, if there are any.

``python -m usd_bench.certificate.check CERTIFICATE [PROFILE]``, or ``usd-bench certify --verify CERTIFICATE``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from usd_bench.certificate.enclosure import (
    HIGHEST,
    Box,
    Enclosure,
    Formulas,
    exact_point,
    leaves,
    over_box,
    precision,
    upper,
)
from usd_bench.certificate.evaluate import Array, Formula, Undecided
from usd_bench.errors import CertificateError, CertificateRefused, one_line
from usd_bench.files import sha256
from usd_bench.reproducibility import digest

FORMAT = 1
DOUBLE = 53
"""Bits of double precision."""

MOST_BITS = 10_000
"""That a certificate may ask of the checker."""

Progress = Callable[[str, int, int], None]
"""``progress("points", done, total)``."""


def silent(what: str, done: int, total: int) -> None:
    """No progress."""


def digest_of(certificate: Mapping[str, Any]) -> str:
    """The digest of everything a certificate says but its digest."""
    return digest({name: value for name, value in certificate.items() if name != "digest"})


def read(path: Path) -> dict[str, Any]:
    """A certificate that is what was written. Raises ``CertificateError``."""
    try:
        certificate: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_one, made = certificate["kind"] == "certificate", digest_of(certificate)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_one, made = False, ""
    if not is_one:
        raise CertificateError(f"{path} is not a certificate; `usd-bench certify RUN` makes one")
    if certificate.get("format") != FORMAT:
        raise CertificateError(f"{path} has format {certificate.get('format')}; this version reads format {FORMAT}")
    if certificate.get("digest") != made:
        raise CertificateRefused(f"{path} is not what was written: its digest does not fit what it says")
    return certificate


def tensors_of(certificate: Mapping[str, Any], path: Path) -> dict[str, Array]:
    """The tensors of the certified profile, from the file whose digest the certificate holds."""
    profile = certificate.get("profile")
    if profile is None:
        return {}
    if not isinstance(profile, Mapping):
        raise CertificateRefused("the certificate does not say which file its profile is in")
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} cannot be read: {error}") from None
    if sha256(content) != profile.get("sha256"):
        raise CertificateRefused(f"{path} is not the certified profile: another SHA-256")
    try:
        return {name: np.asarray(values) for name, values in load(content).items()}
    except SafetensorError as error:
        raise CertificateError(f"{path} cannot be read: {error}") from None


def verify(certificate: Mapping[str, Any], tensors: Mapping[str, Array], progress: Progress = silent) -> None:
    """Compute every enclosure of a certificate again. Raises ``CertificateError`` for the first bound that fails."""
    try:
        formulas = Formulas(**certificate["formulas"])
        points, bits, boxes = certificate["points"], certificate["bits"], certificate["boxes"]
        at = [exact_point(p) for p in points["at"]]
        axes = len(at[0])
        if not (DOUBLE <= bits <= MOST_BITS) or (boxes is not None and not 1 <= boxes["degree"] <= HIGHEST):
            raise ValueError(f"bits must be {DOUBLE} to {MOST_BITS}, and a degree 1 to {HIGHEST}")
        if not all(len(p) == axes and all(v.is_finite() for v in p) for p in at):
            raise ValueError("a point has as many finite coordinates as every other")
        if boxes is not None and len(boxes["domain"]) != axes:
            raise ValueError("a box has a side for each coordinate")
        for name, used in (("bound", bits), ("bound_at_double_rounding", DOUBLE)):
            with precision(used):
                rows = at_points(Enclosure(formulas, tensors), at, partial(progress, f"points, {used} bits"))
                _hold(f"points.{name}", points[name], largest(rows))
        with precision(bits):
            enclosure = Enclosure(formulas, tensors)
            for condition in certificate["conditions"]:
                error = of_condition(enclosure, condition)
                _hold(f"condition {condition['name']!r}", {"": condition["bound"]}, {"": error})
            if boxes is not None:
                _verify_boxes(boxes, enclosure, progress)
    except CertificateError:
        raise
    except (ArithmeticError, Undecided) as error:
        raise CertificateRefused(f"the certificate cannot be confirmed: {one_line(error)}") from None
    except (Exception, SystemExit) as error:  # whoever wrote it may have written anything
        raise CertificateRefused(f"the certificate cannot be evaluated: {one_line(error)}") from None


def at_points(
    enclosure: Enclosure, at: Sequence[Sequence[Any]], progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """The scaled residual of each equation at each point."""
    rows = []
    for done, point in enumerate(at):
        rows.append(enclosure.at_point(point))
        progress(done + 1, len(at))
    return rows


def largest(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For each equation the largest |scaled residual| of these."""
    return {name: max(upper(row[name]) for row in rows) for name in rows[0]}


def of_condition(enclosure: Enclosure, condition: Mapping[str, Any]) -> float:
    """The largest error of a side condition at its points."""
    formula = Formula(condition["formula"], {})
    return max(upper(enclosure.errors(formula, exact_point(at))) for at in condition["at"])


def _verify_boxes(boxes: Mapping[str, Any], enclosure: Enclosure, progress: Progress) -> None:
    covering = leaves(Box.of(boxes["domain"]), boxes["leaves"])
    for done, box in enumerate(covering):
        _hold(f"box {box.path!r}", boxes["bound"], over_box(enclosure, box, boxes["degree"]).by_equation)
        progress("boxes", done + 1, len(covering))


def _hold(what: str, claimed: Mapping[str, str], found: Mapping[str, float]) -> None:
    """Raise ``CertificateRefused`` unless every bound is finite, of an equation that there is, and not below what was
    found. What was found of all equations together, under no name, must not be above any.
    """
    bounds = {name: float.fromhex(bound) for name, bound in claimed.items()}
    if not bounds or not all(map(math.isfinite, bounds.values())):
        raise CertificateRefused(f"{what}: a bound must be a finite number")
    if "" not in found and bounds.keys() != found.keys():
        raise CertificateRefused(f"{what}: bounds of {', '.join(bounds)}, but the equations are {', '.join(found)}")
    for name, value in found.items():
        bound = min(bounds.values()) if name == "" else bounds[name]
        if not value <= bound:
            raise CertificateRefused(f"{what} {name}: {value:.6g} is above the bound {bound:.6g}")


def statement(certificate: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What a certificate that holds proves, and what it does not, in words that follow from its parts."""
    proved = [
        "At each listed point the scaled residual of each equation is at most `points.bound`, in exact arithmetic, for "
        "the profile whose parameters are the stored floating-point numbers and for the λ in the formulas.",
        "With the worst rounding to 53 bits in each operation it is at most `points.bound_at_double_rounding`.",
        "Each side condition's error at its points is at most the bound beside it.",
    ]
    not_proved = [
        "That an exact solution exists near this profile: a small residual alone does not say so.",
        "That λ is that of an exact solution: here it is a number without an error.",
        "That formulas, points, conditions and names are those of the problem that is named: "
        "`usd-bench certify --verify CERTIFICATE --retrace` compares them with the installed code.",
        "That python-flint, and the interpreter of formulas in this package, have no faults.",
    ]
    if certificate["boxes"] is not None:
        proved.append("At every point of `boxes.domain` the scaled residual is at most `boxes.bound`.")
        not_proved.append("Anything outside `boxes.domain`, but at the listed points.")
    else:
        not_proved.append("Anything between the listed points.")
    if certificate["formulas"]["terms"] is not None:
        not_proved.append("What the density adds to nonlocal terms beyond `low` and `high` of `formulas.terms`.")
    return proved, not_proved


def main(arguments: Sequence[str] = ()) -> int:
    """Verify a certificate from the command line: 0 it holds, 1 it does not, 2 it is none."""
    given = [Path(a) for a in arguments or sys.argv[1:]]
    if len(given) not in (1, 2):
        print("usage: python -m usd_bench.certificate.check CERTIFICATE [PROFILE]", file=sys.stderr)
        return 2
    try:
        certificate = read(given[0])
        verify(certificate, tensors_of(certificate, given[1] if len(given) == 2 else beside(certificate, given[0])))
    except CertificateError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print("holds")
    return 0


def beside(certificate: Mapping[str, Any], path: Path) -> Path:
    """The profile's file where it lies when nobody says: in the certificate's folder."""
    profile = certificate.get("profile")
    return path.parent / (str(profile.get("file")) if isinstance(profile, Mapping) else "")


if __name__ == "__main__":
    sys.exit(main())

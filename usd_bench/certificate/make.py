"""Making a certificate: record profile and equation, enclose them, and compare with what the harness measures."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from flint import arb
from torch import Tensor

from usd_bench.certificate.check import (
    DOUBLE,
    FORMAT,
    Progress,
    at_points,
    digest_of,
    largest,
    of_condition,
    silent,
    statement,
)
from usd_bench.certificate.enclosure import Bound, Box, Enclosure, Formulas, Jets, over_box, precision, upper
from usd_bench.certificate.evaluate import Undecided
from usd_bench.certificate.trace import record
from usd_bench.errors import CertificateError
from usd_bench.files import sha256
from usd_bench.metrics import measure
from usd_bench.problem import Condition, Problem
from usd_bench.profile import Profile

SLACK = 10.0
"""How many times the radius that rounding to double precision gives, the harness's value may be from the enclosure: it
computes in another order."""

QUADRATURE = 1e-10
"""Besides, where there are nonlocal terms: the harness integrates a density that is resolved to 1e-12 of its size."""

TIGHT = 1.05
"""Boxes are halved until their bound is within this factor of the largest residual at their centres."""

Domain = Sequence[tuple[float, float]]


def certify(
    problem: Problem,
    profile: Profile,
    *,
    subject: Mapping[str, Any],
    file: Path | None,
    points: int | None = None,
    domain: Domain | None = None,
    boxes: int = 2000,
    degree: int = 8,
    bits: int = 128,
    progress: Progress = silent,
) -> dict[str, Any]:
    """A certificate of a profile's scaled residual.

    ``subject``: what the profile is, to be told in the certificate. ``file``: where its tensors lie, if anywhere.
    ``points``: how many of the held-out points, evenly spaced among them; None: all. ``domain``: a box to be covered by
    at most ``boxes`` smaller ones, on which residuals are enclosed to this ``degree``; None: points only. Raises
    ``CertificateError`` where balls do not follow the profile, or disagree with the harness.
    """
    stored = {} if file is None else profile.tensors()
    formulas = _formulas(problem, profile, stored)
    every = problem.evaluation()
    chosen = every if points is None else every[_spaced(len(every), points)]
    measured = measure(problem, profile, chosen).scaled
    arrays = {name: tensor.numpy() for name, tensor in stored.items()}
    try:
        bounds = _at_points(problem, formulas, arrays, chosen, measured, bits, progress)
        with precision(bits):
            enclosure = Enclosure(formulas, arrays)
            conditions = [_condition(problem, profile, condition) for condition in problem.conditions()]
            conditions = [{**said, "bound": of_condition(enclosure, said).hex()} for said in conditions]
            covered = None
            if domain is not None:
                box = Box.of([[float(end).hex() for end in side] for side in domain])
                covered = _over_boxes(enclosure, box, degree, boxes, progress)
    except (ArithmeticError, Undecided, ValueError, TypeError, AttributeError) as error:
        raise CertificateError(f"balls do not follow this profile: {error}") from None
    certificate: dict[str, Any] = {
        "kind": "certificate",
        "format": FORMAT,
        **subject,
        "lam": float(profile.lam).hex(),
        "profile": None if file is None else {"file": file.name, "sha256": sha256(file.read_bytes())},
        "bits": bits,
        "points": {"at": [[v.hex() for v in row] for row in chosen.tolist()], **bounds},
        "conditions": conditions,
        "boxes": covered,
        "formulas": asdict(formulas),
        "made_with": {name: version(name) for name in ("usd-bench", "python-flint", "torch")},
    }
    certificate["proved"], certificate["not_proved"] = statement(certificate)
    return {**certificate, "digest": digest_of(certificate)}


def _spaced(count: int, wanted: int) -> list[int]:
    """So many of the first ``count`` whole numbers, or all, evenly spaced."""
    return sorted({round(k * (count - 1) / max(1, wanted - 1)) for k in range(wanted)})


def retraced(problem: Problem, profile: Profile, certificate: Mapping[str, Any]) -> bool:
    """Whether a certificate is of this problem and this profile: λ, formulas, points and side conditions."""
    stored = {} if certificate["profile"] is None else profile.tensors()
    known = {tuple(row) for row in problem.evaluation().tolist()}
    conditions = [_condition(problem, profile, condition) for condition in problem.conditions()]
    said = [
        {name: value for name, value in condition.items() if name != "bound"} for condition in certificate["conditions"]
    ]
    return (
        float.fromhex(certificate["lam"]) == float(profile.lam)
        and asdict(_formulas(problem, profile, stored)) == certificate["formulas"]
        and all(tuple(map(float.fromhex, row)) in known for row in certificate["points"]["at"])
        and conditions == said
    )


def _formulas(problem: Problem, profile: Profile, stored: Mapping[str, Tensor]) -> Formulas:
    x = problem.evaluation()[:1]
    inputs = _inputs(problem)
    lam = torch.tensor(float(profile.lam), dtype=torch.float64)

    def residual(given: dict[str, Tensor]) -> dict[str, Tensor]:
        u, points = _split(problem, given)
        return dict(zip(problem.equations, problem.scaled_residual(u, points, lam), strict=True))

    density = terms = None
    if problem.nonlocal_terms:
        if not problem.enclosed_terms:
            raise CertificateError(f"{type(problem).__name__} does not say how its nonlocal terms are enclosed")
        values = {name: inputs[name] for name in ("x", *(f.name for f in problem.fields))}
        density = record(lambda given: {"density": problem.density(*_split(problem, given))}, values, {})
        low, high = problem.extent(float(profile.lam))[0]
        terms = {"of": problem.enclosed_terms, "low": float(low).hex(), "high": float(high).hex()}
    return Formulas(
        fields=record(lambda given: profile.fields(given["x"]), {"x": x}, stored),
        residual=record(residual, inputs, {}),
        jets=_jets(problem),
        density=density,
        terms=terms,
    )


def _jets(problem: Problem) -> Jets:
    return {
        f.name: {
            f"{f.name}_{name}" if name else f.name: list(axes)
            for name, axes in zip(problem.channels[f.name].names, problem.channels[f.name].indices, strict=True)
        }
        for f in problem.fields
    }


def _inputs(problem: Problem) -> dict[str, Tensor]:
    """What the equation reads, at one point."""
    names = [*(name for jets in _jets(problem).values() for name in jets), *problem.nonlocal_terms]
    return {"x": problem.evaluation()[:1], **{name: torch.zeros(1, dtype=torch.float64) for name in names}}


def _split(problem: Problem, given: Mapping[str, Tensor]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Jets and coordinates, as equations read them."""
    return SimpleNamespace(**{n: v for n, v in given.items() if n != "x"}), problem.points(given["x"])


def _at_points(
    problem: Problem,
    formulas: Formulas,
    tensors: Mapping[str, Any],
    chosen: Tensor,
    measured: Tensor,
    bits: int,
    progress: Progress,
) -> dict[str, Any]:
    """Bounds at the points, of the residual itself and at double rounding, both held against the harness's values."""
    at = [[arb(v) for v in x] for x in chosen.tolist()]
    enclosed: dict[int, list[dict[str, Any]]] = {}
    bounds: dict[int, dict[str, float]] = {}
    for used in (bits, DOUBLE):
        with precision(used):
            enclosed[used] = at_points(Enclosure(formulas, tensors), at, partial(progress, f"points, {used} bits"))
            bounds[used] = largest(enclosed[used])
    for x, exact, rounded, values in zip(
        chosen.tolist(), enclosed[bits], enclosed[DOUBLE], measured.T.tolist(), strict=True
    ):
        for name, value in zip(problem.equations, values, strict=True):
            if not (exact[name].is_finite() and rounded[name].is_finite()):
                raise CertificateError(
                    f"equation {name!r} at {x}: balls are too wide to tell anything; take more --bits"
                )
            away = upper(exact[name] - arb(value))
            allowed = SLACK * upper(rounded[name].rad()) + (QUADRATURE if problem.nonlocal_terms else 0.0)
            if not away <= allowed:
                raise CertificateError(
                    f"equation {name!r} at {x}: the harness measures {value:.6g} and the enclosure is "
                    f"{exact[name].str(6)}; rounding does not explain it"
                )
    return {
        "measured": {n: float(v).hex() for n, v in zip(problem.equations, measured.abs().amax(1), strict=True)},
        "bound": {name: value.hex() for name, value in bounds[bits].items()},
        "bound_at_double_rounding": {name: value.hex() for name, value in bounds[DOUBLE].items()},
    }


def _condition(problem: Problem, profile: Profile, condition: Condition) -> dict[str, Any]:
    """What a certificate says of a side condition, its bound aside."""
    lam = torch.tensor(float(profile.lam), dtype=torch.float64)
    formula = record(lambda given: {"error": condition.error(*_split(problem, given), lam)}, _inputs(problem), {})
    at = [[v.hex() for v in row] for row in condition.at.tolist()]
    return {"name": condition.name, "kind": condition.kind, "at": at, "formula": formula}


def _over_boxes(enclosure: Enclosure, domain: Box, degree: int, limit: int, progress: Progress) -> dict[str, Any]:
    """Halve the box with the largest bound until it is tight, or there are as many as there may be."""
    made = 0
    heap: list[tuple[float, int, Box, Bound]] = []

    def add(box: Box) -> None:
        nonlocal made
        bound = over_box(enclosure, box, degree)
        heapq.heappush(heap, (-bound.largest, made, box, bound))
        made += 1

    add(domain)
    while len(heap) < limit:
        largest, _, box, bound = heap[0]
        if -largest <= TIGHT * bound.at_centre:
            break
        heapq.heappop(heap)
        axes = range(len(domain.low))
        axis = max(axes, key=lambda a: (bound.by_axis[a], -box.path.count(str(a)), -a))
        for side in "-+":
            add(box.half(axis, side))
        progress("boxes", len(heap), limit)
    _, _, worst, bound = heap[0]
    if not math.isfinite(bound.largest):
        sides = " × ".join(f"[{float(a):.6g}, {float(b):.6g}]" for a, b in zip(worst.low, worst.high, strict=True))
        why = f": balls do not tell {bound.why}" if bound.why else ""
        raise CertificateError(
            f"{len(heap)} boxes leave {sides} without a bound{why}; take more --boxes or a smaller --box, and none "
            "across a break of a profile that is made of pieces"
        )
    names = bound.by_equation
    return {
        "domain": [[float(a).hex(), float(b).hex()] for a, b in zip(domain.low, domain.high, strict=True)],
        "degree": degree,
        "leaves": sorted(box.path for _, _, box, _ in heap),
        "bound": {name: max(bound.by_equation[name] for *_, bound in heap).hex() for name in names},
    }

"""``usd-bench certify``: a rigorous bound of a profile's residual, and whether one holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.cli.common import (
    bars,
    json_option,
    load_registry,
    out_option,
    plugins_option,
    print_json,
    print_rows,
    selector,
)
from usd_bench.errors import CertificateError, CertificateRefused, SelectorError

if TYPE_CHECKING:
    from usd_bench.certificate.check import Progress
    from usd_bench.problem import Problem
    from usd_bench.profile import Profile
    from usd_bench.registry import Registry

CERTIFICATE = "certificate.json"

type_of_file = click.Path(dir_okay=False, path_type=Path)


def _sides(ctx: click.Context, option: click.Parameter, value: str | None) -> list[tuple[float, float]] | None:
    """The sides of a box from ``0:1,0.25:0.75``."""
    if value is None:
        return None
    try:
        sides = [tuple(float(end) for end in side.split(":")) for side in value.split(",")]
    except ValueError:
        sides = []
    if not sides or any(len(side) != 2 or not -math.inf < side[0] < side[1] < math.inf for side in sides):
        raise click.BadParameter(f"{value!r}: expected LOW:HIGH for each coordinate, as 0:1,0.25:0.75")
    return [(side[0], side[1]) for side in sides]


@click.command("certify")
@click.argument("run", required=False)
@click.option("--reference", metavar="PROBLEM", help="This problem's exact or stored profile instead.")
@click.option("--points", type=click.IntRange(min=1), help="Of the held-out points, so many.  [default: all]")
@click.option(
    "--box", metavar="LOW:HIGH,…", callback=_sides, help="To be covered.  [default: all, in 1-D without nonlocal terms]"
)
@click.option("--boxes", type=click.IntRange(min=0), default=2000, show_default=True, help="At most so many; 0: none.")
@click.option("--degree", type=click.IntRange(1, 30), default=8, show_default=True, help="Of polynomials on boxes.")
@click.option("--bits", type=click.IntRange(64, 10000), default=128, show_default=True, help="Of ball arithmetic.")
@click.option("--to", type=type_of_file, help="Where to write.  [default: among the run's artifacts]")
@click.option("--verify", type=type_of_file, metavar="CERTIFICATE", help="Check a certificate instead of making one.")
@click.option("--profile", type=type_of_file, help="With --verify: the profile's file.  [default: beside it]")
@click.option("--retrace", is_flag=True, help="With --verify: also that its formulas are those of the installed code.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
@out_option
@plugins_option
def command(
    run: str | None,
    reference: str | None,
    verify: Path | None,
    profile: Path | None,
    retrace: bool,
    to: Path | None,
    quiet: bool,
    as_json: bool,
    out: Path,
    plugin_dirs: tuple[Path, ...],
    **how: Any,
) -> None:
    """Enclose the residual of RUN's profile, given by the first letters of its id, in ball arithmetic.

    \b
    usd-bench certify 3c359384
    usd-bench certify 3c35 --box 0:1,0.25:0.75 --boxes 5000
    usd-bench certify --reference 'burgers[order=0]' --to burgers.json
    usd-bench certify --verify results/artifacts/RUN/certificate.json

    The certificate holds the formulas of profile and equation, bounds at the held-out points and over boxes, the
    digest of the profile's file, and in words what is proved and what is not. --verify computes every bound again
    without torch, and refuses a certificate or a profile that was changed. Needs `pip install 'usd-bench[certify]'`.
    """
    if sum(given is not None for given in (run, reference, verify)) != 1:
        raise click.UsageError("expected one of RUN, --reference PROBLEM and --verify CERTIFICATE")
    try:
        import flint  # noqa: F401 (whether it is there)
    except ImportError:
        raise CertificateError("ball arithmetic needs python-flint: pip install 'usd-bench[certify]'") from None

    with bars(quiet) as progress:
        if verify is not None:
            certificate = _verified(verify, profile, retrace, plugin_dirs, progress)
        else:
            registry = load_registry(plugin_dirs)
            subject, problem, found, file = (
                _of_run(registry, out, run) if run is not None else _of_reference(registry, str(reference))
            )
            certificate = _made(subject, problem, found, file, progress, **how)
            to = to or (file.parent if file else Path()) / CERTIFICATE
            from usd_bench.files import write_atomically

            write_atomically(to, json.dumps(certificate, indent=1).encode())
    if as_json:
        print_json({name: value for name, value in certificate.items() if name != "formulas"})
        return
    _print(certificate)
    click.echo(f"\n{'holds' if verify else 'certificate'}  {verify or to}")


def _verified(
    path: Path, profile: Path | None, retrace: bool, plugin_dirs: tuple[Path, ...], progress: Progress
) -> dict[str, Any]:
    from usd_bench.certificate.check import beside, read, tensors_of, verify

    certificate = read(path)
    profile = profile or beside(certificate, path)
    verify(certificate, tensors_of(certificate, profile), progress)
    if retrace:
        from usd_bench.certificate.make import retraced
        from usd_bench.run.artifacts import restored

        registry = load_registry(plugin_dirs)
        if certificate["profile"] is None:
            _, problem, found, _ = _of_reference(registry, selector(certificate["problem"], certificate["parameters"]))
        else:
            header, problem, found = restored(registry, profile)
            for name in ("problem", "parameters", "solver", "run_id"):
                if certificate.get(name) != header[name]:
                    raise CertificateRefused(
                        f"{path} names {name} {certificate.get(name)!r}; the profile, {header[name]!r}"
                    )
        if not retraced(problem, found, certificate):
            raise CertificateRefused(
                f"{path}: its λ, formulas, points or conditions are not those of the installed code"
            )
    return certificate


def _of_run(registry: Registry, out: Path, run: str) -> tuple[dict[str, Any], Problem, Profile, Path]:
    from usd_bench.run.artifacts import profile_path, restored
    from usd_bench.store.reader import find_run

    path = profile_path(out, find_run(out, run))
    header, problem, profile = restored(registry, path)
    kept = ("run_id", "problem", "parameters", "solver", "config", "seed", "iteration")
    return {name: header[name] for name in kept}, problem, profile, path


def _of_reference(registry: Registry, text: str) -> tuple[dict[str, Any], Problem, Profile, None]:
    from usd_bench.run.plan import build_problem
    from usd_bench.selectors import parse

    selections = parse(text)
    if len(selections) != 1:
        raise SelectorError(f"{text!r} selects {len(selections)} problems; expected one")
    problem = build_problem(registry, selections[0])
    profile = problem.reference()
    if profile is None:
        raise CertificateError(f"{text} has no exact or stored profile; `usd-bench references build` makes one")
    parameters = problem.parameters.model_dump(mode="json")
    return {"problem": selections[0].name, "parameters": parameters}, problem, profile, None


def _made(
    subject: dict[str, Any],
    problem: Problem,
    profile: Profile,
    file: Path | None,
    progress: Progress,
    points: int | None,
    box: list[tuple[float, float]] | None,
    boxes: int,
    degree: int,
    bits: int,
) -> dict[str, Any]:
    from usd_bench.certificate.make import certify

    if box is not None and (len(box) != len(problem.coords) or problem.nonlocal_terms):
        if problem.nonlocal_terms:
            raise click.BadParameter(f"--box: the nonlocal terms of {subject['problem']} are enclosed at points only")
        raise click.BadParameter(f"--box has {len(box)} sides; expected one for each of {', '.join(problem.coords)}")
    if box is None and len(problem.coords) == 1 and not problem.nonlocal_terms:
        every = problem.evaluation()
        box = [(float(every.min()), float(every.max()))]
    return certify(
        problem,
        profile,
        subject=subject,
        file=file,
        points=points,
        domain=box if boxes else None,
        boxes=boxes,
        degree=degree,
        bits=bits,
        progress=progress,
    )


def _print(certificate: dict[str, Any]) -> None:
    from usd_bench.certificate.check import statement

    points, boxes = certificate["points"], certificate["boxes"]
    rows = [
        {
            "what": name,
            "measured": float.fromhex(points.get("measured", {}).get(name, "nan")),
            "bound": float.fromhex(points["bound"][name]),
            "double": float.fromhex(points["bound_at_double_rounding"][name]),
            "boxes": None if boxes is None else float.fromhex(boxes["bound"][name]),
        }
        for name in points["bound"]
    ]
    print_rows(
        rows,
        {
            "residual of": lambda r: r["what"],
            "harness": lambda r: f"{r['measured']:.6e}",
            f"bound at {len(points['at'])} points": lambda r: f"{r['bound']:.6e}",
            "at double rounding": lambda r: f"{r['double']:.6e}",
            "over boxes": lambda r: "-" if r["boxes"] is None else f"{r['boxes']:.6e}",
        },
    )
    click.echo()
    for condition in certificate["conditions"]:
        click.echo(f"{condition['name']}: error at most {float.fromhex(condition['bound']):.3e}")
    if boxes is not None:
        sides = " × ".join(f"[{float.fromhex(a):g}, {float.fromhex(b):g}]" for a, b in boxes["domain"])
        click.echo(f"boxes: {len(boxes['leaves'])} cover {sides}")
    click.echo()
    for title, sentences in zip(("proved", "not proved"), statement(certificate), strict=True):
        for sentence in sentences:
            click.echo(f"{title}: {sentence}")

"""``usd-bench spectrum RUN``: the unstable modes of a run's profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import json_option, load_registry, number, out_option, plugins_option, print_json, print_rows


@click.command("spectrum")
@click.argument("run")
@click.option("--count", type=click.IntRange(4, 100), default=16, show_default=True, help="Eigenvalues to compute.")
@json_option
@out_option
@plugins_option
def command(run: str, count: int, as_json: bool, out: Path, plugin_dirs: tuple[Path, ...]) -> None:
    """Eigenvalues of the linearised dynamics about the profile of RUN, given by the first letters of its id.

    Perturbations grow as e^(μτ), τ = -ln(1-t). Every profile has μ = 1 (another blow-up time) and μ = 0 (another
    scale); how far the computed ones are from there is the accuracy. An order-n profile has n more growing modes.
    The number is stored with the run as unstable_modes; eigenvalues, eigenfunctions and a picture lie among its
    artifacts (spectrum.json, spectrum.safetensors, spectrum.png). It takes seconds to minutes: with nonlocal terms the
    cost is the cube of the number of elements.

    \b
    usd-bench spectrum 3c359384
    usd-bench spectrum 3c35 --count 30 --json
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.analysis.spectrum import spectrum
    from usd_bench.collocation.reference import provenance
    from usd_bench.files import write_atomically
    from usd_bench.report.figures import spectrum_figure
    from usd_bench.run.artifacts import load_profile
    from usd_bench.store.reader import find_run
    from usd_bench.store.writer import amend_run
    from usd_bench.tensorfile import write_tensors

    row = find_run(out, run)
    problem, profile = load_profile(registry, out, row)
    found = spectrum(problem, profile, count)
    known = provenance(problem)
    folder = out / "artifacts" / row["run_id"]
    result: dict[str, Any] = {
        "run_id": row["run_id"],
        "lam": profile.lam,
        "unstable_modes": len(found.unstable),
        "unstable": [[float(mu.real), float(mu.imag)] for mu in found.unstable],
        "symmetry_errors": found.symmetry_errors,
        "residual": found.residual,
        "eigenvalues": [[float(mu.real), float(mu.imag)] for mu in found.eigenvalues],
        "reference_unstable": None if known is None else known["unstable"],
    }
    write_atomically(folder / "spectrum.json", json.dumps(result, indent=2).encode())
    tensors = {f"{i}.{name}": values for i, mode in enumerate(found.eigenfunctions) for name, values in mode.items()}
    header = {"run_id": row["run_id"], "eigenvalues": result["eigenvalues"]}
    write_tensors(folder / "spectrum.safetensors", "spectrum", header, tensors | found.mesh.tensors())
    spectrum_figure(folder / "spectrum.png", f"{row['problem']} · {row['solver']} · order {row['order']}", found)
    amend_run(out, row["run_id"], unstable_modes=len(found.unstable))
    if as_json:
        print_json(result)
        return
    print_rows(
        [{"mu": mu, "what": found.meaning(i)} for i, mu in enumerate(found.eigenvalues)],
        {
            "μ": lambda r: number(float(r["mu"].real), ".10f"),
            "Im μ": lambda r: number(float(r["mu"].imag), ".2e") if r["mu"].imag else "",
            "what": lambda r: r["what"],
        },
    )
    errors = ", ".join(f"{name} {error:.1e}" for name, error in found.symmetry_errors.items())
    click.echo(f"\n{len(found.unstable)} unstable modes; error of the known eigenvalues: {errors}")
    click.echo(f"residual of the projected profile {found.residual:.1e}")
    click.echo(f"picture  {folder / 'spectrum.png'}")

"""``usd-eval``: what a checkpoint is worth, measured anew."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import json_option, load_registry, number, plugins_option, print_json, print_rows, selector
from usd_bench.cli.main import called


@click.command("usd-eval", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the fields to this file.")
@json_option
@plugins_option
def command(checkpoint: Path, png: Path | None, as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Measure CHECKPOINT: best.ckpt, last.ckpt or profile.safetensors of a run: λ, residuals, errors, fields.

    \b
    usd-eval results/artifacts/RUN/best.ckpt
    usd-eval results/artifacts/RUN/profile.safetensors --json --png fields.png

    The profile is measured as in a run: on the harness's held-out points, by the metrics of the harness and of plugins.
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.drawing import save
    from usd_bench.metrics import compute, measure
    from usd_bench.run.artifacts import restored
    from usd_bench.run.plan import load_metrics
    from usd_bench.tracking.fields import fields_figure

    header, problem, profile = restored(registry, checkpoint)
    measured = measure(problem, profile)
    known = None if problem.target is None else problem.target.lam
    found = {
        "problem": selector(header["problem"], header["parameters"]),
        "solver": header["solver"],
        "seed": header["seed"],
        "run_id": header["run_id"],
        "iteration": header["iteration"],
        "lam": measured.lam,
        "lam_ref": known,
        **compute(load_metrics(registry), measured),
    }
    if png is not None:
        with fields_figure(problem, profile) as figure:
            save(figure, png)
    if as_json:
        print_json(found)
        return
    rows = [{"what": k, "value": number(v, ".12g") if isinstance(v, float) else str(v)} for k, v in found.items()]
    print_rows(rows, {"what": itemgetter("what"), "value": itemgetter("value")}, wrapped="value")
    if png is not None:
        click.echo(f"\npicture  {png}")


def main() -> Any:
    """The entry point ``usd-eval``."""
    return called(command, "usd-eval")

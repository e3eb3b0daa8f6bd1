"""``usd-train``: one run of one pairing, from a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import json_option, load_registry, plugins_option, type_of_folder
from usd_bench.cli.execution import Machines, carry_out, check_device, check_trackers, told
from usd_bench.cli.main import called


@click.command("usd-train", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with problem, solver, settings and budget; what is given here comes before what it says.",
)
@click.option("-p", "--problem", help="The problem: name[param=value].")
@click.option("-s", "--solver", help="The solver, in the same form; settings of the file stay, for the same solver.")
@click.option("--seed", type=click.IntRange(min=0, max=2**62), help="[default: 0]")
@click.option("--max-iter", type=click.IntRange(min=0), help="Iterations.  [default: no limit]")
@click.option("--max-work", type=click.IntRange(min=0), help="Evaluations.  [default: no limit]")
@click.option(
    "--max-time", type=click.FloatRange(min=0, min_open=True), help="Seconds in the solver.  [default: the problem's]"
)
@click.option("--until", help="Targets: res_max=1e-6,lam_digits=8.  [default: the problem's]")
@click.option("--eval-every", type=click.IntRange(min=1), help="Iterations between measurements.")
@click.option("--device", help="cpu, cuda or cuda:N.  [default: cpu]")
@click.option("--threads", type=click.IntRange(min=1, max=4096), help="[default: every core]")
@click.option("--track", help="Trackers: tensorboard, mlflow, wandb, or a plugin's; csv always.")
@click.option("--checkpoint-every", metavar="N|Ns", help="Iterations, or seconds (30s), between checkpoints.")
@click.option("--force", is_flag=True, help="Begin anew, where the run is stored or has been interrupted.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@click.option("--out", type=type_of_folder, help="The results store.  [default: results]")
@json_option
@plugins_option
def command(
    config: Path | None, force: bool, quiet: bool, as_json: bool, plugin_dirs: tuple[Path, ...], **options: Any
) -> int:
    """Run one solver on one problem once, from a file: the short form of usd-bench run for one pairing.

    \b
    usd-train --config configs/base.yaml
    usd-train --config configs/base.yaml --seed 3 -s 'gauss_newton[damping=1]'
    usd-train --config results/artifacts/RUN/config.yaml      # the same run again, elsewhere

    A run that was interrupted goes on. What holds in the end, from options, file and defaults, is kept as config.yaml
    among the run's artifacts. Exit codes are those of usd-bench run.
    """
    registry = load_registry(plugin_dirs)

    from pydantic import ValidationError

    from usd_bench.run.pairing import Pairing, read_pairing

    if options["max_time"] is not None and not math.isfinite(options["max_time"]):
        raise click.BadParameter("--max-time: expected a number of seconds")
    try:
        above = Pairing.model_validate({**options, "track": options["track"] or ()})
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    pairing = above if config is None else read_pairing(config, registry).beneath(above)
    check_device(pairing.device or "cpu")
    check_trackers(registry, pairing.track)
    done = carry_out(
        [pairing.job(registry)],
        pairing.out or Path("results"),
        machines=Machines(threads=pairing.threads),
        quiet=quiet,
        plugin_dirs=plugin_dirs,
        force=force,
        track=pairing.track,
        checkpoint_every=pairing.checkpoint_every,
    )
    return told(done, quiet=quiet, as_json=as_json)


def main() -> Any:
    """The entry point ``usd-train``."""
    return called(command, "usd-train")

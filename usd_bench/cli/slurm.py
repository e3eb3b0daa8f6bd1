"""``usd-bench run --print-slurm``: a sweep as a job array of SLURM, for clusters without dask."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from usd_bench.run.plan import Job

LARGEST = 1000
"""Tasks of an array, at most: what SLURM allows unless told otherwise. Each takes its part of the runs."""

STARTING = 120
"""Seconds beside the solver's for each run: imports, evaluations, checkpoints."""

NOT_REPEATED = ("jobs", "threads", "print_slurm", "part", "quiet", "as_json")
"""Options that say where the sweep runs, which the script says itself."""


def script(context: click.Context, jobs: Sequence[Job], at_once: int | None, threads: int | None) -> str:
    """The script for ``sbatch``: each task of the array is this command, for its part of the runs.

    ``at_once``: how many tasks may run at a time; None: as many as there is room for.
    """
    tasks = min(len(jobs), LARGEST)
    each = math.ceil(len(jobs) / tasks)
    seconds = each * (max(2 * job.budget.max_time for job in jobs) + STARTING)
    hours, rest = divmod(math.ceil(seconds), 3600)
    limit = f"%{at_once}" if at_once else ""
    lines = [
        "#!/usr/bin/env bash",
        "#SBATCH --job-name=usd-bench",
        f"#SBATCH --array=1-{tasks}{limit}",
        f"#SBATCH --cpus-per-task={threads or 1}",
        f"#SBATCH --time={hours:02d}:{rest // 60:02d}:{rest % 60:02d}",
        *(["#SBATCH --gres=gpu:1"] if any(job.device.startswith("cuda") for job in jobs) else []),
        f"# {len(jobs)} runs, {each} for a task. Submitted again, it runs what is missing, from the last checkpoints.",
        "set -euo pipefail",
        f"cd {shlex.quote(str(Path.cwd()))}",
        f"exec {shlex.join([sys.executable, '-m', 'usd_bench', 'run', *_given(context)])} \\",
        f'    --threads {threads or 1} --part "$SLURM_ARRAY_TASK_ID/{tasks}"',
    ]
    return "\n".join(lines)


def _given(context: click.Context) -> list[str]:
    """The options of the command line, as they were given."""
    words = []
    for option in context.command.params:
        name = str(option.name)
        if context.get_parameter_source(name) != ParameterSource.COMMANDLINE or name in NOT_REPEATED:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            words += [option.opts[-1]] if one is True else [option.opts[-1], str(one)]
    return words

"""What the harness itself registers, through the same hooks as anybody else's plugin."""

from __future__ import annotations

from usd_bench.hookspecs import Register, hookimpl


@hookimpl
def register_metrics(register: Register) -> None:
    for name, summary in {
        "res_max": "largest scaled residual on the held-out points",
        "res_l2": "root mean square of the scaled residual",
        "res_mean": "mean absolute scaled residual",
        "raw_max": "largest residual, unscaled",
        "raw_l2": "root mean square of the residual, unscaled",
        "raw_mean": "mean absolute residual, unscaled",
        "cond_max": "largest violation of a side condition",
        "lam_digits": "correct significant digits of λ, as far as the target's source supports them",
        "err_max": "largest error against the reference profile, over its largest value",
        "err_l2_rel": "relative L2 error against the reference profile",
    }.items():
        register(name, f"usd_bench.metrics:{name.upper()}", summary=summary)


@hookimpl
def register_trackers(register: Register) -> None:
    for name, target, summary in (
        ("csv", "csv:CsvTracker", "metrics.csv beside the checkpoints; always on"),
        ("tensorboard", "tensorboard:TensorBoardTracker", "scalars and pictures in tb/ beside the checkpoints"),
        ("mlflow", "mlflow:MlflowTracker", "a run in mlruns/ of the store, or at MLFLOW_TRACKING_URI"),
        ("wandb", "wandb:WandbTracker", "a run in wandb/ beside the checkpoints, offline unless WANDB_MODE is set"),
    ):
        register(name, f"usd_bench.tracking.{target}", summary=summary)


@hookimpl
def register_commands(register: Register) -> None:
    for name, summary in {
        "run": "Run every pairing of problems and solvers, and store what the harness measures.",
        "tune": "Search a solver's settings on a proxy problem, for suites.",
        "list": "List problems, solvers, metrics, known answers, or the runs in a store.",
        "references": "Build or verify the reference profiles.",
        "spectrum": "Eigenvalues of the linearised dynamics about a run's profile: its unstable modes.",
        "certify": "Enclose a profile's residual in ball arithmetic, or verify a certificate.",
        "funnel": "Residual against λ of runs that held it: where a smooth profile is.",
        "show": "Show one run: its numbers, and a picture of its fields and convergence.",
        "validate": "Check that stores keep their rules: schema, identities, possible values.",
        "report": "Write a store as one HTML page: tables, curves, profiles.",
        "compare": "Compare two stores, commits or solvers, pairing by pairing.",
        "reproduce": "Run a stored row again, and say what differs.",
        "merge": "Copy the runs of several stores into one, each once.",
        "results": "Exchange results: push or pull a store, make a submission, or check one.",
        "sql": "Answer a question about a store in SQL.",
        "cite": "Print what to cite, as BibTeX.",
        "new": "Make a problem or a solver as a package of its own.",
        "data": "Generate sample data of a problem.",
        "env": "Print the environment that would be recorded with a run.",
        "plugins": "List plugins, or find out why one does not work.",
    }.items():
        register(name, f"usd_bench.cli.{name}:command", summary=summary)

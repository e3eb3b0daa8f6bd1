"""The columns of the store, each with its meaning. Docs and tests read them from here."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 4


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"about": about}) for name, kind, about in columns]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


_TEXT, _INT, _REAL = pa.string(), pa.int64(), pa.float64()

_MEASURED = (
    ("lam", _REAL, "scaling exponent λ of the profile"),
    (
        "in_bracket",
        pa.bool_(),
        "whether λ lies in the problem's bracket, else it is another's; null before schema 3",
    ),
    ("lam_digits", _REAL, "correct significant digits of λ, at most those the target's source supports"),
    ("res_max", _REAL, "largest scaled residual on the harness's held-out points"),
    ("res_l2", _REAL, "root mean square of the scaled residual"),
    ("res_mean", _REAL, "mean absolute scaled residual"),
    ("raw_max", _REAL, "largest residual, unscaled"),
    ("raw_l2", _REAL, "root mean square of the residual, unscaled"),
    ("raw_mean", _REAL, "mean absolute residual, unscaled"),
    ("cond_max", _REAL, "largest violation of a side condition: normalisation, admissibility, wall values, continuity"),
    ("err_l2_rel", _REAL, "relative L2 error against the exact or stored profile; null without one"),
    ("err_max", _REAL, "largest error against it, over its largest value; null without one"),
    ("metrics", _TEXT, "metrics of plugins, as JSON"),
)
METRICS = tuple(name for name, _, _ in _MEASURED if name not in ("lam", "in_bracket", "metrics"))
"""The harness's own metrics, each with a column; those of plugins share the column ``metrics``."""

_WORK = (
    ("n_residual", _INT, "residual evaluations"),
    ("n_jacobian", _INT, "Jacobian evaluations"),
    ("n_jvp", _INT, "Jacobian-vector products"),
    ("n_vjp", _INT, "vector-Jacobian products"),
    ("n_linear_solve", _INT, "linear solves"),
    ("time_solve_s", _REAL, "seconds inside the solver, evaluation not counted"),
    ("time_eval_s", _REAL, "seconds the harness spent measuring"),
)

RUNS = _schema(
    ("run_id", _TEXT, "SHA-256 of what determines the run"),
    ("problem", _TEXT, "problem name"),
    ("order", _INT, "0 for the stable profile, n for the one with n unstable modes"),
    ("parameters", _TEXT, "all problem parameters, as JSON"),
    ("solver", _TEXT, "solver name"),
    ("config", _TEXT, "all solver settings, as JSON"),
    ("seed", _INT, "the user's seed"),
    ("budget", _TEXT, "limits and targets, as JSON"),
    ("status", _TEXT, "converged, budget, diverged, timeout, killed, error or unsupported"),
    ("reason", _TEXT, "why it ended so"),
    *_MEASURED[:1],
    ("lam_ref", _REAL, "published λ; null where none is"),
    *_MEASURED[1:],
    ("iterations", _INT, "iterations done when the run ended"),
    ("iteration_best", _INT, "iteration of the stored profile"),
    *_WORK,
    ("unstable_modes", _INT, "growing modes of the profile beyond the symmetries; null until `usd-bench spectrum`"),
    ("time_setup_s", _REAL, "seconds for imports and init"),
    ("peak_rss_mib", _REAL, "peak memory of the worker process; null where the system does not tell"),
    ("peak_gpu_mib", _REAL, "peak GPU memory; null on the CPU"),
    ("device", _TEXT, "cpu, or the GPU's name"),
    ("dtype", _TEXT, "floating-point type of the profile"),
    ("threads", _INT, "threads of the worker"),
    (
        "contended",
        pa.bool_(),
        "whether runs on its machine ever used more threads than it has cores: then times say little; null where the "
        "system does not tell, and before schema 4",
    ),
    ("commit", _TEXT, "git commit, with + for a changed tree; 'release' for an installed wheel"),
    ("code", _TEXT, "versions and digests of harness and plugins, as JSON"),
    ("resume", _TEXT, "SHA-256 of the checkpoint that the run started from; null for a fresh start"),
    ("started_at", pa.timestamp("us", tz="UTC"), "when the worker started"),
    ("env_id", _TEXT, "key into env/"),
)

TRACE = _schema(
    ("run_id", _TEXT, "key into runs/"),
    ("iteration", _INT, "iterations done"),
    *_MEASURED,
    *_WORK,
)

ENV = _schema(
    ("env_id", _TEXT, "SHA-256 of the record"),
    ("record", _TEXT, "machine and software, as JSON"),
)

KINDS = {"runs": RUNS, "trace": TRACE, "env": ENV}

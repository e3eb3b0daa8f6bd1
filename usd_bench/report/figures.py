"""Figures of one run: its convergence from the trace, its fields from the stored profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from usd_bench.analysis.funnel import Funnel
from usd_bench.analysis.ranks import ALPHA, Ranks
from usd_bench.analysis.spectrum import Spectrum
from usd_bench.elements import lobatto
from usd_bench.errors import UsdBenchError
from usd_bench.files import write_atomically


def run_figure(
    path: Path,
    title: str,
    trace: pd.DataFrame,
    lam_ref: float | None,
    coords: tuple[str, ...],
    axes: tuple[Tensor, ...],
    fields: dict[str, Tensor],
) -> None:
    """Write a PNG: residual and λ error against iterations, then each field on the grid (1-D or 2-D)."""
    from io import BytesIO

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 1 + len(fields), figsize=(5 * (1 + len(fields)), 4), layout="constrained")
    figure.suptitle(title)
    panels = panels if len(fields) else [panels]
    _convergence(panels[0], trace, lam_ref)
    for panel, (name, values) in zip(panels[1:], fields.items(), strict=True):
        panel.set_title(name)
        panel.set_xlabel(coords[0])
        if len(axes) == 1:
            panel.plot(axes[0].numpy(), values.numpy())
        else:
            panel.set_ylabel(coords[1])
            mesh = panel.pcolormesh(axes[0].numpy(), axes[1].numpy(), values.numpy().T, shading="gouraud")
            figure.colorbar(mesh, ax=panel)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def spectrum_figure(path: Path, title: str, found: Spectrum) -> None:
    """Write a PNG: the eigenvalues in the complex plane, and the growing modes' eigenfunctions along s."""
    from io import BytesIO

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (plane, modes) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    figure.suptitle(title)
    plane.set(title="eigenvalues", xlabel="Re μ", ylabel="Im μ")
    plane.axvline(0, color="0.7", linewidth=1)
    for kind, marker in (("unstable", "o"), ("symmetry", "x"), ("stable", ".")):
        chosen = [mu for i, mu in enumerate(found.eigenvalues) if found.meaning(i).startswith(kind)]
        plane.plot([mu.real for mu in chosen], [mu.imag for mu in chosen], marker, label=f"{kind} ({len(chosen)})")
    plane.legend()
    modes.set(title="growing modes (raw functions, first angle)", xlabel="s", xlim=(-8, 12))
    for i, mode in enumerate(found.eigenfunctions):
        if found.meaning(i) == "unstable":
            for name, values in mode.items():
                s = found.mesh.elements.points(lobatto(values.shape[1])).flatten()
                modes.plot(s, values[:, :, 0].flatten(), label=f"{name}, μ = {found.eigenvalues[i].real:.4f}")
    if modes.lines:
        modes.legend(fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def funnel_figure(path: Path, title: str, found: Funnel, known: float | None) -> None:
    """Write a PNG: residual against λ, with the tip and the known λ."""
    from io import BytesIO

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6, 4), layout="constrained")
    panel.set(title=f"{title}: residual with λ held", xlabel="λ", ylabel="res_l2", yscale="log")
    panel.plot(*zip(*found.points, strict=True), marker="o")
    for value, name, style in ((found.tip, "tip", "--"), (known, "known λ", ":")):
        if value is not None:
            panel.axvline(value, color="0.4", linestyle=style, label=f"{name} {value:.6g}")
    if panel.get_legend_handles_labels()[0]:
        panel.legend()
    panel.grid(alpha=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def _convergence(panel: Any, trace: pd.DataFrame, lam_ref: float | None) -> None:
    panel.set_title("convergence")
    panel.set_xlabel("iteration")
    panel.set_yscale("log")
    panel.plot(trace["iteration"], trace["res_max"], label="res_max")
    panel.plot(trace["iteration"], trace["res_l2"], label="res_l2")
    if lam_ref is not None:
        panel.plot(trace["iteration"], (trace["lam"] - lam_ref).abs(), label="|λ - λ_ref|")
    if trace["err_max"].notna().any():
        panel.plot(trace["iteration"], trace["err_max"], label="err_max")
    panel.grid(alpha=0.3)
    panel.legend()


def ranks_figure(path: Path, title: str, found: Ranks) -> None:
    """Write the critical-difference diagram, as the ending of ``path`` says: methods on an axis of average ranks, the
    best to the left, bars over those that do not differ. Raises ``UsdBenchError`` without scikit-posthocs.

    Source: Demšar, J. Mach. Learn. Res. 7 (2006) 1, figure 1.
    """
    try:
        import scikit_posthocs
    except ImportError:
        raise UsdBenchError("scikit-posthocs is not installed; pip install 'usd-bench[ranks]'") from None
    from io import BytesIO

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    apart = found.average.to_numpy()[:, None] - found.average.to_numpy()[None]
    # Not p-values of pairs: 1 where the difference is below the critical one, 0 beyond, is all that the bars show.
    alike = pd.DataFrame((abs(apart) < found.critical) * 1.0, index=found.average.index, columns=found.average.index)
    figure, panel = plt.subplots(figsize=(9, 1.6 + 0.16 * len(found.average)), layout="constrained")
    scikit_posthocs.critical_difference_diagram(
        found.average, alike, alpha=ALPHA, cd=found.critical, ax=panel, label_fmt_left="{label} ({rank:.1f})"
    )
    panel.set_title(title)
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "usd-bench"}):  # the same bytes for the same ranks
        figure.savefig(buffer, format=path.suffix.lstrip(".") or "png", dpi=120, metadata={"Date": None})
    plt.close(figure)
    write_atomically(path, buffer.getvalue())

"""Figures of one run: its convergence from the trace, its fields from the stored profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from usd_bench.analysis.funnel import Funnel
from usd_bench.analysis.spectrum import Spectrum
from usd_bench.drawing import draw_fields, pyplot, save
from usd_bench.elements import lobatto


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
    plt = pyplot()
    figure, panels = plt.subplots(1, 1 + len(fields), figsize=(5 * (1 + len(fields)), 4), layout="constrained")
    figure.suptitle(title)
    panels = panels if len(fields) else [panels]
    _convergence(panels[0], trace, lam_ref)
    draw_fields(figure, panels[1:], coords, axes, fields)
    save(figure, path)


def spectrum_figure(path: Path, title: str, found: Spectrum) -> None:
    """Write a PNG: the eigenvalues in the complex plane, and the growing modes' eigenfunctions along s."""
    plt = pyplot()
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
    save(figure, path)


def funnel_figure(path: Path, title: str, found: Funnel, known: float | None) -> None:
    """Write a PNG: residual against λ, with the tip and the known λ."""
    plt = pyplot()
    figure, panel = plt.subplots(figsize=(6, 4), layout="constrained")
    panel.set(title=f"{title}: residual with λ held", xlabel="λ", ylabel="res_l2", yscale="log")
    panel.plot(*zip(*found.points, strict=True), marker="o")
    for value, name, style in ((found.tip, "tip", "--"), (known, "known λ", ":")):
        if value is not None:
            panel.axvline(value, color="0.4", linestyle=style, label=f"{name} {value:.6g}")
    if panel.get_legend_handles_labels()[0]:
        panel.legend()
    panel.grid(alpha=0.3)
    save(figure, path)


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

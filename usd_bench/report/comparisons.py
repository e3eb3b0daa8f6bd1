"""Figures of many runs: how small the residual becomes for a cost, and how methods rank over problems."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from usd_bench.analysis.measures import COSTS, MEASURES
from usd_bench.analysis.ranks import ALPHA, Ranks
from usd_bench.analysis.work_precision import curve
from usd_bench.drawing import pyplot
from usd_bench.errors import UsdBenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
"""Panels in a row."""

LETTERS = 60
"""Of a legend, as wide as a panel."""


def curves_figure(title: str, evaluations: pd.DataFrame, measure: str, cost: str) -> Figure:
    """A panel for each problem: medians over seeds of every method, with bands. ``evaluations``: see ``frames``."""
    from matplotlib.ticker import LogLocator, NullFormatter

    instances, methods = sorted(evaluations["instance"].unique()), sorted(evaluations["method"].unique())
    columns = min(COLUMNS, len(instances))
    rows = math.ceil(len(instances) / columns)
    size = (4.2 * columns, 3.2 * rows + 0.9)
    figure: Figure
    figure, panels = pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(f"{title}: {MEASURES[measure]} against {COSTS[cost]}")
    lines: dict[str, Any] = {}
    for panel, instance in zip(panels.flat, instances, strict=False):
        panel.set(title=instance, xscale="log", yscale="log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        for method, part in evaluations[evaluations["instance"] == instance].groupby("method"):
            i = methods.index(method)
            style = {"color": f"C{i % 10}", "linestyle": ("-", "--", ":", "-.")[i // 10 % 4]}
            known = curve(part, measure, cost)
            known = known[(known["value"] > 0) & (known["value"] < math.inf)]
            (lines[str(method)],) = panel.plot(known["cost"], known["value"], **style)
            banded = known[known["high"] < math.inf]
            band = {"color": style["color"], "alpha": 0.12, "linewidth": 0}
            panel.fill_between(banded["cost"], banded["low"], banded["high"], **band)
        low, high = panel.get_xlim()
        panel.set_xlim(min(low, high / 10), high)  # labels within a decade would overlap
    for panel in panels.flat[len(instances) :]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel(MEASURES[measure])
    beside = max(1, int(columns * LETTERS / (8 + max(map(len, methods)))))
    labels = [method for method in methods if method in lines]
    figure.legend([lines[label] for label in labels], labels, loc="outside lower center", ncols=beside, fontsize=8)
    return figure


def ranks_figure(title: str, found: Ranks) -> Figure:
    """The critical-difference diagram: methods on an axis of average ranks, the best to the left, bars over those that
    do not differ. Raises ``UsdBenchError`` without scikit-posthocs.

    Source: Demšar, J. Mach. Learn. Res. 7 (2006) 1, figure 1.
    """
    try:
        import scikit_posthocs
    except ImportError:
        raise UsdBenchError("scikit-posthocs is not installed; pip install 'usd-bench[ranks]'") from None
    average = found.average.to_numpy()
    # Not p-values of pairs: 1 where the difference is below the critical one, 0 beyond, is all that the bars show.
    names = found.average.index
    alike = pd.DataFrame((abs(average[:, None] - average) < found.critical) * 1.0, index=names, columns=names)
    figure: Figure
    width = 6 + 0.17 * max(map(len, names))  # inches: the axis, and names on both sides
    figure, panel = pyplot().subplots(figsize=(width, 1.6 + 0.16 * len(names)), layout="constrained")
    labels = {"label_fmt_left": "{label} ({rank:.1f})", "label_fmt_right": "({rank:.1f}) {label}"}
    scikit_posthocs.critical_difference_diagram(
        found.average, alike, alpha=ALPHA, cd=found.critical, ax=panel, **labels
    )
    panel.set_title(title)
    return figure

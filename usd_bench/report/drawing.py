"""matplotlib without a screen, loaded when something is drawn; figures to files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from usd_bench.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pyplot() -> ModuleType:
    """``matplotlib.pyplot`` on a canvas that needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def drawn(figure: Figure, kind: str) -> bytes:
    """The figure as ``kind``, svg, pdf or png, and closed. The same figure has the same bytes."""
    import matplotlib

    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "usd-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=120, metadata=undated.get(kind))
    pyplot().close(figure)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure, as the ending of ``path`` says, all of it or nothing."""
    write_atomically(path, drawn(figure, path.suffix.lstrip(".")))

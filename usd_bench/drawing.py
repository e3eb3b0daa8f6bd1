"""matplotlib without a screen, loaded when something is drawn; fields on panels, figures to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor

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


def draw_fields(
    figure: Figure, panels: Sequence[Any], coords: Sequence[str], axes: Sequence[Tensor], fields: Mapping[str, Tensor]
) -> None:
    """Each field on its grid, a line in one dimension, colours in two; one panel for each."""
    for panel, (name, values) in zip(panels, fields.items(), strict=True):
        panel.set_title(name)
        panel.set_xlabel(coords[0])
        if len(axes) == 1:
            panel.plot(axes[0].numpy(), values.numpy())
        else:
            panel.set_ylabel(coords[1])
            mesh = panel.pcolormesh(axes[0].numpy(), axes[1].numpy(), values.numpy().T, shading="gouraud")
            figure.colorbar(mesh, ax=panel)

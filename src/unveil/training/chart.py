"""A line chart, small and plain: numbers against the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

_INK, _FAINT, _GRID = "#1c1c1e", "#6e6e72", "#e4e4e4"
_COLOURS = ("#2060c8", "#d65028", "#28965a")
_DPI = 100
_FEW = 20  # points that are marked; more are a line


@dataclass(frozen=True)
class Line:
    """A curve: its name, and points (step, value) with the step ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_chart(title: str, lines: Sequence[Line], size: tuple[int, int]) -> Image.Image:
    """The lines on one pair of axes that begin at 0, RGB of a size (width, height) in px."""
    # Matplotlib takes a second to import, which only what draws should pay. Without pyplot there
    # is no display to look for, and no state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for line, colour in zip(lines, _COLOURS, strict=False):
        x, y = np.array(line.points, float).reshape(-1, 2).T
        axes.plot(x, y, "o-" if len(x) < _FEW else "-", c=colour, ms=4, lw=1.4, label=line.name)
    axes.update_datalim([(0, 0)])  # so that room is left above what hardly changes, too
    axes.autoscale_view()
    axes.set(ylim=(0, None), xlim=(0, None))
    axes.set_title(title, loc="left", color=_INK, fontsize=10)
    axes.tick_params(length=0, labelcolor=_FAINT, labelsize=8)
    axes.yaxis.set_major_formatter("{x:,.6g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color=_GRID)
    axes.spines[:].set_visible(False)
    if any(line.name for line in lines):
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(lines),
            frameon=False,
            labelcolor="linecolor",
            handlelength=0,
            fontsize=9,
            borderpad=0,
        )
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])

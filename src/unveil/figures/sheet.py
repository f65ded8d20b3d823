"""The figure as a picture: a column a frame, a row a way of attending. PNG or SVG."""

from pathlib import Path

import numpy as np
from PIL import Image

from unveil.figures.look import Look
from unveil.files import written_whole
from unveil.results.heat import heat_maps, mark

_WIDE, _GAP, _LEFT, _TOP = 1.9, 0.06, 1.25, 0.3  # inches: a tile, between tiles, margins
_DPI = 150
_PAPER, _INK = "#fafaf8", "#1c1c1e"


def draw_sheet(path: Path, look: Look, kind: str) -> None:
    """Write the picture, whole or not at all. kind: png or svg; the same look, the same bytes."""
    from matplotlib import rc_context  # takes long to import: only where it is drawn with
    from matplotlib.figure import Figure

    rows = [("", marked(look)), *((p.title, heat_maps(p.maps)) for p in look.panels)]
    columns = len(look.seconds)
    _, height, width, _ = look.frames.shape
    high = _WIDE * height / width
    size = (_LEFT + columns * (_WIDE + _GAP), _TOP + len(rows) * (high + _GAP))
    figure = Figure(figsize=size, dpi=_DPI, facecolor=_PAPER)
    for i, (title, pictures) in enumerate(rows):
        bottom = size[1] - _TOP - (i + 1) * (high + _GAP) + _GAP
        words = (title or "frame, patch in red").replace(", ", ",\n")
        middle = (bottom + high / 2) / size[1]
        figure.text(0.08 / size[0], middle, words, color=_INK, fontsize=9, va="center")
        for j, picture in enumerate(pictures):
            left = _LEFT + j * (_WIDE + _GAP)
            axes = figure.add_axes(
                (left / size[0], bottom / size[1], _WIDE / size[0], high / size[1])
            )
            axes.imshow(picture, aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(f"{look.seconds[j]:.2f} s", color=_INK, fontsize=9, pad=3)
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial, rc_context({"svg.hashsalt": "unveil"}):
        figure.savefig(partial, format=kind, metadata=metadata, facecolor=_PAPER)


def marked(look: Look) -> np.ndarray:
    """The frames, uint8 [T, H, W, 3], with the pressed patch marked in its own."""
    frames = look.frames.copy()
    picture = Image.fromarray(frames[look.at[0]])
    mark(picture, look.at[1:], look.grid)
    frames[look.at[0]] = np.asarray(picture)
    return frames

"""Area and centre of every object over time, drawn."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from unveil.exports.result import Result, Thing
from unveil.exports.tracks import COLUMNS, rows
from unveil.progress import Progress
from unveil.results.palette import colour_index, vivid_palette
from unveil.text import writable

_LEGEND = 24  # objects that the legend names
_FEW = 60  # frames that are marked; more are a line
_WANTED = [list(COLUMNS).index(name) for name in ("frame", "time_s", "area_px")]
_WANTED += [list(COLUMNS).index(name) for name in ("centre_x_px", "centre_y_px")]


def write_plot(result: Result, out: Path, report: Progress) -> None:
    """A PNG of three panels over the same seconds: area, and the centre's x and y.

    A line an object, in the colour of the overlay, its name and score in the legend; it is broken
    where the object is absent.
    """
    _draw(result, out, report, "plot", {"format": "png"})


def write_plot_svg(result: Result, out: Path, report: Progress) -> None:
    """The same as a drawing that scales."""
    _draw(result, out, report, "plot-svg", {"format": "svg", "metadata": {"Date": None}})


def _draw(result: Result, out: Path, report: Progress, stage: str, how: dict[str, Any]) -> None:
    from matplotlib import rc_context  # takes long to import: only where it is drawn with
    from matplotlib.figure import Figure

    found: dict[int, list[tuple[float, ...]]] = {thing.id: [] for thing in result.things}
    for row in rows(result, stage, report):
        found[row[0]].append(tuple(row[i] for i in _WANTED))
    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    area, x, y = panels = figure.subplots(3, 1, sharex=True)
    lines = []
    for thing in result.things:
        frame, *table = np.array(found[thing.id], float).reshape(-1, len(_WANTED)).T
        gaps = np.flatnonzero(np.diff(frame) > result.chosen.step) + 1
        time, size, *centre = (np.insert(column, gaps, np.nan) for column in table)
        size = size / (result.height * result.width) * 100
        look: dict[str, Any] = {"color": _colour(thing.id), "linewidth": 1.2}
        look["marker"] = "." if len(result) < _FEW else None
        for panel, values in zip(panels, (size, *centre), strict=True):
            (line,) = panel.plot(time, values, **look)
        lines.append(line)
    area.set(ylim=(0, None), ylabel="area / % of the frame")
    area.set_title(_plain(_short(result.name, 80)), loc="left")
    x.set(ylim=(0, result.width), ylabel="centre x / px")
    y.set(ylim=(result.height, 0), ylabel="centre y / px, down", xlabel="time / s")
    for panel in panels:
        panel.grid(alpha=0.3)
    if lines:
        more = len(lines) - _LEGEND
        figure.legend(
            lines[:_LEGEND],
            [_plain(_said(thing)) for thing in result.things[:_LEGEND]],
            loc="outside right upper",
            frameon=False,
            fontsize=8,
            title=f"the first {_LEGEND} of {len(lines)}" if more > 0 else None,
        )
    with rc_context({"svg.hashsalt": "unveil"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name may hold what no font here has
        figure.savefig(out, **how)


def _said(thing: Thing) -> str:
    score = "" if thing.score is None else f", {thing.score:.2f}"
    return f"{thing.id} {_short(thing.name or thing.kind, 40)}{score}"


def _short(text: str, most: int) -> str:
    """Text that leaves room for the panels."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _colour(id: int) -> tuple[float, ...]:
    return tuple(vivid_palette()[colour_index(np.array([id], np.uint16))[0]] / 255)


def _plain(text: str) -> str:
    """Text that Matplotlib takes for no formula, on one line."""
    return " ".join(writable(text).split()).replace("$", r"\$")

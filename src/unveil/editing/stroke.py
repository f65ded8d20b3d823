"""Strokes of a brush: which patches and which pixels they cover, and whose these are after an edit.

A stroke names an object as it was when it was painted. Where a later edit parts that object, or
makes it one with another, a change stands between that stroke and the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from PIL import Image, ImageDraw

_FINE = 8  # samples along a side of a patch


@dataclass(frozen=True)
class Stroke:
    """Pixels of a frame that are given to an object, or taken from it.

    points: x and y along it, as shares of width and height. radius: as a share of the height.
    """

    frame: int
    id: int
    add: bool
    points: tuple[tuple[float, float], ...]
    radius: float

    @property
    def ids(self) -> set[int]:
        """The object that pixels may be of after it."""
        return {self.id}

    def pixels(self, height: int, width: int) -> Bool[np.ndarray, "H W"]:
        """The pixels that it covers."""
        canvas = Image.new("1", (width, height))
        draw, r = ImageDraw.Draw(canvas), self.radius * height
        way = [(x * width, y * height) for x, y in self.points]
        for x, y in way:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=1)
        for (ax, ay), (bx, by) in pairwise(way):
            # A thick line as a polygon: Pillow's own has a width of whole pixels and odd ends.
            dx, dy = bx - ax, by - ay
            length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
            nx, ny = -dy / length * r, dx / length * r
            side = [(ax + nx, ay + ny), (bx + nx, by + ny), (bx - nx, by - ny), (ax - nx, ay - ny)]
            draw.polygon(side, fill=1)
        return np.array(canvas, bool)

    def patches(self, h: int, w: int) -> Float[np.ndarray, "h w"]:
        """How much of every patch it covers, 0 … 1."""
        fine = self.pixels(h * _FINE, w * _FINE).reshape(h, _FINE, w, _FINE)
        return fine.mean((1, 3))


Grid = tuple[tuple[int, ...], ...]
"""Ids patch by patch, row by row; a single one for the whole frame."""


@dataclass(frozen=True)
class Change:
    """What an edit made of objects that a frame has strokes of.

    to: by the id of before, whose its pixels are from now on; 0 lets go of what was painted. back:
    by the id of now, whose its pixels were; 0 for nobody's.
    """

    frame: int
    to: Mapping[int, Grid]
    back: Mapping[int, Grid]

    @property
    def ids(self) -> set[int]:
        """The objects that pixels may be of after it."""
        return {id for grid in self.to.values() for row in grid for id in row}


Painted = Stroke | Change


def draw(
    labels: Integer[np.ndarray, "H W"], painted: tuple[Painted, ...]
) -> Integer[np.ndarray, "H W"]:
    """Labels of one frame with its strokes over them, one after the other.

    An eraser takes what was its object's when it was used: labels are led back to that moment.
    """
    if not painted:
        return labels
    covered = np.zeros(labels.size, bool)
    pixels = [np.flatnonzero(s.pixels(*labels.shape)) for s in painted if isinstance(s, Stroke)]
    for of_stroke in pixels:
        covered[of_stroke] = True
    at = np.flatnonzero(covered)
    inside = iter([np.searchsorted(at, of_stroke) for of_stroke in pixels])
    rows, columns = np.divmod(at, labels.shape[1])
    x, y = (columns + 0.5) / labels.shape[1], (rows + 0.5) / labels.shape[0]
    was = [labels.ravel()[at].astype(np.int32)]
    for each in reversed(painted):
        if isinstance(each, Change):
            was.append(_passed(was[-1], each.back, x, y))
    by_hand = np.zeros_like(was[0])  # the id that was painted, minus that of what was erased
    for each in painted:
        if isinstance(each, Change):
            was.pop()
            by_hand = _passed(by_hand, each.to, x, y)
        elif each.add:
            by_hand[next(inside)] = each.id
        else:
            shown = np.where(by_hand == 0, was[-1], by_hand)
            mine = next(inside)
            by_hand[mine[shown[mine] == each.id]] = -each.id
    labels = labels.copy()
    labels.ravel()[at] = np.where(by_hand == 0, labels.ravel()[at], np.maximum(by_hand, 0))
    return labels


def _passed(
    labels: Int[np.ndarray, " n"],
    to: Mapping[int, Grid],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Labels of pixels at x and y with the ids of now for those of before; 0 for nobody's."""
    labels = labels.copy()
    ids = np.abs(labels)
    for id, grid in to.items():
        mine = ids == id
        h, w = np.shape(grid)
        new = np.array(grid)[(y[mine] * h).astype(int), (x[mine] * w).astype(int)]
        labels[mine] = np.sign(labels[mine]) * new
    return labels
